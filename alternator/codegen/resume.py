"""Generated statements that go on behind an instruction that cannot be captured.

The frames from the root down to the one that broke are a *chain* of tail links.  The breaking instruction is executed by a
step of the innermost frame, which returns that frame as it is then; each frame above goes on in the middle of its own call,
with the rest of its callee in the callee's place.  So the rest of the whole chain is one function call again, which the
frame hook captures as one frame.

Nothing is nested on Python's stack, and nothing that is dead is kept alive by it: an entry does not call what comes next, it
returns a ``Bounce`` to ``drive`` (both native), with a list of the arguments; the frame of what is called has them alone.
``drive`` calls the step first, and with what came of it the function ``behind``, the second half of the generated code, which
names what comes next.  Continuations are only ever called by ``drive``.
"""

from __future__ import annotations

import gc
import inspect
import os
import types
import weakref
from typing import Any, Callable

import torch

from alternator._C.eval_frame import Bounce, drive, hide_code, skip_code
from alternator.bytecode import analysis, continuation
from alternator.bytecode.assemble import origin_of
from alternator.bytecode.decode import decode
from alternator.codegen.builder import Builder
from alternator.codegen.varying import NUMBER, Given, Nested, counted, expect, names_of
from alternator.interpreter import rests
from alternator.interpreter.frame import NULL, Frame
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.links import Link
from alternator.interpreter.loops import note_break
from alternator.interpreter.outside_generators import OutsideGenerator
from alternator.provenance.world import Unread, is_heap, module_of

# ---- what runs


def give(value: Any) -> Any:
    """The rest of a callee that has returned already."""
    return value


def reraise(error: BaseException) -> Any:
    """The rest of a callee that an exception has left already."""
    raise error


def under(error: BaseException, fn: Callable[..., Any], given: list[Any]) -> Any:
    """A call in which the exception is being handled."""
    before = error.__context__
    try:
        raise error
    except BaseException:
        error.__context__ = before
        return drive(fn, given)


_RESTS = (rests.of_init, rests.of_load, rests.of_generator, rests.of_loop, rests.of_delegation, rests.of_next)
for _fn in (reraise, under, *_RESTS):  # the program's stack has no such frames
    hide_code(_fn.__code__)


# ---- what is generated


def may_be_missed(value: Any) -> bool:
    """The program can tell whether the value still lives: it is a generator, or an object of a class of its own, or holds one; a
    buffer whose owner cannot be resized meanwhile, or a weak reference, whose callback is called only as long as it lives,
    and which is counted where what it refers to is such an object.

    Such a local is handed on though nobody reads it: it lives until it is bound anew, or the function ends.
    """
    value = value.obj if type(value) is Unread else value
    kind = type(value)
    if issubclass(kind, BaseException):  # its traceback holds frames
        return True
    if kind in _HOLDERS:
        return any(may_be_missed(item) for item in _HOLDERS[kind](value) if type(item) not in _HOLDERS)
    if issubclass(kind, weakref.ref):
        return value.__callback__ is not None or _counts(weakref.ref.__call__(value))
    if kind in _SUSPENDED:
        return True
    if issubclass(kind, type):  # its bases know their subclasses
        return is_heap(value)
    return is_heap(kind) and not issubclass(type(value), _NOT_MISSED) and module_of(kind).split(".")[0] != "alternator"


def local_may_be_missed(vm: Any, value: Any) -> bool:
    """The same for a variable: what stands for a container from outside may not have been filled."""
    rec = vm.records.get(id(value))
    return may_be_missed(value) or rec is not None and may_be_missed(rec.obj)


def _counts(referent: Any) -> bool:
    """Whether a program would count the weak references to it."""
    return type(referent) not in _HOLDERS and may_be_missed(referent)


def is_outside(vm: Any, value: Any) -> bool:
    """Generated code would load the value, not make it."""
    return type(value) is Unread or id(value) in vm.records


_SUSPENDED = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, TracedGenerator, OutsideGenerator, memoryview)
_NOT_MISSED = (torch.Tensor, torch.nn.Module, torch.SymInt, torch.SymFloat, torch.SymBool, types.ModuleType)


def _closed_over(fn: types.FunctionType) -> list[Any]:
    return [item for cell in fn.__closure__ or () for item in gc.get_referents(cell)]


_HOLDERS: dict[type, Any] = {list: list.__iter__, tuple: tuple.__iter__, dict: dict.values}
_HOLDERS |= {types.FunctionType: _closed_over, types.MethodType: gc.get_referents}


