"""A graph that begins or ends inside of managers of the grad mode switches it itself, and leaves it as it found it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator

X = torch.ones(3, requires_grad=True)


def one(x: Any) -> Any:
    y = x + 1
    with torch.no_grad():
        z = y * 2
        alternator.graph_break()
        z = z * 3
        alternator.graph_break()
        z = z + y
    return y * 2, z, torch.is_grad_enabled()


def nested(x: Any) -> Any:
    with torch.no_grad():
        y = x * 2
        with torch.enable_grad():
            z = x * 3
            alternator.graph_break()
            z = z * x
        alternator.graph_break()
        y = y + z
    return y, z * x


def by_a_call(x: Any) -> Any:
    torch.set_grad_enabled(False)  # not a manager: it stays so
    y = x * 2
    alternator.graph_break()
    y = y * x
    torch.set_grad_enabled(True)
    return y, x * y


def deeper(x: Any) -> Any:
    def inner(x: Any) -> Any:
        with torch.set_grad_enabled(not torch.is_grad_enabled()):
            y = x * 2
            alternator.graph_break()
            return y * x, torch.is_grad_enabled()

    with torch.no_grad():
        y = inner(x)
    return y, inner(x), x * 2


def with_handlers(x: Any) -> Any:
    y = x
    for mode in (torch.no_grad, torch.enable_grad):
        with contextlib.suppress(ValueError), mode():
            y = y * x
            alternator.graph_break()
            y = y + x
            raise ValueError
    return y, x * 2


FUNCTIONS = [one, nested, by_a_call, deeper, with_handlers]


@pytest.mark.parametrize("backend", [None, "aot_eager"])
@pytest.mark.parametrize("fn", FUNCTIONS)
@pytest.mark.parametrize("around", [torch.enable_grad, torch.no_grad])
def test_as_plainly(fn: Any, around: Any, backend: Any) -> None:
    with around():
        report = same(fn, X.detach().requires_grad_(), then=[(X.detach(),), (X.detach().requires_grad_(),)], backend=backend)
    assert report.breaks


@pytest.mark.parametrize("fn", [one, nested, deeper, with_handlers])
def test_each_graph_runs_anywhere(fn: Any) -> None:
    """A backend that takes the switches for nothing to do with the mode outside, or runs graphs in threads of its own."""
    seen: list[tuple[bool, list[bool]]] = []

    def backend(module: torch.fx.GraphModule, examples: Any) -> Any:
        def run(*args: Any) -> Any:
            with torch.enable_grad():
                outputs = module(*args)
                seen.append((torch.is_grad_enabled(), [value.requires_grad for value in outputs]))
            return outputs

        return run

    compiled = alternator.compile(fn, backend=backend)
    for _ in range(2):
        expected, got = fn(X), compiled(X)
        for a, b in zip(torch.utils._pytree.tree_leaves(expected), torch.utils._pytree.tree_leaves(got)):
            assert torch.equal(a, b) and a.requires_grad == b.requires_grad if isinstance(a, torch.Tensor) else a == b
    assert all(mode for mode, _ in seen)


def test_the_program_s_own_lists_are_not_looked_into() -> None:
    """However deep and long: only what a continuation is given for its callee is a list of values to go on with."""
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]

    def fn(x: Any, items: Any) -> Any:
        with torch.no_grad():
            y = x * 2
            alternator.graph_break()
            return y * 3, len(items)

    seen = Recorder()
    assert torch.equal(alternator.compile(fn, backend=seen)(X, deep)[0], X * 6)
    assert seen.frame_count == 2
