"""Branches on tensors of one element that modules hold: the answer is guarded, if the graph has not changed it before."""

from __future__ import annotations

import copy
from typing import Any, Callable

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator import utils
from alternator.interpreter.flags import MAX_CAPTURES

X = torch.ones(2, 3)


class Module(torch.nn.Module):
    """Holds a flag, and calls a function with itself."""

    def __init__(self, fn: Callable[..., Any], flag: torch.Tensor) -> None:
        super().__init__()
        self.fn = fn
        self.register_buffer("flag", flag)

    def forward(self, *args: torch.Tensor) -> Any:
        return self.fn(self, *args)


def _once(module: Any, x: torch.Tensor) -> torch.Tensor:
    if module.flag == 0:
        module.flag += 1
        return x + 1
    return x * 2


def _like(module: Module, times: int, fullgraph: bool = True) -> tuple[Recorder, list[utils.BreakReason]]:
    """Call a module, and a copy of it captured, some times: both do the same."""
    twin, recorder, seen = copy.deepcopy(module), Recorder(), list[utils.BreakReason]()
    compiled = alternator.compile(twin, backend=recorder, fullgraph=fullgraph)
    with utils.listening_to_breaks(seen.append):
        for _ in range(times):
            assert torch.equal(compiled(X), module(X))
            assert torch.equal(twin.flag, module.flag)
    return recorder, seen


@pytest.mark.parametrize("flag", [torch.tensor(0), torch.tensor([0.0]), torch.tensor(0, dtype=torch.uint8), torch.zeros(1, 1)])
def test_a_question_about_a_flag_is_a_guard(flag: torch.Tensor) -> None:
    recorder, _ = _like(Module(_once, flag), 4)
    assert recorder.frame_count == 2


@pytest.mark.parametrize(
    "asks",
    [
        lambda flag: flag,
        lambda flag: flag[0] > 0,
        lambda flag: 0 < flag,
        lambda flag: flag.max() == 1.0,
        lambda flag: torch.isnan(flag),
        lambda flag: bool(flag.bool().all()),
        lambda flag: not flag.bool().item(),
    ],
)
def test_every_change_of_the_answer_is_seen(asks: Callable[[torch.Tensor], Any]) -> None:
    module = Module(lambda self, x: x + 1 if asks(self.flag) else x * 2, torch.zeros(1))
    compiled = alternator.compile(module, backend=Recorder(), fullgraph=True)
    for value in (0.0, 1.0, 1.0, 0.0, float("nan"), 0.0, 1.0):
        module.flag.fill_(value)
        assert torch.equal(compiled(X), module(X)), value


def test_one_that_was_replaced_is_asked() -> None:
    module = Module(_once, torch.tensor(1))
    compiled = alternator.compile(module, backend=Recorder(), fullgraph=True)
    assert torch.equal(compiled(X), X * 2)
    module.flag = torch.tensor(0)
    assert torch.equal(compiled(X), X + 1)
    assert module.flag == 1


def _asks_behind_a_write(module: Any, x: torch.Tensor) -> torch.Tensor:
    module.flag += 1
    return x + 1 if module.flag > 1 else x * 2


def _asks_behind_a_write_to_a_view(module: Any, x: torch.Tensor) -> torch.Tensor:
    module.flag.view(-1).add_(1)
    return x + 1 if module.flag > 1 else x * 2


@pytest.mark.parametrize("fn", [_asks_behind_a_write, _asks_behind_a_write_to_a_view])
def test_one_that_the_graph_has_written_is_data(fn: Any) -> None:
    _, seen = _like(Module(fn, torch.tensor(0)), 4, fullgraph=False)
    assert {reason.code for reason in seen} == {"DATA_DEPENDENT_BRANCH"}


def _writes_an_argument(module: Any, x: torch.Tensor) -> torch.Tensor:
    x.add_(1)
    return x + 1 if module.flag > 0 else x * 2


