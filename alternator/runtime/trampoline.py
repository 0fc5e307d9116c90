"""A frame of our own around a callable that has none that can be captured: a C function, a partial, a function of a
skipped file that the user asked to compile."""

from __future__ import annotations

import functools
import types
import weakref
from typing import Any, Callable

from alternator import utils


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
