"""Operators that make tensors of numbers, and copies."""

from __future__ import annotations

import math
from typing import Any, Callable, Sequence

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from alternator.tensors.direct.ordinary import CPU, FLOATS, REALS, device_of, is_dense, new, row_major
from alternator.tensors.memo import dense_fake

aten = torch.ops.aten
Rule = Callable[[FakeTensorMode, Any, Any, Any], Any]
_DTYPES: dict[type, Callable[[], torch.dtype]] = {
    bool: lambda: torch.bool,
    int: lambda: torch.int64,
    float: torch.get_default_dtype,
}
_MOST = 1 << 53


def _plain(kwargs: Any, formats: Sequence[Any] = (None, torch.contiguous_format)) -> bool:
    """Nothing special is asked for: a dense tensor of the CPU, of numbers that every kernel knows."""
    for name, value in (kwargs or {}).items():
        if name == "dtype":
            if value is not None and value not in REALS:
                return False
        elif name == "device":
            if value is not None and value != CPU:
                return False
        elif name == "layout":
            if value is not None and value is not torch.strided:
                return False
        elif name == "memory_format":
            if value not in formats:
                return False
        elif value is not None and not (name in ("pin_memory", "non_blocking") and value is False):
            return False
    return True


def _made(mode: FakeTensorMode, shape: Any, dtype: torch.dtype) -> Any:
    if any(type(size) is not int or size < 0 for size in shape) or math.prod(shape) >= _MOST:
        return None
    return dense_fake(mode, shape, row_major(shape), dtype, CPU)


def _of_size(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    if len(args) != 1 or not _plain(kwargs):
        return None
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    return _made(mode, args[0], dtype) if func not in _DRAWN or dtype in FLOATS else None


def _full(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    shape, value = args
    if type(value) not in _DTYPES or not _plain(kwargs):
        return None
    return _made(mode, shape, kwargs.get("dtype") or _DTYPES[type(value)]())


def _scalar(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    dtype = kwargs.get("dtype")
    return _made(mode, (), dtype) if dtype is not None and type(args[0]) in _DTYPES and _plain(kwargs) else None


def _arange(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    if any(type(one) is not int for one in args) or not _plain(kwargs):
        return None
    start, end, step = (0, *args, 1) if len(args) == 1 else (*args, 1)[:3]
    dtype = kwargs.get("dtype") or torch.int64
    if step == 0 or (end - start) * step < 0 or max(abs(start), abs(end)) >= 1 << 31 or dtype not in _COUNTS:
        return None
    return _made(mode, (-(-(end - start) // step),), dtype)


def _like(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Of the size, and in the layout, of a tensor that has no gaps."""
    x = args[0]
    if device_of(mode, args) is None or x.fake_device != CPU or not _plain(kwargs, (None, torch.preserve_format)):
        return None
    dtype = kwargs.get("dtype") or x.dtype
    usable = is_dense(x) and dtype in REALS and (func not in _DRAWN or dtype in FLOATS)
    return dense_fake(mode, x.shape, x.stride(), dtype, CPU) if usable else None


def _new(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Of a size of its own, and of the dtype of a tensor."""
    x, shape = args[:2]
    if device_of(mode, (x,)) is None or x.fake_device != CPU or not _plain(kwargs):
        return None
    if len(args) > 2 and type(args[2]) not in _DTYPES:
        return None
    dtype = kwargs.get("dtype") or x.dtype
    return _made(mode, shape, dtype) if dtype in REALS else None


def _clone(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x = args[0]
    if device_of(mode, args) is None:
        return None
    asked = kwargs.get("memory_format") if kwargs else None
    if asked is torch.contiguous_format:
        return new(x, x.shape)
    kept = (asked is None or asked is torch.preserve_format) and is_dense(x)
    return dense_fake(mode, x.shape, x.stride(), x.dtype, x.fake_device) if kept else None


def _converted(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x = args[0]
    if device_of(mode, args) is None or x.dtype not in REALS:  # within transforms it may be a number
        return None
    return _like(mode, func, args, kwargs)


def _lift(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """A tensor of constants: its value stays known if it is a single number, or nothing."""
    x = args[0]
    simple = type(x) is torch.Tensor and x.layout is torch.strided and x.device == CPU and x.dtype in REALS
    if not simple or x.requires_grad or x.is_inference() or not x.is_contiguous() or x.storage_offset() or x._is_view():
        return None
    fake: FakeTensor = dense_fake(mode, x.shape, x.stride(), x.dtype, CPU)
    if mode.may_turn_const(x):
        with torch._C._DisableTorchDispatch():
            fake.constant = x.clone()
        mode.fake_tensor_converter.add_constant_storage_mapping(fake)
    return fake


_COUNTS = FLOATS - {torch.float16, torch.bfloat16} | {torch.int64, torch.int32}
_DRAWN = frozenset({aten.rand.default, aten.randn.default, aten.rand_like.default, aten.randn_like.default})
_SIZES = (aten.zeros.default, aten.ones.default, aten.empty.memory_format, aten.rand.default, aten.randn.default)
_LIKE = (
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.empty_like.default,
    aten.rand_like.default,
    aten.randn_like.default,
)

RULES: dict[Any, Rule] = {
    **dict.fromkeys(_SIZES, _of_size),
    **dict.fromkeys(_LIKE, _like),
    **dict.fromkeys((aten.new_zeros.default, aten.new_ones.default, aten.new_empty.default, aten.new_full.default), _new),
    **dict.fromkeys((aten.arange.default, aten.arange.start, aten.arange.start_step), _arange),
    aten.full.default: _full,
    aten.scalar_tensor.default: _scalar,
    aten.clone.default: _clone,
    aten._to_copy.default: _converted,
    aten.lift_fresh.default: _lift,
}
