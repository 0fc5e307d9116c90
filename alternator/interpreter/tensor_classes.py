"""Subclasses of ``torch.Tensor`` that only add Python to it: which can be traced, and how the program makes instances."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.exc import Break
from alternator.interpreter import overrides, tensor_ops, wrappers

_SPECIAL = (
    *("__getattribute__", "__setattr__", "__delattr__", "__getitem__", "__setitem__", "__delitem__", "__len__", "__iter__"),
    *("__contains__", "__bool__", "__int__", "__float__", "__index__", "__complex__", "__hash__", "__call__"),
    *("__format__", "__enter__", "__exit__", "__array__", "__abs__", "__round__", "__reversed__", "__del__"),
)
"""Methods that Python calls by itself: those of a subclass would not be seen, since a plain fake stands for the tensor."""


def check_class(vm: Any, cls: type) -> None:
    """Break if instances of the class cannot be traced; guards what this is known from."""
    if ("tensor class", cls) in vm.states:
        return
    vm.states["tensor class", cls] = True
    vm.world.trusted(cls)
    dispatch = vm.world.class_attr(cls, "__torch_dispatch__")
    if dispatch is not torch._C._disabled_torch_dispatch_impl:
        raise Break("TENSOR_SUBCLASS", f"{cls.__name__}, which has a __torch_dispatch__ but does not wrap tensors")
    for name in _SPECIAL:
        found = vm.world.class_attr(cls, name)
        if found is not tensor_ops.class_attribute(torch.Tensor, name):
            raise Break("TENSOR_SUBCLASS", f"{cls.__name__}, which defines {name}")


_NOT_MADE = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def give_class(vm: Any, tensor: torch.Tensor, cls: type) -> torch.Tensor:
    """``tensor.as_subclass(cls)``: another tensor over the same memory.

    The graph does not see it: generated code gives the class to what the graph computes.
    """
    if type(tensor) is not FakeTensor or not issubclass(cls, torch.Tensor) or issubclass(cls, FakeTensor):
        raise Break("TENSOR_SUBCLASS", f"as_subclass() of a {tensor_ops.type_of(vm, tensor).__name__}")
    if cls not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        check_class(vm, cls)
    made = tensor_ops.execute(vm, torch.ops.aten.alias.default, (tensor,), {})
    vm.recorder.bind(made, vm.recorder.node_of(tensor))
    vm.overrides.made[id(made)] = overrides.Made(tensor, cls)
    vm.overrides.active = True
    vm.ticks += 1
    return made  # type: ignore[no-any-return]


def construct(vm: Any, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``cls(*args, **kwargs)`` for a subclass of Tensor."""
    if cls in _NOT_MADE:
        raise Break("TENSOR_SUBCLASS", f"construction of {cls.__name__}")
    if wrappers.is_wrapper_class(cls):
        return wrappers.construct(vm, cls, args, kwargs)
    check_class(vm, cls)
    new = vm.world.class_attr(cls, "__new__")
    if type(new) is staticmethod:
        new = new.__func__
        vm.world.trusted(new)
    made = vm.call(new, (cls, *args), kwargs)
    if not issubclass(type(made), torch.Tensor) or not issubclass(tensor_ops.type_of(vm, made), cls):
        return made
    init = vm.world.class_attr(cls, "__init__")
    if type(init) is types.FunctionType:
        vm.call(init, (made, *args), kwargs)
    return made
