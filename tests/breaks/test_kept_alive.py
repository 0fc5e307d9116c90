"""Behind a break an object lives as long as the variable that holds it, read or not."""

from __future__ import annotations

import weakref

import torch
from helpers import same

import alternator

X = torch.ones(2)


class Thing:
    """An object that can be referred to weakly."""


def test_what_a_variable_holds_that_nobody_reads() -> None:
    def f(x, log):
        thing = Thing()
        pair = [Thing()]
        seen = weakref.ref(thing), weakref.ref(pair[0])
        alternator.graph_break()
        log.append([one() is not None for one in seen])
        y = x + 1
        alternator.graph_break()
        log.append([one() is not None for one in seen])
        thing = pair = None
        alternator.graph_break()
        log.append([one() is not None for one in seen])
        return y

    same(f, X, [])


def waiting(log, i):
    try:
        yield i
    finally:
        log.append(f"closed {i}")


def test_generators_that_wait_are_closed_where_they_are_bound_anew() -> None:
    def f(x, log):
        for i in range(3):
            it = waiting(log, i)
            x = x + next(it)
            log.append(i)
            alternator.graph_break()
            x = x * 2
        log.append("behind the loop")
        return x

    same(f, X, [])


def test_in_the_callers_of_what_breaks() -> None:
    def leaf(x):
        alternator.graph_break()
        return x + 1

    def middle(x, log):
        it = waiting(log, "middle")
        next(it)
        y = leaf(x)
        alternator.graph_break()
        log.append("behind the leaf")
        alternator.graph_break()
        return y

    def f(x, log):
        mine = Thing()
        seen = weakref.ref(mine)
        y = middle(x, log)
        alternator.graph_break()
        log.append(seen() is not None)
        return y * 2

    same(f, X, [])


def test_a_loop_with_objects_is_captured_once_or_twice() -> None:
    def f(x, log):
        for _ in range(8):
            thing = Thing()  # noqa: F841
            x = x + 1
            alternator.graph_break()
            x = x * 2
        return x

    same(f, X, [], graphs=3)


def test_a_buffer_that_is_exported_and_a_reference_with_a_callback() -> None:
    def f(x, log, data):
        view = memoryview(data)  # noqa: F841
        things = [Thing()]
        told = weakref.ref(things[0], lambda _: log.append("gone"))  # noqa: F841
        alternator.graph_break()
        y = x + 1
        try:
            data.append(1)
        except BufferError:
            log.append("held")
        alternator.graph_break()
        things.clear()
        alternator.graph_break()
        log.append("end")
        return y * 2

    same(f, X, [], bytearray(3))
