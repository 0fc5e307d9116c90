"""Raising, handling, and ``with``."""

from __future__ import annotations

import contextlib
import traceback
import types
from typing import Any

from alternator.bytecode.versions import WRAPS_LONE_ERRORS
from alternator.exc import Break, UserRaise
from alternator.interpreter import attributes, calls
from alternator.interpreter.frame import NULL
from alternator.interpreter.links import passes_on
from alternator.interpreter.opcode_table import op
from alternator.interpreter.tables import GETATTR
from alternator.interpreter.tracebacks import not_an_exception, trace_of
from alternator.provenance import storage
from alternator.provenance.world import MISSING


def _no_traceback(vm: Any, obj: Any, name: str) -> Any:
    """Frames of captured code are not those that Python would have: who looks into a traceback is to find the real ones."""
    plainly = id(obj) not in vm.records and vm.frame.globals is not vars(traceback)  # which only wants names and lines
    raise Break("EXCEPTION_STATE", f"{name} of a traceback", plainly=plainly)


def _no_frame(vm: Any, obj: Any, name: str) -> Any:
    raise Break("FRAME_INTROSPECTION", f"{name} of a frame")  # it may be that of a generator that moves


GETATTR.put(types.TracebackType, _no_traceback)
GETATTR.put(types.FrameType, _no_frame)


def traceback_of(vm: Any, error: BaseException) -> Any:
    """``error.__traceback__``: it may be handed on, but not looked at."""
    rec = vm.records.get(id(error))
    if rec is None:
        return trace_of(error)
    if rec.attrs is not None and "__traceback__" in rec.attrs:
        return rec.attrs["__traceback__"]
    return vm.world.admit(trace_of(error), rec.source.child("call", trace_of))


@op("RAISE_VARARGS")
def raise_varargs(f: Any, i: Any) -> None:
    vm, stack = f.vm, f.stack
    cause: Any = MISSING
    if i.arg == 0:
        active = vm.current_error()
        if active is None:
            vm.nothing_handled_outside()
            raise vm.user_raise(RuntimeError("No active exception to reraise"))
        raise UserRaise(active)
    if i.arg == 2:
        cause = stack.pop()
    error = _exception(vm, stack.pop(), "exceptions must derive from BaseException")
    if id(error) in vm.records:
        raise Break("UNSUPPORTED_EFFECT", "raising an exception object that was made outside")
    if cause is not MISSING:
        complaint = "exception causes must derive from BaseException"
        storage.set_cause(error, None if cause is None else _exception(vm, cause, complaint))
    handled = vm.current_error()
    if handled is None:
        vm.raised.add(id(error))
    elif handled is not error:
        _break_cycle(error, handled)
        storage.set_context(error, handled)
    raise UserRaise(error)


def _exception(vm: Any, value: Any, complaint: str) -> BaseException:
    if issubclass(type(value), type) and issubclass(value, BaseException):
        made = calls.call(vm, value, (), {})
        if not issubclass(type(made), BaseException):
            complaint = not_an_exception(vm, value, repr(attributes.type_of(vm, made)))
        value = made
    if not issubclass(type(value), BaseException):
        raise vm.user_raise(TypeError(complaint))
    return value


def _break_cycle(error: BaseException, handled: BaseException) -> None:
    walker: BaseException | None = handled
    seen: set[int] = set()
    while walker is not None and id(walker) not in seen:  # there may be a cycle that the program made
        seen.add(id(walker))
        before = storage.context_of(walker)
        if before is error:
            storage.set_context(walker, None)
            return
        walker = before


@op("PUSH_EXC_INFO")
def push_exc_info(f: Any, i: Any) -> None:
    vm, stack = f.vm, f.stack
    error = stack.pop()
    stack.append(vm.handled)
    stack.append(error)
    vm.handled = error


@op("POP_EXCEPT")
def pop_except(f: Any, i: Any) -> None:
    f.vm.handled = f.stack.pop()


@op("CHECK_EXC_MATCH")
def check_exc_match(f: Any, i: Any) -> None:
    stack, vm = f.stack, f.vm
    wanted = stack.pop()
    for cls in wanted if type(wanted) is tuple else (wanted,):
        if not (issubclass(type(cls), type) and issubclass(cls, BaseException)):
            raise vm.user_raise(TypeError("catching classes that do not inherit from BaseException is not allowed"))
    stack.append(_matches(vm, stack[-1], wanted))


def _matches(vm: Any, error: BaseException, wanted: Any) -> bool:
    """Whether a handler is for an exception: ``__subclasscheck__`` has no say in it."""
    classes = storage.mro_of(type(error))
    if wanted is not type(error):
        vm.world.rely_on_bases(type(error))
    return any(cls is base for cls in (wanted if type(wanted) is tuple else (wanted,)) for base in classes)


