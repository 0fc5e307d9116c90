"""Operations on lists of tensors whose factors are a tensor: fakes cannot read those, so they are done one by one."""

from __future__ import annotations

from typing import Any

import torch

from alternator.interpreter import calls
from alternator.interpreter.tables import RULES

_EXACT = (torch.float32, torch.float64)
"""Dtypes that the kernels round as often as the operations that they are made of."""


def _add_quotients(tensors: Any, first: Any, second: Any, factors: Any) -> None:
    """Polyfill of ``torch._foreach_addcdiv_`` with a tensor of factors."""
    for tensor, one, other, factor in zip(tensors, first, second, factors.unbind()):
        tensor.add_(factor * one / other)


def _add_products(tensors: Any, first: Any, second: Any, factors: Any) -> None:
    """Polyfill of ``torch._foreach_addcmul_`` with a tensor of factors."""
    for tensor, one, other, factor in zip(tensors, first, second, factors.unbind()):
        tensor.add_(factor * one * other)


def _one_by_one(fn: Any, polyfill: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if len(args) != 4 or kwargs or not issubclass(type(args[3]), torch.Tensor):
            return vm.graph_call(fn, args, kwargs)
        lists = [vm.close(items) for items in args[:3]]
        tensors = [args[3], *[one for items in lists for one in items]]
        shapes = {len(items) for items in lists} == {1 if not args[3].dim() else args[3].shape[0]}
        if not shapes or args[3].dim() != 1 or {tensor.dtype for tensor in tensors} - {*_EXACT}:
            return vm.graph_call(fn, args, kwargs)
        if len({tensor.dtype for tensor in tensors}) > 1:
            return vm.graph_call(fn, args, kwargs)
        return calls.call(vm, polyfill, args, {})

    RULES.put(fn, rule)


_one_by_one(torch._foreach_addcdiv_, _add_quotients)
_one_by_one(torch._foreach_addcmul_, _add_products)
