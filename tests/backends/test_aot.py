"""aot_eager gives the results of eager mode: inputs that are changed or overlap, gradients, sizes that vary, random numbers."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Callable

import numpy
import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._functorch.aot_autograd import aot_module_simplified
from torch._subclasses.fake_tensor import DataDependentOutputException

import alternator
from alternator.exc import BackendCompilerFailed

aot = "aot_eager"


def graphs() -> int:
    return int(alternator.utils.counters["stats"]["unique_graphs"])


def check(fn: Callable[..., Any], make: Callable[[], Any], compiled: Callable[..., Any]) -> None:
    """Results and arguments are the same; ``make`` gives (what to compare afterwards, arguments)."""
    before, args = make()
    after, others = make()
    torch.testing.assert_close(compiled(*others), fn(*args))
    torch.testing.assert_close(after, before)


def halves(first: slice, second: slice) -> Callable[[], Any]:
    def make() -> Any:
        base = torch.arange(8.0)
        return base, (base[first], base[second])

    return make


def apart() -> Any:
    tensors = (torch.arange(4.0), torch.arange(4.0) + 7)
    return tensors, tensors


OVERLAP, TOUCH = halves(slice(0, 4), slice(2, 6)), halves(slice(0, 4), slice(4, 8))


@pytest.mark.parametrize(
    "order", [(apart, OVERLAP, TOUCH), (OVERLAP, TOUCH, apart), (TOUCH, apart, OVERLAP)], ids=["apart", "overlap", "touch"]
)
@pytest.mark.parametrize("dynamic", [None, True])
def test_overlapping_inputs(order: Any, dynamic: bool | None) -> None:
    def fn(a: torch.Tensor, b: torch.Tensor) -> Any:
        a.add_(1)
        return a + b, b * 2

    compiled = alternator.compile(fn, backend=aot, dynamic=dynamic)
    for make in order + order:
        check(fn, make, compiled)


def test_overlap_is_guarded_only_where_something_changes() -> None:
    compiled = alternator.compile(lambda a, b: a + b, backend=aot)
    compiled(*apart()[1])
    known = graphs()
    compiled(*OVERLAP()[1])
    assert graphs() == known


def test_arrays_over_one_buffer() -> None:
    def fn(a: torch.Tensor, b: torch.Tensor) -> Any:
        a.mul_(2)
        b.add_(1)
        return a.sum() + b.sum()

    def make() -> Any:
        array = numpy.arange(6.0)
        return torch.from_numpy(array), (torch.from_numpy(array), torch.from_numpy(array[2:]))

    compiled = alternator.compile(fn, backend=aot)
    check(fn, apart, compiled)
    check(fn, make, compiled)


def test_data_of_a_shared_tensor() -> None:
    def fn(a: torch.Tensor, b: torch.Tensor) -> Any:
        a.data.mul_(2)
        return b * 1

    compiled = alternator.compile(fn, backend=aot)
    for make in (apart, OVERLAP, apart):
        check(fn, make, compiled)


def test_shared_running_statistics() -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        one, two = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        two.running_mean = one.running_mean
        return nn.Sequential(one, two)

    model, other = make(), make()
    compiled = alternator.compile(other, backend=aot)
    for _ in range(2):
        x = torch.randn(5, 3)
        torch.testing.assert_close(compiled(x), model(x))
        torch.testing.assert_close(list(other.buffers()), list(model.buffers()))


def test_a_changed_view_that_needs_gradients() -> None:
    def run(call: Callable[..., Any]) -> Any:
        leaf = torch.arange(4.0, requires_grad=True)
        whole = leaf * 1
        (call(whole[1:]) + whole.sum()).backward()
        return whole, leaf.grad

    def fn(x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        return x.sum()

    torch.testing.assert_close(run(alternator.compile(fn, backend=aot)), run(fn))


@pytest.mark.parametrize("first", [0, 4])
def test_views_that_begin_elsewhere(first: int) -> None:
    def fn(x: torch.Tensor) -> Any:
        return x[1:], x.view(2, 2), x + x.storage_offset(), x.as_strided((2,), (1,), 1) + 1

    compiled = alternator.compile(fn, backend=aot)
    for start in (first, 4 - first, 2):
        base = torch.arange(12.0)
        outputs = compiled(base[start : start + 4])
        torch.testing.assert_close(outputs, fn(base[start : start + 4]))
        outputs[0].add_(100)
        assert base[start + 1] == 100 + start + 1


def test_offsets_that_vary_with_the_size() -> None:
    def fn(x: torch.Tensor) -> Any:
        return x * 2, x[0]

    compiled = alternator.compile(fn, backend=aot, dynamic=True)
    base = torch.arange(24.0).view(8, 3)
    for start, stop in ((0, 4), (2, 7), (4, 8), (3, 5)):
        torch.testing.assert_close(compiled(base[start:stop]), fn(base[start:stop]))


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_train_loop(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 2))
    other = copy.deepcopy(model)
    compiled = alternator.compile(other, backend=aot)
    optimizers = [OPTIMIZERS[name](m.parameters()) for m in (model, other)]
    for step in range(3):
        x, y = torch.randn(6 + step, 8), torch.randint(2, (6 + step,))
        losses = [nn.functional.cross_entropy(m(x), y) for m in (model, compiled)]
        torch.testing.assert_close(losses[1], losses[0])
        for loss, optimizer in zip(losses, optimizers):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.testing.assert_close(list(other.parameters()), list(model.parameters()))


def test_a_compiled_step() -> None:
    torch.manual_seed(0)
    model = nn.Linear(8, 4)
    other = copy.deepcopy(model)

    def step(m: nn.Module, optimizer: Any, x: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = m(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    compiled = alternator.compile(step, backend=aot)
    plain, captured = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, other))
    for _ in range(3):
        x = torch.randn(5, 8)
        torch.testing.assert_close(compiled(other, captured, x), step(model, plain, x))
    torch.testing.assert_close(list(other.parameters()), list(model.parameters()))


def test_dropout_draws_the_same_numbers() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    compiled = alternator.compile(model, backend=aot)
    x = torch.randn(4, 8, requires_grad=True)

    def run(call: Callable[..., Any]) -> Any:
        torch.manual_seed(3)
        out = call(x)
        return out, torch.autograd.grad(out.sum(), x), torch.rand(1)

    torch.testing.assert_close(run(compiled), run(model))


def test_inference_mode_and_autocast() -> None:
    model = nn.Linear(4, 4)
    compiled = alternator.compile(model, backend=aot)
    x = torch.randn(2, 4)
    with torch.inference_mode():
        assert compiled(x).is_inference()
    assert compiled(x).requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compiled(x).dtype is torch.bfloat16
    assert compiled(x).dtype is torch.float32


def test_numbers_that_vary() -> None:
    def fn(x: torch.Tensor, n: int, scale: float) -> Any:
        return x[:n] * scale, n * 2

    compiled = alternator.compile(fn, backend=aot)
    for n, scale in ((3, 1.5), (4, 2.5), (5, 3.5)):
        x = torch.randn(10, 2)
        torch.testing.assert_close(compiled(x, n, scale), fn(x, n, scale))


def test_a_backend_that_fails_says_so() -> None:
    def broken(gm: torch.fx.GraphModule, example_inputs: list[Any]) -> Any:
        raise ValueError("boom")

    with pytest.raises(BackendCompilerFailed, match="(?s)broken.*boom.*CapturedGraph.*sin") as caught:
        alternator.compile(lambda x: x.sin(), backend=broken)(torch.ones(2))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_break_inside_of_a_profiler_range() -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        with torch.profiler.record_function("range"):
            x = x * 2
            alternator.graph_break()
            x = x + 1
        return x

    x = torch.ones(3)
    with torch.profiler.profile() as profile:
        torch.testing.assert_close(alternator.compile(fn, backend=aot)(x), fn(x))
    assert sum(event.name == "range" for event in profile.events()) == 2


def test_inductor_trains_and_takes_floats() -> None:
    def fn(x: torch.Tensor, scale: float) -> Any:
        return (x * scale).relu().sum(), scale * 2

    compiled = alternator.compile(fn)
    for scale in (1.5, 2.5):
        x = torch.randn(6, requires_grad=True)
        loss, number = compiled(x, scale)
        expected, same = fn(x, scale)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(torch.autograd.grad(loss, x), torch.autograd.grad(expected, x))
        assert number == same


def test_numbers_that_the_graph_computes() -> None:
    from alternator import config

    with config.patch(capture_scalar_outputs=True):
        for fn in (lambda x: x * int(x.sum().item()), lambda x: x * round(x.sum().item() / 2)):
            compiled = alternator.compile(fn, backend=aot, fullgraph=True)
            for x in (torch.ones(3), torch.full((3,), 2.5)):
                torch.testing.assert_close(compiled(x), fn(x))


def static_inputs(fn: Callable[..., Any], *args: Any, **options: Any) -> list[tuple[list[int], int]]:
    """Of each graph that AOTAutograd compiles: (the inputs that it was told stay where they are, how many inputs there are)."""
    told = []

    def compiler(gm: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        told.append((torch._guards.TracingContext.get().fw_metadata.static_input_indices, len(inputs)))
        return make_boxed_func(gm.forward)

    def backend(gm: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        return aot_module_simplified(gm, inputs, fw_compiler=compiler, bw_compiler=make_boxed_func_of)

    compiled = alternator.compile(fn, backend=backend, **options)
    for arg in args:
        compiled(*arg)
    return told


def make_boxed_func_of(gm: torch.fx.GraphModule, inputs: list[Any]) -> Any:
    return make_boxed_func(gm.forward)


def test_parameters_buffers_and_what_was_marked_stay_where_they_are() -> None:
    layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    x = torch.randn(4, 3)
    assert static_inputs(layer, (x,)) == [([1, 2, 3, 4, 5, 6, 7], 8)]
    other = torch.ones(3)
    assert static_inputs(lambda a: layer[0](a) + other, (x,)) == [([1, 2], 4)]
    alternator.mark_static_address(other)
    assert static_inputs(lambda a: layer[0](a) + other, (x,)) == [([1, 2, 3], 4)]
    with torch.no_grad():
        assert static_inputs(lambda a, b: a + b, (x, other)) == [([1], 2)]


def test_symbolic_sizes_leave_overlaps_to_the_facts_on_sizes() -> None:
    layer = nn.Linear(3, 3)
    with torch.no_grad():
        assert [indices for indices, _ in static_inputs(layer, (torch.randn(4, 3),), dynamic=True)] == [[]]


def put_through_mask(x, mask, y, w):
    x = x.clone()
    x[mask] = (y * w)[mask]
    x[mask, 1:] = y[:1, 1:]
    return x.sin()


def test_gradient_that_only_data_sizes() -> None:
    """AOTAutograd cannot trace the backward pass of an assignment through a mask: the graph breaks there."""
    mask = torch.tensor([True, False, True, True])
    for w in (torch.tensor(2.0), torch.tensor(2.0, requires_grad=True)):
        for function in (put_through_mask, alternator.compile(put_through_mask, backend="aot_eager")):
            y = torch.arange(12.0).reshape(4, 3).requires_grad_(w.requires_grad)
            result = function(torch.ones(4, 3), mask, y, w)
            gradient = None
            if w.requires_grad:
                result.sum().backward()
                gradient = y.grad
            expected = (result, gradient) if function is put_through_mask else expected
        assert torch.equal(result, expected[0])
        assert gradient is expected[1] or torch.equal(gradient, expected[1])


def test_backend_that_fakes_are_not_enough_for() -> None:
    def needs_data(gm, example_inputs):
        raise DataDependentOutputException(torch.ops.aten._local_scalar_dense.default)

    compiled = alternator.compile(lambda x: x.sin() + 1, backend=needs_data)
    assert torch.equal(compiled(torch.ones(3)), torch.ones(3).sin() + 1)
    with pytest.raises(BackendCompilerFailed):
        alternator.compile(lambda x: x.sin() + 1, backend=needs_data, fullgraph=True)(torch.ones(3))


def test_hooks_on_saved_tensors_that_are_graphs_are_those_of_the_call() -> None:
    """AOTAutograd takes them into what it compiles."""
    trace = torch.fx.symbolic_trace
    halved = trace(lambda t: t * 2), trace(lambda t: t / 2)
    shown: list[float] = []

    def packed(t: torch.Tensor) -> torch.Tensor:
        shown.append(1.0)
        return t

    dropped = trace(lambda t: t * 0), trace(lambda t: t * 1)
    python = packed, lambda t: t

    def f(x: torch.Tensor) -> torch.Tensor:
        return ((x.sin() * 2).exp() * 3).cos()

    def gradient(fn: Any, hooks: Any) -> float:
        x = torch.full((3,), 0.3, requires_grad=True)
        with contextlib.nullcontext() if hooks is None else torch.autograd.graph.saved_tensors_hooks(*hooks):
            y = fn(x)
        y.sum().backward()
        return float(x.grad[0])

    plain = gradient(f, None)
    for order in ((dropped, halved, None, python, dropped), (None, halved, dropped, python), (halved, None, python, halved)):
        alternator.reset()
        compiled = alternator.compile(f, backend="aot_eager")
        for hooks in order:
            shown.clear()
            found = gradient(compiled, hooks)
            assert (found == pytest.approx(plain, rel=1e-4)) is (hooks is not dropped), (order.index(hooks), found, plain)
            assert bool(shown) is (hooks is python)
