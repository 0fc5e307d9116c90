"""Generators from outside: their frame is read where it waits, with guards, and goes on in the interpreter.

Nothing of one is relied on until it is advanced. Then: the place where it waits, and of its variables those that are read. The
original stays where it is until the captured code is left; then it is put where its stand-in waits (``codegen/effects.py``).
"""

from __future__ import annotations

import contextlib
import inspect
import types
from typing import Any

from alternator._C.eval_frame import waiting
from alternator.bytecode.analysis import INTERNAL, stack_state
from alternator.exc import Break
from alternator.interpreter.frame import NULL, Frame
from alternator.interpreter.generators import TracedGenerator, stop_iteration
from alternator.interpreter.links import passes_on
from alternator.provenance.iterators import StandIn
from alternator.provenance.source import Source
from alternator.provenance.world import Unread

AWAY = -2
"""The place of a generator whose body is cut in two by a break, as long as the rest of it runs."""


class OutsideGenerator(TracedGenerator, StandIn):
    """The stand-in of a generator from outside."""

    def __init__(self, vm: Any, generator: types.GeneratorType[Any, Any, Any], source: Source) -> None:
        self.vm = vm
        self.generator = generator
        self.source = source
        self.frame: Any = None
        self.running = False
        self.finished = False
        self.interrupted = False
        self.outer = None, None
        self.was_finished = False
        self.first: list[Any] = []
        self._moved = False

    def moved(self) -> bool:
        """Whether the program advanced it."""
        return self._moved and not self.was_finished

    def progress(self) -> Any:
        frame = self.frame
        if frame is None or self.finished:
            return self._moved, self.finished
        return self._moved, frame.pc, [*map(id, frame.locals)], [*map(id, frame.stack)]

    def must_be_closed(self) -> bool:
        """It lives outside, where it is closed when nobody holds it any more."""
        return False

    def waits_in_handlers(self) -> bool:
        """Whether giving it up now, if nobody else holds it, would run code of the user's."""
        with contextlib.suppress(Break):  # one that runs is held by what runs it
            self.open()
            return super().must_be_closed()
        return False

    @passes_on
    def resume(self, value: Any, error: BaseException | None) -> Any:
        """Run to the next yield."""
        self.open()
        self._moved = True
        return super().resume(value, error)

    def close(self) -> None:
        """Have the generator clean up."""
        self.open()
        self._moved = True
        super().close()

    def delegate(self) -> Any:
        """The iterator that a suspended ``yield from`` waits for, or None."""
        self.open()
        return None if self.finished else super().delegate()

    def open(self) -> None:
        """Read the frame; Break where it cannot be read."""
        if self.frame is not None or self.finished:
            return
        state = waiting(self.generator)
        if state is None or state[1] == AWAY:
            raise Break("OUTSIDE_ITERATOR", "a generator that is running, or being traced")
        code, place, func, handled, variables, stack = state
        if code is None or func is None:
            self.source.guard("WAITS", None, -1)
            self.finished = self.was_finished = True
            return
        if func.__code__ is not code or code.co_flags & inspect.CO_ITERABLE_COROUTINE:
            raise Break("OUTSIDE_ITERATOR", "a generator of a function that changed, or a coroutine")
        frame = Frame(self.vm, func, self._variables(code, variables), None)
        at = frame.decoded.index_of_offset(place)
        frame.started = frame.suspended = frame.instrs[at].opname == "YIELD_VALUE"
        if not frame.started and frame.instrs[at].opname != "RETURN_GENERATOR":
            raise Break("OUTSIDE_ITERATOR", "a generator that waits at no yield")
        self.source.guard("WAITS", code, place)
        self._check_globals(func)
        self.vm.inlined.add(code)
        frame.locals = [self._cell(i, value) if type(value) is Unread else value for i, value in enumerate(frame.locals)]
        self.first = list(frame.locals)
        frame.at, frame.pc = at, at + frame.started
        frame.stack = self._stack(frame, len(variables), stack)
        inner = self.source.child("generator", "handled")
        if handled is None:
            inner.guard("UNSET")
        else:
            frame.handled = self.vm.world.admit(handled, inner)
        self.frame = frame

    def came_to(self, state: tuple[Any, ...]) -> Any:
        """What one whose frame is away yields, from what a piece of its code returned (see ``Assembler``): it waits there now."""
        code, place, func, _, variables, _ = waiting(self.generator) or (None, None, None, None, (), ())
        if place != AWAY or self.frame is not None or func is None:
            raise Break("GENERATOR_STATE", "a generator that went on by itself")
        where, value = state[:2]
        if where is None:
            self.ended()
            raise self.vm.user_raise(stop_iteration(value))
        offset, slots, stack, handles = where
        source = self.source.child("generator", "function")
        source.guard("TYPE", types.FunctionType)
        source.child("func", "code").guard("IS", code)
        if func.__code__ is not code:
            raise Break("GENERATOR_STATE", "a generator of a function that changed")
        self._check_globals(func)
        cells = [self.vm.world.admit(v, self.source.child("slot", i)) if v is not NULL else NULL for i, v in enumerate(variables)]
        frame = self.frame = Frame(self.vm, func, list(cells), None)
        self.first = cells
        for slot, item in zip(slots, state[2:]):
            frame.locals[slot] = item
        frame.at = frame.decoded.index_of_offset(offset)
        frame.pc, frame.started, frame.suspended = frame.at + 1, True, True
        items = state[2 + len(slots) :]
        frame.stack = [items[what] if what >= 0 else self._stack_item(frame, what) for what in stack]
        frame.handled = items[-1] if handles else None
        self._moved = True
        return value

    def _stack_item(self, frame: Frame, what: int) -> Any:
        return NULL if what == -1 else None if what == -2 else frame.decoded.index_of_offset(2 * (-3 - what))

    def ended(self) -> None:
        """One whose frame is away has returned, or was left by an exception."""
        self.finished = self._moved = True

    def _variables(self, code: types.CodeType, values: tuple[Any, ...]) -> list[Any]:
        """The variables, which are guarded when they are read; those that are not bound, now."""
        names = code.co_varnames + tuple(name for name in code.co_cellvars if name not in code.co_varnames) + code.co_freevars
        made: list[Any] = []
        for i, value in enumerate(values):
            source = self.source.child("slot", i)
            source.call_it(names[i])
            if value is NULL:
                source.guard("UNSET")
            made.append(NULL if value is NULL else Unread(value, source))
        return made

    def _cell(self, index: int, value: Unread) -> Any:
        """A variable that is in a cell is that cell from the beginning."""
        return self.vm.world.admit(value.obj, value.source) if type(value.obj) is types.CellType else value

    def _stack(self, frame: Frame, count: int, values: tuple[Any, ...]) -> list[Any]:
        offsets = stack_state(frame.decoded, frame.at).lasti if frame.started else ()
        made: list[Any] = []
        for i, value in enumerate(values):
            source = self.source.child("slot", count + i)
            if value is NULL:
                source.guard("UNSET")
            elif i in offsets:  # the interpreter counts instructions
                source.guard("EQ", value)
                value = frame.decoded.index_of_offset(2 * value)
            else:
                value = self.vm.world.admit(value, source)
            made.append(value)
        return made

    def _check_globals(self, func: types.FunctionType) -> None:
        """The same code may belong to functions of other modules."""
        vm = self.vm
        source = self.source.child("generator", "function")
        if id(func) not in vm.records:
            source.guard("TYPE", types.FunctionType)
            vm.world.record(func, source)
        here = source.child("func", "globals")
        space = vm.globals_source(func)
        if space is not here:
            vm.world.tree.alias(space, here)

    def is_unchanged(self, index: int) -> bool:
        """Whether the variable has the value that it had at first."""
        first, now = self.first[index], self.frame.locals[index]
        if type(first) is Unread:
            known = self.vm.records.get(id(first.obj))
            return now is first or now is first.obj or known is not None and now is known.standin
        return now is first


