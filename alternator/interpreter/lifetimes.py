"""Lifetimes: what dies inside of a captured piece, where the program can tell when it does.

The effects of a piece happen at its end, and what it drops dies in front of them.  Nobody can tell, unless the end of an
object runs code of the program (``__del__``, the callback of a weak reference, the cleanup of a generator) or shows (a weak
reference is dead).  Such an object must die where it does plainly, so the piece ends in front of the instruction that drops it.

Objects that the program makes while it is traced are real, and die while it is traced; those that run code then are not made
(``calls.no_finalizer``).  What remains is what comes from outside: values that the frame alone may hold (its variables), and
what is taken out of outside objects (a list's item, an attribute that is bound anew).  When a piece is finished, ``lost`` finds
what it no longer holds of these.  If the end of one would show, the frame is captured again, and is watched: after each
instruction it is looked whether one has been lost, and that instruction is a break.  What cannot be told of those that
would not show this time is guarded.
"""

from __future__ import annotations

import collections
import gc
import itertools
import types
from typing import Any, Iterable, NamedTuple, cast

import torch

from alternator._C.eval_frame import drive
from alternator.bytecode.assemble import origin_of
from alternator.exc import Break, Restart, SkipFrame, UserRaise
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.links import passes_on
from alternator.interpreter.lookahead import Ahead, Counting
from alternator.interpreter.outside_generators import OutsideGenerator
from alternator.provenance.changes import has_changed, records
from alternator.provenance.ends import MOST, PLAIN, held, held_by, is_apart, is_observed, is_plain, quiet_fact, way_to_hold
from alternator.provenance.iterators import StandIn, dict_items
from alternator.provenance.source import Source
from alternator.provenance.world import Outside, Unread

WATCHED = "lifetimes are watched"
"""The key of a frame's state: something dies in a piece of it whose end shows."""

# ---- what may be lost


class Candidate(NamedTuple):
    """A value from outside that the piece may have been the last to hold.

    ``source``: where a guard finds what it is about; ``how`` and ``name``: how it finds the value there (``ends.held``).
    """

    value: Any
    standin: Any
    source: Source | None
    how: str = "itself"
    name: str = ""


def _candidate(vm: Any, item: Any) -> Candidate | None:
    """An item of an outside container, as the capture has it."""
    if type(item) is Unread:
        return Candidate(item.obj, item, item.source)
    rec = vm.records.get(id(item)) if type(item) not in PLAIN else None
    return None if rec is None or is_plain(rec.obj) else Candidate(rec.obj, rec.standin, rec.source)


def _taken_out(vm: Any, rec: Outside) -> list[Any]:
    """The items that an outside container, iterator or generator held at first, and holds no more."""
    standin: Any = rec.standin
    if issubclass(type(standin), OutsideGenerator):
        if standin.frame is None:
            return []
        now = {id(item) for item in (*standin.frame.locals, *standin.frame.stack)} if not standin.finished else set()
        return [item for item in standin.first if id(item) not in now]
    if issubclass(type(standin), Ahead):
        return _under(standin) if standin.has_ended() else []
    if rec.snapshot is None or not has_changed(rec):
        return []
    if issubclass(type(standin), dict):
        before: Any = [part for item in rec.snapshot for part in item]
        now = {id(part) for item in dict_items(standin) for part in item}
    else:
        before = rec.snapshot
        now = {id(item) for item in _iterator_of(standin)(standin)}
    return [item for item in before if id(item) not in now]


def _under(ahead: Ahead) -> list[Unread]:
    """What an iterator goes over: it lets go of that at its end."""
    if issubclass(type(ahead), Counting):
        return []
    return [Unread(item, ahead.source) for item in gc.get_referents(ahead.iterator) if not is_plain(item)]


def _iterator_of(container: Any) -> Any:
    for kind in (list, set, frozenset, collections.deque):
        if issubclass(type(container), kind):
            return cast(Any, kind).__iter__
    return iter


