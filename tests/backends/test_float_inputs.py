"""Floats that vary, with backends that take nothing but tensors."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch._functorch.aot_autograd import aot_module_simplified

import alternator
from alternator import utils

X = torch.linspace(-1, 1, 4)


def by_hand(gm: torch.fx.GraphModule, examples: Any) -> Any:
    """A backend of the user's own that goes through AOTAutograd."""
    return aot_module_simplified(gm, examples, fw_compiler=lambda graph, _: graph.forward)


def check(f: Any, backend: Any) -> int:
    """Results and gradients of plain and captured calls are equal; how many graphs it took."""
    utils.counters.clear()
    compiled = alternator.compile(f, backend=backend)
    for number in (1.0, 0.5, 0.25, 0.75, 3.0):
        plain, captured = (X.clone().requires_grad_() for _ in range(2))
        random.seed(number)
        expected = f(plain, number)
        random.seed(number)
        found = compiled(captured, number)
        torch.testing.assert_close(found, expected)
        expected[0].sum().backward()
        found[0].sum().backward()
        torch.testing.assert_close(captured.grad, plain.grad)
    return utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("backend", ["aot_eager", "inductor", by_hand])
def test_a_float_that_varies_takes_one_graph_more(backend: Any) -> None:
    def f(x, s):
        return (x * s).sin() * (s + 1), s * 2 - 1, s

    assert check(f, backend) <= 2


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_powers_and_roots_that_leave_need_no_graph(backend: Any) -> None:
    def f(x, s):
        wave = 0.5 * (1 + math.cos(math.pi * s / 5)) + math.tanh(-s)
        return x * 2, s**2, (s + 1) ** 0.5, math.sqrt(s * 3) + s**3, wave

    assert check(f, backend) <= 2
    compiled = alternator.compile(f, backend=backend)
    for number in (1.0, 2.0, 3.0, 1e40, 0.0, 4.0):
        assert compiled(X, number)[1:] == f(X, number)[1:]
    for number, error in ((-0.5, ValueError), (1e200, OverflowError)):
        with pytest.raises(error):
            compiled(X, number)


def test_graphs_take_tensors_and_ints() -> None:
    taken = []

    def f(x, s, n):
        for _ in range(2):
            x = x + s
        return x * (s - 1) * n

    def backend(gm, examples):
        taken.append({type(example) for example in examples})
        gm.graph.lint()
        return gm.forward

    compiled = alternator.compile(f, backend=backend)
    for s, n in ((0.5, 2), (1.5, 3), (2.5, 4)):
        torch.testing.assert_close(compiled(X, s, n), f(X, s, n))
    assert taken == [{torch.Tensor}, {torch.Tensor, torch.SymInt}]


@pytest.mark.parametrize("backend", ["aot_eager", by_hand])
def test_what_cannot_be_a_tensor_is_guarded(backend: Any) -> None:
    def f(x, s):
        return F.dropout(x * s, s * 0).clamp(min=s * 2 - 5), torch.full((2,), s), x.add(x, alpha=s), s + 1

    check(f, backend)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", by_hand])
def test_numbers_behind_a_break_go_on_as_they_are(backend: Any) -> None:
    def f(x, s):
        n = random.SystemRandom is None or random.getrandbits(4) * s
        return x * n + x, n, s + n

    check(f, backend)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor", by_hand])
def test_numbers_that_the_program_computes_are_not_constants_of_the_graph(backend: Any) -> None:
    def f(x, s):
        s = s + 2
        warm, cool = min(1.0, s / 4), max(0.1, 0.5 * (1 + math.cos(math.pi * s)))
        return x * warm * cool * (1 - 0.9 ** int(s)), warm, s * 2 - 1

    assert check(f, backend) <= 4


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, by):
        ctx.by = by
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad.neg() * ctx.by, None


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_float_that_is_first_used_in_the_body_of_an_operator(backend: Any) -> None:
    def function(x, s):
        return (_Scaled.apply(x, s).sin(),)

    def checkpointed(x, s):
        return (torch.utils.checkpoint.checkpoint(lambda y: y.sin() * s, x, use_reentrant=False),)

    def mapped(x, s):
        return (torch.vmap(lambda y: y * s + 1)(x),)

    for f in (function, checkpointed):
        assert check(f, backend) <= 2
    assert check(mapped, backend) <= (2 if backend == "eager" else 5)  # AOTAutograd makes it a constant
