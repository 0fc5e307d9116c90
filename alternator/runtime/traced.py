"""How the compiler's own functions and wrappers, and the marks that decorators leave, look in captured code."""

from __future__ import annotations

import dataclasses
import functools
import types
import weakref
from typing import Any, Callable

import torch

from alternator import marks, utils
from alternator._C import eval_frame
from alternator.exc import Break, ForbiddenCall, Restart, SkipFrame
from alternator.interpreter import attributes, calls
from alternator.interpreter.tables import CODES, DESCRIPTORS, GETATTR, IN_GRAPH, INSTANCE_CALLS, MARKS, REBUILD, RULES, SETATTR
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World
from alternator.runtime import trampoline
from alternator.runtime.module import OptimizedModule, original_of, read_own
from alternator.semantics.opaque import call_on_trees

# ---- directives


_OPTIMIZER = torch.optim.Optimizer.__module__


def breaks_with(code: str, fn: Callable[..., Any]) -> None:
    """A call of this function breaks the graph, but for those of PyTorch's around the step of an optimizer.

    These keep AOTAutograd from taking a step without gradients for training, which it has learned to tell by itself.
    """

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if vm.frame.globals.get("__name__") == _OPTIMIZER:
            return None
        words = [value for value in (*args, *kwargs.values()) if type(value) is str and value]
        raise Break(code, words[0] if words else "")

    RULES.replace(fn, rule)


def skips_frame(fn: Callable[..., Any]) -> None:
    """A call of this function ends the capture of the function that calls it for good: from then on it runs plainly."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        code = vm.frame.code
        caller = vm.frame.parent
        if caller is None or caller.globals is vars(trampoline) or code in CODES:
            raise SkipFrame("skip_frame() was called")

        def skipped(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
            raise Break("DISABLED_FUNCTION", f"{_name(fn)} (it calls skip_frame())")

        CODES.put(code, skipped)
        eval_frame.skip_code(code)
        raise Restart(lambda: None)

    RULES.replace(fn, rule)


def is_constant(value: Any) -> Callable[[Any], Any]:
    """Decorator: in captured code this function always gives the same answer."""

    def register(fn: Any) -> Any:
        RULES.replace(fn, lambda vm, args, kwargs: value)
        return fn

    return register


def compiles_while_tracing(fn: Any, compiler: Any) -> None:
    """``fn`` is the compiler's ``compile``, or another front-end's with the same settings: what it makes of a function or a
    module is part of the capture when it is called, and is made for real where it leaves."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        settings = dict(kwargs)
        model = args[0] if args else settings.pop("model", None)
        if len(args) > 1 or not _can_be_compiled(model) or type(settings.get("options")) not in (type(None), dict):
            raise Break("UNSUPPORTED_CALL", f"{_name(fn)}() of a {type(model).__name__}")
        vm.close(settings.get("options"))
        make = functools.partial(compiler, model, **settings)
        if fn is compiler:
            made = vm.plain(make)
        else:
            made = _made_or_break(make, fn)
        if model is None:
            return calls.call(vm, _decorator, (fn, settings), {})
        if made is not model:
            here = _Compiled(made, fn, model, settings, dict(vars(made)))
            vm.states.setdefault("compiled here", {})[id(made)] = here
        return made

    RULES.replace(fn, rule)


def _can_be_compiled(model: Any) -> bool:
    """Wrapping it writes nothing to it, as wrapping a class does."""
    kind = type(model)
    known = (types.FunctionType, types.MethodType, eval_frame.CompiledFunction, type(None))
    return kind in known or issubclass(kind, torch.nn.Module)


def _made_or_break(make: Callable[[], Any], fn: Any) -> Any:
    """What the other front-end refuses, it refuses in its own words."""
    try:
        return make()
    except Exception as error:
        raise Break("UNSUPPORTED_CALL", f"{_name(fn)}(): {error}") from None


