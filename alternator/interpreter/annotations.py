"""Where in the user's program the nodes of a graph come from."""

from __future__ import annotations

import traceback
import types

import torch

from alternator.interpreter.machine import Machine


class Annotator:
    """Writes into each node where in the user's program it comes from."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm
        self._lines: dict[tuple[types.CodeType, int], str] = {}

    def __call__(self, node: torch.fx.Node) -> None:
        rows = []
        frame = self.vm.frame
        while frame is not None:
            rows.append(self._line(frame.code, frame.line() or frame.code.co_firstlineno))
            frame = frame.parent
        node.meta["stack_trace"] = "".join(reversed(rows))
        if self.vm.module_stack:
            node.meta["nn_module_stack"] = dict(self.vm.module_stack)

    def _line(self, code: types.CodeType, line: int) -> str:
        text = self._lines.get((code, line))
        if text is None:
            text = self._lines[code, line] = "".join(
                traceback.format_list([traceback.FrameSummary(code.co_filename, line, code.co_name)])
            )
        return text
