"""The standard library: which native functions are pure, and rules for those that are not simply run."""

from __future__ import annotations

import _string
import bisect
import builtins
import collections
import functools
import heapq
import itertools
import operator
import os
import re
import struct
import sys
import traceback
import types
import typing
from typing import Any, cast

import torch

from alternator.exc import Break
from alternator.interpreter import attributes, calls, operations
from alternator.interpreter.collecting import length_hint
from alternator.interpreter.opcodes.exceptions import traceback_of
from alternator.interpreter.tables import (
    CODES,
    DEEP,
    GETATTR,
    GETTERS,
    NOTHING,
    PURE,
    PURE_TYPES,
    RULES,
    SHALLOW,
)
from alternator.provenance.storage import context_of
from alternator.provenance.world import MISSING

# ---- pure native types and functions

for _name in (
    "accumulate",
    "chain",
    "combinations",
    "combinations_with_replacement",
    "compress",
    "count",
    "cycle",
    "dropwhile",
    "filterfalse",
    "groupby",
    "islice",
    "pairwise",
    "permutations",
    "product",
    "repeat",
    "starmap",
    "takewhile",
    "zip_longest",
):
    _kind = getattr(itertools, _name)
    PURE_TYPES.put(_kind, SHALLOW)

    def _itertool(vm: Any, args: Any, kwargs: Any, kind: Any = _kind) -> Any:
        if kind in (itertools.repeat, itertools.count):  # what they give is what they were given
            return vm.native(kind, args, kwargs or None)
        iterables = [n != _FUNCTION_AT.get(kind) and _iterable(a) for n, a in enumerate(args)]
        made = tuple(
            operations.iterate(vm, a) if n else calls.as_python(a) if callable(a) else a for n, a in zip(iterables, args)
        )
        named = {name: calls.as_python(value) if callable(value) else value for name, value in kwargs.items()}
        return vm.native(kind, made, named or None)

    RULES.put(_kind, _itertool)


def _iterable(value: Any) -> bool:
    return hasattr(type(value), "__iter__") and type(value) not in (str, bytes)


_FUNCTION_AT = {
    itertools.accumulate: 1,
    itertools.groupby: 1,
    itertools.dropwhile: 0,
    itertools.filterfalse: 0,
    itertools.starmap: 0,
    itertools.takewhile: 0,
}
"""Which of their arguments is a function."""


def _chain_from_iterable(vm: Any, args: Any, kwargs: Any) -> Any:
    return calls.call(vm, _chain, args[-1:], {})


def _chain(iterables: Any) -> Any:
    for iterable in iterables:
        yield from iterable


RULES.put(itertools.chain.__dict__["from_iterable"], _chain_from_iterable)


PURE.put(functools.cmp_to_key, NOTHING)
PURE_TYPES.put(type(functools.cmp_to_key(lambda a, b: 0)), NOTHING)
for _name in ("_heapify_max", "_heappop_max", "_heapreplace_max"):
    PURE.put(getattr(heapq, _name), DEEP)

_fn: Any
for _fn in (
    heapq.heappush,
    heapq.heappop,
    heapq.heapify,
    heapq.heappushpop,
    heapq.heapreplace,
    bisect.bisect_left,
    bisect.bisect_right,
    bisect.insort_left,
    bisect.insort_right,
    sys.intern,
    sys.getsizeof,
    os.fspath,
):
    if isinstance(_fn, types.BuiltinFunctionType):
        PURE.put(_fn, DEEP)
for _kind in (
    re.Pattern,
    re.Match,
    collections.Counter,
    types.GenericAlias,
    types.UnionType,
    type(list),
    type(typing.Union),
    type(typing.Any),
):
    if PURE_TYPES.get(_kind) is None:
        PURE_TYPES.put(_kind, DEEP)
if isinstance(getattr(collections, "_count_elements", None), types.BuiltinFunctionType):
    PURE.put(collections._count_elements, DEEP)  # type: ignore[attr-defined]


for _fn in (struct.pack, struct.unpack, struct.calcsize):
    PURE.put(_fn, DEEP)
PURE.put(typing._idfunc, NOTHING)  # type: ignore[attr-defined]
PURE.put(_string.formatter_parser, DEEP)
PURE.put(_string.formatter_field_name_split, DEEP)
PURE_TYPES.put(type(_string.formatter_parser("")), NOTHING)
PURE_TYPES.put(type(_string.formatter_field_name_split("")[1]), NOTHING)


@RULES.rule(operator.length_hint)
def rule_length_hint(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) > 1 and not issubclass(type(args[1]), int):
        return vm.plain(lambda: operator.length_hint((), args[1]))  # refuses it
    if args:
        kind = attributes.type_of(vm, args[0])
        hint = vm.world.class_attr(kind, "__length_hint__")
        stands_in = kind is not type(args[0]) or id(args[0]) in vm.records
        if stands_in and hint is not MISSING and type(hint) is not types.FunctionType:
            raise Break("UNKNOWN_C_FUNCTION", f"operator.length_hint of a {kind.__name__}")
    return calls.call(vm, length_hint, args, kwargs)


# ---- functools


@RULES.rule(functools.reduce)
def rule_reduce(vm: Any, args: Any, kwargs: Any) -> Any:
    fn, items = args[0], operations.iterate(vm, args[1])
    total = args[2] if len(args) > 2 else operations.advance(vm, items)
    if total is MISSING:
        raise vm.user_raise(TypeError("reduce() of empty iterable with no initial value"))
    while True:
        item = operations.advance(vm, items)
        if item is MISSING:
            return total
        total = calls.call(vm, fn, (total, item), {})


