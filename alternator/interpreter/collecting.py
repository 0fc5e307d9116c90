"""``list(iterable)``, as C code does it: before it takes the first item it asks how many there may be."""

from __future__ import annotations

import operator
import types
from typing import Any

import torch

from alternator.interpreter import calls, operations
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.lookahead import Ahead
from alternator.interpreter.loops import Lazy
from alternator.interpreter.tables import SHALLOW
from alternator.provenance.world import is_heap
from alternator.tensors.graph import SYMBOLIC

_SILENT = (torch.Tensor, *SYMBOLIC, TracedGenerator, Ahead, Lazy)


def collect(vm: Any, value: Any) -> list[Any]:
    """The items of an iterable that C code makes a list or a tuple of; ``operations.unpack`` is what only iterates."""
    if type(value) in (list, tuple):
        vm.close(value, SHALLOW)
        return list(value)
    iterator = operations.iterate(vm, value)
    ask_length(vm, value)
    return operations.taken(vm, iterator)


def ask_length(vm: Any, value: Any) -> None:
    """``__len__`` and ``__length_hint__`` of the program's are called."""
    kind = type(value)
    if kind is reversed:  # which asks what it goes over
        vm.native(operator.length_hint, (value,))
    if not is_heap(kind) or issubclass(kind, _SILENT):
        return
    found = [vm.world.class_attr(kind, name) for name in ("__len__", "__length_hint__")]
    if types.FunctionType in map(type, found):
        calls.call(vm, length_hint, (value,), {})


def length_hint(obj: Any, default: int = 0) -> Any:
    """Polyfill: ``operator.length_hint``."""
    kind = type(obj)
    if hasattr(kind, "__len__"):
        try:
            return len(obj)
        except TypeError:
            pass
    if not hasattr(kind, "__length_hint__"):
        return default
    try:
        hint = kind.__length_hint__(obj)
    except TypeError:
        return default
    if hint is NotImplemented:
        return default
    if not isinstance(hint, int):
        raise TypeError(f"__length_hint__ must be an integer, not {type(hint).__name__}")
    if hint < 0:
        raise ValueError("__length_hint__() should return >= 0")
    return hint


__all__ = ["ask_length", "collect", "length_hint"]
