"""Sets: their members, and the table in which these lie.

The order of a set, of what is added to it and of the sets that are made of it follow from its table, so equal sets may
differ. Where values lie is the same in each call, and can be relied on and made again; where other objects lie follows from
their addresses.
"""

from __future__ import annotations

import struct
from typing import Any

from alternator._C import build
from alternator.provenance.source import worded
from alternator.provenance.world import ADMIT

_PLAIN = frozenset({str, int, bool, float, bytes, complex, type(None), range})


@worded("list({})")
def items_of(members: Any) -> tuple[Any, ...]:
    """The members in their order, whatever a subclass makes of iteration."""
    return tuple(set.__iter__(members) if issubclass(type(members), set) else frozenset.__iter__(members))


def is_value(value: Any) -> bool:
    """A constant, or a tuple or frozenset of such: equal ones are the same key, made anew for each call or not."""
    return ADMIT.is_constant(type(value)) or type(value) in (tuple, frozenset) and all(map(is_value, value))


def is_plain(value: Any) -> bool:
    """A value that native guards compare without running Python."""
    return type(value) in _PLAIN or type(value) in (tuple, frozenset) and all(map(is_plain, value))


def same_value(a: Any, b: Any) -> bool:
    """Whether nothing but identity tells two values from each other: ``1`` is not ``True``, a set not one in another order."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in (tuple, frozenset):
        alike = type(a) is tuple or build.set_layout(a) == build.set_layout(b)
        return alike and len(a) == len(b) and all(map(same_value, a, b))
    if type(a) in (float, complex):
        return struct.pack("dd", a.real, a.imag) == struct.pack("dd", b.real, b.imag)
    return bool(a == b)


def arrangement(members: Any, like: Any) -> Any:
    """What ``arrange_set`` is to be given to make the table of ``members`` that of ``like``, a set of the very same members;
    None if it is that already."""
    if build.same_table(members, like):
        return None
    mask, finger, slots, gone = build.set_layout(like)
    place = dict(zip(map(id, items_of(like)), slots))
    return mask, finger, tuple(place[id(member)] for member in items_of(members)), gone


def same_but_for_one(left: Any, before: Any) -> bool:
    """Whether the table of an empty set bears at most one mark of a member that is gone more than it did before."""
    mask, _, _, gone = build.set_layout(left)
    mask_before, _, _, gone_before = build.set_layout(before)
    return bool(mask == mask_before and len(gone) <= len(gone_before) + 1)