def _replaced(vm: Any, effect: tuple[Any, ...]) -> Candidate | None:
    """What an attribute, a global or a cell held that was written."""
    kind, target = effect[0], effect[1]
    if kind == "call":
        return None
    source, name = (effect[2], effect[3]) if kind == "global" else (target.source, effect[2])
    holder = target if kind == "global" else target.obj
    how = way_to_hold(kind, holder)
    if issubclass(type(holder), torch.Tensor):
        return None
    old = held(how, holder, name)
    if is_plain(old) and _is_guarded(source if kind == "global" else target.inner, kind, name):
        return None
    rec = vm.records.get(id(old)) if not is_plain(old) else None
    return Candidate(old, old if rec is None else rec.standin, source, how, name)


def _is_guarded(source: Source, kind: str, name: str) -> bool:
    """Whether the capture relies on what is there: something without a life, in each call."""
    steps: dict[str, list[tuple[str, Any]]]
    steps = {"cell": [("cell", None)], "class": [("typeattr", name)], "global": [("dictitem", name)]}
    node: Source | None = source
    for step in steps.get(kind, [("dict", None), ("dictitem", name)]):
        node = node.children.get(step) if node is not None else None
    return node is not None and bool(node.guards)


def _shows_nothing(source: Source) -> bool:
    """Whether what is guarded there says enough: a value without a life, or a tuple or list of such."""
    if "EQ" in source.guards:
        return is_plain(source.guards["EQ"][1])
    if "TYPE" not in source.guards:
        return False
    kind = source.guards["TYPE"][1]
    if kind not in (tuple, list) or "LEN" not in source.guards:
        return is_apart(kind)
    items = [source.children.get(("index", i)) for i in range(source.guards["LEN"][1])]
    return all(item is not None and _shows_nothing(item) for item in items)


# ---- what is held


