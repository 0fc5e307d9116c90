"""``id()`` and ``hash()``: what they mean for values that only exist while tracing."""

from __future__ import annotations

import _thread
import types
import weakref
from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.identity import METHODS, TracedId, hashable, known
from alternator.interpreter.tables import DEEP, GETATTR, REBUILD, RULES
from alternator.tensors.graph import EXACT, SYMBOLIC

_HELD = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
"""What is held by identity wherever it comes from."""


@RULES.rule(id)
def rule_id(vm: Any, args: Any, kwargs: Any) -> Any:
    rec = vm.records.get(id(args[0]))
    if rec is not None and not issubclass(type(rec.obj), _HELD):
        vm.compare(args[0])
        return TracedId(id(rec.obj), rec)
    if rec is not None:
        rec.source.guard("IS", rec.obj)
        return id(rec.obj)
    if type(args[0]) in (type(None), bool, type) and not vm.world.is_made(args[0]):
        return id(args[0])
    return TracedId(id(args[0]))


def _in_digits(fn: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        return calls.run_pure(vm, fn, DEEP, tuple(known(fn.__name__, *args)), kwargs)

    RULES.put(fn, rule)


for _fn in (hex, oct, bin):
    _in_digits(_fn)

for _method in METHODS:  # real code of ours
    RULES.put(_method, lambda vm, args, kwargs, method=_method: vm.plain(lambda: method(*args, **kwargs)))


@RULES.rule(torch.Tensor.__hash__)
def rule_hash_of_tensor(vm: Any, args: Any, kwargs: Any) -> Any:
    vm.compare(args[0])
    return TracedId(id(args[0]))


@RULES.rule(hash)
def rule_hash(vm: Any, args: Any, kwargs: Any) -> Any:
    value = args[0]
    kind = type(value)
    if issubclass(type(value), torch.Tensor):
        raise Break("IDENTITY", "hash() of a tensor")
    if issubclass(type(value), SYMBOLIC):
        return hash(hashable(vm, value))
    found = vm.world.class_attr(kind, "__hash__")
    if type(found) is types.FunctionType:
        return calls.call(vm, found, (value,), {})
    if found is object.__hash__:
        rec = vm.records.get(id(value))
        if rec is not None:
            rec.source.guard("IS", rec.obj)
            return object.__hash__(rec.obj)
        return object.__hash__(value) if type(rule_id(vm, args, kwargs)) is int else TracedId(object.__hash__(value))
    if kind is weakref.ref and id(value) not in vm.records:
        return _hash_of_reference(vm, value)
    result = calls.run_pure(vm, hash, DEEP, (hashable(vm, value),), kwargs)
    return TracedId(result) if _holds_address(vm, value) else result


def _hash_of_reference(vm: Any, ref: Any) -> Any:
    """It asks what it refers to for the hash once, and remembers that for when the other has died."""
    key = "hashed weakref", id(ref)
    if key not in vm.states:
        referent = calls.call(vm, ref, (), {})
        if referent is None:
            return vm.plain(hash, ref)
        vm.states[key] = ref, rule_hash(vm, (referent,), {})
    return vm.states[key][1]


def _holds_address(vm: Any, value: Any) -> bool:
    """Whether the hash of the tuple or frozenset goes by where something lies that exists only while it is traced."""
    if type(value) in (tuple, frozenset):
        return any(_holds_address(vm, item) for item in value)
    if type(value) is TracedId:
        return True
    found = vm.world.class_attr(type(value), "__hash__")
    return id(value) in vm.hashed_by_address or found is object.__hash__ and id(value) not in vm.records


@RULES.rule(_thread.get_ident)
def rule_get_ident(vm: Any, args: Any, kwargs: Any) -> Any:
    """The thread, as a part of keys; it cannot be looked at."""
    return TracedId(_thread.get_ident())


def _rebuild_id(builder: Any, value: Any) -> Any:
    if value.rec is None:
        raise Break("IDENTITY", "id() of a value that only exists while tracing leaves the captured code")
    return repr(value.settle())


def _load(vm: Any, value: Any, name: str) -> Any:
    """An attribute says what the number is, but for those that compare it."""
    return attributes.load(vm, value.settle(), name) if name in _OF_WHOSE else attributes.load(vm, known(name, value)[0], name)


_OF_WHOSE = ("__class__", "__eq__", "__ne__", "__hash__")

GETATTR.put(TracedId, _load)
REBUILD.put(TracedId, _rebuild_id)
EXACT[TracedId] = lambda value: known("a graph", value)[0]
attributes.show_as(TracedId, int)
