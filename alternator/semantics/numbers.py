"""Attributes of numbers that vary: those that numbers of Python have are read of the number as it is, with a guard.

The symbolic types have methods of the same names, which answer to more types of operands (``int.__sub__`` has nothing to say
about a float), and lack others.
"""

from __future__ import annotations

from typing import Any

import torch

from alternator.interpreter import attributes
from alternator.interpreter.identity import hashable
from alternator.interpreter.tables import GETATTR, RULES

_VISIBLE: dict[type, type] = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}


def _number_attr(vm: Any, value: Any, name: str) -> Any:
    kind = _VISIBLE[type(value)]
    if name == "__class__":
        return kind
    if name == "real" and kind is not bool:
        return value
    if not hasattr(kind, name) or RULES.get(getattr(type(value), name, None)) is not None:
        if hasattr(value, name):  # what library code asks for
            return attributes.load_ordinary(vm, value, name)
        raise vm.user_raise(AttributeError(f"'{kind.__name__}' object has no attribute '{name}'", name=name, obj=value))
    return attributes.load(vm, hashable(vm, value), name)


for _kind in _VISIBLE:
    GETATTR.put(_kind, _number_attr)
