"""Whether the end of an object shows: whether the program can tell when it dies.

It can where that runs code of the program (``__del__``, the callback of a weak reference, the cleanup of a generator) or is
seen (a weak reference is dead).  The native module looks through what an object holds, without running anything, for captures
and for guards; here is what it is told of classes.
"""

from __future__ import annotations

import io
import threading
import types
from typing import Any, Iterable, NamedTuple

import torch

from alternator._C import guards
from alternator.provenance.source import Source
from alternator.provenance.world import MISSING, SCALARS, instance_space

_WEAK_OFFSET: Any = type.__dict__["__weakrefoffset__"].__get__

PLAIN = SCALARS | {type(Ellipsis), type(NotImplemented), type(MISSING), types.CodeType, types.BuiltinFunctionType, range}
PLAIN |= {torch.dtype, torch.device, torch.Size, types.MethodDescriptorType, types.WrapperDescriptorType}
"""Types of values that live as long as the process, or whose end means nothing."""

APART: tuple[type, ...] = (type, types.ModuleType, torch.Tensor, torch.nn.Module, torch.SymInt, torch.SymFloat, torch.SymBool)
"""Likewise, with their subclasses, and classes of ours: tensors and modules are referred to weakly by torch and by us, and a
piece keeps tensors as long as its graph does."""

SILENT: tuple[type, ...] = (io.StringIO, io.BytesIO)
"""Their ``__del__`` does nothing that shows."""

_HOLDERS: set[type] = {tuple, list, dict, set, frozenset, enumerate, zip, reversed, types.CellType, types.MethodType, slice}
_EXAMPLES: tuple[Any, ...] = ((), [], {}, {}.values(), {}.items(), set(), "", b"", range(0))
_HOLDERS |= {type(iter(example)) for example in _EXAMPLES}
HOLDERS = frozenset(kind for kind in _HOLDERS if _WEAK_OFFSET(kind) == 0)
"""Types whose objects have no end that shows, whatever they hold: neither ``__del__`` nor weak references."""

guards.set_lifetime_kinds(tuple(PLAIN), tuple(HOLDERS), SILENT, APART)

MOST = 1000
"""An object that holds more than this is not looked through."""

MOST_LATER = 2 * MOST
"""For guards: the object may have grown a little since it was decided that they can be relied on."""


def is_observed(value: Any, apart: Iterable[Any] = ()) -> bool:
    """Whether the program can tell when the value dies, or something that it holds; in doubt it can.

    ``apart``: what it may hold as well, but is looked at by itself.
    """
    return guards.is_observed(value, tuple(apart), MOST)


def is_apart(kind: type) -> bool:
    """Whether the ends of a class's objects are not looked at."""
    return guards.is_apart(kind)


def is_plain(value: Any) -> bool:
    """Whether the end of the value is not looked at."""
    return guards.is_apart(type(value))


def held_by(value: Any) -> tuple[Any, ...]:
    """What it holds; of a function and a frame without the namespaces that they share with others."""
    return guards.held_by(value)


def way_to_hold(effect: str, holder: Any) -> str:
    """How :func:`held` finds what an effect of this kind replaces."""
    if effect in ("global", "class", "cell"):
        return effect
    return "thread" if issubclass(type(holder), threading.local) else "attribute"


def held(how: str, holder: Any, name: str) -> Any:
    """What is there now, in a holder: ``attribute``: of the object itself, in its dict or a slot; ``class``: in its own
    namespace; ``global``: in the dict; ``cell``: in the cell; ``thread``: what this thread has of a ``threading.local``.
    MISSING if there is nothing.
    """
    if how == "thread":
        return dict.get(instance_space(holder) or {}, name, MISSING)
    return guards.held(how, holder, name, MISSING)


def quiet_fact(nodes: tuple[Source, ...], how: str, name: str, text: str) -> tuple[Any, ...]:
    """A row for the tail of the guard table: the end of what the first node holds does not show; others are looked at apart."""
    if how == "thread":
        return ("PY", nodes, _QuietInThread(name), text)
    return ("QUIET", nodes, how, name, MOST_LATER, text)


class _QuietInThread(NamedTuple):
    """The end of what this thread has under a name does not show."""

    name: str

    def __call__(self, holder: Any, *apart: Any) -> bool:
        return not guards.is_observed(held("thread", holder, self.name), apart, MOST_LATER)
