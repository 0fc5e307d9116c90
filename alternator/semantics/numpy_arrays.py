"""NumPy: arrays are tensors in disguise (``torch._numpy``), whose Python code is interpreted like the user's."""

from __future__ import annotations

import types
from typing import Any

import numpy
import torch
import torch._numpy as tnp

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.tables import PURE_TYPES, REBUILD, RULES, SHALLOW
from alternator.interpreter.tensor_ops import METHODS, class_attribute
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World

Array = tnp.ndarray
attributes.show_as(Array, numpy.ndarray)


@ADMIT.register(numpy.ndarray)
def admit_array(world: World, obj: Any, source: Source) -> Any:
    """An outside array: a tensor over its memory, in the array's clothes."""
    vm = world.vm
    if type(obj) is not numpy.ndarray or obj.dtype.kind not in "biufc" or not vm.config.trace_numpy:
        raise Break("NUMPY", f"an array of {obj.dtype} at {source.name}")
    source.guard("TYPE", numpy.ndarray)
    dtype, shape, strides = obj.dtype, obj.shape, obj.strides
    source.guard_predicate(lambda a: a.dtype == dtype and a.shape == shape and a.strides == strides, f"{dtype}{list(shape)}")
    real = torch.as_tensor(obj)
    fake = vm.fakes.of(real, source, None)
    vm.recorder.tensor_input(fake, real, source, "array")
    made = Array(fake)
    world.record(obj, source, made)
    return made


@ADMIT.register(numpy.dtype, numpy.generic)
def admit_scalar(world: World, obj: Any, source: Source) -> Any:
    if isinstance(obj, numpy.dtype):
        source.guard_predicate(lambda value: value == obj, f"== {obj}")
        return obj
    raise Break("NUMPY", f"a NumPy scalar at {source.name}")


@METHODS.rule(class_attribute(torch.Tensor, "numpy"))
def tensor_numpy(vm: Any, args: Any, kwargs: Any) -> Any:
    """``tensor.numpy()``"""
    tensor = args[0]
    if not vm.config.trace_numpy:
        raise Break("NUMPY", "Tensor.numpy()")
    if tensor.requires_grad and not kwargs.get("force"):
        text = "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        raise vm.user_raise(RuntimeError(text))
    if tensor.device.type != "cpu":
        raise Break("NUMPY", "Tensor.numpy() of a tensor that is not on the CPU")
    return Array(tensor)


@RULES.rule(torch.from_numpy)
def from_numpy(vm: Any, args: Any, kwargs: Any) -> Any:
    value = args[0]
    if type(value) is not Array:
        raise Break("NUMPY", "torch.from_numpy() of something that is no captured array")
    return value.tensor


def _unwrapping(fn: Any) -> None:
    """Functions that make a tensor of data: of a captured array, its tensor."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if args and type(args[0]) is Array:
            args = (args[0].tensor, *args[1:])
            if fn is torch.tensor:
                args = (vm.call(torch.clone, args[:1]), *args[1:])
        return vm.graph_call(
            torch.as_tensor if fn is torch.tensor and args and isinstance(args[0], torch.Tensor) else fn, args, kwargs
        )

    RULES.put(fn, rule)


_unwrapping(torch.as_tensor)
_unwrapping(torch.tensor)
_unwrapping(torch.asarray)


def _as_torch_numpy(name: str, fn: Any, twin: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if not vm.config.trace_numpy:
            raise Break("NUMPY", f"numpy.{name}")
        attributes.vm_trusted(vm, twin)
        return calls.call(vm, twin, args, kwargs)

    RULES.put(fn, rule)


for _name in dir(numpy):
    _fn, _twin = getattr(numpy, _name), getattr(tnp, _name, None)
    if (
        _twin is not None
        and not isinstance(_fn, (type, types.ModuleType))
        and callable(_fn)
        and callable(_twin)
        and not _name.startswith("_")
        and _fn not in RULES
    ):
        _as_torch_numpy(_name, _fn, _twin)
for _space in ("linalg", "fft"):
    for _name in dir(getattr(tnp, _space)):
        _fn, _twin = getattr(getattr(numpy, _space), _name, None), getattr(getattr(tnp, _space), _name)
        if isinstance(_twin, types.FunctionType) and callable(_fn) and not isinstance(_fn, type) and _fn not in RULES:
            _as_torch_numpy(f"{_space}.{_name}", _fn, _twin)

PURE_TYPES.put(numpy.dtype, SHALLOW)


@REBUILD.rule(Array)
def rebuild_array(b: Any, value: Any) -> str:
    return b.assign(f"{b.value(value.tensor)}.numpy()")


@REBUILD.rule(numpy.dtype)
def rebuild_dtype(b: Any, value: Any) -> str:
    return b.constant(value, "dtype")
