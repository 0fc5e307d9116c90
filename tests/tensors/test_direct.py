"""Operators on fakes that go a short way: the result is like that of the real operator, and like what PyTorch's fakes give."""

from __future__ import annotations

import itertools
import random
from typing import Any, Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.tensors import direct
from alternator.tensors.fake import Fakes

aten = torch.ops.aten

SHAPES = [(), (0,), (1,), (5,), (2, 3), (1, 3), (3, 1), (2, 0, 3), (2, 1, 4), (1, 1, 4), (2, 3, 4), (2, 1, 1, 5)]
DTYPES = [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64]


def tensors() -> Iterator[torch.Tensor]:
    for shape, dtype in itertools.product(SHAPES, DTYPES):
        x = torch.ones(shape, dtype=dtype)
        yield x
        if x.dim() > 1:
            yield x.transpose(0, -1)
            yield x[..., :1]
            yield x[:1].expand(3, *x.shape[1:])
        if x.dim() == 4:
            yield x.contiguous(memory_format=torch.channels_last)
    yield torch.ones(2, 3, dtype=torch.complex64).conj()
    yield torch.ones(2, 3, dtype=torch.complex64).conj().imag
    yield torch.empty_strided((2, 1, 4), (4, 99, 1)).fill_(1)


def cases(func: Any) -> Iterator[tuple[Any, ...]]:
    """Arguments of all kinds, most of which the operator takes."""
    more: dict[Any, list[tuple[Any, ...]]] = {
        aten.view.default: [([-1],), ([5],), ([2, 3],), ([3, 2, 1],)],
        aten._unsafe_view.default: [([-1],), ([3, 2],)],
        aten.transpose.int: [(0, -1), (0, 1)],
        aten.permute.default: [([0, 1],), ([1, 0],), ([2, 0, 1],)],
        aten.unsqueeze.default: [(0,), (-1,)],
        aten.squeeze.dim: [(0,), (1,)],
        aten.expand.default: [([4, -1, -1],), ([2, 3],)],
        aten.slice.Tensor: [(0,), (0, 1), (1, 0, 2), (-1, -2, 9, 2)],
        aten.select.int: [(0, 0), (-1, -1), (1, 7)],
        aten.split.Tensor: [(2,), (1, -1)],
        aten._softmax.default: [(-1, False), (0, False)],
    }
    if func in direct.BINARY:
        few = [torch.ones(shape) for shape in [*SHAPES, (4,), (3, 4), (4, 2)]]
        few += [torch.ones(2, 3, dtype=dtype) for dtype in DTYPES] + [torch.ones(4, 2).t(), torch.ones(2, 4, 3).transpose(1, 2)]
        numbers: list[Any] = [2, 0.5, True, 1j]
        yield from itertools.product(few, [*few, *numbers])
        yield from itertools.product(numbers, few)
    elif func in (aten.mm.default, aten.bmm.default):
        few = [torch.ones(shape) for shape in [(2, 3), (3, 2), (1, 3), (3, 1), (0, 3), (3, 0), (2, 2, 3), (2, 3, 2), (1, 3, 1)]]
        few += [x.transpose(-1, -2) for x in few] + [few[0].double(), few[1].long(), few[-1].double(), torch.ones(3)]
        yield from itertools.product(few, few)
    elif func is aten.addmm.default:
        sizes = [(0, 3), (1, 3), (2, 3), (3, 2), (3, 1), (1, 1)]
        for bias, x, y in itertools.product([(), (1,), (2,), (3,), (2, 2)], sizes, sizes):
            yield torch.ones(bias), torch.ones(x), torch.ones(y)
            yield torch.ones(bias), torch.ones(x).t(), torch.ones(y).t()
            yield torch.ones(bias), torch.ones(x).double(), torch.ones(y)
    elif func is aten.native_layer_norm.default:
        few = [torch.ones(3), torch.ones(2, 3), torch.ones(3, 2).t(), torch.ones(2, 3, 4), torch.ones(2, 1), torch.ones(0, 3)]
        for x, shape in itertools.product([*few, few[1].double()], [(3,), (4,), (3, 4), (1,), ()]):
            for weight, bias in itertools.product([None, torch.ones(shape), torch.ones(shape).double()], repeat=2):
                yield x, list(shape), weight, bias, 1e-5
    elif func is aten.native_batch_norm.default:
        for shape, size in itertools.product([*SHAPES, (2, 3, 4, 5), (2, 3, 1, 1), (1, 3, 2, 2)], [1, 3, 4]):
            for training, of in itertools.product([False, True], [torch.ones(size), None, torch.ones(size).double()]):
                for x in (torch.ones(shape), torch.ones(shape).transpose(0, -1) if shape else torch.ones(2)):
                    yield x, of, of, torch.ones(size), torch.ones(size), training, 0.1, 1e-5
    elif func is aten.native_group_norm.default:
        for shape, groups in itertools.product(
            [(2, 4, 3), (2, 4), (1, 4, 3), (2, 4, 3, 5), (2, 4, 1, 1), (2, 6, 3)], [1, 2, 3, 4]
        ):
            rest = torch.ones(shape[2:]).numel()
            for of in (None, torch.ones(shape[1]), torch.ones(groups)):
                yield torch.ones(shape), of, of, *shape[:2], rest, groups, 1e-5
                yield torch.ones(shape).double(), of, of, *shape[:2], rest, groups, 1e-5
    elif func is aten.cat.default:
        few = [torch.ones(shape) for shape in [(), (0,), (2,), (2, 3), (3, 2), (2, 1), (2, 3, 2, 2), (2, 1, 2, 2)]]
        few += [torch.ones(3, 2).t(), torch.ones(2, 3).long(), few[6].contiguous(memory_format=torch.channels_last)]
        yield from (([x, y], dim) for x, y, dim in itertools.product(few, few, [0, 1, -1]))
        yield ([few[2], few[2], few[2]],)
    elif func is aten.embedding.default:
        for weight, index in itertools.product([torch.ones(4, 3), torch.ones(3, 4).t(), torch.ones(4)], tensors()):
            yield weight, index
    else:
        yield from ((x, *rest) for x in tensors() for rest in more.get(func, [()]))


