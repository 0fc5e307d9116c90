"""What abstract base classes said no to: a class may be registered with one later, and a yes stays."""

from __future__ import annotations

import abc
import weakref
from typing import Any

_DENIED = "denied by abstract base classes"


class _Denied:
    """All such answers of a capture: the native guard asks for them again when any class was registered since."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[int, int], tuple[weakref.ref[type], weakref.ref[type]]] = {}

    def stand(self) -> bool:
        for first, second in self.pairs.values():
            kind, cls = first(), second()
            if kind is not None and cls is not None and _is_subclass(kind, cls):
                return False
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
        text = "no class was registered with an abstract base class that denied it"
        vm.world.tree.tail.append(("UNREGISTERED", abc.get_cache_token(), denied.stand, text))
    denied.pairs.setdefault((id(kind), id(cls)), (weakref.ref(kind), weakref.ref(cls)))
