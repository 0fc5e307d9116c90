"""Binding arguments to the parameters of Python functions, as CPython does it.

Defaults of functions from outside enter when they are used; how many there are, and which are not there, is guarded with them.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

from alternator.exc import Break, InternalError, UserRaise
from alternator.interpreter.frame import NULL
from alternator.interpreter.tables import RULES
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, MISSING

_VARARGS, _VARKEYWORDS = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS


def _place(vm: Any, fn: types.FunctionType, part: str) -> Source | None:
    """Where the defaults of a function from outside are; None: the program has made it."""
    rec = vm.records.get(id(fn))
    return None if rec is None else rec.inner.child("func", part)


def count_defaults(vm: Any, fn: types.FunctionType) -> int:
    """How many positional defaults there are."""
    place, defaults = _place(vm, fn, "defaults"), fn.__defaults__
    if place is not None:
        _guard_count(vm, place, defaults)
    return len(defaults or ())


def _guard_count(vm: Any, place: Source, defaults: tuple[Any, ...] | None) -> None:
    if defaults is None:
        vm.world.admit(None, place)
    else:
        place.guard("LEN", len(defaults))


def default_of(vm: Any, fn: types.FunctionType, index: int) -> Any:
    """The positional default number ``index``."""
    value = fn.__defaults__[index]  # type: ignore[index]
    place = _place(vm, fn, "defaults")
    return value if place is None else vm.world.admit(value, place.child("index", index))


def kwdefault_of(vm: Any, fn: types.FunctionType, name: str) -> Any:
    """The default of a keyword-only parameter; NULL: it has none."""
    table, place = fn.__kwdefaults__, _place(vm, fn, "kwdefaults")
    if table is None:
        if place is not None:
            vm.world.admit(None, place)
        return NULL
    rec = vm.records.get(id(table))
    if rec is not None:  # the program has looked at it, and may have changed it
        value = RULES.get(dict.get)(vm, (rec.standin, name, MISSING), {})
        return NULL if value is MISSING else value
    if place is None:
        return table.get(name, NULL)
    item = place.child("dictitem", name)
    if name not in table:
        item.guard("ABSENT")
        return NULL
    return vm.world.admit(table[name], item)


def seen_defaults(vm: Any, fn: types.FunctionType, slots: list[Any]) -> list[Any]:
    """The fast locals at entry, bound by native code: with what stands for defaults from outside in their place."""
    if id(fn) not in vm.records:
        return slots
    code, defaults, table = fn.__code__, fn.__defaults__, fn.__kwdefaults__
    count, names = code.co_argcount, code.co_varnames
    if defaults:
        place: Any = _place(vm, fn, "defaults")
        place.guard("LEN", len(defaults))
        for at, value in enumerate(defaults):
            slot = count - len(defaults) + at
            if slots[slot] is value:
                slots[slot] = _entered(vm, value, place.child("index", at))
    if table:
        if id(table) in vm.records:
            raise Break(
                "UNSUPPORTED_CALL", f"native code calls {fn.__qualname__}(), whose keyword defaults the program has looked at"
            )
        place = _place(vm, fn, "kwdefaults")
        for slot in range(count, count + code.co_kwonlyargcount):
            value = table.get(names[slot], NULL)
            if value is not NULL and slots[slot] is value:
                slots[slot] = _entered(vm, value, place.child("dictitem", names[slot]))
    return slots


def _entered(vm: Any, value: Any, source: Source) -> Any:
    if not ADMIT.is_constant(type(value)):
        return vm.world.admit(value, source)
    source.guard("EQ", value)  # it may be an argument that is equal to it, and must not vary with it
    return value


def bind_arguments(vm: Any, fn: types.FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """CPython's argument binding: the fast locals at entry."""
    code = fn.__code__
    count, given = code.co_argcount, len(args)
    flags = code.co_flags
    total = len(code.co_varnames) + len([n for n in code.co_cellvars if n not in code.co_varnames]) + len(code.co_freevars)
    slots = [NULL] * total
    if given > count:
        if not flags & _VARARGS:
            raise _binding_error(vm, fn, args, kwargs)
        slots[:count] = args[:count]
    else:
        slots[:given] = args
    names = code.co_varnames
    only = code.co_kwonlyargcount
    if flags & _VARARGS:
        slots[count + only] = tuple(args[count:])
    if kwargs:
        _bind_keywords(vm, fn, slots, args, kwargs)
    elif flags & _VARKEYWORDS:
        slots[count + only + bool(flags & _VARARGS)] = {}
    if given < count:
        first = count - count_defaults(vm, fn)
        for i in range(given, count):
            if slots[i] is NULL:
                if i < first:
                    raise _binding_error(vm, fn, args, kwargs)
                slots[i] = default_of(vm, fn, i - first)
    for i in range(count, count + only):
        if slots[i] is NULL:
            slots[i] = kwdefault_of(vm, fn, names[i])
            if slots[i] is NULL:
                raise _binding_error(vm, fn, args, kwargs)
    return slots


def _bind_keywords(vm: Any, fn: types.FunctionType, slots: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    code = fn.__code__
    count, only, flags = code.co_argcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_varnames
    positions = {names[i]: i for i in range(code.co_posonlyargcount, count + only)}
    rest: dict[str, Any] = {}
    for name, value in kwargs.items():
        at = positions.get(name)
        if at is None:
            if not flags & _VARKEYWORDS:
                raise _binding_error(vm, fn, args, kwargs)
            rest[name] = value
        elif slots[at] is not NULL:
            raise _binding_error(vm, fn, args, kwargs)
        else:
            slots[at] = value
    if flags & _VARKEYWORDS:
        slots[count + only + bool(flags & _VARARGS)] = rest


def _binding_error(vm: Any, fn: types.FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> UserRaise:
    """The TypeError for arguments that do not fit the signature: CPython's own, of a function with this signature and no body."""
    code = fn.__code__
    only = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    stub = types.FunctionType(_stub_code(code), {}, fn.__name__, (None,) * count_defaults(vm, fn))
    stub.__qualname__ = fn.__qualname__
    stub.__kwdefaults__ = {name: None for name in only if kwdefault_of(vm, fn, name) is not NULL}
    try:
        stub(*args, **kwargs)
    except TypeError as error:
        return vm.user_raise(error)
    raise InternalError(f"arguments of {fn.__qualname__} fit after all")


def _stub_code(code: types.CodeType) -> types.CodeType:
    names = code.co_varnames
    first, count, only = code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount
    words = [_plain_name(name) for name in names[:count]]
    if first:
        words.insert(first, "/")
    at = count + only
    if code.co_flags & _VARARGS:
        words.append("*" + _plain_name(names[at]))
        at += 1
    elif only:
        words.append("*")
    words += [_plain_name(name) for name in names[count : count + only]]
    if code.co_flags & _VARKEYWORDS:
        words.append("**" + _plain_name(names[at]))
    scope: dict[str, Any] = {}
    exec(f"def stub({', '.join(words)}): pass", scope)
    made: types.CodeType = scope["stub"].__code__
    return made.replace(co_varnames=names[: len(made.co_varnames)])


def _plain_name(name: str) -> str:
    return name if name.isidentifier() else "arg_" + name.strip(".")
