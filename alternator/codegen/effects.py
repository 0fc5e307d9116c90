"""Replaying what the program wrote to outside objects: after the graph, all loads first (they are parameters), in order."""

from __future__ import annotations

import builtins
import collections
import threading
import types
from typing import Any

import torch

from alternator._C import build
from alternator._C.eval_frame import set_count, set_finished, set_running, set_waiting
from alternator.bytecode.analysis import stack_state
from alternator.codegen.builder import Builder
from alternator.codegen.rebuild import arrange, put_unasked
from alternator.exc import Break
from alternator.interpreter.lookahead import Ahead, Counting
from alternator.interpreter.outside_generators import OutsideGenerator
from alternator.provenance import iterators, storage
from alternator.provenance.changes import has_changed, records
from alternator.provenance.keys import any_asks, hash_of, special, take_out
from alternator.provenance.sets import arrangement, is_value, same_but_for_one
from alternator.provenance.world import MISSING, Outside, module_space
from alternator.tensors.state import GlobalState


def replay(b: Builder, before: GlobalState, after: GlobalState) -> None:
    """Write the statements for every effect of the capture."""
    changed = sorted(filter(has_changed, records(b.vm)), key=_takes_from_unchanged, reverse=True)
    for rec in changed:
        b.load(rec.source)
    containers = [lambda rec=rec: _REPLAY[_family(rec)](b, rec) for rec in changed]  # type: ignore[misc]
    for write in containers:
        write()
    _keep_apart(b, changed)
    effects = _condensed(b.vm.world.effects)
    targets = collections.Counter(map(_target, effects))
    for effect in effects:
        if targets[_target(effect)] > 1 or not _is_in_place(effect):
            _EFFECTS[effect[0]](b, *effect[1:])
    b.written()
    for region in b.vm.states.get("inference regions", ()):  # what is open keeps the state in front of it, and goes back to it
        context = b.value(region.context)
        _set_state(b, [*before.steps_to(region.before), (torch._C._set_grad_enabled, region.before.grad)])
        b.emit(f"{b.constant(torch.inference_mode.__enter__, 'enter')}({context})")
        before = region.before.with_grad(not after.grad)
    _set_state(b, before.steps_to(after))


def _set_state(b: Builder, steps: list[tuple[Any, ...]]) -> None:
    for fn, *args in steps:
        b.emit(f"{b.constant(fn, 'set_state')}({', '.join(b.value(a) for a in args)})")


def has_effects(vm: Any) -> bool:
    """The program has done something outside of the graph that generated code is to do, other than to advance iterators, which
    the loops of a frame that an exception leaves need no more."""
    changed = filter(has_changed, records(vm))
    return bool(vm.world.effects) or any(not issubclass(type(rec.standin), iterators.StandIn) for rec in changed)


def _takes_from_unchanged(rec: Outside) -> bool:
    """Items were taken before what they are in was changed."""
    kind = type(rec.standin)  # isinstance() would ask a __class__ of the program's
    return issubclass(kind, Ahead) and not issubclass(kind, Counting) and rec.standin.pinned is None


def _keep_apart(b: Builder, changed: list[Outside]) -> None:
    """What was written must not turn out to be what was read by another name: objects of its type are different ones."""
    written = {id(rec): rec for rec in changed}
    for effect in b.vm.world.effects:
        if type(effect[1]) is Outside:
            written[id(effect[1])] = effect[1]
    of_written = {type(rec.obj) for rec in written.values()}
    for kind in of_written | b.vm.compared:
        if issubclass(kind, (type, types.ModuleType, types.FunctionType)):
            continue
        alike = [rec for rec in records(b.vm) if type(rec.obj) is kind]
        if issubclass(kind, torch.Tensor) and kind not in of_written:
            b.vm.world.told_apart += alike  # together with those that are inputs of the graph
        elif len(alike) > 1 and not all(_is_one(rec) for rec in alike):
            b.vm.world.tree.tail.append(("DISTINCT", tuple(rec.source.want() for rec in alike)))


