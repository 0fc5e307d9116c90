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
    _refuse_packed("lstm", args)
    trains = torch.is_grad_enabled() and not vm.config.allow_rnn
    if trains and any(_is_trained(one) for one in _tensors(vm, args)):
        raise Break("UNSUPPORTED_CALL", "training an LSTM on a CPU, whose kernel AOTAutograd cannot take")
    return vm.graph_call(torch.lstm, args, kwargs)


def _refuse_packed(name: str, args: Any) -> None:
    """Kernels look into the sizes of the batches, which no fake has: they would be zeros."""
    if len(args) > 3 and issubclass(type(args[1]), torch.Tensor) and type(args[3]) in (list, tuple):
        raise Break("NO_FAKE_RULE", f"{name} of a packed sequence")


def _of_packed(fn: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        _refuse_packed(fn.__name__, args)
        return vm.graph_call(fn, args, kwargs)

    RULES.put(fn, rule)


for _fn in (torch.gru, torch.rnn_tanh, torch.rnn_relu):
    _of_packed(_fn)


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
