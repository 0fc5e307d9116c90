"""Calls that are one node of the graph, of trees of tensors."""

from __future__ import annotations

import dataclasses
import traceback
from typing import Any

import pytest
import torch
import torch.utils._pytree as pytree
from helpers import same

import alternator

X = torch.ones(3)


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


pytree.register_dataclass(Pair)


@pytest.mark.parametrize("mark", [alternator.nonstrict_trace, torch._dynamo.nonstrict_trace], ids=["ours", "in-tree"])
def test_trees_go_in_and_come_out(mark: Any) -> None:
    @mark
    def opaque(given: dict[str, torch.Tensor], pair: Pair, *, times: int) -> Any:
        len(traceback.extract_stack())  # not looked into
        return {"y": given["x"].sin() * times, "rest": [Pair(pair.b, None), (times, given["x"])]}

    def f(x: torch.Tensor) -> Any:
        found = opaque({"x": x + 1}, Pair(x, x * 2), times=3)
        pair, (times, given) = found["rest"]
        return found["y"] + 1, type(pair) is Pair, pair.a * times, pair.b, given - 1, list(found)

    same(f, X, then=[(torch.ones(4),)], graphs=1, breaks=0, fullgraph=True)


def test_what_is_no_tree_of_tensors_breaks() -> None:
    class Other:
        value = 2

    @alternator.nonstrict_trace
    def opaque(x: torch.Tensor, other: Other) -> torch.Tensor:
        return x * other.value

    report = same(lambda x: opaque(x, Other()), X, breaks=["UNSUPPORTED_CALL"])
    assert "a Other passed to a graph operation" in report.breaks[0].reason


def test_a_dict_of_an_allowed_function_breaks() -> None:
    @alternator.allow_in_graph
    def allowed(x: torch.Tensor) -> Any:
        return {"y": x.sin()}

    same(lambda x: allowed(x + 1)["y"] * 2, X, breaks=["UNSUPPORTED_OPERATION"])
