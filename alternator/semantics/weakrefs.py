"""Weak references: to objects from outside, and to those that the program makes, which die while it is traced as they do plainly.

A piece ends in front of what drops an outside object that is referred to weakly (``interpreter/lifetimes.py``), so one lives as
long as the piece; the program's own die when the program drops them. The tracer may hold one longer: one that lives, but is not
seen in the program's hands, is a break.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

from alternator.exc import Break
from alternator.interpreter import lifetimes
from alternator.interpreter.tables import INSTANCE_CALLS, READABLE, REBUILD, RULES
from alternator.provenance.source import Source, worded
from alternator.provenance.world import ADMIT, World


@RULES.rule(weakref.ref)
def make_weakref(vm: Any, args: Any, kwargs: Any) -> Any:
    """A real one, but for the callback: the end of what the program has made would run it, so that is a break."""
    if kwargs or not 1 <= len(args) <= 2:
        vm.plain(lambda: weakref.ref(*args, **kwargs))
    obj, callback = args if len(args) == 2 else (args[0], None)
    if callback is not None and id(obj) not in vm.records and not issubclass(type(obj), (type, types.FunctionType)):
        raise Break("WEAKREF", "a callback for the end of an object that was made while tracing")
    if callback is None:
        return vm.plain(weakref.ref, obj)
    made = vm.plain(weakref.ref, obj, id)  # the callback is another object's affair until generated code makes the reference
    vm.states["weakref", id(made)] = made, callback
    return made


@INSTANCE_CALLS.rule(weakref.ref)
def call_weakref(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    if args or kwargs:
        vm.plain(lambda: obj(*args, **kwargs))
    lifetimes.check(vm)
    rec = vm.records.get(id(obj))
    if rec is not None:
        return vm.world.admit(obj(), rec.source.child("call", _dereference))
    referent = obj()
    if referent is None or id(referent) in vm.records or issubclass(type(referent), type) or lifetimes.is_held(vm, referent):
        return referent
    raise Break("WEAKREF", f"whether a {type(referent).__name__} is still alive")


@worded("{}()")
def _dereference(ref: Any) -> Any:
    return ref()


@worded("{}()")
def _referent(ref: Any) -> Any:
    """What native code sees, whatever a subclass makes of the call: a new method for each, if it is a ``WeakMethod``."""
    return weakref.ref.__call__(ref)


def _rely_on_referent(rec: Any) -> None:
    """Native code compares and hashes what it refers to."""
    known = rec.obj
    rec.source.child("call", _referent).guard_predicate(lambda referent: referent is _referent(known), "the same object")


READABLE.put(weakref.ref, _rely_on_referent)


def _dead() -> weakref.ref[Any]:
    """A reference to something that has died."""
    return weakref.ref(set())


@REBUILD.rule(weakref.ref)
def rebuild_weakref(b: Any, value: Any) -> str:
    referent = value()
    hashed = ("hashed weakref", id(value)) in b.vm.states
    if hashed and (referent is None or type(b.vm.world.class_attr(type(referent), "__hash__")) is types.FunctionType):
        raise Break("WEAKREF", "a weak reference that remembers the hash that code of the program gave, or of what has died")
    if referent is None:
        return b.assign(f"{b.constant(_dead, 'dead')}()")
    callback = b.vm.states.get(("weakref", id(value)))
    more = "" if callback is None else f", {b.value(callback[1])}"
    made = b.assign(f"{b.constant(weakref.ref, 'ref')}({b.value(referent)}{more})")
    return b.assign(f"{b.constant(_hashed, 'hashed')}({made})") if hashed else made


def _hashed(ref: weakref.ref[Any]) -> weakref.ref[Any]:
    """The reference, which has asked for its hash and remembers it."""
    hash(ref)
    return ref


@ADMIT.register(weakref.ProxyType, weakref.CallableProxyType)
def admit_proxy(world: World, obj: Any, source: Source) -> Any:
    """It hides what it stands for, and whether that is still there."""
    raise Break("WEAKREF", f"a weak proxy at {source.name}")
