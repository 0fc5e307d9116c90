"""Recurrent networks."""

from typing import Any

import pytest
import torch
from helpers import Recorder

import alternator


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_training_under_aot_autograd(kind: Any) -> None:
    torch.manual_seed(0)
    net = kind(4, 5, num_layers=2, batch_first=True)
    x = torch.randn(2, 3, 4)
    found = []
    for fn in (net, alternator.compile(net, backend="aot_eager")):
        net.zero_grad()
        fn(x)[0].pow(2).sum().backward()
        found.append([parameter.grad.clone() for parameter in net.parameters()])
    torch.testing.assert_close(*found)


def test_inference_is_one_graph() -> None:
    net, recorder = torch.nn.LSTM(4, 5), Recorder()
    compiled = alternator.compile(net, backend=recorder, fullgraph=True)
    x = torch.randn(2, 3, 4)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))
    assert len(recorder.graphs) == 1
