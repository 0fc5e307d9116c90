"""Iterators over builtin containers: what they go over, how far they are, what comes next; the order of dicts."""

from __future__ import annotations

import collections
import copy
import gc
import itertools
from typing import Any, Callable

from alternator._C import build
from alternator.exc import Break
from alternator.provenance.keys import any_asks
from alternator.provenance.source import worded

KINDS: tuple[type, ...] = (
    type(iter([])),
    type(iter(())),
    type(iter(range(0))),
    type(iter("")),
    type(iter("\xe9")),
    type(reversed([])),
    type(iter(b"")),
)
"""Those over sequences: they show both (``__reduce__``), and their position can be set (``__setstate__``)."""

_views: tuple[Any, ...] = ({}, {}.values(), {}.items())
ORDERED: type = type(iter(collections.OrderedDict()))
HASHED: tuple[type, ...] = (
    *(type(make(view)) for view in _views for make in (iter, reversed)),
    type(iter(set())),
    ORDERED,
)
"""Those over dicts and sets: they show what is left."""

RANGE: type = type(iter(range(0)))
COMPOSED: tuple[type, ...] = (enumerate, zip)
"""Those that take from other iterators, and give tuples with what they took."""

ALONE: tuple[type, ...] = (
    itertools.count,
    itertools.repeat,
    itertools.product,
    itertools.permutations,
    itertools.combinations,
    itertools.combinations_with_replacement,
)
"""Those that nothing moves but they themselves: a copy is another one."""

COUNTERS: tuple[type, ...] = (RANGE, itertools.count)
"""Those that give the numbers that a loop counts through."""


@worded("(what {} goes over)")
def sequence(iterator: Any) -> Any:
    """What the iterator goes over; nothing once it is exhausted."""
    parts = iterator.__reduce__()
    return parts[1][0] if len(parts) > 2 else ()


@worded("the place of {}")
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


def ordered_place(iterator: Any, table: Any) -> tuple[str, bool, int] | None:
    """Where one over an OrderedDict is: which view it goes over, whether backwards, and how many were taken.

    It shows what is left, and its next key; None if that may be several places, or the dict changed since.
    """
    if any_asks(table):
        return None  # it looks each key up
    try:
        left = iterator.__reduce__()[1][0]
    except RuntimeError:
        return None
    keys, values = build.contents(table)[:2]
    at = len(keys) - len(left)
    if not left:
        return "keys", False, at
    found: list[tuple[str, bool, int]] = []
    for backwards in (False, True) if len(keys) > 1 else (False,):
        step = -1 if backwards else 1
        ahead = list(zip(keys[::step], values[::step]))[at:]
        if at >= 0 and any(one is ahead[0][0] for one in gc.get_referents(iterator)):
            found += [(name, backwards, at) for name, shown in _SHOWN.items() if all(map(shown, left, ahead))]
    return found[0] if len(found) == 1 else None


_SHOWN: dict[str, Callable[[Any, tuple[Any, Any]], bool]] = {
    "keys": lambda one, item: one is item[0],
    "values": lambda one, item: one is item[1],
    "items": lambda one, item: type(one) is tuple and len(one) == 2 and one[0] is item[0] and one[1] is item[1],
}
"""What the views of a dict show of an item."""


def _chained(iterator: Any) -> tuple[Any, list[Any]]:
    """What a chain takes from now, None if it is at its start or end; and what comes behind that."""
    made = iterator.__reduce__()
    if len(made) < 3:
        return None, []
    source, active = made[2][0], made[2][1] if len(made[2]) > 1 else None
    if type(source) not in (type(iter(())), type(iter([]))):
        raise ValueError("a chain over an iterator")
    rest = list(sequence(source))[max(position(source), 0) :]
    if any(type(one) not in _CONTAINERS and not can_look_ahead(one) for one in rest):
        raise ValueError("a chain over something else than containers and iterators")
    return active, rest


_CONTAINERS = (list, tuple, str, bytes, range, dict, set, frozenset)


def _fork_chain(iterator: Any) -> Any:
    active, rest = _chained(iterator)
    made = itertools.chain(*[one if type(one) in _CONTAINERS else fork(one) for one in rest])
    return made if active is None else itertools.chain(fork(active), made)


def _fork_cycle(iterator: Any) -> Any:
    _, (inner,), (saved, again) = iterator.__reduce__()
    made: Any = itertools.cycle(fork(inner))
    made.__setstate__((list(saved), again))
    return made


def _fork_islice(iterator: Any) -> Any:
    _, (inner, *numbers), taken = iterator.__reduce__()
    made: Any = itertools.islice(fork(inner), *numbers)
    made.__setstate__(taken)
    return made


