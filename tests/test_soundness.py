"""Soundness of guards: change exactly one thing that was read, see one new capture and the right result; change something
that was not read, and see none."""

import os
import types

import pytest
import torch

import alternator

GLOBAL = 2.0
GLOBAL_LIST = [1, 2]


def helper(x):
    return x * 3


class Base:
    factor = 2

    def scale(self, x):
        return x * self.factor


class Thing(Base):
    def __init__(self):
        self.bias = 1
        self.table = {"a": 1, "b": 2}
        self.items = [1.0, 2.0]
        self.unread = 0
        self.fn = None


class Slotted:
    __slots__ = ("value",)

    def __init__(self):
        self.value = 3


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.register_buffer("offset", torch.ones(3))
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.ReLU()])
        self.gain = 2.0

    def forward(self, x):
        x = self.linear(x) + self.offset * self.gain
        for block in self.blocks:
            x = block(x)
        return x if self.training else x * 2


def _globals(name, value):
    return lambda s: globals().__setitem__(name, value)


def _closure_case():
    n = 2

    def f(s, x):
        return x * n

    def change(s):
        nonlocal n
        n = 5

    return f, change


def _default_case():
    def f(s, x, k=2):
        return x * k

    return f, lambda s: setattr(f, "__defaults__", (7,))


def _lambda_case(s, x):
    return s.fn(x) if s.fn is not None else x + 1


READ = {
    "attribute": (Thing, lambda s, x: x + s.bias, lambda s: setattr(s, "bias", 9)),
    "attribute type": (Thing, lambda s, x: x + s.bias, lambda s: setattr(s, "bias", 1.0)),
    "attribute shadows class": (Thing, lambda s, x: x * s.factor, lambda s: setattr(s, "factor", 5)),
    "class attribute": (Thing, lambda s, x: x * s.factor, lambda s: setattr(Base, "factor", Base.factor + 1)),
    "class attribute on subclass": (Thing, lambda s, x: x * s.factor, lambda s: setattr(Thing, "factor", 11)),
    "method on class": (Thing, lambda s, x: s.scale(x), lambda s: setattr(Base, "scale", lambda self, x: x - 1)),
    "method on instance": (Thing, lambda s, x: s.scale(x), lambda s: setattr(s, "scale", lambda x: x - 1)),
    "class of the instance": (
        Thing,
        lambda s, x: s.scale(x),
        lambda s: setattr(s, "__class__", type("Other", (Thing,), {"factor": 4})),
    ),
    "missing attribute": (Thing, lambda s, x: x + getattr(s, "late", 1), lambda s: setattr(s, "late", 5)),
    "dict item": (Thing, lambda s, x: x + s.table["a"], lambda s: s.table.__setitem__("a", 8)),
    "dict membership": (Thing, lambda s, x: x + ("c" in s.table), lambda s: s.table.__setitem__("c", 8)),
    "dict length": (Thing, lambda s, x: x + len(s.table), lambda s: s.table.__setitem__("c", 8)),
    "dict order": (Thing, lambda s, x: x + next(iter(s.table.values())), lambda s: s.table.__setitem__("a", s.table.pop("a"))),
    "dict replaced": (Thing, lambda s, x: x + s.table["a"], lambda s: setattr(s, "table", {"a": 4})),
    "instance dict replaced": (Thing, lambda s, x: x + s.bias, lambda s: setattr(s, "__dict__", {"bias": 40})),
    "list item": (Thing, lambda s, x: x + s.items[1], lambda s: s.items.__setitem__(1, 8.0)),
    "list length": (Thing, lambda s, x: x + len(s.items), lambda s: s.items.append(8.0)),
    "list iteration": (Thing, lambda s, x: x + sum(s.items), lambda s: s.items.append(8.0)),
    "slot": (Slotted, lambda s, x: x + s.value, lambda s: setattr(s, "value", 4)),
    "global": (Thing, lambda s, x: x * GLOBAL, _globals("GLOBAL", 4.0)),
    "global list": (Thing, lambda s, x: x * len(GLOBAL_LIST), lambda s: GLOBAL_LIST.append(1)),
    "global function": (Thing, lambda s, x: helper(x), _globals("helper", lambda x: x * 9)),
    "function code": (Thing, lambda s, x: helper(x), lambda s: setattr(helper, "__code__", (lambda x: x * 4).__code__)),
    "builtin shadowed": (Thing, lambda s, x: x + abs(-1), _globals("abs", lambda v: 6)),
    "environment": (
        Thing,
        lambda s, x: x + (os.environ.get("ALTERNATOR_TEST") == "1"),
        lambda s: os.environ.__setitem__("ALTERNATOR_TEST", "1"),
    ),
    "grad mode": (Thing, lambda s, x: x + torch.is_grad_enabled(), lambda s: torch.set_grad_enabled(False)),
    "default dtype": (Thing, lambda s, x: x + torch.ones(3), lambda s: torch.set_default_dtype(torch.float64)),
    "function given": (Thing, _lambda_case, lambda s: setattr(s, "fn", lambda x: x * 4)),
    "parameter replaced": (
        Net,
        lambda s, x: s(x),
        lambda s: setattr(s.linear, "weight", torch.nn.Parameter(torch.ones(3, 3, dtype=torch.float32))),
    ),
    "parameter frozen": (Net, lambda s, x: s(x), lambda s: s.linear.weight.requires_grad_(False)),
    "training flag": (Net, lambda s, x: s(x), lambda s: s.eval()),
    "hook added": (Net, lambda s, x: s(x), lambda s: s.linear.register_forward_hook(lambda m, a, out: out * 2)),
    "hook on a container's child": (
        Net,
        lambda s, x: s(x),
        lambda s: s.blocks[1].register_forward_pre_hook(lambda m, a: (a[0] + 1,)),
    ),
    "module replaced": (Net, lambda s, x: s(x), lambda s: setattr(s, "linear", torch.nn.Linear(3, 3, bias=False))),
    "module added": (Net, lambda s, x: s(x), lambda s: s.blocks.append(torch.nn.Tanh())),
    "buffer removed": (
        Net,
        lambda s, x: s(x),
        lambda s: setattr(s, "offset", None) or setattr(s, "gain", 3.0) or s.register_buffer("offset", torch.zeros(1)),
    ),
    "number on a module": (Net, lambda s, x: s(x), lambda s: setattr(s, "gain", 4.0)),
    "forward on the instance": (Net, lambda s, x: s(x), lambda s: setattr(s.linear, "forward", lambda x: x * 2)),
}
MAY_STAY = {"parameter replaced"}  # an equal-looking parameter is only another input

