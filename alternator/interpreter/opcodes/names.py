"""Globals, cells, attributes, imports."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter import attributes, namespaces
from alternator.interpreter.frame import NULL
from alternator.interpreter.links import passes_on
from alternator.interpreter.opcode_table import op
from alternator.provenance.world import MISSING, Unread

_IMPORT = builtins.__import__
"""The real one, whatever the program puts in its place."""


@op("LOAD_GLOBAL")
def load_global(f: Any, i: Any) -> None:
    if i.flag:
        f.stack.append(NULL)
    f.stack.append(f.vm.load_global(f.func, i.argval))


@op("STORE_GLOBAL")
def store_global(f: Any, i: Any) -> None:
    if i.argval == namespaces.BUILTINS:
        raise namespaces.builtins_are_replaced()
    f.vm.store_global(f.func, i.argval, f.stack.pop())


@op("DELETE_GLOBAL")
def delete_global(f: Any, i: Any) -> None:
    f.vm.load_global(f.func, i.argval)
    f.vm.store_global(f.func, i.argval, MISSING)


@op("MAKE_CELL")
def make_cell(f: Any, i: Any) -> None:
    value = f.locals[i.arg]
    f.locals[i.arg] = types.CellType() if value is NULL else types.CellType(value)


@op("COPY_FREE_VARS")
def copy_free_vars(f: Any, i: Any) -> None:
    closure = f.func.__closure__
    rec = f.vm.records.get(id(f.func))
    n = i.arg
    if rec is not None:
        tree = f.vm.world
        source = rec.inner.child("func", "closure")
        closure = tuple(tree.admit(cell, source.child("index", at)) for at, cell in enumerate(closure))
    f.locals[-n:] = closure


@op("LOAD_CLOSURE")
def load_closure(f: Any, i: Any) -> None:
    f.stack.append(f.locals[i.arg])


def _cell_name(f: Any, i: Any) -> tuple[str, bool]:
    name = f.decoded.localsplus_names[i.arg]
    return name, name in f.code.co_freevars


@op("LOAD_DEREF")
def load_deref(f: Any, i: Any) -> None:
    name, free = _cell_name(f, i)
    f.stack.append(f.vm.load_cell(f.locals[i.arg], name, free))


@op("STORE_DEREF")
def store_deref(f: Any, i: Any) -> None:
    f.vm.store_cell(f.locals[i.arg], f.stack.pop())


@op("DELETE_DEREF")
def delete_deref(f: Any, i: Any) -> None:
    name, free = _cell_name(f, i)
    f.vm.load_cell(f.locals[i.arg], name, free)
    f.vm.store_cell(f.locals[i.arg], MISSING)


@op("LOAD_ATTR")
@passes_on
def load_attr(f: Any, i: Any) -> None:
    stack = f.stack
    stack[-1] = attributes.load(f.vm, stack[-1], i.argval)


@op("LOAD_METHOD")
@passes_on
def load_method(f: Any, i: Any) -> None:
    stack = f.stack
    obj = stack[-1]
    value = attributes.load(f.vm, obj, i.argval)
    stack[-1] = NULL
    stack.append(value)


@op("STORE_ATTR")
@passes_on
def store_attr(f: Any, i: Any) -> None:
    obj = f.stack.pop()
    value = f.stack.pop()
    attributes.store(f.vm, obj, i.argval, value)


@op("DELETE_ATTR")
def delete_attr(f: Any, i: Any) -> None:
    attributes.store(f.vm, f.stack.pop(), i.argval, MISSING)


def load_names(f: Any) -> dict[str, Any]:
    """The namespace of a class body that is being executed."""
    space = f.vm.states.get(id(f))
    if space is None:
        raise Break("OPCODE", "names outside of a class body")
    return space


@op("SETUP_ANNOTATIONS")
def setup_annotations(f: Any, i: Any) -> None:
    load_names(f).setdefault("__annotations__", {})


@op("STORE_NAME")
def store_name(f: Any, i: Any) -> None:
    load_names(f)[i.argval] = f.stack.pop()


@op("LOAD_NAME")
def load_name(f: Any, i: Any) -> None:
    space = load_names(f)
    f.stack.append(space[i.argval] if i.argval in space else f.vm.load_global(f.func, i.argval))


@op("DELETE_NAME")
def delete_name(f: Any, i: Any) -> None:
    space = load_names(f)
    if i.argval not in space:
        raise f.vm.user_raise(NameError(f"name '{i.argval}' is not defined", name=i.argval))
    del space[i.argval]


@op("LOAD_CLASSDEREF")
def load_classderef(f: Any, i: Any) -> None:
    name, free = _cell_name(f, i)
    space = load_names(f)
    f.stack.append(space[name] if name in space else f.vm.load_cell(f.locals[i.arg], name, free))


@op("IMPORT_NAME")
def import_name(f: Any, i: Any) -> None:
    names = f.stack.pop()
    level = f.stack.pop()
    vm = f.vm
    if vm.load_global_or(f.func, "__import__", _IMPORT) is not _IMPORT:
        raise Break("IMPORT", "a custom __import__")
    package = f.globals.get("__package__") or f.globals.get("__name__", "")
    full = i.argval if not level else _absolute(i.argval, package, level)
    try:
        if full not in sys.modules:
            vm.plain(builtins.__import__, i.argval, f.globals, None, names, level)
        module = vm.plain(builtins.__import__, i.argval, f.globals, None, names, level)
    finally:
        _rely_on_imported(vm, full)
    if names:
        for name in names:
            if not _has(module, name):
                break
    elif not level:
        _rely_on_imported(vm, i.argval.partition(".")[0])
    vm.world.trusted(module)
    f.stack.append(module)


def _rely_on_imported(vm: Any, name: str) -> None:
    """The program may take a module out of ``sys.modules``, or put another there; what could not be imported is not there."""
    source = vm.world.tree.object(sys.modules).child("dictitem", name)
    if name in sys.modules:
        source.guard("IS", sys.modules[name])
    else:
        source.guard("ABSENT")


def _has(module: Any, name: str) -> bool:
    """Lazy modules put the attribute into their namespace; what it raises otherwise is for who reads it."""
    try:
        return hasattr(module, name)
    except Exception:
        return False


def _absolute(name: str, package: str, level: int) -> str:
    base = package.rsplit(".", level - 1)[0] if level > 1 else package
    return f"{base}.{name}" if name else base


@op("IMPORT_FROM")
def import_from(f: Any, i: Any) -> None:
    module, vm = f.stack[-1], f.vm
    try:
        value = attributes.load(vm, module, i.argval)
    except BaseException as error:
        full = f"{module.__name__}.{i.argval}"
        if full in sys.modules:
            value = sys.modules[full]
            _rely_on_imported(vm, full)
            vm.world.trusted(value)
        elif type(error).__name__ == "UserRaise":
            where = getattr(module, "__file__", "unknown location")
            raise vm.user_raise(
                ImportError(f"cannot import name {i.argval!r} from {module.__name__!r} ({where})", name=module.__name__)
            ) from None
        else:
            raise
    f.stack.append(value)


__all__ = ["Unread", "torch"]
