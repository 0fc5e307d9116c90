"""Operations with a factor beside their tensors (``add_(grad, alpha=-lr)``): done in two steps where it is a number that varies.

AOTAutograd takes such factors for constants: a learning rate that a scheduler changes would make another version in each step.
"""

from __future__ import annotations

from typing import Any

import torch

from alternator.interpreter import calls, tensor_ops
from alternator.interpreter.tables import RULES
from alternator.interpreter.tensor_ops import METHODS, class_attribute

_FEW_BITS = (torch.bfloat16, torch.float16)


def _varies(vm: Any, args: Any, kwargs: Any) -> bool:
    """The factor is a float that varies, and the backend would make it a constant."""
    return type(kwargs.get("alpha")) is torch.SymFloat and len(args) == 2 and vm.recorder.float_in_tensor is not None


def _term(other: Any, alpha: Any) -> Any:
    """Polyfill: a product that is rounded as late as the kernel does it."""
    return (other.float() if other.dtype in _FEW_BITS else other) * alpha


def _add(tensor: Any, other: Any, alpha: Any, subtract: Any) -> Any:
    """Polyfill of ``torch.add`` and ``torch.sub``."""
    total = tensor - _term(other, alpha) if subtract else tensor + _term(other, alpha)
    return total.to(tensor.dtype)


def _add_to(tensor: Any, other: Any, alpha: Any, subtract: Any) -> Any:
    """Polyfill of the methods that do it in place."""
    return tensor.sub_(_term(other, alpha)) if subtract else tensor.add_(_term(other, alpha))


def _add_lists(tensors: Any, others: Any, alpha: Any, subtract: Any) -> Any:
    """Polyfill of ``torch._foreach_add``."""
    return [_add(tensor, other, alpha, subtract) for tensor, other in zip(tensors, others)]


def _add_to_lists(tensors: Any, others: Any, alpha: Any, subtract: Any) -> Any:
    """Polyfill of ``torch._foreach_add_``."""
    for tensor, other in zip(tensors, others):
        _add_to(tensor, other, alpha, subtract)


def _are_alike(values: Any) -> bool:
    """Tensors of one floating type."""
    if not all(issubclass(type(one), torch.Tensor) and one.is_floating_point() for one in values):
        return False
    return len({one.dtype for one in values}) == 1


def _method(name: str, polyfill: Any, subtract: bool) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if kwargs and _varies(vm, args, kwargs) and _are_alike(args):
            return calls.call(vm, polyfill, (*args, kwargs["alpha"], subtract), {})
        return tensor_ops.record_method(vm, name, args, kwargs)

    METHODS.put(class_attribute(torch.Tensor, name), rule)


def _function(fn: Any, polyfill: Any, subtract: bool, lists: bool) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if kwargs and _varies(vm, args, kwargs):
            parts = [vm.close(one) for one in args] if lists else [args]
            if all(type(part) in (list, tuple) for part in parts) and _are_alike([one for part in parts for one in part]):
                return calls.call(vm, polyfill, (*args, kwargs["alpha"], subtract), {})
        return vm.graph_call(fn, args, kwargs)

    RULES.put(fn, rule)


for _name, _subtract in (("add", False), ("sub", True)):
    _method(_name, _add, _subtract)
    _method(f"{_name}_", _add_to, _subtract)
    _function(getattr(torch, _name), _add, _subtract, False)
    _function(getattr(torch, f"_foreach_{_name}"), _add_lists, _subtract, True)
    _function(getattr(torch, f"_foreach_{_name}_"), _add_to_lists, _subtract, True)
