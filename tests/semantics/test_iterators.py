"""Iterators that come from outside, or live across a break."""

import pytest
import torch
from helpers import same

import alternator

MAKERS = {
    "tuple": lambda: iter((1, 2, 3, 4)),
    "list": lambda: iter([1, 2, 3, 4]),
    "range": lambda: iter(range(1, 5)),
    "string": lambda: iter("1234"),
}


def advanced(it):
    next(it)
    return it


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_outside_iterator_moves_on(kind, taken):
    def fn(x, it):
        return x + sum(int(next(it)) for _ in range(taken))

    x = torch.ones(3)
    plain, captured = advanced(MAKERS[kind]()), advanced(MAKERS[kind]())
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x, captured), fn(x, plain))
    assert list(captured) == list(plain)


def test_position_and_items_are_guarded():
    def fn(x, it):
        return x * next(it, 7)

    compiled = alternator.compile(fn, backend="eager")
    x = torch.ones(2)
    for make in (
        lambda: iter((2, 3)),
        lambda: advanced(iter((2, 3))),
        lambda: iter((5, 3)),
        lambda: iter(()),
        lambda: iter([2, 3]),
    ):
        assert torch.equal(compiled(x, make()), fn(x, make()))


def test_a_list_iterator_sees_what_is_appended():
    def fn(x, items):
        it = iter(items)
        x = x + next(it)
        alternator.graph_break()
        items.append(5)
        return [x + item for item in it]

    same(fn, torch.ones(2), [1, 2], graphs=2)


def test_an_iterator_lives_across_breaks():
    def fn(x):
        it = iter(tuple(range(6)))
        x = x + next(it)
        alternator.graph_break()
        x = x + next(it)
        alternator.graph_break()
        return x + next(it), it

    x = torch.ones(2)
    compiled = alternator.compile(fn, backend="eager")
    for _ in range(2):
        (got, rest), (wanted, left) = compiled(x), fn(x)
        assert torch.equal(got, wanted) and list(rest) == list(left)
