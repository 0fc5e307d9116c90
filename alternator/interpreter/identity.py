"""Identity and hashing: ``id()`` where an address means nothing once the capture is over, keys that are symbolic numbers."""

from __future__ import annotations

import operator
from typing import Any

import torch

from alternator.provenance.world import SCALARS
from alternator.tensors.graph import SYMBOLIC


class TracedId(int):
    """``id()`` of a tensor, or of something made while tracing.

    Good for comparing with its like, and as a key of the program's own.

    Where it meets numbers from outside, or leaves the captured code, an outside tensor has to be that very one (``settle``).
    """

    rec: Any

    def __new__(cls, value: int, rec: Any = None) -> "TracedId":
        made = super().__new__(cls, value)
        made.rec = rec
        return made

    def settle(self) -> int:
        """The address, which is relied on from now on."""
        if self.rec is not None:
            self.rec.source.guard("IS", self.rec.obj)
        return int(self)


def settled(value: Any) -> Any:
    """A value that is about to be compared with numbers from outside."""
    return value.settle() if type(value) is TracedId else value


def hashable(vm: Any, key: Any) -> Any:
    """A value that native code is about to hash: symbolic numbers become what they are."""
    kind = type(key)
    if kind in SCALARS:
        return key
    if isinstance(key, SYMBOLIC):
        return vm.symbolic(float if kind is torch.SymFloat else bool if kind is torch.SymBool else operator.index, key)
    vm.close(key)
    if kind is tuple and any(isinstance(item, (tuple, *SYMBOLIC)) for item in key):
        return tuple([hashable(vm, item) for item in key])
    return key
