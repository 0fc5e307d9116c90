"""Places that a captured function can read a value from: one small class each, a row of the soundness matrix."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import enum
import functools
import types
from typing import Any, Callable

import torch

PLACES: dict[str, type[Place]] = {}


class Place:
    """A place with a value in it.

    ``params`` are the function's parameters after ``x``, ``expr`` is how it reads the value, ``put`` stores another one there, and
    ``beside`` names changes nearby of what is not read.
    """

    params = ""
    expr = "v"
    before = ""
    beside: dict[str, Callable[[Any], None]] = {}

    def __init_subclass__(cls) -> None:
        PLACES[cls.__name__.lower()] = cls

    def __init__(self, value: Any) -> None:
        self.space: dict[str, Any] = {"torch": torch, "__name__": __name__ + ".program"}
        self.setup()
        self.put(value)

    def setup(self) -> None:
        """Make what holds the value."""

    def put(self, value: Any) -> None:
        raise NotImplementedError

    def args(self) -> tuple[Any, ...]:
        return ()

    def kwargs(self) -> dict[str, Any]:
        return {}

    def takes(self, value: Any) -> bool:
        """Whether such a value can be there, and reading it gives just it."""
        return True

    def define(self, read: str, space: dict[str, Any]) -> Callable[..., Any]:
        self.space.update(space)
        lines = [*self.before.splitlines(), f"v = {self.expr}", f"return {read}"]
        exec(f"def f(x{self.params}):\n" + "\n".join("    " + line for line in lines), self.space)
        return self.space["f"]

    def close(self) -> None:
        """Undo what outlives the test."""


def _not_bound(value: Any) -> bool:
    return not hasattr(type(value), "__get__")


# ---- the frame


class Argument(Place):
    params = ", v"

    def put(self, value: Any) -> None:
        self.value = value

    def args(self) -> tuple[Any, ...]:
        return (self.value,)


class Keyword(Argument):
    params = ", *, v"

    def args(self) -> tuple[Any, ...]:
        return ()

    def kwargs(self) -> dict[str, Any]:
        return {"v": self.value}


class PassedByName(Keyword):
    params = ", v"


class StarItem(Argument):
    params = ", *rest"
    expr = "rest[1]"

    def args(self) -> tuple[Any, ...]:
        return (0, self.value)


class StarStarItem(Keyword):
    params = ", **rest"
    expr = "rest['v']"


class Default(Place):
    params = ", v=None"
    made: Any = None

    def put(self, value: Any) -> None:
        self.value = value
        if self.made:
            self.made.__defaults__ = (value,)

    def define(self, read: str, space: dict[str, Any]) -> Callable[..., Any]:
        self.made = super().define(read, space)
        self.put(self.value)
        return self.made


class KwDefault(Default):
    params = ", *, v=None"

    def put(self, value: Any) -> None:
        self.value = value
        if self.made:
            self.made.__kwdefaults__["v"] = value


class Closure(Place):
    def put(self, value: Any) -> None:
        self.value = value
        if "put" in self.space:
            self.space["put"](value)

    def define(self, read: str, space: dict[str, Any]) -> Callable[..., Any]:
        self.space.update(space)
        text = f"def make(v):\n    def f(x):\n        return {read}\n    def put(value):\n        nonlocal v\n        v = value\n    return f, put"
        exec(text, self.space)
        made, self.space["put"] = self.space["make"](self.value)
        return made


def _other_global(place: Place) -> None:
    place.space["SOMETHING_ELSE"] = object()


class Global(Place):
    expr = "V"
    beside = {"other global": _other_global}

    def put(self, value: Any) -> None:
        self.space["V"] = value


class Builtin(Place):
    expr = "_alternator_test"

    def put(self, value: Any) -> None:
        builtins._alternator_test = value

    def close(self) -> None:
        del builtins._alternator_test


class ModuleAttribute(Place):
    expr = "module.v"
    beside = {"other attribute": lambda place: setattr(place.space["module"], "w", 1)}

    def setup(self) -> None:
        self.space["module"] = types.ModuleType("module")

    def put(self, value: Any) -> None:
        self.space["module"].v = value


class GlobalOfAnotherModule(Place):
    expr = "read()"

    def setup(self) -> None:
        self.other: dict[str, Any] = {}
        exec("def read():\n    return v", self.other)
        self.space["read"] = self.other["read"]

    def put(self, value: Any) -> None:
        self.other["v"] = value


# ---- functions that are called


class ClosureOfCallee(Place):
    params = ", read"
    expr = "read()"

    def put(self, value: Any) -> None:
        self.read = lambda: value

    def args(self) -> tuple[Any, ...]:
        return (self.read,)


class CellOfCallee(ClosureOfCallee):
    """The same function, whose cell changes."""

    def setup(self) -> None:
        cell = types.CellType()
        self.cell = cell

        def outer() -> Any:
            contents: Any = None

            def read() -> Any:
                return contents

            return read

        self.read = types.FunctionType(outer().__code__, {}, "read", None, (cell,))

    def put(self, value: Any) -> None:
        self.cell.cell_contents = value


class DefaultOfCallee(ClosureOfCallee):
    def setup(self) -> None:
        def read(v: Any = None) -> Any:
            return v

        self.read = read

    def put(self, value: Any) -> None:
        self.read.__defaults__ = (value,)


class KwDefaultOfCallee(ClosureOfCallee):
    def setup(self) -> None:
        def read(*, v: Any = None) -> Any:
            return v

        self.read = read

    def put(self, value: Any) -> None:
        self.read.__kwdefaults__ = {"v": value}


class FunctionAttribute(Place):
    params = ", fn"
    expr = "fn.v"
    beside = {"other attribute": lambda place: setattr(place.fn, "w", 1)}

    def setup(self) -> None:
        self.fn = lambda: 1

    def put(self, value: Any) -> None:
        self.fn.v = value

    def args(self) -> tuple[Any, ...]:
        return (self.fn,)


class PartialArgument(ClosureOfCallee):
    def put(self, value: Any) -> None:
        self.read = functools.partial(_same, value)


class PartialKeyword(ClosureOfCallee):
    def put(self, value: Any) -> None:
        self.read = functools.partial(_same, value=value)


class PartialArgs(PartialArgument):
    expr = "read.args[0]"


class MethodSelf(ClosureOfCallee):
    def put(self, value: Any) -> None:
        thing = Thing()
        thing.v = value
        self.read = thing.give


class CallableObject(ClosureOfCallee):
    def put(self, value: Any) -> None:
        self.read = Calling()
        self.read.v = value


def _same(value: Any) -> Any:
    return value


# ---- objects


class Thing:
    def give(self) -> Any:
        return self.v


class Calling:
    def __call__(self) -> Any:
        return self.v


class Slotted:
    __slots__ = ("v", "w")


class WithProperty:
    @property
    def v(self) -> Any:
        return self._v


class WithGetattr:
    def __getattr__(self, name: str) -> Any:
        return self.__dict__["table"][name]


class WithGetattribute:
    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, "_" + name)


class WithCached:
    @functools.cached_property
    def v(self) -> Any:
        return self._v


@dataclasses.dataclass
class Data:
    v: Any = None
    w: Any = None


@dataclasses.dataclass(frozen=True)
class FrozenData:
    v: Any = None


class Pair(collections.namedtuple("Pair", "v w")):
    pass


class Attribute(Place):
    params = ", o"
    expr = "o.v"
    kind: type = Thing
    name = "v"
    beside = {
        "other attribute": lambda place: setattr(place.o, "w", 1),
        "attribute of the class": lambda place: setattr(type(place.o), "elsewhere", object()),
    }

    def setup(self) -> None:
        self.o = type(self.kind.__name__, (self.kind,), {"__slots__": ()} if self.kind is Slotted else {})()

    def put(self, value: Any) -> None:
        setattr(self.o, self.name, value)

    def args(self) -> tuple[Any, ...]:
        return (self.o,)


class NewObject(Attribute):
    """Another, alike object each time."""

    beside = {}
    cls = type("Fresh", (Thing,), {})

    def put(self, value: Any) -> None:
        self.o = self.cls()
        self.o.v = value


class Slot(Attribute):
    kind = Slotted


class Property(Attribute):
    kind = WithProperty
    name = "_v"


class Cached(Attribute):
    kind = WithCached

    def setup(self) -> None:
        super().setup()
        self.o.__dict__["v"] = None

    def put(self, value: Any) -> None:
        self.o.__dict__["v"] = value


class Getattribute(Attribute):
    kind = WithGetattribute
    name = "_v"
    beside = {"other attribute": lambda place: setattr(place.o, "w", 1)}

    def setup(self) -> None:
        self.o = WithGetattribute()


class Getattr(Attribute):
    kind = WithGetattr
    beside = {"other item": lambda place: place.o.__dict__["table"].__setitem__("w", 1)}

    def setup(self) -> None:
        super().setup()
        self.o.__dict__["table"] = {}

    def put(self, value: Any) -> None:
        self.o.__dict__["table"]["v"] = value


class ByName(Attribute):
    expr = "getattr(o, 'v', None)"


class ByVars(Attribute):
    expr = "vars(o)['v']"


class ByDict(Attribute):
    expr = "o.__dict__['v']"


class Namespace(Attribute):
    beside = {"other attribute": lambda place: setattr(place.o, "w", 1)}

    def setup(self) -> None:
        self.o = types.SimpleNamespace()


class DataField(Attribute):
    kind = Data


class FrozenField(Attribute):
    beside = {}

    def put(self, value: Any) -> None:
        self.o = FrozenData(value)


class TupleField(Attribute):
    beside = {}

    def put(self, value: Any) -> None:
        self.o = Pair(value, 1)


class Nested(Attribute):
    expr = "o.inner.inner.v"
    beside = {"other attribute": lambda place: setattr(place.o.inner.inner, "w", 1)}

    def setup(self) -> None:
        super().setup()
        self.o.inner = Thing()
        self.o.inner.inner = Thing()

    def put(self, value: Any) -> None:
        self.o.inner.inner.v = value


class GlobalObject(Attribute):
    params = ""
    expr = "O.v"

    def setup(self) -> None:
        super().setup()
        self.space["O"] = self.o

    def args(self) -> tuple[Any, ...]:
        return ()


# ---- classes


class ClassAttribute(Attribute):
    """Read through the instance."""

    beside = {
        "other class attribute": lambda place: setattr(place.owner, "w", 1),
        "other attribute": lambda place: setattr(place.o, "w", 1),
    }

    def setup(self) -> None:
        self.base = type("Base", (), {})
        self.kind = type("Kind", (self.base,), {})
        self.o = self.kind()
        self.owner = self.kind

    def takes(self, value: Any) -> bool:
        return _not_bound(value)

    def put(self, value: Any) -> None:
        self.owner.v = value


class BaseAttribute(ClassAttribute):
    def setup(self) -> None:
        super().setup()
        self.owner = self.base


class OfTheClass(ClassAttribute):
    expr = "type(o).v"


class OfTheBase(BaseAttribute):
    expr = "o.__class__.v"


class GlobalClass(ClassAttribute):
    params = ""
    expr = "C.v"

    def setup(self) -> None:
        super().setup()
        self.space["C"] = self.kind

    def args(self) -> tuple[Any, ...]:
        return ()


class MetaAttribute(GlobalClass):
    beside = {"other attribute of the class": lambda place: setattr(place.space["C"], "w", 1)}

    def setup(self) -> None:
        self.owner = type("Meta", (type,), {})
        self.space["C"] = self.owner("Kind", (), {})


class BySuper(ClassAttribute):
    expr = "o.through()"

    def setup(self) -> None:
        super().setup()
        self.owner = self.base
        base = self.base

        class Derived(base):
            v = None

            def through(self) -> Any:
                return super().v

        self.o = Derived()


class ByClassMethod(ClassAttribute):
    expr = "o.read()"

    def setup(self) -> None:
        super().setup()
        self.kind.read = classmethod(lambda cls: cls.v)


class EnumAttribute(Attribute):
    expr = "o.v"
    beside = {}

    def setup(self) -> None:
        self.o = enum.Enum("Color", "RED BLUE").RED


# ---- containers


class ListItem(Place):
    params = ", c"
    expr = "c[1]"
    beside = {"other item": lambda place: place.c.__setitem__(0, 9)}

    def setup(self) -> None:
        self.c: Any = [0, None, 0]

    def put(self, value: Any) -> None:
        self.c[1] = value

    def args(self) -> tuple[Any, ...]:
        return (self.c,)


class ListFromTheEnd(ListItem):
    expr = "c[-2]"


class NewList(ListItem):
    beside = {}

    def put(self, value: Any) -> None:
        self.c = [0, value]


class TupleItem(ListItem):
    beside = {}

    def put(self, value: Any) -> None:
        self.c = (0, value)


class Unpacked(TupleItem):
    before = "first, second = c"
    expr = "second"


class ListLoop(ListItem):
    before = "for item in c:\n    last = item"
    expr = "last"
    beside = {}

    def setup(self) -> None:
        self.c = [0, None]


class DictItem(ListItem):
    expr = "c['v']"
    beside = {
        "other item": lambda place: place.c.__setitem__("a", 9),
        "new item": lambda place: place.c.__setitem__("new", 9),
        "item gone": lambda place: place.c.__delitem__("a"),
    }

    def setup(self) -> None:
        self.c = {"a": 0, "v": None, "b": 0}

    def put(self, value: Any) -> None:
        self.c["v"] = value


class DictGet(DictItem):
    expr = "c.get('v')"


class DictInt(DictItem):
    expr = "c[7]"

    def put(self, value: Any) -> None:
        self.c[7] = value


class NewDict(DictItem):
    beside = {}

    def put(self, value: Any) -> None:
        self.c = {"v": value}


class DictValues(DictItem):
    expr = "list(c.values())[1]"
    beside = {}


class DictItems(DictItem):
    expr = "[value for key, value in c.items() if key == 'v'][0]"
    beside = {}


class Unfolded(DictItem):
    expr = "(lambda v, **rest: v)(**c)"
    beside = {}


class OrderedItem(DictItem):
    def setup(self) -> None:
        self.c = collections.OrderedDict(a=0, v=None, b=0)


class DefaultItem(DictItem):
    def setup(self) -> None:
        self.c = collections.defaultdict(list, a=0, v=None, b=0)


class DequeItem(ListItem):
    beside = {}

    def setup(self) -> None:
        self.c = collections.deque([0, None], maxlen=5)


class UserDictItem(DictItem):
    def setup(self) -> None:
        self.c = collections.UserDict(a=0, v=None, b=0)


class OwnDict(DictItem):
    def setup(self) -> None:
        self.c = type("Table", (dict,), {})(a=0, v=None, b=0)


class OwnList(ListItem):
    def setup(self) -> None:
        self.c = type("Row", (list,), {})([0, None])


class DeepItem(ListItem):
    expr = "c['a'][0]['b'][1]"
    beside = {"other item": lambda place: place.c["a"].append(9), "item above": lambda place: place.c.__setitem__("z", 9)}

    def setup(self) -> None:
        self.c = {"a": [{"b": [0, None]}, 1]}

    def put(self, value: Any) -> None:
        self.c["a"][0]["b"][1] = value


class ProxyItem(DictItem):
    beside = {}

    def setup(self) -> None:
        self.table = {"a": 0, "v": None}
        self.c = types.MappingProxyType(self.table)

    def put(self, value: Any) -> None:
        self.table["v"] = value


class ChainItem(ListItem):
    expr = "c['v']"
    beside = {}

    def setup(self) -> None:
        self.c = collections.ChainMap({}, {"v": None})

    def put(self, value: Any) -> None:
        self.c.maps[1]["v"] = value


# ---- modules


class Net(torch.nn.Module):
    pass


class ModulePlain(Attribute):
    kind = Net
    beside = {
        "other attribute": lambda place: setattr(place.o, "w", 1),
        "attribute of the class": lambda place: setattr(type(place.o), "elsewhere", object()),
        "new buffer": lambda place: place.o.register_buffer("more", torch.zeros(1)),
        "new parameter": lambda place: setattr(place.o, "weight", torch.nn.Parameter(torch.zeros(1))),
        "new submodule": lambda place: setattr(place.o, "part", torch.nn.ReLU()),
    }

    def put(self, value: Any) -> None:
        if hasattr(self.o, "v"):  # a module keeps parameters and plain values apart
            del self.o.v
        self.o.v = value


class SubmodulePlain(ModulePlain):
    expr = "o.part.v"
    beside = {"other attribute": lambda place: setattr(place.o.part, "w", 1)}

    def setup(self) -> None:
        super().setup()
        self.o.part = Net()

    def put(self, value: Any) -> None:
        if hasattr(self.o.part, "v"):
            del self.o.part.v
        self.o.part.v = value


class ContainerPlain(ModulePlain):
    expr = "[part for part in o.parts][1].v"
    beside = {}

    def setup(self) -> None:
        super().setup()
        self.o.parts = torch.nn.ModuleList([torch.nn.ReLU(), Net()])

    def put(self, value: Any) -> None:
        if hasattr(self.o.parts[1], "v"):
            del self.o.parts[1].v
        self.o.parts[1].v = value


class NewModule(ModulePlain):
    beside = {}
    cls = type("FreshNet", (Net,), {})

    def put(self, value: Any) -> None:
        self.o = self.cls()
        self.o.v = value
