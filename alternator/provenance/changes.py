"""Which outside containers the program has changed: their stand-ins differ from what was read into them."""

from __future__ import annotations

from typing import Any

from alternator._C import build
from alternator.provenance import iterators, storage
from alternator.provenance.sets import is_value
from alternator.provenance.world import Outside

_SET_ITEMS: Any = set.__iter__


def records(vm: Any) -> list[Outside]:
    """The records of all outside objects, each once."""
    return list({id(rec): rec for rec in vm.records.values()}.values())


def has_changed(rec: Outside) -> bool:
    """Whether a container holds something else than at first."""
    if rec.snapshot is None:
        return False
    standin, before = rec.standin, rec.snapshot
    if issubclass(type(standin), iterators.StandIn):
        return standin.moved()
    if issubclass(type(standin), dict):
        now: Any = list(iterators.dict_items(standin))
        return len(now) != len(before) or any(a[0] is not c[0] or a[1] is not c[1] for a, c in zip(now, before))
    if issubclass(type(standin), (set, frozenset)):
        if build.same_table(standin, rec.obj):
            return False
        return all(map(is_value, before)) or {id(item) for item in _SET_ITEMS(standin)} != {id(item) for item in before}
    now = storage.items(standin)
    return len(now) != len(before) or any(a is not c for a, c in zip(now, before))
