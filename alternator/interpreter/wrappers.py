"""Tensors that wrap other tensors (``__tensor_flatten__``, ``__torch_dispatch__``): real instances of their class around fakes.

What their class does in ``__torch_dispatch__``, and to make an instance, counts as part of the operators, as the rule of a fake
does: it is run and not captured, and what it reads is not guarded.  Graphs hold operations on the wrappers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass, is_traceable_wrapper_subclass_type

from alternator.exc import Break
from alternator.interpreter import tensor_ops
from alternator.provenance.world import MISSING


def is_wrapper(tensor: torch.Tensor) -> bool:
    """Whether it is such a tensor (and no fake)."""
    return not isinstance(tensor, FakeTensor) and is_traceable_wrapper_subclass(tensor)


def part(vm: Any, tensor: torch.Tensor, name: str) -> Any:
    """``wrapper.name``: a tensor inside, which the graph reads; a plain value of one that the program made; or MISSING."""
    if not is_wrapper(tensor):
        return MISSING
    if name in tensor.__tensor_flatten__()[0]:
        inner = tensor_ops.execute(vm, getattr, (tensor, name), {})
        if not vm.recorder.knows(inner):
            vm.recorder.record("call_function", getattr, (tensor, name), {}, inner)
        return inner
    if vm.records.get(id(tensor)) is not None or id(tensor) in vm.spaces and name in vm.spaces[id(tensor)]:
        return MISSING
    value = tensor.__dict__.get(name, MISSING)
    if value is MISSING or type(value) in _VALUES:
        return value
    raise Break("TENSOR_SUBCLASS", f"attribute {name} of a {type(tensor).__name__} that was made while tracing")


_VALUES = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size})
_ARGUMENTS = (torch.Tensor, torch.SymInt, torch.Size)


def construct(vm: Any, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A wrapper that the program makes: one node of the graph."""
    for value in (*args, *kwargs.values()):
        for item in value if type(value) in (tuple, list) else (value,):
            if type(item) not in _VALUES and not issubclass(type(item), _ARGUMENTS):
                raise Break("TENSOR_SUBCLASS", f"construction of a {cls.__name__} with a {type(item).__name__}")
    for name in ("__new__", "__init__", "__torch_dispatch__", "__tensor_flatten__", "__tensor_unflatten__"):
        vm.world.class_attr(cls, name)
    made = tensor_ops.call(vm, cls, args, kwargs)
    if type(made) is not cls:
        raise Break("TENSOR_SUBCLASS", f"construction of a {cls.__name__} gives a {type(made).__name__}")
    vm.overrides.active = True
    return made


def is_wrapper_class(cls: type) -> bool:
    """Whether instances of the class can wrap tensors."""
    return bool(is_traceable_wrapper_subclass_type(cls))
