"""From a frame to an entry: the one place that composes the layers."""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import sys
import threading
import traceback
import types
from typing import Any, Iterator

import torch
from torch._guards import tracing
from torch.utils._device import DeviceContext

import alternator.interpreter.opcodes
import alternator.semantics  # noqa: F401  (fills the tables)
from alternator import breaks, config, marks, utils
from alternator._C.eval_frame import (
    NULL,
    SKIP_CODE,
    SKIP_CODE_RECURSIVE,
    _CacheEntry,
    hide_code,
    skip_code,
)
from alternator._C.guards import GuardTree
from alternator.bytecode.assemble import origin_of
from alternator.bytecode.continuation import all_given
from alternator.bytecode.decode import decode
from alternator.codegen import checks, exceptions, numbers, rebuild, rebuild_iterators  # noqa: F401  (fill the REBUILD table)
from alternator.codegen.builder import Builder
from alternator.codegen.effects import replay
from alternator.codegen.resume import can_stop_before, can_wait, is_outside, local_may_be_missed, resume
from alternator.exc import Break, Restart, SkipFrame, UserRaise
from alternator.graph_calls import GraphCall, graph_call
from alternator.interpreter import flags, histories, tensor_ops
from alternator.interpreter.annotations import Annotator
from alternator.interpreter.expectations import check_expected
from alternator.interpreter.frame import Frame, StopHere
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.lifetimes import Lifetimes
from alternator.interpreter.links import Link, chain_of
from alternator.interpreter.machine import Machine
from alternator.interpreter.namespaces import has_other_builtins
from alternator.interpreter.outside_generators import watch_generators
from alternator.interpreter.pending import GIVEN, LOOKED_INTO, SIZES_SHOWN
from alternator.provenance.world import Unread, World
from alternator.request import CompileRequest, EntryInfo
from alternator.semantics import contexts, function_modes, functorch, gradients, memoizing, parameters, refused
from alternator.semantics.numpy_arrays import SCALARS_VARY
from alternator.tensors.dynamic import DynamicPolicy, Shapes
from alternator.tensors.fake import Fakes
from alternator.tensors.graph import Recorder
from alternator.tensors.inference import leave_all
from alternator.tensors.recheck import Recheck
from alternator.tensors.shape_guards import shape_facts
from alternator.tensors.state import GlobalState, outside_inference_mode

IDLE_PIECES = 16
"""So many pieces of a function without tensor work are tolerated, if those with tensor work are few."""

MAX_CHAIN = 64
"""A break below more frames than this is taken at the call in the root."""

_TAKEN_AT_THE_ROOT = ("FRAME_INTROSPECTION", "LONG_LOOP")
"""Breaks that are taken at the call in the root: all frames are to be on the stack, or the looping function runs plainly."""


