"""Observers of quantization that know nothing yet: their kernels resize what they are given."""

from __future__ import annotations

from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter.tables import RULES

_FUSED = torch.fused_moving_avg_obs_fake_quant
_NAMES = (
    "x observer_on fake_quant_on running_min running_max scale zero_point averaging_const quant_min quant_max "
    "ch_axis per_row_fake_quant symmetric_quant"
).split()


@RULES.rule(_FUSED)
def fused_moving_avg_obs_fake_quant(vm: Any, args: Any, kwargs: Any) -> Any:
    """Per channel, one number of each is kept; the first call makes room for them, which neither fakes nor AOTAutograd know."""
    given = dict(zip(_NAMES, args)) | kwargs
    tensors = [given.get(name) for name in ("running_min", "running_max", "scale", "zero_point")]
    if given.get("per_row_fake_quant") and any(issubclass(type(one), torch.Tensor) and one.numel() == 0 for one in tensors):
        raise Break("TENSOR_EFFECT", "fused_moving_avg_obs_fake_quant, which resizes what is empty")
    return vm.graph_call(_FUSED, args, kwargs)
