"""What is bound, and where NULLs are on the stack, at each yield of a generator's code: a piece of it returns there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .analysis import stack_depth, successors
from .decode import DecodedCode, Instr
from .versions import FACTS

__all__ = ["State", "nulls_after", "states_from"]


class State(NamedTuple):
    """Before an instruction: the fast locals that are bound for certain, those that may be, and the stack's NULLs."""

    bound: frozenset[str]
    perhaps: frozenset[str]
    nulls: frozenset[int]

    def merged(self, other: State) -> State:
        """What holds whichever of the two it is.  ValueError if the stack is not the same."""
        if self.nulls != other.nulls:
            raise ValueError("the stack holds a NULL or not")
        return State(self.bound & other.bound, self.perhaps | other.perhaps, self.nulls)


def states_from(decoded: DecodedCode, starts: Iterable[tuple[int, State]]) -> dict[int, State]:
    """The state before each instruction that can run from the starts on."""
    states: dict[int, State] = {}
    work = list(starts)
    while work:
        index, state = work.pop()
        known = states.get(index)
        if known is not None:
            state = known.merged(state)
            if state == known:
                continue
        states[index] = state
        instr = decoded.instrs[index]
        if instr.opname == FACTS.yields:
            continue
        bound, perhaps = state.bound, state.perhaps
        if instr.opname in FACTS.local_writes or instr.opname in FACTS.local_reads:
            bound, perhaps = bound | {instr.argval}, perhaps | {instr.argval}
        elif instr.opname in FACTS.local_deletes:
            bound, perhaps = bound - {instr.argval}, perhaps - {instr.argval}
        for following in successors(decoded, index):
            nulls = nulls_after(instr, stack_depth(decoded, index), stack_depth(decoded, following), state.nulls)
            work.append((following, State(bound, perhaps, nulls)))
        entry = decoded.exception_entry(index)
        if entry is not None:
            nulls = frozenset(position for position in state.nulls if position < entry.depth)
            work.append((entry.handler, state._replace(nulls=nulls)))
    return states


def nulls_after(instr: Instr, before: int, after: int, nulls: frozenset[int]) -> frozenset[int]:
    """Where NULLs are on the stack behind an instruction (as a step executes it); ``before``, ``after``: the stack's depth."""
    name = instr.opname
    if name == "PUSH_NULL":
        return nulls | {before}
    if name in FACTS.method_loads:
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
