"""Where no break is allowed, numbers and sizes that only the data says are symbols, without an option."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import same

import alternator
from alternator import exc


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x + x.sum().item(),
        lambda x: x.nonzero() + 1,
        lambda x: x[x > 1] * 2,
        lambda x: x.new_ones(int(x.sum().item())),
        lambda x: torch.masked_select(x, x > 1).sum(),
        lambda x: (x * 2, x.unique()),
        lambda x: (x + 1, x.long().tolist()),
    ],
)
def test_what_data_says_is_captured(fn: Any) -> None:
    same(fn, torch.tensor([0.0, 1.0, 2.0]), fullgraph=True, graphs=1, then=[(torch.tensor([2.0, 2.0, 3.0]),)])


def test_a_branch_on_it_is_an_error() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum().item() > 2 else x - 1

    with pytest.raises(exc.UserError, match="DATA_DEPENDENT_VALUE"):
        alternator.compile(f, backend="eager", fullgraph=True)(torch.ones(3))
    same(f, torch.ones(3))
