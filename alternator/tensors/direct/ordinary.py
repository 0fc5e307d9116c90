"""Which fakes are so ordinary that rules of our own may speak of them, and how results are made."""

from __future__ import annotations

from typing import Any, Iterable, Sequence

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from alternator.tensors.memo import dense_fake

Shape = tuple[int, ...]

FLOATS = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16})
INTS = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8})
REALS = FLOATS | INTS | {torch.bool}
CPU = torch.device("cpu")
_PLAIN = frozenset({int, float, bool, type(None)})


def is_ordinary(mode: FakeTensorMode, value: Any) -> bool:
    """A fake of this mode with static sizes, of a dense tensor without a known value."""
    return (
        type(value) is FakeTensor
        and value.fake_mode is mode
        and value.constant is None
        and not value._has_symbolic_sizes_strides
        and value.layout is torch.strided
        and not value.is_conj()
        and not value.is_neg()
        and value.fake_device.type in ("cpu", "cuda")
    )


def device_of(mode: FakeTensorMode, values: Iterable[Any]) -> torch.device | None:
    """The device of all tensors, if they are ordinary, on the same one, and all else are numbers and lists of them."""
    device = None
    for value in values:
        if isinstance(value, torch.Tensor):
            if not is_ordinary(mode, value):
                return None
            found: torch.device | None = value.fake_device
        elif type(value) is list or type(value) is tuple:
            if not any(type(item) not in _PLAIN for item in value):
                continue
            found = device_of(mode, value)
            if found is None:
                return None
        elif type(value) in _PLAIN:
            continue
        else:
            return None
        if device is not None and found != device:
            return None
        device = found
    return device


def are_floats(mode: FakeTensorMode, *values: Any) -> bool:
    """All of them are contiguous, of one dtype of floats, on one device."""
    if device_of(mode, values) is None:
        return False
    dtype = values[0].dtype
    return dtype in FLOATS and all(value.dtype is dtype and value.is_contiguous() for value in values)


def on_cpu(mode: FakeTensorMode, x: FakeTensor, *more: FakeTensor) -> bool:
    """Normalizations: elsewhere, and for small floats, what they return besides is of another kind."""
    return are_floats(mode, x, *more) and x.fake_device.type == "cpu" and x.dtype is torch.float32 and x.numel() > 0


def row_major(shape: Sequence[int]) -> list[int]:
    """The strides of a fresh tensor of this shape."""
    strides, step = [0] * len(shape), 1
    for i in range(len(shape) - 1, -1, -1):
        strides[i] = step
        step *= shape[i] or 1
    return strides


def is_row_major(x: torch.Tensor) -> bool:
    """The strides are those of a fresh tensor, also where a size of 1 leaves the choice."""
    return list(x.stride()) == row_major(x.shape)


def are_row_major(mode: FakeTensorMode, *values: Any) -> bool:
    """All are ordinary, on one device, and laid out as if they were fresh."""
    return device_of(mode, values) is not None and all(is_row_major(value) for value in values)


def is_dense(x: torch.Tensor) -> bool:
    """Without gaps, and no item twice, in whatever order of the dimensions."""
    step = 1
    for stride, size in sorted((stride, size) for size, stride in zip(x.shape, x.stride()) if size != 1):
        if stride != step:
            return False
        step *= size
    return x.numel() > 0


def is_clear(shape: Sequence[int]) -> bool:
    """The strides of other sizes are up to the order in which a kernel goes through the memory."""
    return all(size > 1 for size in shape)


def new(like: FakeTensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> FakeTensor:
    """A fresh fake of this shape, of the same kind."""
    return dense_fake(like.fake_mode, shape, row_major(shape), dtype or like.dtype, like.fake_device)


def new_dim(x: FakeTensor, dim: Any) -> int | None:
    """The dimension that ``dim`` is; None if it is none."""
    return dim % x.dim() if type(dim) is int and -x.dim() <= dim < x.dim() else None
