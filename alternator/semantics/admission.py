"""How outside objects enter that are neither containers nor tensors."""

from __future__ import annotations

import collections
import enum
import types
from typing import Any

import torch

from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World

ADMIT.constants(torch.dtype, torch.layout, torch.memory_format, torch.device, torch.Size, torch.qscheme)


@ADMIT.register(
    type,
    types.ModuleType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    property,
    staticmethod,
    classmethod,
    enum.Enum,
    torch._ops.OpOverload,
    torch._ops.OpOverloadPacket,
    torch._ops.HigherOrderOperator,
    torch._ops._OpNamespace,
    types.GenericAlias,
)
def by_identity(world: World, obj: Any, source: Source) -> Any:
    return world.by_identity(obj, source)


_BOUND_TO = (list, dict, set, frozenset, tuple, str, bytes, int, float, collections.deque, torch.Tensor)


@ADMIT.register(types.BuiltinFunctionType)
def admit_builtin(world: World, obj: Any, source: Source) -> Any:
    owner = obj.__self__
    if not isinstance(owner, _BOUND_TO):
        return world.by_identity(obj, source)
    inner = world.admit(owner, source.child("attr", "__self__"))
    made = getattr(inner, obj.__name__)
    world.pins.append(made)
    return made


@ADMIT.register(types.FunctionType)
def admit_function(world: World, obj: Any, source: Source) -> Any:
    """A function that hangs on a class or a module is itself; one that is handed in is what its code and closure are."""
    if source.root().access in ("object", "globals"):
        return world.by_identity(obj, source)
    source.guard("TYPE", types.FunctionType)
    world.record(obj, source)
    return obj


@ADMIT.register(int)
def admit_int_subclass(world: World, obj: Any, source: Source) -> Any:
    source.guard("TYPE", type(obj))
    expected = int(obj)
    source.guard_predicate(lambda value: int(value) == expected, f"== {expected}")
    world.record(obj, source)
    return obj


@ADMIT.register(object)
def admit_object(world: World, obj: Any, source: Source) -> Any:
    """Any other object: its class is guarded, its attributes when they are read."""
    source.guard("TYPE", type(obj))
    world.record(obj, source)
    return obj


@ADMIT.numbers
def admit_number(world: World, obj: Any, source: Source) -> Any:
    """An int or a float from outside: a constant, unless it was seen to vary."""
    vm = world.vm
    if vm is not None and not source.static and vm.dynamic.varies(obj, source.name):
        return vm.symbolic_input(obj, source)
    source.guard("EQ", obj)
    return obj
