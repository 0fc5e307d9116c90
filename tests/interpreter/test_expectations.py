"""Branches on tensors that only raise: the graph goes on, and the frame is run again where it should not have."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from helpers import same
from torch.utils.checkpoint import checkpoint

import alternator

X = torch.ones(3)
SEEN: list[Any] = []


def checked(x: Any) -> Any:
    if not (x > 0).all():
        raise ValueError(f"not positive: {x.min():.1f}")
    return x.log()


def test_one_that_raises_what_the_values_say() -> None:
    def f(x):
        return checked(x) + checked(x * 2).sum()

    same(f, X, fullgraph=True, graphs=1, then=[(-X,), (X * 3,), (X - 1,)])


def test_each_form_of_branch() -> None:
    def f(x):
        if x.isnan().any():
            raise ValueError("nan")
        if x.sum() > 100 or x.max() > 90:
            raise KeyError(x.max().item())
        if not x.sum():
            for one in x:
                SEEN.append(one)
            raise ZeroDivisionError
        if x.min() > 2:
            y = x + 1
        else:
            raise AssertionError
        return y

    cases = [X * 3, X, X * 99, X * 0, X * float("nan"), X * 5]
    same(f, X * 3, fullgraph=True, graphs=1, namespace=["SEEN"], then=[(x,) for x in cases])


def test_a_branch_that_returns_is_a_break() -> None:
    def f(x):
        if x.sum() > 3:
            return x
        raise ValueError

    def g(x):
        if x.sum() > 3:
            return x
        return x - 1

    same(f, X * 2, fullgraph=True, then=[(X,)])
    same(g, X, breaks=["DATA_DEPENDENT_BRANCH"], then=[(X * 2,)])


class Box:
    """Something from outside."""

    count = 0


def test_effects_and_output_happen_once() -> None:
    def f(x, box, items):
        box.count += 1
        items.append(x + 1)
        print("before", box.count)
        if x.sum() < 0:
            raise ValueError(f"negative {box.count}")
        print("after", x)
        items.append(x + 2)
        return x * 2

    same(f, X, Box(), [], fullgraph=True, graphs=1, then=[(-X, Box(), []), (X, Box(), [])])


def test_random_numbers_are_those_of_one_run() -> None:
    def f(x):
        noise = torch.rand(3)
        if (x + noise < 0).any():
            raise ValueError(f"{noise.sum()}")
        return x + noise + torch.rand(3)

    def seeded(x):
        torch.manual_seed(5)
        try:
            return fn(x), torch.rand(1)
        except ValueError as error:
            return str(error), torch.rand(1)

    results = []
    for fn in (f, alternator.compile(f, backend="eager", fullgraph=True)):
        results.append([seeded(x) for x in (X, -X, X)])
    assert str(results[0]) == str(results[1])


def test_a_checkpointed_body_can_run_twice() -> None:
    def f(x):
        y = checkpoint(lambda v: torch.nn.functional.dropout(v.sin(), 0.5) + 1, x, use_reentrant=False)
        if y.sum() < 3:
            raise ValueError(f"{y.sum()}")
        return y

    def seeded(fn, x):
        torch.manual_seed(5)
        try:
            return fn(x), torch.rand(1)
        except ValueError as error:
            return str(error), torch.rand(1)

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    assert [str(seeded(f, x)) for x in (X, -X, X)] == [str(seeded(compiled, x)) for x in (X, -X, X)]


def test_a_function_of_the_program_in_the_graph_is_not_run_twice() -> None:
    @alternator.allow_in_graph
    def counted(x):
        SEEN.append("ran")
        return x + 1

    def f(x):
        y = counted(x)
        if x.sum() < 0:
            raise ValueError
        return y

    compiled = alternator.compile(f, backend="eager")
    compiled(X)
    SEEN.clear()
    with pytest.raises(ValueError):
        compiled(-X)
    assert SEEN == ["ran"]


def test_parameters_of_each_kind_and_closures() -> None:
    scale = [2.0]

    def f(x, /, y=1, *rest, key, **named):
        if x.sum() < 0:
            raise ValueError(str((float(x.sum()), y, rest, key, named, scale)))
        return x * y + key * scale[0]

    def call(x):
        return f(x, 2, 3, 4, key=5, other=6)

    same(call, X, fullgraph=True, then=[(-X,)])
    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    assert compiled(X, 2, 3, 4, key=5, other=6).tolist() == [12, 12, 12]
    for fn in (f, compiled):
        with pytest.raises(ValueError, match=r"\(-3.0, 2, \(3, 4\), 5, {'other': 6}, \[2.0\]\)"):
            fn(-X, 2, 3, 4, key=5, other=6)


def test_what_changes_its_input_in_place_breaks() -> None:
    def before(x):
        x.add_(1)
        if x.sum() > 10:
            raise ValueError("large")
        return x * 2

    def behind(x):
        if x.sum() > 10:
            raise ValueError("large")
        x.add_(1)
        return x * 2

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)

        def forward(self, x):
            if x.sum() > 10:
                raise ValueError("large")
            return self.norm(x)

    same(before, X, breaks=["DATA_DEPENDENT_BRANCH"], then=[(9 * X,), (X,)])
    same(behind, X, breaks=["DATA_DEPENDENT_BRANCH"], then=[(9 * X,), (X,)])
    same(Net(), torch.randn(4, 3), breaks=["DATA_DEPENDENT_BRANCH"], then=[(torch.ones(4, 3),), (torch.randn(4, 3),)])


def test_a_condition_that_changes_later() -> None:
    def f(x):
        bad = x.sum() < 0
        if bad:
            raise ValueError
        bad |= True
        return x * bad

    same(f, X, fullgraph=True, then=[(-X,)])


def test_state_of_torch_and_with_statements() -> None:
    def f(x):
        with torch.no_grad(), contextlib.suppress(KeyError):
            if x.sum() > 10:
                raise KeyError
            if x.sum() < 0:
                raise ValueError(torch.is_grad_enabled())
            x = x + 1
        return x * 2

    same(f, X.clone().requires_grad_(), fullgraph=True, then=[(-X,), (9 * X,), (X,)])
    compiled = alternator.compile(f, backend="eager")
    compiled(X)
    with pytest.raises(ValueError, match="False"):
        compiled(-X)
    assert torch.is_grad_enabled()


def test_a_handler_in_the_program_makes_it_a_branch() -> None:
    def f(x):
        try:
            y = checked(x)
        except ValueError:
            y = x - 1
        return y * 2

    same(f, X, breaks=["DATA_DEPENDENT_BRANCH"], then=[(-X,)])


def test_in_the_rest_behind_a_break() -> None:
    def f(x):
        y = x + 1
        alternator.graph_break()
        z = checked(y)
        alternator.graph_break()
        return checked(z + 5) * 2

    same(f, X, graphs=3, then=[(-9 * X,), (X,)])


def test_what_the_graph_raises_behind_it() -> None:
    def f(x, index):
        if (index >= x.shape[0]).any():
            raise ValueError("index too large")
        return x[index]

    for backend in ("eager", "aot_eager", "inductor"):
        alternator.reset()
        compiled = alternator.compile(f, backend=backend, fullgraph=True)
        assert torch.equal(compiled(X, torch.tensor([1, 2])), X[:2])
        with pytest.raises(ValueError, match="too large"):
            compiled(X, torch.tensor([1, 7]))


def test_gradients() -> None:
    def f(x):
        if (x < 0).any():
            raise ValueError
        return x.sqrt()

    same(f, torch.rand(3, requires_grad=True), fullgraph=True, grad=True)


def test_what_a_graph_wrote_before_it_raised_is_undone() -> None:
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)
            self.table = torch.nn.Embedding(4, 3)
            self.register_buffer("seen", torch.zeros(()))
            self.skipped = 0

        def forward(self, x, index, out):
            self.seen.add_(1)
            out.add_(x)
            x = torch.nn.functional.dropout(self.norm(x), 0.5)
            try:
                return x + self.table(index)
            except IndexError:
                self.skipped += 1
                return x

    plain, captured = Net(), Net()
    captured.load_state_dict(plain.state_dict())
    compiled = alternator.compile(captured, backend="eager", fullgraph=True)
    x = torch.arange(12.0).view(4, 3)
    for last in (1, 2, 9, 3, 9):
        index, rows = torch.tensor([0, 1, 2, last]), []
        for net, fn in ((plain, plain), (captured, compiled)):
            torch.manual_seed(last)
            out = torch.zeros(4, 3)
            rows.append([fn(x, index, out), out, torch.rand(1), net.skipped, *net.buffers()])
        assert str(rows[0]) == str(rows[1])
    assert captured.skipped == 2
