"""Sizes as keys, alone and in tuples and shapes: they become what they are, with a guard, and do not break.  Numbers beside them."""

import enum

import pytest
import torch
from helpers import same

BATCHES = [(torch.randn(n, 3),) for n in (3, 4, 5)]


def test_shapes_are_keys():
    def f(x):
        table = {torch.Size([3, 3]): 1, x.shape: 2}
        table[x.shape, x.shape[0]] = 3
        return x + table[x.shape], x.shape in table, (x.shape, 3) in table, {x.shape} | {(x.shape[0], 3)}, frozenset([x.shape])

    same(f, torch.randn(2, 3), fullgraph=True, then=BATCHES)
    same(f, torch.randn(2, 3), fullgraph=True, dynamic=True, then=BATCHES)


def test_a_cache_by_shape():
    def f(x, cached):
        if x.shape not in cached:
            cached[x.shape] = x * 2
        return x + cached[x.shape]

    x = torch.randn(2, 3)
    same(f, x, {}, fullgraph=True, dynamic=True, then=[(x, {x.shape: x}), *((*given, {}) for given in BATCHES)])


def test_sets_are_updated_with_what_varies():
    def f(x, ints):
        found = {7}
        found.update(map(int, ints), [x.shape[0]], x.shape, (i for i in (1, 2)), zip(ints, x.shape))
        try:
            found.update(map(lambda n: 8 // n, [1, 2, 0, 4]))
        except ZeroDivisionError:
            found.add("raised")
        return x + 1, found, found & set(x.shape), found | {x.shape[0] + 1}

    then = [(torch.randn(n, 3), [n, 5, 1]) for n in (3, 4, 5)]
    same(f, torch.randn(2, 3), [2, 2], fullgraph=True, then=then)
    same(f, torch.randn(2, 3), [2, 2], fullgraph=True, dynamic=True, then=then)


class Grade(enum.IntEnum):
    LOW = 3
    HIGH = 4


class Always(int):
    """Its methods go before those of int."""

    __hash__ = int.__hash__

    def __eq__(self, other):
        return True

    def __radd__(self, other):
        return "mine"


class Ratio(float, enum.Enum):
    HALF = 0.5


BESIDE = {
    "in a tuple": lambda n, f, y: (n in (Grade.LOW, Grade.HIGH), f in (Ratio.HALF,)),
    "in a list": lambda n, f, y: (n in [y], [y].count(n), f in [Ratio.HALF]),
    "containers": lambda n, f, y: ([n] == [y], (n,) == (y,), {1: f} == {1: Ratio.HALF}, {f} == {Ratio.HALF}),
    "operators": lambda n, f, y: (n == y, y == n, n + y, y + n, n < y, f == Ratio.HALF, f - Ratio.HALF),
    "extremes": lambda n, f, y: (max(n, y) is y, min(y, n) is y, min(Ratio.HALF, f) is Ratio.HALF),
    "sums": lambda n, f, y: (sum([y, n]), sum([n, y])),
    "order": lambda n, f, y: sorted([n, y, f]),
    "types of extremes": lambda n, f, y: (max(n, 3.5), max(3.5, n), min(n, f), max(n, True)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_numbers_of_classes_of_their_own_beside_numbers_that_vary(name):
    both = BESIDE[name]

    def fn(x, n, f, y):
        return x + 1, both(n, f, y)

    x = torch.ones(2)
    then = [(x, n, f, y) for n, f in ((2, 0.25), (3, 0.5), (4, 0.75), (5, 0.5)) for y in (Grade.LOW, Grade.HIGH, Always(4))]
    same(fn, x, 1, 1.5, Grade.LOW, then=then)
