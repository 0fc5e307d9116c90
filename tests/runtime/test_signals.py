"""What handlers of signals raise is the program's own, wherever it arrives: while a frame is captured, while a graph runs, and where
native code resumes a generator."""

from __future__ import annotations

import _thread
import functools
import operator
import signal
from typing import Any, Iterator

import pytest
import torch

import alternator
from alternator import utils

SIGNAL = signal.SIGUSR1
X = torch.arange(4.0)


class TimeIsUp(Exception):
    pass


class Kill(BaseException):
    pass


def out_of_time(signum: int, frame: Any) -> None:
    raise TimeIsUp


class Limits:
    """A handler in other clothes."""

    def method(self, signum: int, frame: Any) -> None:
        raise TimeIsUp

    def __call__(self, signum: int, frame: Any) -> None:
        raise Kill


HANDLERS = {
    "function": out_of_time,
    "method": Limits().method,
    "instance": Limits(),
    "partial": functools.partial(lambda what, *_: operator.call(what), lambda: out_of_time(0, None)),
}


@pytest.fixture(params=HANDLERS)
def limit(request: Any) -> Iterator[Any]:
    """The class of what the handler raises."""
    before = signal.signal(SIGNAL, HANDLERS[request.param])
    utils.counters["internal_errors"].clear()
    yield Kill if request.param == "instance" else TimeIsUp
    signal.signal(SIGNAL, before)
    assert not utils.counters["internal_errors"]


def ring() -> None:
    signal.raise_signal(SIGNAL)


@torch.library.custom_op("alternator_tests::rings", mutates_args=())
def rings(x: torch.Tensor) -> torch.Tensor:
    return x + 1


@rings.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    ring()
    return torch.empty_like(x)


def handling(fn: Any, x: Any, log: list[Any]) -> Any:
    """A handler in the frame: what its operations raise, it would see."""
    log.append(x)
    try:
        return fn(x.sin())
    except ValueError:
        return None
    except RuntimeError:
        return None


def test_while_an_operation_is_traced(limit: Any) -> None:
    log: list[Any] = []
    compiled = alternator.compile(handling, backend=lambda gm, examples: gm.forward)
    with pytest.raises(limit):
        compiled(rings, X, log)
    assert not log  # the frame has not begun


def test_while_the_backend_compiles(limit: Any) -> None:
    def backend(gm: Any, examples: Any) -> Any:
        if not told:
            told.append(1)
            ring()
        return gm.forward

    told: list[Any] = []
    log: list[Any] = []
    compiled = alternator.compile(handling, backend=backend)
    with pytest.raises(limit):
        compiled(torch.cos, X, log)
    assert not log
    assert torch.equal(compiled(torch.cos, X, log), X.sin().cos()) and len(log) == 1


def test_while_the_graph_runs(limit: Any) -> None:
    """Nobody runs the frame a second time for it, and no handler of the frame, which is for something else, takes it away."""

    def backend(gm: Any, examples: Any) -> Any:
        def run(*args: Any) -> Any:
            runs.append(1)
            if len(runs) == 2:
                ring()
            return gm.forward(*args)

        return run

    runs: list[Any] = []
    log: list[Any] = []
    compiled = alternator.compile(handling, backend=backend)
    assert torch.equal(compiled(torch.cos, X, log), X.sin().cos())
    with pytest.raises(limit):
        compiled(torch.cos, X, log)
    assert torch.equal(compiled(torch.cos, X, log), X.sin().cos())
    assert len(runs) == 3 and len(log) == 2


def test_what_the_graph_itself_raises_still_meets_handlers() -> None:
    def backend(gm: Any, examples: Any) -> Any:
        def run(*args: Any) -> Any:
            out_of_order()
            return gm.forward(*args)

        return run

    def out_of_order() -> None:
        raise RuntimeError

    log: list[Any] = []
    before = signal.signal(SIGNAL, out_of_time)
    try:
        compiled = alternator.compile(handling, backend=backend)
        assert torch.equal(compiled(torch.cos, X, log), X.sin().cos()) and len(log) == 1
    finally:
        signal.signal(SIGNAL, before)


def inner(log: list[Any]) -> Any:
    try:
        yield X.sin()
    except (TimeIsUp, Kill) as error:
        log.append(type(error))
        yield X.cos()
    else:
        log.append("nothing")


def outer(log: list[Any]) -> Any:
    yield from inner(log)


def outermost(log: list[Any]) -> Any:
    yield from outer(log)


@alternator.disable(recursive=False)
def advance(generator: Any) -> Any:
    next(generator)
    waiting = functools.partial(_thread.interrupt_main, SIGNAL)  # no Python code looks between this and the next
    return [*map(operator.call, (waiting, functools.partial(next, generator)))][1]


@pytest.mark.parametrize("kind", [inner, outer, outermost])
def test_one_that_waits_when_a_generator_is_resumed(limit: Any, kind: Any) -> None:
    """It is raised in the innermost generator: those that delegate to it do not look."""

    def f(log: list[Any]) -> Any:
        return advance(kind(log))

    log: list[Any] = []
    assert torch.equal(f(log), X.cos()) and log == [limit]
    compiled = alternator.compile(f, backend=lambda gm, examples: gm.forward)
    for _ in range(2):
        again: list[Any] = []
        assert torch.equal(compiled(again), X.cos()) and again == log