def _decorator(fn: Any, settings: dict[str, Any]) -> Callable[[Any], Any]:
    """``fn(**settings)``"""

    def decorate(model: Any) -> Any:
        return fn(model, **settings)

    return decorate


@dataclasses.dataclass(frozen=True)
class _Compiled:
    """What the program has made of a function or a module with ``compile``."""

    made: Any
    fn: Any
    model: Any
    settings: dict[str, Any]
    space: dict[str, Any]


@REBUILD.rule(eval_frame.CompiledFunction, OptimizedModule)
def rebuild_compiled(b: Any, value: Any) -> str:
    """It is compiled by generated code, if nothing was written to it."""
    here = b.vm.states.get("compiled here", {}).get(id(value))
    space = vars(value)
    if here is None or space.keys() != here.space.keys() or any(space[name] is not here.space[name] for name in space):
        raise Break("UNREBUILDABLE_OUTPUT", f"a {type(value).__module__}.{type(value).__qualname__}")
    name: str = b.assign(f"{b.constant(here.fn, 'compile')}({b.value(here.model)}, **{b.value(here.settings)})")
    b.register(value, name)
    return name


def as_constant(size: int) -> int:
    """The number; code that is captured relies on its value from here on."""
    return size


RULES.put(as_constant, lambda vm, args, kwargs: vm.symbolic(int, *args) if type(args[0]) is torch.SymInt else args[0])
breaks_with("GRAPH_BREAK_CALL", marks.graph_break)
breaks_with("GRAPH_BREAK_CALL", marks.step_unsupported)
skips_frame(marks.skip_frame)
is_constant(True)(utils.is_capturing)


def _steers_breaks(fn: Any) -> None:
    """What the setting was at the start is guarded where it is asked for; where it is at the end, generated code sets."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        now = utils.error_on_graph_break()
        if "error_on_graph_break" not in vm.states:
            vm.states["error_on_graph_break"] = now
            guard = ("PY", (), lambda: utils.error_on_graph_break() is now, f"error_on_graph_break is {now}")
            vm.world.tree.tail.append(guard)
        return vm.plain(functools.partial(fn, *args, **kwargs))

    RULES.replace(fn, rule)


_steers_breaks(utils.set_error_on_graph_break)
_steers_breaks(utils.error_on_graph_break)


# ---- marks on functions


def _name(fn: Any) -> str:
    return getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None) or type(fn).__name__


def disabled(fn: Any) -> Break:
    """The break that calling a disabled function is."""
    reason = marks.disable_reason(fn)
    return Break("DISABLED_FUNCTION", f"{_name(fn)} ({reason})" if reason else _name(fn))


def _disabled(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    original = fn.__dict__.get("_torchdynamo_orig_callable")
    if _is_part_of_caller(vm, original) and (marks.disable_reason(fn) or "").endswith("not supported"):
        vm.world.trusted(original)  # the in-tree front-end, which has rules for the caller, says so of itself
        return vm.call(original, args, kwargs)
    raise disabled(fn)


def _is_part_of_caller(vm: Any, original: Any) -> bool:
    """A function of PyTorch's that is called by code of the same package of it."""
    package = vm.frame.globals.get("__name__", "").rpartition(".")[0]
    return package.startswith("torch.") and getattr(original, "__module__", "").rpartition(".")[0] == package


