"""Hooks that captured code registers on tensors from outside."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import same
from torch.utils.hooks import RemovableHandle

import alternator


def leaf() -> torch.Tensor:
    return torch.ones(3, requires_grad=True)


def test_registered_removed_and_registered_again() -> None:
    def f(x, z):
        handle = x.register_hook(lambda grad: grad * 2)
        z = z * z
        handle.remove()
        handle.remove()
        x.register_hook(lambda grad: grad * 3)
        return (x * z).sum()

    compiled = alternator.compile(f, backend="aot_eager", fullgraph=True)
    for fn in (f, compiled, compiled):
        x = leaf()
        fn(x, torch.full((3,), 2.0)).backward()
        assert x.grad.tolist() == [12.0] * 3


def test_hooks_run_in_the_order_in_which_they_were_registered() -> None:
    def f(x, box):
        box.append(x.register_hook(lambda grad: grad + 1))
        last = x.register_hook(lambda grad: grad * 10)
        return last, (x * 3).sum()

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for fn in (f, compiled, compiled):
        x, box = leaf(), []
        last, loss = fn(x, box)
        loss.backward()
        assert x.grad.tolist() == [40.0] * 3
        assert type(box[0]) is RemovableHandle and type(last) is RemovableHandle and last is not box[0]
        last.remove()
        fn(x.detach().requires_grad_(), box)


def test_a_hook_closes_over_what_the_graph_computes() -> None:
    def f(x, y):
        scale = y.sum()
        x.register_hook(lambda grad: grad * scale)
        return (x * 2).sum()

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    x = leaf()
    compiled(x, torch.ones(4)).backward()
    assert x.grad.tolist() == [8.0] * 3


def test_after_accumulation() -> None:
    def f(x, seen):
        x.register_post_accumulate_grad_hook(lambda tensor: seen.append(tensor.grad.clone()))
        return (x * 2).sum()

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    x, seen = leaf(), []
    compiled(x, seen).backward()
    assert seen[0].tolist() == [2.0] * 3


def test_what_cannot_have_one() -> None:
    def f(x):
        try:
            x.register_hook(lambda grad: grad)
        except RuntimeError as e:
            return x + 1, str(e)

    same(f, torch.ones(3), fullgraph=True)


def test_an_input_that_the_graph_changes_breaks() -> None:
    def changed(x):
        y = x.view(3)
        x.register_hook(lambda grad: grad * 5)
        x.add_(1)
        return (x * y).sum()

    grads = []
    for one in (changed, alternator.compile(changed, backend="eager")):
        x = leaf()
        one(x * 1).backward()
        grads.append(x.grad)
    assert torch.equal(*grads)
    alternator.reset()
    with pytest.raises(alternator.exc.Unsupported) as raised:
        alternator.compile(changed, backend="eager", fullgraph=True)(leaf() * 1)
    assert raised.value.code == "TENSOR_HOOK"


def test_backward_hooks_of_modules() -> None:
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
            self.seen = []
            self.first.register_full_backward_hook(lambda module, inner, outer: self.seen.append(outer[0].shape))
            self.last.register_full_backward_pre_hook(lambda module, outer: (outer[0] * 2,))
            self.last.register_full_backward_hook(lambda module, inner, outer: (inner[0] + 1,))

        def forward(self, x):
            return self.last(self.first(x).relu()) * 2

    torch.manual_seed(0)
    plain = Net()
    for backend in ("eager", "aot_eager"):
        net = copy.deepcopy(plain)
        plain.seen = []
        compiled = alternator.compile(net, backend=backend)
        for x in (torch.randn(2, 3), torch.randn(2, 3, requires_grad=True), torch.randn(5, 3)):
            gradients = []
            for one in (plain, compiled):
                one.zero_grad()
                x.grad = None
                one(x).sum().backward()
                gradients.append([p.grad for p in one.parameters()] + [x.grad])
            torch.testing.assert_close(gradients[1], gradients[0])
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), plain(x))
        assert len(plain.seen) == 6  # the hooks of the copy are those of the original