class Attempt:
    """One run of the interpreter over a frame, up to its end; or to instruction ``stop[1]`` of frame number ``stop[0]``.

    A careful run knows the state of every frame before the instruction in progress, not only of the root.
    """

    def __init__(
        self,
        func: types.FunctionType,
        values: list[Any],
        request: CompileRequest,
        careful: bool = False,
        stop: tuple[int, int] = (-1, -1),
        shapes: Shapes | None = None,
    ) -> None:
        self.func = func
        self.request = request
        config = request.config
        self.before = GlobalState()
        self.fakes = Fakes(
            allow_scalar_outputs=request.captures_scalars,
            allow_dynamic_output_shapes=request.captures_sizes_of_data,
            assume_static=config.assume_static_by_default,
            duck_shape=shapes is None,
        )
        self.recorder = Recorder()
        self.recorder.sizes_from_data = request.captures_sizes_of_data
        world = World()
        policy = DynamicPolicy(
            request.frame_state(func.__code__),
            request.dynamic,
            request.automatic_dynamic,
            request.assume_static,
            config,
        )
        if shapes is not None:
            policy.chosen, self.fakes.constraints = shapes.dims, shapes.constraints
        self.vm = Machine(world, self.fakes, self.recorder, request, policy, func.__globals__)
        self.vm.root_state = request.frame_state(func.__code__)
        self.recorder.float_in_tensor = functools.partial(numbers.in_tensor, self.vm)
        self.vm.careful = careful
        self.vm.stop = stop
        self.recorder.annotate = Annotator(self.vm)
        tree = world.tree
        decoded = decode(func.__code__)
        names = decoded.localsplus_names
        slots = [NULL if v is NULL else Unread(v, tree.local(i, names[i])) for i, v in enumerate(values)]
        self.frame = Frame(self.vm, func, slots, None)
        if origin_of(func.__code__) is not None:  # nobody else holds what it was called with
            watch_generators(self.frame)
            contexts.enter_again(self.vm, all_given(func.__code__, values))
        self.lifetimes = Lifetimes(self.vm, self.frame)
        for i, cell in enumerate(func.__closure__ or ()):
            world.record(cell, tree.closure(i, func.__code__.co_freevars[i]))
        self.result: Any = None
        self.after: GlobalState = self.before
        self.breaks_are_errors = self.asked = utils.error_on_graph_break()
        request.attempts.append(self)

    def run(self) -> None:
        """Raises Break, StopHere or UserRaise; the state of the world is as it was before, in any case."""
        limit = sys.getrecursionlimit()
        self.vm.states["recursion limit"] = limit
        sys.setrecursionlimit(max(limit, 20000))
        collecting = gc.isenabled()
        gc.disable()
        try:
            with outside_inference_mode(), self.fakes.mode, utils.compiling_flag(), tracing(self.vm.places):
                try:
                    self.result = self.frame.run_carefully()
                except RecursionError:  # the program nests deeper than this can follow
                    raise Break("RECURSION", self.func.__qualname__) from None
                finally:
                    functorch.restore(self.vm)
                    self.after = GlobalState()
                    leave_all(self.vm.states.get("inference regions", []))
                    self.before.restore()
                    self.breaks_are_errors = utils.set_error_on_graph_break(self.asked)
        finally:
            sys.setrecursionlimit(limit)
            if collecting:
                gc.enable()

    def release(self) -> None:
        """Let go of the user's objects, which reference cycles would keep until the garbage collector comes by."""
        for frame in (self.frame, self.vm.broken):
            while frame is not None:
                frame.locals, frame.stack, frame.saved, frame.result = [], [], [], None
                frame = frame.parent
        self.lifetimes.release()
        self.vm.release()
        self.recorder.release()
        self.fakes.forget_outside()
        self.result = None


def capture_frame(func: types.FunctionType, values: list[Any], request: CompileRequest) -> Any:
    """Capture a frame: an entry that is ready for use, or None to run the frame plainly now.

    Raises ``Unsupported`` for a break under ``fullgraph``, ``SkipFrame`` for what can never be captured,
    ``BackendCompilerFailed`` for a backend that raises.
    """
    if not _ambient_is_plain() or has_other_builtins(func):
        return None
    with utils.timed("capture"), state_kept():
        try:
            return _attempt(func, values, request)
        finally:
            while request.attempts:
                request.attempts.pop().release()


@contextlib.contextmanager
def state_kept() -> Iterator[None]:
    """What a capture must leave as it was, on every way out; and no garbage collection in between, which costs seconds."""
    asked = utils.error_on_graph_break()
    hooks_are_off = torch._C._autograd._saved_tensors_hooks_set_tracing(True)  # fakes are nothing that the program has saved
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    python_random = random.getstate()
    torch_random = torch.random.get_rng_state()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        torch._C._autograd._saved_tensors_hooks_set_tracing(hooks_are_off)
        utils.set_error_on_graph_break(asked)
        if collecting:
            gc.enable()
        if torch.is_grad_enabled() is not grad:
            torch._C._set_grad_enabled(grad)
        if torch.is_inference_mode_enabled() is not inference:  # pragma: no cover - would be a bug of the capture
            utils.log.warning("inference mode changed during a capture")
        random.setstate(python_random)
        torch.random.set_rng_state(torch_random)
        if config.run_gc_after_compile:
            gc.collect()


