"""Swapping tensors that guards refer to.

``torch.utils.swap_tensors``, and by it modules that are converted or loaded in place, refuses tensors that somebody refers to
weakly.  Guards do, to those that are keys of dicts (the state of an optimizer).  What relies on a swapped tensor is of no use
afterwards, so the guards let go of it first.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from alternator._C.guards import let_go

_swap: Any = torch.utils.swap_tensors


@functools.wraps(_swap)
def _swap_tensors(t1: Any, t2: Any) -> None:
    let_go(t1)
    let_go(t2)
    _swap(t1, t2)


def install() -> None:
    """From now on swapping lets go first."""
    if torch.utils.swap_tensors is _swap:
        vars(_swap_tensors)["_torchdynamo_disable"] = True
        torch.utils.swap_tensors = _swap_tensors
