"""One object by two names, in this call but not in the next, and the other way round."""

from __future__ import annotations

import collections

import pytest
import torch
from helpers import Recorder, same

import alternator

X = torch.arange(4.0)


class Box:
    def __init__(self, n=1):
        self.n = n
        self.l = [n]


def _one_by_two_names(f, make):
    """Separate objects first, then one object twice, then separate ones again; each compared with the plain run."""
    compiled = alternator.compile(f, backend="eager")
    for twice in (False, True, False, True):
        plain = [make(), make()]
        captured = [make(), make()]
        if twice:
            plain[1], captured[1] = plain[0], captured[0]
        one, other = f(X, *plain), compiled(X, *captured)
        assert torch.equal(one, other), twice
        assert [vars(p) if isinstance(p, Box) else p for p in plain] == [vars(c) if isinstance(c, Box) else c for c in captured]


@pytest.mark.parametrize(
    "f",
    [
        lambda x, a, b: (a.append(1), x + len(b))[1],
        lambda x, a, b: (b.append(1), x + sum(a))[1],
        lambda x, a, b: (a.clear(), b.append(2), x + len(a))[2],
        lambda x, a, b: (a.extend(b), x + len(b))[1],
    ],
)
def test_lists(f) -> None:
    _one_by_two_names(f, lambda: [1, 2])


@pytest.mark.parametrize(
    "f",
    [
        lambda x, a, b: (a.update(k=5), x + b["k"])[1],
        lambda x, a, b: (b.pop("k"), x + len(a))[1],
        lambda x, a, b: (a.setdefault("z", 7), x + b.get("z", 0))[1],
        lambda x, a, b: x + a["k"] if a is b else x - b["k"],
    ],
)
def test_dicts(f) -> None:
    _one_by_two_names(f, lambda: {"k": 1})


def test_sets_and_deques() -> None:
    _one_by_two_names(lambda x, a, b: (a.add(9), x + len(b))[1], lambda: {1})
    _one_by_two_names(lambda x, a, b: (a.append(9), x + len(b))[1], lambda: collections.deque([1]))


def test_objects() -> None:
    def f(x, a, b):
        a.n = 5
        b.l.append(a.n)
        return x + b.n + len(a.l)

    def g(x, a, b):
        del a.n
        return x + getattr(b, "n", 100)

    _one_by_two_names(f, Box)
    _one_by_two_names(g, Box)


def test_inside_of_objects() -> None:
    def f(x, a, b):
        a.l.append(3)
        return x + sum(b.l)

    compiled = alternator.compile(f, backend="eager")
    a, b = Box(1), Box(2)
    assert torch.equal(compiled(X, a, b), X + 2)
    b.l = a.l
    assert torch.equal(compiled(X, a, b), X + 7)


def test_tensors() -> None:
    def f(x, y):
        x.add_(1)
        return y * 2

    compiled = alternator.compile(f, backend="eager")
    a, b = X.clone(), X.clone()
    assert torch.equal(compiled(a, b), X * 2)
    assert torch.equal(compiled(a, a), (X + 2) * 2)
    assert torch.equal(compiled(b, a), (X + 2) * 2)


def test_cells_and_globals_that_are_arguments() -> None:
    shared = [1]

    def f(x, l):
        l.append(2)
        return x + len(shared)

    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X, [5]), X + 1)
    assert torch.equal(compiled(X, shared), X + 2)
    assert torch.equal(compiled(X, [5]), X + 2)


def test_identity_tests_between_arguments() -> None:
    def f(x, a, b):
        return x + 1 if a is b else x - 1, a == b

    l = [1]
    same(f, X, [1], [1], graphs=1, breaks=0, then=[(X, l, l), (X, [1], [2])])
    same(f, X, l, l, graphs=1, breaks=0, then=[(X, [1], [1])])
    same(f, X, None, None, graphs=1, breaks=0, then=[(X, None, l)])


def test_membership_by_identity() -> None:
    def f(x, a, l):
        return x + 1 if a in l else x - 1

    b = Box()
    same(f, X, b, [b], graphs=1, breaks=0, then=[(X, Box(), [b])])
    same(f, X, b, [Box()], graphs=1, breaks=0, then=[(X, b, [b])])


def test_the_same_fresh_object_twice() -> None:
    def f(x):
        a = [x + 1]
        b = [a, a, {"a": a}]
        a.append(b)
        return b, a, (b,), (a, a) == (a, a)

    r = same(f, X, graphs=1, breaks=0)
    b, a, c, _ = r.outcomes[0].result
    assert b[0] is b[1] is b[2]["a"] is a and a[1] is b is c[0]


def test_objects_as_keys_by_identity() -> None:
    k = Box()
    table = {k: 1}

    def f(x, key):
        return x + table.get(key, 10)

    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X, k), X + 1)
    assert torch.equal(compiled(X, Box()), X + 10)
    assert torch.equal(compiled(X, k), X + 1)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_memory_that_is_shared_behind_the_back_of_autograd(backend):
    def fn(flat, weight):
        flat.mul_(2)
        return weight * 3

    def run(fn):
        flat = torch.ones(4)
        weight = torch.nn.Parameter(flat[:2])
        found = []
        for _ in range(2):
            result = fn(flat, weight)
            result.sum().backward()
            found += [result.detach(), flat.clone(), weight.grad.clone()]
        return found

    alternator.reset()
    torch.testing.assert_close(run(alternator.compile(fn, backend=backend)), run(fn))


def test_views_that_share_memory_are_captured():
    def fn(a, b):
        a.mul_(2)
        return a * b

    base = torch.ones(4, requires_grad=True) * 1
    for given in ((base, base[:1]), (base[1:], base[:3]), (torch.ones(4), torch.ones(4))):
        recorder = Recorder()
        alternator.reset()
        alternator.compile(fn, backend=recorder)(given[0], given[1][:1])
        assert recorder.frame_count == 1


@pytest.mark.parametrize("dynamic", [None, True, False])
@pytest.mark.parametrize("view", [lambda x: x[:], lambda x: x.T, lambda x: x.view(-1)])
def test_a_view_is_read_behind_a_write_that_gives_its_base_a_history(view, dynamic) -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))

    def fn(x, y):
        x.copy_(weight * 3)
        return x + 1, y * 2, x.requires_grad, y.requires_grad

    expected = torch.ones(2, 3)
    captured = torch.ones(2, 3)
    wanted = fn(expected, view(expected))
    found = alternator.compile(fn, backend="eager", dynamic=dynamic)(captured, view(captured))
    assert found[2:] == wanted[2:]
    for one, other in zip(found[:2], wanted[:2]):
        assert torch.equal(one, other)
