"""Texts that begin with what a piece of a function is given: `f"{step}: {loss.item()}"` in a loop."""

from __future__ import annotations

import io
from typing import Any, Callable

import pytest
import torch
from helpers import Recorder, same

import alternator

X = torch.ones(2)


def printed(x: Any, names: list[str], out: Any) -> Any:
    for name in names:
        x = x * 2 + 1
        print(f"{name}: {x.sum().item():.2f}", file=out)
    return x


def counted(x: Any, names: list[str], out: Any) -> Any:
    for i, name in enumerate(names):
        x = x * 2 + 1
        out.write(f"step {i} of {len(names)} ({name}): {x.sum().item()}, {x.mean().item():.3f}\n")
    return x


def chosen(x: Any, names: list[str], out: Any) -> Any:
    for name in names:
        x = x * 2 + 1
        print(f"{name} {'high' if x.sum().item() > 30 else 'low'} {f'{name}-{x[0].item()}'}", file=out)
    return x


def collected(x: Any, names: list[str], out: Any) -> Any:
    made = []
    for name in names:
        x = x * 2 + 1
        made.append(f"{name}={x.sum().item()}")
    return x, made


def looked_up(x: Any, names: list[str], out: Any) -> Any:
    table = {}
    for name in names:
        x = x * 2 + 1
        table[f"{name}/{x.sum().item()}"] = x
    return table


def measured(x: Any, names: list[str], out: Any) -> Any:
    for name in names:
        text = f"{name}:{x.sum().item()}"
        x = x * len(text) if text.startswith("n1") else x + len(text)
    return x


def raised(x: Any, names: list[str], out: Any) -> Any:
    try:
        for name in names:
            x = x * 2 + 1
            if name == "n5":
                raise ValueError(f"{name}: {x.sum().item()}")
    except ValueError as error:
        return x * 2, error.args, str(error)
    return x


def unused(x: Any, names: list[str], out: Any) -> Any:
    for name in names:
        x = x * 2 + 1
        alternator.graph_break()
    return f"{name}", name, x


NAMES = [f"n{i}" for i in range(8)]


@pytest.mark.parametrize("fn", [printed, counted, chosen, collected, looked_up, measured, raised, unused])
def test_texts_of_what_varies(fn: Callable[..., Any]) -> None:
    same(fn, X, NAMES, io.StringIO(), then=[(X, NAMES[::-1], io.StringIO()), (X + 1, ["a", "b", "a"], io.StringIO())])


@pytest.mark.parametrize("fn", [printed, collected, unused])
def test_they_are_not_captured_one_by_one(fn: Callable[..., Any]) -> None:
    alternator.reset()
    recorder = Recorder()
    out = io.StringIO()
    alternator.compile(fn, backend=recorder)(X, NAMES, out)
    assert recorder.frame_count <= 4


def test_the_text_that_is_written_is_the_one_of_this_call() -> None:
    compiled = alternator.compile(printed, backend="eager")
    for names in (NAMES, NAMES[::-1], ["other", "n1"]):
        shown, expected = io.StringIO(), io.StringIO()
        assert torch.equal(compiled(X, names, shown), printed(X, names, expected))
        assert shown.getvalue() == expected.getvalue()
