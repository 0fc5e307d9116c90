"""Containers: how outside ones are read into their stand-ins."""

from __future__ import annotations

import builtins
import collections
import functools
import gc
import sys
import types
from typing import Any, cast

import torch

from alternator._C import build
from alternator._C.guards import weak
from alternator.exc import Break
from alternator.interpreter import attributes, operations
from alternator.interpreter.namespaces import owner_of
from alternator.interpreter.tables import PURE_TYPES, READABLE, REBUILD, RULES, SHALLOW
from alternator.provenance import storage
from alternator.provenance.iterators import dict_items
from alternator.provenance.keys import any_asks, asks, put, special
from alternator.provenance.sets import arrangement, is_plain, is_value, items_of, same_value
from alternator.provenance.source import Source, worded
from alternator.provenance.world import ADMIT, MISSING, Outside, World, is_heap, module_of, mro_of


def _new(kind: type) -> Any:
    for base in mro_of(kind):
        if not is_heap(base) or base in (collections.OrderedDict, collections.defaultdict, collections.deque):
            return cast(Any, base).__new__(kind)
    raise AssertionError(kind)


@ADMIT.register(list)
def admit_list(world: World, obj: Any, source: Source) -> Any:
    source.guard("TYPE", type(obj))
    rec = world.record(obj, source, _new(type(obj)), filled=False)
    rec.state = fill_list
    return rec.standin


def fill_list(vm: Any, rec: Outside) -> None:
    appended = list(list.__iter__(rec.standin))  # before anybody looked at the rest
    list.clear(rec.standin)
    items = list.__iter__(rec.obj)
    rec.source.guard("LEN", list.__len__(rec.obj))
    admit = vm.world.admit
    for i, item in enumerate(items):
        list.append(rec.standin, admit(item, rec.source.child("index", i)))
    rec.snapshot = list(list.__iter__(rec.standin))
    list.extend(rec.standin, appended)


@RULES.rule(list.append)
def rule_append(vm: Any, args: Any, kwargs: Any) -> None:
    if len(args) != 2 or kwargs:
        vm.plain(lambda: list.append(*args, **kwargs))
    operations.append(vm, *args)


@ADMIT.register(tuple)
def admit_tuple(world: World, obj: Any, source: Source) -> Any:
    source.guard("TYPE", type(obj))
    of_torch = module_of(type(obj)) == "torch.return_types"
    if special(type(obj), "n_sequence_fields") is not MISSING and not of_torch:
        return _admit_record(world, obj, source)
    source.guard("LEN", tuple.__len__(obj))  # what a class of the program says may be another number
    items = [world.admit(item, source.child("index", i)) for i, item in enumerate(tuple.__iter__(obj))]
    if not items and type(obj) is tuple:
        return ()
    if of_torch:
        made = type(obj)(items)
    else:
        made = tuple.__new__(type(obj), items)
    if made is not obj:
        world.record(obj, source, made)
    return made


def _admit_record(world: World, obj: Any, source: Source) -> Any:
    """``sys.version_info``, the result of ``os.stat`` and the like: a tuple of C with named fields, taken as a whole."""
    expected = obj.__reduce__()[1]
    if not all(is_value(item) for item in (*obj, *expected[1].values())):
        raise Break("UNSUPPORTED_TYPE", f"a {type(obj).__name__} of objects")
    source.guard_predicate(lambda value: value.__reduce__()[1] == expected, f"== {obj!r}")
    if type(obj) not in READABLE:
        READABLE.put(type(obj), True)
    world.record(obj, source)
    return obj


worded("(the contents of {})")(build.contents)
worded("(the table of {})")(build.set_layout)


@worded("(what {} shows)")
def _viewed(proxy: Any) -> Any:
    """What a read-only view is a view of."""
    return gc.get_referents(proxy)[0]


@ADMIT.register(types.MappingProxyType)
def admit_proxy(world: World, obj: Any, source: Source) -> Any:
    """A read-only view of a dict, which the program may have in hand and change."""
    source.guard("TYPE", type(obj))
    if not issubclass(type(_viewed(obj)), dict):
        raise Break("UNSUPPORTED_TYPE", f"a read-only view of a {type(_viewed(obj)).__name__}")
    made = types.MappingProxyType(world.vm.fill_value(world.admit(_viewed(obj), source.child("call", _viewed))))
    world.record(obj, source, made)
    return made


_VIEWS = {
    type(view(kind())): view
    for kind in (dict, collections.OrderedDict)
    for view in (cast(Any, kind).keys, cast(Any, kind).values, cast(Any, kind).items)
}


