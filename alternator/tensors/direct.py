"""The most common operators on ordinary fakes, without what PyTorch does for all others: keys, memos, decompositions in Python.

Where the rule of an operator is a kernel in C++, that is called.  Where it is a long way in Python, but obvious for dense floats,
it is written down here.  Whatever is not obvious (symbols, constants, other layouts, odd sizes, what may raise) goes the usual
way: each rule says None then.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from alternator.tensors.memo import dense_fake

aten = torch.ops.aten
Shape = tuple[int, ...]

_FLOATS = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16})
_PLAIN = frozenset({int, float, bool, type(None)})


def _is_ordinary(mode: FakeTensorMode, value: Any) -> bool:
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


def _device(mode: FakeTensorMode, values: Any) -> torch.device | None:
    """The device of all tensors, if they are ordinary, on the same one, and all else are numbers and lists of them."""
    device = None
    for value in values:
        if isinstance(value, torch.Tensor):
            if not _is_ordinary(mode, value):
                return None
            found: torch.device | None = value.fake_device
        elif type(value) is list or type(value) is tuple:
            if not any(type(item) not in _PLAIN for item in value):
                continue
            found = _device(mode, value)
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


def _by_kernel(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    device = _device(mode, args)
    if device is None:
        return None
    try:
        with in_kernel_invocation_manager(mode):
            result = func(*args)
    except Exception:  # in whose words it fails is for the usual way to say
        return None
    if type(result) is torch.Tensor:
        return _fake(mode, result, device)
    if all(type(item) is torch.Tensor for item in result):
        return type(result)([_fake(mode, item, device) for item in result])
    return None


def _fake(mode: FakeTensorMode, result: torch.Tensor, device: torch.device) -> FakeTensor:
    with torch._C._DisableTorchDispatch():
        return FakeTensor(mode, result, device)


def _floats(mode: FakeTensorMode, *values: Any) -> bool:
    """All of them are contiguous, of one dtype of floats, on one device."""
    if _device(mode, values) is None:
        return False
    dtype = values[0].dtype
    return dtype in _FLOATS and all(value.dtype is dtype and value.is_contiguous() for value in values)


def _new(like: FakeTensor, shape: Shape) -> FakeTensor:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return dense_fake(like.fake_mode, shape, strides[::-1], like.dtype, like.fake_device)


def _unary(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Element by element, with further arguments that are numbers or texts."""
    x = args[0]
    return _new(x, x.shape) if isinstance(x, torch.Tensor) and _floats(mode, x) else None


