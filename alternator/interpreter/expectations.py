"""Branches on tensors of which one side does nothing but raise: ``if not valid.all(): raise ValueError(f"...{x}")``.

The capture goes on as if nothing were raised, and what it expects is an output of the graph.  Generated code looks at it before
anything that the program did is done for real; where it was expected wrongly, nothing has happened yet, and the frame is run
again, plainly (``codegen/again.py``).  So the graph must change nothing that can be seen:
neither its inputs nor running statistics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.bytecode.analysis import only_cleans_up, only_raises
from alternator.exc import Restart
from alternator.interpreter import tensor_ops
from alternator.interpreter.assertions import BRANCHES
from alternator.tensors.graph import Recorder

_NOT_HERE = "expectations would be looked at too late"
"""In the state of a frame: its graph changes what can be seen after a branch that was expected to be taken."""


def expected_value(vm: Any, condition: torch.Tensor) -> bool | None:
    """The truth value with which the program does not raise, where the branch in progress decides on that; it is expected now."""
    frame = vm.frame
    if frame is None or not vm.config.rewrite_assert_with_torch_assert:
        return None
    instr = frame.instrs[frame.at]
    if instr.opname not in BRANCHES or type(condition) is not FakeTensor or condition.numel() != 1 or not _can_start_over(vm):
        return None
    sides = [only_raises(frame.decoded, at) for at in (instr.target, frame.at + 1)]
    if sides[0] == sides[1]:
        return None
    value = BRANCHES[instr.opname] is not sides[0]
    expected = tensor_ops.call(vm, torch.ne, (condition, 0), {}) if value else tensor_ops.call(vm, torch.eq, (condition, 0), {})
    vm.states.setdefault("expected", []).append(expected)
    return value


def _can_start_over(vm: Any) -> bool:
    if type(vm.recorder) is not Recorder or vm.overrides.active or torch._C._are_functorch_transforms_active():
        return False
    if vm.root_state.get(_NOT_HERE) or not vm.fakes.watch.changes_nothing(vm.recorder):
        return False
    frame = vm.frame
    while frame is not None:
        if not only_cleans_up(frame.decoded, frame.at):
            return False
        frame = frame.parent
    return True


def check_expected(vm: Any) -> list[torch.Tensor]:
    """What the capture expects to be true; begins anew where the graph turned out to change something."""
    expected: list[torch.Tensor] = vm.states.get("expected", [])
    if expected and not vm.fakes.watch.changes_nothing(vm.recorder):
        raise Restart(lambda: vm.root_state.__setitem__(_NOT_HERE, True))
    return expected
