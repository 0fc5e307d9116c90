"""Operators on fakes that go a short way: the result is like that of the real operator, and like what PyTorch's fakes give."""

from __future__ import annotations

import itertools
import random
from typing import Any, Callable, Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves, tree_map_only

import alternator
from alternator.tensors import direct
from alternator.tensors.direct import elementwise
from alternator.tensors.fake import Fakes
from alternator.tensors.memo import dense_fake

aten = torch.ops.aten

SHAPES = [(), (0,), (1,), (5,), (2, 3), (1, 3), (3, 1), (2, 0, 3), (2, 1, 4), (1, 1, 4), (2, 3, 4), (2, 1, 1, 5), (2, 3, 4, 5)]
DTYPES = [torch.float32, torch.bfloat16, torch.int64, torch.int8, torch.bool, torch.complex64]


class Keywords(dict[str, Any]):
    """The last of a case's arguments."""


def tensors(dtypes: Any = DTYPES) -> Iterator[torch.Tensor]:
    for shape, dtype in itertools.product(SHAPES, dtypes):
        x = torch.ones(shape, dtype=dtype)
        yield x
        if x.dim() > 1:
            yield x.transpose(0, -1)
            yield x[..., :1]
            yield x[:1].expand(3, *x.shape[1:])
        if x.dim() == 4:
            yield x.contiguous(memory_format=torch.channels_last)
            yield x.permute(0, 2, 3, 1)
    yield torch.ones(2, 3, dtype=torch.complex64).conj()
    yield torch.ones(2, 3, dtype=torch.complex64).conj().imag
    yield torch.empty_strided((2, 1, 4), (4, 99, 1)).fill_(1)
    yield torch.empty_strided((2, 1, 4), (4, 1, 1)).fill_(1)


