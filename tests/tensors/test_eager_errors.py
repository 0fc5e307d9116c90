"""Operations that fail on fakes: what the program would not see is no exception of its own."""

from __future__ import annotations

from typing import Any

import torch
from helpers import same

X = torch.randn(10)


def test_what_fails_on_fakes_only_is_a_break() -> None:
    def fn(x: Any) -> Any:
        y = x * 2
        scale, _ = torch.choose_qparams_optimized(y, 10, 5, 0.16, 8)
        return (y + scale).sin()

    same(fn, X, graphs=2, breaks=["NO_FAKE_RULE"])


def test_what_fails_in_eager_too_is_the_programs() -> None:
    def fn(x: Any) -> Any:
        return x @ torch.ones(3)

    same(fn, X, graphs=0, breaks=0)
