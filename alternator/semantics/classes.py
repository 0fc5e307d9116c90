"""Classes: creation inside captured code, and what the library's class helpers mean."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from typing import Any

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.tables import DESCRIPTORS, GETATTR, PURE_TYPES, RULES, SHALLOW
from alternator.provenance.world import MISSING


@RULES.rule(object.__init__)
def object_init(vm: Any, args: Any, kwargs: Any) -> Any:
    return None


@RULES.rule(object.__dict__["__init_subclass__"])
def object_init_subclass(vm: Any, args: Any, kwargs: Any) -> Any:
    if kwargs:
        raise vm.user_raise(TypeError(f"{args[0].__name__}.__init_subclass__() takes no keyword arguments"))


@RULES.rule(object.__new__)
def object_new(vm: Any, args: Any, kwargs: Any) -> Any:
    cls = args[0]
    if cls.__flags__ & 0x200:
        vm.world.trusted(cls)
    return vm.plain(object.__new__, cls)


def _native_new(kind: type) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        vm.close_all(args, kwargs, SHALLOW)
        return vm.native(kind.__new__, args, kwargs or None)

    RULES.put(kind.__new__, rule)


for _kind in (tuple, int, float, str, list, dict, set, frozenset, bytes):
    _native_new(_kind)


def cached_property(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    """``functools.cached_property``: compute once, keep in the instance's dict."""
    vm.world.trusted(raw)
    value = calls.call(vm, attributes.vm_trusted(vm, raw.func), (obj,), {})
    attributes.store_default(vm, obj, raw.attrname, value)
    return value


DESCRIPTORS.put(functools.cached_property, cached_property)


@RULES.rule(dataclasses.fields)
def rule_fields(vm: Any, args: Any, kwargs: Any) -> Any:
    cls = args[0] if isinstance(args[0], type) else type(args[0])
    vm.world.class_attr(cls, "__dataclass_fields__")
    result = vm.plain(dataclasses.fields, cls)
    for field in result:
        vm.world.trusted(field)
    return result


@RULES.rule(dataclasses.is_dataclass)
def rule_is_dataclass(vm: Any, args: Any, kwargs: Any) -> Any:
    cls = args[0] if isinstance(args[0], type) else type(args[0])
    return vm.world.class_attr(cls, "__dataclass_fields__") is not MISSING


def _enum_class_attr(vm: Any, cls: Any, name: str) -> Any:
    """Members of an enumeration are immutable: read natively, guarded by the identity of the class."""
    vm.world.trusted(cls)
    members = cls.__dict__.get("_member_map_", {})
    if name in members:
        vm.world.trusted(members[name])
        return members[name]
    return attributes.load_class(vm, cls, name)


GETATTR.put(enum.EnumMeta, _enum_class_attr)


def _enum_iter(vm: Any, args: Any, kwargs: Any) -> Any:
    members = [args[0]._member_map_[name] for name in args[0]._member_names_]
    for member in members:
        vm.world.trusted(member)
    return iter(members)


RULES.put(enum.EnumMeta.__iter__, _enum_iter)


def _enum_getitem(vm: Any, args: Any, kwargs: Any) -> Any:
    member = vm.plain(lambda: args[0]._member_map_[args[1]])
    vm.world.trusted(member)
    return member


RULES.put(enum.EnumMeta.__getitem__, _enum_getitem)


def _enum_call(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 2 and not kwargs and type(args[1]) in (int, str, float, bool, type(None)):
        member = vm.plain(args[0], args[1])
        vm.world.trusted(member)
        return member
    if len(args) == 2 and isinstance(args[1], args[0]):
        return args[1]
    raise Break("CLASS_CREATION", "an enumeration made while tracing")


RULES.put(enum.EnumMeta.__call__, _enum_call)


def _enum_contains(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(lambda: args[1] in args[0])


RULES.put(enum.EnumMeta.__contains__, _enum_contains)


def enum_value(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    """``member.value`` and ``member.name``: immutable."""
    if obj is None:
        raise Break("UNSUPPORTED_ATTRIBUTE", "an attribute of an enumeration class")
    name = raw.name
    if name in ("value", "name"):
        value = getattr(obj, name)
        if not isinstance(value, (int, str, float, bool, type(None))):
            vm.world.trusted(value)
        return value
    return calls.call(vm, attributes.vm_trusted(vm, raw.fget), (obj,), {})


DESCRIPTORS.put(enum.property, enum_value)
PURE_TYPES.put(types.SimpleNamespace, SHALLOW)