def operands() -> list[Any]:
    """What stands beside each other."""
    few = [torch.ones(shape) for shape in [*SHAPES, (4,), (3, 4), (4, 2), (1, 1), (2, 1, 3), (4, 1, 1)]]
    few += [torch.ones(2, 3, dtype=dtype) for dtype in [*DTYPES, torch.float64, torch.int32, torch.uint8]]
    few += [torch.ones((), dtype=dtype) for dtype in [torch.int64, torch.float64, torch.bool]]
    few += [
        torch.ones(4, 2).t(),
        torch.ones(2, 4, 3).transpose(1, 2),
        torch.ones(4, 3, 2).permute(2, 1, 0),
        torch.ones(1, 4).expand(3, 4),
    ]
    few += [
        torch.ones(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.ones(3, 1, 1),
        torch.ones(2, 5, 3, 4).permute(0, 2, 3, 1),
    ]
    few += [torch.empty_strided((2, 1, 4), (4, 99, 1)).fill_(1), torch.ones(2, 6)[:, ::2], torch.ones(2, 1, 1, 5).transpose(1, 3)]
    return few


def pairs() -> Iterator[tuple[Any, ...]]:
    numbers: list[Any] = [2, 0.5, True, 1j]
    yield from itertools.product(operands(), [*operands(), *numbers])
    yield from itertools.product(numbers, operands())


def of_tensors() -> Iterator[tuple[Any, ...]]:
    yield from itertools.product(operands(), operands())


def numbers_beside() -> Iterator[tuple[Any, ...]]:
    yield from itertools.product([*operands(), *tensors()], [2, 0.5, True, 1j])


def written() -> Iterator[tuple[Any, ...]]:
    yield from itertools.product(operands(), [*operands(), 2, 0.5])
    x = torch.ones(2, 3)
    yield from [(x, x), (x, x[0]), (x[0], x[0])]


def alone() -> Iterator[tuple[Any, ...]]:
    yield from ((x,) for x in [*tensors(), *operands()])


def chosen() -> Iterator[tuple[Any, ...]]:
    truths = [x.bool() for x in operands() if x.numel() and not x.is_complex()] + [torch.ones(2, 3)]
    yield from itertools.product(truths, random.Random(1).sample(operands(), 12), random.Random(2).sample(operands(), 12))


def filled() -> Iterator[tuple[Any, ...]]:
    yield from ((x, y.bool(), value) for x, y in itertools.product(operands(), operands()) for value in (2, 0.5, 1j))


def sizes() -> Iterator[tuple[Any, ...]]:
    more = [{}, {"dtype": torch.int64}, {"dtype": torch.float64}, {"device": torch.device("cpu")}, {"dtype": torch.bool}]
    more += [{"pin_memory": False}, {"layout": torch.strided}, {"dtype": torch.complex64}, {"device": "meta"}]
    yield from ((list(shape), Keywords(one)) for shape in SHAPES for one in more)


def full() -> Iterator[tuple[Any, ...]]:
    yield from ((shape, value, more) for shape, more in sizes() for value in (1, 2.5, True, 1j))


def scalars() -> Iterator[tuple[Any, ...]]:
    yield from ((value, more) for _, more in list(sizes())[:9] for value in (1, 2.5, True, 1j))


def counted(places: int) -> Iterator[tuple[Any, ...]]:
    every: list[list[Any]] = [[], [(5,), (0,), (2.5,), (True,), (-1,)], [(1, 4), (4, 4), (4, 1), (0.5, 3)]]
    every.append([(1, 7, 2), (1, 8, 2), (7, 1, -2), (8, 1, -2), (0.5, 3, 1), (1, 4, 0), (1, 4, -1)])
    more = [{}, {"dtype": torch.float32}, {"dtype": torch.int32}, {"device": torch.device("cpu")}, {"dtype": torch.bfloat16}]
    more += [{"pin_memory": False}, {"layout": torch.strided}]
    for numbers in every[places]:
        yield from ((*numbers, Keywords(one)) for one in more)


def like() -> Iterator[tuple[Any, ...]]:
    formats = [None, torch.preserve_format, torch.contiguous_format]
    for x, dtype, memory in itertools.product([*tensors(), *operands()], [None, torch.float32, torch.int64], formats):
        yield x, Keywords({name: value for name, value in (("dtype", dtype), ("memory_format", memory)) if value is not None})


def laid_out() -> Iterator[tuple[Any, ...]]:
    yield from ((x, Keywords({k: v for k, v in more.items() if k != "dtype"})) for x, more in like())


def like_of_size() -> Iterator[tuple[Any, ...]]:
    for x, shape, dtype in itertools.product(operands(), [[], [2, 3], [0], [1, 4]], [None, torch.int64, torch.complex64]):
        yield x, shape, Keywords({} if dtype is None else {"dtype": dtype})


def new_full() -> Iterator[tuple[Any, ...]]:
    yield from ((x, shape, value, more) for x, shape, more in like_of_size() for value in (1, 2.5, True))


def reduced() -> Iterator[tuple[Any, ...]]:
    for x in [*tensors(), *operands()]:
        for dims, keep in itertools.product([[], [0], [-1], [0, 1], [1, -1], [0, 0], [5]], [False, True]):
            yield x, dims, keep


def softened() -> Iterator[tuple[Any, ...]]:
    yield from ((x, dim, *more) for x in tensors() for dim in (-1, 0, 2) for more in [(False,)])


def safely_softened() -> Iterator[tuple[Any, ...]]:
    yield from ((x, dim) for x in tensors() for dim in (-1, 0, 2))


def in_dim() -> Iterator[tuple[Any, ...]]:
    yield from ((x, dim) for x in tensors() for dim in (-1, 0, 2))


def products() -> Iterator[tuple[Any, ...]]:
    few = [torch.ones(shape) for shape in [(2, 3), (3, 2), (1, 3), (3, 1), (0, 3), (3, 0), (2, 2, 3), (2, 3, 2), (1, 3, 1)]]
    few += [x.transpose(-1, -2) for x in few] + [few[0].double(), few[1].long(), few[-1].double(), torch.ones(3)]
    yield from itertools.product(few, few)


def added_products() -> Iterator[tuple[Any, ...]]:
    sizes = [(0, 3), (1, 3), (2, 3), (3, 2), (3, 1), (1, 1)]
    for bias, x, y in itertools.product([(), (1,), (2,), (3,), (2, 2)], sizes, sizes):
        yield torch.ones(bias), torch.ones(x), torch.ones(y)
        yield torch.ones(bias), torch.ones(x).t(), torch.ones(y).t()
        yield torch.ones(bias), torch.ones(x).double(), torch.ones(y)


def normalized_layers() -> Iterator[tuple[Any, ...]]:
    few = [torch.ones(3), torch.ones(2, 3), torch.ones(3, 2).t(), torch.ones(2, 3, 4), torch.ones(2, 1), torch.ones(0, 3)]
    few += [torch.ones(2, 4, 3).transpose(1, 2), torch.ones(1, 3).expand(4, 3), torch.ones(2, 6)[:, ::2]]
    for x, shape in itertools.product([*few, few[1].double()], [(3,), (4,), (3, 4), (1,), ()]):
        for weight, bias in itertools.product([None, torch.ones(shape), torch.ones(shape).double()], repeat=2):
            yield x, list(shape), weight, bias, 1e-5


def normalized_batches() -> Iterator[tuple[Any, ...]]:
    for shape, size in itertools.product([*SHAPES, (2, 3, 1, 1), (1, 3, 2, 2)], [1, 3, 4]):
        for training, of in itertools.product([False, True], [torch.ones(size), None, torch.ones(size).double()]):
            for x in (torch.ones(shape), torch.ones(shape).transpose(0, -1) if shape else torch.ones(2)):
                yield x, of, of, torch.ones(size), torch.ones(size), training, 0.1, 1e-5


def normalized_groups() -> Iterator[tuple[Any, ...]]:
    shapes = [(2, 4, 3), (2, 4), (1, 4, 3), (2, 4, 3, 5), (2, 4, 1, 1), (2, 6, 3)]
    for shape, groups in itertools.product(shapes, [1, 2, 3, 4]):
        rest = torch.ones(shape[2:]).numel()
        for of in (None, torch.ones(shape[1]), torch.ones(groups)):
            yield torch.ones(shape), of, of, *shape[:2], rest, groups, 1e-5
            yield torch.ones(shape).double(), of, of, *shape[:2], rest, groups, 1e-5


def convolved() -> Iterator[tuple[Any, ...]]:
    inputs = [
        (2, 4, 7),
        (1, 4, 5, 7),
        (2, 4, 1, 1),
        (2, 1, 5, 5),
        (1, 4, 3, 5, 4),
        (2, 4, 0, 3),
        (2, 4),
        (0, 4, 5, 5),
        (2, 6, 6, 6),
    ]
    weights = [
        (4, 4, 3),
        (6, 4, 3, 3),
        (4, 1, 1, 1),
        (8, 2, 2, 2),
        (1, 1, 1, 1),
        (3, 4, 2, 2, 2),
        (4, 1, 3),
        (6, 4, 1, 1),
        (6, 6, 1, 2),
    ]
    settings = [
        ([1], [0], [1], 1),
        ([2], [1], [1], 1),
        ([1], [2], [2], 2),
        ([1, 2], [0, 1], [1, 1], 1),
        ([1], [0], [1], 4),
        ([0], [0], [1], 1),
    ]
    for x, w, (stride, padding, dilation, groups) in itertools.product(inputs, weights, settings):
        for bias in (None, torch.ones(w[0]), torch.ones(1)):
            for moved in (False, True):
                given = torch.ones(x).transpose(-1, -2).contiguous().transpose(-1, -2) if moved else torch.ones(x)
                yield given, torch.ones(w), bias, stride, padding, dilation, False, [0], groups


def attended() -> Iterator[tuple[Any, ...]]:
    few = [torch.ones(shape) for shape in [(2, 3, 4, 8), (2, 3, 5, 8), (1, 3, 4, 8), (2, 3, 8), (2, 3, 0, 8), (2, 1, 4, 8)]]
    few += [torch.ones(2, 4, 3, 8).transpose(1, 2), torch.ones(2, 3, 4, 8).double()]
    masks = [None, torch.ones(4, 4), torch.ones(4, 5), torch.ones(2, 1, 4, 4), torch.ones(2, 3, 4, 4), torch.ones(4, 4).double()]
    for q, k, mask in itertools.product(few, few, masks):
        yield q, k, k, 0.0, False, Keywords({} if mask is None else {"attn_mask": mask})
    yield few[0], few[0], few[0], 0.0, True
    yield few[0], few[0], few[0]


def joined() -> Iterator[tuple[Any, ...]]:
    few = [
        torch.ones(shape) for shape in [(), (0,), (2,), (2, 3), (3, 2), (2, 1), (2, 3, 2, 2), (2, 1, 2, 2), (2, 1, 1, 3), (2, 0)]
    ]
    few += [torch.ones(3, 2).t(), torch.ones(2, 3).long(), few[6].contiguous(memory_format=torch.channels_last)]
    yield from (([x, y], dim) for x, y, dim in itertools.product(few, few, [0, 1, -1, -2]))
    yield ([few[2], few[2], few[2]],)
    yield ([few[1], few[1], few[6]], 1)


def indexed() -> Iterator[tuple[Any, ...]]:
    few = [torch.zeros(shape, dtype=torch.int64) for shape in [(), (1,), (3,), (2, 3), (1, 3), (2, 1), (0,)]]
    few += [torch.zeros(3, 2, dtype=torch.int64).t(), torch.zeros(2, dtype=torch.bool), torch.zeros(3, dtype=torch.int32)]
    for x in [torch.ones(shape) for shape in [(4,), (2, 5), (2, 3, 4), (1, 3, 4), (2, 3, 1), (2, 1, 3, 4)]]:
        for y in (x, x.transpose(0, -1), x.long()):
            for i, j in itertools.product(few, few):
                yield from ((y, given) for given in ([i], [None, i], [i, j], [None, i, j], [i, None, j], [i, j, None]))


def gathered() -> Iterator[tuple[Any, ...]]:
    few = [torch.ones(shape) for shape in [(), (3,), (2, 3), (3, 2), (1, 3), (2, 3, 2), (0, 3)]] + [torch.ones(3, 2).t()]
    yield from ((x, dim, y.long() * 0) for x, y in itertools.product(few, few) for dim in (0, 1, -1))


def copied() -> Iterator[tuple[Any, ...]]:
    few = [torch.ones(shape) for shape in [(), (3,), (2, 3), (2, 2), (1, 3), (2, 3, 2)]] + [torch.ones(3, 2).t()]
    numbers = [torch.zeros(n).long() for n in (1, 2, 3)] + [torch.tensor(0), torch.zeros(2).int()]
    yield from itertools.product(few, [0, 1, -1], numbers, few)


def losses() -> Iterator[tuple[Any, ...]]:
    inputs = [
        torch.ones(4, 3),
        torch.ones(3, 4).t(),
        torch.ones(3),
        torch.ones(2, 3, 4),
        torch.ones(4, 3).double(),
        torch.ones(0, 3),
    ]
    targets = [torch.zeros(4).long(), torch.zeros(3).long(), torch.zeros(()).long(), torch.zeros(2, 4).long(), torch.zeros(4)]
    yield from itertools.product(inputs, targets, [None, torch.ones(3)], [0, 1, 2], [-100])


def embedded() -> Iterator[tuple[Any, ...]]:
    for weight, index in itertools.product([torch.ones(4, 3), torch.ones(3, 4).t(), torch.ones(4)], tensors()):
        yield weight, index * 0 if index.dtype is torch.int64 else index


_TAKING_NUMBERS = (aten.add, aten.sub, aten.mul, aten.div)

CASES: dict[Any, Callable[[], Iterator[tuple[Any, ...]]]] = {
    **dict.fromkeys(elementwise.BINARY, pairs),
    **dict.fromkeys([func for func in elementwise.BINARY if func.overloadpacket not in _TAKING_NUMBERS], of_tensors),
    **dict.fromkeys([func for func in elementwise.BINARY if func._overloadname == "Scalar"], numbers_beside),
    **dict.fromkeys(elementwise.IN_PLACE, alone),
    **dict.fromkeys([aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor, aten.div_.Tensor], written),
    **dict.fromkeys([aten.add_.Scalar, aten.mul_.Scalar, aten.div_.Scalar, aten.fill_.Scalar], numbers_beside),
    **dict.fromkeys([aten.zeros.default, aten.ones.default, aten.empty.memory_format], sizes),
    **dict.fromkeys([aten.rand.default, aten.randn.default], sizes),
    aten.arange.default: lambda: counted(1),
    aten.arange.start: lambda: counted(2),
    aten.arange.start_step: lambda: counted(3),
    **dict.fromkeys([aten.zeros_like.default, aten.ones_like.default, aten.empty_like.default, aten._to_copy.default], like),
    **dict.fromkeys([aten.rand_like.default, aten.randn_like.default], like),
    **dict.fromkeys([aten.new_zeros.default, aten.new_ones.default, aten.new_empty.default], like_of_size),
    **dict.fromkeys([aten.mean.dim, aten.sum.dim_IntList, aten.amax.default], reduced),
    **dict.fromkeys([aten._softmax.default, aten._log_softmax.default], softened),
    **dict.fromkeys([aten.mm.default, aten.bmm.default], products),
    **dict.fromkeys([aten.cat.default, aten.stack.default], joined),
    aten.bernoulli_.float: lambda: ((x, p) for x in operands() for p in (0.5, 1.5, 0.0)),
    aten.pow.Tensor_Scalar: numbers_beside,
    aten.where.self: chosen,
    aten.masked_fill.Scalar: filled,
    aten.full.default: full,
    aten.scalar_tensor.default: scalars,
    aten.new_full.default: new_full,
    aten.clone.default: laid_out,
    aten.cumsum.default: in_dim,
    aten._safe_softmax.default: safely_softened,
    aten.addmm.default: added_products,
    aten.native_layer_norm.default: normalized_layers,
    aten.native_batch_norm.default: normalized_batches,
    aten.native_group_norm.default: normalized_groups,
    aten.convolution.default: convolved,
    aten._scaled_dot_product_flash_attention_for_cpu.default: attended,
    aten.index.Tensor: indexed,
    aten.gather.default: gathered,
    aten.index_copy_.default: copied,
    aten.nll_loss_forward.default: losses,
    aten.embedding.default: embedded,
}

MORE: dict[Any, list[tuple[Any, ...]]] = {
    aten.view.default: [([-1],), ([5],), ([2, 3],), ([3, 2, 1],)],
    aten._unsafe_view.default: [([-1],), ([3, 2],)],
    aten.transpose.int: [(0, -1), (0, 1)],
    aten.permute.default: [([0, 1],), ([1, 0],), ([2, 0, 1],)],
    aten.unsqueeze.default: [(0,), (-1,)],
    aten.squeeze.dim: [(0,), (1,)],
    aten.squeeze.dims: [([0],), ([0, 1],)],
    aten.expand.default: [([4, -1, -1],), ([2, 3],)],
    aten.slice.Tensor: [(0,), (0, 1), (1, 0, 2), (-1, -2, 9, 2)],
    aten.select.int: [(0, 0), (-1, -1), (1, 7)],
    aten.split.Tensor: [(2,), (1, -1)],
    aten.split_with_sizes.default: [([1, 1],), ([1, 2], 1), ([2, 2], -1)],
    aten.unbind.int: [(), (1,), (-1,)],
}


def cases(func: Any) -> Iterator[tuple[Any, ...]]:
    """Arguments of all kinds, most of which the operator takes."""
    if func in CASES:
        yield from CASES[func]()
    else:
        yield from ((x, *rest) for x in tensors() for rest in MORE.get(func, [()]))


def described(values: Any, args: Any) -> Any:
    """All of a result that later operations can see, and with which arguments it shares memory."""
    if not isinstance(values, torch.Tensor):
        return [described(value, args) for value in values] if isinstance(values, (list, tuple)) else values
    storage = values.untyped_storage()._cdata
    args = flat(args)
    shared = [a.untyped_storage()._cdata == storage for a in args]
    facts = (values.shape, values.dtype, values.device, values.is_conj(), values.is_neg(), values.requires_grad)
    where = (values.stride(), values.storage_offset()) if values.numel() > 0 else ()
    return [*facts, where, shared, values._is_view()]


TRIED, COMPARED = 300, 25


@pytest.mark.parametrize("func", [func for func in direct.RULES if func is not aten.lift_fresh.default], ids=str)
def test_results_are_like_real_ones(func: Any) -> None:
    went = 0
    mode = Fakes().mode
    every = list(cases(func))
    for case in random.Random(0).sample(every, min(len(every), TRIED)):
        if went == COMPARED:
            break
        args, kwargs = (case[:-1], case[-1]) if isinstance(case[-1], Keywords) else (case, {})
        faked = {id(a): mode.from_tensor(a, static_shapes=True) for a in flat((args, kwargs))}
        fakes = tree_map_only(torch.Tensor, lambda a: faked[id(a)], args)
        named = tree_map_only(torch.Tensor, lambda a: faked[id(a)], kwargs)
        if kwargs and func not in direct.TAKES_KEYWORDS:
            continue
        with mode:
            found = direct.RULES[func](mode, func, fakes, named)
        if found is None:
            continue
        went += 1
        for one in found if isinstance(found, (list, tuple)) else [found]:
            assert type(one) is FakeTensor and one.fake_mode is mode
        with mode:
            whole = func(*fakes, **named)
        real = func(*args, **kwargs)
        assert described(whole, [*fakes, *named.values()]) == described(real, [*args, *kwargs.values()]), args
        assert [one is whole for one in fakes] == [one is real for one in args]
    assert went > 2


def flat(values: Any) -> list[torch.Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, torch.Tensor)]


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