class Place:
    """A frame's state at one instruction of the function that it belongs to (which it may be a continuation of)."""

    def __init__(self, frame: Frame, below: bool, handled: Any) -> None:
        """``below``: in the middle of the instruction, which waits for a callee; else before it.  ``handled``: what the frame
        is handling, or those that wait for it."""
        code, index = frame.code, frame.at
        origin = origin_of(code)
        if below or origin is None or analysis.step_stop(frame.decoded, index) != origin.link + 1:
            code, index = continuation.original_place(code, index)
        self.func = frame.func
        self.code = code
        self.index = index
        decoded = decode(code)
        names = decoded.localsplus_names
        # a continuation has no slots for what it is not called with
        self.slots = dict.fromkeys(names, NULL) | dict(zip(frame.decoded.localsplus_names, frame.locals))
        self.counted = counted(frame)
        note_break(frame)
        kinds = zip(names, decoded.localsplus_kinds)
        self.unbound = frozenset(name for name, kind in kinds if kind == "local" and self.slots[name] is NULL)
        generator = code.co_flags & inspect.CO_GENERATOR  # where it waits, anybody can look at its variables
        self.kept = frozenset(
            name
            for name, kind in zip(names, decoded.localsplus_kinds)
            if kind == "local"
            and (self.slots[name] is not NULL if generator else local_may_be_missed(frame.vm, self.slots[name]))
        )
        self.stack = frame.stack[: continuation.stack_below(code, index)] if below else frame.stack
        self.handled = handled
        self.nulls = tuple(i for i, value in enumerate(self.stack) if value is NULL)

    def closure(self, b: Builder, names: tuple[str, ...]) -> str:
        return f"({b.values(self.slots[name] for name in names)},)" if names else "None"

    def function(self, b: Builder, code: types.CodeType, closure: str) -> str:
        """An expression for a function made of a piece of the code."""
        make = b.constant(types.FunctionType, "Function")
        space = b.load(b.vm.globals_source(self.func))
        return f"{make}({b.constant(code, 'code')}, {space}, {code.co_name!r}, None, {closure})"

    def values(self, layout: continuation.Layout) -> list[Any]:
        """What a piece is called with."""
        values = [self.slots[n] for n in layout.local_names] + [self.stack[i] for i in layout.passed]
        return values + [self.handled] if layout.handles else values

    def words(self, b: Builder, layout: continuation.Layout) -> list[str]:
        """The same as expressions."""
        return [b.value(value) for value in self.values(layout)]

    def _local(self, name: str) -> Any:
        """The value of a local variable, as far as it is of interest what varies."""
        value = self.slots.get(name)
        return NUMBER if name in self.counted and type(value) is int else value

    def given_below(self, made: continuation.Continuation, given: Given) -> Given:
        """What a continuation in the middle of the instruction is called with; ``given``: what the rest of its callee is."""
        values = [self._local(n) for n in made.local_names] + [self.stack[i] for i in made.passed] + [None] * made.handles
        return list(zip(names_of(made.code), [*values, None, Nested(given)]))

    def given_behind(self, made: continuation.Continuation, result: Any) -> Given:
        """What a continuation behind the instruction is called with, as far as that is known; ``result``: its result."""
        values = [self._local(n) for n in made.local_names]
        values += [self.stack[i] if i < min(made.stack_depth - 1, len(self.stack)) else result for i in made.passed]
        return list(zip(names_of(made.code), values))


def can_stop_before(frame: Frame) -> bool:
    """Whether the frame can be left before its present instruction, and continued behind it."""
    origin = origin_of(frame.code)
    if origin is not None and origin.indices[frame.at] < 0:  # what it is called with cannot be read: that would not end
        return False
    return _is_plain(frame)


def can_wait(frame: Frame) -> bool:
    """Whether the frame can be left in the middle of its present instruction, while a callee is at work."""
    return _is_plain(frame) and continuation.links(*continuation.original_place(frame.code, frame.at))


def _is_plain(frame: Frame) -> bool:
    code = frame.code
    function = code.co_flags & 0x03 == 0x03 and not code.co_flags & _ASYNC
    if not function or _is_inside_of_torch(code):
        return False
    return type(frame.func) is types.FunctionType and frame.at > frame.decoded.body_start


_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_TORCH = os.path.join(os.path.dirname(torch.__file__), "")
_LIKE_USERS_CODE = ("ao/", "amp/", "autograd/", "distributed/", "distributions/", "nn/", "optim/", "utils/")
"""Parts of torch that run, or are called by, what users write."""


def _is_inside_of_torch(code: types.CodeType) -> bool:
    """torch's own machinery holds objects whose life switches its state; a piece of it would make them live longer."""
    name = code.co_filename
    return name.startswith(_TORCH) and not name.startswith(_LIKE_USERS_CODE, len(_TORCH))


