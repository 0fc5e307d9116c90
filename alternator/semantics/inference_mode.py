"""``with torch.inference_mode()`` in captured code (``tensors/inference.py``)."""

from __future__ import annotations

from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter.tables import RULES
from alternator.tensors.graph import Recorder
from alternator.tensors.inference import Region


def _regions(vm: Any) -> list[Region]:
    found: list[Region] = vm.states.setdefault("inference regions", [])
    return found


def _grad_mode(vm: Any, enabled: bool) -> None:
    """What the graph is to do of it."""
    vm.recorder.graph.call_function(torch._C._set_grad_enabled, (enabled,))
    vm.state_changed()


@RULES.rule(torch.inference_mode.__enter__)
def enter(vm: Any, args: Any, kwargs: Any) -> None:
    context = args[0]
    if id(context) in vm.records:
        raise Break("MODE", "inference_mode.__enter__ of an object from outside")
    if type(vm.recorder) is not Recorder or torch._C._functorch.maybe_current_level() is not None:
        raise Break("MODE", "inference_mode.__enter__ in the body of an operator")
    mode = vm.getattr(context, "mode")
    if type(mode) is not bool or vm.inference_mode and not mode:
        raise Break("MODE", f"inference_mode.__enter__ with mode={mode!r}")
    regions, before = _regions(vm), torch.is_grad_enabled()
    regions.append(vm.plain(lambda: Region(context, mode, not vm.inference_mode)))
    if torch.is_grad_enabled() is not before:
        _grad_mode(vm, not before)
    vm.state_changed()


@RULES.rule(torch.inference_mode.__exit__)
def leave(vm: Any, args: Any, kwargs: Any) -> None:
    regions = _regions(vm)
    if not regions or regions[-1].context is not args[0]:
        raise Break("MODE", "inference_mode.__exit__ of what was entered before")
    now = torch.is_grad_enabled()
    vm.plain(regions.pop().leave)
    if torch.is_grad_enabled() is not now:
        _grad_mode(vm, not now)
    vm.state_changed()
