"""``functools``: caches of function results, ``cached_property``, and the locks that such code holds."""

from __future__ import annotations

import _thread
import functools
import gc
import itertools
import types
import weakref
from typing import Any, Iterator

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from alternator.exc import Break, Restart
from alternator.interpreter import assertions, attributes, calls
from alternator.interpreter.identity import hashable
from alternator.interpreter.tables import DESCRIPTORS, INSTANCE_CALLS, NOTHING, PURE_TYPES, REBUILD, RULES
from alternator.provenance.changes import has_changed, records
from alternator.provenance.iterators import StandIn
from alternator.provenance.keys import asks
from alternator.provenance.world import ADMIT, MISSING, SCALARS
from alternator.tensors.graph import SYMBOLIC

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
    """What an outside cache holds is guarded; where it cannot know the arguments, the wrapped function is interpreted."""
    if vm.states.get(("cache", id(obj))) is obj:
        vm.ticks += 1
        return vm.native(obj, args, kwargs or None)
    if _is_looked_up(vm, obj):
        args, kwargs = tuple([_shown(vm, a) for a in args]), {name: _shown(vm, a) for name, a in kwargs.items()}
    given = (*args, *kwargs.values())
    if any(asks(value) for value in given):
        if _is_looked_up(vm, obj):
            raise Break("FUNCTION_CACHE", f"the program says which arguments of {_name_of(obj)} are equal")
        return _of_values_only(vm, obj, args, kwargs)
    if any(_varies(value) for value in given):
        return _of_values_only(vm, obj, args, kwargs)
    if all(_is_hashed_alike(vm, value) for value in given):
        return _from_cache(vm, obj, tuple([_real(vm, a) for a in args]), {k: _real(vm, a) for k, a in kwargs.items()})
    return _interpreted(vm, obj, args, kwargs)


def _varies(value: Any) -> bool:
    """A number that varies from call to call, or a tuple with one."""
    return issubclass(type(value), SYMBOLIC) or type(value) in _TUPLES and any(map(_varies, value))


def _shown(vm: Any, value: Any) -> Any:
    return hashable(vm, value) if _varies(value) else value


