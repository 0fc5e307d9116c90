"""How outside objects enter that are neither containers nor tensors."""

from __future__ import annotations

import collections
import contextvars
import enum
import functools
import operator
import re
import types
from typing import Any, cast

import torch

from alternator.exc import Break
from alternator.interpreter.identity import descriptor_of
from alternator.interpreter.tables import CODES, IN_GRAPH, PURE, READABLE, RULES
from alternator.provenance import storage
from alternator.provenance.source import Source, worded
from alternator.provenance.storage import exception_args
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
    torch._C.FunctionSchema,
    torch._C.DispatchKey,
    torch.Tag,
    types.GenericAlias,
    types.UnionType,
    re.Pattern,
    re.Match,
    type(functools.lru_cache(lambda: None)),
)
def by_identity(world: World, obj: Any, source: Source) -> Any:
    return world.by_identity(obj, source)


@ADMIT.register(types.BuiltinFunctionType, types.MethodWrapperType, type(re.compile("").sub))
def admit_builtin(world: World, obj: Any, source: Source) -> Any:
    """A function in C is itself; a method that is bound to something is made anew at each read: it is its owner and its name."""
    owner, name = obj.__self__, obj.__name__
    if owner is None or issubclass(type(owner), (types.ModuleType, type)):
        return world.by_identity(obj, source)
    raw = descriptor_of(obj, owner)
    if raw is None:
        return world.by_identity(obj, source)
    source.guard("TYPE", type(obj))
    source.child("attr", "__name__").guard("EQ", name)
    if sum(name in base.__dict__ for base in type(owner).__mro__) > 1:
        source.child("call", _descriptor).guard("IS", raw)
    inner = world.admit(owner, source.child("attr", "__self__"))
    if not isinstance(inner, getattr(raw, "__objclass__", object)):
        raise Break("UNSUPPORTED_TYPE", f"{name} of a {type(owner).__name__} from outside")
    made = cast(Any, raw).__get__(inner, type(inner))
    world.record(obj, source, made)
    return made


@worded("{}")
def _descriptor(method: Any) -> Any:
    return descriptor_of(method, method.__self__)


@ADMIT.register(types.FunctionType)
def admit_function(world: World, obj: Any, source: Source) -> Any:
    """A named function of a module or a class is itself, and so is one that the tracer knows; another one, handed in or made at
    run time, is what its code and closure are."""
    if _is_known(obj) or source.root().access in ("object", "globals") and not _made_at_run_time(obj):
        return world.by_identity(obj, source)
    source.guard("TYPE", types.FunctionType)
    world.record(obj, source)
    return obj


def _is_known(fn: types.FunctionType) -> bool:
    """A call of it is more than its code, or its attributes say so."""
    return (
        RULES.get(fn) is not None
        or fn in IN_GRAPH
        or CODES.get(fn.__code__) is not None
        or bool(fn.__dict__.keys() - {"__wrapped__"})
    )


def _made_at_run_time(fn: types.FunctionType) -> bool:
    """A lambda or an inner function: there may be many of the same code."""
    return fn.__closure__ is not None or "<" in fn.__qualname__


@ADMIT.register(slice)
def admit_slice(world: World, obj: Any, source: Source) -> Any:
    """Its three parts."""
    source.guard("TYPE", slice)
    made = slice(*(world.admit(getattr(obj, name), source.child("attr", name)) for name in ("start", "stop", "step")))
    world.record(obj, source, made)
    return made


@ADMIT.register(operator.itemgetter, operator.attrgetter, operator.methodcaller)
def admit_getter(world: World, obj: Any, source: Source) -> Any:
    """What it was made from; where that is more than constants, it is itself."""
    made_from = _made_from(obj)
    if not _is_value(made_from):
        return world.by_identity(obj, source)
    source.guard("TYPE", type(obj))
    source.child("call", _made_from).guard("EQ", made_from)
    world.record(obj, source)
    return obj


@worded("(what {} was made of)")
def _made_from(obj: Any) -> Any:
    made, given = obj.__reduce__()
    if issubclass(type(made), functools.partial):  # a methodcaller with keywords
        return made.args, tuple(made.keywords.items()), given
    return (given,)


def _is_value(value: Any) -> bool:
    return ADMIT.is_constant(type(value)) or type(value) is tuple and all(map(_is_value, value))


@ADMIT.register(torch.finfo, torch.iinfo)
def admit_type_info(world: World, obj: Any, source: Source) -> Any:
    """Its class and the dtype say it all."""
    source.guard("TYPE", type(obj))
    source.child("attr", "dtype").guard("EQ", obj.dtype)
    world.record(obj, source)
    return obj


@ADMIT.register(BaseException)
def admit_exception(world: World, obj: Any, source: Source) -> Any:
    """Its arguments are read when it enters: native code that shows or compares it reads them unseen."""
    source.guard("TYPE", type(obj))
    world.record(obj, source)
    if not issubclass(type(obj), _MORE_THAN_ARGUMENTS):
        world.vm.close(world.admit(exception_args(obj), source.child("call", exception_args)))
    if issubclass(type(obj), BaseExceptionGroup):
        for read in (storage.group_message, storage.group_exceptions):
            world.vm.close(world.admit(read(obj), source.child("call", read)))
    return obj


_MORE_THAN_ARGUMENTS = (OSError, SyntaxError, UnicodeError, ImportError)


def _scalar_subclass(base: type) -> None:
    """An instance of a subclass of a builtin scalar: its value in C is guarded."""

    def admit(world: World, obj: Any, source: Source) -> Any:
        source.guard("TYPE", type(obj))
        source.guard("VALUE", plain(obj))
        world.record(obj, source)
        return obj

    def plain(value: Any) -> Any:
        """The value without the subclass, by the base's own code."""
        return base(*cast(Any, base).__getnewargs__(value))

    ADMIT.register(base)(admit)
    READABLE.put(base, True)


for _scalar in (int, float, complex, str, bytes):
    _scalar_subclass(_scalar)
_kind: Any
for _kind in (re.Pattern, re.Match, type, frozenset, types.GenericAlias, types.UnionType, collections.OrderedDict, slice):
    READABLE.put(_kind, True)
for _kind in (
    operator.itemgetter,
    operator.attrgetter,
    operator.methodcaller,
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
    """Any other object: its class is guarded, its attributes when they are read; what the tracer knows by identity is itself."""
    if RULES.get(obj) is not None or obj in IN_GRAPH or PURE.get(obj) is not None:
        return world.by_identity(obj, source)
    source.guard("TYPE", type(obj))
    world.record(obj, source)
    return obj


@ADMIT.numbers
def admit_number(world: World, obj: Any, source: Source) -> Any:
    """An int or a float from outside: a constant, unless it was seen to vary."""
    vm = world.vm
    if vm is not None and may_vary(source) and vm.dynamic.varies(obj, source.name, source.static):
        return vm.symbolic_input(obj, source)
    source.guard("EQ", obj)
    return obj


def may_vary(source: Source) -> bool:
    """Below an argument, a module, a global or a closure variable; numbers of classes and functions are constants."""
    if source.static is not True:
        return True
    while source.parent is not None:
        if source.access in ("typeattr", "func"):
            return False
        source = source.parent
    return source.access != "object" or type(source.key) in (types.ModuleType, contextvars.ContextVar)
