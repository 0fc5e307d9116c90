"""``list[int]``, ``Tuple[T, ...]``, ``A | B``: expressions of types.

They are made for real, by ``typing`` itself, whose caches say which of them are one object.  What leaves is made again as the
program made it: of the classes and type variables that leave, and as the same object that the caches hold for these.
"""

from __future__ import annotations

import types
import typing
from typing import Any

from alternator.exc import Break
from alternator.interpreter import operations
from alternator.interpreter.tables import DEEP, REBUILD, RULES, SUBCLASSES
from alternator.provenance.world import MISSING, class_space


def _subscript(vm: Any, args: Any, kwargs: Any) -> Any:
    vm.close_all(args, None, DEEP)
    return operations.subscribed(vm, *args)


_kind: Any
for _name in ("SpecialForm", "SpecialGenericAlias", "GenericAlias", "LiteralSpecialForm", "CallableType", "TupleType"):
    _getter = vars(getattr(typing, f"_{_name}")).get("__getitem__")
    if isinstance(_getter, types.FunctionType) and _getter not in RULES:
        RULES.put(_getter, _subscript)
for _kind in (typing.Generic, typing.Annotated):
    RULES.put(vars(_kind)["__class_getitem__"].__func__, _subscript)


@RULES.rule(typing._collect_parameters)  # type: ignore[attr-defined]
def collect_parameters(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(typing._collect_parameters, *args)  # type: ignore[attr-defined]


def _parts(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    for value in (*args, *kwargs.values()):
        rec = vm.records.get(id(value))
        if rec is not None and rec.obj is value:  # what it is made of is its own; typing's caches make equal ones one object
            rec.source.guard("IS", value)
    return vm.plain(lambda: fn(*args, **kwargs))


for _fn in (typing.get_origin, typing.get_args):
    RULES.put(_fn, lambda vm, args, kwargs, fn=_fn: _parts(vm, fn, args, kwargs))


# ---- what leaves


def _subscribed_again(b: Any, value: Any) -> str:
    """The expression as the program wrote it; "" if it did not write one."""
    made, obj, key = b.vm.states.get(("subscript", id(value)), (MISSING, None, None))
    return b.assign(f"{b.value(obj)}[{b.value(key)}]") if made is value else ""


def _rebuild_alias(b: Any, value: Any) -> str:
    return _subscribed_again(b, value) or SUBCLASSES.get(object)(b, value)


for _kind in list(vars(typing).values()):
    if isinstance(_kind, type) and issubclass(_kind, typing._GenericAlias):  # type: ignore[attr-defined]
        REBUILD.put(_kind, _rebuild_alias)


@REBUILD.rule(types.GenericAlias)
def rebuild_generic_alias(b: Any, value: Any) -> str:
    name = _subscribed_again(b, value)
    if name:
        return name
    name = b.assign(f"{b.constant(types.GenericAlias, 'alias')}({b.value(value.__origin__)}, {b.value(value.__args__)})")
    return b.assign(f"next(iter({name}))") if value.__unpacked__ else name


@REBUILD.rule(types.UnionType)
def rebuild_union(b: Any, value: types.UnionType) -> str:
    first, *others = value.__args__
    kind, name = type if issubclass(type(first), type) else type(first), b.value(first)
    for other in others:
        join = class_space(kind).get("__or__")
        if type(join) is not types.WrapperDescriptorType:
            raise Break("UNREBUILDABLE_OUTPUT", f"a union of a {kind.__name__}")
        name = b.assign(f"{b.constant(join, 'union')}({name}, {b.value(other)})")
        kind = types.UnionType
    return name
