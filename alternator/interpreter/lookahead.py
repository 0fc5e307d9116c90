"""Iterators from outside: what they give next is seen, with guards, without taking it; taking it is an effect.

How far an iterator is, and what it is over, is not relied on, only the items that are looked at: so the rest of a loop,
captured once, serves every iteration.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

from alternator.exc import Break
from alternator.provenance import iterators
from alternator.provenance.changes import has_changed
from alternator.provenance.source import COUNTS, Source
from alternator.provenance.world import MISSING, Unread


class Ahead(iterators.StandIn):
    """The stand-in of an iterator from outside."""

    kind: type

    def __init__(self, vm: Any, iterator: Any, source: Source) -> None:
        self.vm = vm
        self.iterator = iterator
        self.source = source
        self.upcoming = iterators.Upcoming()
        self.items = source.child("call", self.upcoming)
        self.fork = iterators.fork(iterator)
        self.taken = 0
        self.ended = False
        self.pinned: Any = None

    def __iter__(self) -> "Ahead":
        return self

    def __next__(self) -> Any:
        value = self.take()
        if value is MISSING:
            raise StopIteration
        return value

    def moved(self) -> bool:
        return bool(self.taken or self.ended or self.pinned is not None)

    def progress(self) -> Any:
        return self.taken, self.ended, None if self.pinned is None else iterators.position(self.pinned)

    def has_ended(self) -> bool:
        """Whether it was seen to have no more items."""
        return self.ended

    def take(self) -> Any:
        """The next item; MISSING if there is none."""
        value = self.take_unread()
        return self.vm.world.admit(value.obj, value.source) if type(value) is Unread else value

    def take_unread(self) -> Any:
        """The next item, without a guard if it is from outside."""
        self.vm.ticks += 1
        if self.pinned is None and self._changed():
            self._pin()
        if self.pinned is not None:
            return self.vm.plain(next, self.pinned, MISSING)
        if self.ended:
            return MISSING
        value = self.vm.plain(next, self.fork, MISSING)
        number = self.taken
        if value is MISSING:
            self.ended = True
            self.upcoming.count = number + 1
            self.items.guard("LEN", number)
            return MISSING
        self.taken += 1
        self.upcoming.count = self.taken
        found = self.items.child("index", number)
        found.want()
        _mark_counts(self.iterator, found)
        return Unread(value, found)

    def _changed(self) -> bool:
        """Whether the program has written to what the iterator goes over."""
        for part in iterators.parts_of(self.iterator):
            for over in iterators.contents_of(part):
                rec = self.vm.records.get(id(over))
                if rec is not None and has_changed(rec):
                    return True
        return False

    def _pin(self) -> None:
        """Rely on the position after all: go on over the stand-in of what was changed."""
        if self.kind not in iterators.KINDS or self.ended:
            raise Break("OUTSIDE_ITERATOR", f"{self.kind.__name__}, of something that was changed")
        at = iterators.position(self.iterator)
        self.source.child("call", iterators.position).guard("EQ", at)
        items = self.vm.world.admit(iterators.sequence(self.iterator), self.source.child("call", iterators.sequence))
        make = reversed if self.kind is type(reversed([])) else iter
        self.pinned = make(self.vm.fill_value(items))
        if at >= 0:
            iterators.set_position(self.pinned, at + self.taken if make is iter else at - self.taken)
        else:
            iterators.take(self.pinned, len(items) + 1)


def _mark_counts(iterator: Any, item: Source) -> None:
    """Numbers that the loop itself counts through are another in each iteration: none of them is taken for a constant."""
    kind = type(iterator)
    if kind in iterators.COUNTERS:
        item.static = COUNTS
    elif kind is itertools.islice:
        _mark_counts(iterator.__reduce__()[1][0], item)
    elif kind in iterators.COMPOSED:
        parts = iterator.__reduce__()[1]
        if kind is enumerate:
            item.child("index", 0).static = COUNTS
            _mark_counts(parts[0], item.child("index", 1))
        else:
            for number, part in enumerate(parts):
                _mark_counts(part, item.child("index", number))


class Counting(Ahead):
    """The stand-in of an ``enumerate`` over what cannot be looked ahead in: it counts what the stand-in of that gives."""

    kind = enumerate

    def __init__(self, vm: Any, source: Source, inner: Any, count: Any) -> None:
        self.vm = vm
        self.source = source
        self.inner = inner
        self.count = self.first = count

    def moved(self) -> bool:
        return self.count is not self.first

    def progress(self) -> Any:
        return id(self.count)

    def has_ended(self) -> bool:
        """What it counts has an end of its own."""
        return False

    def take_unread(self) -> Any:
        """The next pair."""
        self.vm.ticks += 1
        value = self.vm.call(next, (self.inner, MISSING))
        if value is MISSING:
            return MISSING
        count = self.count
        self.count = self.vm.symbolic(operator.add, count, 1)
        return count, value


STANDINS: dict[type, type[Ahead]] = {kind: type(f"Ahead_{kind.__name__}", (Ahead,), {"kind": kind}) for kind in iterators.KNOWN}
"""Kind of an iterator -> the class of its stand-in."""
