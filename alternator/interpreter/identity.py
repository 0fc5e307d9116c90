"""``id()`` of values whose address means nothing once the capture is over."""

from __future__ import annotations

from typing import Any


class TracedId(int):
    """``id()`` of a tensor, or of something made while tracing.

    Good for comparing with its like, and as a key of the program's own.

    Where it meets numbers from outside, or leaves the captured code, an outside tensor has to be that very one (``settle``).
    """

    rec: Any

    def __new__(cls, value: int, rec: Any = None) -> "TracedId":
        made = super().__new__(cls, value)
        made.rec = rec
        return made

    def settle(self) -> int:
        """The address, which is relied on from now on."""
        if self.rec is not None:
            self.rec.source.guard("IS", self.rec.obj)
        return int(self)


def settled(value: Any) -> Any:
    """A value that is about to be compared with numbers from outside."""
    return value.settle() if type(value) is TracedId else value
