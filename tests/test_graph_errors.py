"""An exception that the graph raises because of the data is the program's, as if it ran plainly: place, effects, handlers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator

GOOD, BAD = torch.tensor([0, 1, 2]), torch.tensor([0, 9, 2])
TABLE = torch.arange(4.0)
LOG: list[Any] = []


class Log:
    def __init__(self) -> None:
        self.items: list[Any] = []
        self.last: Any = None
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.plain = torch.ones(4)


def pick(table: Any, index: Any) -> Any:
    return torch.index_select(table, 0, index)


def effects_before(index: Any, log: Any) -> Any:
    log.items.append("before")
    log.last = index + 1
    print("before")
    y = pick(TABLE, index)
    log.items.append("after")
    print("after")
    return y * 2


def handled(index: Any, log: Any) -> Any:
    try:
        y = pick(TABLE, index)
        log.items.append("picked")
    except IndexError as error:
        log.items.append(str(error))
        y = index * 1.0
    finally:
        log.last = "finally"
    return y + 1


def handled_by_a_caller(index: Any, log: Any) -> Any:
    def deeper(x: Any) -> Any:
        log.items.append("deeper")
        return pick(TABLE, x) * 2

    for _ in range(2):
        try:
            return deeper(index)
        except IndexError:
            log.items.append("again")
            index = index.clamp(max=3)
    return index


def in_a_with(index: Any, log: Any) -> Any:
    with torch.no_grad():
        log.items.append(torch.is_grad_enabled())
        y = pick(TABLE, index)
    return y


def behind_a_break(index: Any, log: Any) -> Any:
    log.items.append(1)
    alternator.graph_break()
    log.items.append(2)
    y = pick(TABLE, index)
    log.items.append(3)
    return y + 1


def before_a_break(index: Any, log: Any) -> Any:
    def inner() -> Any:
        y = pick(TABLE, index)
        log.items.append(1)
        alternator.graph_break()
        return y * 2

    try:
        return inner() + 1
    except IndexError:
        log.items.append("no")
        return index


def with_written_parameter(index: Any, log: Any) -> Any:
    log.items.append("before")
    with torch.no_grad():
        log.weight.add_(1)
    y = pick(log.weight, index)
    log.items.append("picked")
    return y


def with_a_history(index: Any, log: Any) -> Any:
    log.items.append("before")
    log.plain += log.weight
    y = pick(log.plain, index)
    log.items.append("picked")
    return y


def with_another_history(index: Any, log: Any) -> Any:
    made = log.weight * 3
    alternator.graph_break()
    log.items.append("before")
    made *= log.weight
    try:
        y = pick(made, index)
    except IndexError:
        log.items.append("no")
        y = made
    (y * 2).sum().backward()
    return made


def of_classes(index: Any, log: Any) -> Any:
    log.items.append("before")
    log.plain += 1
    y = torch.nn.functional.one_hot(index, 5)
    log.items.append("coded")
    return y


def with_written_local(index: Any, log: Any) -> Any:
    y = torch.zeros(4)
    y.add_(1)
    y[index] = 2.0
    log.items.append("set")
    return y


@pytest.mark.parametrize(
    "fn",
    [
        effects_before,
        handled,
        handled_by_a_caller,
        in_a_with,
        behind_a_break,
        before_a_break,
        with_written_local,
        with_written_parameter,
        with_a_history,
        with_another_history,
        of_classes,
    ],
)
@pytest.mark.parametrize("dynamic", [None, True])
def test_as_if_it_ran_plainly(fn: Any, dynamic: Any) -> None:
    assert torch.is_grad_enabled()
    report = same(fn, GOOD, Log(), then=[(BAD, Log()), (GOOD, Log()), (BAD, Log())], recompiles=0, dynamic=dynamic)
    assert report.graphs and torch.is_grad_enabled()


def test_the_first_call_may_be_the_one_that_raises() -> None:
    report = same(effects_before, BAD, Log(), then=[(GOOD, Log())], recompiles=0)
    assert len(report.graphs) == 1


def test_of_a_module() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []
            self.embedding = torch.nn.Embedding(4, 2)

        def forward(self, index: Any) -> Any:
            self.seen.append("in")
            return self.embedding(index) + 1

    net = Net()
    compiled = alternator.compile(net, backend="eager")
    for index in (GOOD, GOOD, BAD, GOOD):
        torch.testing.assert_close(compiled(index), net.embedding(index) + 1) if index is GOOD else _raises(compiled, index)
    assert net.seen == ["in"] * 4


def _raises(fn: Any, index: Any) -> None:
    with pytest.raises(IndexError):
        fn(index)


def test_singular() -> None:
    def f(x: Any, log: Any) -> Any:
        log.items.append("in")
        try:
            return torch.linalg.inv(x)
        except torch.linalg.LinAlgError:
            return torch.linalg.pinv(x)

    same(f, torch.eye(3) * 2, Log(), then=[(torch.zeros(3, 3), Log())], recompiles=0)


def test_an_assertion_in_the_graph_has_the_effects_before() -> None:
    def f(x: Any, log: Any) -> Any:
        log.items.append("before")
        if not x.sum() > 0:
            raise AssertionError("not positive")
        log.items.append("in")
        return x + 1

    same(f, torch.ones(3), Log(), then=[(-torch.ones(3), Log())], recompiles=0)


@pytest.mark.parametrize("write", ["input", "random", "statistics"])
def test_a_graph_that_shows_is_not_run_twice(write: str) -> None:
    """What it has done cannot be taken back: the exception leaves, and nothing happens twice."""
    norm = torch.nn.BatchNorm1d(4)

    def f(x: Any, index: Any) -> Any:
        if write == "input":
            x.add_(1)
        elif write == "random":
            x = x + torch.rand(4)
        else:
            x = norm(x.view(1, 4).expand(2, 4))[0]
        return pick(x, index) + 1

    recorder = Recorder()
    runs: list[int] = []

    def backend(gm: Any, inputs: Any) -> Any:
        recorder(gm, inputs)
        return lambda *args: (runs.append(1), gm.forward(*args))[1]

    compiled = alternator.compile(f, backend=backend)
    x = torch.zeros(4)
    compiled(x, GOOD)
    with pytest.raises(IndexError):
        compiled(x, BAD)
    assert len(runs) == 2
    assert torch.equal(x, torch.full((4,), 2.0 if write == "input" else 0.0))
    if write == "statistics":
        assert norm.num_batches_tracked == 2


def test_an_exception_of_the_backend_is_raised() -> None:
    def backend(gm: Any, inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            raise RuntimeError("of the backend")

        return run

    with pytest.raises(RuntimeError, match="of the backend"):
        alternator.compile(lambda x: x + 1, backend=backend)(torch.ones(3))


def test_an_interrupt_is_no_error_of_the_program() -> None:
    def backend(gm: Any, inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            raise KeyboardInterrupt

        return run

    def f(x: Any) -> Any:
        LOG.append(1)
        return x + 1

    LOG.clear()
    with pytest.raises(KeyboardInterrupt):
        alternator.compile(f, backend=backend)(torch.ones(3))
    assert LOG == []


def test_where_the_exception_was_raised() -> None:
    def f(index: Any) -> Any:
        y = index + 1
        return pick(TABLE, y) * 2

    compiled = alternator.compile(f, backend="eager")
    compiled(GOOD)
    with pytest.raises(IndexError) as raised:
        compiled(BAD)
    names = [entry.name for entry in raised.traceback]
    assert names[-2:] == ["f", "pick"] and raised.value.__context__ is None


class Counts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Any) -> Any:
        self.seen = self.seen + x.sum(0)
        return self.norm(self.linear(x))


def of_inference() -> torch.Tensor:
    with torch.inference_mode():
        return torch.ones(4, 4)


@pytest.mark.parametrize("wrong", [of_inference(), torch.ones(4, 4).double()], ids=["inference", "dtype"])
@pytest.mark.parametrize("dynamic", [None, True])
def test_effects_before_what_fakes_do_not_show(wrong: torch.Tensor, dynamic: bool | None) -> None:
    plain = Counts()
    captured = Counts()
    captured.load_state_dict(plain.state_dict())
    compiled = alternator.compile(captured, backend="eager", dynamic=dynamic)
    for x in (torch.ones(3, 4), wrong, wrong, torch.ones(5, 4)):
        expect = outcome(plain, x)
        assert outcome(compiled, x) == expect
        assert captured.seen.tolist() == plain.seen.tolist()
        assert captured.norm.running_mean.tolist() == plain.norm.running_mean.tolist()
        assert captured.norm.num_batches_tracked.item() == plain.norm.num_batches_tracked.item()


def test_effects_before_a_refused_write() -> None:
    def fn(x: torch.Tensor, items: list[int]) -> None:
        items.append(1)
        x.add_(1)
        x[x > 9] = 1.0

    compiled = alternator.compile(fn, backend="eager")
    for make in (of_inference, of_inference, lambda: torch.ones(2)):
        expect: list[int] = []
        items: list[int] = []
        assert outcome(lambda x: fn(x, expect) or x, make()) == outcome(lambda x: compiled(x, items) or x, make())
        assert items == expect == [1]


def outcome(fn: Any, x: torch.Tensor) -> Any:
    try:
        return fn(x).shape
    except RuntimeError as error:
        return str(error)


def test_torch_does_not_log_what_the_program_gets_wrong(caplog: pytest.LogCaptureFixture) -> None:
    def fn(x: Any) -> Any:
        try:
            return x @ torch.ones(5, 5)
        except RuntimeError as error:
            return str(error)

    same(fn, torch.ones(1, 4))
    assert not caplog.records


class Full(Exception):
    """What a hook on saved tensors raises in the tests below."""


def test_a_hook_on_saved_tensors_that_raises_is_called_once() -> None:
    packed: list[Any] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        packed.append(tensor)
        if len(packed) > 2:
            raise Full
        return tensor

    def fn(x: torch.Tensor, seen: list[int]) -> torch.Tensor:
        seen.append(1)
        return (x * x).sin().sum()

    compiled = alternator.compile(fn, backend="eager")
    for one in (fn, compiled, compiled):
        packed.clear()
        x = torch.ones(3, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), pytest.raises(Full):
            one(x, [])
        assert len(packed) == 3
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        same(lambda x, i, seen: (seen.append(1), x.index_select(0, i))[1], torch.ones(3), torch.tensor([5]), [])


@pytest.mark.parametrize("early", (True, False))
def test_under_checkpoints(early: bool) -> None:
    linear = torch.nn.Linear(3, 3)

    def fn(x: torch.Tensor, seen: list[int]) -> torch.Tensor:
        seen.append(1)
        return linear(x).relu().sin()

    gradients = []
    compiled = alternator.compile(fn, backend="eager")
    for one in (fn, compiled, compiled):
        x = torch.ones(2, 3, requires_grad=True)
        with torch.utils.checkpoint.set_checkpoint_early_stop(early):
            torch.utils.checkpoint.checkpoint(one, x, [], use_reentrant=False).sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(gradients[0], gradients[1]) and torch.allclose(gradients[0], gradients[2])
