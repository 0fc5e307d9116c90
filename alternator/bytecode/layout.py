"""What a piece of a function is called with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the state of a frame before instruction `index` is handed to a piece that starts there.

    The arguments are the values of `local_names`; the stack's items at `passed` from the bottom up; then, if `handles`, the
    exception that the frame is handling. Locals in `unbound` stay unbound. The stack has `stack_depth` items; those at
    `null_positions` are NULL, those at `made_positions` the piece makes itself: what its callers are handling (which
    PUSH_EXC_INFO saved), and offsets of raising instructions. A name of `local_names` that is a cell too (the first argument
    of a method that uses `super()`) keeps a place only: any value may be passed for it. Locals in `kept` are passed although
    nobody reads them: they live on in the piece.
    """

    index: int
    local_names: tuple[str, ...]
    stack_depth: int
    null_positions: tuple[int, ...]
    unbound: frozenset[str]
    made_positions: tuple[int, ...]
    handles: bool
    kept: frozenset[str]

    @property
    def fields(self) -> dict[str, Any]:
        """The fields, for a subclass's constructor."""
        return {name: getattr(self, name) for name in Layout.__annotations__}

    @property
    def passed(self) -> tuple[int, ...]:
        """The positions of the stack's items that are arguments, from the bottom up."""
        return tuple(i for i in range(self.stack_depth) if i not in self.null_positions and i not in self.made_positions)