UNREAD = {
    "other attribute": (Thing, lambda s, x: x + s.bias, lambda s: setattr(s, "unread", 5)),
    "new attribute": (Thing, lambda s, x: x + s.bias, lambda s: setattr(s, "more", 5)),
    "other dict item": (Thing, lambda s, x: x + s.table["a"], lambda s: s.table.__setitem__("z", 8)),
    "other class attribute": (Thing, lambda s, x: x * s.factor, lambda s: setattr(Thing, "unrelated", 5)),
    "parameter's values": (Net, lambda s, x: s(x), lambda s: s.linear.weight.data.add_(1)),
    "other global": (Thing, lambda s, x: x * GLOBAL, _globals("SOMETHING_ELSE", 1)),
}


@pytest.fixture(autouse=True)
def restored():
    saved = dict(globals())
    base = (Base.factor, Base.scale, dict(Thing.__dict__))
    code, numbers = helper.__code__, list(GLOBAL_LIST)
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    os.environ.pop("ALTERNATOR_TEST", None)
    for name in set(globals()) - set(saved):
        del globals()[name]
    globals().update(saved)
    helper.__code__ = code
    GLOBAL_LIST[:] = numbers
    Base.factor, Base.scale = base[0], base[1]
    for name in set(Thing.__dict__) - set(base[2]):
        delattr(Thing, name)


def _count(fn):
    graphs = []

    def backend(gm, inputs):
        graphs.append(gm)
        return gm.forward

    return alternator.compile(fn, backend=backend), graphs


def _check(make, fn, change, expected):
    torch.manual_seed(0)
    thing, x = make(), torch.randn(2, 3)
    fn = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    compiled, graphs = _count(fn)
    for _ in range(3):
        torch.testing.assert_close(compiled(thing, x), fn(thing, x))
    assert len(graphs) == 1
    change(thing)
    for _ in range(3):
        torch.testing.assert_close(compiled(thing, x), fn(thing, x))
    assert len(graphs) in expected


@pytest.mark.parametrize("name", READ)
def test_what_was_read_is_guarded(name):
    make, fn, change = READ[name]
    _check(make, fn, change, (1, 2) if name in MAY_STAY else (2,))


@pytest.mark.parametrize("name", UNREAD)
def test_what_was_not_read_is_not_guarded(name):
    make, fn, change = UNREAD[name]
    _check(make, fn, change, (1,))


@pytest.mark.parametrize("case", [_closure_case, _default_case])
def test_parts_of_the_function_itself(case):
    fn, change = case()
    x = torch.randn(3)
    compiled, graphs = _count(fn)
    torch.testing.assert_close(compiled(None, x), fn(None, x))
    change(None)
    torch.testing.assert_close(compiled(None, x), fn(None, x))
    assert len(graphs) == 2


TENSORS = {
    "dtype": lambda x: x.double(),
    "shape": lambda x: x[:, :2].contiguous(),
    "rank": lambda x: x[0],
    "strides": lambda x: x.t().contiguous().t(),
    "requires grad": lambda x: x.clone().requires_grad_(),
    "conjugate": lambda x: torch.complex(x, x).conj(),
    "parameter": lambda x: torch.nn.Parameter(x.clone()),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_arguments(name):
    def f(x):
        return x * 2 + x.dim()

    x = torch.randn(4, 3)
    y = TENSORS[name](x)
    compiled, graphs = _count(f)
    torch.testing.assert_close(compiled(x), f(x))
    torch.testing.assert_close(compiled(y), f(y))
    assert len(graphs) == 2
    torch.testing.assert_close(compiled(x), f(x))
    assert len(graphs) == 2


def test_the_same_tensor_twice_is_another_case():
    def f(a, b):
        a.add_(1)
        return a + b

    compiled, graphs = _count(f)
    compiled(torch.zeros(2), torch.zeros(2))
    x = torch.zeros(2)
    torch.testing.assert_close(compiled(x, x), torch.full((2,), 2.0))
    assert len(graphs) == 2


def test_reallocated_objects_never_hit():
    def f(s, x):
        return x + s.bias

    compiled, _ = _count(f)
    x = torch.zeros(1)
    for i in range(50):
        thing = Thing()  # often at the address of the one before
        thing.bias = i % 3
        assert compiled(thing, x).item() == i % 3
