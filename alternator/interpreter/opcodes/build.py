"""Building containers, strings, slices and functions; unpacking."""

from __future__ import annotations

import collections
import types
from typing import Any, Iterator

import torch

from alternator.interpreter import calls, operations, pending
from alternator.interpreter.collecting import collect
from alternator.interpreter.frame import NULL
from alternator.interpreter.identity import hashable
from alternator.interpreter.opcode_table import op
from alternator.interpreter.pending import PendingText
from alternator.interpreter.tables import DEEP, SHALLOW
from alternator.provenance.keys import has_special
from alternator.provenance.world import MISSING


def _take(f: Any, n: int) -> list[Any]:
    if not n:
        return []
    items = f.stack[-n:]
    del f.stack[-n:]
    return items


@op("BUILD_TUPLE")
def build_tuple(f: Any, i: Any) -> None:
    f.stack.append(tuple(_take(f, i.arg)))


@op("BUILD_LIST")
def build_list(f: Any, i: Any) -> None:
    f.stack.append(_take(f, i.arg))


@op("BUILD_SET")
def build_set(f: Any, i: Any) -> None:
    items = [hashable(f.vm, item) for item in _take(f, i.arg)]
    f.stack.append(f.vm.native(set, (items,)))


@op("BUILD_MAP")
def build_map(f: Any, i: Any) -> None:
    items = _take(f, 2 * i.arg)
    made: dict[Any, Any] = {}
    for at in range(0, len(items), 2):
        put_item(f.vm, made, items[at], items[at + 1])
    f.stack.append(made)


def put_item(vm: Any, target: Any, key: Any, value: Any) -> None:
    """``target[key] = value`` of a dict of the program's, which may ask the key."""
    if type(key) is str:
        dict.__setitem__(target, key, value)
    else:
        key = hashable(vm, key)
        vm.native(dict.__setitem__, (target, key, value))


@op("BUILD_CONST_KEY_MAP")
def build_const_key_map(f: Any, i: Any) -> None:
    keys = f.stack.pop()
    f.stack.append(dict(zip(keys, _take(f, i.arg))))


@op("BUILD_STRING")
def build_string(f: Any, i: Any) -> None:
    parts = _take(f, i.arg)
    for part in parts:
        if type(part) is PendingText:
            f.stack.append(pending.text(f.vm, "".join, (tuple(parts),)))
            return
    f.stack.append("".join(parts))


@op("BUILD_SLICE")
def build_slice(f: Any, i: Any) -> None:
    f.stack.append(slice(*_take(f, i.arg)))


def _target(f: Any, i: Any) -> Any:
    """The container that a display or comprehension is making; behind a break it is one from outside."""
    return f.vm.fill_value(f.stack[-i.arg])


@op("LIST_APPEND")
def list_append(f: Any, i: Any) -> None:
    value = f.stack.pop()
    operations.append(f.vm, f.stack[-i.arg], value)


@op("SET_ADD")
def set_add(f: Any, i: Any) -> None:
    value = hashable(f.vm, f.stack.pop())
    f.vm.native(set.add, (_target(f, i), value))


@op("MAP_ADD")
def map_add(f: Any, i: Any) -> None:
    value, key = f.stack.pop(), f.stack.pop()
    put_item(f.vm, _target(f, i), key, value)


@op("LIST_EXTEND")
def list_extend(f: Any, i: Any) -> None:
    value = f.stack.pop()
    if not has_special(type(value), "__iter__") and not has_special(type(value), "__getitem__"):
        raise f.vm.user_raise(TypeError(f"Value after * must be an iterable, not {type(value).__name__}"))
    _target(f, i).extend(collect(f.vm, value))


@op("SET_UPDATE")
def set_update(f: Any, i: Any) -> None:
    value = operations.members_for_set(f.vm, f.stack.pop())
    f.vm.native(set.update, (_target(f, i), value))


def is_taken_whole(vm: Any, value: Any) -> bool:
    """Whether C code reads the mapping as the dict that it is, without asking its methods and keys."""
    return issubclass(type(value), dict) and vm.world.class_attr(type(value), "__iter__") is dict.__dict__["__iter__"]


def is_asked_for_keys(vm: Any, value: Any) -> bool:
    """Whether ``dict.update``, which looks for a method ``keys``, runs code of the program."""
    kind = type(value)
    if kind in (dict, collections.OrderedDict, collections.defaultdict):
        return False
    get, keys = (type(vm.world.class_attr(kind, name)) for name in ("__getattribute__", "keys"))
    return get is not types.WrapperDescriptorType or keys not in (types.MethodDescriptorType, types.FunctionType)


