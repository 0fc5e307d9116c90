"""Tensors made by calling their type: ``torch.Tensor(2, 3)``, ``torch.LongTensor([1, 2])``."""

from __future__ import annotations

from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter import tensor_ops
from alternator.interpreter.tables import INSTANCE_CALLS, RULES
from alternator.semantics import nested_data

_SIZES = (int, torch.SymInt)


@RULES.rule(torch.Tensor)
def make_tensor(vm: Any, args: Any, kwargs: Any) -> Any:
    """Of the default dtype, or over the memory of a tensor of any dtype."""
    if len(args) == 1 and not kwargs and issubclass(type(args[0]), torch.Tensor):
        if tensor_ops.type_of(vm, args[0]) is not torch.Tensor:
            raise Break("TENSOR_SUBCLASS", f"torch.Tensor() of a {tensor_ops.type_of(vm, args[0]).__name__}")
        return vm.graph_call(torch.ops.aten.alias.default, args, {})
    return _make(vm, torch.get_default_dtype(), args, kwargs)


@INSTANCE_CALLS.rule(type(torch.LongTensor))
def make_of_type(vm: Any, kind: Any, args: Any, kwargs: Any) -> Any:
    """Of the dtype that the type says."""
    if kind.is_cuda or kind.layout is not torch.strided or kind.dtype.is_complex:
        raise Break("UNSUPPORTED_CALL", f"construction of a {kind.__name__}")
    return _make(vm, kind.dtype, args, kwargs)


def _make(vm: Any, dtype: torch.dtype, args: Any, kwargs: Any) -> Any:
    made = {"dtype": dtype, "device": torch.device("cpu")}
    if kwargs:
        raise Break("UNSUPPORTED_CALL", f"a tensor made by its type with {', '.join(kwargs)}")
    sizes = tuple(args[0]) if len(args) == 1 and type(args[0]) is torch.Size else args
    if all(type(size) in _SIZES for size in sizes):
        return vm.graph_call(torch.empty, (sizes or (0,),), made)
    if len(args) == 1 and type(args[0]) in (list, tuple) and _of_numbers(vm, args[0], dtype):
        return vm.call(torch.tensor, args, made)
    if len(args) == 1 and nested_data.holds_tensors(vm, args[0]):
        if nested_data.fits(args[0], dtype) is dtype:
            return nested_data.stacked(vm, args[0], dtype)
    raise Break("UNSUPPORTED_CALL", "a tensor made by its type of something else than sizes or a list of numbers")


def _of_numbers(vm: Any, items: Any, dtype: torch.dtype) -> bool:
    """Nested lists of numbers that the dtype takes as they are."""
    kinds = (int, torch.SymInt, bool) if not dtype.is_floating_point else (int, float, bool, torch.SymInt, torch.SymFloat)
    return all(_of_numbers(vm, item, dtype) if type(item) in (list, tuple) else type(item) in kinds for item in vm.close(items))
