"""Training with fake quantization."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Recorder
from torch.ao import quantization

import alternator


def network() -> Any:
    torch.manual_seed(0)
    net = torch.nn.Sequential(quantization.QuantStub(), torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    net.train().qconfig = quantization.get_default_qat_qconfig("fbgemm")
    return quantization.prepare_qat(net)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_observers_per_channel_make_room_first(backend: str) -> None:
    plain, net = network(), network()
    recorder = Recorder()
    compiled = alternator.compile(net, backend=recorder if backend == "eager" else backend)
    graphs = []
    for number in range(4):
        x = torch.randn(3, 4)
        expected, got = plain(x), compiled(x)
        torch.testing.assert_close(got, expected)
        for one, other in ((expected, plain), (got, net)):
            other.zero_grad()
            one.sum().backward()
        torch.testing.assert_close([p.grad for p in net.parameters()], [p.grad for p in plain.parameters()])
        torch.testing.assert_close(dict(net.state_dict()), dict(plain.state_dict()))
        graphs.append(len(recorder.graphs))
    assert graphs[1:] == [graphs[1]] * 3
    if backend == "eager":
        assert graphs[1] == graphs[0] + 1  # with room for all, it is one graph
