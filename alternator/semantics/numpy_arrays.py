"""NumPy: arrays are tensors in disguise (``torch._numpy``), whose Python code is interpreted like the user's."""

from __future__ import annotations

import types
from typing import Any

import numpy
import torch
import torch._numpy as tnp
from torch.utils._mode_utils import no_dispatch

from alternator.exc import Break, UserRaise
from alternator.interpreter import attributes, calls, operations
from alternator.interpreter.identity import hashable
from alternator.interpreter.links import never_goes_on
from alternator.interpreter.tables import NAMED, PURE_TYPES, READABLE, REBUILD, RULES, SHALLOW, SUBCLASSES
from alternator.interpreter.tensor_ops import METHODS, class_attribute
from alternator.provenance.source import Source, worded
from alternator.provenance.world import ADMIT, World
from alternator.semantics import nested_data
from alternator.semantics.admission import may_vary
from alternator.semantics.numpy_scalars import (
    UNKNOWN,
    are_numbers,
    as_numpy_gives,
    example,
    has_tensor,
    in_library,
    is_number,
    is_scalar,
    no_scalar,
)
from alternator.semantics.symbols import announce_symbols

Array = tnp.ndarray
never_goes_on("torch._numpy")  # what leaves in place of its arrays are NumPy's
tnp._dtypes_impl.default_dtypes()  # made when first asked for: not in the middle of a capture


@worded("{}")
def tensor_over(array: Any) -> Any:
    """A tensor over the memory of an array; None where there cannot be one."""
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        return None


@ADMIT.register(numpy.ndarray)
def admit_array(world: World, obj: Any, source: Source) -> Any:
    """An outside array: a tensor over its memory, in the array's clothes."""
    vm = world.vm
    if type(obj) is not numpy.ndarray or obj.dtype.kind not in "biufc" or not vm.config.trace_numpy:
        raise Break("NUMPY", f"an array of {obj.dtype} at {source.name}")
    if not obj.flags.writeable:
        raise Break("NUMPY", f"a read-only array at {source.name}")
    source.guard("TYPE", numpy.ndarray)
    dtype, shape, strides = obj.dtype, obj.shape, obj.strides
    with no_dispatch():
        real = tensor_over(obj)
    if real is None:
        raise Break("NUMPY", f"an array at {source.name} that no tensor can be over: of {obj.dtype}, strides {obj.strides}")
    dims = vm.dynamic.dims(real, source.name, source.static)
    if dims is None:
        known = dtype, shape, strides, True
        source.guard_predicate(lambda a: (a.dtype, a.shape, a.strides, a.flags.writeable) == known, f"{dtype}{list(shape)}")
        fake = vm.fakes.of(real, source, None)
    else:
        source.guard_predicate(lambda a: a.dtype == dtype and a.flags.writeable, f"{dtype}")
        seen = source.child("call", tensor_over)
        fake = vm.fakes.of(real, seen, dims)
        announce_symbols(vm, fake, real, seen)
    vm.recorder.tensor_input(fake, real, source, "array")
    made = no_scalar(vm, Array(fake))
    world.record(obj, source, made)
    return made


@ADMIT.register(numpy.dtype, numpy.generic)
def admit_scalar(world: World, obj: Any, source: Source) -> Any:
    """A dtype, or a scalar, which is a constant until it was seen to vary: its type and its bits are guarded."""
    if issubclass(type(obj), numpy.dtype):
        if obj.names is not None:  # which can be given to it
            raise Break("NUMPY", f"a dtype with fields at {source.name}")
        source.guard_predicate(lambda value: value == obj, f"== {obj}")
        return obj
    if obj.dtype.kind not in "biufc":
        raise Break("NUMPY", f"a scalar of {obj.dtype} at {source.name}")
    source.guard("TYPE", type(obj))
    if _varies(world.vm, obj, source):
        with no_dispatch():
            real = torch.as_tensor(obj)
        fake = world.vm.fakes.of(real, source, None)
        world.vm.recorder.tensor_input(fake, real, source, "array")
        world.vm.states[SCALARS_VARY] = True
        made: Any = Array(fake)
        world.record(obj, source, made)
        return made
    bits = obj.tobytes()
    source.guard_predicate(lambda value: value.tobytes() == bits, f"== {obj!r}")
    world.record(obj, source)
    return obj


def _varies(vm: Any, obj: Any, source: Source) -> bool:
    """Whether a scalar is a graph's input: it was seen to vary, and the program does not look at it (``capture._reconsider``)."""
    if type(obj) not in _VARY or not vm.config.trace_numpy or vm.root_state.get(SCALARS_VARY) is False or not may_vary(source):
        return False
    return bool(vm.dynamic.varies(obj.item(), f"numpy scalar {source.name}", source.static))


_VARY = frozenset({numpy.int32, numpy.int64, numpy.float32, numpy.float64})
SCALARS_VARY = "scalars of NumPy vary"
"""Key of a capture's state: there are such; of a code's: False where the program looks at them, which takes constants."""


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
    return no_scalar(vm, Array(_alias(vm, tensor)))


