"""Modules, classes and what lies in classes die when the program lets go of them, whatever was compiled with them."""

import gc
import sys
import types
import weakref

import pytest
import torch
from helpers import assert_same

import alternator
from alternator import config

X = torch.ones(2)
SOURCE = """
import dataclasses, enum

class Thing:
    level = 2
    def method(self, x): return x + self.level
    @property
    def double(self): return self.level * 2
    @staticmethod
    def static(x): return x + 3
    @classmethod
    def made(cls, x): return x + cls.level

class Slots:
    __slots__ = ("a",)
    def __init__(self, a): self.a = a
    def __eq__(self, other): return self.a == other.a

@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    n: int = 1

class Flags(enum.IntFlag):
    A = 1
    B = 2

thing, slots, flag = Thing(), Slots(2), Flags.A
"""


def python_module():
    module = types.ModuleType("fresh")
    sys.modules["fresh"] = module  # for dataclasses
    exec(SOURCE, module.__dict__)
    del sys.modules["fresh"]
    return module


def extension_module():
    old = sys.modules.pop("_struct")
    try:
        import _struct
    finally:
        sys.modules["_struct"] = old
    assert _struct is not old
    _struct.packs = _struct.Struct("b")
    return _struct


def broken(x):
    alternator.graph_break()
    return x


OF_EXTENSIONS = {
    "function": lambda m, x: x + m.calcsize("b"),
    "class": lambda m, x: x + m.Struct("b").size,
    "method": lambda m, x: (x + 1, m.packs.pack(3)),
    "descriptor": lambda m, x: (x + 1, m.Struct.pack(m.packs, 3), m.Struct.size),
    "exception": lambda m, x: x + issubclass(m.error, Exception),
    "identity": lambda m, x: x + (type(m.packs) is m.Struct) + (m.pack is m.calcsize),
}
OF_PYTHON = {
    "method": lambda m, x: m.thing.method(x),
    "property": lambda m, x: x + m.thing.double,
    "static": lambda m, x: m.thing.static(x) + m.Thing.static(x),
    "classmethod": lambda m, x: m.thing.made(x) + m.Thing.made(x),
    "descriptor": lambda m, x: (x + 1, m.Slots.a, m.Thing.double),
    "slots": lambda m, x: x + m.slots.a + m.Slots(3).a,
    "slots returned": lambda m, x: (x + 1, m.Slots(3)),
    "frozen": lambda m, x: (x + m.Frozen(3).n, m.Frozen(3)),
    "flags": lambda m, x: (x + (m.flag | m.Flags.B).value, m.Flags.A),
    "namespace": lambda m, x: x + len(vars(m.thing)) + len(vars(m.Thing)),
    "break": lambda m, x: broken(x) + m.thing.double + m.Slots(3).a,
}
USES = [(extension_module, use) for use in OF_EXTENSIONS.values()] + [(python_module, use) for use in OF_PYTHON.values()]
NAMES = [f"extension: {name}" for name in OF_EXTENSIONS] + [f"python: {name}" for name in OF_PYTHON]


def run(fn, *args):
    for empty in (False, True):
        with config.patch(allow_empty_graphs=empty):
            for _ in range(4):
                assert_same(fn(*args), fn.__wrapped__(*args))


@pytest.mark.parametrize(("make", "use"), USES, ids=NAMES)
def test_what_was_reached_from_outside_dies(make, use):
    holder = {"module": make()}
    compiled = alternator.compile(lambda x: use(holder["module"], x), backend="eager")
    refs = [weakref.ref(value) for value in vars(holder["module"]).values() if isinstance(value, type)]
    refs.append(weakref.ref(holder["module"]))
    run(compiled, X)
    holder.clear()
    gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)
    holder["module"] = make()  # and what comes in its place, at the same addresses perhaps, is looked at
    run(compiled, X)


@pytest.mark.parametrize("use", OF_PYTHON.values(), ids=OF_PYTHON.keys())
def test_what_is_compiled_dies_with_its_module(use):
    """Code objects are hidden from the collector, and so is what they hold."""
    module = python_module()
    own = types.FunctionType(use.__code__.replace(), {**globals(), "module": module})
    module.compiled = alternator.compile(own, backend="eager")
    refs = [weakref.ref(module), weakref.ref(module.Thing), weakref.ref(module.Slots)]
    run(module.compiled, module, X)
    del module, own
    gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)


def test_a_property_that_is_replaced_again_and_again():
    class Thing:
        pass

    def fn(x):
        return x + Thing.__dict__["value"].fget(None) + thing.value

    thing = Thing()
    compiled = alternator.compile(fn, backend="eager")
    for i in range(12):
        Thing.value = property(lambda self, i=i: i)
        assert_same(compiled(X), fn(X))
        del Thing.value  # the next one may lie where it lay


def test_nothing_is_kept_for_what_is_compiled_no_more():
    class Thing:
        __slots__ = ("a",)

    thing, gone = Thing(), []
    thing.a = 1

    def once():
        def fn(x):
            return x + thing.a + thing.b

        getter = lambda self: 2  # noqa: E731
        gone.append(weakref.ref(getter))
        Thing.b = property(getter)
        code = fn.__code__.replace()
        alternator.compile(types.FunctionType(code, fn.__globals__, "fn", None, fn.__closure__), backend="eager")(X)

    for _ in range(3):
        once()
    del Thing.b
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    assert not any(type(part) is dict and thing in part.values() for part in gc.get_referents(Thing))