@op("CHECK_EG_MATCH")
def check_eg_match(f: Any, i: Any) -> None:
    stack, vm = f.stack, f.vm
    wanted = stack.pop()
    error = stack.pop()
    matched, rest = _split(vm, error, wanted)
    stack.append(rest)
    stack.append(matched)
    if matched is not None:
        vm.handled = matched


def _split(vm: Any, error: Any, wanted: Any) -> tuple[Any, Any]:
    _check_classes(vm, wanted)
    if issubclass(type(error), BaseExceptionGroup):
        if type(vm.world.class_attr(type(error), "derive")) is types.FunctionType:
            raise Break("EXCEPTION_STATE", "an exception group with a derive() of its own")
        for leaf in _leaves(error):
            vm.world.rely_on_bases(type(leaf))
        matched, rest = vm.plain(error.split, wanted)
    elif _matches(vm, error, wanted):
        matched, rest = vm.plain(lambda: BaseExceptionGroup("", (error,))), None
    else:
        matched, rest = None, error
    for part in (matched, rest):
        if part is not None:
            vm.states[id(part), "split"] = part
    return matched, rest


def _check_classes(vm: Any, wanted: Any) -> None:
    for cls in wanted if type(wanted) is tuple else (wanted,):
        if not (issubclass(type(cls), type) and issubclass(cls, BaseException)):
            raise vm.user_raise(TypeError("catching classes that do not inherit from BaseException is not allowed"))
        if issubclass(cls, BaseExceptionGroup):
            raise vm.user_raise(TypeError("catching ExceptionGroup with except* is not allowed. Use except instead."))


@op("PREP_RERAISE_STAR")
def prep_reraise_star(f: Any, i: Any) -> None:
    raised, original = f.stack.pop(), f.stack.pop()
    left = [e for e in raised if e is not None]
    if not left or not issubclass(type(original), BaseExceptionGroup):
        f.stack.append(left[0] if left else None)
        return
    vm = f.vm
    again = [e for e in left if (id(e), "split") in vm.states or e is original]
    new = [e for e in left if not any(e is other for other in again)]
    kept = {id(leaf) for part in again for leaf in _leaves(part)}
    rest = vm.plain(original.split, lambda e: id(e) in kept)[0] if kept else None
    alone = not new or not WRAPS_LONE_ERRORS
    if rest is not None:
        new.append(rest)
    f.stack.append(new[0] if len(new) == 1 and alone else vm.plain(BaseExceptionGroup, "", new))


def _leaves(error: BaseException) -> list[BaseException]:
    if issubclass(type(error), BaseExceptionGroup):
        return [leaf for part in storage.group_exceptions(error) for leaf in _leaves(part)]
    return [error]


@op("RERAISE")
def reraise(f: Any, i: Any) -> None:
    error = f.stack.pop()
    raise UserRaise(error)


@op("LOAD_ASSERTION_ERROR")
def load_assertion_error(f: Any, i: Any) -> None:
    f.stack.append(AssertionError)


@op("BEFORE_WITH")
@passes_on
def before_with(f: Any, i: Any) -> None:
    vm, stack = f.vm, f.stack
    manager = stack.pop()
    kind = type(manager)
    enter, leave = vm.world.class_attr(kind, "__enter__"), vm.world.class_attr(kind, "__exit__")
    if enter is MISSING or leave is MISSING:
        missing = "" if enter is MISSING else " (missed __exit__ method)"
        raise vm.user_raise(TypeError(f"'{kind.__name__}' object does not support the context manager protocol{missing}"))
    if not _lets_pass(kind, leave):
        vm.has_handlers = True
    leave = attributes.bind(vm, leave, manager, kind, "__exit__")
    stack.append(leave)
    stack.append(calls.call(vm, attributes.bind(vm, enter, manager, kind, "__enter__"), (), {}))


def _lets_pass(kind: type, leave: Any) -> bool:
    """The manager does nothing about exceptions that anybody could tell: torch's own; what generators do is seen in them."""
    if kind in (contextlib._GeneratorContextManager, contextlib.nullcontext):
        return True
    space = leave.__globals__ if type(leave) is types.FunctionType else {}
    return str(space.get("__name__")).startswith("torch.")


@op("WITH_EXCEPT_START")
def with_except_start(f: Any, i: Any) -> None:
    stack = f.stack
    error, leave = stack[-1], stack[-4]
    stack.append(calls.call(f.vm, leave, (type(error), error, traceback_of(f.vm, error)), {}))


__all__ = ["NULL"]