@ADMIT.register(*_VIEWS)
def admit_view(world: World, obj: Any, source: Source) -> Any:
    """A view of what a dict holds, which the program may have in hand and change."""
    source.guard("TYPE", type(obj))
    made = _VIEWS[type(obj)](world.vm.fill_value(world.admit(_viewed(obj), source.child("call", _viewed))))
    world.record(obj, source, made)
    return made


@REBUILD.rule(types.MappingProxyType)
def rebuild_proxy(b: Any, value: Any) -> str:
    """A view that the program made, of the same dict; or one of a class."""
    owner = owner_of(b.vm, value)
    if owner is not None:
        return str(b.assign(f"{b.value(owner)}.__dict__"))
    return str(b.assign(f"{b.constant(types.MappingProxyType, 'MappingProxyType')}({b.value(_viewed(value))})"))


@ADMIT.register(dict)
def admit_dict(world: World, obj: Any, source: Source) -> Any:
    if obj is vars(builtins):
        raise Break("UNSUPPORTED_TYPE", "the namespace of the builtins, which all code uses")
    if id(obj) in world.vm.shadow_globals:
        raise Break("FRAME_INTROSPECTION", "a look at a namespace in which a name was written")
    source.guard("TYPE", type(obj))
    standin = _new(type(obj))
    if issubclass(type(obj), collections.defaultdict):
        factory = world.admit(storage.default_factory(obj), source.child("call", storage.default_factory))
        storage.set_default_factory(standin, factory)
    rec = world.record(obj, source, standin, filled=False)
    rec.state = fill_dict
    rec.partial = {}
    owner = world.written_spaces.get(id(obj))
    if owner is not None:  # it is the __dict__ of an object
        if issubclass(type(owner.obj), torch.Tensor):
            raise Break("TENSOR_ATTRIBUTE", "__dict__ of a tensor, an attribute of which was written")
        attributes.instance_dict(world.vm, owner.standin, owner)
    return standin


def fill_dict(vm: Any, rec: Outside) -> None:
    obj, source = rec.obj, rec.source
    if obj is sys.modules:
        raise Break("IMPORT", "a look at all modules, of which the capture itself may load some")
    if rec.snapshot is not None:  # it holds what was written before anybody looked at the rest
        written = dict(dict_items(rec.standin))
        dict.clear(rec.standin)
        rec.snapshot = None
        fill_dict(vm, rec)
        dict.update(rec.standin, written)
        return
    if any_asks(obj):
        _fill_unasked(vm, rec)
        return
    items = list(dict_items(obj))
    keys = tuple(key for key, _ in items)
    if any(is_value(key) and not is_plain(key) for key in keys):
        source.guard_predicate(_same_keys(keys), f"its keys are {len(keys)} objects")
    else:
        source.guard("KEYS", keys)
    put = collections.OrderedDict.__setitem__ if issubclass(type(obj), collections.OrderedDict) else dict.__setitem__
    for key, value in items:
        put(rec.standin, _key(vm, key), vm.world.admit(value, source.child("dictitem", key)))
    rec.snapshot = list(dict_items(rec.standin))


def _fill_unasked(vm: Any, rec: Outside) -> None:
    """The same where keys run the program's code when they are hashed or compared: none is, neither here nor by the guards."""
    dict_items(rec.obj)  # which breaks if there is no such thing
    keys, values, hashes = build.contents(rec.obj)
    ordered = issubclass(type(rec.obj), collections.OrderedDict)
    found = rec.source.child("call", build.contents)
    found.child("index", 0).guard_predicate(_same_keys(keys), f"keys are {len(keys)} objects")
    found.child("index", 2).guard("EQ", hashes)
    listed = found.child("index", 1)
    for i, (key, value, known) in enumerate(zip(keys, values, hashes)):
        standin = _key(vm, key)
        if ordered and asks(key) and not is_heap(type(key)):
            raise Break("UNSUPPORTED_TYPE", "a tuple of objects with a __hash__ of their own in an OrderedDict")
        known = known if _is_hashed_as(standin, key) else vm.native(hash, (standin,))
        put(rec.standin, standin, vm.world.admit(value, listed.child("index", i)), known)
    rec.snapshot = list(dict_items(rec.standin))


def _is_hashed_as(standin: Any, key: Any) -> bool:
    """Whether what stands for a key is that object, or is made of the same ones."""
    if standin is key:
        return True
    return type(key) is tuple and len(key) == len(standin) and all(map(_is_hashed_as, standin, key))