def _alias(vm: Any, tensor: Any) -> Any:
    """Another tensor over the same memory: an array and the tensors made of it share nothing else."""
    return vm.call(torch.Tensor.detach, (tensor,))


@RULES.rule(torch.from_numpy)
def from_numpy(vm: Any, args: Any, kwargs: Any) -> Any:
    value = args[0]
    if type(value) is not Array:
        raise Break("NUMPY", "torch.from_numpy() of something that is no captured array")
    return _alias(vm, value.tensor)


def _unwrapping(fn: Any) -> None:
    """Functions that make a tensor of data: of a captured array, its tensor."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if args and type(args[0]) is Array:
            args = (args[0].tensor if fn is torch.tensor else _alias(vm, args[0].tensor), *args[1:])
        elif args:
            args, kwargs = _of_scalars(args, kwargs)
        if fn is torch.tensor and len(args) == 1 and issubclass(type(args[0]), torch.Tensor):
            return _copied(vm, args[0], **kwargs)
        if fn is torch.tensor and len(args) == 1 and not kwargs.keys() - {"dtype"} and nested_data.holds_tensors(vm, args[0]):
            dtype = nested_data.fits(args[0], kwargs.get("dtype"))
            if dtype is not None:
                return nested_data.stacked(vm, args[0], dtype)
        if len(args) == 1 and (made := nested_data.of_numbers(vm, fn, args[0], kwargs)) is not None:
            return made
        return vm.graph_call(fn, args, kwargs)

    RULES.put(fn, rule)


def _copied(vm: Any, tensor: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **rest: Any) -> Any:
    """``torch.tensor`` of a tensor: its data, in memory of its own."""
    made = vm.call(torch.clone, (vm.call(torch.Tensor.detach, (tensor,)),))
    if dtype is not None or device is not None:
        made = vm.call(torch.Tensor.to, (made,), {"dtype": dtype or tensor.dtype, "device": device or tensor.device})
    if any(value for value in rest.values()):
        raise Break("UNSUPPORTED_CALL", f"torch.tensor() of a tensor with {', '.join(rest)}")
    return vm.call(torch.Tensor.requires_grad_, (made, requires_grad)) if requires_grad else made


def _of_scalars(args: Any, kwargs: Any) -> Any:
    """NumPy's scalars say by themselves which dtype they are to have; in a graph they are plain numbers."""
    given = args[0]
    flat: Any = given if type(given) in (list, tuple) else (given,)
    if not any(issubclass(type(item), numpy.generic) for item in flat):
        return args, kwargs
    if len({type(item) for item in flat}) > 1:
        raise Break("NUMPY", "a tensor of scalars of several types")
    if len(args) == 1 and kwargs.get("dtype") is None:
        kwargs = {**kwargs, "dtype": torch.from_numpy(numpy.asarray(flat[0])).dtype}
    plain = [item.item() for item in flat]
    return (plain if flat is given else plain[0], *args[1:]), kwargs


_unwrapping(torch.as_tensor)
_unwrapping(torch.tensor)
_unwrapping(torch.asarray)


_MAKERS = frozenset(
    {"array", "asarray", "asanyarray", "ascontiguousarray", "copy", "zeros", "ones", "empty", "full", "reshape", "squeeze"}
    | {"zeros_like", "ones_like", "empty_like", "full_like", "broadcast_to", "transpose", "expand_dims"}
)
"""Functions (and methods) of NumPy that give arrays even of no dimensions."""
_FROM_TENSORS = frozenset({"array", "asarray", "asanyarray", "ascontiguousarray", "copy"})
"""Those that give arrays whatever they are given."""
_OTHERWISE = frozenset({"fix", "common_type", "histogram", "histogram2d", "histogramdd"})
"""Those of which ``torch._numpy`` makes something else."""


