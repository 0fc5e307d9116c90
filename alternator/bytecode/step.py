"""Code objects that execute one instruction of a function in its middle, and return the frame as it is then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Final

from bytecode import Label

from .analysis import reachable, stack_depth, step_stop, successors
from .assemble import Assembler, Template, checked_index, parameters, template
from .codecache import CodeCache
from .decode import Instr
from .versions import FACTS

__all__ = ["Step", "SuccessorLayout", "make_step"]

_Key = tuple[int, int, frozenset[int], frozenset[str]]


@dataclass(frozen=True, slots=True)
class SuccessorLayout:
    """What a step returns, behind its number, where this successor is next: give `make_continuation` exactly this.

    The values of `local_names`, then the stack without the items at `null_positions`.
    """

    index: int
    local_names: tuple[str, ...]
    stack_depth: int
    null_positions: tuple[int, ...]
    unbound: frozenset[str]


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a function (a call with its preparation counts as one).

    Call a function made of `code` (with cells for `free_names` as its closure) as a continuation: with the values of
    `local_names`, then the stack. It returns a tuple: the number of the successor that is next and what its continuation
    is to be called with; or -1 and what the function returned.
    """

    code: CodeType
    index: int
    local_names: tuple[str, ...]
    free_names: tuple[str, ...]
    stack_depth: int
    null_positions: tuple[int, ...]
    unbound: frozenset[str]
    successors: tuple[SuccessorLayout, ...]


_cache: Final[CodeCache[dict[_Key, Step]]] = CodeCache()


def make_step(
    code: CodeType,
    index: int,
    stack_depth: int,
    *,
    null_positions: Iterable[int] = (),
    unbound: Iterable[str] = (),
) -> Step:
    """A step over instruction `index` of `code`; arguments and limits as for `make_continuation`.

    If the instruction raises inside a `try` of the function, the function's handler and all after it run in the step,
    plainly. Successors are numbered fall-through first, then the jump's target.

    >>> def f(x):
    ...     y = g(x)
    ...     return y * 2
    >>> step = make_step(f.__code__, 4, 3, null_positions=[0])  # before PRECALL, CALL
    >>> step.successors[0].stack_depth
    1
    """
    shape = template(code)
    nulls = frozenset(null_positions)
    index = checked_index(shape, index, stack_depth, nulls)
    locals_, missing = parameters(shape, index, frozenset(unbound))
    known = _cache.get(code)
    if known is None:
        _cache.put(code, known := {})
    key = (index, stack_depth, nulls, missing)
    if key not in known:
        layouts = _layouts(shape, index, stack_depth, nulls, missing)
        made = _assemble(code, index, stack_depth, nulls, locals_, layouts)
        known[key] = Step(made, index, locals_, shape.free_names, stack_depth, tuple(sorted(nulls)), missing, layouts)
    return known[key]


def _layouts(
    shape: Template, index: int, depth: int, nulls: frozenset[int], unbound: frozenset[str]
) -> tuple[SuccessorLayout, ...]:
    decoded = shape.decoded
    last = decoded.instrs[step_stop(decoded, index) - 1]
    if last.opname in FACTS.local_writes:
        unbound -= {last.argval}
    elif last.opname in FACTS.local_deletes:
        unbound |= {last.argval}
    layouts = []
    for following in successors(decoded, last.index):
        after = stack_depth(decoded, following)
        locals_, missing = parameters(shape, following, unbound)
        left = tuple(sorted(_nulls_after(last, depth, after, nulls)))
        layouts.append(SuccessorLayout(following, locals_, after, left, missing))
    return tuple(layouts)


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


def _assemble(
    code: CodeType,
    index: int,
    depth: int,
    nulls: frozenset[int],
    locals_: tuple[str, ...],
    layouts: tuple[SuccessorLayout, ...],
) -> CodeType:
    shape = template(code)
    decoded = shape.decoded
    out = Assembler(shape, index, tagged=True)
    out.prologue(locals_, depth, nulls)
    unit = range(index, step_stop(decoded, index))
    jump_label = Label()
    for position in unit:
        _copy_stepped(out, decoded.instrs[position], jump_label)
    for number, layout in enumerate(layouts):
        if number == 1:
            out.place(jump_label)
        _hand_over(out, number, layout)
    entries = (decoded.exception_entry(position) for position in unit)
    handlers = tuple({entry.handler for entry in entries if entry is not None})
    for position in reachable(decoded, handlers):
        out.copy(position)
    return out.finish(code, f"__step_at_{decoded.instrs[index].offset}")


def _copy_stepped(out: Assembler, instr: Instr, jump_label: Label) -> None:
    if instr.opname in FACTS.unconditional_jumps or instr.opname == FACTS.resume:
        return  # going to the one successor is all it does
    if instr.opname == "LOAD_METHOD":
        out.copy_method_load(instr.index)
    elif instr.target is not None:
        forward = FACTS.forward_twin.get(instr.opname, instr.opname)
        out.copy(instr.index, jump=(forward, jump_label), labelled=False)
    else:
        out.copy(instr.index, labelled=False)


def _hand_over(out: Assembler, number: int, layout: SuccessorLayout) -> None:
    """Return the number of the successor, the locals and the stack as they are."""
    out.at(layout.index)
    temporaries = [out.fresh(f"___t{position}") for position in range(layout.stack_depth)]
    for name in reversed(temporaries):  # a NULL leaves its temporary unbound
        out.emit("STORE_FAST", name)
    out.emit("LOAD_CONST", number)
    for name in layout.local_names:
        out.move_local(name)
    count = 1 + len(layout.local_names)
    for position, name in enumerate(temporaries):
        if position not in layout.null_positions:
            out.emit("LOAD_FAST", name)
            count += 1
    out.emit("BUILD_TUPLE", count)
    out.emit("RETURN_VALUE")
