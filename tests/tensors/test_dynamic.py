"""Sizes and numbers that vary: one capture for the first value, one for all others."""

import copy
import logging
import math
import operator

import pytest
import torch
import torch.nn.functional as F
from helpers import Recorder, ops, same
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

import alternator

X = torch.ones(2)


def _graphs(fn, calls, **options):
    graphs = []
    compiled = alternator.compile(fn, backend=lambda gm, inputs: graphs.append(gm) or gm.forward, **options)
    for args in calls:
        torch.testing.assert_close(compiled(*args), fn(*args))
    return len(graphs)


def _batches(*sizes):
    return [(torch.randn(n, 6),) for n in sizes]


PROGRAMS = {
    "shape arithmetic": lambda x: x.view(x.shape[0] * 2, -1) + x.size(0),
    "flatten": lambda x: x.reshape(x.size(0), 2, 3).transpose(1, 2).reshape(-1),
    "new tensor": lambda x: x + torch.arange(x.size(0)).unsqueeze(1),
    "padding": lambda x: F.pad(x[None], (0, 1)),
    "slicing": lambda x: x[: x.shape[0] // 2] * x.shape[0],
    "division": lambda x: x.sum(0) / x.shape[0],
    "condition": lambda x: x + 1 if x.shape[0] > 1 else x - 1,
    "power and scale": lambda x: x * x.shape[0] ** -0.5,
    "split": lambda x: sum(x.split(2, dim=1)),
    "softmax attention": lambda x: torch.softmax(x @ x.T / x.shape[-1] ** 0.5, -1) @ x,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_batch_that_changes_is_captured_twice(name):
    assert _graphs(PROGRAMS[name], _batches(4, 4, 6, 8, 10, 12)) == 2


@pytest.mark.parametrize("name", PROGRAMS)
def test_dynamic_from_the_start(name):
    assert _graphs(PROGRAMS[name], _batches(4, 6, 8), dynamic=True) == 1


def test_dynamic_false_captures_each_size():
    assert _graphs(lambda x: x + 1, _batches(2, 3, 4), dynamic=False) == 3


def test_a_condition_on_a_size_is_a_guard():
    def f(x):
        return x * 2 if x.shape[0] > 5 else x - 1

    calls = _batches(3, 4, 5, 8, 9, 3)
    assert _graphs(f, calls) == 3


def test_two_sizes_that_must_agree():
    def f(a, b):
        return a + b

    calls = [(torch.randn(n, 3), torch.randn(m, 3)) for n, m in ((2, 2), (4, 4), (5, 5), (1, 5))]
    _graphs(f, calls)


def test_an_int_argument_that_changes():
    def f(x, n):
        return x * n + n

    x = torch.randn(3)
    assert _graphs(f, [(x, n) for n in (3, 4, 5, 6)]) == 2


@pytest.mark.parametrize("first", [0, 1])
def test_an_int_argument_that_was_small_first(first):
    assert _graphs(lambda x, n: x.repeat(2) * n, [(X, n) for n in (first, 2, 3, 4, 7)]) == 2


def test_a_float_argument():
    def f(x, s):
        return x * s

    x = torch.randn(3)
    _graphs(f, [(x, s) for s in (0.5, 1.5, 2.5)])


def test_mark_dynamic():
    def f(x):
        return x * x.shape[0]

    graphs = []
    compiled = alternator.compile(f, backend=lambda gm, inputs: graphs.append(gm) or gm.forward)
    for n in (4, 5, 6):
        x = torch.randn(n)
        alternator.mark_dynamic(x, 0)
        torch.testing.assert_close(compiled(x), f(x))
    assert len(graphs) == 1


def test_sizes_as_results():
    def f(x):
        return x + 1, x.shape, x.shape[0] * 2, [x.numel()]

    same(f, torch.randn(2, 3), then=[(torch.randn(3, 3),), (torch.randn(5, 3),)], recompiles=1)


def test_strides_of_a_dynamic_tensor():
    def f(x):
        return x.t().contiguous().view(-1) + x.stride(0)

    _graphs(f, [(torch.randn(n, m),) for n, m in ((2, 3), (4, 5), (6, 7))])


def test_a_tensor_that_becomes_a_number_is_symbolic_at_once():
    calls = [(torch.ones(2), torch.ones(2)), (torch.ones(3), 3), (torch.ones(4), torch.ones(4)), (torch.ones(5), 4)]
    assert _graphs(lambda x, y: x * y, calls + calls) == 3


def test_changed_sizes_may_be_made_unbacked():
    with alternator.config.patch(automatic_dynamic_shapes_mark_as="unbacked"):
        assert _graphs(lambda x: x * x, [(torch.ones(n),) for n in (3, 2, 1, 0)]) == 2


def test_sizes_of_parameters_vary_only_where_that_is_asked_for():
    weight = torch.nn.Parameter(torch.randn(3, 2))
    calls = [(torch.nn.Parameter(torch.randn(n, 3)),) for n in (2, 5, 6)]
    assert _graphs(lambda x: x @ weight, calls) == 3
    with alternator.config.patch(force_parameter_static_shapes=False):
        assert _graphs(lambda x: x @ weight, calls) == 2


def test_a_size_as_subscript_is_not_specialised():
    calls = [(torch.randn(n), torch.randn(n)) for n in (3, 4, 5)]
    assert _graphs(lambda x, y: x[y.size(0) - 1], calls, dynamic=True) == 1


def test_infinite_and_undefined_floats_are_constants():
    values = (1.5, 2.5, float("inf"), float("nan"), 3.5)
    fn = alternator.compile(lambda x, y: x + y, backend="eager")
    for value in values:
        torch.testing.assert_close(fn(torch.ones(2), value), torch.ones(2) + value, equal_nan=True)


# ---- numbers that are taken for constants until they are seen to change


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.steps, self.scale, self.table = 0, 0.5, {"n": 3}
        self.how = Counting.count

    def count(self, x):
        self.steps += 1
        return x + 1

    def use(self, x):
        self.steps += 1
        return x * self.steps

    def decay(self, x):
        self.scale *= 0.9
        return x * self.scale

    def below(self, x):
        self.table["n"] += 1
        return x + self.table["n"]

    def size(self, x):
        self.steps += 1
        return x.new_ones(self.steps + 1).sum() + x

    def schedule(self, x):
        self.steps += 1
        return x * 2 if self.steps % 3 == 0 else x + 1

    def shown(self, x):
        self.steps += 1
        return x + len(f"{self.steps}")

    def loop(self, x):
        self.steps += 1
        for i in range(self.steps):
            x = x + i
        return x

    def index(self, x):
        self.steps += 1
        return [x, x + 1, x + 2, x + 3, x + 4, x + 5, x + 6][self.steps % 7]

    def forward(self, x):
        return self.how(self, x)


FEW = {"count": 3, "use": 3, "decay": 2, "below": 2, "size": 3, "schedule": 4}
EACH_TIME = ("shown", "loop", "index")


@pytest.mark.parametrize("name", [*FEW, *EACH_TIME])
def test_a_number_of_a_module_that_changes(name):
    recorder, net, plain, x = Recorder(), Counting(), Counting(), torch.ones(2, 3)
    net.how = plain.how = getattr(Counting, name)
    compiled = alternator.compile(net, backend=recorder)
    for _ in range(7):
        torch.testing.assert_close(compiled(x), plain(x))
    assert (net.steps, net.table) == (plain.steps, plain.table) and net.scale == pytest.approx(plain.scale)
    assert recorder.frame_count <= FEW.get(name, 7)


def test_numbers_of_several_modules_are_constants():
    class Wide(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.width = width

        def forward(self, x):
            return x.new_ones(self.width)

    recorder = Recorder()
    compiled = alternator.compile(lambda net, x: net(x), backend=recorder)
    for width in (3, 4, 5, 3):
        assert compiled(Wide(width), torch.ones(2)).shape == (width,)
    assert [ops(gm) for gm in recorder.graphs] == [["new_ones"]] * 3
    assert recorder.frame_count == 3


class Cached(torch.nn.Module):
    """Keeps what it has seen, as caches of keys and values do."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self.cache = None
        self.register_buffer("seen", torch.zeros(0, 2))

    def forward(self, x):
        y = self.linear(x)
        self.cache = (y,) if self.cache is None else (torch.cat([self.cache[0], y]),)
        self.seen = torch.cat([self.seen, x])
        return self.cache[0].sum(0) + self.seen.sum(0)


def test_tensors_of_a_module_that_grow():
    recorder, net = Recorder(), Cached()
    plain = copy.deepcopy(net)
    compiled = alternator.compile(net, backend=recorder)
    with torch.no_grad():
        for x in torch.randn(9, 1, 2):
            torch.testing.assert_close(compiled(x), plain(x))
    assert recorder.frame_count <= 4
    assert net.seen.equal(plain.seen) and net.cache[0].shape == (9, 2)


def test_sizes_of_tensors_of_several_modules_are_constants():
    class Table(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.table = torch.ones(width)

        def forward(self, x):
            return x.new_ones(self.table.shape[0])

    nets = [Table(width) for width in (3, 4, 5)]
    recorder = Recorder()
    compiled = alternator.compile(lambda net, x: net(x), backend=recorder)
    for net in nets + nets:
        assert compiled(net, torch.ones(2)).shape == net.table.shape
    assert [gm.graph.find_nodes(op="placeholder") for gm in recorder.graphs] and recorder.frame_count == 3


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_learning_rate_that_is_scheduled(name):
    recorder = Recorder()
    nets = [torch.nn.Linear(2, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [getattr(torch.optim, name)(net.parameters(), lr=0.1) for net in nets]
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) for optimizer in optimizers]
    step = alternator.compile(lambda: optimizers[0].step(), backend=recorder)
    for x in torch.randn(7, 3, 2):
        for net, take, scheduler in zip(nets, (step, optimizers[1].step), schedulers):
            net.zero_grad()
            net(x).pow(2).sum().backward()
            take()
            scheduler.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)
    assert recorder.frame_count <= 3


class ByCount(torch.optim.Optimizer):
    """Counts steps in a plain number of each parameter's state, as most optimizers outside of torch do."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state["step"], state["mean"] = 0, torch.zeros_like(param)
                state["step"] += 1
                state["mean"].mul_(0.9).add_(param.grad, alpha=0.1)
                param.data.add_(state["mean"], alpha=-group["lr"] / (1 - 0.9 ** state["step"]))


def test_a_number_that_changes_under_a_tensor_as_key():
    recorder = Recorder()
    nets = [torch.nn.Linear(2, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [ByCount(net.parameters()) for net in nets]
    step = alternator.compile(lambda: optimizers[0].step(), backend=recorder)
    for x in torch.randn(7, 3, 2):
        for net, take in zip(nets, (step, optimizers[1].step)):
            net.zero_grad()
            net(x).pow(2).sum().backward()
            take()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)
    assert recorder.frame_count <= 3


GLOBAL_STEP = 0


def test_a_global_number_that_changes(monkeypatch):
    recorder = Recorder()
    compiled = alternator.compile(lambda x: x * GLOBAL_STEP, backend=recorder)
    for step in range(7):
        monkeypatch.setitem(globals(), "GLOBAL_STEP", step)
        assert compiled(torch.ones(2)).equal(torch.full((2,), float(step)))
    assert recorder.frame_count == 2


def test_a_marked_size_must_not_become_a_constant():
    def exact(x):
        return x.sin() if x.shape[0] == 3 else x.cos()

    def bounded(x):
        if x.shape[0] > 3:
            return x.cos()
        return x * 2 if x.shape[0] < 3 else x.sin()

    for fn in (exact, bounded):
        x = torch.randn(3, 2)
        alternator.mark_dynamic(x, 0)
        with pytest.raises(
            ConstraintViolationError, match=r"x.size\(0\) was marked as dynamic, but the program needs it to be 3"
        ):
            alternator.compile(fn, backend="eager")(x)
        y = torch.randn(3, 2)
        alternator.maybe_mark_dynamic(y, 0)
        torch.testing.assert_close(alternator.compile(fn, backend="eager")(y), fn(y))
    z = torch.randn(4, 2)
    alternator.mark_dynamic(z, 0)
    torch.testing.assert_close(alternator.compile(bounded, backend="eager")(z), bounded(z))


def test_a_marked_size_of_one_is_a_constant():
    compiled = alternator.compile(lambda x: x * 2, backend="eager", fullgraph=True)
    for size in (0, 1, 5):
        x = torch.ones(size)
        alternator.mark_dynamic(x, 0)
        assert compiled(x).equal(x * 2)
    alternator.reset()
    x = torch.ones(1)
    alternator.mark_dynamic(x, 0, min=2)
    with pytest.raises(ConstraintViolationError, match="needs it to be 1"):
        compiled(x)


def test_a_marked_size_must_be_in_its_range():
    for size, fits in ((4, True), (8, False)):
        alternator.reset()
        x = torch.randn(size)
        alternator.mark_dynamic(x, 0, min=2, max=5)
        compiled = alternator.compile(lambda x: x + 1, backend="eager")
        if fits:
            compiled(x)
        else:
            with pytest.raises(ConstraintViolationError, match="between 2 and 5"):
                compiled(x)


def test_sizes_in_texts_are_numbers():
    def f(x):
        return x + 1, str(x.shape), f"{x.shape} {x.size(0)}", "%s" % (x.shape,), "{}".format([x.shape])

    same(f, torch.randn(2, 3), dynamic=True, then=[(torch.randn(4, 3),)])


def test_sizes_with_a_division_reach_the_graph():
    def f(x):
        return x * (x.shape[0] / 2), x + int(x.shape[0] / 2) % 3, x * round(x.shape[0] / 3, 1), x * float(x.shape[0] // 2)

    same(f, torch.ones(4), dynamic=True, then=[(torch.ones(7),)])


def test_methods_of_symbolic_numbers():
    def f(x, n, v):
        return x * 2 if v.is_integer() else x, n.bit_length(), n.conjugate(), v.as_integer_ratio(), n.real, n.numerator

    same(f, torch.ones(2), 4, 2.0, dynamic=True, then=[(torch.ones(2), 7, 2.5), (torch.ones(2), 8, 3.0)])


def test_ints_that_are_too_large_for_native_programs():
    def f(x, n, d):
        return x + n / d if n != d else x + (n & 0xFFFF_FFFF_FFFF_FFFF) % 7

    then = [(X, n, d) for n, d in ((5, 8), (3602879701896397, 2**55), (2**62 + 1, 2**60), (5, 2**70), (2**80, 2**80), (9, 9))]
    same(f, X, 3, 4, then=then)


def test_ints_with_too_many_digits_to_be_shown():
    def f(x, n):
        return x + n % 7

    same(f, X, 10**6000, then=[(X, 10**6000 + 1)])


def test_functions_of_floats_that_vary_are_compared_exactly():
    def f(x, s):
        return x + 1, math.acos(s) == math.acos(0.1), math.sin(s) > 0.5, math.acos(s) == 1.47062890563334

    same(f, X, 0.2, then=[(X, s) for s in (0.3, 0.1, 0.5, 0.1, math.cos(1.47062890563334))])


@pytest.mark.parametrize("fn", [math.cos, math.sqrt, math.atan, math.tanh, math.log2, math.sin])
def test_functions_of_math(fn):
    def f(x, s):
        y = fn(s)
        return (x * y if y < 0.9 else x - y), 1 + y

    recorder, compiled = Recorder(), None
    compiled = alternator.compile(f, backend=recorder)
    for s in (0.5, 0.75, 0.6, 0.3, 0.9):
        torch.testing.assert_close(compiled(torch.ones(2), s), f(torch.ones(2), s))
    assert recorder.frame_count <= 3


def test_powers_of_small_floats():
    def f(x, n, b):
        return x * (1 - 0.9**n), b**n

    calls = [(torch.ones(2), n, 0.5) for n in (2, 3, 4, 50, 700)]
    assert _graphs(f, calls) == 2
    assert _graphs(f, [*calls, (torch.ones(2), -3, 0.5), (torch.ones(2), 3, 1.5)]) <= 4
    with pytest.raises(OverflowError):
        alternator.compile(f, backend="eager")(torch.ones(2), 5000, 1.5)


def test_whole_floats():
    def f(x, v):
        return x * 2 if v.is_integer() else x + v, (v * 2).is_integer(), float.is_integer(v / 3)

    then = [(X, v) for v in (2.0, 2.75, 3.0, -0.5, 1e300, 2.0**53 + 2, -0.0, 0.1 + 0.2, 5e-324)]
    same(f, X, 1.5, fullgraph=True, then=then)
    same(f, X, 1.5, fullgraph=True, dynamic=True, then=then)


@pytest.mark.parametrize("numbers", [(0, 1, 2, 3), (5, 1, 7, 0), (1, 0, 1), (0, 0, 1, 1, 5)], ids=str)
@pytest.mark.parametrize("dynamic", [None, True], ids=["automatic", "dynamic"])
def test_zero_and_one_are_constants_until_they_change(numbers, dynamic):
    assert _graphs(lambda x, n: x * n + n, [(X, n) for n in numbers], dynamic=dynamic) == (1 if dynamic and numbers[0] > 1 else 2)


def test_a_place_in_a_ring_that_starts_at_zero():
    class Ring:
        def __init__(self):
            self.items, self.at = torch.zeros(4, 3), 0

        def put(self, x):
            self.items[self.at % 4] = x
            self.at += 1
            return self.items[: min(self.at, 4)].sum(0)

    plain, captured = Ring(), Ring()
    graphs = []
    put = alternator.compile(captured.put, backend=lambda gm, inputs: graphs.append(gm) or gm.forward)
    for i in range(9):
        torch.testing.assert_close(put(torch.full((3,), float(i))), plain.put(torch.full((3,), float(i))))
    assert len(graphs) == 2


def test_many_numbers_that_vary_are_data_and_no_symbols() -> None:
    def fn(x, numbers):
        numbers.reverse()
        return x * numbers[3], numbers[-1]

    for count in (20, 900):
        calls = [(torch.ones(2), [7 * (i + start) % 1009 for i in range(count)]) for start in range(4)]
        report = same(fn, *calls[0], then=calls[1:])
        placeholders = max(sum(node.op == "placeholder" for node in graph.graph.nodes) for graph in report.graphs)
        assert placeholders == (1 if count > 500 else 2)


def test_zeros_of_floats_have_their_sign_and_quotients_are_rounded_as_in_python() -> None:
    def zeros(x, n):
        return x + 1, n % n, 0.0 % n, 0.0 * n, 0.0 / n, 0.0 // n, 0 * n, n % 1, n % -1.0, 0 // n, -n % n, n**0, n - n

    def quotients(x, n):
        return x * (1.0 // n), 1.0 // n, divmod(1.0, n), n // 0.1, 7 // n, 1.0 // n == 9.0

    for fn, numbers in ((zeros, (2.5, 0.5, 3.0, -1.5, -2.0)), (quotients, (0.3, 0.2, 0.1, 0.7, 0.01, -0.1))):
        compiled = alternator.compile(fn, backend="eager")
        for n in numbers:
            assert repr(compiled(X, n)) == repr(fn(X, n))


def test_the_identity_of_numbers_that_vary() -> None:
    two = 2

    def fn(x, n):
        return x + 1, n is two, two is not n, n is n, n is None, n is True, [m is n for m in (n, 3, "a")]

    same(fn, X, 3, then=[(X, n) for n in (5, 2, 4, -1, 2, 3)], graphs=1, breaks=0)


@pytest.mark.parametrize("compare", [operator.eq, operator.le, operator.ge, lambda a, b: bool(b - a)])
def test_a_factor_that_may_be_zero_is_not_divided_by(compare, caplog) -> None:
    def fn(x, v, n):
        if compare(v * n, v * 4):
            return x + n
        return x - n

    later = [(X, 0, 0), (X, 0, 5), (X, 1, 4), (X, 1, 5), (X, 3, 2), (X, -3, 2), (X, 0, 4)]
    same(fn, X, 3, 7, then=[(X, 2, 6), *later])
    same(fn, X, 0, 0, then=later, dynamic=True)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]  # torch says so where it learns what is not so
