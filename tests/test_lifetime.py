"""What is compiled dies with what it was compiled for."""

import gc
import resource
import types
import weakref

import torch

import alternator
from alternator import _C


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 64)
        self.scales = [1, 2]
        self.steps = 0

    def forward(self, x):
        self.steps += 1
        return self.linear(x).relu() * len(self.scales)


def _compile_and_drop():
    net = Net()
    compiled = alternator.compile(net, backend="eager")
    for _ in range(2):
        compiled(torch.randn(2, 64))
    assert net.steps == 2
    return weakref.ref(net), weakref.ref(net.linear.weight)


def test_compiling_and_dropping_a_module_leaves_nothing():
    for _ in range(5):
        _compile_and_drop()
    gc.collect()
    counts, memory = _C.live_counts(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        net, weight = _compile_and_drop()
    gc.collect()
    assert net() is None and weight() is None
    assert _C.live_counts() == counts
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20_000  # KiB


def test_an_entry_dies_with_its_code():
    def make():
        space = {"torch": torch}
        exec("def f(x):\n    return torch.relu(x) + 1", space)
        return space["f"]

    def once():
        fn = make()
        alternator.compile(fn, backend="eager")(torch.randn(3))
        return weakref.ref(fn.__code__)

    once()
    gc.collect()
    counts = _C.live_counts()
    codes = [once() for _ in range(20)]
    gc.collect()
    assert all(code() is None for code in codes)
    assert _C.live_counts()["entries"] == counts["entries"]


def test_inputs_are_not_kept():
    def f(x):
        return x + 1

    compiled = alternator.compile(f, backend="eager")
    x = torch.randn(3)
    gone = weakref.ref(x)
    compiled(x)
    del x
    gc.collect()
    assert gone() is None


def test_a_closure_is_not_kept():
    def make():
        big = torch.randn(10)
        return (lambda x: x + big), weakref.ref(big)

    fn, gone = make()
    assert isinstance(fn, types.FunctionType)
    alternator.compile(fn, backend="eager")(torch.randn(10))
    del fn
    gc.collect()
    assert gone() is None