def _binary(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Element by element, of which one may be a number, or lack the first dimensions of the other."""
    x, y = args[:2]
    if not isinstance(x, torch.Tensor):
        x, y = y, x
    if type(y) in (int, float):
        return _new(x, x.shape) if _floats(mode, x) and _clear(x.shape) else None
    if not isinstance(y, torch.Tensor) or not _floats(mode, x, y):
        return None
    if x.dim() < y.dim():
        x, y = y, x
    if x.shape == y.shape:
        return _new(x, x.shape)
    return _new(x, x.shape) if y.dim() and x.shape[x.dim() - y.dim() :] == y.shape and _clear(x.shape) else None


def _clear(shape: Shape) -> bool:
    """The strides of other sizes are up to the order in which a kernel goes through the memory."""
    return all(size > 1 for size in shape)


def _softmax(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, dim, to_float = args
    whole = _floats(mode, x) and not to_float and -x.dim() <= dim < x.dim()
    return _new(x, x.shape) if whole else None


def _addmm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    bias, x, y = args
    if _device(mode, args) is None or not bias.dtype is x.dtype is y.dtype or x.dtype not in _FLOATS:
        return None
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[0] or bias.shape != y.shape[1:]:
        return None
    return _new(x, (x.shape[0], y.shape[1]))


def _matmul(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Two matrices, or as many pairs of them."""
    x, y = args
    if _device(mode, args) is None or x.dtype is not y.dtype or x.dtype not in _FLOATS:
        return None
    fits = x.dim() == y.dim() and x.shape[:-2] == y.shape[:-2] and x.shape[-1:] == y.shape[-2:-1]
    return _new(x, (*x.shape[:-1], y.shape[-1])) if fits and x.dim() == _DIMS[func] else None


def _layer_norm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, shape, weight, bias, _ = args
    given = [one for one in (weight, bias) if one is not None]
    if not _on_cpu(mode, x, *given):
        return None
    shape = tuple(shape)
    if not shape or x.shape[x.dim() - len(shape) :] != shape or any(one.shape != shape for one in given):
        return None
    rest = (*x.shape[: x.dim() - len(shape)], *[1] * len(shape))
    return _new(x, x.shape), _new(x, rest), _new(x, rest)


def _on_cpu(mode: FakeTensorMode, x: FakeTensor, *more: FakeTensor) -> bool:
    """Normalizations: elsewhere, and for small floats, what they return besides is of another kind."""
    return _floats(mode, x, *more) and x.fake_device.type == "cpu" and x.dtype is torch.float32 and x.numel() > 0


def _batch_norm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, weight, bias, mean, var, training, _, _ = args
    given = [one for one in (weight, bias, mean, var) if one is not None]
    if training or mean is None or var is None or not _on_cpu(mode, x, *given) or x.dim() < 2 or not _clear(x.shape):
        return None
    if any(one.shape != x.shape[1:2] for one in given):
        return None
    return _new(x, x.shape), _new(x, (0,)), _new(x, (0,))


def _group_norm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, weight, bias, batch, channels, rest, groups, _ = args
    given = [one for one in (weight, bias) if one is not None]
    if type(rest) is not int or not _on_cpu(mode, x, *given) or x.dim() < 2 or not _clear(x.shape):
        return None
    if x.shape[:2] != (batch, channels) or x.numel() != batch * channels * rest or groups < 1 or channels % groups:
        return None
    if any(one.shape != (channels,) for one in given):
        return None
    return _new(x, x.shape), _new(x, (batch, groups)), _new(x, (batch, groups))


def _clone(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x = args[0]
    if _device(mode, args) is None:
        return None
    asked = kwargs.get("memory_format") if kwargs else None
    if asked is torch.contiguous_format:
        return _new(x, x.shape)
    kept = (asked is None or asked is torch.preserve_format) and x.is_contiguous() and _clear(x.shape)
    return _new(x, x.shape) if kept else None


def _cat(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    parts, dim = args if len(args) == 2 else (args[0], 0)
    if not parts or not _floats(mode, *parts):
        return None
    first = parts[0]
    if any(part.dim() != first.dim() for part in parts) or type(dim) is not int or not -first.dim() <= dim < first.dim():
        return None
    dim %= first.dim()
    rest = (*first.shape[:dim], *first.shape[dim + 1 :])
    for part in parts:
        if (*part.shape[:dim], *part.shape[dim + 1 :]) != rest or not _clear(part.shape):
            return None
    return _new(first, (*first.shape[:dim], sum(part.shape[dim] for part in parts), *first.shape[dim + 1 :]))


KERNELS = (
    *(aten.view.default, aten._unsafe_view.default, aten.transpose.int, aten.t.default, aten.permute.default),
    *(aten.unsqueeze.default, aten.squeeze.dim, aten.expand.default, aten.slice.Tensor, aten.select.int),
    *(aten.split.Tensor, aten.embedding.default),
)
_DIMS = {aten.mm.default: 2, aten.bmm.default: 3}
UNARY = (
    *(aten.relu.default, aten.gelu.default, aten.silu.default, aten.sigmoid.default, aten.tanh.default, aten.exp.default),
    *(aten.sin.default, aten.cos.default, aten.neg.default, aten.rsqrt.default),
)
BINARY = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)

TAKES_KEYWORDS = frozenset({*UNARY, aten.clone.default})
"""Those of the others say nothing of what the result is like."""

RULES: dict[Any, Callable[[FakeTensorMode, Any, Any, Any], Any]] = {
    **dict.fromkeys(KERNELS, _by_kernel),
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(_DIMS, _matmul),
    aten.addmm.default: _addmm,
    aten._softmax.default: _softmax,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_group_norm.default: _group_norm,
    aten.clone.default: _clone,
    aten.cat.default: _cat,
    aten.native_layer_norm.default: _layer_norm,
}
"""operator -> ``rule(mode, operator, args, kwargs)``: the result; or None, and nothing has happened."""
