"""Where in the user's program the capture is, as torch's own code asks for it: symbolic shapes in their logs, errors of fakes."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any, ContextManager, Iterator

from torch._guards import TracingContext


class Places(TracingContext):
    """The tracing context of one run of the interpreter: it knows each call that is under way."""

    def __init__(self, vm: Any) -> None:
        self._here = _Here(vm)
        self._calls: dict[int, traceback.FrameSummary] = {}
        super().__init__(None)  # no fake mode: what the operators are asked under is the machine's business

    def calling(self, frame: Any) -> ContextManager[None]:
        """To be entered for as long as a function runs that ``frame`` calls; None: it is called behind the program's end."""
        if frame is None:
            return contextlib.nullcontext()
        instr = frame.instrs[frame.at]
        place = self._calls.get(id(instr))  # decoded code outlives the capture
        if place is None:
            place = self._calls[id(instr)] = _summary(frame)
        return TracingContext.current_frame(place)

    @property
    def loc_in_frame(self) -> Any:
        """File, line and function, only looked up if somebody unpacks them."""
        return self._here

    @loc_in_frame.setter
    def loc_in_frame(self, value: Any) -> None:
        """What ``current_frame`` writes says less than the machine knows."""


class _Here:
    """The place of the frame that runs now."""

    def __init__(self, vm: Any) -> None:
        self.vm = vm

    def __iter__(self) -> Iterator[Any]:
        if self.vm.frame is None:  # an exception leaves the capture
            return iter(("<captured>", 0, ""))
        place = _summary(self.vm.frame)
        return iter((place.filename, place.lineno, place.name))


def _summary(frame: Any) -> traceback.FrameSummary:
    if frame is None:  # before the first, or behind the last
        return traceback.FrameSummary("<capture>", 1, "capture", lookup_line=False)
    code = frame.code
    return traceback.FrameSummary(code.co_filename, frame.line() or code.co_firstlineno, code.co_name, lookup_line=False)
