"""Iterators from outside over builtin sequences: the sequence and the position are guarded, and the position is an effect."""

from __future__ import annotations

from typing import Any

from alternator.provenance.iterators import KINDS, position, sequence
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World


@ADMIT.register(*KINDS)
def admit_iterator(world: World, obj: Any, source: Source) -> Any:
    """An iterator of our own at the same position, over the stand-in of the same sequence."""
    source.guard("TYPE", type(obj))
    at = position(obj)
    source.child("call", position).guard("EQ", at)
    items = world.admit(sequence(obj), source.child("call", sequence))
    standin = iter(world.vm.fill_value(items))
    if at >= 0:
        standin.__setstate__(at)
    else:
        for _ in standin:
            pass
    rec = world.record(obj, source, standin)
    rec.snapshot = at if at >= 0 else None
    return standin
