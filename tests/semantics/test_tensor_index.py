"""Subscripts of tensors that are tensors, and sorting tensors as optimizers do."""

from __future__ import annotations

import copy
from typing import Any

import torch
from helpers import same

import alternator


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


def test_deep_copies_of_tensors() -> None:
    def f(x, y):
        made = copy.deepcopy({"x": x, "again": [x], "y": y.T})
        made["x"].add_(1)
        return made, x

    same(f, torch.ones(2), torch.arange(6.0).reshape(2, 3), fullgraph=True, graphs=1)
    same(lambda x: copy.deepcopy([x, x[:1]])[1].add_(1), torch.ones(2))
    same(lambda x: copy.deepcopy(x[:1].expand(3)), torch.ones(2))
    same(lambda x: copy.deepcopy(x) * 2, torch.ones(2, requires_grad=True))
    compiled = alternator.compile(lambda x, y: copy.deepcopy([x, y]), backend="eager")
    x = torch.ones(2)
    for y in (torch.ones(2), x.view(2, 1)[:, 0]):
        a, b = compiled(x, y)
        a.add_(1)
        assert (b[0] == 2) == (y.data_ptr() == x.data_ptr())
    x.mark = "kept"
    assert compiled(x, torch.ones(2))[0].mark == "kept"
