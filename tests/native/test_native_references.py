"""What guards that compare objects hold: as little as can be."""

import gc
import importlib
import sys
import weakref

import pytest
from native_helpers import Checked, Table


def class_with(value):
    """A class with an attribute that is guarded by identity: (checked, class)."""
    cls = type("Made", (), {"x": value})
    table = Table()
    table.node(table.node(-1, "object", cls), "typeattr", "x", ("IS", value))
    return Checked(table), cls


UNREFERABLE = {
    "property": lambda: property(lambda self: 1),
    "staticmethod": lambda: staticmethod(lambda: 1),
    "slot": lambda: type("Other", (), {"__slots__": ("x",)}).x,
    "instance": lambda: type("Other", (), {"__slots__": ()})(),
    "tuple": lambda: ([],),
}


@pytest.mark.parametrize("make", UNREFERABLE.values(), ids=UNREFERABLE.keys())
def test_what_takes_no_weak_reference_lives_with_its_class(make):
    value = make()
    checked, cls = class_with(value)
    address, gone = id(value), weakref.ref(cls)
    del value
    for _ in range(4):
        cls.x = make()
        assert id(cls.x) != address  # it is kept for the comparison
        checked.fails("expected the object")
    del cls
    gc.collect()
    assert gone() is None
    checked.fails("gone")
    assert checked.tree.dead


def test_a_class_lets_go_of_what_it_kept_for_a_tree():
    getter = lambda self: 1  # noqa: E731
    checked, cls = class_with(property(getter))
    gone = weakref.ref(getter)
    del getter, cls.x
    assert gone() is not None
    checked.tree = None
    gc.collect()
    assert gone() is None


def test_functions_of_a_module_that_is_imported_anew_are_held_weakly():
    old = sys.modules.pop("_bisect")
    try:
        module = importlib.import_module("_bisect")
    finally:
        sys.modules["_bisect"] = old
    assert module is not old
    gone, table = weakref.ref(module), Table()
    table.local(0, ("IS", module.bisect_left))
    checked = Checked(table, None, [module.bisect_left])
    checked.values[0] = None
    del module, table
    gc.collect()
    assert gone() is None
    checked.fails("gone")
    assert checked.tree.dead
