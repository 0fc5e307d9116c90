"""Tensors that captured code has read can be swapped: nothing of ours is in the way of it, or shows to who counts references."""

import weakref

import pytest
import torch
from helpers import same
from torch import nn

import alternator

PARAMETER = nn.Parameter(torch.ones(3))
STATE = {PARAMETER: {"step": 1.0}}
PAIRS = {(PARAMETER, 1): 2.0}


def read(x):
    return x * PARAMETER


def shared(x):
    return x * PARAMETER + PARAMETER.data.sum(), PARAMETER


def key(x):
    return x * STATE[PARAMETER]["step"]


def keys(x):
    return [x * one * entry["step"] for one, entry in STATE.items()]


def pairs(x):
    return [x * number for number in PAIRS.values()]


def identity(x):
    return x * (id(PARAMETER) == id(x))


READS = [read, shared, key, keys, pairs, identity]


@pytest.mark.parametrize("fn", READS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_tensor_that_was_read_is_swapped(fn, backend):
    x, other = torch.arange(3.0), nn.Parameter(torch.full((3,), 5.0))
    compiled = alternator.compile(fn, backend=backend)
    for _ in range(3):
        torch.testing.assert_close(compiled(x), fn(x))
        torch.testing.assert_close(compiled(PARAMETER), fn(PARAMETER))
    torch.utils.swap_tensors(PARAMETER, other)
    for _ in range(3):
        torch.testing.assert_close(compiled(x), fn(x))
    torch.utils.swap_tensors(PARAMETER, other)


@pytest.mark.parametrize("fn", [read, shared])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_nobody_refers_weakly_to_tensors_that_were_read(fn, backend):
    x = torch.randn(3)
    compiled = alternator.compile(fn, backend=backend)
    for y in (x, torch.randn(4, 3), torch.randn(5, 3)):
        compiled(y)
        for tensor in (y, PARAMETER):
            assert weakref.getweakrefcount(tensor) == weakref.getweakrefcount(tensor.untyped_storage()) == 0


def test_in_captured_code():
    def fn(x, y):
        z = x + 1
        torch.utils.swap_tensors(x, y)
        return z, x * 2, y

    same(fn, torch.ones(3), torch.zeros(2), breaks=1)


def test_a_tensor_that_the_program_refers_to_weakly_is_not_swapped():
    x, y = torch.ones(3), torch.zeros(3)
    ref = weakref.ref(x)
    alternator.compile(lambda a: a + 1, backend="eager")(x)
    with pytest.raises(RuntimeError, match="has weakref"):
        torch.utils.swap_tensors(x, y)
    assert ref() is x


@pytest.fixture
def swapping():
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("step", ["plain", "compiled"])
def test_a_module_is_converted_and_loaded_in_place(swapping, step):
    def train(compile):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        run = alternator.compile(model, backend="eager") if compile else model
        update = alternator.compile(optimizer.step, backend="eager") if compile and step == "compiled" else optimizer.step
        losses, ids = [], [id(one) for one in model.parameters()]
        for number in range(6):
            dtype = next(model.parameters()).dtype
            loss = run(torch.ones(2, 3, dtype=dtype)).square().sum()
            loss.backward()
            losses.append(loss.item())
            if number != 2:
                update()
            optimizer.zero_grad()
            del loss
            if number == 2:
                optimizer.state.clear()
                model.to(torch.float64)
            if number == 4:
                model.load_state_dict({name: torch.ones_like(value) for name, value in model.state_dict().items()})
        assert ids == [id(one) for one in model.parameters()]
        return losses

    assert train(False) == train(True)