@pytest.mark.parametrize("data", [1, 2.5, True, [], [1, 2], [[1.0, 2.0]], [[]]], ids=str)
def test_constants_stay_known_where_they_are_a_single_number(data: Any) -> None:
    mode, torchs = Fakes().mode, FakeTensorMode(shape_env=ShapeEnv())
    with mode:
        ours = torch.tensor(data)
    with torchs:
        theirs = torch.tensor(data)
    assert described(ours, []) == described(theirs, [])
    assert (ours.constant is None) == (theirs.constant is None)
    if ours.constant is not None:
        assert torch.equal(ours.constant, theirs.constant)
        with mode:  # what is written to is not known any more
            ours.fill_(torch.ones((), dtype=ours.dtype).new_empty(()))
        assert ours.constant is None or ours.numel() == 0


@pytest.mark.parametrize("unsafe", [False, True])
def test_fakes_are_like_those_that_torch_makes(unsafe: bool) -> None:
    mode = Fakes().mode
    mode._allow_unsafe_data_ptr_access = unsafe
    for device in (torch.device("cpu"), torch.device("cpu")):  # the second one is a copy
        ours = dense_fake(mode, (2, 3), (1, 2), torch.float64, device)
        with torch._C._DisableTorchDispatch():
            theirs = FakeTensor(mode, torch.empty_strided((2, 3), (1, 2), dtype=torch.float64, device="meta"), device)
        assert vars(ours) == vars(theirs)
        assert described(ours, []) == described(theirs, [])
        assert torch._C._dispatch_keys(ours) == torch._C._dispatch_keys(theirs)
        if not unsafe:
            with pytest.raises(RuntimeError, match="data"):
                ours.data_ptr()


def test_numbers_in_the_place_of_tensors_go_the_usual_way() -> None:
    """Inside of vmap a number beside a tensor is converted by an operator that takes tensors."""
    compiled = alternator.compile(lambda x: torch.func.vmap(lambda y: y + 1)(x), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(torch.arange(3.0)), torch.arange(1.0, 4.0))
