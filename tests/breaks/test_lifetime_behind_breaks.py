"""What dies in the middle of a function dies there behind a break, too: nothing of ours holds it."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest
import torch
from helpers import same

import alternator

X = torch.ones(2)
LOG: list[Any] = []


class Noisy:
    def __init__(self, name: str = "it") -> None:
        self.name = name

    def __del__(self) -> None:
        LOG.append(f"{self.name} is gone")


def deleted(x: Any) -> Any:
    thing = fresh()
    alternator.graph_break()
    x = x + 1
    del thing
    alternator.graph_break()
    LOG.append("later")
    alternator.graph_break()
    return x


def fresh(name: str = "it") -> Any:
    thing = Noisy(name)
    sys.intern("opaque")
    alternator.graph_break()
    return thing


def replaced(x: Any) -> Any:
    thing = fresh()
    for i in range(3):
        alternator.graph_break()
        x = x + i
        thing = fresh(str(i))
        LOG.append(i)
    alternator.graph_break()
    return x, thing is None


def an_argument(x: Any, boxed: Any) -> Any:
    thing = boxed.pop()
    alternator.graph_break()
    x = x + len(thing.name)
    thing = None
    alternator.graph_break()
    LOG.append(thing)
    return x


def taken(x: Any, boxed: Any) -> Any:
    boxed.clear()
    alternator.graph_break()
    LOG.append("cleared")
    return x + 1


def in_a_callee(x: Any) -> Any:
    def inner(thing: Any) -> Any:
        alternator.graph_break()
        del thing
        x.sin()
        alternator.graph_break()
        LOG.append("inner")
        return 1

    return x + inner(fresh()) * 2


def in_a_plain_callee(x: Any) -> Any:
    def inner() -> None:
        thing = fresh("plain")
        alternator.graph_break()
        del thing
        alternator.graph_break()
        LOG.append("inner")

    inner()
    LOG.append("outer")
    return x * 2


def seen_by_the_break(x: Any) -> Any:
    thing = fresh()
    alternator.graph_break()
    x = x + 1
    del thing
    look()
    return x + 1


def look() -> None:
    gc.collect()
    LOG.append(len(LOG))


def weak(x: Any) -> Any:
    thing = fresh()
    ref = weakref.ref(thing)
    alternator.graph_break()
    x = x * 2
    del thing
    gc.collect()
    LOG.append(ref() is None)
    return x


@pytest.mark.parametrize("fn", [deleted, replaced, in_a_callee, in_a_plain_callee, seen_by_the_break, weak])
def test_dies_where_it_does_plainly(fn: Any) -> None:
    _compare(fn, lambda: (X,))


@pytest.mark.parametrize("fn", [an_argument, taken])
def test_what_came_in_dies_where_it_does_plainly(fn: Any) -> None:
    _compare(fn, lambda: (X, [Noisy()]))


def _compare(fn: Any, make: Any) -> None:
    alternator.reset()
    compiled = alternator.compile(fn, backend="eager")
    for _ in range(3):
        logs = []
        for one in (fn, compiled):
            LOG.clear()
            one(*make())
            logs.append(list(LOG))
        assert logs[0] == logs[1]


def test_a_tensor_that_is_not_needed_is_freed_behind_a_break() -> None:
    refs: list[Any] = []

    def f(x: Any) -> Any:
        big = x * 2
        alternator.graph_break()
        refs.append(weakref.ref(big))
        alternator.graph_break()
        y = big.sum()
        del big
        alternator.graph_break()
        LOG.append(refs[-1]() is None)
        return y

    LOG.clear()
    compiled = alternator.compile(f, backend="eager")
    for _ in range(3):
        compiled(torch.ones(10))
    assert LOG == [True] * 3


def test_results_are_the_same() -> None:
    same(lambda x: deleted(x) * 2, X)


@alternator.disable
def observe(*held: Any) -> None:
    LOG.append(f"{len(LOG)} before")


def test_the_break_itself_finds_them_gone() -> None:
    def root(x: Any, boxed: Any) -> Any:
        thing = boxed.pop()
        x = x + len(thing.name)
        del thing
        observe()
        return x * 2

    def continued(x: Any, boxed: Any) -> Any:
        thing = boxed.pop()
        observe(thing)
        x = x + len(thing.name)
        del thing
        observe()
        observe()
        return x * 2

    def nested(x: Any, boxed: Any) -> Any:
        def inner(thing: Any, other: Any) -> Any:
            observe(thing)
            del thing
            observe()
            return len(other.name)

        y = inner(boxed.pop(), Noisy("other")) + x
        observe()
        return y

    for fn in (root, continued, nested):
        _compare(fn, lambda: (X, [Noisy()]))
