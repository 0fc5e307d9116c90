"""Where an object dies inside of a captured piece: ways to see it x ways to drop it."""

from __future__ import annotations

import collections
import functools
import sys
import weakref
from typing import Any, Callable, Iterator

import pytest
import torch
from helpers import assert_same, same

import alternator
from alternator import utils

X = torch.ones(2)
LOG: list[Any] = []
MADE: dict[str, Any] = {}


class Plain:
    """An object of which nobody knows when it dies."""

    def __init__(self) -> None:
        self.other: Any = None


class Noisy(Plain):
    def __del__(self) -> None:
        LOG.append("gone")


def cleaning() -> Iterator[int]:
    try:
        yield 1
    finally:
        LOG.append("gone")


def called_back(ref: Any) -> None:
    LOG.append("gone")


class Finalized(Plain):
    def __init__(self) -> None:
        super().__init__()
        weakref.finalize(self, LOG.append, "gone")


# ---- what can be seen to die: made outside of what is captured


@alternator.disable
def with_del() -> Any:
    return Noisy()


@alternator.disable
def with_callback() -> Any:
    made = Plain()
    MADE["ref"] = weakref.ref(made, called_back)
    return made


@alternator.disable
def with_finalizer() -> Any:
    return Finalized()


@alternator.disable
def with_generator() -> Any:
    made = cleaning()
    next(made)
    return made


@alternator.disable
def holding_one() -> Any:
    made = Plain()
    made.other = [Noisy()]
    return made


@alternator.disable
def in_a_closure() -> Any:
    held = Noisy()
    return lambda: held


@alternator.disable
def with_a_traceback() -> Any:
    def raising() -> None:
        held = Noisy()  # noqa: F841
        raise ValueError

    try:
        raising()
    except ValueError as error:
        return error


OBSERVED = [with_del, with_callback, with_finalizer, with_generator, holding_one, in_a_closure, with_a_traceback]


# ---- ways to drop it


def deleted(x: Any, make: Any) -> Any:
    it = make()
    x = x + 1
    LOG.append("before")
    del it
    LOG.append("behind")
    return x, len(LOG)


def bound_anew(x: Any, make: Any) -> Any:
    it = make()
    x = x + 1
    LOG.append("before")
    it = None
    LOG.append("behind")
    return x, it, len(LOG)


def bound_in_a_loop(x: Any, make: Any) -> Any:
    for _ in range(3):
        it = make()
        x = x + 1
        LOG.append("round")
    return x, it is None, len(LOG)


def never_bound(x: Any, make: Any) -> Any:
    LOG.append("before")
    make()
    return x, len(LOG)


def compared_and_dropped(x: Any, make: Any) -> Any:
    LOG.append("before")
    same_one = make() is None
    return x, same_one, len(LOG)


def handed_over(x: Any, make: Any) -> Any:
    def inner(it: Any, x: Any) -> Any:
        x = x + 1
        LOG.append("inside")
        return x

    x = inner(make(), x)
    LOG.append("behind")
    return x, len(LOG)


def dropped_by_the_callee(x: Any, make: Any) -> Any:
    def inner(it: Any, x: Any) -> Any:
        LOG.append("before")
        del it
        LOG.append("behind")
        return x + 1, len(LOG)

    return inner(make(), x)


def popped(x: Any, make: Any) -> Any:
    items = [make()]
    x = x + 1
    items.pop()
    return x, len(LOG)


def popped_and_kept(x: Any, make: Any) -> Any:
    items = [make()]
    alternator.graph_break()
    it = items.pop()
    LOG.append("before")
    x = x + 1
    del it
    return x, len(LOG)


def cleared(x: Any, make: Any) -> Any:
    items = [make(), 1]
    alternator.graph_break()
    x = x + 1
    items.clear()
    return x, len(LOG)


def sliced_away(x: Any, make: Any) -> Any:
    items = [1, make()]
    alternator.graph_break()
    items[1:] = [2, 3]
    return x + 1, len(LOG)


def left_of_a_deque(x: Any, make: Any) -> Any:
    items = collections.deque([make(), 1])
    alternator.graph_break()
    items.popleft()
    return x + 1, len(LOG)


def with_its_list(x: Any, make: Any) -> Any:
    items = [make()]
    x = x + 1
    del items
    return x, len(LOG)


def with_its_tuple(x: Any, make: Any) -> Any:
    pair = (make(), 1)
    alternator.graph_break()
    x = x + 1
    pair = pair[1]
    return x, pair, len(LOG)


def replaced_in_a_dict(x: Any, make: Any) -> Any:
    table = {"it": make()}
    x = x + 1
    table["it"] = None
    return x, len(LOG)


def deleted_from_a_dict(x: Any, make: Any) -> Any:
    table = {"it": make(), "other": 1}
    alternator.graph_break()
    x = x + 1
    del table["it"]
    return x, len(LOG)


def attribute_bound_anew(x: Any, make: Any) -> Any:
    box = Plain()
    box.other = make()
    x = x + 1
    box.other = None
    return x, len(LOG)