def mapping_items(vm: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """What ``**value`` gives, one by one: of a dict that is iterated as one natively, else by ``keys`` and ``__getitem__``."""
    if is_taken_whole(vm, value):
        vm.close(value, SHALLOW)
        yield from list(dict.items(value))
        return
    for key in collect(vm, operations.iterate(vm, vm.call(vm.getattr(value, "keys"), ()))):
        yield key, operations.getitem(vm, value, key)


@op("DICT_UPDATE")
def dict_update(f: Any, i: Any) -> None:
    value = f.stack.pop()
    if not issubclass(type(value), dict) and not hasattr(type(value), "keys"):
        raise f.vm.user_raise(TypeError(f"'{type(value).__name__}' object is not a mapping"))
    if is_taken_whole(f.vm, value) and not is_asked_for_keys(f.vm, value):
        f.vm.native(dict.update, (_target(f, i), f.vm.close(value, SHALLOW)))
        return
    for key, item in mapping_items(f.vm, value):
        put_item(f.vm, _target(f, i), key, item)


@op("DICT_MERGE")
def dict_merge(f: Any, i: Any) -> None:
    value = f.stack.pop()
    target = _target(f, i)
    name = calls.name_for_errors(f.stack[-i.arg - 2])
    if not issubclass(type(value), dict) and not hasattr(type(value), "keys"):
        raise f.vm.user_raise(TypeError(f"{name} argument after ** must be a mapping, not {type(value).__name__}"))
    for key, item in mapping_items(f.vm, value):
        if type(key) is not str and not issubclass(type(key), str):
            raise f.vm.user_raise(TypeError("keywords must be strings"))
        if key in target:
            raise f.vm.user_raise(TypeError(f"{name} got multiple values for keyword argument '{key}'"))
        target[key] = item


@op("LIST_TO_TUPLE")
def list_to_tuple(f: Any, i: Any) -> None:
    f.stack[-1] = tuple(f.vm.fill_value(f.stack[-1]))


@op("UNPACK_SEQUENCE")
def unpack_sequence(f: Any, i: Any) -> None:
    value, n, vm = f.stack.pop(), i.arg, f.vm
    if type(value) in (tuple, list, torch.Size):
        vm.close(value, SHALLOW)
        items = list(value)
    else:
        items = _unpack_at_most(vm, value, n + 1)
    if len(items) < n:
        raise vm.user_raise(ValueError(f"not enough values to unpack (expected {n}, got {len(items)})"))
    if len(items) > n:
        raise vm.user_raise(ValueError(f"too many values to unpack (expected {n})"))
    items.reverse()
    f.stack.extend(items)


def _unpack_at_most(vm: Any, value: Any, limit: int) -> list[Any]:
    if (
        not issubclass(type(value), torch.Tensor)
        and not has_special(type(value), "__iter__")
        and not has_special(type(value), "__getitem__")
    ):
        raise vm.user_raise(TypeError(f"cannot unpack non-iterable {type(value).__name__} object"))
    return _take_at_most(vm, operations.iterate(vm, value), limit)


def _take_at_most(vm: Any, iterator: Any, limit: int) -> list[Any]:
    items: list[Any] = []
    while len(items) < limit:
        item = operations.advance(vm, iterator)
        if item is MISSING:
            break
        items.append(item)
    return items


@op("UNPACK_EX")
def unpack_ex(f: Any, i: Any) -> None:
    before, after = i.arg & 0xFF, i.arg >> 8
    vm = f.vm
    value = f.stack.pop()
    if (
        not issubclass(type(value), torch.Tensor)
        and not has_special(type(value), "__iter__")
        and not has_special(type(value), "__getitem__")
    ):
        raise vm.user_raise(TypeError(f"cannot unpack non-iterable {type(value).__name__} object"))
    if type(value) in (tuple, list, torch.Size):
        items = operations.unpack(vm, value)
    else:
        iterator = operations.iterate(vm, value)
        items = _take_at_most(vm, iterator, before)
        if len(items) == before:
            items += collect(vm, iterator)  # as a list is made of it
    if len(items) < before + after:
        raise vm.user_raise(ValueError(f"not enough values to unpack (expected at least {before + after}, got {len(items)})"))
    middle = items[before : len(items) - after]
    parts = items[:before] + [middle] + items[len(items) - after :]
    parts.reverse()
    f.stack.extend(parts)


@op("FORMAT_VALUE")
def format_value(f: Any, i: Any) -> None:
    spec = f.stack.pop() if i.arg & 0x04 else ""
    convert = (None, str, repr, ascii)[i.arg & 0x03]
    value, vm = f.stack.pop(), f.vm
    if type(value) is str and not spec and convert is not repr and convert is not ascii:
        f.stack.append(value)
        return
    if convert is not None:
        value = vm.call(convert, (value,))
    f.stack.append(vm.call(format, (value, spec)))


@op("MAKE_FUNCTION")
def make_function(f: Any, i: Any) -> None:
    stack = f.stack
    code = stack.pop()
    closure = stack.pop() if i.arg & 0x08 else None
    annotations = stack.pop() if i.arg & 0x04 else None
    kwdefaults = stack.pop() if i.arg & 0x02 else None
    defaults = stack.pop() if i.arg & 0x01 else None
    made = types.FunctionType(code, f.globals, code.co_name, defaults, closure)
    if kwdefaults:
        made.__kwdefaults__ = kwdefaults
    if annotations:
        made.__annotations__ = dict(zip(annotations[::2], annotations[1::2])) if type(annotations) is tuple else annotations
    made.__qualname__ = code.co_qualname
    f.vm.world.note_made(made)
    f.vm.global_sources.setdefault(id(f.globals), f.vm.globals_source(f.func))
    stack.append(made)


__all__ = ["DEEP", "NULL"]
