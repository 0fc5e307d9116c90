"""A frame of our own around a callable that has none that can be captured: a C function, a partial, a function of a
skipped file that the user asked to compile."""

from __future__ import annotations

import functools
import types
from typing import Any, Callable


def with_frame(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls ``fn``; its code object is its own, so that compiled entries are not shared."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    call.__code__ = call.__code__.replace(co_name=getattr(fn, "__name__", "call"))
    functools.update_wrapper(call, fn)
    return call


def has_own_frame(fn: Callable[..., Any]) -> bool:
    """Whether calling it runs Python code of its own right away."""
    if isinstance(fn, types.MethodType):
        fn = fn.__func__
    return isinstance(fn, types.FunctionType)
