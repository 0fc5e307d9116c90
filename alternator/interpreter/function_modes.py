"""Torch function modes that the captured program enters: their ``__torch_function__`` is interpreted for every operation.

While such a mode is on, an operation is first run natively under the machine's own mode, which is thus told by torch itself
which function, types and arguments a mode is to see.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.exc import Break
from alternator.interpreter.tables import IN_GRAPH

NOT_SEEN: Any = object()
"""What ``intercept`` gives for a call that modes do not see."""

_OPERATIONS: dict[int, Any] = {}


def operations() -> dict[int, Any]:
    """Every function that modes see, by identity."""
    if not _OPERATIONS:
        for functions in torch.overrides.get_overridable_functions().values():
            _OPERATIONS.update((id(fn), fn) for fn in functions)
    return _OPERATIONS


def intercept(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operation as the modes have it, or NOT_SEEN."""
    known = operations()
    bound = getattr(fn, "__self__", None)
    if id(fn) not in known and fn not in IN_GRAPH:
        if not isinstance(bound, torch.Tensor) or id(getattr(torch.Tensor, fn.__name__, None)) not in known:
            return NOT_SEEN
    if type(fn) is types.FunctionType:  # it hands itself to the modes
        return dispatch(vm, fn, (), args, kwargs)
    for value in (*args, *kwargs.values()):
        vm.close(value)
    return seen_natively(vm, fn, args, kwargs)


def seen_natively(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    """Run an operation natively, so that torch itself calls the machine's mode, which hands it on to the program's."""
    before = vm.dispatched
    result = vm.native(fn, args, kwargs or None)
    if vm.dispatched == before:
        raise Break("MODE", f"{getattr(fn, '__name__', fn)}, which modes do not see")
    return result


def refuse(vm: Any, what: str) -> None:
    """Something that modes see in a way that is not modelled."""
    if vm.function_modes:
        raise Break("MODE", f"{what} under {type(vm.function_modes[-1]).__name__}")


def dispatch(vm: Any, func: Any, kinds: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Have the mode that was entered last handle an operation; those below it see what it does itself."""
    vm.dispatched += 1
    mode = vm.function_modes.pop()
    try:
        handler = vm.getattr(mode, "__torch_function__")
        result = vm.call(handler, (func, tuple(torch.Tensor if k is FakeTensor else k for k in kinds), args, kwargs))
    finally:
        vm.function_modes.append(mode)
    if result is NotImplemented:
        raise Break("MODE", f"{type(mode).__name__} returned NotImplemented")
    return result