class HandedOver(list[Any]):
    """Generators from outside that nobody but the frames may hold."""

    def check_dropped(self, vm: Any, values: list[Any]) -> None:
        """A frame lets go of these values: Break if that closes one of them."""
        for value in values:
            if type(value) is Unread and type(value.obj) is types.GeneratorType:
                value = vm.world.admit(value.obj, value.source)
            mine = type(value) is OutsideGenerator and any(value.generator is one for one in self)
            if mine and value.waits_in_handlers():
                raise Break("GENERATOR_STATE", "a generator that waits inside of try or with, and is given up")


def watch_generators(frame: Any) -> None:
    """A piece's frame may be the last to hold generators from outside: they are closed where it lets go of them, in between of
    the effects, which only plain Python can do."""
    names, vm = frame.decoded.localsplus_names, frame.vm
    held = {i for i, v in enumerate(frame.locals) if type(v) is Unread and type(v.obj) is types.GeneratorType}
    vm.handed_over += [frame.locals[i].obj for i in held]
    slots = {i for i in held if not names[i].startswith(INTERNAL)}  # those go to the stack
    if slots:
        frame.handlers = [
            _closing(handler) if instr.opname in ("STORE_FAST", "DELETE_FAST") and instr.arg in slots else handler
            for handler, instr in zip(frame.handlers, frame.instrs)
        ]


def _closing(handler: Any) -> Any:
    def check(f: Any, i: Any) -> Any:
        f.vm.handed_over.check_dropped(f.vm, f.locals[i.arg : i.arg + 1])
        return handler(f, i)

    return check