def _attempt(func: types.FunctionType, values: list[Any], request: CompileRequest) -> Any:
    attempt = Attempt(func, values, request)
    try:
        attempt.run()
    except UserRaise as raised:  # the program raises: let it do so itself, with its own traceback
        text = breaks.text_of(raised.exc)
        utils.report_skip(utils.SkipReport(func.__code__, f"it raised {text}"))
        is_error = request.fullgraph or attempt.breaks_are_errors or config.raise_internal_errors
        return _plainly(func, request), _RaisesNothing(text, user_stack(attempt), is_error)
    except Break as stopped:
        broken, chain = stopped, chain_of(stopped)
        if broken.code in _TAKEN_AT_THE_ROOT:
            chain = chain[:1]
    else:
        try:
            return _finish(attempt, values, None)
        except Break as stopped:  # the result, or an effect, cannot be rebuilt: stop before the instruction that returns
            broken, chain = stopped, []
        except RecursionError:
            raise SkipFrame("a value that leaves it is nested too deep") from None
    # not in the handlers: the program must not find that our exception is being handled
    if not request.config.verbose:
        broken.__traceback__ = broken.__context__ = None  # this frame is in them: a cycle, which keeps the arguments
    return _after_break(attempt, values, broken, chain)


class _RaisesNothing:
    """Called if the plain run of a frame that raised while it was captured raises nothing: what was captured was not what the
    program does.  That is a break; where none is allowed, an error."""

    def __init__(self, text: str, stack: list[traceback.FrameSummary], is_error: bool | None) -> None:
        self.text, self.stack, self.is_error = text, stack, is_error

    def __call__(self) -> None:
        broken = Break("RAISED_IN_CAPTURE", self.text)
        if self.is_error:
            utils.abandon_error_on_graph_break()
            raise breaks.unsupported(broken, self.stack).with_traceback(None)
        utils.report_break(utils.break_reason(broken, self.stack))


def _plainly(func: types.FunctionType, request: CompileRequest, how: Any = True) -> Any:
    """Run the frame plainly this time (and "all" that it calls): it raises, or looks at what is not so where it is captured."""
    state = request.frame_state(func.__code__)
    state["raised"] = state.get("raised", 0) + 1
    return False if request.fullgraph or how == "all" else None


def _ambient_is_plain() -> bool:
    """Modes and transforms of the user that are active around the frame would have to see every operation: run plainly.  (And
    no_grad stands in for inference mode, which it cannot where gradients are enabled inside of it.)"""
    if torch.is_inference_mode_enabled() and torch.is_grad_enabled():
        return False
    modes = torch.overrides._get_current_function_mode_stack()
    if any(type(mode) is not DeviceContext for mode in modes):
        return False
    return not torch._C._len_torch_dispatch_stack() and torch._C._functorch.maybe_current_level() is None


RAISES_TOLERATED = 16
"""A function that has raised so often while it was captured is captured less and less often: that it raises may be its use."""

EMPTY_TOLERATED = 3
"""So is one that did no tensor work so often, if it may do some another time."""


def is_put_off(state: dict[str, Any]) -> bool:
    """Run the frame plainly this time: what it was last asked for could not be captured.  Its entries serve as before."""
    if state.get("raised", 0) < RAISES_TOLERATED and state.get("empty", 0) < EMPTY_TOLERATED:
        return False
    state["put off"] = waited = state.get("put off", 0) + 1
    return waited & (waited - 1) != 0


