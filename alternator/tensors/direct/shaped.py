"""Operators whose results have sizes of their own: products, reductions, normalizations, convolutions, selections."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from alternator.tensors.direct.elementwise import broadcast
from alternator.tensors.direct.ordinary import (
    FLOATS,
    REALS,
    are_floats,
    are_row_major,
    device_of,
    is_clear,
    is_dense,
    is_row_major,
    new,
    new_dim,
    on_cpu,
)
from alternator.tensors.memo import dense_fake

aten = torch.ops.aten
Rule = Callable[[FakeTensorMode, Any, Any, Any], Any]


def _softmax(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, dim, to_float = args
    whole = are_floats(mode, x) and not to_float and -x.dim() <= dim < x.dim()
    return new(x, x.shape) if whole else None


def _safe_softmax(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, dim = args[:2]
    whole = args[2:] in ((), (None,)) and are_floats(mode, x) and is_clear(x.shape) and new_dim(x, dim) is not None
    return new(x, x.shape) if whole else None


def _addmm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    bias, x, y = args
    if device_of(mode, args) is None or not bias.dtype is x.dtype is y.dtype or x.dtype not in FLOATS:
        return None
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[0] or bias.shape != y.shape[1:]:
        return None
    return new(x, (x.shape[0], y.shape[1]))


def _matmul(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Two matrices, or as many pairs of them."""
    x, y = args
    if device_of(mode, args) is None or x.dtype is not y.dtype or x.dtype not in FLOATS:
        return None
    fits = x.dim() == y.dim() and x.shape[:-2] == y.shape[:-2] and x.shape[-1:] == y.shape[-2:-1]
    return new(x, (*x.shape[:-1], y.shape[-1])) if fits and x.dim() == DIMS[func] else None


