"""Numbers that vary: their extremes, sums and attributes.

What attributes numbers of Python have is read of the number as it is, with a guard.
The symbolic types have methods of the same names, which answer to more types of operands (``int.__sub__`` has nothing to say
about a float), and lack others.
"""

from __future__ import annotations

import operator
from typing import Any

import torch

from alternator.interpreter import attributes, calls, operations
from alternator.interpreter.identity import hashable
from alternator.interpreter.tables import DEEP, GETATTR, RULES
from alternator.tensors.graph import SYMBOLIC

_VISIBLE: dict[type, type] = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}


def _number_attr(vm: Any, value: Any, name: str) -> Any:
    kind = _VISIBLE[type(value)]
    if name == "__class__":
        return kind
    if name == "real" and kind is not bool:
        return value
    own = getattr(type(value), name, None)
    if not hasattr(kind, name) or RULES.get(own) is not None and own is not getattr(object, name, None):
        if hasattr(value, name):  # what library code asks for
            return attributes.load_ordinary(vm, value, name)
        raise vm.user_raise(AttributeError(f"'{kind.__name__}' object has no attribute '{name}'", name=name, obj=value))
    return attributes.load(vm, hashable(vm, value), name)


for _kind in _VISIBLE:
    GETATTR.put(_kind, _number_attr)


def _extreme(fn: Any, symbolic: Any) -> Any:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        items = args if len(args) > 1 else operations.unpack(vm, args[0])
        if (
            not kwargs
            and items
            and any(issubclass(type(a), SYMBOLIC) for a in items)
            and any(all(type(a) in kinds for a in items) for kinds in _ALIKE)
        ):
            result = items[0]
            for item in items[1:]:
                result = vm.symbolic(symbolic, result, item)
            return result
        if len(args) == 1:
            args = (list(items),)
        return calls.run_pure(vm, fn, DEEP, args, kwargs)

    return rule


_ALIKE = ((int, torch.SymInt), (float, torch.SymFloat))
"""Among numbers of one kind an extreme may stay open; else which of them it is decides on the type of the result."""

RULES.put(max, _extreme(max, torch.sym_max))
RULES.put(min, _extreme(min, torch.sym_min))


@RULES.rule(sum)
def rule_sum(vm: Any, args: Any, kwargs: Any) -> Any:
    total = args[1] if len(args) > 1 else kwargs.get("start", 0)
    if issubclass(type(total), (str, bytes, bytearray)):
        vm.plain(sum, (), total)  # refuses to start with it
    for item in operations.unpack(vm, args[0]):
        total = operations.binary(vm, operator.add, total, item)
    return total
