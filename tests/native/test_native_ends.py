"""Whether the end of an object shows: what the native module says, and what plain Python says; and the guard on it."""

import asyncio
import collections
import functools
import io
import sys
import threading
import types
import weakref

import pytest
import torch
from native_helpers import Checked, Table, Thing

from alternator.provenance import ends
from alternator.tensors import recheck_ends


class Noisy:
    def __del__(self):
        pass


class Slotted:
    __slots__ = ("x", "__weakref__")


class Inherits(Noisy, Thing):
    pass


def holding(*held):
    made = Thing()
    made.held = held
    return made


def referred():
    made = Thing()
    made.ref = weakref.ref(made)
    return made


def waiting(body):
    made = body()
    next(made)
    return made


def plain_body():
    yield 1
    yield 2


def cleaning_body():
    yield 1
    try:
        yield 2
    finally:
        pass


def in_try():
    made = waiting(cleaning_body)
    next(made)
    return made


def finished():
    made = cleaning_body()
    for _ in made:
        pass
    return made


async def coroutine():
    pass


async def agenerator():
    yield 1


def closed_coroutine():
    made = coroutine()
    made.close()
    return made


def begun_coroutine():
    made = coroutine()
    KEPT.append(made)  # or it warns that nobody awaited it
    return made


def raised():
    try:
        raise ValueError(Noisy())
    except ValueError as error:
        return error


def raised_quietly():
    try:
        raise ValueError(1)
    except ValueError as error:
        return error


KEPT: list = []
VALUES = {
    "int": (lambda: 1, False),
    "module": (lambda: sys, False),
    "class": (lambda: Noisy, False),
    "tensor": (lambda: torch.ones(1), False),
    "nn.Module": (lambda: torch.nn.Linear(1, 1), False),
    "list": (lambda: [1, "a", (2, 3)], False),
    "noisy": (Noisy, True),
    "of a class that inherits __del__": (Inherits, True),
    "deep below": (lambda: {"a": [({"b": holding(Noisy())},)]}, True),
    "plain": (lambda: holding(1, [2]), False),
    "weakly referred to": (referred, True),
    "slots": (Slotted, False),
    "a cycle": (lambda: (made := [], made.append(made))[0], False),
    "set": (lambda: {1, 2}, False),
    "deque of noisy": (lambda: collections.deque([Noisy()]), True),
    "partial": (lambda: functools.partial(len, Noisy()), True),
    "function": (lambda: lambda: 1, False),
    "closure": (lambda: (lambda held: lambda: held)(Noisy()), True),
    "default": (lambda: lambda held=Noisy(): held, True),
    "method": (lambda: Noisy().__init__, True),
    "generator at its start": (cleaning_body, False),
    "generator": (lambda: waiting(plain_body), False),
    "generator in front of try": (lambda: waiting(cleaning_body), False),
    "generator in try": (in_try, True),
    "finished generator": (finished, False),
    "coroutine": (begun_coroutine, True),
    "closed coroutine": (closed_coroutine, False),
    "asynchronous generator": (agenerator, True),
    "event loop policy": (lambda: holding(asyncio.Event), False),
    "text in memory": (io.StringIO, False),
    "iterator": (lambda: enumerate(iter([1])), False),
    "iterator over noisy": (lambda: enumerate(iter([Noisy()])), True),
    "exception with a traceback": (raised_quietly, False),
    "exception that holds one": (raised, True),
    "more than is looked through": (lambda: [[i] for i in range(2 * ends.MOST)], True),
    "many that have no end": (lambda: list(range(5 * ends.MOST)), False),
    "namespace": (lambda: types.SimpleNamespace(a=Noisy()), True),
    "ours": (lambda: ends.way_to_hold, False),
}


@pytest.mark.parametrize("name", VALUES)
def test_whether_the_end_shows(name):
    make, expected = VALUES[name]
    value = make()
    assert ends.is_observed(value) is expected
    assert recheck_ends.is_observed(value, (), ends.MOST) is expected
    assert ends.is_observed(holding(value)) is expected
    assert ends.is_observed([value, holding()], apart=[value]) is False
    if name == "coroutine":
        value.close()


def test_a_class_is_looked_at_as_it_is_now():
    made = Thing()

    class Kind:
        pass

    made.held = Kind()
    assert not ends.is_observed(made)
    Kind.__del__ = lambda self: None
    assert ends.is_observed(made)
    del Kind.__del__
    assert not ends.is_observed(made)
    Kind.__module__ = "alternator.tests"
    made.held.other = Noisy()
    assert not ends.is_observed(made)
    Kind.__module__ = "alternator_but_not_ours"
    assert ends.is_observed(made)


def test_what_is_held():
    inline, told, slotted, cell = Thing(), Thing(), Slotted(), (lambda: made).__closure__[0]
    inline.x, told.__dict__["x"], slotted.x = 1, 1, 1
    made = 1
    Thing.shared = 5
    cases = [
        ("attribute", inline, "x", 1),
        ("attribute", inline, "shared", ends.MISSING),
        ("attribute", told, "x", 1),
        ("attribute", told, "y", ends.MISSING),
        ("attribute", slotted, "x", 1),
        ("attribute", Slotted(), "x", ends.MISSING),
        ("attribute", sys, "path", sys.path),
        ("class", Thing, "shared", 5),
        ("class", Inherits, "shared", ends.MISSING),
        ("global", {"a": 1}, "a", 1),
        ("global", {"a": 1}, "b", ends.MISSING),
        ("cell", cell, "", 1),
        ("cell", types.CellType(), "", ends.MISSING),
        ("itself", inline, "", inline),
    ]
    for how, holder, name, expected in cases:
        assert ends.held(how, holder, name) is expected, (how, name)
        assert recheck_ends._HELD[how](holder, name) is expected, (how, name)
    del Thing.shared, made
    mine = threading.local()
    mine.x = 1
    assert ends.held(ends.way_to_hold("setattr", mine), mine, "x") == 1


@pytest.mark.parametrize("how", ["itself", "attribute"])
def test_the_guard(how):
    def holder_of(value):
        made = Thing()
        made.x = value
        return value if how == "itself" else made

    table = Table()
    nodes = table.local(0), table.local(1)
    table.tail.append(("QUIET", nodes, how, "x", 10, "nobody is told"))
    checked = Checked(table, None, [holder_of(holding(1)), None])
    for value in (holding([2]), [3], 4, holding(*map(list, [()] * 5))):
        checked.values[0] = holder_of(value)
        checked.passes()
    for value in (Noisy(), holding(Noisy()), referred(), holding(*([i] for i in range(20)))):
        checked.values[0] = holder_of(value)
        checked.fails("nobody is told")
    apart = Noisy()
    checked.values[:] = [holder_of(holding(apart)), apart]
    checked.passes()
    if how == "attribute":
        checked.values[0] = Thing()  # there is nothing
        checked.passes()
