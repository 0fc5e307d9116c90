"""Loops over a length that varies, in functions that break inside of one.

A ``for`` loop over ``range(n)`` or over an outside list takes the length for a constant: the loop is unrolled.  If a break comes
in between, only the items until there were needed.  So once that has happened, what such a loop goes over is made when it is
asked for: of a range it is only relied on that it has so many items, of a list only what is taken from it; the break makes
the iterator that plain Python would have by then.  Nobody but the loop itself can have it in hand: it is made only where it
goes straight into one.
"""

from __future__ import annotations

import operator
from typing import Any

from alternator.interpreter.frame import NULL
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.identity import hashable
from alternator.provenance import iterators
from alternator.provenance.world import MISSING
from alternator.tensors.graph import SYMBOLIC

UNBROKEN = 8
"""After so many items without a break the loop is taken for one that is unrolled."""
_LAZY = "loops break"


class Lazy:
    """The iterator of a loop; also stands for a range that an iterator over it is made of."""

    taken = 0

    def __iter__(self) -> "Lazy":
        return self

    def __next__(self) -> Any:
        value = self.take()
        if value is MISSING:
            raise StopIteration
        return value

    def take(self) -> Any:
        """The next item; MISSING if there is none."""
        raise NotImplementedError

    def settled(self) -> Any:
        """What Python would make; as long as nothing was taken."""
        raise NotImplementedError

    def variables(self, target: Any) -> list[str]:
        """Which names hold numbers that are counted; ``target``: what the items are assigned to (``codegen/varying.py``)."""
        return []


class Counted(Lazy):
    """Over ``range(start, stop, step)``."""

    def __init__(self, vm: Any, start: Any, stop: Any, step: int) -> None:
        self.vm = vm
        self.start = start
        self.stop = stop
        self.step = step

    def take(self) -> Any:
        vm = self.vm
        if self.taken == UNBROKEN:
            self.start, self.stop = hashable(vm, self.start), hashable(vm, self.stop)
        value = self.start if not self.taken else vm.symbolic(operator.add, self.start, self.taken * self.step)
        if not vm.truth(vm.symbolic(operator.lt if self.step > 0 else operator.gt, value, self.stop)):
            return MISSING
        vm.ticks += 1
        self.taken += 1
        return value

    def backwards(self) -> "Counted":
        """The same numbers, the last one first; for steps of one."""
        before = -1 if self.step > 0 else 1
        add = self.vm.symbolic
        return Counted(self.vm, add(operator.add, self.stop, before), add(operator.add, self.start, before), -self.step)

    def settled(self) -> Any:
        return range(hashable(self.vm, self.start), hashable(self.vm, self.stop), self.step)

    def variables(self, target: Any) -> list[str]:
        return [target] if type(target) is str else []


class Items(Lazy):
    """Over a list from outside."""

    def __init__(self, vm: Any, items: list[Any]) -> None:
        self.vm = vm
        self.items = items

    def take(self) -> Any:
        vm, at = self.vm, self.taken
        rec = vm.records.get(id(self.items))
        if not rec.filled:
            count = list.__len__(rec.obj)
            if at < count and at < UNBROKEN:
                value = vm.world.admit(list.__getitem__(rec.obj, at), rec.source.child("index", at))
                vm.ticks += 1
                self.taken += 1
                return value
            vm.fill(rec)
        vm.ticks += 1
        if at >= list.__len__(self.items):
            return MISSING
        self.taken += 1
        return list.__getitem__(self.items, at)

    def settled(self) -> Any:
        return self.items


class Numbered(Lazy):
    """``enumerate`` over one of these."""

    def __init__(self, vm: Any, inner: Lazy, start: int) -> None:
        self.vm = vm
        self.inner = inner
        self.start = start

    def take(self) -> Any:
        value = self.inner.take()
        if value is MISSING:
            return MISSING
        self.taken += 1
        return self.start + self.taken - 1, value

    def settled(self) -> Any:
        return enumerate(self.inner.settled(), self.start)

    def variables(self, target: Any) -> list[str]:
        if type(target) is not list or len(target) != 2:
            return []
        return ([target[0]] if type(target[0]) is str else []) + self.inner.variables(target[1])