def described(values: Any, args: Any) -> Any:
    """All of a result that later operations can see, and with which arguments it shares memory."""
    if not isinstance(values, torch.Tensor):
        return [described(value, args) for value in values] if isinstance(values, (list, tuple)) else values
    storage = values.untyped_storage()._cdata
    args = [one for a in args for one in (a if isinstance(a, list) else [a])]
    shared = [isinstance(a, torch.Tensor) and a.untyped_storage()._cdata == storage for a in args]
    facts = (values.shape, values.dtype, values.device, values.is_conj(), values.is_neg(), values.requires_grad)
    where = (values.stride(), values.storage_offset()) if values.numel() > 0 else ()
    return [*facts, where, shared, values._is_view()]


@pytest.mark.parametrize("func", direct.RULES, ids=str)
def test_results_are_like_real_ones(func: Any) -> None:
    went = 0
    mode = Fakes().mode

    def faked(a: Any) -> Any:
        return mode.from_tensor(a, static_shapes=True) if isinstance(a, torch.Tensor) else a

    every = list(cases(func))
    for args in random.Random(0).sample(every, min(len(every), 500)):
        fakes = [[faked(b) for b in a] if isinstance(a, list) else faked(a) for a in args]
        with mode:
            found = direct.RULES[func](mode, func, fakes, {})
        if found is None:
            continue
        went += 1
        real = func(*args)
        for one in found if isinstance(found, (list, tuple)) else [found]:
            assert type(one) is FakeTensor and one.fake_mode is mode
        with mode:
            whole = func(*fakes)
        assert described(whole, fakes) == described(real, args), args
    assert went > 2


@pytest.mark.parametrize("asked", [None, torch.preserve_format, torch.contiguous_format, torch.channels_last])
def test_copies_are_laid_out_as_asked(asked: Any) -> None:
    mode = Fakes().mode
    for x in tensors():
        if asked is not torch.channels_last or x.dim() == 4:
            fake = mode.from_tensor(x, static_shapes=True)
            with mode:
                copy = fake.clone(memory_format=asked) if asked else fake.clone()
            real = x.clone(memory_format=asked) if asked else x.clone()
            assert described(copy, [fake]) == described(real, [x])
