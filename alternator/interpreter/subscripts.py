"""Subscripts of tensors with numbers that vary: torch's own would take each for a constant."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.interpreter import assertions, tensor_ops
from alternator.provenance.world import MISSING

_BASIC = frozenset({int, torch.SymInt, slice, type(None), type(Ellipsis)})


def select_numbers(vm: Any, tensor: torch.Tensor, key: Any) -> tuple[torch.Tensor, Any]:
    """A view that has been selected from by the symbolic numbers of a subscript, and what is left of that; MISSING: nothing.

    What torch would refuse, in words of its own, or takes by another rule than the single subscripts', is left as it is.
    """
    items = key if type(key) is tuple else (key,)
    if torch.SymInt not in map(type, items) or not all(type(item) in _BASIC or _are_places(vm, item) for item in items):
        return tensor, key
    taken = sum(item is not None and item is not Ellipsis for item in items)
    if taken > tensor.dim() or sum(item is Ellipsis for item in items) > 1:
        return tensor, key
    dim, numbers = 0, []
    kept = [item for item in items if item is not Ellipsis or tensor.dim() > taken]
    if any(one is None and type(other) is torch.SymInt for one, other in zip(kept, kept[1:])):
        return tensor, key  # the stride of a new dimension is that of the one behind it, which would be gone
    for item in items:
        if type(item) is torch.SymInt:
            if not _is_within(vm, item, tensor.shape[dim]):
                return tensor, key
            numbers.append((dim, item))
        dim += tensor.dim() - taken if item is Ellipsis else item is not None
    for dim, item in reversed(numbers):
        tensor = tensor_ops.call(vm, torch.select, (tensor, dim, item), {})
    left = tuple([item for item in items if type(item) is not torch.SymInt])
    return tensor, MISSING if all(map(_takes_all, left)) else left


def _are_places(vm: Any, item: Any) -> bool:
    """A tensor or list of places in one dimension, no mask, which torch looks up in what the numbers beside it have selected."""
    if type(item) is FakeTensor:
        return item.dim() > 0 and item.dtype in (torch.int32, torch.int64)
    return type(item) is list and id(item) not in vm.records and bool(item) and all(type(one) is int for one in item)


def _is_within(vm: Any, number: Any, size: Any) -> bool:
    """Whether there is such an item; the graph finds out where nobody else can tell."""
    for condition in (vm.symbolic(operator.lt, number, size), vm.symbolic(operator.ge, number, vm.symbolic(operator.neg, size))):
        if not assertions.is_unbacked(condition) and not vm.truth(condition):
            return False
    return True


def _takes_all(item: Any) -> bool:
    return item is Ellipsis or type(item) is slice and item.start is item.stop is item.step is None
