"""The soundness matrix: a value in a place, a way to look at it, one change - and exactly the recompiles that it takes.

What was read and changes costs one new graph and gives the right result; what was not read, or was replaced by something alike,
costs none.
"""

from __future__ import annotations

import re

import pytest
import torch
from places import PLACES
from reads import CORE, READS, SPACE, Put

import alternator
from alternator import config

EVERYWHERE = ("argument", "attribute")
"""Places from which every kind of read is tried."""


EVERYTHING = {name: read.changes for name, read in READS.items()}


def cases():
    for place in PLACES:
        for name, changes in EVERYTHING.items() if place in EVERYWHERE else CORE.items():
            for change in changes:
                yield pytest.param(place, name, change, id=f"{place}-{name}-{change}")


OURS = re.compile(r"0x|alternator\.|object at|\?\(")
"""What nobody is told of a recompile: addresses, and what is ours."""


class Program:
    """A captured function beside the plain one."""

    def __init__(self, place, expr):
        self.place = place
        self.plain = place.define(expr, SPACE)
        self.graphs = 0
        self.compiled = alternator.compile(self.plain, backend=self.backend, fullgraph=True)
        self.x = torch.arange(9.0).reshape(3, 3) + 1

    def backend(self, gm, inputs):
        self.graphs += 1
        return gm.forward

    def agrees(self):
        expected = self.plain(self.x, *self.place.args(), **self.place.kwargs())
        for _ in range(2):
            torch.testing.assert_close(self.compiled(self.x, *self.place.args(), **self.place.kwargs()), expected)
        return self.graphs


@pytest.mark.parametrize("place,name,change", list(cases()))
def test_matrix(place, name, change):
    check(place, name, change)


def rechecked():
    """Each place and each kind of read once."""
    cases = [(place, name, next(iter(changes))) for place in PLACES for name, changes in CORE.items() if name == "attribute"]
    return cases + [("argument", name, change) for name, read in READS.items() for change in list(read.changes)[:2]]


@pytest.mark.parametrize("place,name,change", rechecked())
def test_matrix_with_a_second_check(place, name, change):
    with config.patch(recheck_guards=True):
        check(place, name, change)


def check(place, name, change):
    read = READS[name]
    torch.manual_seed(0)
    value = read.make()
    held = PLACES[place](value)
    do, takes = read.changes[change]
    if not held.takes(value):
        pytest.skip("reading it there gives something else")
    try:
        program = Program(held, read.expr)
        assert program.agrees() == 1
        for name, besides in held.beside.items() if change == next(iter(read.changes)) else ():
            besides(held)
            assert program.agrees() == 1, f"{name} was not read"
        new = do(value)
        if isinstance(new, Put):
            held.put(new.value)
        assert program.agrees() == 1 + takes
        if isinstance(new, Put):
            held.put(value)
            assert program.agrees() == 1 + takes
        for why in alternator.why_recompiled():
            assert not OURS.search(f"{why.expression} {why.was} {why.now} {why.reason}"), why.reason
    finally:
        held.close()
