"""Tensors made of nested lists that hold tensors without dimensions: a stack of them, where C code would read each value."""

from __future__ import annotations

from typing import Any

import torch
import torch._numpy as tnp
from torch._subclasses.fake_tensor import unset_fake_temporarily

_NUMBERS = (int, float, bool, complex)
Array: Any = tnp.ndarray


def holds_tensors(vm: Any, data: Any) -> bool:
    """Whether it is a list, nested or not, of numbers and tensors (or arrays) without dimensions, at least one of these."""
    found: list[bool] = []
    return type(data) in (list, tuple) and _look(vm, data, found) and any(found)


def _look(vm: Any, data: Any, found: list[bool]) -> bool:
    for item in vm.close(data):
        if type(item) in (list, tuple):
            if not _look(vm, item, found):
                return False
            continue
        tensor = item.tensor if type(item) is Array else item
        if issubclass(type(tensor), torch.Tensor) and tensor.dim() or not issubclass(type(tensor), (torch.Tensor, *_NUMBERS)):
            return False
        found.append(issubclass(type(tensor), torch.Tensor))
    return True


def fits(data: Any, dtype: torch.dtype | None) -> torch.dtype | None:
    """The dtype of a tensor of it: ``dtype``, or what C code finds (told by zeros of the same types); None if it does not fit."""
    with unset_fake_temporarily():
        try:
            return torch.tensor(_zeros(data), dtype=dtype).dtype
        except (TypeError, ValueError, RuntimeError):
            return None


def _zeros(data: Any) -> Any:
    if type(data) in (list, tuple):
        return [_zeros(item) for item in data]
    tensor = data.tensor if type(data) is Array else data
    return torch.zeros((), dtype=tensor.dtype) if issubclass(type(tensor), torch.Tensor) else data


def stacked(vm: Any, data: Any, dtype: torch.dtype) -> Any:
    """The tensor; it has no history."""
    if type(data) in (list, tuple):
        return vm.call(torch.stack, ([stacked(vm, item, dtype) for item in data],))
    tensor = data.tensor if type(data) is Array else data
    if issubclass(type(tensor), torch.Tensor):
        return vm.call(torch.Tensor.to, (vm.call(torch.Tensor.detach, (tensor,)), "cpu", dtype))
    return vm.call(torch.tensor, (tensor,), {"dtype": dtype})
