"""What abstract base classes said no to: a class may be registered with one later, and a yes stays."""

from __future__ import annotations

import abc
import weakref
from typing import Any

_DENIED = "denied by abstract base classes"


class _Denied:
    """The guard of all such answers of a capture: they are asked for again when any class was registered since."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[int, int], tuple[weakref.ref[type], weakref.ref[type]]] = {}
        self.asked = abc.get_cache_token()

    def stands(self) -> bool:
        now = abc.get_cache_token()
        if now == self.asked:
            return True
        for first, second in self.pairs.values():
            kind, cls = first(), second()
            if kind is not None and cls is not None and _is_subclass(kind, cls):
                return False
        self.asked = now
        return True


def _is_subclass(kind: type, cls: type) -> bool:
    try:
        return issubclass(kind, cls)
    except TypeError:  # a protocol with more than methods: in doubt
        return True


def rely_on_denial(vm: Any, kind: Any, cls: Any) -> None:
    """``issubclass(kind, cls)`` was False; of a class that answers by ``abc.ABCMeta``'s registry that is relied on."""
    if not issubclass(type(cls), abc.ABCMeta) or not issubclass(type(kind), type):
        return
    if vm.world.is_made(cls) or vm.world.is_made(kind):
        return
    denied = vm.states.get(_DENIED)
    if denied is None:
        denied = vm.states[_DENIED] = _Denied()
        vm.world.tree.tail.append(("PY", (), denied.stands, "no class was registered with an abstract base class that denied it"))
    denied.pairs.setdefault((id(kind), id(cls)), (weakref.ref(kind), weakref.ref(cls)))
