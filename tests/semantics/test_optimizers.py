"""A training step: the backward pass breaks, and the step of the optimizer is one graph, with what is around it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Recorder

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
