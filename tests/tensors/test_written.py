"""Calls and constants that the text of a graph cannot say in the usual way."""

from __future__ import annotations

import itertools
import math

import torch
from helpers import same

import alternator

PARTS = (0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, math.nan)


def test_arguments_named_like_keywords_of_the_language() -> None:
    def f(x):
        made = torch.zeros(3).uniform_(**{"from": 1.0, "to": x.shape[0] / 4})
        x.random_(**{"from": 3, "to": 4})
        return made, x * 2

    same(f, torch.ones(4), then=[(torch.ones(4),)], graphs=1, fullgraph=True)


def test_complex_numbers() -> None:
    for real, imag in itertools.product(PARTS, PARTS):
        number = complex(real, imag)

        def f(x):
            return torch.full((2,), number), x * 2

        alternator.reset()
        captured, _ = alternator.compile(f, backend="eager", fullgraph=True)(torch.ones(2))
        plain, _ = f(torch.ones(2))
        assert str(torch.view_as_real(captured).tolist()) == str(torch.view_as_real(plain).tolist())


def test_floats_that_vary_where_torch_takes_none() -> None:
    def f(x, end):
        return x + 1, torch.arange(end), torch.arange(0, 1, end)

    same(f, torch.ones(2), 0.25, then=[(torch.ones(2), 0.5), (torch.ones(2), 0.75)], fullgraph=True)
