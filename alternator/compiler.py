"""The names of ``torch.compiler``."""

from __future__ import annotations

import functools
from typing import Any, Callable, Iterable

import numpy as np
import torch
import torch.compiler
import torch.utils._pytree as pytree

from alternator import api, decorators, utils
from alternator.backends import registry
from alternator.backends.registry import get_default_backend, set_default_backend
from alternator.decorators import allow_in_graph, assume_constant_result, set_stance, substitute_in_graph
from alternator.runtime import traced

_is_compiling, _is_exporting = torch.compiler.is_compiling, torch.compiler.is_exporting
_cudagraph_mark_step_begin = torch.compiler.cudagraph_mark_step_begin
_nested_compile_region = torch.compiler.nested_compile_region


def compile(*args: Any, **kwargs: Any) -> Any:
    """See :func:`alternator.compile`."""
    return api.compile(*args, **kwargs)


def reset() -> None:
    """See :func:`alternator.reset`."""
    api.reset()


def list_backends(exclude_tags: Iterable[str] | None = ("debug", "experimental")) -> list[str]:
    """Names that ``compile(..., backend=NAME)`` takes."""
    return registry.list_backends(exclude_tags)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """See :func:`alternator.disable`."""
    return decorators.disable(fn, recursive, reason=reason)


def cudagraph_mark_step_begin() -> None:
    """Tell Inductor's CUDA graphs that a new iteration begins."""
    _cudagraph_mark_step_begin()


def nested_compile_region(fn: Any = None, **options: Any) -> Any:
    """A hint that the function is a part of a model which repeats; also a decorator.

    Captured code takes it for the function itself: what repeats in a graph is the backend's affair.
    """
    return _nested_compile_region(fn, **options)


def wrap_numpy(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of NumPy arrays one of tensors, to be compiled."""

    @functools.wraps(fn)
    def wrap(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = pytree.tree_map_only(torch.Tensor, lambda x: x.numpy(), (args, kwargs))
        out = fn(*args, **kwargs)
        return pytree.tree_map_only(np.ndarray, lambda x: torch.as_tensor(x), out)

    return wrap


@traced.is_constant(True)
def is_compiling() -> bool:
    """True in captured and in exported code."""
    return _is_compiling()


@traced.is_constant(True)
def is_dynamo_compiling() -> bool:
    """True in captured code."""
    return utils.is_capturing()


def is_exporting() -> bool:
    """True in exported code."""
    return _is_exporting()


__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "get_default_backend",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "list_backends",
    "nested_compile_region",
    "reset",
    "set_default_backend",
    "set_stance",
    "substitute_in_graph",
    "wrap_numpy",
]
