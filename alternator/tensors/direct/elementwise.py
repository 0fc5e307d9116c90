"""Operators that go over their arguments item by item: how results are laid out, and of which dtype they are.

What is laid out like what follows the order in which PyTorch's kernels go through the memory: as all arguments lie if they lie
alike, else by their strides, the first argument's first.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from alternator.tensors.direct.ordinary import FLOATS, REALS, device_of, is_dense, is_row_major, row_major
from alternator.tensors.memo import dense_fake

aten = torch.ops.aten
Rule = Callable[[FakeTensorMode, Any, Any, Any], Any]
Dtypes = Callable[[Sequence[Any]], "torch.dtype | None"]
"""The dtype of a result by the operands (tensors and numbers); None if that is not obvious."""


def pointwise(mode: FakeTensorMode, operands: Sequence[Any], dtype: torch.dtype | None) -> FakeTensor | None:
    """The result of an operator on these tensors and numbers."""
    device = device_of(mode, operands) if dtype is not None else None
    if device is None:
        return None
    found = _laid_out([one for one in operands if isinstance(one, torch.Tensor)], len(operands))
    return found and dense_fake(mode, *found, dtype, device)


def _laid_out(tensors: list[FakeTensor], operands: int) -> tuple[Sequence[int], Sequence[int]] | None:
    """Shape and strides of the result; a number is an operand without dimensions."""
    first = tensors[0]
    shape = first.shape
    alike = all(x.shape == shape for x in tensors) and (len(tensors) == operands or not shape)
    if alike:
        if all(x.is_contiguous() for x in tensors):
            return shape, row_major(shape)
        if len(shape) == 4 and all(x.is_contiguous(memory_format=torch.channels_last) for x in tensors):
            n, c, h, w = shape
            return shape, (c * h * w, 1, w * c, c)
        strides = first.stride()
        if all(x.stride() == strides for x in tensors) and is_dense(first):
            return shape, strides
    common = broadcast([x.shape for x in tensors])
    if common is None or 0 in common:
        return None
    rows = [_spread(x, common) for x in tensors]
    order = _order(common, rows)
    strides, step = [0] * len(common), 1
    for dim in order:
        strides[dim] = step
        step *= common[dim]
    return common, strides


def broadcast(shapes: Sequence[Sequence[int]]) -> list[int] | None:
    """What shapes are together; None if they do not fit."""
    common: list[int] = [1] * max(map(len, shapes))
    for shape in shapes:
        lead = len(common) - len(shape)
        for i, size in enumerate(shape, lead):
            if size != common[i]:
                if common[i] == 1:
                    common[i] = size
                elif size != 1:
                    return None
    return common


def _spread(x: torch.Tensor, shape: Sequence[int]) -> list[int]:
    """The strides with which ``x`` is gone through for a result of this shape."""
    lead = len(shape) - x.dim()
    own = [0 if size == 1 != whole else stride for size, whole, stride in zip(x.shape, shape[lead:], x.stride())]
    return [0] * lead + own


def _order(shape: Sequence[int], rows: Sequence[Sequence[int]]) -> list[int]:
    """The dimensions in the order of the memory, innermost first."""
    order = list(range(len(shape)))[::-1]
    for i in range(1, len(order)):
        at = i
        for j in range(i - 1, -1, -1):
            sign = _compared(order[j], order[at], shape, rows)
            if sign > 0:
                order[j], order[at] = order[at], order[j]
                at = j
            elif sign < 0:
                break
    return order


def _compared(one: int, other: int, shape: Sequence[int], rows: Sequence[Sequence[int]]) -> int:
    """Whether dimension ``one`` belongs outside of ``other`` (1) or inside (-1), or nobody says so (0)."""
    for strides in rows:
        a, b = strides[one], strides[other]
        if a == 0 or b == 0:
            continue
        if a != b:
            return -1 if a < b else 1
        if shape[one] > shape[other]:
            return 1
    return 0


_RANK = {bool: 0, int: 1, float: 2}


def promoted(operands: Sequence[Any]) -> torch.dtype | None:
    """The common dtype: tensors with dimensions count before those without, and these before numbers."""
    found: list[torch.dtype | None] = [None, None, None]
    for one in operands:
        if isinstance(one, torch.Tensor):
            dtype, place = one.dtype, 0 if one.dim() else 1
            if dtype not in REALS:
                return None
        else:
            dtype, place = (torch.bool, torch.int64, torch.get_default_dtype())[_RANK[type(one)]], 2
        before = found[place]
        found[place] = dtype if before is None else torch.promote_types(before, dtype)
    return _combined(found[0], _combined(found[1], found[2]))


def _combined(first: torch.dtype | None, second: torch.dtype | None) -> torch.dtype | None:
    """Of two groups of operands, of which the second one changes the dtype only if it is of a larger kind."""
    if first is None or second is None:
        return second if first is None else first
    if first in FLOATS or second not in FLOATS and first is not torch.bool:
        return first
    return torch.promote_types(first, second)


def _as_floats(operands: Sequence[Any]) -> torch.dtype | None:
    dtype = promoted(operands)
    return dtype if dtype is None or dtype in FLOATS else torch.get_default_dtype()


def _floats_only(operands: Sequence[Any]) -> torch.dtype | None:
    dtype = promoted(operands)
    return dtype if dtype in FLOATS else None


def _no_bools(operands: Sequence[Any]) -> torch.dtype | None:
    has_bools = any(type(one) is bool or isinstance(one, torch.Tensor) and one.dtype is torch.bool for one in operands)
    return None if has_bools else promoted(operands)


def _whole(operands: Sequence[Any]) -> torch.dtype | None:
    dtype = promoted(operands)
    return None if dtype in FLOATS else dtype


def _truth(operands: Sequence[Any]) -> torch.dtype | None:
    return torch.bool if promoted(operands) is not None else None


def _numbers(operands: Sequence[Any]) -> bool:
    return all(type(one) in _RANK or isinstance(one, torch.Tensor) for one in operands)


def _over_all(dtype_of: Dtypes) -> Rule:
    """A rule for an operator on two operands, at least one of them a tensor."""

    def rule(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
        operands = args[:2]
        if len(args) != 2 or not _numbers(operands):
            return None
        return pointwise(mode, operands, dtype_of(operands))

    return rule


def _over_one(dtype_of: Dtypes) -> Rule:
    """A rule for an operator on one tensor; what else it takes does not show in what the result is like."""

    def rule(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
        x = args[0]
        return pointwise(mode, (x,), dtype_of((x,))) if isinstance(x, torch.Tensor) else None

    return rule


def _power(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, exponent = args
    simple = isinstance(x, torch.Tensor) and x.dtype in FLOATS and type(exponent) in (int, float)
    return pointwise(mode, (x,), x.dtype) if simple else None


def _where(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    condition, x, y = args
    if not all(isinstance(one, torch.Tensor) for one in args) or condition.dtype is not torch.bool:
        return None
    return pointwise(mode, args, promoted((x, y)))


def _filled(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, mask, value = args
    if not isinstance(mask, torch.Tensor) or mask.dtype is not torch.bool or type(value) not in _RANK:
        return None
    if device_of(mode, (x, mask)) is None or x.dtype not in FLOATS or not is_row_major(x) or x.numel() == 0:
        return None
    fits = mask.dim() <= x.dim() and broadcast((x.shape, mask.shape)) == list(x.shape)
    return dense_fake(mode, x.shape, x.stride(), x.dtype, x.fake_device) if fits else None


def _in_place(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """Written over with what is as large at most, and of the same dtype."""
    x, *others = args
    if device_of(mode, args) is None or x.dtype not in FLOATS or not is_dense(x):
        return None
    for other in others:
        if isinstance(other, torch.Tensor):
            if other.dtype is not x.dtype or broadcast((x.shape, other.shape)) != list(x.shape):
                return None
            if other is not x and other.untyped_storage()._cdata == x.untyped_storage()._cdata:
                return None
        elif type(other) not in (int, float):
            return None
    return x


def _draw(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    x, p = args if len(args) == 2 else (args[0], 0.5)
    return _in_place(mode, func, (x,), kwargs) if type(p) is float and 0 <= p <= 1 else None


UNARY = (
    *(aten.relu.default, aten.gelu.default, aten.silu.default, aten.sigmoid.default, aten.tanh.default, aten.exp.default),
    *(aten.sin.default, aten.cos.default, aten.rsqrt.default, aten.sqrt.default, aten.log.default, aten.erf.default),
    *(aten.reciprocal.default, aten.softplus.default, aten.leaky_relu.default, aten.expm1.default, aten.log1p.default),
)
ARITHMETIC = (aten.add.Tensor, aten.mul.Tensor, aten.add.Scalar, aten.mul.Scalar, aten.maximum.default, aten.minimum.default)
QUOTIENTS = (aten.div.Tensor, aten.div.Scalar)
BITWISE = (aten.bitwise_and.Tensor, aten.bitwise_or.Tensor, aten.bitwise_xor.Tensor)
COMPARISONS = tuple(
    overload for packet in (aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge) for overload in (packet.Tensor, packet.Scalar)
)
LOGICAL = (aten.logical_and.default, aten.logical_or.default)
IN_PLACE = (
    *(aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor, aten.div_.Tensor, aten.add_.Scalar, aten.mul_.Scalar),
    *(aten.div_.Scalar, aten.relu_.default, aten.sigmoid_.default, aten.tanh_.default, aten.silu_.default, aten.exp_.default),
    *(aten.zero_.default, aten.fill_.Scalar),
)
BINARY = (*ARITHMETIC, *QUOTIENTS, *BITWISE, *COMPARISONS, *LOGICAL, aten.sub.Tensor, aten.sub.Scalar)

RULES: dict[Any, Rule] = {
    **dict.fromkeys(UNARY, _over_one(_floats_only)),
    **dict.fromkeys((aten.neg.default, aten.abs.default), _over_one(_no_bools)),
    **dict.fromkeys((aten.bitwise_not.default,), _over_one(_whole)),
    **dict.fromkeys((aten.logical_not.default,), _over_one(_truth)),
    **dict.fromkeys(ARITHMETIC, _over_all(promoted)),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar), _over_all(_no_bools)),
    **dict.fromkeys(QUOTIENTS, _over_all(_as_floats)),
    **dict.fromkeys(BITWISE, _over_all(_whole)),
    **dict.fromkeys((*COMPARISONS, *LOGICAL), _over_all(_truth)),
    **dict.fromkeys(IN_PLACE, _in_place),
    aten.bernoulli_.float: _draw,
    aten.pow.Tensor_Scalar: _power,
    aten.where.self: _where,
    aten.masked_fill.Scalar: _filled,
}
