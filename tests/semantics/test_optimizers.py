"""A training step: the backward pass breaks, and the step of the optimizer is one graph, with what is around it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "adam, one by one": lambda parameters: torch.optim.Adam(parameters, lr=0.01, foreach=False),
}


def training(name: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    optimizer = OPTIMIZERS[name](net.parameters())

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach(), torch.is_grad_enabled()

    return net, step


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_step(name: str, backend: str) -> None:
    plain_net, plain = training(name)
    net, step = training(name)
    recorder = Recorder()
    compiled = alternator.compile(step, backend=recorder if backend == "eager" else backend)
    for seed in range(4):
        torch.manual_seed(seed)
        x, y = torch.randn(3, 4), torch.randn(3, 2)
        (expected, _), (got, grad_mode) = plain(x, y), compiled(x, y)
        assert grad_mode
        torch.testing.assert_close(got, expected)
        for mine, other in zip(net.parameters(), plain_net.parameters()):
            torch.testing.assert_close(mine, other)
            assert mine.requires_grad and mine.is_leaf
        if seed == 0 and backend == "eager":
            assert len(recorder.graphs) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"weight_decay": 0.1, "maximize": True}])
def test_steps_on_lists(options: dict[str, Any], dtype: torch.dtype) -> None:
    nets = [torch.nn.Linear(4, 2, dtype=dtype) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [torch.optim.AdamW(net.parameters(), lr=0.1, foreach=True, **options) for net in nets]
    recorder = Recorder()
    steps = alternator.compile(lambda: optimizers[0].step(), backend=recorder), optimizers[1].step
    for x in torch.randn(4, 3, 4, dtype=dtype):
        for net, step in zip(nets, steps):
            net.zero_grad()
            net(x).pow(2).sum().backward()
            step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)
    assert len(recorder.graphs) == 2 or dtype is torch.bfloat16


def test_sums_of_products_of_lists() -> None:
    def f(tensors: Any, others: Any, factors: Any) -> Any:
        torch._foreach_addcmul_(tensors, others, others, factors)
        torch._foreach_addcdiv_(tensors, others, others, 2.0)
        return tensors

    lists = [[torch.randn(3), torch.randn(2, 2)] for _ in range(2)]
    same(f, *lists, torch.tensor([0.5, 2.0]))
    same(f, *lists, [0.5, 2.0])
    same(f, *lists, torch.tensor([0.5, 2.0, 1.0]))
