"""Assembles a piece of a function's bytecode behind a new prologue; what continuations and steps have in common."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterable
from types import CodeType
from typing import Any, Final

from bytecode import Bytecode, CompilerFlags, Label
from bytecode import Instr as Op
from bytecode.instr import UNSET, CellVar, FreeVar, TryBegin, TryEnd

from alternator._C.eval_frame import NULL

from .analysis import live_fast_locals, reachable, stack_depth, stack_state, step_start
from .codecache import CodeCache
from .decode import DecodedCode, ExceptionEntry, decode
from .layout import Layout
from .stack import StackState
from .versions import FACTS
from .yields import State, states_from

__all__ = [
    "Assembler",
    "Origin",
    "Template",
    "checked_index",
    "layout_at",
    "origin_of",
    "super_needs_local0",
    "template",
]

#: the new name of a first argument that is a cell
ARG0: Final = "___arg0"
_HANDLED: Final = "___handled"
#: stands for an exception for the moment in which what is really being handled is fetched
_PLACEHOLDER: Final = Exception("placeholder")


class Template:
    """What every piece made from one code object shares: its operations with all cells turned into free variables."""

    __slots__ = ("arg0", "decoded", "free_names", "is_generator", "ops")

    def __init__(self, code: CodeType) -> None:
        self.decoded = decode(code)
        self.is_generator = bool(code.co_flags & inspect.CO_GENERATOR)
        self.free_names = code.co_cellvars + code.co_freevars
        self.ops = [_freed(op) for op in Bytecode.from_code(code) if isinstance(op, Op)]
        if len(self.ops) != len(self.decoded.instrs):
            raise AssertionError(f"{code!r} decodes to {len(self.decoded.instrs)} or {len(self.ops)} instructions")
        #: name of the local 0 that `super()` reads, where that is a cell
        self.arg0: str | None = None
        if super_needs_local0(self.decoded) and self.decoded.localsplus_kinds[0] == "cell":
            self.arg0 = self.decoded.varnames[0]


_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_templates: Final[CodeCache[Template]] = CodeCache()


def template(code: CodeType) -> Template:
    """The template of a code object, made once. ValueError for what is not the code of a plain function or generator."""
    made = _templates.get(code)
    if code.co_flags & _ASYNC:
        raise ValueError(f"{code.co_qualname} is a coroutine: its frame cannot be left and continued")
    if made is None:
        if not code.co_flags & inspect.CO_OPTIMIZED:
            raise ValueError(f"{code.co_qualname} is not the body of a function: it has no fast locals")
        made = Template(code)
        _templates.put(code, made)
    return made


def _freed(op: Op) -> Op:
    if isinstance(op.arg, CellVar):
        return Op(op.name, FreeVar(op.arg.name), location=op.location)
    return op


class Origin:
    """Where the instructions of a code object that this package made come from."""

    __slots__ = ("_code", "indices", "link")

    def __init__(self, code: CodeType, indices: list[int], link: int) -> None:
        self._code = weakref.ref(code)
        #: per instruction the index in the original, -1 for those of the prologue
        self.indices = indices
        #: the instruction that calls the rest of a callee, in the place of the original's call; -1 if there is none
        self.link = link

    @property
    def code(self) -> CodeType | None:
        """The original, or None if it is gone."""
        return self._code()


_origins: Final[CodeCache[Origin]] = CodeCache()


def origin_of(code: CodeType) -> Origin | None:
    """Where a code object comes from that is the rest of another one; None for one that this package did not make."""
    return _origins.get(code)


def super_needs_local0(decoded: DecodedCode) -> bool:
    """May the function call zero-argument super(), which reads the frame's slot 0?"""
    return decoded.argcount > 0 and ("__class__" in decoded.freevars or "__class__" in decoded.cellvars)