def _without_graph(func: types.FunctionType, request: CompileRequest) -> Any:
    """Run a frame without tensor work plainly now; and for good, once it has turned out this way often enough, unless it has
    had a graph, or is what ``compile`` was given: a module may pass on what it gets until it is to be trained.

    Where no break is allowed, what it calls, which was followed without one, is not to be captured by itself and break there.
    """
    code = func.__code__
    state = request.frame_state(code)
    state["empty"] = state.get("empty", 0) + 1
    for_good = state["empty"] >= EMPTY_TOLERATED and not ("graph" in state or code in marks.COMPILED)
    if request.fullgraph:
        return SKIP_CODE_RECURSIVE if for_good else False
    return SKIP_CODE if for_good else None


def user_stack(attempt: Attempt) -> list[traceback.FrameSummary]:
    """Where the program is, outermost frame first."""
    rows = []
    frame: Frame | None = attempt.vm.broken or attempt.frame
    while frame is not None:
        rows.append(traceback.FrameSummary(frame.code.co_filename, frame.line() or frame.code.co_firstlineno, frame.code.co_name))
        frame = frame.parent
    return rows[::-1]


def reconsider(attempt: Attempt, broken: Break) -> None:
    """Tensors made of sizes hold symbols, until a break says that the program looks at one: then constants, unless that is the
    same break again.  So it is with scalars of NumPy that vary, and with sizes in texts."""
    state = attempt.vm.root_state
    if SCALARS_VARY in attempt.vm.states and broken.code.startswith(("DATA_DEPENDENT", "NUMPY")):
        state[SCALARS_VARY] = False
        raise Restart(lambda: None)
    if not broken.code.startswith("DATA_DEPENDENT"):
        return
    for unknown in (SIZES_SHOWN, GIVEN):
        if unknown in attempt.vm.states and broken.detail == LOOKED_INTO:
            state[unknown] = False
            raise Restart(lambda: None)
    chosen, place = state.get("numbers in tensors"), user_stack(attempt)[-1]
    if chosen == (place.filename, place.lineno):
        state["numbers in tensors"] = "symbols"
    elif chosen is None and "symbols in tensors" in attempt.vm.states:
        state["numbers in tensors"] = place.filename, place.lineno
    else:
        return
    raise Restart(lambda: None)


def _after_break(attempt: Attempt, values: list[Any], broken: Break, chain: list[Link]) -> Any:
    """An entry that runs up to the break and goes on behind it; ``chain``: the frames that the break came through."""
    func, request = attempt.func, attempt.request
    reconsider(attempt, broken)
    stack = user_stack(attempt)
    if request.fullgraph or attempt.breaks_are_errors:
        raise breaks.unsupported(broken, stack)
    utils.report_break(utils.break_reason(broken, stack))
    if broken.info.get("plainly"):
        return _plainly(func, request, broken.info["plainly"])
    if len(chain) > MAX_CHAIN:  # hardly more than recursion without end: each part would have to be captured
        chain = chain[:1]
    _count_piece(attempt, broken)
    in_time, whole = bool(chain), _resumable(chain or [Link(attempt.frame, [])], request)
    if not whole or broken.code == "LONG_LOOP" and attempt.frame.is_in_loop():
        raise SkipFrame(str(broken))
    try:
        if len(whole) > 1:
            attempt, whole = _state_before(func, values, request)
        elif in_time and attempt.vm.unmoved(attempt.frame):
            attempt.frame.stack[:] = attempt.frame.saved
        else:
            attempt, whole = _stopped(func, values, request, (0, attempt.frame.count))
        try:
            return _finish(attempt, values, whole, broken.info.get("brings"))
        except Break:
            if len(whole) == 1:
                raise
        # something in one of the frames cannot be rebuilt: the root's frame may do
        attempt, whole = _stopped(func, values, request, (0, attempt.frame.count))
        return _finish(attempt, values, whole)
    except (Break, UserRaise) as other:
        raise SkipFrame(f"{broken}; and there: {other}") from None
    except RecursionError:
        raise SkipFrame(f"{broken}; and the state there is nested too deep") from None


