"""Iterators from outside over builtin containers (``interpreter/lookahead.py`` says how they are read)."""

from __future__ import annotations

import types
from typing import Any

from alternator.exc import Break
from alternator.interpreter import attributes
from alternator.interpreter.lookahead import STANDINS, Ahead, Counting
from alternator.interpreter.tables import GETATTR, RULES
from alternator.provenance import iterators
from alternator.provenance.source import COUNTS, Source
from alternator.provenance.world import ADMIT, World


@ADMIT.register(*STANDINS)
def admit_iterator(world: World, obj: Any, source: Source) -> Any:
    """One that can be looked ahead in, unless another one takes from it too."""
    source.guard("TYPE", type(obj))
    if type(obj) not in STANDINS or not iterators.can_look_ahead(obj) or not _kept_apart(world, obj, source):
        return admit_composed(world, obj, source)
    standin = STANDINS[type(obj)](world.vm, obj, source)
    world.record(obj, source, standin).snapshot = 0
    return standin


@ADMIT.register(map, filter)
def admit_composed(world: World, obj: Any, source: Source) -> Any:
    """One that is made of others: its stand-in is made of theirs. All that moves are those; and the number of ``enumerate``."""
    kind = type(obj)
    source.guard("TYPE", kind)
    if kind not in _COMPOSED:
        world.record(obj, source)
        return obj
    made = iterators.made_of(obj)
    parts = source.child("call", iterators.made_of)
    parts.guard("LEN", len(made))
    if kind is enumerate:
        parts.child("index", 1).static = COUNTS
    given = tuple([world.admit(part, parts.child("index", i)) for i, part in enumerate(made)])
    if kind is enumerate:
        standin: Any = Counting(world.vm, source, *given)
        world.record(obj, source, standin).snapshot = 0
        return standin
    kwargs = {"strict": given[-1]} if kind is zip else {}
    standin = world.vm.call(kind, given[:-1] if kind is zip else given, kwargs)
    world.record(obj, source, standin)
    return standin


_COMPOSED = (map, filter, zip, enumerate)


def _kept_apart(world: World, obj: Any, source: Source) -> bool:
    """Whether none of the iterators that are looked ahead in takes from what this one takes from; guarded."""
    others = world.vm.states.setdefault("iterators", [])
    if not all(iterators.are_apart(obj, other) for other, _ in others):
        return False
    for _, seen in others:
        world.tree.tail.append(("PY", (source.want(), seen.want()), iterators.are_apart, "iterators of their own"))
    others.append((obj, source))
    return True


@RULES.rule(Ahead.__iter__)
def ahead_iter(vm: Any, args: Any, kwargs: Any) -> Any:
    return args[0]


@RULES.rule(Ahead.__next__)
def ahead_next(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(args[0].__next__)


def load_attr(vm: Any, iterator: Ahead, name: str) -> Any:
    """``iterator.name`` as of the iterator that it stands for."""
    if name in ("__next__", "__iter__"):
        return types.MethodType(getattr(Ahead, name), iterator)
    if name == "__class__":
        return iterator.kind
    if hasattr(iterator.kind, name):
        raise Break("OUTSIDE_ITERATOR", f"{name} of a {iterator.kind.__name__}")
    raise vm.user_raise(AttributeError(f"'{iterator.kind.__name__}' object has no attribute '{name}'", name=name, obj=iterator))


for _kind, _standin in STANDINS.items():
    attributes.show_as(_standin, _kind)
    GETATTR.put(_standin, load_attr)
attributes.show_as(Counting, enumerate)
GETATTR.put(Counting, load_attr)