class Together(Lazy):
    """``zip`` over some of these."""

    def __init__(self, vm: Any, inner: tuple[Lazy, ...]) -> None:
        self.vm = vm
        self.inner = inner

    def take(self) -> Any:
        values = []
        for one in self.inner:
            values.append(one.take())
            if values[-1] is MISSING:
                return MISSING
        return tuple(values)

    def settled(self) -> Any:
        return zip(*[one.settled() for one in self.inner])

    def variables(self, target: Any) -> list[str]:
        if type(target) is not list or len(target) != len(self.inner):
            return []
        return [name for one, below in zip(self.inner, target) for name in one.variables(below)]


# ---- where they are made


def note_break(frame: Any) -> None:
    """The function breaks there: if it is in a loop, lengths of loops are not relied on any more than needed."""
    if any(map(_is_a_loops, (*frame.stack, *frame.locals[:1]))):
        frame.vm.root_state[_LAZY] = True


def _is_a_loops(value: Any) -> bool:
    """An iterator of a loop, or a generator expression over one, which native code advances."""
    if type(value) is TracedGenerator:
        return any(type(local) in _ITERATORS for local in value.frame.locals[:1])
    return type(value) in _ITERATORS


_ITERATORS = frozenset({iterators.RANGE, *iterators.COMPOSED, type(iter([]))})


def over(vm: Any, obj: Any) -> Lazy | None:
    """The iterator of a loop over ``obj``; None: one like others."""
    if issubclass(type(obj), Lazy):
        lazy: Lazy = obj
        return lazy
    if type(obj) is not list or _LAZY not in vm.root_state:
        return None
    rec = vm.records.get(id(obj))
    return None if rec is None or rec.filled or type(rec.obj) is not list else Items(vm, obj)


MAKERS = frozenset({range, enumerate, zip, reversed})
"""What the loops are over that are looked at here."""


def make(frame: Any, kind: type, args: tuple[Any, ...]) -> tuple[Lazy | None, tuple[Any, ...]]:
    """What a call of ``kind`` gives that goes straight into a loop, and the arguments of the call where it is one like others."""
    vm = frame.vm
    if _LAZY not in vm.root_state:
        return None, args
    made = _made(vm, kind, args) if _goes_into_a_loop(frame) else None
    return made, args if made is not None else tuple([one.settled() if issubclass(type(one), Lazy) else one for one in args])


def _made(vm: Any, kind: type, args: tuple[Any, ...]) -> Lazy | None:
    if kind is range:
        if not any(issubclass(type(one), torch_int) for one in args) or not all(type(one) in (int, torch_int) for one in args):
            return None
        start, stop, step = (0, *args, 1) if len(args) == 1 else (*args, 1)[:3]
        return Counted(vm, start, stop, step) if type(step) is int and step else None
    if kind is reversed:
        inner = args[0] if len(args) == 1 else None
        return inner.backwards() if type(inner) is Counted and abs(inner.step) == 1 else None
    if kind is enumerate:
        start = args[1] if len(args) == 2 else 0
        first = over(vm, args[0]) if len(args) in (1, 2) else None
        return Numbered(vm, first, start) if first is not None and type(start) is int else None
    every = [Counted(vm, one.start, one.stop, one.step) if type(one) is range else over(vm, one) for one in args]
    found = tuple([one for one in every if one is not None])
    return Together(vm, found) if found and len(found) == len(every) else None


torch_int = SYMBOLIC[0]
_LOADS = {"LOAD_FAST": 1, "LOAD_CONST": 1, "LOAD_DEREF": 1, "LOAD_ATTR": 0, "NOP": 0}


def _goes_into_a_loop(frame: Any) -> bool:
    """Whether what the present call gives is what a loop goes over, or an argument of ``enumerate`` and the like that is."""
    instrs, at = frame.instrs, frame.pc
    left = len(frame.stack)  # of what the stack holds now; the result will be above
    while instrs[at].opname != "GET_ITER":
        pushed = 1
        while instrs[at].opname in _LOADS:
            pushed += _LOADS[instrs[at].opname]
            at += 1
        if instrs[at].opname == "PRECALL":
            at += 1
        left -= instrs[at].arg - pushed + 2 if instrs[at].opname == "CALL" and not instrs[at].kwnames else left + 1
        if left < 0 or frame.stack[left] is not NULL or type(frame.stack[left + 1]) is not type:
            return False
        if frame.stack[left + 1] not in MAKERS:
            return False
        at += 1
    return True
