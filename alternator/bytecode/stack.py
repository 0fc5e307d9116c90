"""What the stack holds before each instruction: its depth, and which items belong to CPython's exception handling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .decode import DecodedCode, Instr
from .versions import FACTS, stack_effect

__all__ = ["StackState", "stack_states"]


class StackState(NamedTuple):
    """The stack before an instruction.

    depth   number of items
    saved   (position, level) of each exception state that PUSH_EXC_INFO saved, or a copy of it: what was being handled
            outside of that level; level 0 is what the callers of the frame are handling
    levels  how many handlers are open: the frame handles an exception of its own if there is any
    lasti   positions that hold the offset of a raising instruction
    """

    depth: int
    saved: tuple[tuple[int, int], ...] = ()
    levels: int = 0
    lasti: tuple[int, ...] = ()

    def position_of(self, level: int) -> int:
        """Where the exception state that a level saved is."""
        return next(position for position, other in self.saved if other == level)

    def cut(self, depth: int) -> StackState:
        """The state with all items from `depth` on gone."""
        saved = tuple(item for item in self.saved if item[0] < depth)
        return StackState(depth, saved, self.levels, tuple(p for p in self.lasti if p < depth))

    def after(self, instr: Instr, jump: bool) -> StackState:
        """The state behind an instruction (at its jump target if `jump`)."""
        depth = self.depth + stack_effect(instr.opname, instr.arg, jump)
        top = self.depth - 1
        if instr.opname == "PUSH_EXC_INFO":
            return StackState(depth, (*self.saved, (top, self.levels)), self.levels + 1, self.lasti)
        if not self.saved and not self.lasti:
            return StackState(depth, (), self.levels)
        if instr.opname == "POP_EXCEPT":
            level = dict(self.saved).get(top, self.levels - 1)
            return self.cut(depth)._replace(levels=level)
        if instr.opname == "SWAP":
            return self._moved({top: self.depth - (instr.arg or 0), self.depth - (instr.arg or 0): top})
        if instr.opname == "COPY":
            return self._copied(self.depth - (instr.arg or 0))
        return self.cut(depth)

    def _moved(self, where: dict[int, int]) -> StackState:
        saved = tuple(sorted((where.get(p, p), level) for p, level in self.saved))
        return self._replace(saved=saved, lasti=tuple(sorted(where.get(p, p) for p in self.lasti)))

    def _copied(self, source: int) -> StackState:
        saved = self.saved + tuple((self.depth, level) for p, level in self.saved if p == source)
        lasti = self.lasti + tuple(self.depth for p in self.lasti if p == source)
        return StackState(self.depth + 1, saved, self.levels, lasti)

    def handler(self, depth: int, push_lasti: bool) -> StackState:
        """The state at the handler of an exception table's entry, when an instruction with this state raises."""
        left = self.cut(depth)
        lasti = (*left.lasti, depth) if push_lasti else left.lasti
        return left._replace(depth=depth + push_lasti + 1, lasti=lasti)


def stack_states(decoded: DecodedCode, successors: Sequence[tuple[int, ...]]) -> list[StackState | None]:
    """Per instruction the stack before it; None where nothing leads. AssertionError if two ways in differ."""
    states: list[StackState | None] = [None] * len(decoded.instrs)
    work: list[tuple[int, StackState]] = [(0, StackState(0))]
    unlikely: list[tuple[int, StackState]] = []  # handlers of what raises nothing: they count if nothing else leads there
    while work or unlikely:
        if not work:
            index, state = unlikely.pop()
            if states[index] is None:
                work.append((index, state))
            continue
        index, state = work.pop()
        known = states[index]
        if known is not None:
            if known != state and known._replace(lasti=state.lasti) != state:  # a piece is entered with one that is made up
                raise AssertionError(f"the stack at {decoded.instrs[index]} is {known} or {state}")
            continue
        states[index] = state
        instr = decoded.instrs[index]
        for following in successors[index]:
            work.append((following, state.after(instr, following == instr.target)))
        entry = decoded.exception_entry(index)
        if entry is not None:
            raises = instr.opname not in FACTS.never_raise
            (work if raises else unlikely).append((entry.handler, state.handler(entry.depth, entry.push_lasti)))
    return states
