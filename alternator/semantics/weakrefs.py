"""Weak references: to objects from outside, which live on, and to those of the program that it demonstrably holds."""

from __future__ import annotations

import types
import weakref
from typing import Any

from alternator.exc import Break
from alternator.interpreter.tables import INSTANCE_CALLS, REBUILD, RULES
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World


@RULES.rule(weakref.ref)
def make_weakref(vm: Any, args: Any, kwargs: Any) -> Any:
    """A real one.  Its referent is kept alive while tracing, so no callback runs; where one would be missed it is a break."""
    if kwargs or not 1 <= len(args) <= 2:
        vm.plain(lambda: weakref.ref(*args, **kwargs))
    obj, callback = args if len(args) == 2 else (args[0], None)
    if callback is not None and id(obj) not in vm.records and not issubclass(type(obj), (type, types.FunctionType)):
        raise Break("WEAKREF", "a callback for the end of an object that was made while tracing")
    vm.world.pins.append(obj)
    if callback is None:
        return vm.plain(weakref.ref, obj)
    made = vm.plain(weakref.ref, obj, id)  # the callback is another object's affair until generated code makes the reference
    vm.states["weakref", id(made)] = made, callback
    return made


@INSTANCE_CALLS.rule(weakref.ref)
def call_weakref(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    if args or kwargs:
        vm.plain(lambda: obj(*args, **kwargs))
    rec = vm.records.get(id(obj))
    if rec is not None:
        return vm.world.admit(obj(), rec.source.child("call", _dereference))
    referent = obj()
    if referent is None or id(referent) in vm.records or issubclass(type(referent), type) or _is_held(vm, referent):
        return referent
    raise Break("WEAKREF", f"whether a {type(referent).__name__} is still alive")


def _dereference(ref: Any) -> Any:
    return ref()


def _is_held(vm: Any, obj: Any) -> bool:
    """Whether a frame of the program has the object at hand: then it lives in the plain program, too."""
    frame = vm.frame
    while frame is not None:
        for value in (*frame.locals, *frame.stack):
            if value is obj or type(value) is types.CellType and _contents(value) is obj:
                return True
        frame = frame.parent
    return False


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


@REBUILD.rule(weakref.ref)
def rebuild_weakref(b: Any, value: Any) -> str:
    referent = value()
    if id(referent) not in b.vm.records and not issubclass(type(referent), type):  # whether it lives is not known
        raise Break("WEAKREF", "a reference to an object that was made while tracing leaves the captured code")
    callback = b.vm.states.get(("weakref", id(value)))
    more = "" if callback is None else f", {b.value(callback[1])}"
    return b.assign(f"{b.constant(weakref.ref, 'ref')}({b.value(referent)}{more})")


@ADMIT.register(weakref.ProxyType, weakref.CallableProxyType)
def admit_proxy(world: World, obj: Any, source: Source) -> Any:
    """It hides what it stands for, and whether that is still there."""
    raise Break("WEAKREF", f"a weak proxy at {source.name}")