def resume(b: Builder, chain: list[Link], result: Any = None) -> list[str]:
    """The statements that perform the breaking instruction of the innermost frame and go on behind it.

    Values are rebuilt at once; the statements are for the end of the function, behind the effects.  ``result``: what is known
    of the instruction's result.
    """
    handled = next((link.generator.frame.handled for link in reversed(chain) if link.generator), b.vm.handled)
    alone = len(chain) == 1
    step, lines, key, given = _step(b, chain, handled, result)
    run = b.constant(drive, "drive")
    for number in range(len(chain) - 2, -1, -1):
        below = chain[number + 1]
        for finish, more in below.finishes:
            lines.append(f"given = [{run}, rest, given, {b.values(more)}]")
            lines.append(f"rest = {b.constant(finish, 'finish')}")
            given = [("run", None), ("rest", None), ("given", Nested(given))]
        handled = below.generator.outer[0] if below.generator else _handled_at_entry(below.frame, handled)
        place = Place(chain[number].frame, below=True, handled=handled)
        made = continuation.make_call_continuation(
            place.code, place.index, drive, key, null_positions=place.nulls, unbound=place.unbound, kept=place.kept
        )
        words = [*place.words(b, made), "rest", "given"]
        given = place.given_below(made, given)
        function = b.assign(place.function(b, made.code, place.closure(b, made.free_names)), "k")
        lines.append(f"given = [{', '.join(words)}]")
        lines.append(f"rest = {function}")
        key = made.code
    if not alone:
        expect(b.vm.request.frame_state(key), given)
    is_root = origin_of(chain[0].frame.code) is None
    bounce = b.constant(Bounce, "Bounce")
    kept = ", ".join(b.behind([*lines, f"return {bounce}(rest, given)"], ("now", "error")))
    return [f"return {bounce}({step}, {is_root}, behind, [{kept}], {not alone})"]


def _handled_at_entry(frame: Frame, handled: Any) -> Any:
    """What was being handled when the frame was entered; ``handled``: what is now."""
    state = analysis.stack_state(frame.decoded, frame.at)
    return frame.stack[state.position_of(0)] if state.levels else handled


def _handled_outside(chain: list[Link], handled: Any) -> Any:
    """What the frames above the innermost one handle; ``handled``: what that does, or those that wait for it."""
    outer = None if chain[-1].generator else _handled_at_entry(chain[-1].frame, handled)
    for link in reversed(chain):
        for one in link.generator.outer if link.generator else ():
            outer = one if outer is None else outer
    return outer


def _step(b: Builder, chain: list[Link], handled: Any, result: Any) -> tuple[str, list[str], types.CodeType, Given]:
    """What performs the instruction, and with which arguments; statements that name what comes next ``rest`` and ``given``; the
    step's code; what is known of ``given`` where the instruction simply goes on."""
    place = Place(chain[-1].frame, below=False, handled=handled)
    alone = len(chain) == 1
    at = analysis.step_start(decode(place.code), place.index)
    step = continuation.make_step(
        place.code, at, len(place.stack), null_positions=place.nulls, unbound=place.unbound, kept=place.kept
    )
    skip_code(step.code)
    closure = place.closure(b, step.free_names)
    if step.free_names:
        closure = b.assign(closure, "cells")
    made = [_continuation(place, layout) for layout in step.successors]
    nexts = [_next(b, place, one, layout, closure) for one, layout in zip(made, step.successors)]
    givens = [place.given_behind(one, result) for one in made]
    if alone:
        for one, given in zip(made, givens):
            expect(b.vm.request.frame_state(one.code), given)
    orders = [order for _, order in nexts]
    function = b.assign(place.function(b, step.code, closure), "s")
    call = f"{function}, [{', '.join(place.words(b, step))}]"
    outer = None if alone else _handled_outside(chain, handled)
    if outer is not None:  # what the frames above handle, which are not on the stack
        call = f"{b.constant(under, 'under')}, [{b.value(outer)}, {call}]"
    choices = ", ".join([*(name for name, _ in nexts), b.constant(give, "give")])
    lines = [f"rest, given = ({choices},)[now[0]], [*now[1:]]"]
    if any(orders):
        lines.append(f"if {orders!r}[now[0]]: given = [*map(now.__getitem__, {orders!r}[now[0]])]")
    if not alone:
        broken = f"rest, given = {b.constant(reraise, 'reraise')}, [error]"
        lines = [f"if error is not None: {broken}", "else:", *(f"    {line}" for line in lines)]
    return call, lines, step.code, givens[0] if givens else []


def _continuation(place: Place, layout: continuation.Layout) -> continuation.Continuation:
    """The continuation of one successor."""
    code, index = continuation.original_place(place.code, layout.index)

    def made(unbound: frozenset[str]) -> continuation.Continuation:
        depth, nulls = layout.stack_depth, layout.null_positions
        return continuation.make_continuation(code, index, depth, null_positions=nulls, unbound=unbound, kept=layout.kept)

    one = made(layout.unbound)
    unknown = frozenset(one.local_names).difference(layout.local_names)  # a piece has no slots for what it never binds
    return made(layout.unbound | unknown) if unknown else one


def _next(
    b: Builder, place: Place, made: continuation.Continuation, layout: continuation.Layout, closure: str
) -> tuple[str, list[int] | None]:
    """The name of a continuation, and the order of its arguments if it is not that of the step."""
    name = b.assign(place.function(b, made.code, closure if made.free_names else "None"), "k")
    stack = 1 + len(layout.local_names)
    order = [1 + layout.local_names.index(n) for n in made.local_names] + [stack + layout.passed.index(i) for i in made.passed]
    count = stack + len(layout.passed)
    if made.handles:
        order.append(count)
        count += 1
    return name, None if order == list(range(1, count)) else order
