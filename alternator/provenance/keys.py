"""Keys whose ``__hash__`` or ``__eq__`` is code of the program: tables of such are filled and changed without asking them.

The program asks a key for its hash where it uses it; that may have effects, raise, or give something else each time. What the
capture does with a table besides (filling a stand-in, doing anew what the program did) must not ask again: it goes by the hash
that the key had when it was put in, and by the fact that no two keys in one table are equal.
"""

from __future__ import annotations

import collections
import enum
import types
from typing import Any

import torch

from alternator._C import build
from alternator._C.eval_frame import RUN_PLAIN, call_redirected
from alternator.provenance import storage
from alternator.provenance.world import MISSING, class_space, is_heap, made_ready, mro_of

_OURS = (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool)
_quiet: Any = enum.Enum.__hash__  # in Python, but nobody can tell how often it is called


def asks(key: Any) -> bool:
    """Whether hashing or comparing the key runs code of the program."""
    kind = type(key)
    if kind is tuple or kind is frozenset:
        return any(map(asks, key))
    if not is_heap(kind) or issubclass(kind, _OURS):
        return False
    found = [special(kind, name) for name in ("__hash__", "__eq__")]
    if not all(type(one) is types.WrapperDescriptorType or one is _quiet for one in found):
        return True
    if tuple.__hash__ in found:
        return any(map(asks, tuple.__iter__(key)))
    return frozenset.__hash__ in found and any(map(asks, frozenset.__iter__(key)))


def special(kind: type, name: str) -> Any:
    """The special method of a class, as native code finds it."""
    for base in mro_of(kind) or made_ready(kind):
        space = class_space(base)
        if name in space:
            return space[name]
    return MISSING


def has_special(kind: type, name: str) -> bool:
    """Whether native code finds a special method in a class; hasattr() would ask descriptors of the program's."""
    return special(kind, name) is not MISSING


def any_asks(table: Any) -> bool:
    """Whether a key of the dict or set, or an item of the list, does."""
    keys = storage.items(table)
    return not _PLAIN.issuperset(map(id, map(type, keys))) and any(map(asks, keys))


_PLAIN = frozenset(map(id, (str, int, bool, float, bytes, complex, type(None), type, types.FunctionType, types.ModuleType)))
"""Ids of types: a metaclass may have a ``__hash__`` of its own."""


class _Silence:
    """Answers for keys that native code would ask: the hash that is known, and that keys are unequal."""

    def __init__(self, key: Any, known: int) -> None:
        self.key, self.known = key, known

    def __call__(self, func: types.FunctionType, values: list[Any]) -> Any:
        asked = values[0] if values else None
        if asked is self.key and special(type(asked), "__hash__") is func:
            return self.known
        return NotImplemented if special(type(asked), "__eq__") is func else RUN_PLAIN


def put(table: Any, key: Any, value: Any, known: int | None) -> None:
    """``table[key] = value``, or ``table.add(key)``; the key is asked for its hash only if that is not known."""
    known = hash(key) if known is None else known
    if issubclass(type(table), collections.OrderedDict):
        call_redirected(_Silence(key, known), collections.OrderedDict.__setitem__, (table, key, value))
    else:
        call_redirected(_Silence(key, known), build.put, (table, key, value, known))


def take_out(table: Any, key: Any, known: int | None) -> None:
    """``del table[key]``, or ``table.remove(key)``, likewise."""
    known = hash(key) if known is None else known
    if issubclass(type(table), set):
        one: set[Any] = set()
        build.put(one, key, None, known)
        call_redirected(_Silence(key, known), set.difference_update, (table, one))
    elif issubclass(type(table), collections.OrderedDict):
        call_redirected(_Silence(key, known), collections.OrderedDict.__delitem__, (table, key))
    else:
        call_redirected(_Silence(key, known), build.take_out, (table, key, known))


def hash_of(vm: Any, key: Any, known: int) -> int | None:
    """The hash that a key has in a table of the capture; None if it asks nobody, or where another call may come to another
    one, by the addresses of objects that it has then."""
    return known if asks(key) and not _goes_by_address(vm, key) else None


def _goes_by_address(vm: Any, key: Any) -> bool:
    if type(key) in (tuple, frozenset):
        return any(_goes_by_address(vm, item) for item in key)
    if id(key) in vm.hashed_by_address:
        return True
    return special(type(key), "__hash__") is object.__hash__ and id(key) not in vm.records