def _method(name: str, fn: Any) -> None:
    def of_numpy(array: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(array, name)(*args, **kwargs)

    of_numpy.__name__ = name

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if in_library(vm):
            return calls.inline(vm, fn, args, kwargs)
        for value in (*args, *kwargs.values()):
            vm.close(value)
        expected = example(vm, of_numpy, args, kwargs)
        try:
            result = calls.inline(vm, fn, args, kwargs)
        except UserRaise:
            raise Break("NUMPY", f"how numpy.ndarray.{name}() fails") from None
        return as_numpy_gives(vm, name, expected, result)

    RULES.put(fn, rule)


for _name, _fn in vars(Array).items():
    if not isinstance(_fn, types.FunctionType):
        continue
    if _name in vars(numpy.ndarray):
        NAMED.put(_fn, _name)
    if not _name.startswith("_") and _fn not in RULES:
        _method(_name, _fn)


def _are_rows(vm: Any, items: Any) -> bool:
    """A list of captured arrays of one shape: what an array of them consists of."""
    if type(items) not in (list, tuple) or not vm.close(items) or any(type(item) is not Array for item in items):
        return False
    first = items[0].tensor
    return all(item.tensor.dim() == first.dim() and item.tensor.shape == first.shape for item in items)


def _as_torch_numpy(name: str, fn: Any, twin: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if not vm.config.trace_numpy or name in _OTHERWISE:
            raise Break("NUMPY", f"numpy.{name}")
        attributes.vm_trusted(vm, twin)
        given = [vm.close(value) for value in (*args, *kwargs.values())]
        expected = UNKNOWN
        if all(map(are_numbers, given)):
            expected = vm.plain(lambda: fn(*args, **kwargs)) if type(fn) is numpy.ufunc else example(vm, fn, args, kwargs)
            if is_number(expected):
                return expected  # of numbers, a number: there is no array in it
        elif any(map(has_tensor, given)):
            expected = example(vm, fn, args, kwargs)
            if name not in _FROM_TENSORS and not isinstance(expected, (numpy.ndarray, numpy.generic)):
                raise Break("NUMPY", f"numpy.{name}() of a tensor")  # which may be its method of that name
        else:
            expected = example(vm, fn, args, kwargs)
        if issubclass(type(fn), numpy.ufunc):
            args = tuple(_as_array(vm, a) for a in args)
        try:
            if name in ("array", "asarray") and len(args) == 1 and not kwargs and _are_rows(vm, args[0]):
                return calls.call(vm, tnp.stack, args, {})
            result = calls.call(vm, twin, args, kwargs)
        except UserRaise:
            raise Break("NUMPY", f"how numpy.{name}() fails") from None
        return no_scalar(vm, result) if name in _MAKERS and expected is UNKNOWN else as_numpy_gives(vm, name, expected, result)

    RULES.put(fn, rule)


for _name, _fn in list(
    vars(numpy).items()
):  # not dir(): that names modules which NumPy imports when they are asked for, f2py say
    _twin = getattr(tnp, _name, None)
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


# ---- dtypes and scalars


def _twin_of(kind: Any) -> Any:
    """The scalar class of ``torch._numpy`` for a dtype or a scalar class of NumPy; others as they are."""
    if issubclass(type(kind), numpy.dtype) or isinstance(kind, type) and issubclass(kind, numpy.generic):
        name = numpy.dtype(kind).name
        return getattr(tnp, "bool_" if name == "bool" else name, kind)
    return kind


_DType = type(tnp.dtype("float32"))


@RULES.rule(_DType.__init__)
def dtype_init(vm: Any, args: Any, kwargs: Any) -> Any:
    """Every dtype that a function of ``torch._numpy`` is given comes through here."""
    return calls.inline(vm, _DType.__init__, tuple(_twin_of(a) for a in args), {k: _twin_of(v) for k, v in kwargs.items()})


@REBUILD.rule(_DType)
def rebuild_captured_dtype(b: Any, value: Any) -> str:
    return b.constant(numpy.dtype(value.name), "dtype")


def _as_array(vm: Any, value: Any) -> Any:
    """A scalar of NumPy has a dtype that counts, which a plain number has not: beside arrays it is one of no dimensions."""
    return vm.call(tnp.asarray, (value,)) if issubclass(type(value), numpy.generic) else value


def _binary(vm: Any, fn: Any, left: Any, right: Any) -> Any:
    left, right = hashable(vm, left), hashable(vm, right)
    for value in (left, right):
        if not is_number(value) and not issubclass(type(value), numpy.dtype):
            raise Break("NUMPY", f"an operator between a {type(left).__name__} and a {type(right).__name__}")
    return vm.plain(fn, left, right)


operations.NUMPY_OPERATIONS.append(_binary)


def _scalar_class(kind: Any) -> None:
    PURE_TYPES.put(kind, SHALLOW)
    REBUILD.put(kind, lambda b, value: b.constant(value, "scalar"))
    READABLE.put(kind, True)
    twin = _twin_of(kind)

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if any(type(a) is Array or issubclass(type(a), torch.Tensor) for a in args):
            return calls.call(vm, twin, args, kwargs)
        if not all(map(is_number, args)):
            raise Break("NUMPY", f"numpy.{kind.__name__}() of such an argument")
        return vm.plain(lambda: kind(*args, **kwargs))

    RULES.put(kind, rule)


def _nbytes(array: Any) -> Any:
    return array.size * array.itemsize


_property: Any = vars(Array)["nbytes"]
RULES.put(_property.fget, lambda vm, args, kwargs: calls.call(vm, _nbytes, args, kwargs))  # torch's asks the storage


_kind: Any
for _kind in {numpy.dtype(code).type for code in "?bhilqBefdFD"}:
    _scalar_class(_kind)


@REBUILD.rule(Array)
def rebuild_array(b: Any, value: Any) -> str:
    plain = value.tensor
    for name in ("conj", "neg"):  # NumPy's memory holds what is meant
        if getattr(plain, f"is_{name}")():
            plain = b.vm.call(getattr(torch.Tensor, f"resolve_{name}"), (plain,))
    return b.assign(f"{b.value(plain)}.numpy(){'[()]' if is_scalar(b.vm, value) else ''}")


@SUBCLASSES.rule(numpy.dtype)
@REBUILD.rule(numpy.dtype)
def rebuild_dtype(b: Any, value: Any) -> str:
    return b.constant(value, "dtype")
