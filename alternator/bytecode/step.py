"""Code objects that execute one instruction of a function in its middle, and return the frame as it is then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Final

from bytecode import Label

from .analysis import stack_depth, stack_state, step_stop, successors
from .assemble import Assembler, Template, checked_layout, layout_at, template
from .codecache import CodeCache
from .decode import Instr
from .layout import Layout
from .versions import FACTS

__all__ = ["Step", "make_step"]


@dataclass(frozen=True, slots=True)
class Step(Layout):
    """One instruction of a function (a call with its preparation counts as one).

    Call a function made of `code` (with cells for `free_names` as its closure) with the arguments that the layout names. It
    returns a tuple: the number of the successor that is next and what its continuation is to be called with; or -1 and what
    the function returned.
    """

    code: CodeType
    free_names: tuple[str, ...]
    successors: tuple[Layout, ...]


_cache: Final[CodeCache[dict[Layout, Step]]] = CodeCache()


def make_step(
    code: CodeType,
    index: int,
    stack_depth: int,
    *,
    null_positions: Iterable[int] = (),
    unbound: Iterable[str] = (),
    kept: Iterable[str] = (),
) -> Step:
    """A step over instruction `index` of `code`; arguments and limits as for `make_continuation`.

    Successors are numbered fall-through first, then the jump's target, last the function's own handler where the exception
    table names one. When the step returns, what the function was handling is no longer being handled.

    >>> def f(x):
    ...     y = g(x)
    ...     return y * 2
    >>> step = make_step(f.__code__, 4, 3, null_positions=[0])  # before PRECALL, CALL
    >>> step.successors[0].stack_depth
    1
    """
    layout = checked_layout(code, index, stack_depth, null_positions, unbound, kept)
    known = _cache.get_or_put(code, dict)
    if layout not in known:
        shape = template(code)
        following = _successors(shape, layout)
        made = _assemble(code, layout, following)
        known[layout] = Step(**layout.fields, code=made, free_names=shape.free_names, successors=following)
    return known[layout]


def _successors(shape: Template, layout: Layout) -> tuple[Layout, ...]:
    decoded, unbound, nulls = shape.decoded, layout.unbound, frozenset(layout.null_positions)
    last = decoded.instrs[step_stop(decoded, layout.index) - 1]
    after = unbound
    if last.opname in FACTS.local_writes:
        after = unbound - {last.argval}
    elif last.opname in FACTS.local_deletes:
        after = unbound | {last.argval}
    layouts = []
    for following in successors(decoded, last.index):
        depth = stack_depth(decoded, following)
        layouts.append(layout_at(shape, following, _nulls_after(last, layout.stack_depth, depth, nulls), after, layout.kept))
    entry = decoded.exception_entry(layout.index)
    if entry is not None and _may_raise(last):
        left = frozenset(position for position in nulls if position < entry.depth)
        layouts.append(layout_at(shape, entry.handler, left, unbound, layout.kept))
    return tuple(layouts)


def _may_raise(instr: Instr) -> bool:
    return instr.opname not in FACTS.never_raise and not _only_goes_on(instr)


def _only_goes_on(instr: Instr) -> bool:
    """Going to the one successor is all it does."""
    return instr.opname in FACTS.unconditional_jumps or instr.opname == FACTS.resume


def _nulls_after(instr: Instr, before: int, after: int, nulls: frozenset[int]) -> frozenset[int]:
    """Where NULLs are on the stack behind an instruction (as the step executes it)."""
    name = instr.opname
    if name == "PUSH_NULL":
        return nulls | {before}
    if name == "LOAD_METHOD":
        return nulls | {before - 1}
    if name in FACTS.name_shift and instr.flag:
        return nulls | {after - 2}
    if name == "SWAP":
        top, other = before - 1, before - (instr.arg or 0)
        swap = {top: other, other: top}
        return frozenset(swap.get(position, position) for position in nulls)
    if name in ("CALL", "CALL_FUNCTION_EX"):  # the result stands where the NULL stood
        return frozenset(position for position in nulls if position < after - 1)
    return frozenset(position for position in nulls if position < after)


def _assemble(code: CodeType, layout: Layout, following: tuple[Layout, ...]) -> CodeType:
    shape = template(code)
    decoded = shape.decoded
    out = Assembler(shape, layout.index, tagged=True)
    out.prologue(layout)
    unit = range(layout.index, step_stop(decoded, layout.index))
    jump_label = Label()
    for position in unit:
        _copy_stepped(out, decoded.instrs[position], jump_label)
    plain = len(successors(decoded, unit[-1]))
    for number, after in enumerate(following):
        if number >= plain:
            out.place(out.label(after.index))
        elif number == 1:
            out.place(jump_label)
        _hand_over(out, number, after)
    return out.finish(code)


def _copy_stepped(out: Assembler, instr: Instr, jump_label: Label) -> None:
    if _only_goes_on(instr):
        return
    if instr.opname == "LOAD_METHOD":
        out.copy_method_load(instr.index)
    elif instr.target is not None:
        forward = FACTS.forward_twin.get(instr.opname, instr.opname)
        out.copy(instr.index, jump=(forward, jump_label), labelled=False)
    else:
        out.copy(instr.index, labelled=False, covered=_may_raise(instr))


def _hand_over(out: Assembler, number: int, layout: Layout) -> None:
    """Return the number of the successor, the locals, the stack and what is being handled, as they are."""
    out.at(layout.index)
    state = stack_state(out.shape.decoded, layout.index)
    outermost = state.position_of(0) if layout.handles else None
    temporaries = {position: out.fresh(f"___t{position}") for position in range(layout.stack_depth)}
    for position in reversed(range(layout.stack_depth)):  # a NULL leaves its temporary unbound
        if position in layout.made_positions and position != outermost:
            out.emit("POP_TOP")
        else:
            out.emit("STORE_FAST", temporaries[position])
    out.emit("LOAD_CONST", number)
    for name in layout.local_names:
        out.move_local(name)
    for position in layout.passed:
        out.emit("LOAD_FAST", temporaries[position])
    if outermost is not None:
        out.push_handled()
        out.emit("LOAD_FAST", temporaries[outermost])
        out.emit("POP_EXCEPT")
    out.emit("BUILD_TUPLE", 1 + len(layout.local_names) + len(layout.passed) + layout.handles)
    out.emit("RETURN_VALUE")