def test_one_that_may_be_an_argument() -> None:
    module = Module(_writes_an_argument, torch.zeros(1))
    compiled = alternator.compile(module, backend=Recorder())
    for arg in (torch.ones(1), module.flag, torch.ones(1), module.flag.detach(), module.flag.view(1)):
        module.flag.zero_()
        expected = module(arg)
        arg.sub_(1)
        module.flag.zero_()
        assert torch.equal(compiled(arg), expected)


def test_writes_to_others_do_not_matter() -> None:
    def fn(module: Any, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            if module.flag == 0:
                x.add_(1)
        return x

    assert not same(Module(fn, torch.tensor(0)), X, graphs=1).breaks


def test_arguments_and_larger_tensors_are_data() -> None:
    same(lambda flag, x: x + 1 if flag > 0 else x * 2, torch.tensor(1), X, breaks=["DATA_DEPENDENT_BRANCH"])
    module = Module(lambda self, x: x + 1 if self.flag.sum() > 0 else x * 2, torch.ones(3))
    same(module, X, breaks=["DATA_DEPENDENT_BRANCH"])


def test_sparse_tensors_are_data() -> None:
    def fn(module: Any, x: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return x + 1 if module.flag.sum() > 0 else x * 2

    module = Module(fn, torch.ones(1).to_sparse())
    compiled = alternator.compile(module, backend=Recorder())
    assert torch.equal(compiled(X.clone()), module(X.clone()))


def test_counters_are_data() -> None:
    module = Module(lambda self, x: x + self.flag.item(), torch.tensor(3))
    same(module, X, breaks=["DATA_DEPENDENT_VALUE"])


def test_an_answer_that_leaves_is_computed() -> None:
    def fn(module: Any, x: torch.Tensor) -> Any:
        asked = module.flag == 0
        if asked:
            x = x + 1
        return x, asked

    report = same(Module(fn, torch.tensor(0)), X, graphs=1)
    assert not report.breaks


def test_nothing_is_left_of_a_question_in_the_graph() -> None:
    report = same(Module(lambda self, x: x + 1 if self.flag[0] == 0 else x, torch.zeros(1)), X, graphs=1)
    assert len(report.ops) == 1
    same(Module(lambda self, x: 1 if self.flag[0] == 0 else 2, torch.zeros(1)), X, graphs=0)


def test_what_is_captured_again_and_again_asks_for_data() -> None:
    module = Module(_once, torch.tensor(1))
    compiled = alternator.compile(module, backend=Recorder(), dynamic=False)
    seen: list[utils.BreakReason] = []
    with alternator.config.patch(recompile_limit=64), utils.listening_to_breaks(seen.append):
        for size in range(2, MAX_CAPTURES + 4):
            assert torch.equal(compiled(torch.ones(size)), torch.ones(size) * 2)
    assert {reason.code for reason in seen} == {"DATA_DEPENDENT_BRANCH"}


def test_averages_of_models() -> None:
    model = torch.nn.Linear(3, 3)
    average = torch.optim.swa_utils.AveragedModel(model)

    def step(x: torch.Tensor) -> torch.Tensor:
        average.update_parameters(model)
        return average(x)

    recorder = Recorder()
    compiled = alternator.compile(step, backend=recorder, fullgraph=True)
    for count in range(1, 5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float(count))
        assert torch.allclose(compiled(X), torch.full((2, 3), 4 * (1 + count) / 2))
        assert average.n_averaged == count
    assert recorder.frame_count == 2


def _written_on_the_way(self: Module, x: torch.Tensor) -> torch.Tensor:
    copied = self.flag.abs()
    copied.view(1).add_(1)
    return x * 2 if copied == 1 else x * 3


def test_what_is_computed_of_a_flag_and_then_written_into() -> None:
    same(Module(_written_on_the_way, torch.zeros(1)), X, breaks=["DATA_DEPENDENT_BRANCH"])
