"""Tensors made of nested lists that hold what C code would read: tensors without dimensions (a stack of them), and symbolic
numbers (an operator that knows them)."""

from __future__ import annotations

from typing import Any

import torch
import torch._numpy as tnp
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from alternator.tensors.from_data import MAX_NUMBERS

_NUMBERS = (int, float, bool, complex)
_SYMBOLS = (torch.SymInt, torch.SymFloat)
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


def of_numbers(vm: Any, fn: Any, data: Any, kwargs: dict[str, Any]) -> Any:
    """``torch.tensor(data)`` of a number, or of nested lists of numbers, symbolic ones too; None: it is something else.

    A program may look at the values of a tensor that it makes of sizes. If that is a break, the capture begins anew with
    constants (``capture._reconsider``).
    """
    found: list[Any] = []
    if kwargs.keys() - {"dtype", "device"} or not _are_numbers(vm, data, found):
        return None
    symbols = [number for number in found if type(number) in _SYMBOLS]
    if symbols and not any(free_unbacked_symbols(number) for number in symbols):
        if type(vm.root_state.get("numbers in tensors")) is tuple:
            return None
        vm.states["symbols in tensors"] = True
    plain = _plain(data)
    made = vm.graph_call(torch._refs.tensor if symbols else fn, (plain,), kwargs)
    if (
        made.dtype is torch.int64
        and not made.is_inference()
        and len(found) <= MAX_NUMBERS
        and all(type(number) in (int, torch.SymInt) for number in found)
    ):
        vm.states.setdefault("numbers in tensors", {})[id(made)] = made, made._version, plain
    return made


def _are_numbers(vm: Any, data: Any, found: list[Any]) -> bool:
    if type(data) in (list, tuple, torch.Size):
        return all(_are_numbers(vm, item, found) for item in vm.close(data))
    found.append(data)
    return type(data) in (*_NUMBERS, *_SYMBOLS)


def _plain(data: Any) -> Any:
    return [_plain(item) for item in data] if type(data) in (list, tuple, torch.Size) else data


def numbers_of(vm: Any, tensor: torch.Tensor) -> Any:
    """What a tensor of whole numbers was made of, as long as nobody has written to it; None: that is not known."""
    made, version, data = vm.states.get("numbers in tensors", {}).get(id(tensor), (None, 0, None))
    return _plain(data) if made is tensor and made._version == version else None
