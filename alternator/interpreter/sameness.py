"""``left is right``."""

from __future__ import annotations

import operator
from typing import Any

import torch

from alternator.exc import Break
from alternator.tensors.graph import SYMBOLIC

_SMALL = -5, 256
"""CPython has one object for each of the ints from here to there."""


def same(vm: Any, left: Any, right: Any) -> bool:
    """``left is right``, with the guard that keeps two outside objects apart."""
    if left is right:
        return True
    if issubclass(type(left), SYMBOLIC) or issubclass(type(right), SYMBOLIC):
        return _same_number(vm, left, right)
    first, second = vm.records.get(id(left)), vm.records.get(id(right))
    if first is not None and second is not None and "IS" not in first.source.guards and "IS" not in second.source.guards:
        vm.world.tree.tail.append(("DISTINCT", (first.source.want(), second.source.want())))
    elif first is not None and second is not None and type(first.obj) is type(second.obj):
        for rec in (first, second):
            if "IS" not in rec.source.guards:
                vm.world.tree.tail.append(("DISTINCT", (first.source.want(), second.source.want())))
                break
    return False


def _same_number(vm: Any, left: Any, right: Any) -> bool:
    """``left is right`` where a symbol stands for one of them: objects that are equal may be two."""
    kind = _shown(left)
    if kind is not _shown(right):
        return False
    if kind is bool:
        return vm.truth(left) is vm.truth(right)
    if not vm.truth(vm.symbolic(operator.eq, left, right)):
        return False
    if kind is int and all(vm.truth(vm.symbolic(fn, left, end)) for fn, end in zip((operator.ge, operator.le), _SMALL)):
        return True
    raise Break("DATA_DEPENDENT_VALUE", "whether two equal numbers are the same object")


def _shown(value: Any) -> type:
    """The type that the program sees."""
    kind = type(value)
    return int if kind is torch.SymInt else float if kind is torch.SymFloat else bool if kind is torch.SymBool else kind
