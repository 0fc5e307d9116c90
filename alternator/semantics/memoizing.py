"""``functools``: caches of function results, ``cached_property``, and the locks that such code holds."""

from __future__ import annotations

import _thread
import functools
import types
from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.tables import DESCRIPTORS, INSTANCE_CALLS, NOTHING, PURE_TYPES, REBUILD, RULES
from alternator.provenance.world import ADMIT

_Wrapper: Any = type(functools.lru_cache(lambda: None))
PURE_TYPES.put(_Wrapper, NOTHING)


@RULES.rule(_Wrapper)
def make_lru_cache(vm: Any, args: Any, kwargs: Any) -> Any:
    """A cache that captured code makes: a real one, which does not outlive the capture."""
    made = vm.plain(lambda: _Wrapper(*args, **kwargs))
    vm.states["cache", id(made)] = made
    return made


@INSTANCE_CALLS.rule(_Wrapper)
def call_lru_cache(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """Interpret through the cache, since a fake must not be kept in it; with constants only, ask the cache itself."""
    if vm.states.get(("cache", id(obj))) is obj:
        vm.ticks += 1
        return vm.native(obj, args, kwargs or None)
    if all(ADMIT.is_constant(type(a)) for a in (*args, *kwargs.values())):
        result = _ask_cache(vm, obj, args, kwargs)
        if ADMIT.is_constant(type(result)):
            return result
    return calls.call(vm, attributes.vm_trusted(vm, obj.__wrapped__), args, kwargs)


def _ask_cache(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """What the plain program would get; computed, if it is not known yet, as the plain program would."""
    flag = torch.compiler._is_compiling_flag
    torch.compiler._is_compiling_flag = False
    try:
        with torch._C._DisableTorchDispatch():
            return vm.plain(lambda: obj(*args, **kwargs))
    finally:
        torch.compiler._is_compiling_flag = flag


def _lru_bind(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    return types.MethodType(raw, obj)


DESCRIPTORS.put(_Wrapper, _lru_bind)
_OF_EVERY_CACHE = frozenset({*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "cache_parameters"})


@REBUILD.rule(_Wrapper)
def rebuild_lru_cache(b: Any, value: Any) -> str:
    """One that is still empty; what it holds otherwise was computed while tracing."""
    info = value.cache_info()
    if info.hits or info.misses or not value.__dict__.keys() <= _OF_EVERY_CACHE:
        raise Break("UNREBUILDABLE_OUTPUT", "a cache that was used while tracing")
    make = b.constant(functools.lru_cache, "lru_cache")
    return b.assign(f"{make}(**{value.cache_parameters()!r})({b.value(value.__wrapped__)})")


# ---- cached_property


@RULES.rule(functools.cached_property)
def make_cached_property(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(lambda: functools.cached_property(*args, **kwargs))


def cached_property(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    """``functools.cached_property``: compute once, keep in the instance's dict."""
    if obj is None:
        return raw
    vm.world.trusted(raw)
    value = calls.call(vm, attributes.vm_trusted(vm, raw.func), (obj,), {})
    attributes.store_default(vm, obj, raw.attrname, value)
    return value


DESCRIPTORS.put(functools.cached_property, cached_property)


@REBUILD.rule(functools.cached_property)
def rebuild_cached_property(b: Any, value: Any) -> str:
    name = b.assign(f"{b.constant(functools.cached_property, 'cached_property')}({b.value(value.func)})")
    b.emit(f"{name}.attrname = {value.attrname!r}")
    return name


# ---- locks: one that captured code makes is held by nobody else

for _lock in (_thread.allocate_lock, _thread.RLock):
    RULES.put(_lock, lambda vm, args, kwargs, make=_lock: vm.plain(lambda: make(*args, **kwargs)))
    PURE_TYPES.put(type(_lock()), NOTHING)


def _rebuild_lock(b: Any, value: Any) -> str:
    if "unlocked" not in repr(value):
        raise Break("UNREBUILDABLE_OUTPUT", "a lock that is held")
    make = _thread.RLock if type(value) is _thread.RLock else _thread.allocate_lock
    return b.assign(f"{b.constant(make, 'lock')}()")


for _kind in (type(_thread.allocate_lock()), _thread.RLock):
    REBUILD.put(_kind, _rebuild_lock)
