"""Assignment through a mask: the gradient of what is assigned has as many rows as the mask has members, which only data says.

Fakes do not mind, and neither does a backend that runs graphs as they are; one that traces the backward pass ahead of time
fails. Then the capture begins anew, with a break there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)

from alternator.exc import Break, Restart

ONLY_DATA_SAYS = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
"""What a backend raises that cannot do with fakes what the graph does with data."""

_STATE = "gradients through masks"


def note_assignment(vm: Any, key: Any, value: torch.Tensor) -> None:
    """``tensor[key] = value`` is about to be recorded."""
    if not value.requires_grad or not torch.is_grad_enabled():
        return
    if any(
        type(part) is not tuple and getattr(part, "dtype", None) in _MASKS for part in (key if type(key) is tuple else (key,))
    ):
        if vm.root_state.get(_STATE):
            raise Break("DYNAMIC_OUTPUT_SHAPE", "the gradient of what is assigned through a mask")
        vm.states[_STATE] = True


_MASKS = (torch.bool, torch.uint8)


def begin_anew(vm: Any, error: Exception) -> None:
    """The backend failed: restart the capture if breaks at masks may be the cure."""
    if issubclass(type(error), ONLY_DATA_SAYS) and vm.states.get(_STATE):
        raise Restart(lambda: vm.root_state.__setitem__(_STATE, True))
