"""Context managers and setters of torch's global state: really switched while tracing, and put into the graph."""

from __future__ import annotations

import contextlib
import types
from typing import Any, Iterable

import torch
import torch.amp.autocast_mode as autocast_mode

from alternator.exc import Break
from alternator.interpreter import calls
from alternator.interpreter.tables import REBUILD, RULES
from alternator.tensors.state import GlobalState, set_deterministic

_GRAD_MODE = vars(torch.autograd.grad_mode)


def _recorded_setter(fn: Any) -> None:
    """A setter of state that operations depend on: switched for real, and a node of the graph."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if fn is torch._C._set_grad_enabled and vm.frame.globals is _GRAD_MODE and args[0] is torch.is_grad_enabled():
            return None  # PyTorch's own managers: nothing to do, and nothing to see in the graph
        result = vm.plain(lambda: fn(*args, **kwargs))
        if not vm.quiet_state:
            vm.recorder.graph.call_function(fn, args, kwargs)
        vm.state_changed()
        return result

    RULES.put(fn, rule)


for _fn in (
    torch._C._set_grad_enabled,
    torch.set_autocast_enabled,
    torch.set_autocast_dtype,
    torch.set_autocast_cache_enabled,
    torch.autocast_increment_nesting,
    torch.autocast_decrement_nesting,
    torch.clear_autocast_cache,
    torch._C._set_default_dtype,
    torch._C._set_float32_matmul_precision,
):
    _recorded_setter(_fn)


_GRAD_MANAGERS = frozenset({torch.no_grad, torch.enable_grad, torch.set_grad_enabled})


def _mode_around(vm: Any, values: Iterable[Any]) -> bool | None:
    """The grad mode in front of the first of PyTorch's managers of it whose exits are among the values; None if none is.

    ``prev`` of a manager from outside is read without a guard: it only decides which graph says the mode, and each says the
    one that is guarded; what leaves the manager reads ``prev`` again.
    """
    for value in values:
        if type(value) is types.MethodType and type(value.__self__) in _GRAD_MANAGERS:
            rec = vm.records.get(id(value.__self__))
            mode = vars(value.__self__ if rec is None else rec.obj).get("prev")
            return mode if type(mode) is bool else None
    return None


def enter_again(vm: Any, values: Iterable[Any]) -> None:
    """The graph of what goes on inside of managers of the grad mode switches it itself, as do those in front of a break.

    Thus each graph says in which mode it runs, also to who runs it elsewhere: the mode is one of the thread.
    """
    now = torch.is_grad_enabled()
    if _mode_around(vm, values) is (not now):
        vm.recorder.graph.call_function(torch._C._set_grad_enabled, (now,))


def leave_for_now(vm: Any, frames: Iterable[Any], after: GlobalState) -> bool:
    """A graph that ends inside of such managers ends in the mode around them; whether generated code has to switch back."""
    modes = (_mode_around(vm, frame.stack) for frame in frames)
    if next((mode for mode in modes if mode is not None), None) is not (not after.grad):
        return False
    vm.recorder.graph.call_function(torch._C._set_grad_enabled, (not after.grad,))
    return True


def _quietly(vm: Any, fn: Any, args: Any) -> Any:
    """Interpret torch's own code; the one node that stands for it is recorded by the caller."""
    before, vm.quiet_state = vm.quiet_state, True
    try:
        return calls.inline(vm, fn, args, {})
    finally:
        vm.quiet_state = before


_ENTER, _EXIT = autocast_mode.autocast.__enter__, autocast_mode.autocast.__exit__


@RULES.rule(_ENTER)
def enter_autocast(vm: Any, args: Any, kwargs: Any) -> Any:
    context = args[0]
    target = tuple(vm.getattr(context, name) for name in ("device", "fast_dtype", "_enabled", "_cache_enabled"))
    node = vm.recorder.graph.call_function(autocast_mode._enter_autocast, target)
    vm.recorder.open_regions.append((context, node, autocast_mode._exit_autocast))
    return _quietly(vm, _ENTER, args)


@RULES.rule(_EXIT)
def exit_autocast(vm: Any, args: Any, kwargs: Any) -> Any:
    context = args[0]
    regions = vm.recorder.open_regions
    if regions and regions[-1][0] is context:
        _, node, leave = regions.pop()
        vm.recorder.graph.call_function(leave, (node,))
        return _quietly(vm, _EXIT, args)
    return calls.inline(vm, _EXIT, args, kwargs)  # entered before this frame: the setters themselves go into the graph