def _count_piece(attempt: Attempt, broken: Break) -> None:
    """A function that is cut into many pieces, nearly all of them without tensor work, is left alone from now on."""
    code = attempt.func.__code__
    while (origin := origin_of(code)) is not None and origin.code is not None:
        code = origin.code
    state = attempt.request.frame_state(code)
    state["pieces"] = pieces = state.get("pieces", 0) + 1
    state["idle pieces"] = idle = state.get("idle pieces", 0) + (not attempt.vm.recorder.calls)
    if idle < IDLE_PIECES or idle * 5 < pieces * 4:
        return
    if "left alone" not in state:
        state["left alone"] = True
        utils.log.warning(
            "%s (%s:%s) broke %s times, mostly without tensor work in between, and runs plainly from now on.\n  last break: %s",
            *(code.co_qualname, code.co_filename, code.co_firstlineno, pieces, broken),
        )
    skip_code(code, refused.counts_objects(code, attempt.func.__globals__))
    raise SkipFrame(f"it breaks nearly everywhere; last: {broken}")


def _resumable(chain: list[Link], request: CompileRequest) -> list[Link]:
    """The longest part of the chain, from the root, in which every frame can go on; empty if there is none.

    A break in the standard library is taken at the call into it: the locks, files and processes behind it would break again."""
    if not request.config.nested_graph_breaks:
        chain = chain[:1]
    while len(chain) > 1 and _is_machinery(chain[-1].frame.globals):
        chain = chain[:-1]
    end = 0
    for number, link in enumerate(chain):
        if can_stop_before(link.frame):
            end = number + 1
        if not can_wait(link.frame):
            break
    return chain[:end]


_RUN_CODE_OF_OTHERS = frozenset({"contextlib", "functools"})
"""Modules of the standard library that go on with the program's own functions, which are worth going on in."""


def _is_machinery(namespace: dict[str, Any]) -> bool:
    name = namespace.get("__name__")
    root = name.partition(".")[0] if type(name) is str else ""
    return root in sys.stdlib_module_names and root not in _RUN_CODE_OF_OTHERS


def _state_before(func: types.FunctionType, values: list[Any], request: CompileRequest) -> tuple[Attempt, list[Link]]:
    """Run again, to the break, so that the state before the breaking instruction of an inlined frame is known."""
    attempt = Attempt(func, values, request, careful=True)
    chain: list[Link] = []
    try:
        attempt.run()
    except Break as broken:
        chain = _resumable(chain_of(broken), request)
    if chain:
        leaf = chain[-1].frame
        if not attempt.vm.unmoved(leaf):
            return _stopped(func, values, request, (leaf.number, leaf.count))
        leaf.stack[:] = leaf.saved
        return attempt, chain
    raise SkipFrame("the program took another way when it was looked at again")


def _stopped(
    func: types.FunctionType, values: list[Any], request: CompileRequest, stop: tuple[int, int]
) -> tuple[Attempt, list[Link]]:
    """Run again, and stop before an instruction."""
    attempt = Attempt(func, values, request, careful=stop[0] > 0, stop=stop)
    try:
        attempt.run()
    except StopHere as stopped:
        return attempt, chain_of(stopped)
    raise SkipFrame("the program took another way when it was looked at again")


