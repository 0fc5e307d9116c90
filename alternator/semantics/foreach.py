"""Operations on lists of tensors whose factors are a tensor: fakes cannot read those, so they are done one by one."""

from __future__ import annotations

from typing import Any

import torch

from alternator.interpreter import calls
from alternator.interpreter.tables import RULES

_WIDE = (torch.float32, torch.float64)
"""Dtypes that the kernels round as often as the operations that they are made of; others are rounded once, at the end."""


def _add_quotients(tensors: Any, first: Any, second: Any, factors: Any) -> None:
    """Polyfill of ``torch._foreach_addcdiv_`` with tensors as factors."""
    for tensor, one, other, factor in zip(tensors, first, second, factors):
        if tensor.dtype in _WIDE:
            tensor.add_(factor * one / other)
        else:
            tensor.copy_(tensor.float() + factor * one.float() / other.float())


def _add_products(tensors: Any, first: Any, second: Any, factors: Any) -> None:
    """Polyfill of ``torch._foreach_addcmul_`` with tensors as factors."""
    for tensor, one, other, factor in zip(tensors, first, second, factors):
        if tensor.dtype in _WIDE:
            tensor.add_(factor * one * other)
        else:
            tensor.copy_(tensor.float() + factor * one.float() * other.float())


def _one_by_one(fn: Any, polyfill: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        factors = _factors(vm, args[3]) if len(args) == 4 and not kwargs else None
        if factors is None:
            return vm.graph_call(fn, args, kwargs)
        lists = [vm.close(items) for items in args[:3]]
        tensors = [one for items in lists for one in items]
        if {len(items) for items in lists} != {len(factors)} or any(not _is_real(one) for one in (*tensors, *factors)):
            return vm.graph_call(fn, args, kwargs)
        if len({tensor.dtype for tensor in tensors}) > 1:
            return vm.graph_call(fn, args, kwargs)
        return calls.call(vm, polyfill, (*args[:3], factors), {})

    RULES.put(fn, rule)


def _powers(base: Any, exponents: Any) -> Any:
    """Polyfill of ``torch._foreach_pow`` of a number in a tensor."""
    return tuple([torch.pow(base.to(exponent.dtype), exponent) for exponent in exponents])


@RULES.rule(torch._foreach_pow)
def rule_powers(vm: Any, args: Any, kwargs: Any) -> Any:
    """The kernel reads the base, if it is in a tensor, as a number, which has no say in the dtype of the result."""
    base: Any = args[0] if args else None
    if (
        _is_real(base)
        and not base.dim()
        and not base.requires_grad
        and len(args) == 2
        and not kwargs
        and type(args[1]) in (list, tuple)
    ):
        if all(_is_real(exponent) for exponent in vm.close(args[1])):
            return calls.call(vm, _powers, args, {})
    return vm.graph_call(torch._foreach_pow, args, kwargs)


def _factors(vm: Any, given: Any) -> list[torch.Tensor] | None:
    """The factors one by one, if they are tensors: a list of numbers in tensors (which optimizers make where they are compiled,
    and no kernel takes), or a tensor of one dimension."""
    if issubclass(type(given), torch.Tensor):
        return list(vm.call(torch.Tensor.unbind, (given,))) if given.dim() == 1 else None
    if type(given) not in (list, tuple):
        return None
    items = list(vm.close(given))
    made = all(issubclass(type(one), torch.Tensor) and not one.dim() and id(one) not in vm.records for one in items)
    return items if made else None


def _is_real(tensor: Any) -> bool:
    return issubclass(type(tensor), torch.Tensor) and tensor.dtype.is_floating_point


_one_by_one(torch._foreach_addcdiv_, _add_quotients)
_one_by_one(torch._foreach_addcmul_, _add_products)
