"""The callback of the frame hook: decides whether a frame is captured, asks for the capture, and deals with its failure.

One :class:`Callback` object stands for one way to compile (backend, fullgraph, dynamic ...).  Equal options share one
object, because a compiled entry belongs to the callback that made it.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import sys
import threading
import traceback
import types
import weakref
from typing import Any, Callable, NamedTuple, Sequence

import torch

from alternator import callback as callbacks
from alternator import capture, config, exc, interrupts, marks, utils
from alternator._C import eval_frame
from alternator.codegen import pieces
from alternator.interpreter.masks import ONLY_DATA_SAYS
from alternator.request import CompileRequest, frame_states
from alternator.runtime import recompiles, skip, stance, swapping, trampoline
from alternator.runtime.module import original_of
from alternator.runtime.skip import Verdict
from alternator.semantics import refused

log = logging.getLogger("alternator")
_fx_traces, _jit_traces = torch.fx._symbolic_trace.is_fx_symbolic_tracing, torch._C._is_tracing

before_capture: list[tuple[str, Callable[[], None]]] = []
"""(name of a module, function): called before each capture, once that module has been loaded."""

swapping.install()

compile_lock = threading.RLock()
"""Held while a frame is captured: one at a time, in any thread."""


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """How to compile: what the arguments of ``compile`` and ``optimize`` come down to."""

    backend: Callable[..., Any]
    backend_name: str = "custom"
    fullgraph: bool = False
    error_on_graph_break: bool | None = None
    dynamic: bool | None = None
    guard_fail_fn: Callable[[Any], None] | None = None
    guard_export_fn: Callable[[Any], None] | None = None
    guard_filter_fn: Callable[[Any], Any] | None = None
    recompile_limit: int | None = None
    isolate_recompiles: bool = False
    export: bool = False
    name: str | None = None
    shapes_spec: Any = None

    def key(self) -> tuple[Any, ...] | None:
        """Equal for options that may share entries; None for those that share with nobody."""
        if self.isolate_recompiles:
            return None
        rest = tuple(
            value if isinstance(value, (bool, int, str, type(None))) else id(value)
            for value in (getattr(self, field.name) for field in dataclasses.fields(self)[1:])
        )
        return (backend_key(self.backend), *rest)


def backend_key(backend: Callable[..., Any]) -> Any:
    """Equal for backends that are the same.  One that is compared by identity is not kept alive by its key."""
    if type(backend) is types.MethodType:
        return id(backend.__self__), id(backend.__func__)
    try:
        return id(backend) if type(backend).__hash__ is object.__hash__ or hash(backend) is None else backend
    except TypeError:
        return id(backend)


def hold_backend(backend: Callable[..., Any]) -> Callable[[], Callable[..., Any] | None]:
    """Gives the backend for as long as somebody else keeps it.

    Entries keep their callback, and code objects their entries, where the garbage collector cannot look: a backend that knows
    the compiled function, or its model, would never be freed.
    """
    try:
        if type(backend) is types.MethodType:
            return weakref.WeakMethod(backend)
        if type(backend_key(backend)) is int:
            return weakref.ref(backend)
    except TypeError:
        pass
    return lambda: backend


_callbacks: weakref.WeakValueDictionary[tuple[Any, ...], Callback] = weakref.WeakValueDictionary()
_frame_ids = itertools.count()


@dataclasses.dataclass
class _CodeState:
    """What the runtime knows about a code object."""

    frame_id: int
    captures: int = 0
    """Entries made so far, those that are gone included."""
    calls: int = 0
    limit_reported: bool = False
    why_again: list[recompiles.Recompile] = dataclasses.field(default_factory=list)
    replacements: dict[int, recompiles.Replacement] = dataclasses.field(default_factory=dict)
    """Of each callback, by its id."""
    failed: bool = False


_code_states: dict[int, tuple[weakref.ref[types.CodeType], _CodeState]] = {}


def _state_of(code: types.CodeType) -> _CodeState:
    row = _code_states.get(id(code))
    if row is None:
        key = id(code)
        row = (weakref.ref(code, lambda _: _code_states.pop(key, None)), _CodeState(next(_frame_ids)))
        _code_states[key] = row
    return row[1]


def known_codes() -> list[types.CodeType]:
    """Every code object that was looked at and still lives."""
    return [code for code in (ref() for ref, _ in list(_code_states.values())) if code is not None]


class GuardFail(NamedTuple):
    """What ``guard_fail_fn`` is told."""

    reason: str
    orig_code: types.CodeType


def make_callback(options: Options) -> Callback:
    """The callback for these options; the same object for equal options."""
    key = options.key()
    if key is None:
        return Callback(options)
    with compile_lock:
        found = _callbacks.get(key)
        if found is None or found.backend() is None:  # the same address, but another backend than that which is gone
            found = _callbacks[key] = Callback(options)
        return found


def _nobody(gm: torch.fx.GraphModule, example_inputs: Any) -> Any:
    raise exc.InternalError("the backend is gone, although a function that was compiled with it runs")


class Callback:
    """Called by the frame hook with a function and its fast locals when no entry fits."""

    def __init__(self, options: Options) -> None:
        self.backend = hold_backend(options.backend)
        self.options = dataclasses.replace(options, backend=_nobody)
        self.garbage = _Garbage()

    def __call__(self, func: types.FunctionType, values: list[Any]) -> Any:
        """None (run plainly), False (and compile nothing below), ``SKIP_CODE``, ``SKIP_CODE_RECURSIVE`` or a new entry."""
        code = func.__code__
        verdict = skip.of_function(func)
        if verdict is not Verdict.CAPTURE and not config.allow_capture_skipped_files:
            _skip_wrapped(func)
            if skip.of_code(code) is not verdict:  # it is this function that is special, not its code
                return None if verdict is Verdict.PLAIN else eval_frame.SKIP_CODE_RECURSIVE
            return eval_frame.SKIP_CODE if verdict is Verdict.PLAIN else eval_frame.SKIP_CODE_RECURSIVE
        settings = config.snapshot()
        if settings.disable or stance.current().runs_plainly or ((_fx_traces() or _jit_traces()) and not _may_compile_here()):
            return None
        with compile_lock:
            present = eval_frame.usable_entries(code, self)
            if present:
                entry = eval_frame.find(func, values, self)  # another thread may have compiled it while this one waited
                if entry is not None:
                    return entry
            elif not (settings.allow_empty_graphs or self.options.fullgraph or skip.may_hold_tensors(func, values)):
                if not trampoline.is_frame_of_c(func):
                    return False if refused.counts_objects(code, func.__globals__) else None
            if capture.is_put_off(frame_states.of(code)):
                return False if self.options.fullgraph else None
            made = self._convert(func, values, present, settings)
            if made is eval_frame.SKIP_CODE and refused.counts_objects(code, func.__globals__):
                return eval_frame.SKIP_CODE_RECURSIVE
            if isinstance(made, eval_frame._CacheEntry):
                eval_frame.add(code, made, self)  # for those who wait for the lock
            return made

    def piece_of(self, func: types.FunctionType, code: types.CodeType, place: int, key: bytes, start: int) -> pieces.Piece | None:
        """What runs where a generator of the function that waits at this place is resumed; None: its own frame."""
        if func.__code__ is not code or skip.of_function(func) is not Verdict.CAPTURE or code.co_filename.startswith(skip.TORCH):
            return None
        return pieces.piece_at(code, place, key[start:])

    # -- one frame --------------------------------------------------------------------------------------------------

    def _convert(self, func: types.FunctionType, values: list[Any], present: list[Any], settings: config.Snapshot) -> Any:
        """``present``: the entries that there are, and that do not fit."""
        code = func.__code__
        state = _state_of(code)
        state.calls += 1
        if state.calls < settings.minimum_call_count:
            return None
        now = stance.current()
        if state.calls == 1 and now.compiles_later:
            _remember_sizes(func, values)
            return None
        if state.failed and not self.options.fullgraph:
            return None
        if not state.captures and state.calls > 1 and now.fails_on_recompile:
            return None  # looked at before, and there was nothing to compile
        utils.counters["frames"]["total"] += 1
        reasons = recompiles.Reasons(present, func, values)
        if recompiles.is_rare_size(frame_states.of(code), reasons):
            return False
        if not self._may_have_another(func, state, reasons, settings):
            # neither here nor in what it calls: what keeps changing here changes there, too
            return False if settings.skip_code_recursive_on_recompile_limit_hit else None
        for module, prepare in before_capture:
            if module in sys.modules:
                prepare()
        self.garbage.leave()
        request = self._request(state, settings)
        metrics = utils.CompileMetrics(callbacks.callback_handler.running(request.compile_id))
        try:
            with metrics:
                result = self._capture(func, values, request, state, metrics)
        except exc.Restart as restart:
            restart.prepare()
            return self._convert(func, values, eval_frame.usable_entries(code, self), config.snapshot())
        finally:
            self._write_down(code, state, reasons, metrics, request)
        if isinstance(result, eval_frame._CacheEntry):
            state.captures += 1
            metrics.has_guarded_code = True
            guards = list(getattr(result.extra, "guards", ()))
            metrics.guard_count = len(guards)
            if self.options.guard_export_fn is not None:
                self.options.guard_export_fn(guards)
            utils.report_entry(result)
        utils.counters["frames"]["ok"] += 1
        return result

    def _request(self, state: _CodeState, settings: config.Snapshot) -> CompileRequest:
        options = self.options
        now = stance.current()
        return CompileRequest(
            now.backend or self.backend() or _nobody,
            now.backend_name if now.backend else options.backend_name,
            settings,
            f"{state.frame_id}/{state.captures}",
            options,
        )

    def _capture(
        self,
        func: types.FunctionType,
        values: list[Any],
        request: CompileRequest,
        state: _CodeState,
        metrics: utils.CompileMetrics,
    ) -> Any:
        try:
            return capture.capture_frame(func, values, request)
        except exc.SkipFrame as skipped:
            metrics.fail_type, metrics.fail_reason = "SkipFrame", str(skipped)
            if self.options.fullgraph:
                raise exc.Unsupported(str(skipped)).with_traceback(None) from None
            utils.report_skip(utils.SkipReport(func.__code__, str(skipped)))
            return eval_frame.SKIP_CODE
        except exc.Unsupported as unsupported:
            metrics.fail_type, metrics.fail_reason = type(unsupported).__name__, str(unsupported)
            metrics.break_code = unsupported.code
            utils.abandon_error_on_graph_break()
            raise (unsupported if config.verbose else unsupported.with_traceback(None)) from None
        except exc.BackendCompilerFailed as failed:
            metrics.fail_type, metrics.fail_reason = "BackendCompilerFailed", str(failed)
            if self.options.fullgraph or not (config.suppress_errors or isinstance(failed.inner_exception, ONLY_DATA_SAYS)):
                raise (failed if config.verbose else failed.with_traceback(None)) from failed.__cause__
            log.warning("%s runs plainly, because its backend failed: %s", _name_of(func), failed)
            state.failed = True
            return eval_frame.SKIP_CODE
        except exc.AlternatorException as error:
            if isinstance(error, exc.InternalError):
                return self._internal_error(func, error, state, metrics)
            metrics.fail_type, metrics.fail_reason = type(error).__name__, str(error)
            raise
        except interrupts.Interrupted as interrupted:
            metrics.fail_type, metrics.fail_reason = "Interrupted", str(interrupted.error)
            raise interrupted.error from None
        except (KeyboardInterrupt, SystemExit, GeneratorExit, exc.Restart):
            raise
        except RecursionError as error:  # the program is near the limit, and may be meant to reach it
            metrics.fail_type, metrics.fail_reason = type(error).__name__, str(error)
            return None
        except BaseException as error:
            if interrupts.is_from_handler(error):
                raise
            return self._internal_error(func, error, state, metrics)

    def _internal_error(
        self, func: types.FunctionType, error: BaseException, state: _CodeState, metrics: utils.CompileMetrics
    ) -> Any:
        """A bug of ours: nothing is lost, the program runs; unless somebody wants to see it."""
        metrics.fail_type, metrics.fail_reason = type(error).__name__, str(error)
        where = f"{_name_of(func)} ({func.__code__.co_filename}:{func.__code__.co_firstlineno})"
        if (self.options.fullgraph or config.raise_internal_errors) and not config.suppress_errors:
            if isinstance(error, exc.InternalError):
                raise error
            raise exc.InternalError(f"while {where} was captured: {type(error).__name__}: {error}") from error
        utils.counters["internal_errors"][f"{type(error).__name__}: {error}"] += 1
        state.failed = True
        text = "".join(traceback.format_exception(error)) if config.verbose else f"{type(error).__name__}: {error}"
        log.warning(
            "Alternator has a bug: it could not capture %s, which now runs plainly. Please report this with the output of "
            "ALTERNATOR_VERBOSE=1 (ALTERNATOR_STRICT=1 raises instead).\n%s",
            where,
            text,
        )
        return eval_frame.SKIP_CODE

    def guards_do_not_hold(self, func: types.FunctionType, why: str) -> None:
        """The frame hook found that a new entry does not fit the call that it was made from."""
        if self.garbage.was_collected():
            return  # a finalizer or a weak reference's callback has changed what was read: run plainly this time
        error = exc.InternalError(f"the guards of the new entry for {_name_of(func)} do not hold for its own call: {why}")
        self._internal_error(func, error, _state_of(func.__code__), utils.CompileMetrics())

    # -- entries that exist -----------------------------------------------------------------------------------------

    def _may_have_another(
        self, func: types.FunctionType, state: _CodeState, reasons: recompiles.Reasons, settings: config.Snapshot
    ) -> bool:
        """Whether there may be a further entry; ``reasons``: why those that there are do not fit."""
        code = func.__code__
        if stance.current().fails_on_recompile:
            raise RuntimeError(
                "Detected recompile when torch.compile stance is 'fail_on_recompile'. "
                f"function: {_where(code)}"
                + (f"\n    triggered by the following guard failure(s):\n{reasons.listed()}" if reasons else "")
            )
        most = settings.accumulated_recompile_limit
        if not reasons.entries:
            if state.captures < most:
                return True
            self._report_limit(
                func, state, ["entries were made and dropped again and again"], "accumulated_recompile_limit", most
            )
            return False
        if self.options.guard_fail_fn is not None:
            self.options.guard_fail_fn(GuardFail(reasons[0], code))
        if settings.error_on_recompile:
            self._report_recompile(code, reasons)
            raise exc.RecompileError(
                f"Recompiling {_where(code)}, although config.error_on_recompile is set\n"
                f"    triggered by the following guard failure(s):\n{reasons.listed()}"
            )
        limit = self.options.recompile_limit if self.options.recompile_limit is not None else settings.recompile_limit
        if state.captures >= most:
            self._report_limit(func, state, reasons, "accumulated_recompile_limit", most)
            return False
        if len(reasons.entries) >= limit and not self._replaced(func, state, reasons, limit):
            return False
        if settings.log_recompiles or log.isEnabledFor(logging.INFO):  # somebody reads along
            self._report_recompile(code, reasons)
            log.info("compiling %s again:\n%s", _where(code), reasons.listed())
        return True

    def _report_recompile(self, code: types.CodeType, reasons: recompiles.Reasons) -> None:
        if not reasons.reported:
            reasons.reported = True
            if config.report_guard_failures:
                utils.guard_failures[code].append(reasons[0])
            utils.report_recompile(_where(code), code, reasons)

    def _write_down(
        self,
        code: types.CodeType,
        state: _CodeState,
        reasons: recompiles.Reasons,
        metrics: utils.CompileMetrics,
        request: CompileRequest,
    ) -> None:
        """What was captured and why, behind the capture, which need not wait for the words."""
        metrics.compile_id = request.compile_id
        metrics.co_name, metrics.co_filename, metrics.co_firstlineno = code.co_name, code.co_filename, code.co_firstlineno
        metrics.cache_size, metrics.accumulated_cache_size = len(reasons), state.captures
        if reasons:
            self._report_recompile(code, reasons)
            metrics.recompile_reason = reasons[0]
            state.why_again.append(recompiles.of_reason(code, reasons[0]))

    def _replaced(self, func: types.FunctionType, state: _CodeState, reasons: Sequence[str], limit: int) -> bool:
        """At the limit the version that is used least goes; False: compiling another one is not worth it now."""
        self._report_limit(func, state, reasons, "recompile_limit", limit)
        code = func.__code__
        victim = state.replacements.setdefault(id(self), recompiles.Replacement()).victim(eval_frame.usable_entries(code, self))
        if victim is None:
            return False
        extra = eval_frame._debug_get_extra_state(code)
        assert extra is not None  # it has the entries
        extra.invalidate(victim)
        return True

    def _report_limit(
        self, func: types.FunctionType, state: _CodeState, reasons: Sequence[str], setting: str, limit: int
    ) -> None:
        """Once; an error where everything has to be compiled."""
        raises = self.options.fullgraph or config.fail_on_recompile_limit_hit
        if state.limit_reported and not raises:
            return
        code = func.__code__
        what = recompiles.what_keeps_changing(code, reasons)
        changing = f"  what keeps changing: {what.expression}\n" if what.expression else ""
        then = "the one that is used least goes for a new one" if setting == "recompile_limit" else "no further one is made"
        text = (
            f"{_where(code)} was compiled {max(state.captures, len(reasons))} times, "
            f"and config.{setting} is {limit}: from now on {then}, and calls that no compiled version fits run plainly "
            f"as long as compiling them does not pay.\n{changing}"
            f"  last reason: {reasons[0]}\n"
            f"  cure: {what.cure}"
        )
        if raises:
            raise exc.FailOnRecompileLimitHit(text)
        state.limit_reported = True
        utils.counters["recompile_limit"][code.co_name] += 1
        log.warning("%s", text)


def why_recompiled(fn: Any = None) -> list[recompiles.Recompile]:
    """Why functions were compiled again since the last reset: the expression, what it was and what it is now, and the cure.

    Args:
        fn: a function, method, module or what ``compile`` made of it; None: whatever was compiled.

    Example:
        >>> for why in alternator.why_recompiled(model):
        ...     print(why)
    """
    wanted = None if fn is None else code_of(fn)
    return [why for code in known_codes() if wanted in (None, code) for why in _state_of(code).why_again]


def code_of(fn: Any) -> types.CodeType:
    """The code object of a function, method, module or compiled one of these."""
    fn = original_of(fn)
    if isinstance(fn, types.CodeType):
        return fn
    if isinstance(fn, torch.nn.Module):
        fn = fn.forward
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if code is None:
        code = getattr(getattr(type(fn), "__call__", None), "__code__", None)
    if code is None:
        raise TypeError(f"{fn!r} has no code object")
    return code


def _skip_wrapped(func: types.FunctionType) -> None:
    """``disable(recursive=False)``, ours or torch's, makes a wrapper: the frame that must run plainly comes next."""
    if marks.is_disabled(func) and not marks.is_disabled_recursively(func):
        wrapped = func.__dict__.get("_torchdynamo_orig_callable")
        code = getattr(getattr(wrapped, "__func__", wrapped), "__code__", None)
        if isinstance(code, types.CodeType):
            eval_frame.skip_code(code)


