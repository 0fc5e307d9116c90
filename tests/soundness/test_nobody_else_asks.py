"""What the program's special methods do is seen: capturing, guarding and replaying call none of them that the program does not call.

Every type of the table has all of its methods overridden by ones that write down that they were called, and do what they did. Each
program is run with an instance plainly and captured, twice each: what was written down must be the same, in the same order.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import copy
import io
import itertools
import re
from typing import Any, Callable, Iterator

import pytest
import torch
from torch.utils._pytree import tree_map

import alternator
from alternator import utils

HEARD: list[str] = []

METHODS = """
__getattribute__ __iter__ __len__ __contains__ __getitem__ __setitem__ __delitem__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__
__bool__ __repr__ __str__ __format__ __call__ __index__ __int__ __float__ __add__ __radd__ __iadd__ __mul__ __rmul__ __sub__ __neg__
__reversed__ __copy__ __deepcopy__ __reduce__ __reduce_ex__ __length_hint__ __missing__ __setattr__ __delattr__ __dir__ __sizeof__
__next__ keys values items get pop append extend insert update copy clear index count remove sort reverse add discard union __or__
__and__ setdefault popitem move_to_end popleft appendleft
""".split()


def _method(base: type, name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        HEARD.append(name)
        return getattr(base, name)(self, *args, **kwargs)

    return method


def _asked_for_class(self: Any) -> type:
    HEARD.append("__class__")
    return type(self)


MODES: dict[str, Callable[[str], bool]] = {
    "all methods": lambda name: True,
    "methods": lambda name: name != "__getattribute__",
    "only __getattribute__": lambda name: name == "__getattribute__",
    "only __class__": lambda name: False,
}
"""Which methods are overridden. ``__class__`` is a property in the first mode and the last."""

INSTANCES: dict[type, Callable[[Any], Any]] = {
    object: lambda kind: kind(),
    int: lambda kind: kind(3),
    float: lambda kind: kind(1.5),
    str: lambda kind: kind("abc"),
    dict: lambda kind: kind(a=1, b=2),
    collections.OrderedDict: lambda kind: kind(a=1, b=2),
    collections.defaultdict: lambda kind: kind(int, a=1),
    collections.Counter: lambda kind: kind("aab"),
    Exception: lambda kind: kind("boom"),
    type: lambda kind: kind("Made", (), {"v": 1}),
} | dict.fromkeys((list, tuple, set, frozenset, collections.deque), lambda kind: kind([1, 2, 3]))


def loud(base: type, mode: str) -> Any:
    """An instance of a subclass that writes down what is asked of it."""
    names = [name for name in METHODS if getattr(base, name, None) is not None and MODES[mode](name)]
    space: dict[str, Any] = {name: _method(base, name) for name in names}
    if mode in ("all methods", "only __class__"):
        space["__class__"] = property(_asked_for_class)
    return INSTANCES[base](type(f"Loud{base.__name__.title()}", (base,), space))


def matched(x: Any, o: Any) -> Any:
    match o:
        case []:
            return x
        case [a, *_]:
            return x + 1, a
        case {"a": v, "z": _}:
            return x + 2, v
        case {"a": v}:
            return x + 2, v
        case int(v):
            return x + 3, v
    return x + 4


def kept(x: Any, o: Any) -> Any:
    listed: list[Any] = [1]
    listed.append(o)
    named = {"k": o}
    listed.append(x)
    return x + 1, listed, named


def given(x: Any, o: Any) -> Any:
    def items() -> Iterator[Any]:
        yield o
        yield x

    return [*items()]


def raised(x: Any, o: Any) -> Any:
    try:
        raise o
    except TypeError as error:
        return x + 1, type(error)
    except Exception as error:
        x = x + 2
        return x, error is o


def broken(x: Any, o: Any) -> Any:
    y = x + 1
    alternator.graph_break()
    return y * 2, o


def unpacked(x: Any, o: Any) -> Any:
    a, *rest = o
    return x + 1, a, rest


def written(x: Any, o: Any) -> Any:
    y = x + 1
    o[0] = 9
    return y


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "only given": lambda x, o: x + 1,
    "returned": lambda x, o: (x + 1, o),
    "in a tuple": lambda x, o: (x + 1, (o, o)),
    "is": lambda x, o: x + 1 if o is None else x + 2,
    "type": lambda x, o: (x + 1, type(o)),
    "isinstance": lambda x, o: (x + 1, isinstance(o, list)),
    "isinstance of some": lambda x, o: (x + 1, isinstance(o, (int, str, float))),
    "isinstance of abstract ones": lambda x, o: (x + 1, isinstance(o, (collections.abc.Mapping, collections.abc.Sized))),
    "yield from": lambda x, o: (x + 1, [*(lambda: (yield from o))()]),
    "id": lambda x, o: x + 1 if id(o) else x,
    "len": lambda x, o: (x + 1, len(o)),
    "truth": lambda x, o: x + 1 if o else x - 1,
    "iterated": lambda x, o: (x + 1, [i for i in o]),
    "list": lambda x, o: (x + 1, list(o)),
    "tuple": lambda x, o: (x + 1, tuple(o)),
    "dict": lambda x, o: (x + 1, dict(o)),
    "set": lambda x, o: (x + 1, len(set(o))),
    "[*o]": lambda x, o: (x + 1, [*o]),
    "f(*o)": lambda x, o: (lambda *args: (x + 1, len(args)))(*o),
    "{**o}": lambda x, o: (x + 1, {**o}),
    "f(**o)": lambda x, o: (lambda **named: (x + 1, len(named)))(**o),
    "==": lambda x, o: (x + 1, o == o, o == 5, o != 5),
    "<": lambda x, o: (x + 1, o < o),
    "hash": lambda x, o: (x + 1, hash(o) == hash(o)),
    "in it": lambda x, o: (x + 1, 1 in o),
    "in a list": lambda x, o: (x + 1, o in [1, o]),
    "o[0]": lambda x, o: (x + 1, o[0]),
    "o['a']": lambda x, o: (x + 1, o["a"]),
    "append": lambda x, o: (o.append(9), x + 1)[1],
    "add": lambda x, o: (o.add(9), x + 1)[1],
    "update": lambda x, o: (o.update({"z": 1}), x + 1)[1],
    "get": lambda x, o: (o.get("a"), x + 1),
    "items": lambda x, o: ([k for k, v in o.items()], x + 1),
    "repr": lambda x, o: (x + 1, len(repr(o))),
    "formatted": lambda x, o: (x + 1, len(f"{o}")),
    "printed": lambda x, o: print(o) or x + 1,
    "o + o": lambda x, o: (x + 1, o + o),
    "o * 2": lambda x, o: (x + 1, o * 2),
    "x * o": lambda x, o: x * o,
    "called": lambda x, o: o(x),
    "attribute": lambda x, o: getattr(o, "nothing", x + 1),
    "attribute set": lambda x, o: (setattr(o, "attribute", 1), x + 1)[1],
    "__class__": lambda x, o: (x + 1, o.__class__),
    "hasattr": lambda x, o: (x + 1, hasattr(o, "append"), callable(o)),
    "arguments": lambda x, o: (lambda *a, **k: x + len(a))(o, k=o),
    "range": lambda x, o: (x + 1, list(range(o))),
    "an index": lambda x, o: (x + 1, [1, 2, 3, 4, 5][o]),
    "sorted": lambda x, o: (x + 1, sorted(o)),
    "max": lambda x, o: (x + 1, max(o)),
    "any": lambda x, o: (x + 1, any(o)),
    "zip": lambda x, o: (x + 1, list(zip(o, o)), list(enumerate(o))),
    "join": lambda x, o: (x + 1, "".join([o, o])),
    "map": lambda x, o: (x + 1, list(map(str, o)), list(itertools.chain(o, o))),
    "copy": lambda x, o: (x + 1, copy.copy(o)),
    "a key": lambda x, o: (x + 1, len({o: 1}), len({o, 1})),
    "extend": lambda x, o: (x + 1, [1].extend(o)),
    "update of a dict": lambda x, o: (x + 1, {}.update(o)),
    "view": lambda x, o: x.view(o),
    "sum": lambda x, o: x.sum(o),
    "tree_map": lambda x, o: (tree_map(lambda v: v, [o]), x + 1)[1],
    "match": matched,
    "kept": kept,
    "yielded": given,
    "raised": raised,
    "break": broken,
    "unpacked": unpacked,
    "written": written,
}


def _run(fn: Callable[..., Any], x: torch.Tensor, o: Any) -> tuple[Any, ...]:
    """What a call does that can be told: how it ends, what it prints (but for addresses), and whom it asked."""
    HEARD.clear()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            fn(x, o)
            end = "returned"
        except Exception as error:
            end = type(error).__name__
    heard = tuple(HEARD)
    return end, re.sub(r"0x[0-9a-f]+", "", printed.getvalue()), heard


class Lenient:
    """Tells which attributes were looked for in vain."""

    def __getattr__(self, name: str) -> Any:
        HEARD.append(name)
        raise AttributeError(name)

    def __rmul__(self, other: Any) -> Any:
        return other * 2


@pytest.mark.parametrize("name", ["x * o", "o * 2", "view", "sum", "copy", "attribute", "returned", "raised", "tree_map"])
def test_who_looks_for_attributes(name: str) -> None:
    alternator.reset()
    x, first, second = torch.ones(2, 2), Lenient(), Lenient()
    plain = [_run(PROGRAMS[name], x, first) for _ in range(2)]
    compiled = alternator.compile(PROGRAMS[name], backend="eager")
    assert [_run(compiled, x, second) for _ in range(2)] == plain


class Shown(type):
    def __repr__(cls) -> str:
        HEARD.append("__repr__")
        return cls.__name__


def test_why_a_call_does_not_fit_is_said_without_the_repr_of_a_metaclass() -> None:
    compiled = alternator.compile(lambda x, o: x + 1 if o is None else x + 2, backend="eager")
    HEARD.clear()
    for o in (5, Shown("A", (), {}), Shown("B", (), {}), None):
        compiled(torch.ones(2), o)
    assert HEARD == []


class Silent:
    def __repr__(self) -> str:
        HEARD.append("__repr__")
        raise ValueError("not shown")


def test_keys_of_outside_dicts_are_named_without_their_repr() -> None:
    keys = [Silent(), (Silent(), 1)]
    table = {keys[0]: 1, keys[1]: torch.ones(2)}
    compiled = alternator.compile(lambda x: x * table[keys[0]] + table[keys[1]], backend="eager")
    HEARD.clear()
    for number in range(3):
        table[keys[0]] = number
        assert compiled(torch.ones(2)).equal(torch.full((2,), number + 1.0))
    assert HEARD == []


@pytest.mark.parametrize("base", INSTANCES, ids=lambda base: base.__name__)
@pytest.mark.parametrize("mode", MODES)
def test_the_program_alone_asks(mode: str, base: type) -> None:
    wrong, heard, captured = [], 0, 0
    entries: list[Any] = []
    for name, program in PROGRAMS.items():
        alternator.reset()
        entries.clear()
        x, first, second = torch.ones(2, 2), loud(base, mode), loud(base, mode)
        plain = [_run(program, x, first) for _ in range(2)]
        with utils.listening_to_entries(entries.append):
            compiled = alternator.compile(program, backend="eager")
            seen = [_run(compiled, x, second) for _ in range(2)]
        if plain != seen:
            wrong.append((name, plain, seen))
        heard += any(told for _, _, told in plain)
        captured += bool(entries)
    assert not wrong
    assert captured > 25, "programs that were captured"
    assert heard > (25 if mode == "all methods" else 3), "programs that ask"
