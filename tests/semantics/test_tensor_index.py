"""Subscripts of tensors that are tensors, and sorting tensors as optimizers do."""

from __future__ import annotations

from typing import Any

import torch
from helpers import same


def test_a_row_that_a_tensor_names() -> None:
    def f(x: Any, i: Any) -> Any:
        return x[i] * 2 + x[i][None][0], x[x.argsort(dim=0)[0, 0]]

    then = [(torch.randn(5, 3), torch.tensor(-1)), (torch.randn(7, 3), torch.tensor(6))]
    same(f, torch.randn(5, 3), torch.tensor(2), graphs=1, breaks=0, then=then)
    same(f, torch.randn(5, 3, requires_grad=True), torch.tensor(2), graphs=1, breaks=0)


def test_the_row_is_a_view() -> None:
    def f(x: Any, i: Any) -> Any:
        row = x[i]
        row.add_(1)
        x.mul_(2)
        return row, x

    same(f, torch.randn(5, 3), torch.tensor(2), then=[(torch.randn(5, 3), torch.tensor(0))])


def test_an_index_of_another_kind() -> None:
    def f(x: Any, i: Any) -> Any:
        return x[i]

    for index in (torch.tensor(True), torch.tensor([1]), torch.tensor([True, False, True])):
        same(f, torch.randn(3), index)


def test_gradients_are_clipped_in_one_graph() -> None:
    def f(first: Any, second: Any, third: Any) -> Any:
        return torch.nn.utils.get_total_norm([first, second, third]), torch.nn.utils.get_total_norm([first, third])

    same(f, torch.randn(3), torch.randn(2, 2), torch.randn(2, dtype=torch.float64), graphs=1, breaks=0)
