"""Inference mode that captured code enters and leaves.

It is really entered, so that fakes are what the program's tensors would be, and autograd refuses what it would refuse.  The graph
runs without gradients instead, since AOTAutograd cannot work on inference tensors; what leaves it is made one.
"""

from __future__ import annotations

from typing import Any

import torch

from alternator.tensors.state import GlobalState

_Mode: Any = torch._C._InferenceMode


class Region:
    """A block that is open: its context manager, and torch's state in front of it.

    ``real``: it is really entered; the capture of a frame that begins in inference mode is outside of it.
    """

    def __init__(self, context: Any, mode: bool, real: bool) -> None:
        self.context = context
        self.before = GlobalState()
        self.guard = _Mode(mode) if real else None
        if self.guard is not None:
            self.guard.__enter__()
        else:
            torch._C._set_grad_enabled(False)

    def leave(self) -> None:
        """Torch's state is as it was in front of it."""
        if self.guard is not None:
            self.guard.__exit__(None, None, None)
        else:
            self.before.restore()


def leave_all(regions: list[Region]) -> None:
    """The end of a capture: none stays open (but ``regions`` says which were)."""
    for region in reversed(regions):
        region.leave()


def as_inference(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor over the same memory that would have been made in inference mode."""
    with torch.inference_mode():
        made = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        return made.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())  # type: ignore[call-overload, no-any-return]
