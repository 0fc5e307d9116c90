"""``compile``, called by captured code."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import alternator
from tests.helpers import Recorder

X = torch.ones(2, 3)
SETTINGS: dict[str, Any] = {"max_autotune": True}
LINEAR = torch.nn.Linear(3, 3)
COMPILERS = [torch.compile, alternator.compile]


def function(x: torch.Tensor, k: int = 2, *, flag: bool = False) -> torch.Tensor:
    return x * k if not flag else x


def nothing(model: Any = None, **settings: Any) -> Any:
    """``compile`` that compiles nothing (the in-tree front-end is no part of these tests)."""
    return model if model is not None else lambda model: model


def with_settings(x: torch.Tensor, make: Any) -> Any:
    return make(function, backend="eager", fullgraph=True)(x, 3) + make(model=function, options=SETTINGS)(x, flag=True)


def of_a_module(x: torch.Tensor, make: Any) -> Any:
    return make(LINEAR, mode="max-autotune", dynamic=False)(x) * 2


def as_a_decorator(x: torch.Tensor, make: Any) -> Any:
    @make(backend="eager", dynamic=True)
    def inner(y: torch.Tensor) -> torch.Tensor:
        return y.cos() * x if make(function, disable=True) is function else y

    return inner(x)


@pytest.mark.parametrize("fn", [with_settings, of_a_module, as_a_decorator])
@pytest.mark.parametrize("make", COMPILERS)
def test_what_is_compiled_inside_is_part_of_the_capture(fn: Any, make: Any) -> None:
    alternator.reset()
    recorder = Recorder()
    captured = alternator.compile(fn, backend=recorder, fullgraph=True)
    for value in (1.0, 2.0, -1.0):
        plain, other = (torch.full((2, 3), value, requires_grad=True) for _ in range(2))
        fn(plain, nothing).sum().backward()
        result = captured(other, make)
        result.sum().backward()
        assert torch.equal(result, fn(plain, nothing)) and torch.equal(other.grad, plain.grad)
    assert recorder.frame_count == 1


@pytest.mark.parametrize("make", COMPILERS)
def test_what_is_compiled_inside_and_leaves_is_compiled_by_generated_code(make: Any) -> None:
    kept: list[Any] = []

    def f(x: torch.Tensor) -> Any:
        kept[:] = make(function, backend="eager"), make(LINEAR, backend="eager")
        return kept[0](x)

    captured = alternator.compile(f, backend="eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(captured(X), X * 2)
        for one, original in zip(kept, (function, LINEAR.forward)):
            assert one is not function and one is not LINEAR and one._torchdynamo_orig_callable == original
    before, _ = kept
    captured(X)
    assert kept[0] is not before

    def marked(x: torch.Tensor) -> Any:
        made = make(function, backend="eager")
        made.mark = 8
        return made, function(x)

    made, result = alternator.compile(marked, backend="eager")(X)
    assert made.mark == 8 and torch.equal(result, X * 2)


def test_settings_that_compile_refuses_are_refused_in_its_words() -> None:
    def both(x: torch.Tensor, make: Any) -> Any:
        return make(function, mode="default", options={"max_autotune": True})(x)

    def unknown(x: torch.Tensor, make: Any) -> Any:
        return make(function, options={"no such setting": 1})(x)

    for fn in (both, unknown):
        for make in COMPILERS:
            with pytest.raises(RuntimeError) as plain:
                fn(X, make)
            with pytest.raises(RuntimeError) as captured:
                alternator.compile(fn, backend="eager")(X, make)
            assert str(captured.value) == str(plain.value)


def test_a_class_is_not_compiled_while_code_is_captured() -> None:
    class Doubler:
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    before = Doubler.__call__

    def f(x: torch.Tensor) -> Any:
        alternator.compile(Doubler, backend="eager")
        return x + 1

    with pytest.raises(alternator.exc.Unsupported):
        alternator.compile(f, backend="eager", fullgraph=True)(X)
    assert Doubler.__call__ is before
