"""How iterators that were made while tracing are made anew, as far as they were taken from: more rows of the REBUILD table."""

from __future__ import annotations

import collections
import itertools
from typing import Any

from alternator.codegen.builder import Builder
from alternator.exc import Break
from alternator.interpreter import loops
from alternator.interpreter.tables import REBUILD
from alternator.provenance import iterators
from alternator.provenance.changes import has_changed
from alternator.provenance.ends import is_plain
from alternator.provenance.world import Unread


def _by_reduce(b: Builder, value: Any) -> str:
    """Builtin iterators know how they are made and how far they are."""
    parts = value.__reduce__()
    name = b.assign(f"{b.value(parts[0])}({b.values(parts[1])})")
    if len(parts) > 2 and parts[2] is not None:
        set_position = b.constant(iterators.set_position, "set_position")
        b.emit_late(f"{set_position}({name}, {b.value(parts[2])})")
    return name


@REBUILD.rule(loops.Counted)
def rebuild_counted(b: Builder, value: Any) -> str:
    name = b.assign(f"iter(range({b.value(value.start)}, {b.value(value.stop)}, {value.step}))")
    if value.taken:
        b.emit(f"{name}.__setstate__({value.taken})")
    return name


@REBUILD.rule(loops.Items)
def rebuild_items(b: Builder, value: Any) -> str:
    name = b.assign(f"iter({b.value(value.items)})")
    if value.taken:
        b.emit_late(f"{b.constant(iterators.set_position, 'set_position')}({name}, {value.taken})")
    return name


@REBUILD.rule(loops.Numbered)
def rebuild_numbered(b: Builder, value: Any) -> str:
    return b.assign(f"enumerate({b.value(value.inner)}, {value.start + value.taken})")


@REBUILD.rule(loops.Together)
def rebuild_together(b: Builder, value: Any) -> str:
    return b.assign(f"zip({b.values(value.inner)})")


_iterator: Any
for _iterator in (
    iter([]),
    iter(()),
    iter(range(0)),
    iter(""),
    reversed([]),
    enumerate(()),
    zip(),
    iter(set()),
):
    REBUILD.put(type(_iterator), _by_reduce)
_VIEWS_OF: dict[type, str] = {type(iter({})): "keys", type(iter({}.values())): "values", type(iter({}.items())): "items"}


@REBUILD.rule(*_VIEWS_OF)
def rebuild_dict_iterator(b: Builder, value: Any) -> str:
    """One over the same dict, moved on as far: it must notice when the dict changes."""
    table = iterators.table_of(value)
    if table is None:
        return b.assign(f"iter({{}}.{_VIEWS_OF[type(value)]}())")
    left = value.__length_hint__()
    if not left and not iterators.can_look_ahead(value):
        raise Break("UNREBUILDABLE_OUTPUT", "an iterator over a dict that changed since")
    name = b.assign(f"iter(dict.{_VIEWS_OF[type(value)]}({b.value(table)}))")
    b.emit(f"{b.constant(iterators.take, 'take')}({name}, {len(table) - left})")
    return name


@REBUILD.rule(iterators.ORDERED)
def rebuild_ordered_iterator(b: Builder, value: Any) -> str:
    """Likewise over an OrderedDict, which it must not meet while that is changed."""
    table = iterators.table_of(value)
    if table is None:
        return b.assign(f"iter({b.constant(collections.OrderedDict, 'OrderedDict')}())")
    rec = b.vm.records.get(id(table))
    place = iterators.ordered_place(value, table) if rec is None or not has_changed(rec) else None
    if place is None:
        raise Break("UNREBUILDABLE_OUTPUT", "an iterator over an OrderedDict whose place is not known")
    view, backwards, taken = place
    if view == "items" and taken:
        last = list(iterators.dict_items(table))[-taken if backwards else taken - 1]
        if not all(_ends_unseen(b, one) for one in last):
            raise Break("UNREBUILDABLE_OUTPUT", "an iterator over an OrderedDict that may be the last to hold what it gave")
    shown = f"{b.constant(collections.OrderedDict, 'OrderedDict')}.{view}({b.value(table)})"
    name = b.assign(f"{'reversed' if backwards else 'iter'}({shown})")
    if taken:
        b.emit(f"{b.constant(iterators.take, 'take')}({name}, {taken})")
    return name


def _ends_unseen(b: Builder, one: Any) -> bool:
    """Whether nobody can tell how long the value lives: the iterator keeps it, in a tuple that it does not show."""
    if type(one) is Unread:
        if is_plain(one.obj):
            one.source.guard("TYPE", type(one.obj))
        return is_plain(one.obj)
    rec = b.vm.records.get(id(one))
    return is_plain(one if rec is None else rec.obj)


for _name in (
    "chain",
    "count",
    "cycle",
    "islice",
    "repeat",
    "zip_longest",
    "accumulate",
    "product",
    "permutations",
    "combinations",
    "combinations_with_replacement",
    "compress",
    "dropwhile",
    "takewhile",
    "filterfalse",
    "starmap",
):
    REBUILD.put(getattr(itertools, _name), _by_reduce)


def _view(b: Builder, value: Any) -> str:
    """One of the same dict: it shows what is done to it later."""
    ordered = type(value).__name__.startswith("odict_")
    base = b.constant(collections.OrderedDict, "OrderedDict") if ordered else "dict"
    return b.assign(f"{base}.{type(value).__name__.partition('_')[2]}({b.value(iterators.table_of(value))})")


_mapping: Any
for _mapping in ({}, collections.OrderedDict()):
    for _views in (_mapping.keys(), _mapping.values(), _mapping.items()):
        REBUILD.put(type(_views), _view)
