"""Which frames are captured."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.fx
import torch.utils.checkpoint
from helpers import Recorder, same

import alternator
from alternator.runtime import contexts, skip, trampoline
from alternator.runtime.skip import Verdict


class Thing:
    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "verdict"),
    [
        (Thing.method, Verdict.CAPTURE),
        (eval("lambda: 0"), Verdict.CAPTURE),
        (torch.nn.Linear.forward, Verdict.CAPTURE),
        (torch.nn.Sequential.forward, Verdict.CAPTURE),
        (torch.nn.Module._call_impl, Verdict.PLAIN),
        (torch.nn.Module._wrapped_call_impl, Verdict.PLAIN),
        (torch.nn.functional.dropout, Verdict.CAPTURE),
        (torch.optim.SGD.step.__wrapped__, Verdict.CAPTURE),
        (torch.distributions.Normal.log_prob, Verdict.CAPTURE),
        (torch.utils.checkpoint.checkpoint.__wrapped__, Verdict.CAPTURE),
        (torch.fx.Graph.lint, Verdict.PLAIN_RECURSIVE),
        (torch.Tensor.backward, Verdict.PLAIN),
        (torch.save, Verdict.PLAIN),
        (contextlib.contextmanager, Verdict.PLAIN),
        (collections.Counter.most_common, Verdict.PLAIN),
        (dataclasses.replace, Verdict.PLAIN),
        (json.dumps, Verdict.PLAIN),
        (numpy.testing.assert_allclose, Verdict.PLAIN),
        (pytest.raises, Verdict.PLAIN),
        (alternator.compile, Verdict.PLAIN_RECURSIVE),
        (contexts.Context.__exit__, Verdict.PLAIN),
        (trampoline.with_frame(len), Verdict.CAPTURE),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_verdicts(function: Any, verdict: Verdict) -> None:
    assert (
        skip.of_function(getattr(function, "__wrapped__", function) if function is contextlib.contextmanager else function)
        is verdict
    )


def test_models_of_installed_packages_are_captured() -> None:
    transformers = pytest.importorskip("transformers")
    assert skip.of_function(transformers.PreTrainedModel.get_input_embeddings) is Verdict.CAPTURE


def test_a_rule_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f(x): return x + 1")
    namespace: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    assert skip.of_function(namespace["f"]) is Verdict.CAPTURE
    skip.add_rule(str(tmp_path), Verdict.PLAIN)
    try:
        assert skip.of_function(namespace["f"]) is Verdict.PLAIN
        recorder = Recorder()

        def call(x: torch.Tensor) -> torch.Tensor:
            alternator.graph_break()
            return namespace["f"](x)

        alternator.compile(namespace["f"], backend=recorder)(torch.ones(2))  # what was asked for goes before the rule
        assert recorder.frame_count == 1
    finally:
        skip.RULES.remove(str(tmp_path) + "/")
        skip.forget()


def test_may_hold_tensors() -> None:
    def of_globals() -> Any:
        return torch.ones(2)

    def neither(a: Any) -> Any:
        return len(a)

    weight = torch.ones(2)

    def of_closure() -> Any:
        return weight

    box = Thing()
    assert skip.may_hold_tensors(of_globals, []) and skip.may_hold_tensors(of_closure, [])
    for value in (weight, [weight], {"a": (weight,)}, torch.nn.ReLU(), numpy.ones(2), lambda: 0):
        assert skip.may_hold_tensors(neither, [value]), value
    for value in (1, "a", [1, 2], None, {"a": 1}, box, int):
        assert not skip.may_hold_tensors(neither, [value]), value
    box.inner = weight
    assert skip.may_hold_tensors(neither, [box])


def test_code_called_by_plain_frames_is_captured() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        alternator.graph_break()
        return max([x], key=lambda item: 1) + 1

    same(run, torch.ones(2))


def test_tensors_are_looked_for_in_deques_slots_and_iterators() -> None:
    class Slotted:
        __slots__ = ("first", "second")

    def nothing() -> None:
        pass

    held, empty = Slotted(), Slotted()
    held.second = X = torch.ones(2)
    for value in (collections.deque(["a", X]), held, iter([X])):
        assert skip.may_hold_tensors(nothing, [value]), value
    for value in (collections.deque(["a"]), empty):
        assert not skip.may_hold_tensors(nothing, [value]), value
