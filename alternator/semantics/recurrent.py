"""Recurrent networks: what of them cannot be compiled."""

from __future__ import annotations

from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter.tables import RULES

_OF_ONEDNN = (torch.float32, torch.bfloat16, torch.float16)


@RULES.rule(torch.lstm)
def lstm(vm: Any, args: Any, kwargs: Any) -> Any:
    """oneDNN's kernel looks at the grad mode when it runs, to save something for the backward pass or not: under AOTAutograd,
    which runs it without gradients, the backward pass finds nothing."""
    trains = torch.is_grad_enabled() and not vm.config.allow_rnn
    if trains and any(_is_trained(one) for one in _tensors(vm, args)):
        raise Break("UNSUPPORTED_CALL", "training an LSTM on a CPU, whose kernel AOTAutograd cannot take")
    return vm.graph_call(torch.lstm, args, kwargs)


def _tensors(vm: Any, values: Any) -> list[Any]:
    found = []
    for value in values:
        if issubclass(type(value), torch.Tensor):
            found.append(value)
        elif type(value) in (list, tuple):
            found += _tensors(vm, vm.close(value))
    return found


def _is_trained(tensor: torch.Tensor) -> bool:
    return tensor.requires_grad and tensor.device.type == "cpu" and tensor.dtype in _OF_ONEDNN
