"""Operations that write into a part of the memory that they read: kernels refuse them, captured or not."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(9.0).reshape(3, 3)

REFUSED: list[Callable[..., Any]] = [
    lambda x: x[1:].add_(x[:-1]),
    lambda x: x[1:].copy_(x[:-1]),
    lambda x: x.t().mul_(x),
    lambda x: torch.add(x[0], x[1:], out=x),
    lambda x: x.cumsum_(0).sub_(x[0]),
    lambda x: x.index_put_((x > 3,), x),
    lambda x: x.index_put_((torch.tensor([0, 1, 2]),), x[:]),
    lambda x: x.index_copy_(0, torch.tensor([2, 1, 0]), x),
]
ALLOWED: list[Callable[..., Any]] = [
    lambda x: x[0].add_(x[1]),
    lambda x: x[:, 0].add_(x[:, 1]),
    lambda x: x.view(-1).add_(x.reshape(x.numel())),
    lambda x: torch.mul(x, x, out=x),
    lambda x: x[1:].add_(x[:-1].clone()),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_is_refused_as_in_eager(number: int) -> None:
    report = same(lambda x: REFUSED[number](x * 1), X)
    assert report.breaks[0].code == "OVERLAPPING_WRITE"


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_is_refused_with_symbolic_sizes(number: int) -> None:
    def fn(x: torch.Tensor, done: list[int]) -> None:
        done.append(1)  # before the operation raises
        REFUSED[number](x)

    same(fn, X, [], then=[(torch.ones(4, 4), [])], dynamic=True)


def test_whether_they_overlap_is_guarded() -> None:
    def fn(x: torch.Tensor, n: int, done: list[int]) -> torch.Tensor:
        done.append(n)
        return x[:4].add_(x[n : n + 4])

    x = torch.arange(16.0)
    same(fn, x, 8, [], then=[(x, 9, []), (x, 2, []), (x, 0, [])], dynamic=True)


@pytest.mark.parametrize("number", range(len(ALLOWED)))
def test_other_views_are_captured(number: int) -> None:
    same(lambda x: (ALLOWED[number](x), x + 1), X, graphs=1, breaks=0)
    same(lambda x: (ALLOWED[number](x), x + 1), X, then=[(torch.ones(4, 4),)], graphs=1, breaks=0, dynamic=True)


def test_out_that_is_resized_and_read() -> None:
    def fn(x: torch.Tensor, y: torch.Tensor) -> None:
        try:
            raise KeyError
        except KeyError:  # the context of what the operation raises
            for row in y:
                torch.add(row, 1, out=x)

    same(fn, X, X)


def test_views_whose_base_is_written_to_meanwhile() -> None:
    """Autograd tells no history of one of several such views; what needs none can be computed all the same."""

    def fn(x: Any) -> Any:
        whole = x[:]
        whole.requires_grad_()
        for row in whole:
            alternator.graph_break()
            x.copy_(torch.ones_like(row))
        return x

    same(fn, torch.zeros(3, dtype=torch.float64))