def _is_one(rec: Outside) -> bool:
    """Held by identity: it cannot be another one in the next call."""
    return "IS" in rec.source.guards or rec.source.access == "object"


def _condensed(effects: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """One write per target: its last value, at the place of the first write since the target was deleted (which decides on the
    order of the keys of a ``__dict__``)."""
    kept: dict[Any, tuple[Any, ...]] = {}
    for effect in effects:
        target = _target(effect)
        if effect[-1] is MISSING and (target, "deleted") in kept:
            kept.pop(target, None)
            continue
        if target in kept and effect[-1] is MISSING:
            del kept[target]
        elif target in kept and kept[target][-1] is MISSING:
            kept[target, "deleted"] = kept.pop(target)
        kept[target] = effect
    return list(kept.values())


def _is_in_place(effect: tuple[Any, ...]) -> bool:
    """Whether the guards say that the attribute has this value already: a flag that was set and set back."""
    if effect[0] != "attr" or type(effect[3]) not in _SETTLED:
        return False
    _, rec, name, value = effect
    space = rec.source.children.get(("dict", None))
    item = space.children.get(("dictitem", name)) if space is not None else None
    if item is None or not ({"EQ", "IS"} & item.guards.keys()) or any(name in base.__dict__ for base in type(rec.obj).__mro__):
        return False
    return object.__getattribute__(rec.obj, "__dict__").get(name, MISSING) is value


_SETTLED = frozenset({bool, int, str, type(None)})


def _family(rec: Outside) -> type:
    for kind in _REPLAY:
        if issubclass(type(rec.standin), kind):
            return kind
    raise AssertionError(type(rec.standin))


_SET_ITEMS: Any = set.__iter__


def _replay_list(b: Builder, rec: Outside) -> None:
    old, new = rec.snapshot, list(list.__iter__(rec.standin))
    target = b.load(rec.source)
    if len(new) > len(old) and all(a is c for a, c in zip(old, new)):
        b.emit(f"list.extend({target}, ({b.values(new[len(old) :])},))")
    else:
        b.emit(f"list.__setitem__({target}, slice(None), [{b.values(new)}])")


def _replay_dict(b: Builder, rec: Outside) -> None:
    old, new = rec.snapshot, list(iterators.dict_items(rec.standin))
    target = b.load(rec.source)
    ordered = issubclass(type(rec.standin), collections.OrderedDict)
    base = b.constant(collections.OrderedDict, "OrderedDict") if ordered else "dict"
    if rec.obj is vars(builtins):
        raise Break("UNSUPPORTED_EFFECT", "a change of the builtins, which all code uses")
    if any_asks([key for key, _ in (*old, *new)]):
        _replay_unasked(b, rec, target, base)
        return
    old = _without_the_deleted(b, target, base, old, new)
    if len(new) >= len(old) and all(a[0] is c[0] for a, c in zip(old, new)):
        values = dict.fromkeys(range(len(old)))
        for i, (key, value) in enumerate(new):
            if i not in values or old[i][1] is not value:
                b.emit(f"{base}.__setitem__({target}, {b.value(key)}, {b.value(value)})")
        return
    items = ", ".join(f"({b.value(k)}, {b.value(v)})" for k, v in new)
    fresh = b.assign(f"({items},)" if items else "()")
    b.emit(f"{base}.clear({target})")
    if ordered:
        b.emit(f"for k, v in {fresh}: {base}.__setitem__({target}, k, v)")
    else:
        b.emit(f"dict.update({target}, {fresh})")


def _replay_unasked(b: Builder, rec: Outside, target: str, base: str) -> None:
    """Make the table what it is while tracing, without asking keys for what they told the program already."""
    keys, values, hashes = build.contents(rec.standin)
    before = {id(key): value for key, value in rec.snapshot}
    left = set(map(id, keys))
    kept = [key for key, _ in rec.snapshot if id(key) in left]
    if all(a is c for a, c in zip(kept, keys)):
        pairs = zip(build.contents(rec.obj)[0], rec.snapshot)
        _take_out(b, target, rec, [(key, standin) for key, (standin, _) in pairs if id(standin) not in left])
    else:
        b.emit(f"{base}.clear({target})")
        before.clear()
    for key, value, known in zip(keys, values, hashes):
        if before.get(id(key), MISSING) is not value:
            put_unasked(b, target, rec.standin, key, value, known)


def _take_out(b: Builder, target: str, rec: Outside, gone: list[tuple[Any, Any]]) -> None:
    """Take keys out of a table: those of the table itself, with what stands for them."""
    keys, _, hashes = build.contents(rec.obj)
    known = dict(zip(map(id, keys), hashes))
    for key, standin in gone:
        found = hash_of(b.vm, key, known[id(key)]) if id(key) in known else None
        b.emit(f"{b.constant(take_out, 'take_out')}({target}, {b.value(standin)}, {found!r})")


def _without_the_deleted(b: Builder, target: str, base: str, old: Any, new: Any) -> Any:
    """Delete the keys that are gone, one by one, if that leaves the order of the others as it is: what is left of ``old``."""
    keys = {id(key) for key, _ in new}
    kept = [item for item in old if id(item[0]) in keys]
    if len(kept) == len(old) or any(a[0] is not c[0] for a, c in zip(kept, new)) or len(new) < len(kept):
        return old
    for key, _ in old:
        if id(key) not in keys:
            b.emit(f"{base}.__delitem__({target}, {b.value(key)})")
    return kept


def _replay_set(b: Builder, rec: Outside) -> None:
    if not rec.snapshot:
        if not rec.standin and same_but_for_one(rec.standin, rec.obj):
            return  # what came and went was alone, so nobody can have seen the table
        rec.source.guard("ITEMS", (), build.set_layout(rec.obj))
    target = b.load(rec.source)
    old, new = {id(item) for item in rec.snapshot}, {id(item) for item in _SET_ITEMS(rec.standin)}
    gone = [item for item in rec.snapshot if id(item) not in new]
    added = [item for item in _SET_ITEMS(rec.standin) if id(item) not in old]
    if any_asks([*gone, *added]):
        _take_out(b, target, rec, [(item, item) for item in gone])
        for item, known in zip(*build.contents(rec.standin)[::2]):
            if id(item) not in old:
                put_unasked(b, target, rec.standin, item, item, known)
        return
    if gone:
        b.emit(f"set.difference_update({target}, ({b.values(gone)},))")
    if added:
        b.emit(f"set.update({target}, ({b.values(added)},))")
    if all(map(is_value, (*rec.snapshot, *added))):
        becomes = set(rec.obj)
        if (places := arrangement(becomes, rec.obj)) is not None:
            build.arrange_set(becomes, places)
        becomes.difference_update(gone)
        becomes.update(added)
        arrange(b, target, becomes, rec.standin)


def _replay_deque(b: Builder, rec: Outside) -> None:
    target = b.load(rec.source)
    held = storage.items(rec.standin)
    items = b.assign(f"({b.values(held)},)" if held else "()")
    deque = b.constant(collections.deque, "deque")
    b.emit(f"{deque}.clear({target})")
    b.emit(f"{deque}.extend({target}, {items})")


def _replay_iterator(b: Builder, rec: Outside) -> None:
    target, ahead = b.load(rec.source), rec.standin
    if type(ahead) is Counting:
        b.emit(f"{b.constant(set_count, 'set_count')}({target}, {b.value(ahead.count)})")
        return
    if ahead.pinned is None:
        b.emit(f"{b.constant(iterators.take, 'take')}({target}, {ahead.taken + ahead.ended})")
        return
    at = iterators.position(ahead.pinned)
    set_position = b.constant(iterators.set_position, "set_position")
    b.emit(f"{set_position}({target}, {at})" if at >= 0 else f"for _ in {target}: pass")


_REPLAY: dict[type, Any] = {list: _replay_list, dict: _replay_dict, set: _replay_set, collections.deque: _replay_deque}
_REPLAY[Ahead] = _replay_iterator


def _replay_generator(b: Builder, rec: Outside) -> None:
    target, standin = b.load(rec.source), rec.standin
    frame = standin.frame
    if standin.finished:
        b.emit(f"{b.constant(set_finished, 'finished')}({target})")
        return
    if standin.interrupted:  # what is in its frame goes to the rest of its body
        b.emit_late(f"{b.constant(set_running, 'run')}({target}, {{}})")
        return
    if standin.running:
        raise Break("GENERATOR_STATE", "a generator that is running leaves the captured code")
    changed = [i for i in range(len(frame.locals)) if not standin.is_unchanged(i)]
    variables = ", ".join(f"{i}: {b.value(frame.locals[i])}" for i in changed)
    b.emit_late(f"{b.constant(set_waiting, 'wait')}({target}, {waiting_state(b, frame, variables)})")


_REPLAY[OutsideGenerator] = _replay_generator


def waiting_state(b: Builder, frame: Any, variables: str) -> str:
    """Where a frame waits, its variables (as an expression), its stack, and what it is handling: for ``set_waiting``."""
    offsets = stack_state(frame.decoded, frame.at).lasti
    stack = [frame.instrs[item].offset // 2 if i in offsets else item for i, item in enumerate(frame.stack)]
    items = b.values(stack) + ("," if len(stack) == 1 else "")
    return f"{frame.instrs[frame.at].offset}, {{{variables}}}, ({items}), {b.value(frame.handled)}"


# ---- attributes, cells, globals, deferred calls


def _target(effect: tuple[Any, ...]) -> Any:
    kind = effect[0]
    if kind == "global":
        return kind, id(effect[1]), effect[3]
    if kind == "call":
        return kind, id(effect)
    return kind, id(effect[1]), effect[2]


def _attr(b: Builder, rec: Outside, name: str, value: Any) -> None:
    target = b.load(rec.source)
    plain = issubclass(type(rec.obj), (torch.Tensor, types.ModuleType, types.FunctionType))
    plain = plain or special(type(rec.obj), "__setattr__") is threading.local.__setattr__  # C code knows which thread's they are
    if value is MISSING:
        writer = "delattr" if plain else f"{b.constant(object.__delattr__, 'delete')}"
        if _was_there(rec.obj, name):
            b.emit(f"{writer}({target}, {name!r})")
        return
    writer = "setattr" if plain else f"{b.constant(object.__setattr__, 'set')}"
    b.emit(f"{writer}({target}, {name!r}, {b.value(value)})")


def _was_there(obj: Any, name: str) -> bool:
    """Whether the object had the attribute itself, in its dict or a slot, before the captured code ran."""
    for base in type(obj).__mro__:
        raw = base.__dict__.get(name)
        if type(raw) is types.MemberDescriptorType:
            try:
                raw.__get__(obj, type(obj))
            except AttributeError:
                return False
            return True
    space = module_space(obj) if issubclass(type(obj), types.ModuleType) else getattr(obj, "__dict__", ())
    return name in space


def _class(b: Builder, rec: Outside, name: str, value: Any) -> None:
    b.emit(f"{b.constant(type.__setattr__, 'set_class')}({b.load(rec.source)}, {name!r}, {b.value(value)})")


def _cell(b: Builder, rec: Outside, name: str, value: Any) -> None:
    if value is MISSING:
        b.emit(f"del {b.load(rec.source)}.cell_contents")
    else:
        b.emit(f"{b.load(rec.source)}.cell_contents = {b.value(value)}")


def _global(b: Builder, space: Any, source: Any, name: str, value: Any) -> None:
    if value is MISSING:
        b.emit(f"dict.pop({b.load(source)}, {name!r}, None)")
    else:
        b.emit(f"dict.__setitem__({b.load(source)}, {name!r}, {b.value(value)})")


def _call(b: Builder, fn: Any, args: Any, kwargs: Any) -> None:
    words = [b.value(a) for a in args] + [f"{k}={b.value(v)}" for k, v in kwargs.items()]
    b.emit(f"{b.constant(fn, 'call')}({', '.join(words)})")


_EFFECTS: dict[str, Any] = {"attr": _attr, "class": _class, "cell": _cell, "global": _global, "call": _call}

__all__ = ["Break", "has_effects", "replay"]
