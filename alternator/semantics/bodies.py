"""Running the body of a higher-order operator: its tensor work goes into a subgraph, everything else must stay inside."""

from __future__ import annotations

import collections
import functools
import types
from typing import Any, Iterator

import torch

from alternator.exc import Break, UserRaise
from alternator.interpreter.generators import TracedGenerator
from alternator.provenance.iterators import StandIn
from alternator.provenance.world import SCALARS, Unread, is_heap
from alternator.tensors.state import GlobalState
from alternator.tensors.subgraph import SubRecorder

MAX_OBJECTS = 20000
_LEAVES = SCALARS | frozenset(
    {
        type,
        types.ModuleType,
        types.BuiltinFunctionType,
        types.CodeType,
        torch.dtype,
        torch.device,
        torch.Size,
        range,
        torch.SymInt,
        torch.SymFloat,
        torch.SymBool,
    }
)


class Body:
    """A body that was run: its recorder and what it returned."""

    def __init__(self, recorder: SubRecorder, result: Any) -> None:
        self.recorder = recorder
        self.result = result


def run_body(
    vm: Any,
    what: str,
    fn: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    formals: Any = (),
    effects: bool = False,
    mutation: bool = False,
    ignore: Any = None,
    name: str = "arg",
) -> Body:
    """Interpret ``fn(*args, **kwargs)`` with its tensor work going into a graph of its own.

    ``formals`` are values that get a placeholder each, in order; others are lifted when they are used.  Unless ``effects``
    (``mutation``) allows it, a write to anything that exists already (to a tensor) is a break: an operator may run its body
    not at all, or many times.  Writes to the object ``ignore`` don't matter.
    """
    outer = vm.recorder
    inner = SubRecorder(outer, what)
    for value in formals:
        inner.formal(value, name)
    watch = None if effects else Watch(vm, (fn, args, kwargs), ignore)
    state = GlobalState()
    vm.recorder = inner
    try:
        result = vm.call(fn, args, kwargs or {})
    except UserRaise as raised:
        raise Break("HOP_BODY", f"{what}: its body raises {type(raised.exc).__name__}: {raised.exc}") from None
    finally:
        vm.recorder = outer
    if state.steps_to(GlobalState()):
        raise Break("HOP_BODY", f"{what}: its body changes torch's global state")
    changed = watch.changed() if watch is not None else None
    if changed is not None:
        raise Break("HOP_BODY", f"{what}: its body changes {changed}")
    if not mutation and inner.mutated():
        raise Break("HOP_BODY", f"{what}: its body changes a tensor from around it in place")
    return Body(inner, result)


class Watch:
    """Remembers everything that a function can reach and write, to see afterwards whether it did.

    Writes to outside objects are in the world's ledger; stand-ins of containers, and what the program made before, are
    compared with a shallow copy.
    """

    def __init__(self, vm: Any, roots: Any, ignore: Any = None) -> None:
        self.vm = vm
        self.ignore = ignore
        self.effects = list(vm.world.effects)
        self._filled: dict[int, list[Any]] = {}
        self._fresh: dict[int, tuple[Any, list[Any]]] = {}
        written = []
        for rec in self._containers():
            self._filled[id(rec)] = _items(rec.standin)
            if self._written(rec):
                written.append(rec.standin)
        self._visit([roots, written, [effect[-1] for effect in self.effects]])

    def _containers(self) -> list[Any]:
        return list({id(rec): rec for rec in self.vm.records.values() if rec.snapshot is not None}.values())

    def _visit(self, todo: list[Any]) -> None:
        while todo:
            value = todo.pop()
            if type(value) in _LEAVES or id(value) in self._fresh or issubclass(type(value), (torch.Tensor, Unread)):
                continue
            rec = self.vm.records.get(id(value))
            if rec is not None and rec.standin is rec.obj:
                continue
            contents = _contents(value)
            self._fresh[id(value)] = (value, contents)
            if len(self._fresh) > MAX_OBJECTS:
                raise Break("HOP_BODY", "the body can reach too many objects to see whether it changes one")
            todo += contents

    def changed(self) -> str | None:
        """What was written, in words; None if nothing was."""
        now = self.vm.world.effects
        if not self._same(self.effects, now):
            return _effect_text(now[-1]) if now else "an object from outside"
        for rec in self._containers():
            if self._written(rec, self._filled.get(id(rec))):
                return str(rec.source.name)
        for value, before in self._fresh.values():
            rec = self.vm.records.get(id(value))
            if rec is None and value is not self.ignore and not self._same(before, _contents(value)):
                return f"a {type(value).__name__} that was made before it"
        return None

    def _written(self, rec: Any, before: list[Any] | None = None) -> bool:
        """Whether a container is not what it was ``before``, by default when it was first looked at."""
        if before is None and issubclass(type(rec.standin), StandIn):
            return bool(rec.standin.moved())
        return not self._same(_items(rec.snapshot) if before is None else before, _items(rec.standin))

    def _same(self, before: list[Any], after: list[Any]) -> bool:
        return len(before) == len(after) and all(
            a is b or type(a) is Unread and self._read(a) is b for a, b in zip(before, after)
        )

    def _read(self, value: Unread) -> Any:
        """What stands where an outside value stood that had not been looked at."""
        rec = self.vm.records.get(id(value.obj))
        return rec.standin if rec is not None else value.obj


