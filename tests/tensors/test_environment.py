"""Results on fakes that are remembered for the whole process: captures that allow what others refuse share them, but not that."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

import alternator
from alternator import config
from alternator.tensors.fake import Fakes


@torch.library.custom_op("alternator_tests::how_many", mutates_args=())
def how_many(x: torch.Tensor) -> torch.Tensor:
    return (x > 0).sum()


@how_many.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    x.nonzero()  # which shows nowhere in the result
    return x.new_empty((), dtype=torch.int64)


X = torch.tensor([1, 0, 2, 3])


def set_where(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[x > 1] = x[x > 1] * 2
    return x


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x.nonzero(),
        lambda x: x[x > 1],
        set_where,
        lambda x: x.unique(),
        lambda x: torch.where(x > 1),
        lambda x: torch.masked_select(x, x > 1),
        lambda x: torch.repeat_interleave(x, x),
        lambda x: torch.bincount(x),
        lambda x: torch.nn.functional.one_hot(x),
        lambda x: torch.full((2,), x.sum().item()),
        lambda x: x + int(x.sum()),
        lambda x: torch.tensor_split(x, torch.tensor([1, 2])),
        how_many,
    ],
)
def test_what_one_capture_refuses_it_refuses_behind_one_that_does_not(fn: Callable[..., Any]) -> None:
    def captured(allowed: bool) -> list[Any]:
        alternator.reset()
        with config.patch(capture_dynamic_output_shape_ops=allowed, capture_scalar_outputs=allowed):
            found = alternator.explain(lambda x: fn(x))(X.clone())
        return [found.graph_count, [reason.code for reason in found.break_reasons], found.op_count]

    def from_nothing(allowed: bool) -> list[Any]:
        FakeTensorMode.cache_clear()
        return captured(allowed)

    alone = [from_nothing(False), from_nothing(True)]
    assert [captured(False), captured(True)] == alone
    assert captured(False) == alone[0]


def asks(mode: FakeTensorMode, func: Any, x: Any) -> Any:
    """A rule whose result shows nothing of what it has asked for."""
    assert mode.shape_env is not None
    if not mode.shape_env.allow_dynamic_output_shape_ops:
        raise DynamicOutputShapeException(func)
    return x.new_empty(())


def counts(mode: FakeTensorMode, func: Any, x: Any) -> Any:
    """One that does not ask by itself, but calls what does."""
    x.nonzero()
    return x.new_empty(())


@pytest.mark.parametrize("rule", [asks, counts])
def test_nothing_is_remembered_of_rules_that_asked(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fake_impls.op_implementations_dict, torch.ops.aten.sinh.default, rule)
    FakeTensorMode.cache_clear()
    try:
        for _ in range(2):
            with Fakes(allow_dynamic_output_shapes=True).mode:
                torch.ones(3).sinh()
        with Fakes().mode, pytest.raises(DynamicOutputShapeException):
            torch.ones(3).sinh()
    finally:
        FakeTensorMode.cache_clear()


def test_all_else_is_remembered_for_both() -> None:
    def run(fakes: Fakes) -> int:
        before = FakeTensorMode.cache_misses
        with fakes.mode:
            x = torch.ones(3, 5)
            (x @ x.T).sinh().cumprod(0)
        return FakeTensorMode.cache_misses - before

    FakeTensorMode.cache_clear()
    assert run(Fakes()) > 0
    assert run(Fakes(allow_scalar_outputs=True, allow_dynamic_output_shapes=True)) == 0
    assert run(Fakes(assume_static=False)) > 0