def checked_index(shape: Template, index: int, depth: int, null_positions: Iterable[int]) -> int:
    """The start of the unit that `index` is in; ValueError if a frame cannot be entered there with such a stack."""
    decoded = shape.decoded
    where = f"instruction {index}"
    if not 0 <= index < len(decoded.instrs):
        raise ValueError(f"{where} does not exist")
    if index < decoded.body_start:
        raise ValueError(f"{where} sets up cells: call the function itself instead")
    start = step_start(decoded, index)
    known = stack_depth(decoded, start)
    if known < 0:
        raise ValueError(f"{where} is never reached")
    if known != depth:
        raise ValueError(f"the stack holds {known} items before {where}, not {depth}")
    if any(not 0 <= position < depth for position in null_positions):
        raise ValueError(f"NULL positions {sorted(null_positions)} are outside the stack of {depth}")
    return start


def checked_layout(
    code: CodeType, index: int, depth: int, null_positions: Iterable[int], unbound: Iterable[str], kept: Iterable[str]
) -> Layout:
    """What a piece that starts at the unit of instruction `index` is called with; ValueError if none can start there."""
    shape, nulls = template(code), frozenset(null_positions)
    return layout_at(shape, checked_index(shape, index, depth, nulls), nulls, frozenset(unbound), frozenset(kept))


def layout_at(
    shape: Template,
    index: int,
    nulls: frozenset[int],
    unbound: frozenset[str],
    kept: frozenset[str],
    depth: int | None = None,
) -> Layout:
    """What a piece that starts at `index` is called with, where these items are NULL, these locals unbound, and these passed
    though nobody reads them; with `depth`, a piece that starts in the middle of `index`, with no more than so many items left."""
    locals_, missing = _parameters(shape, index, unbound, kept)
    state = stack_state(shape.decoded, index)
    if depth is not None:
        state = state.cut(depth)
    return Layout(index, locals_, state.depth, tuple(sorted(nulls)), missing, _made_positions(state), state.levels > 0, kept)


def _made_positions(state: StackState) -> tuple[int, ...]:
    """Positions of saved exception states that can be had from elsewhere, and of offsets."""
    kept = {state.position_of(level) for level in range(1, state.levels)}
    return tuple(sorted([*(position for position, _ in state.saved if position not in kept), *state.lasti]))


