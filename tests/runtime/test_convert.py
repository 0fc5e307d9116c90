"""What happens on a miss: limits, recompilations, bugs, threads, callbacks."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import types
import weakref
from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator import capture, config, exc, utils
from alternator._C import eval_frame

X = torch.ones(3)


def add(x: torch.Tensor, n: Any) -> torch.Tensor:
    return x + len(n)


def test_an_entry_is_reused() -> None:
    recorder = Recorder()
    compiled = alternator.compile(add, backend=recorder)
    for _ in range(3):
        compiled(X, "ab")
    assert recorder.frame_count == 1
    (entry,) = eval_frame._debug_get_cache_entry_list(add.__code__)
    assert entry.hits >= 2 and entry.valid and entry.code is add.__code__


def test_recompile_limit(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    compiled = alternator.compile(add, backend=recorder)
    config.recompile_limit = 2
    with caplog.at_level(logging.WARNING, "alternator"):
        for size in range(5):
            assert compiled(X, "a" * size).equal(X + size)
    assert recorder.frame_count == 2
    (warning,) = caplog.records
    text = warning.getMessage()
    assert "add (" in text and "recompile_limit is 2" in text and "last reason:" in text and "cure:" in text and "n" in text
    compiled(X, "a")  # what was compiled is still used
    assert recorder.frame_count == 2


def test_at_the_limit_nothing_below_is_compiled() -> None:
    recorder = Recorder()

    def inner(x: torch.Tensor, n: str) -> torch.Tensor:
        return x + len(n)

    def outer(x: torch.Tensor, n: str) -> torch.Tensor:
        return inner(x, n) * len(n)

    compiled = alternator.compile(outer, backend=recorder)
    config.recompile_limit = 2
    for size in range(6):
        assert compiled(X, "a" * size).equal(outer(X, "a" * size))
    assert recorder.frame_count == 2
    with config.patch(skip_code_recursive_on_recompile_limit_hit=False):
        compiled(X, "aaa")
    assert recorder.frame_count == 3


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        (lambda x, n: (x, [*n, 1]), "length"),
        (lambda x, n: (torch.ones(7), n), "mark_dynamic"),
        (lambda x, n: (x.double(), n), "tensors of one kind"),
        (lambda x, n: (x, tuple(n)), "same type"),
    ],
)
def test_cures_of_recompilations(change: Any, cure: str, caplog: pytest.LogCaptureFixture) -> None:
    compiled = alternator.compile(add, backend="eager", recompile_limit=1)
    compiled(X, [1])
    with caplog.at_level(logging.WARNING, "alternator"):
        compiled(*change(X, [1]))
    assert cure in caplog.records[0].getMessage().rpartition("cure:")[2]


def test_recompile_limit_of_one_compile() -> None:
    recorder = Recorder()
    compiled = alternator.compile(add, backend=recorder, recompile_limit=3)
    for size in range(5):
        compiled(X, "a" * size)
    assert recorder.frame_count == 3


def test_accumulated_limit() -> None:
    recorder = Recorder()
    compiled = alternator.compile(add, backend=recorder)
    config.accumulated_recompile_limit = 2
    for size in range(5):
        compiled(X, "a" * size)
    assert recorder.frame_count == 2


def test_recompile_limit_with_fullgraph() -> None:
    compiled = alternator.compile(add, backend="eager", fullgraph=True)
    config.recompile_limit = 1
    compiled(X, "a")
    with pytest.raises(exc.FailOnRecompileLimitHit, match="recompile_limit is 1"):
        compiled(X, "ab")


def test_fail_on_recompile_limit_hit() -> None:
    compiled = alternator.compile(add, backend="eager")
    with config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        compiled(X, "a")
        with pytest.raises(exc.FailOnRecompileLimitHit):
            compiled(X, "ab")


def test_error_on_recompile() -> None:
    compiled = alternator.compile(add, backend="eager")
    compiled(X, "a")
    with config.patch(error_on_recompile=True):
        compiled(X, "a")
        with pytest.raises(exc.RecompileError, match="add(.|\n)*guard failure"):
            compiled(X, "ab")


def test_guard_fail_fn() -> None:
    failures: list[Any] = []
    compiled = alternator.optimize("eager", guard_fail_fn=failures.append)(add)
    compiled(X, "a")
    compiled(X, "a")
    assert failures == []
    compiled(X, "ab")
    (failure,) = failures
    assert failure.orig_code is add.__code__ and "n" in failure.reason
    assert failure == (failure.reason, add.__code__)
    assert list(utils.guard_failures) == [add.__code__]


def test_guard_export_fn() -> None:
    exported: list[Any] = []
    alternator.optimize("eager", guard_export_fn=exported.append)(add)(X, "a")
    assert len(exported) == 1 and len(exported[0]) > 0


def test_frames_without_tensors_are_left_alone() -> None:
    """At once if something that runs plainly calls them; what was given to compile() itself, after a few looks."""
    recorder = Recorder()

    def f(a: int) -> int:
        return a * 2

    @alternator.disable(recursive=False)
    def plain(a: int) -> int:
        return f(a)

    alternator.reset()
    assert alternator.compile(plain, backend=recorder)(3) == 6 and utils.counters["frames"]["total"] == 0
    compiled = alternator.compile(f, backend=recorder)
    assert [compiled(i) for i in range(10)] == [2 * i for i in range(10)]
    assert recorder.frame_count == 0 and 0 < utils.counters["frames"]["total"] < 8


class PassesOn(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2 if self.training else x


def none_or(x: Any) -> Any:
    return None if x is None else x * 2


@pytest.mark.parametrize("times", [1, 3, 10])
@pytest.mark.parametrize("how", ["module", "in place", "function"])
def test_what_did_nothing_for_a_while_is_captured_once_it_does_something(times: int, how: str) -> None:
    alternator.reset()
    recorder = Recorder()
    module = PassesOn().eval()
    compiled: Any = alternator.compile(none_or if how == "function" else module, backend=recorder)
    if how == "in place":
        compiled = alternator.compile(module._call_impl, backend=recorder)
    for _ in range(times):
        compiled(None if how == "function" else X)
    module.train()
    for _ in range(times + 1):
        assert torch.equal(compiled(X), X * 2)
    assert recorder.frame_count == 1


def test_what_has_graphs_goes_on_using_them_where_it_does_nothing_in_between() -> None:
    runs = []

    def backend(gm: Any, example_inputs: Any) -> Any:
        return lambda *args: runs.append(1) or gm(*args)

    alternator.reset()
    compiled = alternator.compile(PassesOn.forward, backend=backend)
    modules = PassesOn().train(), PassesOn().eval()
    for _ in range(6):
        assert torch.equal(compiled(modules[0], X), X * 2) and compiled(modules[1], X) is X
    assert len(runs) == 6


TENSORS = [torch.ones(3), torch.ones(3) * 2]
BOX = types.SimpleNamespace(tensors={"a": torch.ones(3)})


def behind_a_call() -> Any:
    return BOX


@pytest.mark.parametrize(
    "fn",
    [
        lambda: TENSORS[1] * 2,
        lambda: BOX.tensors["a"] * 2,
        lambda: behind_a_call().tensors["a"] * 2,
        lambda: next(iter(TENSORS)) * 2,
    ],
)
def test_what_is_compiled_may_get_its_tensors_from_anywhere(fn: Any) -> None:
    same(fn, graphs=1, breaks=0)


def test_the_rest_of_a_function_may_get_its_tensors_from_anywhere() -> None:
    waiting: queue.Queue[Any] = queue.Queue()

    def fn(x: Any) -> Any:
        waiting.put(x + 1)
        return waiting.get() * 2

    recorder = Recorder()
    assert torch.equal(alternator.compile(fn, backend=recorder)(X), (X + 1) * 2)
    assert recorder.frame_count == 2


def test_callees_of_plain_code_find_tensors_in_globals() -> None:
    def inner() -> Any:
        return TENSORS[0] * 3

    @alternator.disable(recursive=False)
    def plain() -> Any:
        return inner()

    recorder = Recorder()
    assert torch.equal(alternator.compile(plain, backend=recorder)(), TENSORS[0] * 3)
    assert recorder.frame_count == 1


def test_generators_and_coroutines_run_plainly() -> None:
    import asyncio

    recorder = Recorder()

    @alternator.compile(backend=recorder)
    def each(x: torch.Tensor) -> Any:
        yield x + 1
        yield x + 2

    @alternator.compile(backend=recorder)
    async def later(x: torch.Tensor) -> torch.Tensor:
        await asyncio.sleep(0)
        return x + 1

    assert [y.tolist() for y in each(X)] == [[2, 2, 2], [3, 3, 3]]
    assert asyncio.run(later(X)).tolist() == [2, 2, 2]


# ---- bugs of ours


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise AssertionError("a bug")

    monkeypatch.setattr(capture, "capture_frame", broken)


def test_a_bug_does_not_stop_the_program(bug: None, caplog: pytest.LogCaptureFixture) -> None:
    config.raise_internal_errors = False
    compiled = alternator.compile(add, backend="eager")
    with caplog.at_level(logging.WARNING, "alternator"):
        assert compiled(X, "ab").equal(X + 2)
        assert compiled(X, "ab").equal(X + 2)
    (record,) = caplog.records
    assert "Alternator has a bug" in record.getMessage() and "AssertionError: a bug" in record.getMessage()
    assert utils.counters["frames"] == {"total": 1, "ok": 1} or utils.counters["internal_errors"]


def test_a_bug_is_shown_where_asked_for(bug: None) -> None:
    with pytest.raises(exc.InternalError, match="a bug"):
        alternator.compile(add, backend="eager")(X, "ab")
    config.raise_internal_errors = False
    alternator.reset()
    with pytest.raises(exc.InternalError, match="add(.|\n)*a bug"):
        alternator.compile(add, backend="eager", fullgraph=True)(X, "ab")


# ---- state


def test_a_capture_leaves_no_trace_in_global_state() -> None:
    import random

    def f(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = x + 1
        torch.set_grad_enabled(torch.is_grad_enabled())
        alternator.graph_break()
        return y * 2

    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(2), random.random()
    torch.manual_seed(3)
    random.seed(3)
    alternator.compile(f, backend="eager")(X)
    assert torch.is_grad_enabled() and not torch.compiler.is_compiling() and gc.isenabled()
    assert torch.rand(2).equal(expected[0]) and random.random() == expected[1]


def test_threads() -> None:
    recorder = Recorder()
    compiled = alternator.compile(add, backend=recorder)
    errors: list[BaseException] = []

    def work(size: int) -> None:
        try:
            for _ in range(20):
                assert compiled(X, "a" * size).equal(X + size)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and recorder.frame_count <= 4


def test_the_hook_is_off_in_other_threads_and_afterwards() -> None:
    seen: list[Any] = []

    def look(gm: Any, inputs: Any) -> Any:
        seen.append(eval_frame.get_eval_frame())
        return gm.forward

    alternator.compile(add, backend=look)(X, "a")
    assert seen == [None] and eval_frame.get_eval_frame() is None


def test_callbacks() -> None:
    events: list[Any] = []

    @alternator.on_compile_start
    def start() -> None:
        events.append("start")

    @alternator.on_compile_end
    def end(args: Any) -> None:
        events.append(args.compile_id)

    compiled = alternator.compile(add, backend="eager")
    compiled(X, "a")
    compiled(X, "a")
    assert events[0] == "start" and len(events) == 2 and "/" in events[1]
    alternator.reset()
    compiled(X, "a")
    assert len(events) == 2


def test_metrics() -> None:
    compiled = alternator.compile(add, backend="eager")
    compiled(X, "a")
    compiled(X, "ab")
    first, second = utils.get_compilation_metrics()
    assert (first.co_name, first.cache_size, second.cache_size) == ("add", 0, 1)
    assert first.recompile_reason is None and "n" in second.recompile_reason
    utils.set_compilation_metrics_limit(1)
    assert utils.get_compilation_metrics() == [second]
    utils.set_compilation_metrics_limit(utils.DEFAULT_COMPILATION_METRICS_LIMIT)
    utils.clear_compilation_metrics()
    assert utils.get_compilation_metrics() == []


# ---- life and death


def test_nothing_outlives_the_function() -> None:
    def make() -> Any:
        weight = torch.ones(3)

        def f(x: torch.Tensor) -> torch.Tensor:
            return x * weight

        return f, weakref.ref(weight)

    f, weight = make()
    compiled = alternator.compile(f, backend="eager")
    compiled(X)
    del f, compiled
    gc.collect()
    assert weight() is None


def test_arguments_are_not_kept() -> None:
    class Box:
        def __init__(self) -> None:
            self.value = torch.ones(3)

    box, x = Box(), torch.ones(3)
    compiled = alternator.compile(lambda box, x: box.value + x, backend="eager")
    compiled(box, x)
    references = [weakref.ref(box), weakref.ref(box.value), weakref.ref(x)]
    del box, x
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_callbacks_are_shared_and_freed() -> None:
    from alternator.runtime import convert

    recorder = Recorder()
    one, two = (alternator.compile(add, backend=recorder) for _ in range(2))
    assert one._torchdynamo_context.callback is two._torchdynamo_context.callback
    count = len(convert._callbacks)
    del one, two
    gc.collect()
    assert len(convert._callbacks) == count - 1
