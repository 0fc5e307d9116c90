"""Sizes and truth values that only the data says, as values of the program."""

from __future__ import annotations

from typing import Any, Iterator

import pytest
import torch
from helpers import same

from alternator import config


@pytest.fixture(autouse=True)
def captured() -> Iterator[None]:
    with config.patch(capture_dynamic_output_shape_ops=True, capture_scalar_outputs=True):
        yield


X = torch.tensor([8, 0, 6])


def test_sizes_are_numbers_of_the_graph() -> None:
    def fn(x: torch.Tensor) -> Any:
        found = x.nonzero()
        torch._check(found.shape[0] >= 1)
        return found + found.shape[0], found.shape[0] * 2, found.size(0) + 1

    same(fn, X, graphs=1, breaks=0)
    same(lambda x: x.unique(return_counts=True)[1].shape[0] + x, X, graphs=1, breaks=0)


def test_in_the_body_of_an_operator() -> None:
    def branch(x: torch.Tensor) -> torch.Tensor:
        found = x.nonzero()
        return found.sum() + found.shape[0]

    same(lambda x: torch.cond(x.sum() > 0, branch, lambda x: x.sum(), (x,)), X, graphs=1, breaks=0)


def test_truth_values() -> None:
    def fn(x: torch.Tensor) -> Any:
        return 5 in x, 8 in x, 5 not in x, 8 not in x, bool((x > 0).all().item())

    same(fn, X, graphs=1, breaks=0)
