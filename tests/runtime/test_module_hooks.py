"""A module that is compiled itself, with hooks of its own: one graph for the call as a whole, whenever they were registered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Recorder, ops

import alternator


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = torch.nn.Linear(3, 3)
        self.seen: list[Any] = []

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        return self.lin(x) * scale


HOOKS: dict[str, Any] = {
    "pre": lambda m: m.register_forward_pre_hook(lambda mod, args: (args[0] + 1, *args[1:])),
    "pre, with kwargs": lambda m: m.register_forward_pre_hook(
        lambda mod, args, kwargs: ((args[0] * 2,), {**kwargs, "scale": 3.0}), with_kwargs=True
    ),
    "forward": lambda m: m.register_forward_hook(lambda mod, args, out: out * 2),
    "forward, with kwargs": lambda m: m.register_forward_hook(
        lambda mod, args, kwargs, out: out * kwargs.get("scale", 7.0), with_kwargs=True
    ),
    "always called": lambda m: m.register_forward_hook(lambda mod, args, out: out - 1, always_call=True),
    "with an effect": lambda m: m.register_forward_hook(lambda mod, args, out: mod.seen.append(out.shape)),
    "bound method": lambda m: m.register_forward_hook(Listener(m).listen),
}


class Listener:
    def __init__(self, mod: Net) -> None:
        self.mod = mod

    def listen(self, mod: torch.nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:
        self.mod.seen.append(len(args))
        return out + 1


def _check(compiled: Any, net: Net) -> None:
    x = torch.randn(2, 3)
    net.seen.clear()
    for args, kwargs in (((x,), {}), ((x,), {}), ((x,), {"scale": 0.5}), ((x, 2.5), {})):
        want, seen = net(*args, **kwargs), list(net.seen)
        net.seen.clear()
        torch.testing.assert_close(compiled(*args, **kwargs), want)
        assert net.seen == seen
        net.seen.clear()


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize("later", [False, True])
def test_hooks_and_forward_are_one_graph(kind: str, later: bool) -> None:
    net, recorder = Net(), Recorder()
    compiled = alternator.compile(net, backend=recorder)
    x = torch.randn(2, 3)
    if later:
        for _ in range(4):
            torch.testing.assert_close(compiled(x), net(x))
        assert recorder.frame_count == 1
    recorder.graphs.clear()
    handle = HOOKS[kind](compiled)
    compiled(x)
    assert recorder.frame_count == 1
    _check(compiled, net)
    handle.remove()
    _check(compiled, net)
    HOOKS[kind](net)
    _check(compiled, net)


def test_several_hooks_run_in_their_order() -> None:
    net, recorder = Net(), Recorder()
    compiled = alternator.compile(net, backend=recorder, fullgraph=True)
    for hook in HOOKS.values():
        hook(net)
    x = torch.randn(2, 3)
    torch.testing.assert_close(compiled(x), net(x))
    assert recorder.frame_count == 1
    net.seen.clear()
    _check(compiled, net)


def test_modules_with_hooks_of_the_same_code_share_a_graph() -> None:
    recorder = Recorder()
    layers = []
    for _ in range(5):
        layer = torch.nn.Linear(3, 3)
        layer.register_forward_pre_hook(lambda mod, args: (args[0] + 1,))
        layers.append((layer, alternator.compile(layer, backend=recorder)))
    x = torch.randn(2, 3)
    for _ in range(2):
        for layer, compiled in layers:
            torch.testing.assert_close(compiled(x), layer(x))
    assert recorder.frame_count == 1


def test_a_hook_that_breaks_keeps_the_graphs_around_it() -> None:
    for hook in ("register_forward_pre_hook", "register_forward_hook"):
        net, recorder = Net(), Recorder()
        getattr(net, hook)(lambda mod, args, *out: mod.seen.append((args[0] + 1).sum().item()))
        compiled = alternator.compile(net, backend=recorder)
        _check(compiled, net)
        assert any(torch.nn.functional.linear in ops(graph) for graph in recorder.graphs)


def test_backward_hooks_see_gradients() -> None:
    net, recorder = Net(), Recorder()
    grads: list[Any] = []
    net.register_full_backward_hook(lambda mod, gin, gout: grads.append(gout[0].clone()))
    net.register_forward_hook(lambda mod, args, out: out * 2)
    compiled = alternator.compile(net, backend=recorder)
    x = torch.randn(2, 3, requires_grad=True)
    for call in (net, compiled, compiled):
        call(x).sum().backward()
    assert len(grads) == 3
    torch.testing.assert_close(grads[1], grads[0])
    torch.testing.assert_close(grads[2], grads[0])


def test_a_hook_that_raises() -> None:
    net = Net()

    def refuse(mod: torch.nn.Module, args: Any) -> None:
        if args[0].shape[0] > 2:
            raise ValueError("too long")

    net.register_forward_pre_hook(refuse)
    compiled = alternator.compile(net, backend="eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(torch.ones(2, 3)), net(torch.ones(2, 3)))
        with pytest.raises(ValueError, match="too long"):
            compiled(torch.ones(3, 3))