def _fork_longest(iterator: Any) -> Any:
    _, inner, fill = iterator.__reduce__()
    return itertools.zip_longest(*[one if one == () else fork(one) for one in inner], fillvalue=fill)


def _fork_enumerate(iterator: Any) -> Any:
    inner, count = iterator.__reduce__()[1]
    return enumerate(fork(inner), count)


def _fork_zip(iterator: Any) -> Any:
    made = iterator.__reduce__()
    return zip(*map(fork, made[1]), strict=len(made) > 2 and made[2])


Nested = tuple[Callable[[Any], "list[Any]"], Callable[[Any], Any]]
NESTED: dict[type, Nested] = {
    enumerate: (lambda it: [it.__reduce__()[1][0]], _fork_enumerate),
    zip: (lambda it: [*it.__reduce__()[1]], _fork_zip),
    itertools.cycle: (lambda it: [it.__reduce__()[1][0]], _fork_cycle),
    itertools.islice: (lambda it: [it.__reduce__()[1][0]], _fork_islice),
    itertools.zip_longest: (lambda it: [one for one in it.__reduce__()[1] if type(one) is not tuple], _fork_longest),
    itertools.chain: (lambda it: [one for one in _flat(*_chained(it)) if type(one) not in _CONTAINERS], _fork_chain),
}
"""Those that take from other iterators: these, and how another one is made that will give the same items."""


def _flat(active: Any, rest: list[Any]) -> list[Any]:
    return rest if active is None else [active, *rest]


def parts_of(iterator: Any) -> list[Any]:
    """The iterators that it takes from, itself first."""
    row = NESTED.get(type(iterator))
    return [iterator] if row is None else [iterator, *(part for one in row[0](iterator) for part in parts_of(one))]


def contents_of(iterator: Any) -> list[Any]:
    """The containers that it goes over, without those of its parts."""
    kind = type(iterator)
    if kind is itertools.chain:
        return [one for one in _chained(iterator)[1] if type(one) in _CONTAINERS]
    if kind in NESTED or kind in ALONE:
        return []
    return [sequence(iterator) if kind in KINDS else table_of(iterator)]


def can_look_ahead(iterator: Any) -> bool:
    """Whether what comes next can be seen without taking it: each part is of a known kind, and nobody else's."""
    try:
        parts = parts_of(iterator)
        if any(type(part) not in KNOWN for part in parts) or len({id(part) for part in parts}) < len(parts):
            return False
        tables = [table_of(part) for part in parts if type(part) is ORDERED]
        if any(table is not None and any_asks(table) for table in tables):
            return False  # it asks each key that it comes by, and so would another one
        fork(iterator)
    except (RuntimeError, ValueError):  # a dict that changed since; a chain over what gives iterators one after the other
        return False
    return True


def fork(iterator: Any) -> Any:
    """Another iterator that will give the same items."""
    kind = type(iterator)
    row = NESTED.get(kind)
    if row is not None:
        return row[1](iterator)
    if kind in KINDS and position(iterator) >= 0:
        _, (over,), at = iterator.__reduce__()
        again = _MAKE[kind](over)
        set_position(again, at)
        return again
    return copy.copy(iterator)


_MAKE: dict[type, Callable[[Any], Any]] = {
    type(iter([])): list.__iter__,
    type(iter(())): tuple.__iter__,
    type(iter(range(0))): iter,
    type(iter("")): str.__iter__,
    type(iter("\xe9")): str.__iter__,
    type(reversed([])): list.__reversed__,
    type(iter(b"")): bytes.__iter__,
}
"""How one of ``KINDS`` is made: a class that goes over its instances in another way is not asked."""

KNOWN: frozenset[type] = frozenset({*KINDS, *HASHED, *ALONE, *NESTED})
"""Those that can be looked ahead in, if their parts can."""


@worded("(what {} is made of)")
def made_of(iterator: Any) -> tuple[Any, ...]:
    """What a ``map``, ``filter``, ``zip`` or ``enumerate`` is made of by now; last, for ``zip``, whether it is strict."""
    made = iterator.__reduce__()
    given: tuple[Any, ...] = made[1]
    return (*given, len(made) > 2 and bool(made[2])) if type(iterator) is zip else given


class StandIn:
    """Stands for an iterator, which stays where it is for as long as the capture lives."""

    def moved(self) -> bool:
        """Whether the program took any, or saw that there are none."""
        raise NotImplementedError

    def progress(self) -> Any:
        """Equal for as long as nothing is taken."""
        raise NotImplementedError


@worded("(what {} gives next)")
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
    if not issubclass(type(table), collections.OrderedDict):
        return dict.items(table)
    try:
        return zip(*build.contents(table)[:2])  # its own iterators would ask each key for its hash
    except ValueError as error:
        raise Break("UNSUPPORTED_TYPE", str(error)) from None
