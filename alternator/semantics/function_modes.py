"""Entering and leaving torch function modes in captured code."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch.utils._device import DeviceContext

from alternator.exc import Break
from alternator.interpreter import tensor_ops
from alternator.interpreter.tables import RULES


@RULES.rule(torch._C._push_on_torch_function_stack)
def push(vm: Any, args: Any, kwargs: Any) -> None:
    vm.ticks += 1
    vm.overrides.push(args[0])


@RULES.rule(torch._C._pop_torch_function_stack)
def pop(vm: Any, args: Any, kwargs: Any) -> Any:
    if not vm.overrides.modes:
        raise Break("MODE", "leaving a mode that was entered outside")
    vm.ticks += 1
    return vm.overrides.modes.pop()


@RULES.rule(torch._C._len_torch_function_stack)
def count(vm: Any, args: Any, kwargs: Any) -> int:
    _none_outside(vm)
    return len(vm.overrides.modes)


@RULES.rule(torch._C._get_function_stack_at)
def at(vm: Any, args: Any, kwargs: Any) -> Any:
    _none_outside(vm)
    return vm.plain(vm.overrides.modes.__getitem__, args[0])


@RULES.rule(torch.device.__enter__)
def enter_device(vm: Any, args: Any, kwargs: Any) -> Any:
    """``with torch.device(...)``: a mode that C code would push."""
    push(vm, (vm.call(DeviceContext, args),), {})
    return args[0]


@RULES.rule(torch.device.__exit__)
def leave_device(vm: Any, args: Any, kwargs: Any) -> None:
    pop(vm, (), {})


def _none_outside(vm: Any) -> None:
    if vm.outside_modes:
        raise Break("MODE", "a look at the modes that were entered outside")


@RULES.rule(types.GetSetDescriptorType.__get__)
def read_descriptor(vm: Any, args: Any, kwargs: Any) -> Any:
    """``Tensor.shape.__get__(tensor)``: how modes see the reading of an attribute."""
    if len(args) < 2 or not issubclass(type(args[1]), torch.Tensor):
        raise Break("UNKNOWN_C_FUNCTION", "a descriptor read by its __get__")
    return tensor_ops.load_attr(vm, args[1], args[0].__name__)


def check_closed(vm: Any) -> None:
    """Generated code cannot go on, or return, under a mode that the captured code entered, or without overrides."""
    if vm.overrides.levels:
        raise Break("MODE", "a context without __torch_function__ is still on where the graph ends")
    if vm.overrides.modes:
        raise Break("MODE", f"{type(vm.overrides.modes[-1]).__name__} is still on where the graph ends")
