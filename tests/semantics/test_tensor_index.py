"""Subscripts of tensors that are tensors, and sorting tensors as optimizers do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
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


BASIC = [
    "x[:, i]",
    "x[i, 1:]",
    "x[..., i]",
    "x[i, :, None]",
    "x[i, ..., i, None]",
    "x[None, j:, i]",
    "x[i, i]",
    "x[0, i]",
    "x[i, None, j:, ::2]",
    "x[:, -i]",
]
PLACES = [
    "x[i, [0, 1]]",
    "x[[4, 1, 1], i]",
    "x[k, i]",
    "x[i, k, k]",
    "x[k, i, k]",
    "x[:, i, k]",
    "x[..., k, i]",
    "x[i, None, k]",
    "x[k, 1:, i]",
    "x[i, k.view(3, 1), [1, 2]]",
    "x[i, k, ..., None]",
    "x[k.int(), -i]",
]


@pytest.mark.parametrize("place", [*BASIC, *PLACES])
@pytest.mark.parametrize("write", [None, "= 7", "+= 1", "= y[0, 0, 0]"])
@pytest.mark.parametrize("grad", [False, True])
def test_numbers_that_vary_in_a_tuple_are_no_constants(place, write, grad):
    use = f"x = x * 1\n    {place} {write}\n    return x, {place}" if write else f"return {place} * 2"
    space = {}
    exec(f"def fn(x, y, i, j, k=torch.tensor([3, 0, 3])):\n    {use}\n", {"torch": torch}, space)
    x = torch.arange(125.0).view(5, 5, 5).requires_grad_(grad)
    report = same(
        space["fn"], x, x.detach() + 3, 2, 3, then=[(x, x.detach(), i, i + 1) for i in (3, 1, 0, 3, 2, 4)], breaks=0, grad=grad
    )
    assert report.recompiles <= 3, "0 and 1 may be constants of their own"


@pytest.mark.parametrize(
    "place", ["x[:, i]", "x[i, 2]", "x[i, i, i, i]", "x[..., i, ...]", "x[i, True]", "x[i, [0, 1]]", "x[[0, 9], i]"]
)
@pytest.mark.parametrize("write", ["", "= 1"])
def test_numbers_in_a_tuple_that_are_out_of_range(place, write):
    space = {}
    body = f"{place} {write}" if write else f"x = {place}"
    exec(
        f"def fn(x, i):\n    x = x + 1\n    try:\n        {body}\n    except IndexError as error:\n        return str(error)\n    return x\n",
        space,
    )
    same(space["fn"], torch.zeros(3, 3), 1, then=[(torch.zeros(3, 3), i) for i in (2, 0, 5, 3, -1, -3, -4)])


@pytest.mark.parametrize(
    "place", ["x[i, m]", "x[m[0], i]", "x[i, m.byte()]", "x[t, i]", "x[i, []]", "x[i, [True, False, True, False]]"]
)
def test_numbers_beside_masks_and_single_places(place):
    """torch reads them by other rules."""
    space = {}
    exec(f"def fn(x, i, m, t):\n    return {place}\n", space)
    x, m = torch.arange(48.0).view(4, 4, 3), torch.tensor([[True, False, True, True]] * 4)
    rows = torch.tensor([True, False, True, False])
    for mask in (m, rows):
        same(space["fn"], x, 2, mask, torch.tensor(1), then=[(x, i, mask, torch.tensor(2)) for i in (1, 3)])


@pytest.mark.parametrize("place", ["x[None, i]", "x[:, None, i, ...]", "x[:, :, None, ..., i]", "x[None, None, i, i]"])
def test_a_new_dimension_before_a_number_has_the_stride_that_torch_gives(place):
    space = {}
    exec(f"def fn(x, i):\n    return {place}\n", space)
    x = torch.arange(60.0).view(3, 4, 5)
    same(space["fn"], x, 2, then=[(x, i) for i in (1, 0, 2)])
