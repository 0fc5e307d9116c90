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


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_packed_sequences_break(kind: Any, backend: str) -> None:
    """What the kernels read of the sizes of batches is data."""
    torch.manual_seed(0)
    net = kind(4, 5, batch_first=True, bidirectional=True)

    def padded(x: torch.Tensor, lengths: torch.Tensor) -> Any:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x * 2, lengths, batch_first=True, enforce_sorted=False)
        out, _ = net(packed)
        return torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0].sum(1)

    def directly(packed: Any) -> Any:
        return net(packed)[0].data * 2

    x = torch.randn(3, 6, 4)
    for lengths in (torch.tensor([2, 6, 4]), torch.tensor([5, 1, 3])):
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        for fn, args in ((padded, (x, lengths)), (directly, (packed,))):
            found = []
            for one in (fn, alternator.compile(fn, backend=backend)):
                net.zero_grad()
                out = one(*args)
                out.pow(2).sum().backward()
                found.append([out.detach(), *(parameter.grad.clone() for parameter in net.parameters())])
            torch.testing.assert_close(*found)
            alternator.reset()
            with pytest.raises((alternator.exc.Unsupported, alternator.exc.UserError)):
                alternator.compile(fn, backend=backend, fullgraph=True)(*args)