def _refuse(code: str, *functions: Any) -> None:
    for fn in functions:

        def rule(vm: Any, args: Any, kwargs: Any, name: str = getattr(fn, "__qualname__", str(fn))) -> Any:
            raise Break(code, name)

        RULES.put(fn, rule)


@RULES.rule(torch.use_deterministic_algorithms)
def use_deterministic_algorithms(vm: Any, args: Any, kwargs: Any) -> None:
    """A node of the graph; Inductor's own copy of the flag is set afterwards."""

    def flags(mode: Any, *, warn_only: Any = False) -> tuple[bool, bool]:
        return bool(mode), bool(warn_only)

    wanted = vm.plain(lambda: flags(*args, **kwargs))
    if any(type(flag) is not bool for flag in (*args, *kwargs.values())):
        vm.plain(lambda: torch._C._set_deterministic_algorithms(*args, **kwargs))  # refuses it
    vm.plain(set_deterministic, wanted)
    vm.recorder.graph.call_function(set_deterministic, (wanted,))
    vm.state_changed()
    vm.world.effects.append(("call", _tell_inductor, (wanted[0],), {}))


def _tell_inductor(mode: bool) -> None:
    import torch._inductor.config

    torch._inductor.config.deterministic = mode


_refuse("GLOBAL_STATE", torch.set_default_device, torch.set_num_threads)
_refuse("MODE", torch.autograd.graph.saved_tensors_hooks.__enter__)


# -- ranges of the profiler: nothing to the graph, but real again where a break finds one open

_Range = torch.profiler.record_function
_START, _STOP = _Range.__enter__, _Range.__exit__


@RULES.rule(_Range.__init__)
def range_init(vm: Any, args: Any, kwargs: Any) -> None:
    def init(self: Any, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args

    if id(args[0]) in vm.records:
        raise Break("UNSUPPORTED_CALL", "record_function.__init__ of an object from outside")
    init(*args, **kwargs)


@RULES.rule(_START)
def range_start(vm: Any, args: Any, kwargs: Any) -> Any:
    if id(args[0]) in vm.records:  # a decorator's: really entered only if something is to be seen before it is left
        vm.world.effects.append(("call", _START, (args[0],), {}))
    else:
        vm.states.setdefault("ranges", {})[id(args[0])] = args[0]
    return args[0]


@RULES.rule(_STOP)
def range_stop(vm: Any, args: Any, kwargs: Any) -> None:
    effects = vm.world.effects
    if id(args[0]) in vm.records:
        if effects and effects[-1][:2] == ("call", _START) and effects[-1][2][0] is args[0]:
            effects.pop()
        else:  # opened before this frame, or with effects in between
            effects.append(("call", _STOP, (args[0], None, None, None), {}))
    else:
        vm.states.get("ranges", {}).pop(id(args[0]), None)


@REBUILD.rule(_Range)
def rebuild_range(b: Any, value: Any) -> str:
    """Made anew; and open, if it is."""
    if type(value) is not _Range:
        raise Break("UNREBUILDABLE_OUTPUT", f"a {type(value).__qualname__}, which is a record_function")
    name: str = b.assign(f"{b.value(_Range)}({b.value(value.name)}, {b.value(value.args)})")
    b.register(value, name)
    if id(value) in b.vm.states.get("ranges", {}):
        b.emit(f"{b.constant(_START, 'start')}({name})")
    return name


# -- a profiler that nobody can ask

_FLAGS = frozenset({"record_shapes", "profile_memory", "with_stack", "with_flops", "with_modules"})


@RULES.rule(torch.profiler.profile)
def profile(vm: Any, args: Any, kwargs: Any) -> Any:
    """``with profile():`` without a name and without a handler is seen by nobody: it does nothing.  Any other one is really
    entered, so that what runs in it is measured."""
    frame = vm.frame
    after = [instr.opname for instr in frame.instrs[frame.at + 1 : frame.at + 3]]
    if after != ["BEFORE_WITH", "POP_TOP"] or args or kwargs.keys() - _FLAGS or not _is_not_measured():
        return calls.instantiate(vm, torch.profiler.profile, args, kwargs)
    vm.world.tree.tail.append(("PY", (), _is_not_measured, "not torch.autograd._profiler_enabled()"))
    return vm.call(contextlib.nullcontext, ())


def _is_not_measured() -> bool:
    return not torch.autograd._profiler_enabled()
