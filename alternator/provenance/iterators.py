"""Iterators over builtin sequences: what they go over, and how far they are; the order of dicts."""

from __future__ import annotations

import collections
from typing import Any

KINDS: tuple[type, ...] = (type(iter([])), type(iter(())), type(iter(range(0))), type(iter("")))
"""Those that show both (``__reduce__``) and whose position can be set (``__setstate__``)."""


def sequence(iterator: Any) -> Any:
    """What the iterator goes over; nothing once it is exhausted."""
    parts = iterator.__reduce__()
    return parts[1][0] if len(parts) > 2 else ()


def position(iterator: Any) -> int:
    """How many items were taken; -1 once it is exhausted."""
    parts = iterator.__reduce__()
    return int(parts[2]) if len(parts) > 2 else -1


def dict_items(table: dict[Any, Any]) -> Any:
    """The items in the order in which the program sees them (an OrderedDict keeps one of its own), without its methods."""
    return collections.OrderedDict.items(table) if isinstance(table, collections.OrderedDict) else dict.items(table)
