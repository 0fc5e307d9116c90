"""A cache keyed by the identity of code objects that does not keep them alive."""

from __future__ import annotations

import weakref
from types import CodeType
from typing import Callable, Generic, TypeVar

__all__ = ["CodeCache"]

T = TypeVar("T")


class CodeCache(Generic[T]):
    """Maps code objects, by identity, to values; an entry goes when its code object goes.

    Code objects compare by contents and hash slowly, so a WeakKeyDictionary would be both wrong (equal code of two files
    shares an entry) and slow. A value must not refer strongly to its own code object, or it stays for ever.

    >>> cache: CodeCache[int] = CodeCache()
    >>> code = (lambda: 0).__code__
    >>> cache.put(code, 3); cache.get(code)
    3
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[CodeType], T]] = {}

    def get(self, code: CodeType) -> T | None:
        """The value stored for this very code object, or None."""
        entry = self._entries.get(id(code))
        return None if entry is None else entry[1]

    def get_or_put(self, code: CodeType, make: Callable[[], T]) -> T:
        """The value stored for this very code object; if there is none, what `make()` gives is stored."""
        entry = self._entries.get(id(code))
        if entry is not None:
            return entry[1]
        self.put(code, value := make())
        return value

    def put(self, code: CodeType, value: T) -> None:
        """Store the value for as long as `code` lives."""
        key = id(code)
        entries = self._entries

        def forget(ref: weakref.ref[CodeType]) -> None:
            entry = entries.get(key)
            if entry is not None and entry[0] is ref:
                del entries[key]

        entries[key] = (weakref.ref(code, forget), value)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