def _forbidden(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    raise ForbiddenCall(
        f"Attempt to trace forbidden callable {_name(fn)}: it has no meaning in compiled code. Call it before the compiled "
        "function is called, or keep the call out of it with alternator.disable"
    )


def forbid(fn: Any) -> Any:
    """Decorator for a class whose instances must not be made in captured code."""
    RULES.replace(fn, lambda vm, args, kwargs: _forbidden(vm, fn, args, kwargs))
    return fn


def _compiled_by_torch(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """A function that a library gave to ``torch.compile``: what it was made from is part of the capture."""
    original = original_of(fn)
    if original is fn:  # it has only taken over another one's attributes
        return calls.inline(vm, fn, args, kwargs)
    vm.world.trusted(original)
    return calls.call(vm, original, args, kwargs)


MARKS["_torchdynamo_disable"] = _disabled
MARKS["_torchdynamo_inline"] = _compiled_by_torch
MARKS["_dynamo_forbidden"] = _forbidden


# ---- marks in tables


def put_in_graph(fn: Any) -> None:
    """``allow_in_graph``"""
    _forget_disallowed(fn)
    IN_GRAPH.replace(fn, True)


def put_trees_in_graph(fn: Any) -> None:
    """``nonstrict_trace``"""
    RULES.replace(fn, lambda vm, args, kwargs: call_on_trees(vm, fn, args, kwargs))


_rules_before: dict[int, Any] = {}


def keep_out_of_graph(fn: Any) -> None:
    """``disallow_in_graph``"""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break("DISALLOWED", _name(fn))

    if id(fn) not in _rules_before:
        _rules_before[id(fn)] = RULES.get(fn)
    RULES.replace(fn, rule)


def _forget_disallowed(fn: Any) -> None:
    if id(fn) in _rules_before:
        RULES.remove(fn)
        before = _rules_before.pop(id(fn))
        if before is not None:
            RULES.replace(fn, before)


def trace_instead(original: Any, traceable: Callable[..., Any]) -> None:
    """``substitute_in_graph``"""
    RULES.replace(original, lambda vm, args, kwargs: calls.call(vm, traceable, args, kwargs))


# ---- compiled functions


ADMIT.register(eval_frame.CompiledFunction)(lambda world, obj, source: world.by_identity(obj, source))


@DESCRIPTORS.rule(eval_frame.CompiledFunction)
def bind_compiled(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    """A decorated method."""
    if obj is None:
        return raw
    bound = types.MethodType(raw, obj)
    vm.world.pins.append(bound)
    return bound


@INSTANCE_CALLS.rule(eval_frame.CompiledFunction)
def call_compiled(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """Part of the capture like any other function, unless it is there to keep one out."""
    space = obj.__dict__
    if space.get("_torchdynamo_disable"):
        raise disabled(obj)
    fn = space["_torchdynamo_orig_callable"]
    vm.world.trusted(fn)
    return calls.call(vm, fn, args, kwargs)


@GETATTR.rule(eval_frame.CompiledFunction)
def compiled_attribute(vm: Any, obj: Any, name: str) -> Any:
    """Everything that hangs on it was put there when it was made."""
    value = vm.plain(getattr, obj, name)
    if name in ("__get__", "__call__"):
        vm.world.pins.append(value)
        return value
    vm.world.trusted(value)
    return value


# ---- compiled modules


@ADMIT.register(OptimizedModule)
def admit_compiled_module(world: World, obj: Any, source: Source) -> Any:
    """A stand-in for its original; like any module, its numbers are constants."""
    source.guard("TYPE", type(obj))
    source.static = weakref.ref(obj)
    world.record(obj, source)
    return obj


def original(vm: Any, obj: Any) -> Any:
    """The module behind a compiled one."""
    mod = read_own(obj)
    rec = vm.records.get(id(obj))
    return mod if rec is None else vm.world.admit(mod, rec.inner.child("call", read_own))


@INSTANCE_CALLS.rule(OptimizedModule)
def call_compiled_module(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """The original is called."""
    if obj._torchdynamo_disable_of():
        raise disabled(obj)
    return calls.call(vm, original(vm, obj), args, kwargs)


@GETATTR.rule(OptimizedModule)
def compiled_module_attribute(vm: Any, obj: Any, name: str) -> Any:
    """Its attributes are the original's."""
    mod = original(vm, obj)
    return mod if name == "_orig_mod" else attributes.load(vm, mod, name)


@SETATTR.rule(OptimizedModule)
def set_compiled_module_attribute(vm: Any, obj: Any, name: str, value: Any) -> None:
    """Its attributes are the original's."""
    attributes.store(vm, original(vm, obj), name, value)
