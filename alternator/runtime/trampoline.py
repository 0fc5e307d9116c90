"""A frame of our own around a callable that has none that can be captured: a C function, a partial, a function of a
skipped file that the user asked to compile."""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from typing import Any, Callable

from alternator import breaks, utils
from alternator._C import eval_frame
from alternator.exc import Break
from alternator.runtime import stance


def with_frame(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls ``fn``; its code object is its own, so that compiled entries are not shared."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    call.__code__ = call.__code__.replace(co_name=getattr(fn, "__name__", "call"))
    functools.update_wrapper(call, fn)
    if isinstance(fn, types.BuiltinFunctionType):
        _OF_C.add(call)
    return call


_OF_C: weakref.WeakSet[Any] = weakref.WeakSet()


def is_frame_of_c(fn: types.FunctionType) -> bool:
    """Whether it stands for a function in C that the user asked to compile: if it cannot be captured, that is to be reported."""
    return fn in _OF_C


_NEVER_CAPTURED = {
    inspect.CO_GENERATOR: ("GENERATOR_STATE", "a generator function runs plainly between its consumer's calls"),
    inspect.CO_COROUTINE: ("ASYNC", "an async function runs plainly"),
    inspect.CO_ASYNC_GENERATOR: ("ASYNC", "an async generator runs plainly"),
}


def kind_without_capture(fn: Callable[..., Any]) -> tuple[str, str] | None:
    """The break code, and what to say, of a function whose frames are never captured by themselves; None for others."""
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    flags = code.co_flags if isinstance(code, types.CodeType) else 0
    return next((kind for flag, kind in _NEVER_CAPTURED.items() if flags & flag), None)


def refusing(fn: Callable[..., Any], code: str, detail: str) -> Callable[..., Any]:
    """What stands for such a function where all of it has to be one graph: calling it says that it cannot be."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if stance.current().runs_plainly:
            return fn(*args, **kwargs)
        cure = "Compile the function that uses it up, or the functions that it calls."
        name = getattr(fn, "__qualname__", repr(fn))
        raise breaks.unsupported(Break(code, f"{name} is compiled with fullgraph=True, but {detail}", cure=cure))

    eval_frame.skip_code(call.__code__)
    return functools.update_wrapper(call, fn)


def where_breaks_are_errors(fn: Callable[..., Any], value: bool) -> Callable[..., Any]:
    """A function that calls ``fn`` where a break is an error, or with False none."""

    def call(*args: Any, **kwargs: Any) -> Any:
        before = utils.set_error_on_graph_break(value)
        try:
            return fn(*args, **kwargs)
        finally:
            utils.set_error_on_graph_break(before)

    call.__code__ = call.__code__.replace(co_name=getattr(fn, "__name__", "call"))
    functools.update_wrapper(call, fn)
    return call


def calling(cls: type) -> Callable[..., Any]:
    """A function that calls its first argument, an instance of the class, with the others: one for all instances."""
    found = _CALLING.get(cls)
    if found is None:

        def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return self(*args, **kwargs)

        call.__code__ = call.__code__.replace(co_name="__call__", co_qualname=f"{cls.__qualname__}.__call__")
        found = _CALLING[cls] = call
    return found


_CALLING: weakref.WeakKeyDictionary[type, Callable[..., Any]] = weakref.WeakKeyDictionary()


def has_own_frame(fn: Callable[..., Any]) -> bool:
    """Whether calling it runs Python code of its own right away."""
    if isinstance(fn, types.MethodType):
        fn = fn.__func__
    return isinstance(fn, types.FunctionType)
