"""Enumerations: members of those from outside are immutable; those that captured code makes are made natively."""

from __future__ import annotations

import enum
import types
from typing import Any

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.tables import DESCRIPTORS, GETATTR, RULES
from alternator.provenance.world import ADMIT, MISSING, is_heap

_HOOKS = ("__new__", "_new_member_", "__init__", "__init_subclass__", "_missing_", "_generate_next_value_", "_ignore_")


def _trust(vm: Any, member: Any) -> None:
    """A member that was found in an enumeration: one from outside, or one of the program's own (flags make more as they go)."""
    if vm.world.is_made(type(member)):
        vm.world.note_made(member)
    else:
        vm.world.trusted(member)


def _class_attr(vm: Any, cls: Any, name: str) -> Any:
    """Members of an enumeration are immutable: read natively, guarded by the identity of the class."""
    vm.world.trusted(cls)
    members = cls.__dict__.get("_member_map_", {})
    if name in members:
        _trust(vm, members[name])
        return members[name]
    return attributes.load_class(vm, cls, name)


GETATTR.put(enum.EnumMeta, _class_attr)


@RULES.rule(enum.EnumMeta.__iter__)
def iterate(vm: Any, args: Any, kwargs: Any) -> Any:
    members = [args[0]._member_map_[name] for name in args[0]._member_names_]
    for member in members:
        _trust(vm, member)
    return iter(members)


@RULES.rule(enum.EnumMeta.__getitem__)
def get_item(vm: Any, args: Any, kwargs: Any) -> Any:
    member = vm.plain(lambda: args[0]._member_map_[args[1]])
    _trust(vm, member)
    return member


@RULES.rule(enum.EnumMeta.__call__)
def call(vm: Any, args: Any, kwargs: Any) -> Any:
    """A member by its value, or a new enumeration."""
    cls = args[0]
    if len(args) == 2 and not kwargs:
        if type(args[1]) in (int, str, float, bool, type(None)):
            if args[1] not in cls._value2member_map_ and cls._missing_.__func__.__module__ != "enum":
                raise Break("CLASS_CREATION", f"a member that {cls.__name__}._missing_ makes")
            member = vm.plain(cls, args[1])
            _trust(vm, member)
            return member
        if isinstance(args[1], cls):
            return args[1]
    elif len(args) == 3 and not cls._member_map_ and "module" not in kwargs:
        return _from_names(vm, cls, args[1:], kwargs)
    raise Break("CLASS_CREATION", "an enumeration made while tracing")


def _from_names(vm: Any, cls: Any, args: Any, kwargs: Any) -> Any:
    vm.close_all(args, kwargs, 2)
    _refuse_hooks(vm, cls.__mro__)
    module = vm.load_global_or(vm.frame.func, "__name__", None)
    made = vm.plain(lambda: cls(*args, module=module, **kwargs))
    return _note(vm, made)


@RULES.rule(enum.EnumMeta.__contains__)
def contains(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 2 and issubclass(type(args[1]), enum.Enum):
        return vm.plain(lambda: args[1] in args[0])
    return calls.inline(vm, attributes.vm_trusted(vm, _CONTAINS), args, kwargs)  # it may warn


def value_or_name(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    """``member.value`` and ``member.name``: immutable."""
    if obj is None:
        raise Break("UNSUPPORTED_ATTRIBUTE", "an attribute of an enumeration class")
    name = raw.name
    if name in ("value", "name"):
        value = getattr(obj, name)
        if not issubclass(type(value), (int, str, float, bool, type(None))) and not vm.world.is_made(type(obj)):
            vm.world.trusted(value)
        return value
    return calls.call(vm, attributes.vm_trusted(vm, raw.fget), (obj,), {})


_CONTAINS: Any = enum.EnumMeta.__contains__
DESCRIPTORS.put(enum.property, value_or_name)


# ---- the class statement


class Body(dict[str, Any]):
    """The namespace of an enumeration's class statement: enum's own, which is given nothing that would run the program's code."""

    def __init__(self, vm: Any, meta: Any, name: str, bases: Any, kwargs: Any) -> None:
        super().__init__()
        if meta is not enum.EnumMeta:
            raise Break("CLASS_CREATION", f"enumeration {name} of the metaclass {meta.__name__}")
        _refuse_hooks(vm, [base for cls in bases for base in cls.__mro__])
        self.vm = vm
        self.inner: Any = vm.plain(lambda: meta.__prepare__(name, bases, **kwargs))

    def __setitem__(self, key: str, value: Any) -> None:
        if key in _HOOKS or type(value) not in _MEMBERLESS and not _is_plain(value) and not key.startswith("__"):
            raise Break("CLASS_CREATION", f"an enumeration with {key}, which is no constant")
        self.vm.plain(self.inner.__setitem__, key, value)
        super().__setitem__(key, self.inner[key])

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __delitem__(self, key: str) -> None:
        raise Break("CLASS_CREATION", "an enumeration that deletes a name")


def build(vm: Any, meta: Any, name: str, bases: Any, body: Body, kwargs: Any) -> Any:
    """An enumeration with this body."""
    return _note(vm, vm.plain(lambda: meta(name, bases, body.inner, **kwargs)))


_MEMBERLESS = frozenset({types.FunctionType, property, classmethod, staticmethod})


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return ADMIT.is_constant(kind) or kind is enum.auto or kind is tuple and all(map(_is_plain, value))


def _refuse_hooks(vm: Any, classes: Any) -> None:
    """Making a class on top of these must not run functions of the program, which nobody would follow."""
    for cls in classes:
        if is_heap(cls):
            vm.world.trusted(cls)
            for hook in _HOOKS:
                fn = vars(cls).get(hook)
                fn = getattr(fn, "__func__", fn)
                if type(fn) is types.FunctionType and fn.__module__ != "enum":
                    raise Break("CLASS_CREATION", f"an enumeration on top of {cls.__name__}, which defines {hook}")


def _note(vm: Any, made: Any) -> Any:
    vm.ticks += 1
    vm.world.note_made(made)
    for value in vars(made).values():
        if not ADMIT.is_constant(type(value)):
            vm.world.note_made(value)
    for member in made._member_map_.values():
        vm.world.note_made(member)
    return made


__all__ = ["MISSING"]
