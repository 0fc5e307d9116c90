"""Schemas of operators: an operator is guarded by its identity, and what its schema says never changes."""

from __future__ import annotations

from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter.tables import GETATTR
from alternator.provenance.world import SCALARS

_SAYS = {
    torch._C.FunctionSchema: frozenset({"name", "overload_name", "is_mutable", "arguments", "returns"}),
    torch._C.Argument: frozenset({"name", "N", "default_value", "is_write", "is_out", "kwarg_only", "type", "real_type"}),
}


def schema_attr(vm: Any, obj: Any, name: str) -> Any:
    """A constant, or what is made anew at each look: a list, an argument, a type."""
    if name not in _SAYS[type(obj)]:
        raise Break("UNSUPPORTED_ATTRIBUTE", f"{name} of a {type(obj).__name__}")
    value = vm.plain(getattr, obj, name)
    if type(value) not in SCALARS and type(value) is not list and not issubclass(type(value), torch._C.Type):
        raise Break("UNSUPPORTED_ATTRIBUTE", f"{name} of a {type(obj).__name__}, which is a {type(value).__name__}")
    return value


for _kind in _SAYS:
    GETATTR.put(_kind, schema_attr)
