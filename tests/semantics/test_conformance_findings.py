"""Rules that CPython's own tests found broken (see docs/conformance.md), each with a program of ours."""

import collections
import gc
import weakref

import pytest
import torch
from helpers import same

import alternator
from alternator import config, utils


@pytest.fixture(autouse=True)
def _strict():
    with config.patch(raise_internal_errors=True, allow_empty_graphs=True):
        yield


class Number:
    """What native code asks for comes from an attribute, which may be symbolic."""

    def __init__(self, n):
        self.n = n

    def __hash__(self):
        return self.n

    def __eq__(self, other):
        return self.n == other.n

    def __index__(self):
        return self.n

    def __bool__(self):
        return self.n > 3

    def __float__(self):
        return self.n * 1.5


@pytest.mark.parametrize("dynamic", [None, True])
def test_native_code_gets_numbers_from_special_methods(dynamic):
    def fn(x, n):
        kept = {Number(n): 1}
        alive = [one.n for one in filter(None, [Number(n), Number(n - 2)])]
        return (
            x + 1,
            kept[Number(n)],
            [*range(10)][Number(n)],
            alive,
            float(Number(n)),
            hash(Number(n)),
            [1, 2, 3][Number(n - 1) :],
        )

    same(fn, torch.ones(2), 3, then=[(torch.ones(2), n) for n in (4, 2, 5)], dynamic=dynamic)


def test_a_handler_that_binds_a_name_behind_a_break_in_a_function_that_shows_its_locals():
    def fn(x):
        def inner(y):
            alternator.graph_break()
            return y / 0

        try:
            return x + inner(len(locals()))
        except ZeroDivisionError as error:
            return x, str(error), sorted(locals())

    same(fn, torch.ones(2))


class Reference(weakref.ref):
    """Each method has the name of one in C, which it calls."""

    def __new__(cls, obj, value):
        return super().__new__(cls, obj)

    def __init__(self, obj, value):
        self.value = value
        super().__init__(obj)

    def __call__(self):
        obj = super().__call__()
        return obj, self.value


class Things(dict):
    def update(self, other):
        super().update(other)
        self.updated = True

    def __setitem__(self, key, value):
        alternator.graph_break()
        super().__setitem__(key, value + 1)


class Thing:
    pass


def test_a_method_in_c_that_the_class_overrides():
    thing = Thing()

    def fn(x):
        made = Reference(thing, x + 1)
        things = Things()
        set_item = super(Things, things).__setitem__
        alternator.graph_break()
        things[1] = 2
        set_item(2, 3)
        alternator.graph_break()
        things.update({5: 6})
        return made()[0] is thing, made()[1], dict(things), things.updated

    same(fn, torch.ones(2))


def test_which_class_a_method_in_c_is_of_is_guarded():
    def fn(x, of):
        return x + of()

    class Ordered(collections.OrderedDict):
        pass

    made = Ordered(a=1)
    same(fn, torch.ones(2), made.__len__, then=[(torch.ones(2), super(Ordered, made).__len__)])

    def texts(x, of):
        return x, of()

    same(texts, torch.ones(2), made.__repr__, then=[(torch.ones(2), dict.__repr__.__get__(made))])


def test_a_function_in_c_that_nobody_keeps_is_not_kept_by_guards():
    made = Thing().__init_subclass__  # bound to a class that nobody keeps
    where = weakref.ref(made)

    def fn(x, function):
        return x + 1, function is None

    same(fn, torch.ones(2), made)
    alternator.compile(fn, backend="eager")(torch.ones(2), made)
    del made
    gc.collect()
    assert where() is None


def test_garbage_that_changes_what_a_capture_read_is_no_bug():
    class Dying:
        def __del__(self):
            seen.append(1)

    seen = []
    before = gc.get_threshold()

    def backend(gm, example_inputs):
        one = Dying()
        one.itself = one
        gc.set_threshold(1)
        return gm.forward

    def fn(x):
        return x + len(seen)

    internal = sum(utils.counters["internal_errors"].values())
    try:
        result = alternator.compile(fn, backend=backend)(torch.zeros(1))
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert result.item() in (0, len(seen)) and seen
    assert sum(utils.counters["internal_errors"].values()) == internal
