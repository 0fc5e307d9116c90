"""Where in the user's program the nodes of a graph come from."""

from __future__ import annotations

import types

import torch

from alternator.interpreter.machine import Machine
from alternator.provenance.lines import source_line


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
            shown = source_line(code.co_filename, line)
            text = f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
            text = self._lines[code, line] = f"{text}    {shown}\n" if shown else text
        return text