def _parameters(
    shape: Template, index: int, unbound: frozenset[str], kept: frozenset[str]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """(locals to pass to a piece that starts at `index`, live locals that stay unbound there)."""
    decoded = shape.decoded
    live = live_fast_locals(decoded, index)
    if kept:
        live = tuple(name for name in decoded.localsplus_names if name in live or name in kept)
    if super_needs_local0(decoded):
        name0 = decoded.varnames[0]
        if name0 in unbound:
            raise ValueError(f"super() may be called after {name0!r} was deleted")
        live = (name0, *(name for name in live if name != name0))
    return tuple(name for name in live if name not in unbound), unbound.intersection(live)


class Assembler:
    """Collects operations for one new code object; one that is `tagged` returns (-1, value) where the original returns value.

    Pieces of a generator are plain functions. Where the generator yields, they return `(where, value, ...)`: a `where` of (offset
    of the yield; slots of the variables that follow; for each item of the stack the number of the one that follows behind
    these, or what else it is; whether the exception that is being handled comes last). Where it returns: `(None, value)`.
    """

    def __init__(self, shape: Template, location_of: int, tagged: bool = False) -> None:
        self.shape = shape
        self.tagged = tagged
        self.ops: list[Op | Label | TryBegin | TryEnd] = []
        self.link = -1
        self._origins: list[int] = []
        self.argnames: list[str] = []
        self._labels: dict[int, Label] = {}
        self._try: tuple[ExceptionEntry, TryBegin] | None = None
        self._extra = 4
        self._states: dict[int, State] = {}
        self.at(location_of)

    def follow(self, *starts: tuple[int, Layout, Iterable[int]]) -> None:
        """The piece goes on at these instructions, with the layout's locals, and NULLs in these positions of the stack."""
        if self.shape.is_generator:
            states = (
                (index, State(frozenset(layout.local_names), frozenset(layout.local_names), frozenset(nulls)))
                for index, layout, nulls in starts
            )
            self._states = states_from(self.shape.decoded, states)

    def body(self, roots: tuple[int, ...]) -> list[int]:
        """The instructions that the piece has: all that can run from the roots on, where it goes on."""
        return sorted(self._states) if self.shape.is_generator else reachable(self.shape.decoded, roots)

    def at(self, index: int) -> None:
        """What is emitted from here on carries the source position of instruction `index`, or the next that has one."""
        ops = self.shape.ops
        located = (op.location for op in ops[index:] if op.location is not None and op.location.lineno is not None)
        self._location = next(located, ops[index].location)

    def emit(self, name: str, arg: Any = UNSET) -> None:
        """Append one operation outside of all exception handlers."""
        self._cover(None)
        self._add(Op(name, arg, location=self._location))

    def _add(self, op: Op, origin: int = -1) -> None:
        self.ops.append(op)
        self._origins.append(origin)

    def emit_link(self, index: int, parameters: tuple[str, ...], runner: Any) -> None:
        """In the place of the original's instruction `index`: `runner(*parameters)`, under the same exception handler."""
        self._cover(self.shape.decoded.exception_entry(index))
        location = self.shape.ops[index].location
        self._add(Op("PUSH_NULL", location=location))
        self._add(Op("LOAD_CONST", runner, location=location))
        for name in parameters:
            self._add(Op("LOAD_FAST", name, location=location))
            self._add(Op("DELETE_FAST", name, location=location))
        for name in FACTS.call_sequence:
            self.link = len(self._origins)
            self._add(Op(name, len(parameters), location=location), index)
        self._extra = max(self._extra, len(parameters) + 4)

    def fresh(self, name: str) -> str:
        """The name, or one like it that the original does not use (it may be a continuation with such names itself)."""
        while name in self.shape.decoded.varnames:
            name += "_"
        return name

    def label(self, index: int) -> Label:
        """The label of the plain copy of instruction `index`."""
        return self._labels.setdefault(index, Label())

    def place(self, label: Label) -> None:
        """Put a label here."""
        self._cover(None)
        self.ops.append(label)

    def prologue(self, layout: Layout, more: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Parameters, then code that restores locals and stack; gives the names of the parameters `more`, which come last."""
        shape, locals_ = self.shape, layout.local_names
        name0 = (ARG0 if shape.arg0 else locals_[0]) if super_needs_local0(shape.decoded) else None
        names = (name0, *locals_[1:]) if name0 else locals_
        more = tuple(self.fresh(name) for name in more)
        items = {position: self.fresh(f"___stack{position}") for position in layout.passed}
        handled = (self.fresh(_HANDLED),) if layout.handles else ()
        self.argnames = [*names, *items.values(), *handled, *more]
        if shape.free_names:
            self.emit("COPY_FREE_VARS", len(shape.free_names))
        self.emit(FACTS.resume, 0)
        if shape.arg0 and layout.stack_depth > 1:  # perhaps `super` is on the stack, to be called next
            self.emit("LOAD_DEREF", FreeVar(shape.arg0))
            self.emit("STORE_FAST", ARG0)
        self._restore_stack(layout, items, handled)
        return more

    def _restore_stack(self, layout: Layout, items: dict[int, str], handled: tuple[str, ...]) -> None:
        state = stack_state(self.shape.decoded, layout.index)
        levels = dict(state.saved)
        for position in range(layout.stack_depth):
            if position in levels:
                self._restore_saved(state, position, levels[position], items, handled)
            elif position in layout.null_positions:
                self.emit("PUSH_NULL")
            elif position in state.lasti:
                self.emit("LOAD_CONST", int(bool(self.shape.free_names)))  # code units before this piece's RESUME
            else:
                self.move(items[position])

    def _restore_saved(
        self, state: StackState, position: int, level: int, items: dict[int, str], handled: tuple[str, ...]
    ) -> None:
        """Push what was being handled outside of a level; then, what the level handles is, if it is open."""
        first = state.position_of(level)
        if position != first:
            self.emit("COPY", position - first)
        elif level < state.levels:
            self.move(handled[0] if level == state.levels - 1 else items[state.position_of(level + 1)])
            self.emit("PUSH_EXC_INFO")
            self.emit("POP_TOP")
        else:
            self.push_handled()
            self.emit("COPY", 1)
            self.emit("POP_EXCEPT")

    def push_handled(self) -> None:
        """Push what is being handled; from now on, the placeholder is."""
        self.emit("LOAD_CONST", _PLACEHOLDER)
        self.emit("PUSH_EXC_INFO")
        self.emit("POP_TOP")

    def move(self, name: str) -> None:
        self.emit("LOAD_FAST", name)
        self.emit("DELETE_FAST", name)

    def move_local(self, name: str) -> None:
        """Push a local of the original and forget it here, so that its holder alone decides how long it lives."""
        if name == self.shape.arg0:
            self.emit("LOAD_CONST", None)  # ignored: read from the cell
        else:
            self.move(name)

    def copy(self, index: int, jump: tuple[str, Label] | None = None, labelled: bool = True, covered: bool = True) -> None:
        """Append instruction `index` of the original, jumping as given or as in the original, under its exception handler."""
        op, instr = self.shape.ops[index], self.shape.decoded.instrs[index]
        yields = self.shape.is_generator and instr.opname == FACTS.yields  # which raises nothing: the piece may have no handler
        self._cover(self.shape.decoded.exception_entry(index) if covered and not yields else None)
        if labelled:
            self.ops.append(self.label(index))
        if yields:
            self._yield(index)
            return
        if self.shape.is_generator and instr.opname in FACTS.method_loads:  # with a result of known shape
            self._add(Op("LOAD_ATTR", op.arg, location=op.location), index)
            self._add(Op("PUSH_NULL", location=op.location))
            self._add(Op("SWAP", 2, location=op.location))
            return
        if jump is not None:
            op = Op(jump[0], jump[1], location=op.location)
        elif instr.target is not None:
            op = Op(op.name, self.label(instr.target), location=op.location)
        elif instr.opname == "RETURN_VALUE":
            self.at(index)
            for tag in [None] * self.shape.is_generator + [-1] * self.tagged:
                self._tag(tag)
            if self.shape.is_generator:  # what is on the stack is not what was there in the original
                index = -1
        elif self.shape.arg0 and instr.opname in FACTS.global_loads and instr.argval == "super":
            self._add(Op("LOAD_DEREF", FreeVar(self.shape.arg0), location=op.location))
            self._add(Op("STORE_FAST", ARG0, location=op.location))
        self._add(op, index)

    def _tag(self, tag: Any) -> None:
        """A pair of the tag and what is on the stack."""
        self.emit("LOAD_CONST", tag)
        self.emit("SWAP", 2)
        self.emit("BUILD_TUPLE", 2)

    def _yield(self, index: int) -> None:
        """Return with what the generator yields there, and with its state."""
        decoded, known = self.shape.decoded, self._states[index]
        nulls = known.nulls
        kinds = zip(decoded.localsplus_names, decoded.localsplus_kinds)
        names = tuple(name for name, kind in kinds if kind == "local" and name in known.perhaps)
        state = stack_state(decoded, index)
        state = state.cut(state.depth - 1)
        made = _made_positions(state)
        layout = Layout(index, names, state.depth, tuple(sorted(nulls)), frozenset(), made, state.levels > 0, frozenset(names))
        items = {position: number for number, position in enumerate(layout.passed)}
        levels = dict(state.saved)
        offset = decoded.instrs[index].offset
        stack = tuple(
            items[position] if position in items else -1 if position in nulls
            else -2 if levels.get(position) == 0 else items[state.position_of(levels[position])] if position in levels
            else -3 - offset // 2
            for position in range(state.depth)
        )  # fmt: skip
        slots = tuple(decoded.localsplus_names.index(name) for name in names)
        self.at(index)
        value = self.fresh("___yielded")
        self.emit("STORE_FAST", value)
        self.return_state(layout, (offset, slots, stack, layout.handles), value, known.perhaps - known.bound)

    def return_state(self, layout: Layout, tag: Any, value: str | None = None, perhaps: frozenset[str] = frozenset()) -> None:
        """Return a tag, the value of a variable, the locals (of which some are bound `perhaps` only), the stack and what is being
        handled, as they are."""
        state = stack_state(self.shape.decoded, layout.index)
        outermost = state.position_of(0) if layout.handles else None
        temporaries = {position: self.fresh(f"___t{position}") for position in range(layout.stack_depth)}
        for position in reversed(range(layout.stack_depth)):  # a NULL leaves its temporary unbound
            if position in layout.made_positions and position != outermost:
                self.emit("POP_TOP")
            else:
                self.emit("STORE_FAST", temporaries[position])
        self.emit("LOAD_CONST", tag)
        given = [] if value is None else [value]
        for name in given:
            self.emit("LOAD_FAST", name)
        for number, name in enumerate(layout.local_names):
            if name in perhaps:
                self._move_if_bound(name, 1 + len(given) + number)
            else:
                self.move_local(name)
        for position in layout.passed:  # moved: the frame may outlive the call, where a traceback leads to it
            self.move(temporaries[position])
        if outermost is not None:
            self.push_handled()
            self.move(temporaries[outermost])
            self.emit("POP_EXCEPT")
        count = 1 + len(given) + len(layout.local_names) + len(layout.passed) + layout.handles
        self.emit("BUILD_TUPLE", count)
        if value is not None and self.tagged:
            self._tag(-1)
        self.emit("RETURN_VALUE")
        self._extra = max(self._extra, count + 4)

    def _move_if_bound(self, name: str, depth: int) -> None:
        """Push a local and forget it, or NULL if it is not bound."""
        behind, handler = Label(), Label()
        self._cover(None)
        begin = TryBegin(handler, False, depth)
        self.ops.append(begin)
        self._add(Op("LOAD_FAST", name, location=self._location))
        self.ops.append(TryEnd(begin))
        self.emit("DELETE_FAST", name)
        self.emit("JUMP_FORWARD", behind)
        self.ops.append(handler)
        for op in ("PUSH_EXC_INFO", "POP_TOP", "POP_EXCEPT"):
            self.emit(op)
        self.emit("LOAD_CONST", NULL)
        self.ops.append(behind)

    def copy_method_load(self, index: int) -> None:
        """LOAD_METHOD with a result of known shape: NULL and the attribute, never function and self."""
        self._cover(self.shape.decoded.exception_entry(index))
        op = self.shape.ops[index]
        for name, arg in (("PUSH_NULL", UNSET), ("SWAP", 2), ("LOAD_ATTR", op.arg)):
            self._add(Op(name, arg, location=op.location), index)

    def _cover(self, entry: ExceptionEntry | None) -> None:
        """What follows is covered by this entry of the original's exception table."""
        if self._try is not None:
            if self._try[0] == entry:
                return
            self.ops.append(TryEnd(self._try[1]))
            self._try = None
        if entry is not None:
            begin = TryBegin(self.label(entry.handler), entry.push_lasti, entry.depth)
            self.ops.append(begin)
            self._try = (entry, begin)

    def finish(self, code: CodeType) -> CodeType:
        """The code object: with the name, file, flags and line numbers of the original, so that stacks and tracebacks show it."""
        self._cover(None)
        made = Bytecode(self.ops)
        made.argnames = self.argnames
        made.argcount = len(self.argnames)
        made.flags = CompilerFlags(code.co_flags & ~(inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR))
        made.first_lineno = code.co_firstlineno
        made.filename = code.co_filename
        made.name = code.co_name
        made.qualname = code.co_qualname
        made.docstring = code.co_consts[0] if code.co_consts and isinstance(code.co_consts[0], str) else None
        made.freevars = list(self.shape.free_names)
        size = code.co_stacksize + self._extra + len(self.argnames)
        finished = made.to_code(stacksize=size, compute_exception_stack_depths=False)
        _origins.put(finished, Origin(code, self._origins, self.link))
        return finished