_DISPATCH = next(
    c for c in functools.singledispatch.__code__.co_consts if isinstance(c, types.CodeType) and c.co_name == "dispatch"
)


def _dispatch(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """``singledispatch``: which implementation a class has; the registry is read, the cache beside it is not used."""
    at = fn.__code__.co_freevars.index("registry")
    cell = fn.__closure__[at]
    rec = vm.records.get(id(fn))
    if rec is not None:
        cell = vm.world.admit(cell, rec.inner.child("func", "closure").child("index", at))
    registry = vm.fill_value(vm.load_cell(cell, "registry", True))
    return vm.plain(functools._find_impl, args[0], registry)  # type: ignore[attr-defined]


CODES.put(_DISPATCH, _dispatch)


@RULES.rule(functools.partial)
def rule_partial(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(lambda: functools.partial(*args, **kwargs))


PURE_TYPES.put(functools.partial, SHALLOW)


def _partial_attr(vm: Any, obj: Any, name: str) -> Any:
    rec = vm.records.get(id(obj))
    if rec is not None and name in ("func", "args", "keywords"):
        return vm.world.admit(getattr(obj, name), rec.source.child("attr", name))
    value = attributes.lookup(vm, obj, name)
    if value is MISSING:
        raise vm.user_raise(AttributeError(f"'functools.partial' object has no attribute '{name}'"))
    return value


GETATTR.put(functools.partial, _partial_attr)


# ---- inspect, sys, exceptions


@RULES.rule(typing._caller)  # type: ignore[attr-defined]
def rule_caller(vm: Any, args: Any, kwargs: Any) -> Any:
    """In which module a type variable or the like is made."""
    frame = vm.frame
    for _ in range(args[0] if args else kwargs.get("depth", 1)):
        frame = frame.parent if frame is not None else None
    if frame is None:
        raise Break("FRAME_INTROSPECTION", "the module of the caller")
    return vm.load_global_or(frame.func, "__name__", "__main__")


@RULES.rule(sys.getrecursionlimit)
def rule_recursion_limit(vm: Any, args: Any, kwargs: Any) -> int:
    """The program's: it is higher while tracing."""
    limit: int = vm.states["recursion limit"]
    if ("recursion limit", "guarded") not in vm.states:
        vm.states["recursion limit", "guarded"] = True
        vm.world.tree.tail.append(("PY", (), lambda: sys.getrecursionlimit() == limit, f"sys.getrecursionlimit() == {limit}"))
    return limit


@RULES.rule(sys._getframe)
def rule_getframe(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("FRAME_INTROSPECTION", "a look at the interpreter's own state")


@RULES.rule(sys.exception)
def rule_exception(vm: Any, args: Any, kwargs: Any) -> Any:
    error = vm.current_error()
    if error is None:
        vm.nothing_handled_outside()
    return error


@RULES.rule(sys.exc_info)
def rule_exc_info(vm: Any, args: Any, kwargs: Any) -> Any:
    error = rule_exception(vm, (), {})
    return (None, None, None) if error is None else (type(error), error, traceback_of(vm, error))


for _kind in vars(builtins).values():
    if isinstance(_kind, type) and issubclass(_kind, BaseException) and _kind not in PURE_TYPES:
        PURE_TYPES.put(_kind, SHALLOW)
for _kind in (types.MappingProxyType, torch.Size, property, classmethod, staticmethod, types.CodeType, torch.dtype, torch.device):
    if _kind not in PURE_TYPES:
        PURE_TYPES.put(_kind, SHALLOW)


def _add_note(self: Any, note: Any) -> None:
    if not issubclass(type(note), str):
        raise TypeError(f"note must be a str, not '{type(note).__name__}'")
    if not hasattr(self, "__notes__"):
        self.__notes__ = []
    if not issubclass(type(self.__notes__), list):
        raise TypeError("Cannot add note: __notes__ is not a list")
    self.__notes__.append(note)


@RULES.rule(BaseException.add_note)
def rule_add_note(vm: Any, args: Any, kwargs: Any) -> Any:
    return calls.call(vm, _add_note, args, kwargs)


@RULES.rule(BaseException.with_traceback)
def rule_with_traceback(vm: Any, args: Any, kwargs: Any) -> Any:
    if id(args[0]) in vm.records:
        raise Break("EXCEPTION_STATE", "the traceback of an exception from outside")
    return vm.plain(BaseException.with_traceback, *args)


GETTERS.put(BaseException.__dict__["__traceback__"], traceback_of)


def _context_of(vm: Any, error: Any) -> Any:
    rec = vm.records.get(id(error))
    if rec is None:
        return vm.context_of(error)
    if rec.attrs is not None and "__context__" in rec.attrs:
        return rec.attrs["__context__"]
    return vm.world.admit(context_of(rec.obj), rec.inner.child("call", context_of))


GETTERS.put(BaseException.__dict__["__context__"], _context_of)


@RULES.rule(traceback.clear_frames)
def rule_clear_frames(vm: Any, args: Any, kwargs: Any) -> None:
    """Tracebacks of captured code hold no values: there is nothing to clear (``assertRaises`` asks for it)."""
    if type(args[0]) is not types.TracebackType or id(args[0]) in vm.records:
        calls.inline(vm, cast(types.FunctionType, traceback.clear_frames), args, kwargs)
