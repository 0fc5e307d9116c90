"""Classes: creation inside captured code, and what the library's class helpers mean."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

from alternator.interpreter import attributes, calls
from alternator.interpreter.tables import PURE_TYPES, RULES, SHALLOW
from alternator.provenance.world import MISSING, is_heap


@RULES.rule(object.__init__)
def object_init(vm: Any, args: Any, kwargs: Any) -> Any:
    _class_hooks(vm, type(args[0]))
    return vm.plain(lambda: object.__init__(*args, **kwargs))


def _class_hooks(vm: Any, cls: type) -> None:
    """``object`` complains about arguments unless the class defines the other one of the two."""
    for name in ("__new__", "__init__"):
        vm.world.class_attr(cls, name)


@RULES.rule(object.__dict__["__init_subclass__"])
def object_init_subclass(vm: Any, args: Any, kwargs: Any) -> Any:
    if kwargs:
        raise vm.user_raise(TypeError(f"{args[0].__name__}.__init_subclass__() takes no keyword arguments"))


@RULES.rule(object.__new__)
def object_new(vm: Any, args: Any, kwargs: Any) -> Any:
    cls = args[0] if args else None
    if isinstance(cls, type) and is_heap(cls):
        vm.world.trusted(cls)
        calls.no_finalizer(vm, cls)
        _class_hooks(vm, cls)
    return vm.plain(lambda: object.__new__(*args, **kwargs))


def _native_new(kind: type) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        vm.close_all(args, kwargs, SHALLOW)
        return vm.native(kind.__new__, args, kwargs or None)

    RULES.put(kind.__new__, rule)


for _kind in (tuple, int, float, str, list, dict, set, frozenset, bytes):
    _native_new(_kind)


@RULES.rule(dataclasses.fields)
def rule_fields(vm: Any, args: Any, kwargs: Any) -> Any:
    cls = args[0] if issubclass(type(args[0]), type) else type(args[0])
    vm.world.class_attr(cls, "__dataclass_fields__")
    result = vm.plain(dataclasses.fields, cls)
    for field in result:
        vm.world.trusted(field)
    return result


@RULES.rule(dataclasses.is_dataclass)
def rule_is_dataclass(vm: Any, args: Any, kwargs: Any) -> Any:
    cls = args[0] if issubclass(type(args[0]), type) else type(args[0])
    return vm.world.class_attr(cls, "__dataclass_fields__") is not MISSING


PURE_TYPES.put(types.SimpleNamespace, SHALLOW)


@RULES.rule(type.__setattr__)
def type_setattr(vm: Any, args: Any, kwargs: Any) -> Any:
    """What a metaclass's ``__setattr__`` hands on to: a class is as much outside as any object."""
    if not _is_write(args, 3):
        return vm.plain(lambda: type.__setattr__(*args, **kwargs))
    attributes.write_class(vm, *args)


@RULES.rule(type.__delattr__)
def type_delattr(vm: Any, args: Any, kwargs: Any) -> Any:
    if not _is_write(args, 2):
        return vm.plain(lambda: type.__delattr__(*args, **kwargs))
    attributes.write_class(vm, args[0], args[1], MISSING)


def _is_write(args: Any, count: int) -> bool:
    """Whether native code would write, and not complain about what it is given."""
    named = len(args) == count and issubclass(type(args[0]), type) and type(args[1]) is str
    return named and is_heap(args[0])
