"""Iterators over builtin containers: what they go over, how far they are, what comes next; the order of dicts."""

from __future__ import annotations

import collections
import copy
import gc
import itertools
from typing import Any

KINDS: tuple[type, ...] = (
    type(iter([])),
    type(iter(())),
    type(iter(range(0))),
    type(iter("")),
    type(reversed([])),
    type(iter(b"")),
)
"""Those over sequences: they show both (``__reduce__``), and their position can be set (``__setstate__``)."""

HASHED: tuple[type, ...] = tuple(
    type(make({})) for make in (iter, lambda d: iter(d.values()), lambda d: iter(d.items()), lambda d: reversed(d))
) + (type(iter(set())),)
"""Those over dicts and sets: they show what is left."""

RANGE: type = type(iter(range(0)))
COMPOSED: tuple[type, ...] = (enumerate, zip)
"""Those that take from other iterators."""


def sequence(iterator: Any) -> Any:
    """What the iterator goes over; nothing once it is exhausted."""
    parts = iterator.__reduce__()
    return parts[1][0] if len(parts) > 2 else ()


def position(iterator: Any) -> int:
    """How many items were taken; -1 once it is exhausted."""
    parts = iterator.__reduce__()
    return int(parts[2]) if len(parts) > 2 else -1


def set_position(iterator: Any, at: Any) -> None:
    """Put an iterator to a state, also to the place that a list which has become shorter no longer has.

    ``__setstate__`` cuts such a position off; the iterator would give items that plain Python would not.
    """
    over: Any = sequence(iterator) if type(iterator) in KINDS else None
    missing = at + 1 - len(over) if issubclass(type(over), list) else 0
    if missing > 0:
        list.extend(over, [None] * missing)
    iterator.__setstate__(at)
    if missing > 0:
        list.__delitem__(over, slice(-missing, None))


def table_of(iterator: Any) -> Any:
    """The dict or set that an iterator over one goes over; None once it is exhausted."""
    return next((obj for obj in gc.get_referents(iterator) if issubclass(type(obj), (dict, set, frozenset))), None)


def parts_of(iterator: Any) -> list[Any]:
    """The iterators that it takes from, itself first."""
    kind = type(iterator)
    if kind not in COMPOSED:
        return [iterator]
    given = iterator.__reduce__()[1]
    inner = given[:1] if kind is enumerate else given
    return [iterator, *(part for one in inner for part in parts_of(one))]


def can_look_ahead(iterator: Any) -> bool:
    """Whether what comes next can be seen without taking it: each part is of a known kind, and nobody else's."""
    parts = parts_of(iterator)
    known = (*KINDS, *HASHED, *COMPOSED)
    if any(type(part) not in known for part in parts) or len({id(part) for part in parts}) < len(parts):
        return False
    try:
        fork(iterator)
    except RuntimeError:  # a dict that changed since
        return False
    return True


def fork(iterator: Any) -> Any:
    """Another iterator that will give the same items."""
    kind = type(iterator)
    if kind is enumerate:
        inner, count = iterator.__reduce__()[1]
        return enumerate(fork(inner), count)
    if kind is zip:
        made = iterator.__reduce__()
        return zip(*map(fork, made[1]), strict=len(made) > 2 and made[2])
    if kind in KINDS and position(iterator) >= 0:
        make, (over,), at = iterator.__reduce__()
        again = make(over)
        set_position(again, at)
        return again
    return copy.copy(iterator)


class StandIn:
    """Stands for an iterator, which stays where it is for as long as the capture lives."""

    def moved(self) -> bool:
        """Whether the program took any, or saw that there are none."""
        raise NotImplementedError


class Upcoming:
    """Gives the next ``count`` items of an iterator, as a list, or those that there are.

    The count grows while a capture looks further ahead; the object is the key of one node of the guard tree.
    """

    __name__ = "upcoming"

    def __init__(self) -> None:
        self.count = 0

    def __repr__(self) -> str:
        return "upcoming"

    def __call__(self, iterator: Any) -> list[Any] | None:
        try:
            return list(itertools.islice(fork(iterator), self.count)) if can_look_ahead(iterator) else None
        except (RuntimeError, ValueError):  # a dict that changed since; a strict zip
            return None


def take(iterator: Any, count: int) -> None:
    """Take items and forget them; one more than there are exhausts the iterator."""
    for _ in itertools.islice(iterator, count):
        pass


def are_apart(*iterators: Any) -> bool:
    """No part of one is a part of another."""
    parts = [id(part) for iterator in iterators for part in parts_of(iterator)]
    return len(set(parts)) == len(parts)


def dict_items(table: dict[Any, Any]) -> Any:
    """The items in the order in which the program sees them (an OrderedDict keeps one of its own), without its methods."""
    return collections.OrderedDict.items(table) if isinstance(table, collections.OrderedDict) else dict.items(table)
