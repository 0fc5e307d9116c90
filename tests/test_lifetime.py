"""What is compiled dies with what it was compiled for."""

import gc
import logging
import resource
import types
import weakref

import pytest
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
    for _ in range(40):  # what is made once is there then
        _compile_and_drop()
    gc.collect()
    counts, memory = _C.live_counts(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        net, weight = _compile_and_drop()
    gc.collect()
    assert net() is None and weight() is None
    for name, count in _C.live_counts().items():  # something may run for the first time; a leak would be one for each
        assert count - counts[name] < 10, name
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


class Thing:
    def __init__(self):
        self.number = 1
        self.net = torch.nn.Linear(3, 3)


def _plain(x, o):
    return x + o.number


def _breaks(x, o):
    y = x + o.number
    alternator.graph_break()
    return y * 2


def _breaks_below(x, o):
    def inner():
        alternator.graph_break()
        return x * 2

    return inner() + o.number


def _breaks_in_a_loop(x, o):
    for _ in range(2):
        alternator.graph_break()
        x = x + o.number
    return x


def _raises(x, o):
    y = x + o.number
    raise ValueError(y)


def _catches(x, o):
    try:
        raise ValueError(o)
    except ValueError:
        return x + o.number


def _wrong_shapes(x, o):
    return x @ torch.ones(7, 7)


def _reads_a_value(x, o):
    return x + x.sum().item()


def _generator(x, o):
    return sum(a for a in [x, x]) + o.number


def _module(x, o):
    return o.net(x)


def _writes(x, o):
    o.result = x + 1
    return x + 1


def _closure(x, o):
    return (lambda: x + o.number)()


def _waiting_generator(x, o):
    def gen():
        yield x
        yield o.number

    return next(gen()) + 1


PROGRAMS = [
    _plain,
    _breaks,
    _breaks_below,
    _breaks_in_a_loop,
    _raises,
    _catches,
    _wrong_shapes,
    _reads_a_value,
    _generator,
    _module,
    _writes,
    _closure,
    _waiting_generator,
]


def _failing_backend(gm, inputs):
    raise RuntimeError("no")


def _left_alive(compiled, calls=2):
    """What a call keeps of its arguments, without the garbage collector's help."""
    left = []
    for call in range(calls):
        x, thing = torch.randn(3, 3), Thing()
        refs = {"x": weakref.ref(x), "thing": weakref.ref(thing), "weight": weakref.ref(thing.net.weight)}
        try:
            compiled(x, thing)
        except Exception:
            pass
        del x, thing
        left += [(call, name) for name, ref in refs.items() if ref() is not None]
    return left


@pytest.fixture
def no_collector(monkeypatch):
    monkeypatch.setattr(logging.getLogger("torch._subclasses.fake_tensor"), "disabled", True)  # pytest keeps what is logged
    alternator.compile(lambda x, s: x + s, backend="eager")(torch.ones(2), 3)  # torch's own first imports leave cycles
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("fn", PROGRAMS, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("how", ["plain", "fullgraph", "failing"])
def test_arguments_are_freed_at_once(fn, how, no_collector):
    backend = _failing_backend if how == "failing" else "eager"
    assert _left_alive(alternator.compile(fn, backend=backend, fullgraph=how == "fullgraph")) == []


def test_entries_of_other_sizes_keep_nothing(no_collector):
    compiled = alternator.compile(lambda x, o: o.net(x) + x.shape[0], backend="eager")
    left = []
    for size in (3, 4, 5):
        x, thing = torch.randn(size, 3), Thing()
        refs = [weakref.ref(x), weakref.ref(thing), weakref.ref(thing.net)]
        compiled(x, thing)
        del x, thing
        left += [ref() for ref in refs if ref() is not None]
    assert left == []


def test_a_dropped_module_and_closure_are_freed_at_once(no_collector):
    def use():
        net, big = Net(), torch.randn(64)
        compiled = alternator.compile(lambda x: net(x) + big, backend="eager")
        for _ in range(3):
            compiled(torch.randn(2, 64))
        return weakref.ref(net), weakref.ref(big), weakref.ref(net.linear.weight)

    assert [ref() for ref in use()] == [None, None, None]


class Backend:
    def __init__(self):
        self.graphs = 0

    def __call__(self, gm, inputs):
        self.graphs += 1
        return gm.forward


@pytest.mark.parametrize("kind", ["object", "function", "method"])
@pytest.mark.parametrize("module", [False, True])
def test_a_backend_that_knows_the_compiled_function(kind, module):
    def use():
        holder = Backend()

        def function(gm, inputs):
            return holder(gm, inputs)

        target = Net() if module else (lambda x: x + 1)
        backend = {"object": holder, "function": function, "method": holder.__call__}[kind]
        holder.compiled = alternator.compile(target, backend=backend)
        holder.compiled(torch.randn(2, 64))
        assert holder.graphs == 1
        return weakref.ref(target), weakref.ref(holder)

    refs = use()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


@pytest.mark.parametrize("method", [False, True])
def test_the_same_backend_again_uses_what_is_compiled(method):
    def f(x):
        return x + 1

    backend = Backend()
    for _ in range(3):
        alternator.compile(f, backend=backend.__call__ if method else backend)(torch.ones(2))
    assert backend.graphs == 1


def test_another_backend_at_the_same_address_is_another():
    def f(x):
        return x + 1

    graphs = 0
    for _ in range(10):
        backend = Backend()
        alternator.compile(f, backend=backend)(torch.ones(2))
        graphs += backend.graphs
        del backend
    assert graphs == 10
