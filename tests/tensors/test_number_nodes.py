"""Functions of numbers that vary, in the graph."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import same

import alternator

FUNCTIONS = "sqrt log2 cos sin tan sinh cosh tanh asin acos atan floor ceil trunc".split()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_math(name: str) -> None:
    fn = getattr(math, name)

    def f(x, number):
        return x * fn(number), fn(number)

    report = same(f, torch.ones(2), 0.5, then=[(torch.ones(2), 0.25), (torch.ones(2), 0.75)], graphs=1, fullgraph=True)
    assert report.recompiles <= 1

    def of_size(x):
        return x * fn(x.shape[0] / 16)

    same(of_size, torch.ones(4), then=[(torch.ones(5),), (torch.ones(6),)], recompiles=1, fullgraph=True)


def test_backends_that_trace_the_graph_again() -> None:
    def f(x, number):
        return x * math.sin(number) + math.tanh(number)

    compiled = alternator.compile(f, backend="aot_eager", fullgraph=True, dynamic=True)
    for number in (3, 4, 7):
        torch.testing.assert_close(compiled(torch.ones(2), number), f(torch.ones(2), number))
