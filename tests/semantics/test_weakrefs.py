"""What the program sees of weak references: their number, and the hashes that they remember."""

import weakref

import pytest
import torch
from helpers import same

import alternator
from alternator import config


class Plain:
    pass


class Valued:
    def __init__(self, value):
        self.value, self.asked = value, []

    def __eq__(self, other):
        return type(other) is Valued and self.value == other.value

    def __hash__(self):
        self.asked.append("hash")
        return hash(self.value)


@pytest.mark.parametrize("empty", [False, True])
def test_weak_references_of_guards_are_not_counted(empty):
    def fn(x, *made):
        table = weakref.WeakKeyDictionary()
        for number, one in enumerate(made):
            table[one] = x + number
        counts = []
        for one in made:
            counts.append((weakref.getweakrefcount(one), len(weakref.getweakrefs(one))))
            x = x + table[one]
        return x, counts

    compiled = alternator.compile(fn, backend="eager")
    with config.patch(allow_empty_graphs=empty):
        for _ in range(3):
            result, counts = compiled(torch.ones(2), Valued(1), Valued(2), Valued(3))
            assert result.tolist() == [7.0, 7.0] and counts == [(1, 1)] * 3


def test_a_weak_reference_that_nobody_reads_any_more_is_counted():
    def fn(x):
        one = Plain()
        y = x + 1
        first = weakref.ref(one)  # noqa: F841
        second = weakref.ref(one, str)  # noqa: F841
        alternator.graph_break()
        y = y * 2
        return y, weakref.getweakrefcount(one)

    same(fn, torch.ones(2))


@pytest.mark.parametrize("of_class", [Plain, lambda: Valued(42)])
def test_a_dead_weak_reference_has_the_hash_that_it_was_asked_for(of_class):
    def fn(x):
        one, other = of_class(), of_class()
        asked, not_asked = weakref.ref(one), weakref.ref(other)
        before = hash(asked)
        y = x + 1
        alternator.graph_break()
        del one, other
        alternator.graph_break()
        try:
            hash(not_asked)
        except TypeError as error:
            return y * 2, asked() is None, hash(asked) == before, str(error)

    same(fn, torch.ones(2))


def test_a_weak_reference_asks_for_its_hash_once():
    def fn(x):
        one = Valued(42)
        ref = weakref.ref(one)
        y = x + hash(ref) + hash(ref)
        alternator.graph_break()
        return y, hash(ref), len(one.asked)

    same(fn, torch.ones(2))


def test_a_weak_reference_that_dies_in_one_piece_keeps_its_hash():
    def fn(x):
        one, other = Valued(42), Valued(43)
        asked, not_asked = weakref.ref(one), weakref.ref(other)
        y = x + hash(asked)
        del one, other
        y = y + hash(asked)
        try:
            hash(not_asked)
        except TypeError as error:
            return y, asked() is None, str(error)

    same(fn, torch.ones(2))


class Owner:
    def one(self):
        pass

    def other(self):
        pass


def test_weak_methods_from_outside_are_compared_and_hashed():
    first, second = Owner(), Owner()
    kept = [weakref.WeakMethod(bound) for bound in (first.one, first.one, first.other, second.one)]
    kept += [weakref.ref(first), weakref.ref(second)]

    def fn(x, a, b):
        return x + 1, a == b, hash(a) == hash(b), {a: 1}.get(b), a in [b], len({a, b})

    compiled = alternator.compile(fn, backend="eager")
    x = torch.ones(1)
    for a in kept:
        for b in kept:
            assert fn(x, a, b)[1:] == compiled(x, a, b)[1:]