def _reduced(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, dims, keep = (*args, None, False)[:3] if len(args) < 3 else args
    if device_of(mode, (x,)) is None or x.dtype not in FLOATS or x.numel() == 0 or type(keep) is not bool:
        return None
    if (dims is not None and any(new_dim(x, dim) is None for dim in dims)) or len(args) > 3:
        return None
    gone = {dim % x.dim() for dim in dims} if dims else set(range(x.dim()))
    if dims and len(gone) != len(dims):
        return None
    sizes = [1 if i in gone else size for i, size in enumerate(x.shape) if keep or i not in gone]
    return new(x, sizes)


def _cumulated(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, dim = args
    if device_of(mode, args) is None or x.dtype not in REALS or new_dim(x, dim) is None:
        return None
    return new(x, x.shape, x.dtype if x.dtype in FLOATS else torch.int64)


def _layer_norm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, shape, weight, bias, _ = args
    given = [one for one in (weight, bias) if one is not None]
    if device_of(mode, (x, *given)) is None or x.dtype is not torch.float32 or x.numel() == 0:
        return None
    shape = tuple(shape)
    if not shape or x.shape[x.dim() - len(shape) :] != shape or any(one.shape != shape for one in given):
        return None
    if x.fake_device.type != "cpu" or any(one.dtype is not x.dtype or not one.is_contiguous() for one in given):
        return None
    rest = (*x.shape[: x.dim() - len(shape)], *[1] * len(shape))
    return new(x, x.shape), new(x, rest), new(x, rest)


def _batch_norm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, weight, bias, mean, var, training, _, _ = args
    given = [one for one in (weight, bias, mean, var) if one is not None]
    if training or mean is None or var is None or not on_cpu(mode, x, *given) or x.dim() < 2 or not is_clear(x.shape):
        return None
    if any(one.shape != x.shape[1:2] for one in given):
        return None
    return new(x, x.shape), new(x, (0,)), new(x, (0,))


def _group_norm(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, weight, bias, batch, channels, rest, groups, _ = args
    given = [one for one in (weight, bias) if one is not None]
    if type(rest) is not int or not on_cpu(mode, x, *given) or x.dim() < 2 or not is_clear(x.shape):
        return None
    if x.shape[:2] != (batch, channels) or x.numel() != batch * channels * rest or groups < 1 or channels % groups:
        return None
    if any(one.shape != (channels,) for one in given):
        return None
    return new(x, x.shape), new(x, (batch, groups)), new(x, (batch, groups))


def _convolution(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    given = (x, weight) if bias is None else (x, weight, bias)
    if transposed or not are_row_major(mode, *given) or x.fake_device.type != "cpu" or x.dtype is not torch.float32:
        return None
    places = x.dim() - 2
    if any(one.dtype is not x.dtype for one in given) or places not in (1, 2, 3) or weight.dim() != x.dim() or groups < 1:
        return None
    if x.numel() == 0 or weight.numel() == 0 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    steps, margins, gaps = _each(stride, places, 1), _each(padding, places, 0), _each(dilation, places, 1)
    if steps is None or margins is None or gaps is None:
        return None
    triples = zip(x.shape[2:], weight.shape[2:], steps, margins, gaps)
    sizes = [(size + 2 * margin - gap * (kernel - 1) - 1) // step + 1 for size, kernel, step, margin, gap in triples]
    return new(x, (x.shape[0], weight.shape[0], *sizes)) if min(sizes) > 0 else None


def _each(values: Sequence[Any], places: int, least: int) -> list[int] | None:
    """One number for each dimension that is gone over."""
    found = list(values) * places if len(values) == 1 else list(values)
    return found if len(found) == places and all(type(one) is int and one >= least for one in found) else None


def _attention(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    query, key, value = args[:3]
    more = kwargs or {}
    mask = more.get("attn_mask")
    given = (query, key, value) if mask is None else (query, key, value, mask)
    if device_of(mode, given) is None or query.fake_device.type != "cpu" or query.dtype is not torch.float32:
        return None
    if (
        any(one.dtype is not query.dtype or one.numel() == 0 for one in given[:3])
        or len(args) > 5
        or args[3:4] not in ((), (0.0,))
    ):
        return None
    batch, heads, length, width = query.shape if query.dim() == 4 else (0, 0, 0, 0)
    if key.shape != value.shape or not batch or (*key.shape[:2], *key.shape[3:]) != (batch, heads, width):
        return None
    if mask is not None and (mask.dim() not in (2, 4) or mask.dtype not in (query.dtype, torch.bool)):
        return None
    if mask is not None and broadcast((mask.shape, (batch, heads, length, key.shape[2]))) != [batch, heads, length, key.shape[2]]:
        return None
    if not is_dense(query):
        return None
    out = dense_fake(mode, query.shape, query.stride(), query.dtype, query.fake_device)
    sums = (batch, heads, length), (heads * length, 1, heads)
    return out, dense_fake(mode, *sums, torch.float32, query.fake_device)


def _cat(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    parts, dim = args if len(args) == 2 else (args[0], 0)
    if not parts or not all(isinstance(part, torch.Tensor) for part in parts):
        return None
    dtype = parts[0].dtype
    if dtype not in REALS or any(part.dtype is not dtype for part in parts) or not are_row_major(mode, *parts):
        return None
    parts = [part for part in parts if part.shape != (0,)]  # of old, these fit everything
    if not parts:
        return None
    first, place = parts[0], new_dim(parts[0], dim)
    if place is None or any(part.dim() != first.dim() or part.numel() == 0 for part in parts):
        return None
    rest = (*first.shape[:place], *first.shape[place + 1 :])
    if any((*part.shape[:place], *part.shape[place + 1 :]) != rest for part in parts):
        return None
    return new(first, (*first.shape[:place], sum(part.shape[place] for part in parts), *first.shape[place + 1 :]))


def _stack(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    parts, dim = args if len(args) == 2 else (args[0], 0)
    if not parts or not all(isinstance(part, torch.Tensor) for part in parts) or not are_row_major(mode, *parts):
        return None
    first = parts[0]
    if any(part.shape != first.shape or part.dtype is not first.dtype for part in parts) or first.dtype not in REALS:
        return None
    if type(dim) is not int or not -first.dim() <= dim + 1 <= first.dim() + 1 or first.numel() == 0:
        return None
    sizes = list(first.shape)
    sizes.insert(dim % (first.dim() + 1), len(parts))
    return new(first, sizes)


def _indexed(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """By tensors of whole numbers, in dimensions next to each other."""
    x, indices = args
    given = [one for one in indices if one is not None]
    if not given or not all(isinstance(one, torch.Tensor) for one in given) or not are_row_major(mode, x, *given):
        return None
    if any(one.dtype is not torch.int64 for one in given) or x.dtype not in REALS or x.numel() == 0 or len(indices) > x.dim():
        return None
    common = broadcast([one.shape for one in given])
    places = [i for i, one in enumerate(indices) if one is not None]
    if common is None or 0 in common or places[-1] - places[0] + 1 != len(places):
        return None
    sizes = (*x.shape[: places[0]], *common, *x.shape[places[-1] + 1 :])
    clear = all(one.shape == tuple(common) for one in given) and is_clear(sizes)
    return new(x, sizes) if clear or len(places) == len(indices) == x.dim() and is_clear(common) else None


def _gathered(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, dim, index = args[:3]
    place = new_dim(x, dim) if len(args) == 3 else None
    if place is None or device_of(mode, (x, index)) is None or index.dtype is not torch.int64 or x.dtype not in REALS:
        return None
    if index.dim() != x.dim() or index.numel() == 0 or x.numel() == 0:
        return None
    if any(index.shape[i] > x.shape[i] for i in range(x.dim()) if i != place):
        return None
    return new(x, index.shape)


def _copied_at(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, dim, index, source = args
    place = new_dim(x, dim)
    if place is None or device_of(mode, args) is None or index.dtype is not torch.int64 or x.dtype is not source.dtype:
        return None
    if index.dim() != 1 or source.dim() != x.dim() or not is_dense(x) or x.dtype not in REALS:
        return None
    sizes = list(x.shape)
    sizes[place] = index.numel()
    own = x.untyped_storage()._cdata
    if list(source.shape) != sizes or own in (index.untyped_storage()._cdata, source.untyped_storage()._cdata):
        return None
    return x


def _loss(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, target, weight, reduction, _ = args
    if weight is not None or device_of(mode, (x, target)) is None or x.dtype not in FLOATS or target.dtype is not torch.int64:
        return None
    fits = x.dim() == 2 and target.shape == x.shape[:1] and x.numel() > 0 and reduction in (1, 2)
    return (new(x, ()), new(x, ())) if fits else None


def _like_it(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Triangles of fresh tensors."""
    x = args[0]
    fits = device_of(mode, args) is not None and x.dim() > 1 and x.numel() > 0 and is_row_major(x) and x.dtype in REALS
    return new(x, x.shape) if fits else None


DIMS = {aten.mm.default: 2, aten.bmm.default: 3}

RULES: dict[Any, Rule] = {
    **dict.fromkeys(DIMS, _matmul),
    **dict.fromkeys((aten._softmax.default, aten._log_softmax.default), _softmax),
    **dict.fromkeys((aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.mean.default, aten.sum.default), _reduced),
    **dict.fromkeys((aten.tril.default, aten.triu.default), _like_it),
    aten._safe_softmax.default: _safe_softmax,
    aten.addmm.default: _addmm,
    aten.cumsum.default: _cumulated,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_group_norm.default: _group_norm,
    aten.convolution.default: _convolution,
    aten._scaled_dot_product_flash_attention_for_cpu.default: _attention,
    aten.cat.default: _cat,
    aten.stack.default: _stack,
    aten.index.Tensor: _indexed,
    aten.gather.default: _gathered,
    aten.index_copy_.default: _copied_at,
    aten.nll_loss_forward.default: _loss,
}
