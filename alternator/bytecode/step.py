"""Code objects that execute one instruction of a function in its middle, and return the frame as it is then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Final

from bytecode import Label

from .analysis import stack_depth, step_stop, successors
from .assemble import Assembler, Template, checked_layout, layout_at, template
from .codecache import CodeCache
from .decode import Instr
from .layout import Layout
from .versions import FACTS
from .yields import nulls_after

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
        layouts.append(layout_at(shape, following, nulls_after(last, layout.stack_depth, depth, nulls), after, layout.kept))
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


def _assemble(code: CodeType, layout: Layout, following: tuple[Layout, ...]) -> CodeType:
    shape = template(code)
    decoded = shape.decoded
    out = Assembler(shape, layout.index, tagged=True)
    out.follow((layout.index, layout, layout.null_positions))
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
        out.at(after.index)
        out.return_state(after, number)
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