def _remember_sizes(func: types.FunctionType, values: list[Any]) -> None:
    """Let what a call that runs plainly was given count as seen, so that sizes that change next time are dynamic."""
    state = frame_states.of(func.__code__)
    for name, value in zip(func.__code__.co_varnames, values):
        if isinstance(value, torch.Tensor):
            state["tensor", name] = tuple(value.shape)
        elif type(value) in (int, float):
            state[type(value).__name__, name] = value


def _name_of(func: types.FunctionType) -> str:
    return func.__qualname__


class _Garbage:
    """Tells whether garbage was collected since it was left there."""

    class _Piece:
        __slots__ = ("itself", "told")

        told: list[bool]

        def __del__(self) -> None:
            self.told.append(True)

    def __init__(self) -> None:
        self._told: list[bool] = []

    def leave(self) -> None:
        """From now on.  It is among the youngest, which each collection looks at: nothing is made as long as it is held here."""
        told: list[bool] = []
        self._told = told
        piece: Any = self._Piece()
        piece.told = told
        piece.itself = piece

    def was_collected(self) -> bool:
        """Nothing else lets go of it."""
        return bool(self._told)


def _where(code: types.CodeType) -> str:
    return f"{code.co_name} ({code.co_filename}:{code.co_firstlineno})"


