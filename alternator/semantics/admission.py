"""How outside objects enter that are neither containers nor tensors."""

from __future__ import annotations

import collections
import enum
import functools
import re
import types
from typing import Any, cast

import torch

from alternator.interpreter.tables import READABLE
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


_C_METHODS = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType, types.BuiltinFunctionType)


@ADMIT.register(types.BuiltinFunctionType, types.MethodWrapperType, type(re.compile("").sub))
def admit_builtin(world: World, obj: Any, source: Source) -> Any:
    """A function in C is itself; a method that is bound to something is made anew at each read: it is its owner and its name."""
    owner, name = obj.__self__, obj.__name__
    if owner is None or isinstance(owner, (types.ModuleType, type)):
        return world.by_identity(obj, source)
    raw: Any = next((base.__dict__[name] for base in type(owner).__mro__ if name in base.__dict__), None)
    if not isinstance(raw, _C_METHODS):
        return world.by_identity(obj, source)
    source.guard("TYPE", type(obj))
    source.child("attr", "__name__").guard("EQ", name)
    inner = world.admit(owner, source.child("attr", "__self__"))
    made = cast(Any, raw).__get__(inner, type(inner))
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


def _scalar_subclass(base: type) -> None:
    """An instance of a subclass of a builtin scalar: its value in C is guarded by a predicate."""

    def admit(world: World, obj: Any, source: Source) -> Any:
        source.guard("TYPE", type(obj))
        expected = plain(obj)
        source.guard_predicate(lambda value: plain(value) == expected, f"== {expected!r}")
        world.record(obj, source)
        return obj

    def plain(value: Any) -> Any:
        """The value without the subclass, by the base's own code."""
        return cast(Any, base).__getnewargs__(value)[0] if base is not complex else complex.__add__(value, 0)

    ADMIT.register(base)(admit)
    READABLE.put(base, True)


for _scalar in (int, float, complex, str, bytes):
    _scalar_subclass(_scalar)
_kind: Any
for _kind in (re.Pattern, re.Match, type, frozenset, types.GenericAlias, types.UnionType, BaseException, collections.OrderedDict):
    READABLE.put(_kind, True)
for _kind in (
    torch.Generator,
    torch.finfo,
    torch.iinfo,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    functools.partial,
):
    READABLE.put(_kind, True)


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
