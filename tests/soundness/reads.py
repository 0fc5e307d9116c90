"""Ways in which a captured function can look at a value ``v``, and changes of the value: columns of the soundness matrix."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import math
import operator
import pathlib
import re
import types
import weakref
from typing import Any, Callable

import torch


class Thing:
    def __init__(self, a: Any = 1, b: Any = 2) -> None:
        self.a = a
        self.b = b

    def scale(self, x: Any) -> Any:
        return x * self.a


class OtherThing(Thing):
    pass


class Equal:
    def __init__(self, a: Any) -> None:
        self.a = a

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Equal) and self.a == other.a

    def __hash__(self) -> int:
        return hash(self.a)


class Truthy:
    def __init__(self, a: bool) -> None:
        self.a = a

    def __bool__(self) -> bool:
        return self.a


class Number(int):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 2
    HIGH = 3


@dataclasses.dataclass
class Config:
    width: int = 2
    names: Any = ("a",)


Pair = collections.namedtuple("Pair", "left right")
SENTINEL = object()
OTHER_SENTINEL = object()
SPACE = {
    name: value
    for name, value in globals().items()
    if name in ("Thing", "OtherThing", "Equal", "Color", "Level", "Config", "Pair", "SENTINEL", "math", "collections", "operator")
}


def double(x: Any) -> Any:
    return x * 2


def triple(x: Any) -> Any:
    return x * 3


def times(x: Any, k: Any) -> Any:
    return x * k


def lambda_of(k: Any) -> Any:
    return lambda x: x * k


def with_default(k: Any) -> Any:
    return lambda x, k=k: x * k


class Net(torch.nn.Module):
    def __init__(self, width: int = 3, gain: float = 2.0, bias: bool = True) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, width, bias=bias)
        self.gain = gain

    def forward(self, x: Any) -> Any:
        return self.linear(x) * self.gain


@dataclasses.dataclass
class Put:
    value: Any


@dataclasses.dataclass
class Read:
    """``make`` gives the value, ``expr`` looks at it; a change is (what it does, how many graphs it takes).

    A change that returns a ``Put`` puts another value in the place of the first; any other has changed the value itself.
    """

    make: Callable[[], Any]
    expr: str
    changes: dict[str, tuple[Callable[[Any], Any], int]]


def _to(make: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda v: Put(make())


def _do(*steps: Any) -> Callable[[Any], None]:
    """A change of the value itself."""

    def change(v: Any) -> None:
        for step in steps:
            step(v)

    return change


def _const(value: Any, *others: Any, expr: str) -> Read:
    changes: dict[str, Any] = {f"{other!r}": (lambda v, other=other: Put(other), 1) for other in others}
    return Read(lambda: value, expr, changes)


CONSTANTS = {
    "int": Read(
        lambda: int("1000"),
        "x + v",
        {"another": (_to(lambda: 1001), 1), "float": (_to(lambda: 1000.0), 1), "equal": (_to(lambda: int("1000")), 0)},
    ),
    "small int": _const(2, 0, 1, 3, True, "2", None, expr="x + (v if type(v) is int else 40)"),
    "float": Read(
        lambda: 1.5,
        "x * v",
        {"another": (_to(lambda: 2.5), 1), "int": (_to(lambda: 1), 1), "equal": (_to(lambda: float("1.5")), 0)},
    ),
    "negative zero": _const(0.0, -0.0, expr="x + math.copysign(1.0, v)"),
    "nan": Read(lambda: math.nan, "x + (v != v)", {"equal": (_to(lambda: float("nan")), 0), "number": (_to(lambda: 1.0), 1)}),
    "bool": _const(True, False, 1, None, expr="x + 1 if v is True else x - 1"),
    "none": _const(None, 0, False, "", expr="x + 1 if v is None else x - 1"),
    "str": Read(
        lambda: "relu",
        "getattr(torch, v)(x)",
        {"another": (_to(lambda: "tanh"), 1), "equal": (_to(lambda: "".join(["re", "lu"])), 0)},
    ),
    "bytes": _const(b"ab", b"abc", "ab", expr="x + len(v)"),
    "complex": _const(1j, 2j, 1.0, expr="x * v"),
    "ellipsis": _const(..., None, expr="x[v] + 1"),
    "tuple": Read(
        lambda: tuple([2, 3]),
        "x.new_ones(v)",
        {"another": (_to(lambda: (2, 4)), 1), "list": (_to(lambda: [2, 3]), 1), "equal": (_to(lambda: tuple([2, 3])), 0)},
    ),
    "nested tuple": Read(
        lambda: (1, (2, "a")),
        "x + v[1][0]",
        {"another": (_to(lambda: (1, (3, "a"))), 1), "equal": (_to(lambda: tuple([1, tuple([2, "a"])])), 0)},
    ),
    "slice": Read(
        lambda: slice(0, 2), "x[v] + 1", {"another": (_to(lambda: slice(1, 3)), 1), "equal": (_to(lambda: slice(0, 2)), 0)}
    ),
    "range": Read(lambda: range(3), "x + sum(v)", {"another": (_to(lambda: range(4)), 1), "equal": (_to(lambda: range(3)), 0)}),
    "frozenset": Read(
        lambda: frozenset({"a"}),
        "x + ('a' in v)",
        {"another": (_to(lambda: frozenset({"b"})), 1), "equal": (_to(lambda: frozenset(["a"])), 0)},
    ),
    "dtype": _const(torch.float64, torch.int32, None, expr="x.to(v) if v is not None else x + 1"),
    "device": Read(
        lambda: torch.device("cpu"),
        "x.to(v) + 1",
        {"another": (_to(lambda: torch.device("cpu", 0)), 1), "equal": (_to(lambda: torch.device("cpu")), 0)},
    ),
    "size": Read(
        lambda: torch.Size([2]),
        "x.new_ones(v)",
        {"another": (_to(lambda: torch.Size([3])), 1), "equal": (_to(lambda: torch.Size([2])), 0)},
    ),
    "enum": _const(Color.RED, Color.BLUE, None, expr="x + 1 if v is Color.RED else x - 1"),
    "enum value": _const(Color.RED, Color.BLUE, expr="x + v.value"),
    "int enum": _const(Level.LOW, Level.HIGH, 2, expr="x + (v if isinstance(v, Level) else 50)"),
    "sentinel": Read(lambda: SENTINEL, "x + (v is SENTINEL)", {"another": (_to(lambda: OTHER_SENTINEL), 1)}),
}

TYPES = {
    "isinstance": Read(
        Thing,
        "x + isinstance(v, OtherThing)",
        {"another class": (_to(OtherThing), 1), "alike": (_to(Thing), 0), "attribute": (_do(lambda v: setattr(v, "a", 7)), 0)},
    ),
    "type": Read(Thing, "x + (type(v) is Thing)", {"another class": (_to(OtherThing), 1), "alike": (_to(Thing), 0)}),
    "is none": Read(Thing, "x + (v is None)", {"none": (_to(lambda: None), 1), "alike": (_to(Thing), 0)}),
    "callable": Read(Thing, "x + callable(v)", {"function": (_to(lambda: double), 1), "alike": (_to(Thing), 0)}),
    "hasattr": Read(
        Thing,
        "x + hasattr(v, 'late')",
        {"added": (_do(lambda v: setattr(v, "late", 1)), 1), "other added": (_do(lambda v: setattr(v, "later", 1)), 0)},
    ),
    "class changed": Read(
        Thing,
        "v.scale(x)",
        {"class": (_do(lambda v: setattr(v, "__class__", type("T", (Thing,), {"scale": lambda s, x: x - 1}))), 1)},
    ),
    "truth": Read(
        lambda: Truthy(True),
        "x + 1 if v else x - 1",
        {
            "false": (_to(lambda: Truthy(False)), 1),
            "changed": (_do(lambda v: setattr(v, "a", False)), 1),
            "alike": (_to(lambda: Truthy(True)), 0),
        },
    ),
    "equality": Read(
        lambda: Equal(1),
        "x + (v == Equal(1))",
        {
            "other": (_to(lambda: Equal(2)), 1),
            "changed": (_do(lambda v: setattr(v, "a", 2)), 1),
            "alike": (_to(lambda: Equal(1)), 0),
        },
    ),
}

OBJECTS = {
    "attribute": Read(
        Thing,
        "x + v.a",
        {
            "changed": (_do(lambda v: setattr(v, "a", 7)), 1),
            "deleted": (_do(lambda v: delattr(v, "a"), lambda v: setattr(v, "a", "s" and 8)), 1),
            "other changed": (_do(lambda v: setattr(v, "b", 7)), 0),
            "alike": (_to(Thing), 0),
            "alike in what is read": (_to(lambda: Thing(1, 77)), 0),
            "another": (_to(lambda: Thing(5)), 1),
        },
    ),
    "method": Read(
        Thing,
        "v.scale(x)",
        {
            "changed": (_do(lambda v: setattr(v, "a", 7)), 1),
            "on the instance": (_do(lambda v: setattr(v, "scale", triple)), 1),
            "alike": (_to(Thing), 0),
        },
    ),
    "dataclass": Read(
        Config,
        "x + v.width",
        {
            "changed": (_do(lambda v: setattr(v, "width", 7)), 1),
            "other": (_do(lambda v: setattr(v, "names", ())), 0),
            "alike": (_to(Config), 0),
        },
    ),
    "dataclass equality": Read(
        Config, "x + (v == Config())", {"changed": (_do(lambda v: setattr(v, "width", 7)), 1), "alike": (_to(Config), 0)}
    ),
    "namedtuple": Read(
        lambda: Pair(1, 2), "x + v.left", {"another": (_to(lambda: Pair(3, 2)), 1), "alike": (_to(lambda: Pair(1, 2)), 0)}
    ),
    "namespace": Read(
        lambda: types.SimpleNamespace(a=1, b=2),
        "x + v.a",
        {
            "changed": (_do(lambda v: setattr(v, "a", 7)), 1),
            "other": (_do(lambda v: setattr(v, "b", 7)), 0),
            "alike": (_to(lambda: types.SimpleNamespace(a=1)), 0),
        },
    ),
    "object in a dict": Read(
        lambda: {"t": Thing()},
        "x + v['t'].a",
        {
            "changed": (_do(lambda v: setattr(v["t"], "a", 7)), 1),
            "other": (_do(lambda v: setattr(v["t"], "b", 7)), 0),
            "alike inside": (_do(lambda v: v.__setitem__("t", Thing())), 0),
            "alike": (_to(lambda: {"t": Thing(), "u": 1}), 0),
        },
    ),
}

CALLS = {
    "function": Read(lambda: double, "v(x)", {"another": (_to(lambda: triple), 1)}),
    "lambda": Read(
        lambda: lambda_of(2),
        "v(x)",
        {
            "another closure": (_to(lambda: lambda_of(5)), 1),
            "other code": (_to(lambda: lambda x: x * 2 + 1), 1),
            "alike": (_to(lambda: lambda_of(2)), 0),
        },
    ),
    "function's code": Read(
        lambda: types.FunctionType(double.__code__, {}),
        "v(x)",
        {"changed": (_do(lambda v: setattr(v, "__code__", triple.__code__)), 1)},
    ),
    "function's default": Read(
        lambda: with_default(2),
        "v(x)",
        {
            "changed": (_do(lambda v: setattr(v, "__defaults__", (3,))), 1),
            "another": (_to(lambda: with_default(5)), 1),
            "alike": (_to(lambda: with_default(2)), 0),
        },
    ),
    "function's name": Read(lambda: double, "x + len(v.__name__)", {"another": (_to(lambda: lambda_of(1)), 1)}),
    "builtin function": Read(lambda: abs, "v(x)", {"another": (_to(lambda: operator.neg), 1)}),
    "torch function": Read(lambda: torch.relu, "v(x)", {"another": (_to(lambda: torch.tanh), 1)}),
    "torch function in Python": Read(
        lambda: torch.nn.functional.relu,
        "v(x)",
        {"another": (_to(lambda: torch.nn.functional.gelu), 1), "one without a rule": (_to(lambda: triple), 1)},
    ),
    "function with a rule": Read(lambda: dataclasses.is_dataclass, "x + v(Thing)", {"another": (_to(lambda: lambda c: True), 1)}),
    "itemgetter": Read(
        lambda: operator.itemgetter(0),
        "x + v([1, 5])",
        {"another": (_to(lambda: operator.itemgetter(1)), 1), "alike": (_to(lambda: operator.itemgetter(0)), 0)},
    ),
    "attrgetter": Read(
        lambda: operator.attrgetter("a"),
        "x + v(Thing())",
        {"another": (_to(lambda: operator.attrgetter("b")), 1), "alike": (_to(lambda: operator.attrgetter("a")), 0)},
    ),
    "methodcaller": Read(
        lambda: operator.methodcaller("upper"),
        "x + (v('ab') == 'AB')",
        {"another": (_to(lambda: operator.methodcaller("title")), 1)},
    ),
    "cached function": Read(
        lambda: functools.lru_cache(lambda k: k + 1),
        "x + v(1)",
        {"another": (_to(lambda: functools.lru_cache(lambda k: k + 2)), 1)},
    ),
    "single dispatch": Read(
        lambda: functools.singledispatch(lambda k: k + 1),
        "x + v(1)",
        {
            "another": (_to(lambda: functools.singledispatch(lambda k: k + 2)), 1),
            "registered": (_do(lambda v: v.register(int, lambda k: k + 7)), 1),
        },
    ),
    "partial": Read(
        lambda: functools.partial(times, k=2),
        "v(x)",
        {
            "other argument": (_to(lambda: functools.partial(times, k=3)), 1),
            "other function": (_to(lambda: functools.partial(lambda x, k: x - k, k=2)), 1),
            "alike": (_to(lambda: functools.partial(times, k=2)), 0),
        },
    ),
    "bound method": Read(
        lambda: Thing(2).scale,
        "v(x)",
        {"other self": (_to(lambda: Thing(3).scale), 1), "alike": (_to(lambda: Thing(2, 9).scale), 0)},
    ),
    "bound C method": Read(
        lambda: {"k": 2}.get,
        "x * v('k')",
        {"other self": (_to(lambda: {"k": 3}.get), 1), "alike": (_to(lambda: {"k": 2}.get), 0)},
    ),
    "class": Read(lambda: Thing, "x + v().a", {"another": (_to(lambda: OtherThing), 1)}),
    "module": Read(lambda: math, "x + v.pi", {"another": (_to(lambda: types.SimpleNamespace(pi=3)), 1)}),
}

CONTAINERS = {
    "list length": Read(
        lambda: [1, 2],
        "x + len(v)",
        {
            "longer": (_do(lambda v: v.append(1)), 1),
            "item": (_do(lambda v: v.__setitem__(0, 9)), 0),
            "alike": (_to(lambda: [5, 6]), 0),
            "tuple": (_to(lambda: (1, 2)), 1),
        },
    ),
    "list item": Read(
        lambda: [1, 2],
        "x + v[0]",
        {
            "item": (_do(lambda v: v.__setitem__(0, 9)), 1),
            "other item": (_do(lambda v: v.__setitem__(1, 9)), 0),
            "alike": (_to(lambda: [1, 2]), 0),
        },
    ),
    "list sum": Read(
        lambda: [1.0, 2.0],
        "x + sum(v)",
        {
            "item": (_do(lambda v: v.__setitem__(1, 9.0)), 1),
            "longer": (_do(lambda v: v.append(1.0)), 1),
            "order": (_do(lambda v: v.reverse()), 1),
            "alike": (_to(lambda: [1.0, 2.0]), 0),
        },
    ),
    "list membership": Read(
        lambda: ["a", "b"], "x + ('c' in v)", {"added": (_do(lambda v: v.append("c")), 1), "alike": (_to(lambda: ["a", "b"]), 0)}
    ),
    "list truth": Read(
        lambda: [1],
        "x + 1 if v else x - 1",
        {"empty": (_do(lambda v: v.clear()), 1), "item": (_do(lambda v: v.__setitem__(0, 9)), 0)},
    ),
    "nested list": Read(
        lambda: [[1, 2], [3]],
        "x + v[1][0]",
        {"item": (_do(lambda v: v[1].__setitem__(0, 9)), 1), "inner": (_do(lambda v: v.__setitem__(1, [3])), 0)},
    ),
    "dict item": Read(
        lambda: {"a": 1, "b": 2},
        "x + v['a']",
        {
            "item": (_do(lambda v: v.__setitem__("a", 9)), 1),
            "other": (_do(lambda v: v.__setitem__("b", 9)), 0),
            "added": (_do(lambda v: v.__setitem__("c", 9)), 0),
            "alike": (_to(lambda: {"z": 0, "a": 1}), 0),
        },
    ),
    "dict membership": Read(
        lambda: {"a": 1},
        "x + ('c' in v)",
        {
            "added": (_do(lambda v: v.__setitem__("c", 9)), 1),
            "other": (_do(lambda v: v.__setitem__("b", 9)), 0),
            "item": (_do(lambda v: v.__setitem__("a", 9)), 0),
        },
    ),
    "dict get": Read(
        lambda: {"a": 1},
        "x + v.get('c', 5)",
        {"added": (_do(lambda v: v.__setitem__("c", 9)), 1), "other": (_do(lambda v: v.__setitem__("b", 9)), 0)},
    ),
    "dict length": Read(
        lambda: {"a": 1, "b": 2},
        "x + len(v)",
        {
            "added": (_do(lambda v: v.__setitem__("c", 9)), 1),
            "item": (_do(lambda v: v.__setitem__("a", 9)), 0),
            "alike": (_to(lambda: {1: 2, 3: 4}), 0),
        },
    ),
    "dict keys": Read(
        lambda: {"a": 1, "b": 2},
        "x + len(''.join(v))",
        {
            "renamed": (_do(lambda v: v.__setitem__("ccc", v.pop("a"))), 1),
            "order": (_do(lambda v: v.__setitem__("a", v.pop("a"))), 1),
        },
    ),
    "dict order": Read(
        lambda: {"a": 1, "b": 2},
        "x + next(iter(v.values()))",
        {"order": (_do(lambda v: v.__setitem__("a", v.pop("a"))), 1), "alike": (_to(lambda: {"a": 1, "b": 2}), 0)},
    ),
    "ordered dict order": Read(
        lambda: collections.OrderedDict(a=1, b=2),
        "x + next(iter(v.values()))",
        {"moved": (_do(lambda v: v.move_to_end("a")), 1), "alike": (_to(lambda: collections.OrderedDict(a=1, b=2)), 0)},
    ),
    "default dict": Read(
        lambda: collections.defaultdict(lambda: 4, a=1),
        "x + v['a']",
        {"item": (_do(lambda v: v.__setitem__("a", 9)), 1), "other": (_do(lambda v: v.__setitem__("b", 9)), 0)},
    ),
    "set membership": Read(
        lambda: {"a", "b"}, "x + ('c' in v)", {"added": (_do(lambda v: v.add("c")), 1), "alike": (_to(lambda: {"a", "b"}), 0)}
    ),
    "set length": Read(lambda: {1, 2}, "x + len(v)", {"added": (_do(lambda v: v.add(3)), 1), "alike": (_to(lambda: {1, 2}), 0)}),
    "deque": Read(
        lambda: collections.deque([1, 2]),
        "x + v[0]",
        {
            "rotated": (_do(lambda v: v.rotate(1)), 1),
            "longer": (_do(lambda v: v.appendleft(7)), 1),
            "alike": (_to(lambda: collections.deque([1, 2])), 0),
        },
    ),
    "tuple of objects": Read(
        lambda: (Thing(1), Thing(2)),
        "x + v[0].a",
        {"changed": (_do(lambda v: setattr(v[0], "a", 7)), 1), "alike": (_to(lambda: (Thing(1), Thing(2))), 0)},
    ),
    "config tree": Read(
        lambda: {"model": {"sizes": [1, 2], "act": "relu"}, "lr": 0.1},
        "getattr(torch, v['model']['act'])(x) + v['model']['sizes'][1]",
        {
            "leaf": (_do(lambda v: v["model"].__setitem__("act", "tanh")), 1),
            "list item": (_do(lambda v: v["model"]["sizes"].__setitem__(1, 9)), 1),
            "other": (_do(lambda v: v.__setitem__("lr", 0.2)), 0),
            "alike": (_to(lambda: {"model": {"act": "relu", "sizes": [1, 2]}, "lr": 0.7}), 0),
        },
    ),
}

LIBRARY = {
    "pattern": Read(lambda: re.compile("a"), "x + (v.match('a') is not None)", {"another": (_to(lambda: re.compile("b")), 1)}),
    "exception": Read(
        lambda: ValueError("a"),
        "x + len(str(v))",
        {"another": (_to(lambda: ValueError("bcd")), 1), "alike": (_to(lambda: ValueError("a")), 0)},
    ),
    "exception's arguments": Read(
        lambda: ValueError("a"), "x + len(v.args[0])", {"changed": (_do(lambda v: setattr(v, "args", ("bcd",))), 1)}
    ),
    "finfo": Read(
        lambda: torch.finfo(torch.float16),
        "x + v.eps",
        {"another": (_to(lambda: torch.finfo(torch.bfloat16)), 1), "alike": (_to(lambda: torch.finfo(torch.float16)), 0)},
    ),
    "union type": Read(lambda: int | str, "x + isinstance('a', v)", {"another": (_to(lambda: int | float), 1)}),
    "generic alias": Read(lambda: list[int], "x + (v.__args__[0] is int)", {"another": (_to(lambda: list[str]), 1)}),
    "path": Read(
        lambda: pathlib.PurePath("a/b"),
        "x + len(v.name)",
        {"another": (_to(lambda: pathlib.PurePath("a/bcd")), 1), "alike": (_to(lambda: pathlib.PurePath("a/b")), 0)},
    ),
    "counter": Read(
        lambda: collections.Counter("aab"),
        "x + v['a']",
        {"counted": (_do(lambda v: v.update("a")), 1), "other": (_do(lambda v: v.update("b")), 0)},
    ),
    "cell": Read(
        lambda: types.CellType(1),
        "x + v.cell_contents",
        {"changed": (_do(lambda v: setattr(v, "cell_contents", 2)), 1), "alike": (_to(lambda: types.CellType(1)), 0)},
    ),
    "weak reference": Read(lambda: weakref.ref(double), "v()(x)", {"another": (_to(lambda: weakref.ref(triple)), 1)}),
    "int subclass": Read(
        lambda: Number(3), "x + v", {"another": (_to(lambda: Number(4)), 1), "alike": (_to(lambda: Number(3)), 0)}
    ),
    "dict with tuples as keys": Read(
        lambda: {(1, 2): 3},
        "x + v[1, 2]",
        {"item": (_do(lambda v: v.__setitem__((1, 2), 4)), 1), "alike": (_to(lambda: {(1, 2): 3}), 0)},
    ),
}

TENSORS = {
    "tensor": Read(
        lambda: torch.ones(3),
        "x * v",
        {
            "alike": (_to(lambda: torch.full((3,), 2.0)), 0),
            "in place": (_do(lambda v: v.add_(1)), 0),
            "dtype": (_to(lambda: torch.ones(3, dtype=torch.float64)), 1),
            "shape": (_to(lambda: torch.ones(1)), 1),
            "requires grad": (_do(lambda v: v.requires_grad_()), 1),
            "data of another dtype": (_do(lambda v: setattr(v, "data", torch.ones(3, dtype=torch.float64))), 1),
            "data of another shape": (_do(lambda v: setattr(v, "data", torch.ones(1))), 1),
            "data alike": (_do(lambda v: setattr(v, "data", torch.zeros(3))), 0),
            "parameter": (_to(lambda: torch.nn.Parameter(torch.ones(3))), 1),
            "number": (_to(lambda: 2.5), 1),
        },
    ),
    "tensor strides": Read(
        lambda: torch.ones(3, 3),
        "x * v",
        {"transposed": (_do(lambda v: v.t_()), 1), "alike": (_to(lambda: torch.zeros(3, 3)), 0)},
    ),
    "list of tensors": Read(
        lambda: [torch.ones(3), torch.ones(3)],
        "x * sum(v)",
        {
            "alike": (_to(lambda: [torch.ones(3), torch.zeros(3)]), 0),
            "longer": (_do(lambda v: v.append(torch.ones(3))), 1),
            "dtype": (_do(lambda v: v.__setitem__(1, torch.ones(3, dtype=torch.float64))), 1),
            "the same twice": (_do(lambda v: v.__setitem__(1, v[0])), 1),
        },
    ),
    "tensor attribute": Read(
        lambda: torch.ones(3),
        "x + v.dim() + v.requires_grad + (v.grad is None)",
        {"grad": (_do(lambda v: setattr(v, "grad", torch.ones(3))), 1)},
    ),
}

MODULES = {
    "module call": Read(
        Net,
        "v(x)",
        {
            "parameter replaced": (_do(lambda v: setattr(v.linear, "weight", torch.nn.Parameter(torch.ones(3, 3)))), 0),
            "parameter frozen": (_do(lambda v: v.linear.weight.requires_grad_(False)), 1),
            "parameter dtype": (
                _do(
                    lambda v: setattr(v.linear.weight, "data", torch.ones(3, 3).double()),
                    lambda v: setattr(v.linear.bias, "data", torch.ones(3).double()),
                    lambda v: setattr(v, "forward", lambda x: v.linear(x.double()) * 2),
                ),
                1,
            ),
            "values": (_do(lambda v: v.linear.weight.data.add_(1)), 0),
            "bias removed": (_do(lambda v: setattr(v.linear, "bias", None)), 1),
            "number": (_do(lambda v: setattr(v, "gain", 4.0)), 1),
            "forward hook": (_do(lambda v: v.register_forward_hook(lambda m, a, out: out * 2)), 1),
            "forward pre-hook": (_do(lambda v: v.linear.register_forward_pre_hook(lambda m, a: (a[0] + 1,))), 1),
            "forward of the instance": (_do(lambda v: setattr(v.linear, "forward", triple)), 1),
            "submodule": (_do(lambda v: setattr(v, "linear", torch.nn.Linear(3, 3, bias=False))), 1),
            "submodule alike": (_do(lambda v: setattr(v, "linear", torch.nn.Linear(3, 3))), 0),
            "alike": (_to(Net), 0),
            "another gain": (_to(lambda: Net(gain=5.0)), 1),
            "another width": (_to(lambda: Net(width=5)), 1),
            "training flag": (_do(lambda v: v.eval()), 0),
            "new attribute": (_do(lambda v: setattr(v, "unrelated", 1)), 0),
            "new buffer": (_do(lambda v: v.register_buffer("unrelated", torch.ones(1))), 0),
        },
    ),
    "training": Read(
        torch.nn.Dropout, "v(x) * 0 + v.training", {"eval": (_do(lambda v: v.eval()), 1), "alike": (_to(torch.nn.Dropout), 0)}
    ),
    "sequential": Read(
        lambda: torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU()),
        "v(x)",
        {
            "appended": (_do(lambda v: v.append(torch.nn.Tanh())), 1),
            "replaced": (_do(lambda v: v.__setitem__(1, torch.nn.Tanh())), 1),
            "alike": (_to(lambda: torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())), 0),
        },
    ),
    "buffer": Read(
        lambda: torch.nn.BatchNorm1d(3).eval(),
        "v(x)",
        {
            "values": (_do(lambda v: v.running_mean.add_(1)), 0),
            "replaced": (_do(lambda v: setattr(v, "running_mean", torch.ones(3))), 0),
            "none": (_do(lambda v: (setattr(v, "running_mean", None), setattr(v, "running_var", None)) and None), 1),
            "eps": (_do(lambda v: setattr(v, "eps", 0.5)), 1),
        },
    ),
}

READS = {**CONSTANTS, **TYPES, **OBJECTS, **CALLS, **CONTAINERS, **LIBRARY, **TENSORS, **MODULES}
CORE: dict[str, tuple[str, ...]] = {
    "int": ("another", "equal"),
    "attribute": ("changed", "other changed", "alike"),
    "list item": ("item", "other item"),
    "tensor": ("dtype", "data of another dtype", "alike"),
    "lambda": ("another closure", "alike"),
    "module call": ("forward hook", "alike"),
}
"""What is looked at in every place, and changed there; the rest in a few."""