def _effect_text(effect: tuple[Any, ...]) -> str:
    if effect[0] == "call":
        return f"the order of output ({getattr(effect[1], '__name__', effect[1])})"
    if effect[0] == "global":
        return f"the global {effect[3]}"
    return f"{effect[1].source.name}.{effect[2]}"


def _items(container: Any) -> list[Any]:
    """The contents of a container (the snapshot of a dict is a list of its items), for comparison by identity."""
    if issubclass(type(container), dict):
        return [part for item in dict.items(container) for part in item]
    if issubclass(type(container), (set, frozenset)):
        return sorted(container, key=id)
    if issubclass(type(container), StandIn):  # an iterator: not its items, of which some would be taken, but how far it is
        return [*object.__getattribute__(container, "__dict__").values(), *_place(container)]
    items = list(container)
    if items and all(type(item) is tuple and len(item) == 2 for item in items):
        return [part for item in items for part in item]
    return items


def _contents(value: Any) -> list[Any]:
    """What a value refers to, and a program could replace."""
    kind = type(value)
    if issubclass(type(value), dict):
        return [x for item in dict.items(value) for x in item] + _attributes(value)
    if issubclass(type(value), (list, tuple, collections.deque)):
        return list(value) + _attributes(value)
    if issubclass(type(value), (set, frozenset)):
        return sorted(value, key=id) + _attributes(value)
    if kind is types.CellType:
        return _cell(value)
    if kind is types.FunctionType:
        return [*(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__, value.__dict__]
    if kind is types.MethodType:
        return [value.__func__, value.__self__]
    if kind is functools.partial:
        return [value.func, value.args, value.keywords]
    if issubclass(kind, TracedGenerator):
        return _place(value)
    if isinstance(value, Iterator):
        raise Break("HOP_BODY", f"the body can reach a {kind.__name__}, which it may advance")
    return _attributes(value)


def _place(iterator: Any) -> list[Any]:
    """Where a generator waits, and with what; nothing for other iterators, and for one that was not looked at."""
    frame = iterator.frame if issubclass(type(iterator), TracedGenerator) else None
    return [] if frame is None else [*frame.locals, *frame.stack, frame.pc]


def _cell(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _attributes(value: Any) -> list[Any]:
    found: list[Any] = []
    if type(value).__dictoffset__:
        found += [x for item in object.__getattribute__(value, "__dict__").items() for x in item]
    for base in type(value).__mro__:
        if is_heap(base):
            for raw in base.__dict__.values():
                if type(raw) is types.MemberDescriptorType:
                    try:
                        found.append(raw.__get__(value))
                    except AttributeError:
                        continue
    return found


__all__ = ["Body", "Watch", "run_body"]