def _same_keys(keys: tuple[Any, ...]) -> Any:
    """The guard of keys among which are tuples: values by equality, everything else by identity."""
    expected = [(key, True) if is_value(key) else (weak_or_strong(key), False) for key in keys]

    def check(table: Any) -> bool:
        if len(table) != len(expected):
            return False
        for key, (wanted, by_value) in zip(table, expected):
            if not (same_value(key, wanted) if by_value else key is wanted()):
                return False
        return True

    return check


def weak_or_strong(obj: Any) -> Any:
    """A callable that gives the object, without keeping it alive where that can be had."""
    try:
        return weak(obj)
    except TypeError:
        return lambda: obj


def _key(vm: Any, key: Any) -> Any:
    """A key of a dict whose keys are guarded: constants by value, others by identity."""
    return key if is_value(key) else vm.world.admit(key, vm.world.tree.object(key))


@ADMIT.register(set, frozenset)
def admit_set(world: World, obj: Any, source: Source) -> Any:
    source.guard("TYPE", type(obj))
    if issubclass(type(obj), frozenset):
        if _read_items(world, source, obj) is not None:
            raise Break("UNSUPPORTED_TYPE", "tensors in a frozenset from outside")
        world.record(obj, source)
        return obj
    rec = world.record(obj, source, _new(type(obj)), filled=False)
    rec.state = fill_set
    return rec.standin


def fill_set(vm: Any, rec: Outside) -> None:
    standins = _read_items(vm.world, rec.source, rec.obj)
    if standins is not None:
        members, _, hashes = build.contents(rec.obj)
        for member, standin, known in zip(members, standins, hashes):
            put(rec.standin, standin, None, known if standin is member else vm.native(hash, (standin,)))
        rec.disordered = True
        rec.snapshot = items_of(rec.standin)
        return
    set.update(rec.standin, rec.obj)
    if (places := arrangement(rec.standin, rec.obj)) is not None:
        build.arrange_set(rec.standin, places)
    rec.snapshot = items_of(rec.obj)


def _read_items(world: World, source: Source, members: Any) -> list[Any] | None:
    """Guard the members of a set in their order: values by equality, with their slots; others as what is read of them.

    What stands for the members, if there are tensors among them: these are members by identity, so the table is another one.
    """
    items = items_of(members)
    if not items:  # how its table came about tells nothing until there are two members (codegen/effects.py)
        source.guard("LEN", 0)
        return None
    if all(map(is_plain, items)):
        source.guard("ITEMS", items, build.set_layout(members))
        return None
    if all(map(is_value, items)):
        source.child("call", build.set_layout).guard("EQ", build.set_layout(members))
    if any(map(asks, items)):
        source.child("call", build.contents).child("index", 2).guard("EQ", build.contents(members)[2])
    listed = source.child("call", items_of)
    listed.guard("LEN", len(items))
    standins = list(items)
    for i, item in enumerate(items):
        child = listed.child("index", i)
        if is_value(item):
            child.guard_predicate(functools.partial(same_value, item), f"== {item!r}")
            continue
        standins[i] = world.admit(item, child)
        if standins[i] is not item and not issubclass(type(item), torch.Tensor):  # it could not be made without their hashes
            raise Break("UNSUPPORTED_TYPE", f"a {type(item).__name__} in a set from outside")
    return None if all(one is item for one, item in zip(standins, items)) else standins


@ADMIT.register(collections.deque)
def admit_deque(world: World, obj: Any, source: Source) -> Any:
    source.guard("TYPE", type(obj))
    limit = storage.deque_limit(obj)
    source.guard_predicate(lambda value: storage.deque_limit(value) == limit, f"maxlen == {limit}")
    standin = _new(type(obj))
    collections.deque.__init__(standin, (), limit)
    rec = world.record(obj, source, standin, filled=False)
    rec.state = fill_deque
    return rec.standin


def fill_deque(vm: Any, rec: Outside) -> None:
    held = storage.items(rec.obj)
    items = rec.source.child("call", storage.items)
    items.guard("LEN", len(held))
    for i, item in enumerate(held):
        collections.deque.append(rec.standin, vm.world.admit(item, items.child("index", i)))
    rec.snapshot = storage.items(rec.standin)


for _kind in (list, dict, set, frozenset, tuple, collections.deque, collections.OrderedDict, collections.defaultdict):
    PURE_TYPES.put(_kind, SHALLOW)

__all__ = ["MISSING"]