def _finish(attempt: Attempt, values: list[Any], stop: list[Link] | None, result: Any = None) -> Any:
    """Generate code for what was captured, compile the graph, make the entry; ``stop``: the frames to go on in; ``result``:
    what is known of the breaking instruction's result."""
    vm, request = attempt.vm, attempt.request
    functorch.check_closed(vm)
    function_modes.check_closed(vm)
    kept = attempt.lifetimes.settle(attempt.frame if stop is None else stop[-1].frame, attempt.result)
    builder = Builder(vm)
    expected = check_expected(vm)
    for one in expected:
        builder.output(one)
    before = attempt.before
    if stop is not None and contexts.leave_for_now(vm, [link.frame for link in stop], attempt.after):
        before = before.with_grad(not attempt.after.grad)
    replay(builder, before, attempt.after)
    if attempt.breaks_are_errors is not attempt.asked:
        hand_on = builder.constant(utils.hand_on_error_on_graph_break, "breaks_are_errors")
        builder.emit(f"{hand_on}({attempt.breaks_are_errors}, {attempt.asked})")
    if stop is None:
        piece = origin_of(attempt.frame.code) is not None  # nobody else may hold what it was called with
        for local in attempt.frame.locals:  # they go when the function returns, as do the variables of what is generated
            if (
                type(local) is TracedGenerator
                and local.must_be_closed()
                or piece
                and local_may_be_missed(vm, local)
                and is_outside(vm, local)
            ):
                builder.value(local)
        for value in kept:
            builder.value(value)
        builder.emit(f"return {builder.value(attempt.result)}")
    else:
        for line in resume(builder, stop, result):
            builder.emit(line)
    vm.check_abandoned(builder.has)
    memoizing.check_results(vm, builder.has, builder.outputs)
    recorder = vm.recorder
    flags.drop_questions(vm, builder.outputs)
    if stop is None and not recorder.calls:
        if not request.config.allow_empty_graphs:
            return _without_graph(attempt.func, request)
    graph = GraphCall(None, None, builder.new_tensors())
    if recorder.calls or builder.outputs:
        gradients.check_leaving(vm, builder.outputs)
        histories.rely_on_written(vm, recorder)
        tensor_ops.check_rows(vm)
        parameters.check_shared(vm)
        module = recorder.finish(builder.outputs)
        request.frame_state(attempt.func.__code__)["graph"] = True
        utils.counters["stats"]["calls_captured"] += recorder.calls
        utils.counters["stats"]["unique_graphs"] += 1
        graph = graph_call(builder, attempt, module, expected, keep_hook=stop is not None)
    code = attempt.func.__code__
    fn, params, text = builder.compile(graph.lines, graph.first, "entry", f"<alternator {code.co_name}>", code.co_firstlineno)
    skip_code(fn.__code__)
    hide_code(fn.__code__)
    return _entry(attempt, values, fn, params, text, stop is not None, graph)


def _entry(attempt: Attempt, values: list[Any], fn: Any, params: Any, text: str, keep_hook: bool, graph: GraphCall) -> Any:
    tree = attempt.vm.world.tree
    tensors = {id(entry.example): entry.source for entry in attempt.recorder.inputs if entry.kind == "tensor"}
    for rec in attempt.vm.world.told_apart:
        tensors.setdefault(id(rec.obj), rec.source.want())
    if len(tensors) > 1:
        tree.tail.append(("DISTINCT", tuple(tensors.values())))
    tree.tail.append(("GLOBAL_STATE",))
    tree.tail.extend(shape_facts(attempt.fakes))
    nodes, tail = tree.rows()
    if attempt.request.config.recheck_guards:
        again = Recheck(nodes, tail, attempt.func.__qualname__)
        tail.append(again.row())
        if graph.inputs is None:
            fn = again.watched(fn)
        else:
            graph = graph._replace(compiled=again.watched(graph.compiled))
    try:
        guards = GuardTree(nodes, tail, attempt.func, values)
    except RuntimeError:
        if threading.active_count() == 1:
            raise
        return None  # another thread has changed what was read: run plainly this time
    loads = tuple(source.index for source in params)
    extra = EntryInfo(text, tree, attempt.request)
    if graph.inputs is None:
        return _CacheEntry(attempt.func.__code__, guards, fn, loads, keep_hook, (), extra, recover=graph.recover)
    inputs = tuple(source.index for source in graph.inputs)
    called = graph.compiled, inputs, graph.single, graph.recover, graph.recover is not None and graph.recover.draws
    return _CacheEntry(attempt.func.__code__, guards, fn, loads, keep_hook, (), extra, *called)