def attribute_deleted(x: Any, make: Any) -> Any:
    box = Plain()
    box.other = make()
    alternator.graph_break()
    x = x + 1
    del box.other
    return x, len(LOG)


def class_attribute_bound_anew(x: Any, make: Any) -> Any:
    Plain.shared = make()
    x = x + 1
    Plain.shared = None
    return x, len(LOG)


HELD: Any = None


def global_bound_anew(x: Any, make: Any) -> Any:
    global HELD
    HELD = make()
    x = x + 1
    HELD = None
    return x, len(LOG)


def cell_bound_anew(x: Any, make: Any) -> Any:
    it = make()

    def look() -> bool:
        return it is None

    x = x + 1
    LOG.append("before")
    it = None
    return x, look(), len(LOG)


def with_a_frame_that_raises(x: Any, make: Any) -> Any:
    def inner(x: Any) -> None:
        it = make()  # noqa: F841
        x + 1
        raise KeyError("inner")

    try:
        inner(x)
    except KeyError:
        LOG.append("handled")
    LOG.append("behind")
    return x + 1, len(LOG)


def with_an_exception(x: Any, make: Any) -> Any:
    try:
        raise KeyError(make())
    except KeyError as error:
        LOG.append(len(error.args))
        x = x + 1
    LOG.append("behind")
    return x, len(LOG)


def with_an_iterator(x: Any, make: Any) -> Any:
    for _ in [make()]:
        x = x + 1
    del _
    LOG.append("behind")
    return x, len(LOG)


def with_what_holds_it_in_a_partial(x: Any, make: Any) -> Any:
    bound = functools.partial(len, make())
    x = x + 1
    bound = None
    return x, bound, len(LOG)


DROPS = [
    deleted,
    bound_anew,
    bound_in_a_loop,
    never_bound,
    compared_and_dropped,
    handed_over,
    dropped_by_the_callee,
    popped,
    popped_and_kept,
    cleared,
    sliced_away,
    left_of_a_deque,
    with_its_list,
    with_its_tuple,
    replaced_in_a_dict,
    deleted_from_a_dict,
    attribute_bound_anew,
    attribute_deleted,
    class_attribute_bound_anew,
    global_bound_anew,
    cell_bound_anew,
    with_a_frame_that_raises,
    with_an_exception,
    with_an_iterator,
    with_what_holds_it_in_a_partial,
]


def run(drop: Callable[..., Any], make: Callable[..., Any]) -> None:
    def whole(x: Any) -> Any:
        LOG.clear()
        return *drop(x, make), list(LOG)

    alternator.reset()
    compiled = alternator.compile(whole, backend="eager")
    for number in range(3):
        assert_same(whole(X), compiled(X), f"call {number}")


@pytest.mark.parametrize("make", OBSERVED, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("drop", DROPS, ids=lambda fn: fn.__name__)
def test_dies_at_its_place(drop: Any, make: Any) -> None:
    if make is with_a_traceback and drop in (with_a_frame_that_raises, bound_in_a_loop):
        pytest.skip("a cycle of tracebacks and frames, which only the garbage collector takes apart")
    run(drop, make)


@pytest.mark.parametrize("drop", DROPS, ids=lambda fn: fn.__name__)
def test_a_class_with_del_that_is_made_in_captured_code(drop: Any) -> None:
    run(drop, Noisy)


def test_what_holds_its_holder_is_guarded_without_it():
    """The new attribute refers back to the object, which is looked at by itself when the guard is made: also when it is checked."""

    class Part:
        def __init__(self, owner):
            self.owner = owner

    class Owner:
        part = None

        def __init__(self):
            self.out = sys.stderr  # its end would show

    def f(x, o):
        before = o.part
        o.part = Part(o)
        try:
            alternator.graph_break()
            return x + 1
        finally:
            o.part = before

    utils.counters.clear()
    compiled, owner = alternator.compile(f, backend="eager"), Owner()
    for _ in range(2):
        assert compiled(torch.ones(1), owner).tolist() == [2]
        assert owner.part is None
    assert not utils.counters["internal_errors"]


MANY = [Plain() for _ in range(2000)]
"""More than is looked through: in doubt its end shows."""


def _twice(x: torch.Tensor, many: list[Plain]) -> tuple[torch.Tensor, list[Plain]]:
    alternator.graph_break()
    x = x * 2
    alternator.graph_break()
    return x + len(many), many


def _between(x: torch.Tensor, many: list[Plain]) -> tuple[torch.Tensor, list[Plain]]:
    y, many = _twice(x + 1, many)
    return y * 2, many


def _above(x: torch.Tensor, many: list[Plain]) -> tuple[torch.Tensor, list[Plain]]:
    y, many = _between(x, many)
    return y + 1, many


def test_lists_of_arguments_of_the_rests_of_callees_are_no_objects_of_the_program():
    def f(x):
        return _above(x, MANY)

    same(f, X, graphs=3, breaks=["GRAPH_BREAK_CALL", "GRAPH_BREAK_CALL"])