def _of_values_only(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """Each size would make a version of its own for what the cache holds, and code of the program compares other arguments with
    what it holds.  A function that does nothing but compute values gives the same whether the cache holds it or not; any other
    is looked up: by what the numbers are, or behind a break."""
    before = len(vm.world.effects), _written(vm)
    result = _interpreted(vm, obj, args, kwargs)
    if not _is_of_values(result, 3) or before != (len(vm.world.effects), _written(vm)):
        raise _look_up(vm, obj)
    for part in _parts(result):
        vm.states.setdefault(_RESULTS, {}).setdefault(id(part), (obj, part, _contents(part)))
    return result


def _look_up(vm: Any, obj: Any) -> Restart:
    return Restart(lambda: vm.root_state.setdefault(_LOOKED_UP, weakref.WeakSet()).add(obj))


_RESULTS = "results that a cache would hold"


def check_results(vm: Any, has: Any, outputs: Any) -> None:
    """What such a function gave is another object than the one in the cache, which must not show: raises Restart if it was
    changed, or is handed out (``has``: whether generated code makes a value; ``outputs``: the tensors that the graph gives)."""
    memory = {one.untyped_storage()._cdata for one in outputs if type(one) is FakeTensor}
    for obj, part, contents in vm.states.get(_RESULTS, {}).values():
        leaves = part.untyped_storage()._cdata in memory if issubclass(type(part), torch.Tensor) else has(part)
        if leaves or contents != _contents(part):
            raise _look_up(vm, obj)


def _parts(value: Any) -> Iterator[Any]:
    """The objects in it that somebody could tell from others of the same value."""
    if type(value) in _TUPLES or type(value) in (list, dict):
        yield value
        for item in (*value.keys(), *value.values()) if type(value) is dict else value:
            yield from _parts(item)
    elif issubclass(type(value), torch.Tensor):
        yield value


def _contents(part: Any) -> Any:
    if issubclass(type(part), torch.Tensor):
        if part.is_inference():  # nobody counts what is written to it
            raise Break("FUNCTION_CACHE", "a tensor that was made in inference mode")
        return part._version, part.requires_grad
    return [*map(id, part), *map(id, part.values())] if type(part) is dict else [*map(id, part)]


_LOOKED_UP = "caches that are looked up"


def _is_looked_up(vm: Any, obj: Any) -> bool:
    return _LOOKED_UP in vm.root_state and any(one is obj for one in vm.root_state[_LOOKED_UP])


def _written(vm: Any) -> list[tuple[int, Any]]:
    """The outside containers and iterators that the program has changed so far, with what they hold now."""
    return [(id(rec), _held(rec.standin)) for rec in records(vm) if has_changed(rec)]


def _held(standin: Any) -> Any:
    if issubclass(type(standin), StandIn):  # isinstance() would ask a __class__ of the program's
        return standin.progress()
    return [id(item) for item in (dict.values(standin) if issubclass(type(standin), dict) else standin)]


def _is_of_values(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind in _TUPLES or kind is list:
        return depth > 0 and all(_is_of_values(item, depth - 1) for item in value)
    if kind is dict:
        return depth > 0 and all(_is_of_values(item, depth - 1) for pair in value.items() for item in pair)
    return kind in _VALUES or issubclass(kind, (*SYMBOLIC, torch.Tensor))


def _interpreted(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """Fakes and fresh objects are in no cache yet, and must not be kept in one; the same ones give the same result again."""
    keeps = obj.cache_info().maxsize != 0
    if keeps:
        for value in (*args, *kwargs.values()):
            _ask_for_hash(vm, value)
    known = vm.states.setdefault(("results", id(obj)), {})
    key = (*map(_by_value, args), *((name, *_by_value(a)) for name, a in kwargs.items()))
    if key in known:
        return known[key][-1]
    result = calls.call(vm, attributes.vm_trusted(vm, obj.__wrapped__), args, kwargs)
    if keeps:
        known[key] = args, kwargs, result
    return result


def _ask_for_hash(vm: Any, value: Any) -> None:
    """Which may be code of the program, or raise; that of a number says nothing."""
    if type(value) in _TUPLES:
        for item in value:
            _ask_for_hash(vm, item)
    elif not issubclass(type(value), (torch.Tensor, *SYMBOLIC)):
        calls.call(vm, hash, (value,), {})


def _by_value(value: Any) -> tuple[Any, Any]:
    if type(value) in _TUPLES:
        return type(value), tuple([_by_value(item) for item in value])
    if issubclass(type(value), SYMBOLIC):
        return type(value), value.node.expr
    return type(value), value if type(value) in _VALUES else id(value)


def _is_hashed_alike(vm: Any, value: Any) -> bool:
    """Hashing and comparing it is no code of the program, and says the same in later calls."""
    kind = type(value)
    if kind in _VALUES:
        return True
    if kind in _TUPLES:
        return all(_is_hashed_alike(vm, item) for item in value)
    rec = vm.records.get(id(value))
    if rec is None or issubclass(type(rec.obj), torch.Tensor):
        return False
    return kind.__hash__ is object.__hash__ and kind.__eq__ is object.__eq__


_TUPLES = (tuple, torch.Size)
_VALUES = SCALARS | {torch.dtype, torch.device, torch.layout, torch.memory_format}


def _real(vm: Any, value: Any) -> Any:
    if type(value) in _TUPLES:
        return type(value)([_real(vm, item) for item in value])
    rec = vm.records.get(id(value))
    if rec is None:
        return value
    rec.source.guard("IS", rec.obj)
    return rec.obj


def _from_cache(vm: Any, obj: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result that the cache holds; computed first, as by the plain program, if nothing waits for the end of the capture."""
    kept, key = _kept(obj), _key(obj, args, kwargs)
    name = _name_of(obj)
    known = kept.get(key, MISSING)
    if known is MISSING and not assertions.nothing_waits(vm):
        raise Break("FUNCTION_CACHE", f"{name} is computed for the first time")
    result = _for_real(vm, obj, args, kwargs)
    item = kept.get(key, MISSING)
    if item is MISSING or known is not MISSING and item is not known:
        raise Break("FUNCTION_CACHE", f"{name} keeps no result for these arguments")
    vm.world.tree.object(kept).child("dictitem", key).guard("IS", item)
    return result if ADMIT.is_constant(type(result)) else vm.world.admit(result, vm.world.tree.object(result))


def _name_of(obj: Any) -> str:
    return str(getattr(obj, "__qualname__", type(obj).__name__))


def _kept(obj: Any) -> dict[Any, Any]:
    """The dict of a cache: it lives as long as the cache, and its values are the results, or each belongs to one result."""
    parts = gc.get_referents(obj)  # ..., the dict, the function, the mark of keywords, two types, and __dict__
    kept = next((part for part, after in zip(parts[-6:], parts[-5:]) if type(part) is dict and callable(after)), None)
    if kept is None or len(kept) != obj.cache_info().currsize:
        raise Break("FUNCTION_CACHE", "a cache that cannot be looked into")
    return kept


def _key(obj: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Under which the cache keeps the result for these arguments."""
    typed = obj.__dict__.get("cache_parameters", _not_typed)()["typed"]
    if len(args) == 1 and not kwargs and not typed and type(args[0]) in (int, str):
        return args[0]
    key = args
    if kwargs:
        key += (_MARK, *itertools.chain.from_iterable(kwargs.items()))
    if typed:
        key += (*map(type, args), *map(type, kwargs.values()))
    return key


def _not_typed() -> dict[str, Any]:
    return {"typed": False}


_MARK = next(part for part in gc.get_referents(functools.lru_cache(len)) if type(part) is object)


def _for_real(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """Call the cached function outside of the capture."""
    flag = torch.compiler._is_compiling_flag
    torch.compiler._is_compiling_flag = False
    try:
        with torch._C._DisableTorchDispatch(), _disable_current_modes():
            return vm.plain(lambda: obj(*args, **kwargs))
    finally:
        torch.compiler._is_compiling_flag = flag


def _of_made_only(fn: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if vm.states.get(("cache", id(args[0]))) is not args[0]:
            raise Break("FUNCTION_CACHE", f"{fn.__name__}() of a cache from outside")
        vm.ticks += 1
        return vm.plain(lambda: fn(*args, **kwargs))

    RULES.put(fn, rule)


_of_made_only(_Wrapper.cache_info)
_of_made_only(_Wrapper.cache_clear)


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