class Lifetimes:
    """What one capture knows of the values that its frame may be the last to hold."""

    def __init__(self, vm: Any, frame: Any) -> None:
        self.vm = vm
        vm.lifetimes = self
        given = [value for value in frame.locals if type(value) is Unread]
        self.unread = [(i, value) for i, value in enumerate(frame.locals) if type(value) is Unread]
        origin = origin_of(frame.code)
        self._parts: dict[int, list[Unread]] = {}
        if origin is not None and origin.link >= 0:  # what the rest of the callee is called with
            given += self._take_apart(given[-2].obj, given.pop())
        self.slots = [Candidate(one.obj, one, one.source) for one in given if not is_plain(one.obj)]
        self._first = list(self.slots)
        self.watching = WATCHED in vm.root_state
        if self.watching:
            vm.watch = self
            frame.handlers = self.wrap(frame.handlers, frame.instrs)
        self._out: list[Candidate] = []
        self._effects = 0
        self._records = 0
        self._containers: dict[int, tuple[Outside, list[Candidate]]] = {}
        self._unfilled: dict[int, Outside] = {}  # containers of which no item was seen
        self._seen = 0

    def _take_apart(self, rest: Any, given: Unread) -> list[Unread]:
        """What the rest of a callee is called with, which may end with the rest of another call and what that is called with."""
        made = self._parts[id(given.obj)] = [Unread(item, given.source.child("index", i)) for i, item in enumerate(given.obj)]
        if made and made[0].obj is drive:  # what is done with the result comes behind
            return [*made[:2], *self._take_apart(made[1].obj, made[2]), *made[3:]]
        origin = origin_of(rest.__code__) if type(rest) is types.FunctionType else None
        if origin is not None and origin.link >= 0:
            return [*made[:-1], *self._take_apart(made[-2].obj, made[-1])]
        return made

    def release(self) -> None:
        """The capture is over."""
        self.slots, self._first, self.unread, self._out = [], [], [], []
        self._containers.clear()
        self._unfilled.clear()
        self._parts.clear()

    def missing(self, frames: list[Any], more: Iterable[Any], candidates: list[Candidate]) -> list[Candidate]:
        """Those candidates that nothing of the program's holds any more."""
        left = [one for one in candidates if not self._is_at_hand(frames, one)]
        if not left:
            return left
        reached = self._reached(frames, more)
        return [one for one in left if id(one.value) not in reached]

    def _is_at_hand(self, frames: list[Any], candidate: Candidate) -> bool:
        """A variable, or the stack, holds it: the usual case, seen at a glance."""
        value = candidate.value
        rec = self.vm.records.get(id(value))
        standin = value if rec is None else rec.standin
        for frame in frames:
            for item in (*frame.locals, *frame.stack):
                if item is value or item is standin or type(item) is Unread and item.obj is value:
                    return True
        return False

    def _reached(self, frames: list[Any], more: Iterable[Any]) -> set[int]:
        """The ids of all that the program's frames hold, and what it has written to outside objects."""
        vm = self.vm
        pending = [*more, vm.handled, vm.handled_below]
        for frame in frames:
            pending += frame.locals
            pending += frame.stack
        loose = {id(one.value) for one in self.slots}
        for rec in records(vm):
            if id(rec.obj) not in loose:
                pending += (rec.attrs or {}).values()
                if rec.overlaid or has_changed(rec):
                    pending += self._contents_of(rec)
        for space in vm.shadow_globals.values():
            pending += space.values()
        for effect in vm.world.effects:
            if effect[0] == "call":
                pending += [*effect[2], *effect[3].values()]
        seen: set[int] = set()
        while pending and len(seen) < 20 * MOST:
            one = pending.pop()
            if type(one) in PLAIN or id(one) in seen:
                continue
            seen.add(id(one))
            pending += self._below(one, seen)
        if self.watching:  # behind each instruction, perhaps
            vm.weigh(steps=len(seen) // _PER_STEP)
        return seen

    def _below(self, one: Any, seen: set[int]) -> Iterable[Any]:
        """What an object holds for the program while it is traced."""
        vm, kind = self.vm, type(one)
        if kind is Unread:
            seen.add(id(one.obj))
            return self._parts.get(id(one.obj), ())
        rec = vm.records.get(id(one))
        found: list[Any] = []
        if rec is not None:
            seen.update((id(rec.obj), id(rec.standin)))
            found += (rec.attrs or {}).values()
            found += self._parts.get(id(rec.obj), ())
            return found + self._contents_of(rec)
        if issubclass(kind, torch.Tensor):
            return vm.spaces.get(id(one), {}).values()
        if issubclass(kind, TracedGenerator):
            return [*one.frame.locals, *one.frame.stack] if not one.finished and one.frame is not None else ()
        return () if is_plain(one) else held_by(one)

    def _contents_of(self, rec: Outside) -> list[Any]:
        """What a container from outside holds, as far as it was read or written; a generator, where it was advanced."""
        standin: Any = rec.standin
        if issubclass(type(standin), OutsideGenerator):
            return [*standin.frame.locals, *standin.frame.stack] if standin.frame is not None and not standin.finished else []
        if issubclass(type(standin), Counting):
            return [standin.inner]
        if standin is rec.obj or issubclass(type(standin), Ahead):
            return []
        if issubclass(type(standin), dict):
            partial = list(rec.partial.values()) if rec.partial else []
            return [part for item in dict_items(standin) for part in item] + partial
        if issubclass(type(standin), tuple):
            return list(tuple.__iter__(standin))
        return gc.get_referents(standin)

    # ---- at the end of a piece

    def settle(self, frame: Any, result: Any) -> list[Any]:
        """The piece ends here: begin anew, and watch, where something was lost whose end shows; else guard that nothing shows.

        Gives what lives on, until the function returns, if it does now, and is in no variable itself: what was taken out of
        outside objects, and what objects hold that the piece has made.
        """
        given_up = self._given_up()
        frames = _frames(frame)
        lost = self.check(frames, (result,), given_up)
        self._check_pairs(frames, given_up)
        for one in (*self.slots, *given_up):
            if id(one.value) in lost or one.how != "itself" and is_plain(one.value):
                self._rely(one)
        while frame.parent is not None:
            frame = frame.parent
        for at, value in self.unread:
            if is_plain(value.obj) and frame.locals[at] is not value and not value.source.guards:
                self._rely(Candidate(value.obj, value, value.source))
        held = [one for one in given_up if id(one.value) not in lost and not is_plain(one.value)]
        inside = [one for one in self.slots if id(one.value) not in lost and not self._is_at_hand(frames, one)]
        for one in inside:
            if not self._is_observed(one.value):
                self._rely(one)
        return [one.standin for one in (*inside, *held) if self._is_observed(one.value)]

    def _check_pairs(self, frames: list[Any], given_up: list[Candidate]) -> None:
        """What an iterator keeps of a tuple that it gave is not kept by the one that is made anew, if the program has such a
        tuple itself, or that was taken out of what the iterator goes over.

        So nobody must be able to tell, or else the program runs plainly from its start.
        """
        gone = {id(one.value) for one in given_up}
        for frame in frames:
            here = [*frame.locals, *frame.stack]
            given = any(type(one) is tuple and id(one) not in self.vm.records for one in here)
            for iterator in [one for one in here if type(one) in _KEEP_TUPLES]:
                kept = [item for one in gc.get_referents(iterator) if type(one) is tuple for item in one]
                for found in [_candidate(self.vm, item) for item in kept]:
                    if found is None or not given and id(found.value) not in gone:
                        continue
                    if self._is_observed(found.value):
                        raise SkipFrame(f"an iterator may be the last to hold a {type(found.value).__name__}, whose end shows")
                    self._rely(found)

    def _is_observed(self, value: Any) -> bool:
        return is_observed(value, [one.value for one in self._apart()])

    def _apart(self) -> list[Candidate]:
        """What is looked at by itself, or has nothing left to do: a generator that was run to its end in this piece."""
        done = [rec for rec in self.vm.outside_generators if cast(Any, rec.standin).finished]
        apart = self._first + [Candidate(rec.obj, rec.standin, rec.source) for rec in done]
        return [one for one in apart if one.source is not None]  # as the guards will see it

    def check(self, frames: list[Any], more: Iterable[Any] = (), given_up: list[Candidate] | None = None) -> set[int]:
        """Begin anew, and watch, if something was lost whose end shows.  The ids of what else was lost."""
        candidates = self.slots + (self._given_up() if given_up is None else given_up)
        missing = self.missing(frames, more, [one for one in candidates if not is_plain(one.value)])
        if missing:
            if any(self._is_observed(one.value) for one in missing):
                if self.watching:
                    raise SkipFrame("the place where an object dies is not known")
                self.vm.root_state[WATCHED] = True
                raise Restart(lambda: None)
        return {id(one.value) for one in missing}

    def _given_up(self) -> list[Candidate]:
        """What outside objects held, and do not hold any more."""
        vm = self.vm
        found: list[Candidate | None] = []
        for rec in records(vm):
            if rec.snapshot is not None or issubclass(type(rec.standin), StandIn):
                found += [_candidate(vm, item) for item in _taken_out(vm, rec)]
        effects = {}
        for effect in vm.world.effects:
            if effect[0] != "call":
                effects[effect[0], id(effect[1]), effect[-2]] = effect
        found += [_replaced(vm, effect) for effect in effects.values()]
        return [one for one in found if one is not None]

    def _rely(self, one: Candidate) -> None:
        """Guard that the end of what is found there does not show."""
        source = one.source
        if source is None or one.how == "itself" and _shows_nothing(source):
            return
        taken = one.how != "itself"
        others: list[Source] = []
        if not (taken and is_plain(one.value)):
            others = [cast(Source, slot.source) for slot in self._apart() if slot.source is not source or taken]
        nodes = tuple(node.want() for node in (source, *others))
        what = f"{one.name} of {source.name}" if taken else source.name
        text = f"nobody is told when {what} dies"
        fact = quiet_fact(nodes, one.how, one.name, text)
        if fact not in self.vm.world.tree.tail:
            self.vm.world.tree.tail.append(fact)

    # ---- watched

    def wrap(self, handlers: list[Any], instrs: list[Any]) -> list[Any]:
        """Handlers that look, behind each instruction that may drop something, whether it did."""
        return [handler if instr.opname in _DROPS_NOTHING else self._watched(handler) for handler, instr in zip(handlers, instrs)]

    def _watched(self, handler: Any) -> Any:
        @passes_on
        def run_and_look(f: Any, i: Any) -> Any:
            try:
                done = handler(f, i)
            except UserRaise as raised:
                entry = f.decoded.exception_entry(f.at)
                self.look(f, raised.exc, f.stack[entry.depth if entry is not None else 0 :])
                raise
            if done is None:
                self.look(f, None, ())
            return done

        return run_and_look

    def look(self, frame: Any, error: Any, dropped: Any) -> None:
        """Break if something was lost; ``dropped``: what the stack holds, but does not keep."""
        self._follow()
        candidates = self.slots + self._out
        for _, items in self._containers.values():
            candidates += items
        if not candidates:
            return
        frames = _frames(frame)
        stack = frame.stack
        if dropped:
            frame.stack = stack[: len(stack) - len(dropped)]
        try:
            missing = self.missing(frames, (error,), self._not_where_they_were(candidates))
        finally:
            frame.stack = stack
        if not missing:
            return
        for one in missing:
            if self._is_observed(one.value):
                vm = self.vm
                vm.ticks += 1  # variables are not what they were before the instruction
                raise Break("LIFETIME", f"the end of a {type(one.value).__name__}")
        gone = {id(one.value) for one in missing}
        self.slots = [one for one in self.slots if id(one.value) not in gone]
        self._out = [one for one in self._out if id(one.value) not in gone]

    def _follow(self) -> None:
        """Note what was replaced by the effects since the last look, and containers that were read."""
        vm = self.vm
        effects = vm.world.effects
        for effect in effects[self._effects :] if len(effects) > self._effects else ():
            found = _replaced(vm, effect)
            if found is not None and not is_plain(found.value) and self._is_observed(found.value):
                self._out.append(found)
        self._effects = len(effects)
        if len(vm.records) > self._seen:  # they are many in a long loop, and never go
            for rec in itertools.islice(vm.records.values(), self._seen, None):
                if rec.state is not None or rec.snapshot is not None or issubclass(type(rec.standin), StandIn):
                    self._unfilled[id(rec)] = rec
            self._seen = len(vm.records)
        for rec in [*self._unfilled.values()]:
            if rec.snapshot is not None or issubclass(type(rec.standin), (OutsideGenerator, Ahead)):
                del self._unfilled[id(rec)]
                if id(rec) not in self._containers:
                    self._containers[id(rec)] = rec, self._observed_items(rec)

    def _observed_items(self, rec: Outside) -> list[Candidate]:
        standin: Any = rec.standin
        if issubclass(type(standin), OutsideGenerator):
            before: Any = standin.first
        elif issubclass(type(standin), Ahead):
            before = _under(standin)
        elif issubclass(type(standin), dict):
            before = [part for item in rec.snapshot for part in item]
        else:
            before = rec.snapshot
        found = [_candidate(self.vm, item) for item in before]
        return [one for one in found if one is not None and self._is_observed(one.value)]

    def _not_where_they_were(self, candidates: list[Candidate]) -> list[Candidate]:
        """Leave out the items of containers that still hold them."""
        inside = set()
        out = set()
        for rec, items in self._containers.values():
            if items:
                inside |= {id(one.value) for one in items}
                out |= {id(found.value) for item in _taken_out(self.vm, rec) if (found := _candidate(self.vm, item)) is not None}
        slots = {id(one.value) for one in self.slots}
        return [one for one in candidates if id(one.value) in slots or id(one.value) not in inside or id(one.value) in out]


def check(vm: Any) -> None:
    """The program looks whether something lives: nothing must have been lost by now."""
    vm.lifetimes.check(_frames(vm.frame))


def is_held(vm: Any, value: Any) -> bool:
    """Whether the program is seen to hold an object that it has made."""
    return not vm.lifetimes.missing(_frames(vm.frame), (), [Candidate(value, value, None)])


def _frames(frame: Any) -> list[Any]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.parent
    return frames


_KEEP_TUPLES = frozenset({type(iter({}.items())), type(reversed({}.items())), enumerate, zip})
"""Iterators that keep a tuple which they gave, to use it again once nobody else has it."""
_PER_STEP = 20
"""So many objects are looked at in the time that a step of a loop takes."""
_DROPS_NOTHING = frozenset(
    """NOP RESUME PRECALL KW_NAMES CACHE EXTENDED_ARG PUSH_NULL COPY SWAP LOAD_CONST LOAD_FAST LOAD_CLOSURE LOAD_DEREF LOAD_GLOBAL
    MAKE_CELL COPY_FREE_VARS JUMP_FORWARD JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT RETURN_GENERATOR PUSH_EXC_INFO
    BUILD_TUPLE BUILD_LIST""".split()
)
