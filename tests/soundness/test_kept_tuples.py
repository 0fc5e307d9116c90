"""Iterators over pairs keep the one that they gave last: its items live until the iterator goes on."""

import pytest
import torch

import alternator
from alternator import config


class Ends:
    """Its end empties the table."""

    def __init__(self, table, number):
        self.table, self.number = table, number

    def __del__(self):
        self.table.clear()


class Quiet:
    def __init__(self, table, number):
        self.number = number


def table_of(kind):
    table = {}
    table.update((i, kind(table, i)) for i in range(8))
    return table


def items(x, table, seen):
    for pair in table.items():
        x = x + 1
        seen.append(pair[0])
        if pair[0] == 2:
            table[2] = None
    return x


def numbered(x, table, seen):
    for pair in enumerate(table.values()):
        seen.append(pair[0])
        if pair[0] == 2:
            table[2] = None
    return x + 1


def together(x, table, seen):
    for pair in zip(table.values(), range(8)):
        x = x * 2
        seen.append(pair[1])
        if pair[1] == 3:
            table[3] = None
    return x


def unpacked(x, table, seen):
    for number, one in table.items():
        seen.append((number, one.number))
        if number == 2:
            table[2] = None
        del one
        seen.append(len(table))
    return x + 1


def by_hand(x, table, seen):
    iterator = iter(table.items())
    next(iterator), next(iterator)
    pair = next(iterator)
    table[2] = None
    del pair
    seen.append(len(table))
    alternator.graph_break()
    seen.append(len(table))
    seen.append(next(iterator)[0])
    seen.append(len(table))
    return x + 1


@pytest.mark.parametrize("kinds", [(Ends, Ends), (Quiet, Ends), (Ends, Quiet)], ids=["ends", "quiet first", "ends first"])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("fn", [items, numbered, together, unpacked, by_hand])
def test_what_an_iterator_gave_last_lives_until_it_goes_on(fn, empty, kinds):
    def run(function, kind):
        seen = []
        try:
            return function(torch.ones(2), table_of(kind), seen).tolist(), seen
        except (RuntimeError, AttributeError) as error:
            return type(error), str(error), seen

    compiled = alternator.compile(fn, backend="eager")
    with config.patch(allow_empty_graphs=empty):
        for kind in (*kinds, kinds[0]):
            assert run(compiled, kind) == run(fn, kind)


def test_pairs_of_what_ends_quietly_are_captured():
    def fn(x, table):
        for pair in table.items():
            x = x + pair[0]
        return x

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.ones(2), table_of(Ends)), fn(torch.ones(2), table_of(Ends)))