def _fx_traces_here() -> bool:
    """Whether it is this thread that fx traces in: its flag is one for all, and a backend in another thread may trace, too."""
    frame: types.FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not _FX_TRACE:
        frame = frame.f_back
    return frame is not None


_FX_TRACE = torch.fx.Tracer.trace.__code__


def _may_compile_here() -> bool:
    """Not where another tracer is at work."""
    if _fx_traces() and not config.force_compile_during_fx_trace and _fx_traces_here():
        if config.error_on_nested_fx_trace:
            raise RuntimeError(
                "Detected that you are using FX to symbolically trace a dynamo-optimized function. This is not supported: "
                "trace the original function, or set alternator.config.error_on_nested_fx_trace = False to run it plainly"
            )
        return False
    if _jit_traces():
        if config.error_on_nested_jit_trace:
            raise RuntimeError(
                "Detected that you are using FX to torch.jit.trace a dynamo-optimized function. This is not supported: "
                "trace the original function"
            )
        return False
    return True


def forget(code: types.CodeType | None = None) -> None:
    """Drop what is known about one code object, or about all."""
    with compile_lock:
        if code is None:
            for known in known_codes():
                eval_frame.reset_code(known)
            _code_states.clear()
            frame_states.clear()
        else:
            eval_frame.reset_code(code)
            _code_states.pop(id(code), None)
            frame_states.forget(code)
