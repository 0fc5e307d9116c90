"""Hooks that the program registers on tensors from outside: registered after the graph, before anybody can see a gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.hooks import BackwardHook, RemovableHandle

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.histories import is_leaf
from alternator.interpreter.tables import GETATTR, INSTANCE_CALLS, REBUILD, RULES
from alternator.interpreter.tensor_ops import METHODS, class_attribute
from alternator.semantics import computed_hooks


class TracedHandle:
    """Stands for the handle of a hook that generated code will register."""

    def __init__(self, register: Any, tensor: torch.Tensor, hook: Any) -> None:
        self.register = register
        self.tensor = tensor
        self.hook = hook


attributes.show_as(TracedHandle, RemovableHandle)


def _registering(register: Any, only_leaves: str) -> None:
    name = register.__name__

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        tensor, hook = args[0], args[1] if len(args) > 1 else kwargs["hook"]
        rec = vm.records.get(id(tensor))
        if rec is not None and tensor._version:
            raise Break("TENSOR_HOOK", f"Tensor.{name}() on an input that the graph has changed")
        if not tensor.requires_grad:
            text = "cannot register a hook on a tensor that doesn't require gradient"
            raise vm.user_raise(RuntimeError(text))
        if only_leaves and not is_leaf(vm, tensor):
            raise vm.user_raise(RuntimeError(only_leaves))
        if rec is None and only_leaves:
            raise Break("TENSOR_HOOK", f"Tensor.{name}() on a leaf that was made here")
        if rec is None:
            return computed_hooks.register(vm, tensor, hook)
        handle = TracedHandle(register, tensor, hook)
        vm.ticks += 1
        vm.states.setdefault("hooks", []).append(handle)
        vm.world.effects.append(("call", _keep, (handle,), {}))
        return handle

    METHODS.put(class_attribute(torch.Tensor, name), rule)
    RULES.put(register, rule)


def _setting_up(method: Any) -> None:
    """What sets up a module's backward hooks looks for a node of autograd by its name: that is not the one that a graph makes."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        tensors = [a for a in (args[1] if type(args[1]) is tuple else args[1:]) if issubclass(type(a), torch.Tensor)]
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            raise Break("TENSOR_HOOK", "a backward hook of a module")
        return calls.inline(vm, method, args, kwargs)

    RULES.put(method, rule)


_setting_up(BackwardHook.setup_input_hook)
_setting_up(BackwardHook.setup_output_hook)


def _keep(handle: Any) -> None:
    """Mentioning the handle has registered its hook."""


_registering(torch.Tensor.register_hook, "")
_registering(
    torch.Tensor.register_post_accumulate_grad_hook, "post accumulate grad hooks cannot be registered on non-leaf tensors"
)


def _handle_attr(vm: Any, handle: TracedHandle, name: str) -> Any:
    if name == "remove":
        return _Remove(handle)
    raise Break("TENSOR_HOOK", f"{name} of the handle of a hook")


GETATTR.put(TracedHandle, _handle_attr)


class _Remove:
    """``handle.remove``, about to be called."""

    def __init__(self, handle: TracedHandle) -> None:
        self.handle = handle


@INSTANCE_CALLS.rule(_Remove)
def _remove(vm: Any, bound: _Remove, args: Any, kwargs: Any) -> None:
    vm.ticks += 1
    vm.world.effects.append(("call", RemovableHandle.remove, (bound.handle,), {}))


@REBUILD.rule(TracedHandle)
def rebuild_handle(b: Any, value: TracedHandle) -> str:
    """Registers the hook, and those that were registered before it: their order is the order in which they run."""
    waiting = b.vm.states["hooks"]
    name = ""
    while not name:
        handle = waiting.pop(0)
        if handle.tensor._version:
            raise Break("TENSOR_HOOK", "a hook on a tensor that is changed in place afterwards")
        made = b.assign(f"{b.constant(handle.register, 'register')}({b.value(handle.tensor)}, {b.value(handle.hook)})", "h")
        b.register(handle, made)
        name = made if handle is value else ""
    return name


@REBUILD.rule(_Remove)
def rebuild_remove(b: Any, value: _Remove) -> str:
    return b.assign(f"{b.value(value.handle)}.remove")
