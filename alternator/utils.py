"""Counters, metrics, reports: what happened, for people and for tests.

Nothing here imports anything of Alternator but ``exc`` and ``breaks``.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import os
import sys
import threading
import time
import traceback
import types
from typing import Any, Callable, Counter, Iterator, Sequence

import torch
import torch.compiler

from alternator import config
from alternator.breaks import reason_of
from alternator.exc import Break

log = logging.getLogger("alternator")
if config.verbose and not log.handlers:
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.setLevel(logging.INFO)

# ---- counters

counters: collections.defaultdict[str, Counter[str]] = collections.defaultdict(collections.Counter)
"""What happened so far: ``frames`` (total, ok), ``stats`` (calls_captured, unique_graphs), ``graph_break`` by reason,
``unimplemented``, ``recompiles`` by function; AOTAutograd and Inductor add theirs."""

guard_failures: collections.defaultdict[Any, list[str]] = collections.defaultdict(list)
"""Code object -> why it had to be compiled again, each time."""

graph_break_reasons: list[BreakReason] = []
"""Every break since the last reset."""


# ---- breaks


@dataclasses.dataclass
class BreakReason:
    """Where and why a graph ended."""

    reason: str
    user_stack: list[traceback.FrameSummary]
    graph_break: bool = True
    code: str = ""
    """Row of the break table; empty where a graph ended because the function returned."""
    cure: str = ""
    detail: str = ""

    def __str__(self) -> str:
        where = ""
        if self.user_stack:
            last = self.user_stack[-1]
            where = f"{last.filename}:{last.lineno} in {last.name}: {last.line}\n  "
        cure = f"\n  cure: {self.cure}" if self.cure else ""
        return f"{where}{self.reason}{cure}"

    def line(self) -> str:
        """All of it in one line: where, through which calls, why, and what to do."""
        places = [f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}" for frame in self.user_stack]
        text = f"at {places[-1]}" if places else "somewhere"
        if len(places) > 1:
            text += f" (called from {', '.join(reversed(places[:-1]))})"
        return " ".join(f"{text}: {self.reason} [{self.code}]; cure: {self.cure}".split())

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        stack = [{"file": f.filename, "line": f.lineno, "function": f.name, "text": f.line} for f in self.user_stack]
        return {"code": self.code, "reason": self.reason, "detail": self.detail, "cure": self.cure, "stack": stack}


def announce(line: str) -> None:
    """One line for somebody who watches (``config.log_breaks``, ``config.log_recompiles``)."""
    print(f"[alternator] {line}", file=sys.stderr, flush=True)


def report_recompile(name: str, code: types.CodeType, reasons: Sequence[str]) -> None:
    """A function is compiled again, because none of its entries fits any more."""
    counters["recompiles"][f"{name}: {reasons[0]}"] += 1
    if config.log_recompiles:
        where = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
        announce(f"recompile {name} ({where}): {' '.join(reasons[0].split())}")


_break_listeners: list[Callable[[BreakReason], None]] = []


def break_reason(broken: Break, stack: Sequence[traceback.FrameSummary] = ()) -> BreakReason:
    """The report of a break."""
    from alternator.breaks import lookup

    kind = lookup(broken.code)
    return BreakReason(reason_of(broken), list(stack), True, kind.code, broken.info.get("cure") or kind.cure, broken.detail)


def report_break(reason: BreakReason) -> None:
    """Count a break, and tell everybody who listens."""
    log.info("graph break at %s", reason)
    if config.log_breaks:
        announce(f"graph break {reason.line()}")
    counters["graph_break"][reason.reason] += 1
    graph_break_reasons.append(reason)
    for listener in list(_break_listeners):
        listener(reason)


@contextlib.contextmanager
def listening_to_breaks(listener: Callable[[BreakReason], None]) -> Iterator[None]:
    """Have ``listener(reason)`` called for each break."""
    _break_listeners.append(listener)
    try:
        yield
    finally:
        _break_listeners.remove(listener)


@dataclasses.dataclass
class SkipReport:
    """A function that runs plainly, and why."""

    code: types.CodeType
    reason: str

    def __str__(self) -> str:
        return f"{self.code.co_qualname} ({self.code.co_filename}:{self.code.co_firstlineno}): {self.reason}"


_skip_listeners: list[Callable[[SkipReport], None]] = []


def report_skip(report: SkipReport) -> None:
    """Tell everybody who listens that a function runs plainly."""
    log.info("runs plainly: %s", report)
    for listener in list(_skip_listeners):
        listener(report)


@contextlib.contextmanager
def listening_to_skips(listener: Callable[[SkipReport], None]) -> Iterator[None]:
    """Have ``listener(report)`` called for each function that runs plainly."""
    _skip_listeners.append(listener)
    try:
        yield
    finally:
        _skip_listeners.remove(listener)


# ---- graphs and guards


@dataclasses.dataclass
class GraphReport:
    """One captured graph: what the capture tells, before the backend is called."""

    graph_module: torch.fx.GraphModule
    example_inputs: Sequence[Any]
    guards: Sequence[str] = ()
    code: Any = None
    """The code object that was captured."""


_graph_listeners: list[Callable[[GraphReport], None]] = []


def report_graph(report: GraphReport) -> None:
    """Count a graph, and tell everybody who listens."""
    counters["stats"]["unique_graphs"] += 1
    for listener in list(_graph_listeners):
        listener(report)


@contextlib.contextmanager
def listening_to_graphs(listener: Callable[[GraphReport], None]) -> Iterator[None]:
    """Have ``listener(report)`` called for each graph."""
    _graph_listeners.append(listener)
    try:
        yield
    finally:
        _graph_listeners.remove(listener)


_entry_listeners: list[Callable[[Any], None]] = []


def report_entry(entry: Any) -> None:
    """Tell everybody who listens that a frame was captured."""
    for listener in list(_entry_listeners):
        listener(entry)


@contextlib.contextmanager
def listening_to_entries(listener: Callable[[Any], None]) -> Iterator[None]:
    """Have ``listener(entry)`` called for each new cache entry."""
    _entry_listeners.append(listener)
    try:
        yield
    finally:
        _entry_listeners.remove(listener)


# ---- metrics


@dataclasses.dataclass(init=False)
class CompileMetrics:
    """One frame that was looked at.  In a ``with`` statement it is timed, and kept; ``inner`` is entered with it."""

    compile_id: str | None = None
    co_name: str | None = None
    co_filename: str | None = None
    co_firstlineno: int | None = None
    cache_size: int | None = None
    accumulated_cache_size: int | None = None
    start_time: float | None = None
    entire_frame_compile_time_s: float | None = None
    """Capture and backend."""
    backend_compile_time_s: float | None = None
    guard_count: int | None = None
    shape_env_guard_count: int | None = None
    graph_op_count: int | None = None
    graph_node_count: int | None = None
    graph_input_count: int | None = None
    fail_type: str | None = None
    fail_reason: str | None = None
    fail_user_frame_filename: str | None = None
    fail_user_frame_lineno: int | None = None
    has_guarded_code: bool | None = None
    is_forward: bool | None = True
    dynamo_time_before_restart_s: float | None = None
    recompile_reason: str | None = None
    break_code: str | None = None

    def __init__(self, inner: contextlib.AbstractContextManager[Any] | None = None) -> None:
        self._inner = inner  # what it tells is written down behind the capture, which must not wait for it

    def __enter__(self) -> CompileMetrics:
        if self._inner is not None:
            self._inner.__enter__()
        self.start_time = time.time()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.__exit__(*exc_info)
        self.entire_frame_compile_time_s = time.perf_counter() - self._start
        compile_times["frame"].append(self.entire_frame_compile_time_s)
        add_compilation_metrics(self)


DEFAULT_COMPILATION_METRICS_LIMIT = 64
_metrics: collections.deque[CompileMetrics] = collections.deque(maxlen=DEFAULT_COMPILATION_METRICS_LIMIT)


def add_compilation_metrics(metrics: CompileMetrics) -> None:
    """Remember what happened to one frame."""
    _metrics.append(metrics)


def get_compilation_metrics() -> list[CompileMetrics]:
    """The last frames that were looked at, oldest first."""
    return list(_metrics)


def clear_compilation_metrics() -> None:
    """Forget them."""
    _metrics.clear()


def set_compilation_metrics_limit(new_size: int) -> None:
    """Keep this many."""
    global _metrics
    _metrics = collections.deque(_metrics, maxlen=new_size)


compile_times: collections.defaultdict[str, list[float]] = collections.defaultdict(list)
"""Name of a phase -> seconds, each time."""


@contextlib.contextmanager
def timed(phase: str) -> Iterator[None]:
    """Add the time that the body takes to a phase."""
    start = time.perf_counter()
    try:
        yield
    finally:
        compile_times[phase].append(time.perf_counter() - start)


# ---- state of the capture


class _Capturing(threading.local):
    depth = 0
    error_on_graph_break: bool | None = None
    asked_outside: tuple[bool | None] | None = None


_capturing = _Capturing()


def is_capturing() -> bool:
    """True in the thread that is capturing a frame."""
    return _capturing.depth > 0


@contextlib.contextmanager
def compiling_flag() -> Iterator[None]:
    """While entered, ``torch.compiler.is_compiling()`` and ours are True: the capture runs inside of it."""
    before = torch.compiler._is_compiling_flag
    torch.compiler._is_compiling_flag = True
    _capturing.depth += 1
    try:
        yield
    finally:
        _capturing.depth -= 1
        torch.compiler._is_compiling_flag = before


def error_on_graph_break() -> bool | None:
    """What ``alternator.error_on_graph_break`` says in this thread now; None if nothing was said."""
    return _capturing.error_on_graph_break


def set_error_on_graph_break(value: bool | None) -> bool | None:
    """Change it; what was said before is returned."""
    before = error_on_graph_break()
    _capturing.error_on_graph_break = value
    if _capturing.asked_outside == (value,) and not is_capturing():
        _capturing.asked_outside = None
    return before


def hand_on_error_on_graph_break(value: bool | None, before: bool | None) -> None:
    """Generated code goes on where another value holds than at the start of the call (``before``), or comes back from there."""
    if _capturing.asked_outside is None:
        _capturing.asked_outside = (before,)
    set_error_on_graph_break(value)


def abandon_error_on_graph_break() -> None:
    """A break is an error: no ``with`` block of the program is left, so what held outside of the call is set here."""
    if _capturing.asked_outside is not None:
        set_error_on_graph_break(_capturing.asked_outside[0])


def reset_statistics() -> None:
    """Forget what was reported (``counters`` stay: they are the user's to clear)."""
    guard_failures.clear()
    graph_break_reasons.clear()
