"""Sizes as keys, alone and in tuples and shapes: they become what they are, with a guard, and do not break."""

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
