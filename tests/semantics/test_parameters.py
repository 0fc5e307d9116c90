"""Parameters and modules that captured code makes: leaves of autograd behind the graph, as in plain Python."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from helpers import Recorder, same
from torch import nn

import alternator

BACKENDS: list[Any] = ["eager", "aot_eager"]


def look(value: Any, facts: list[Any], numbers: list[torch.Tensor]) -> None:
    """Collect all that can be seen of a value: what is compared exactly, and numbers."""
    if isinstance(value, torch.Tensor):
        facts.append((type(value), value.requires_grad, value.is_leaf, value.dtype, value.stride()))
        numbers.append(value.detach().clone())
        look(value.grad if value.is_leaf else None, facts, numbers)
    elif isinstance(value, nn.Module):
        facts.append((type(value), list(value.state_dict()), value.training))
        look([*value.parameters(), *value.buffers()], facts, numbers)
    elif isinstance(value, (list, tuple)):
        facts.append((type(value), len(value)))
        for one in value:
            look(one, facts, numbers)
    else:
        facts.append(value)


def results(fn: Any, *args: Any, after: Any = None) -> tuple[list[Any], list[torch.Tensor]]:
    """What three calls give, and what of that is after ``after`` looked at all of it."""
    torch.manual_seed(0)
    found = [fn(*args) for _ in range(3)]
    if after is not None:
        for one in found:
            after(*one)
    facts: list[Any] = []
    numbers = [torch.rand(())]
    look(found, facts, numbers)
    return facts, numbers


def alike(one: Any, other: Any) -> None:
    assert one[0] == other[0]
    torch.testing.assert_close(one[1], other[1])


def as_plain(fn: Any, *args: Any, after: Any = None, graphs: int = 1) -> None:
    plain = results(fn, *args, after=after)
    recorder = Recorder()
    for backend in (recorder, *BACKENDS):
        alternator.reset()
        alike(results(alternator.compile(fn, backend=backend), *args, after=after), plain)
    assert len(recorder.graphs) == graphs


def backward(*found: Any) -> None:
    found[-1].sum().backward()


def write(*found: Any) -> None:
    """Whoever writes into one tensor writes into those that share its memory."""
    with torch.no_grad():
        for one in found:
            one.add_(1)


class Block(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
        self.scale = nn.Parameter(torch.ones(size))
        self.register_buffer("shift", torch.zeros(size))
        nn.init.xavier_uniform_(self.inner[0].weight)

    def forward(self, x):
        return self.inner(x) * self.scale + self.shift


def test_a_module_that_is_made_inside_is_one_graph_and_is_trained_outside() -> None:
    def fn(x):
        block = Block(4)
        return block, block(x)

    as_plain(fn, torch.randn(3, 4), after=backward)


def test_a_module_that_nobody_sees_any_more() -> None:
    as_plain(lambda x: nn.Linear(4, 5)(x), torch.randn(3, 4))


def test_a_parameter_shares_memory_with_what_it_was_made_of() -> None:
    def fn(x):
        data = x * 2
        made = nn.Parameter(data)
        data.add_(1)
        made.data.mul_(3)
        return made, data

    as_plain(fn, torch.randn(4), after=write)


@pytest.mark.parametrize(
    "view", [lambda data: data[:2], lambda data: data.detach(), lambda data: data.view(2, 2)], ids=["slice", "detach", "view"]
)
def test_what_was_a_view_before_is_one_of_the_parameter(view) -> None:
    def fn(x):
        data = torch.zeros(4)
        before = view(data)
        made = nn.Parameter(data)
        before.add_(1)
        return made, data, before

    as_plain(fn, torch.randn(4), after=write, graphs=2)


def test_two_parameters_over_one_tensor() -> None:
    def fn(x):
        data = torch.ones(4)
        one, two = nn.Parameter(data), nn.Parameter(data)
        two.data.add_(1)
        return one, two

    as_plain(fn, torch.randn(4), after=write, graphs=2)


def test_the_memory_of_a_tensor_from_outside() -> None:
    def fn(x):
        made = nn.Parameter(x.detach())
        x.add_(1)
        return made, x

    plain = results(fn, torch.zeros(4), after=write)
    alternator.reset()
    alike(results(alternator.compile(fn, backend="eager"), torch.zeros(4), after=write), plain)


def test_what_has_a_history_is_not_moved_into_the_parameter() -> None:
    weight = torch.randn(4, requires_grad=True)

    def fn(x):
        scaled = weight * x
        made = nn.Parameter(scaled)
        return made, (made * scaled).sum()

    as_plain(fn, torch.randn(4), after=backward, graphs=2)


def test_it_is_one_object_wherever_it_leaves() -> None:
    held: dict[str, Any] = {}

    def fn(x):
        made = nn.Parameter(x + 1)
        held["it"] = made
        return made, [made], made.view(2, 2)

    alternator.reset()
    compiled = alternator.compile(fn, backend="aot_eager")
    seen = []
    for _ in range(3):
        made, (again,), view = compiled(torch.zeros(4))
        assert made is again is held["it"]
        assert view._base is made
        seen.append(made)
    assert len({id(one) for one in seen}) == 3


def test_requires_grad_is_switched_as_long_as_no_gradient_leads_to_it() -> None:
    def frozen(x):
        layer = nn.Linear(4, 4)
        for one in layer.parameters():
            one.requires_grad_(False)
        return layer, layer(x)

    def late(x):
        made = nn.Parameter(x + 1)
        result = made * x
        made.requires_grad_(False)
        return made, made * 2, result

    as_plain(frozen, torch.randn(3, 4))
    as_plain(late, torch.randn(4), after=backward, graphs=2)


def test_the_gradient_of_a_new_parameter() -> None:
    def fn(x):
        layer = nn.Linear(4, 1)
        for _ in range(2):
            loss = layer(x).pow(2).mean()
            grads = torch.autograd.grad(loss, list(layer.parameters()))
            with torch.no_grad():
                for one, grad in zip(layer.parameters(), grads):
                    one.sub_(0.1 * grad)
        return layer, loss.detach()

    as_plain(fn, torch.randn(3, 4))


def test_a_new_parameter_of_a_module_from_outside() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            self.weight = nn.Parameter(self.weight.detach() * 0.9)
            return x * self.weight

    nets = Net(), Net()
    alternator.reset()
    compiled = alternator.compile(nets[1], backend="aot_eager")
    fns = [lambda x: (nets[0], nets[0](x)), lambda x: (nets[1], compiled(x))]
    alike(*(results(fn, torch.ones(4), after=backward) for fn in fns))


def test_a_graph_that_raises_leaves_no_trace() -> None:
    log: list[Any] = []

    def fn(x, at):
        made = nn.Parameter(torch.rand(4))
        log.append("made")
        try:
            return made, (made * x[at]).sum()
        except IndexError:
            log.append("out of range")
            return made, made.sum()

    as_plain(fn, torch.randn(4), torch.tensor(9), after=backward)
    assert log[:2] == ["made", "out of range"] and len(log) == 6 * 4


def test_parameters_in_the_bodies_of_operators_and_transforms() -> None:
    def checkpointed(x):
        inner = lambda x: x * nn.Parameter(torch.ones(4))  # noqa: E731
        return torch.utils.checkpoint.checkpoint(inner, x, use_reentrant=False)

    def mapped(x):
        return torch.func.vmap(lambda row: row * nn.Parameter(torch.ones(4)))(x)

    for fn in (checkpointed, mapped):
        alternator.reset()
        alike(results(alternator.compile(fn, backend="eager"), torch.ones(3, 4)), results(fn, torch.ones(3, 4)))


def test_what_is_no_parameter_in_plain_python_is_none() -> None:
    def fn(x):
        try:
            nn.Parameter(torch.arange(4))
        except RuntimeError as error:
            return str(error), nn.Parameter(torch.arange(4), requires_grad=False)
        return None

    alternator.reset()
    alike(results(alternator.compile(fn, backend="eager"), torch.ones(1)), results(fn, torch.ones(1)))


def test_nothing_holds_a_parameter_that_was_made() -> None:
    alternator.reset()
    compiled = alternator.compile(lambda x: nn.Parameter(x + 1), backend="eager")
    for _ in range(2):
        gone = weakref.ref(compiled(torch.ones(4)))
        gc.collect()
        assert gone() is None


def test_deep_copies_of_modules_and_parameters() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    net[0].weight.mark = "not copied"

    def whole(x):
        copied = copy.deepcopy(net)
        with torch.no_grad():
            copied[0].weight.mul_(2)
        return net, copied, hasattr(copied[0].weight, "mark"), copied(x)

    def each(x):
        copied = [copy.deepcopy(one) for one in net.parameters()]
        return copied, sum(one.sum() for one in copied) * x

    as_plain(whole, torch.randn(3, 4), after=backward)
    as_plain(each, torch.randn(3, 4), after=backward)


def test_deep_copies_of_modules_that_say_how_they_are_copied() -> None:
    class Counted(nn.Linear):
        def __getstate__(self):
            return {**super().__getstate__(), "copied": True}

    net = nn.Sequential(Counted(4, 4), nn.ReLU())

    def fn(x):
        copied = copy.deepcopy(net)
        return copied, copied[0].copied, copied(x)

    as_plain(fn, torch.randn(3, 4), after=backward)


def test_each_call_copies_a_tensor_of_its_own() -> None:
    def fn(x):
        copied = copy.deepcopy(x)
        return copied.add_(1), x, hasattr(copied, "mark")

    marked = torch.ones(3)
    marked.mark = "copied"
    same(fn, torch.randn(3), then=[(torch.randn(3),), (torch.randn(3),)], graphs=1, recompiles=0)
    same(fn, torch.randn(3), then=[(marked,)])


def test_parameters_that_share_memory_are_copied_apart() -> None:
    weight = torch.zeros(4)
    net = nn.ParameterList([nn.Parameter(weight[:2]), nn.Parameter(weight[:2])])

    def fn(x):
        copied = copy.deepcopy(net)
        with torch.no_grad():
            copied[0].add_(1)
        return copied, copied[0] * x

    as_plain(fn, torch.randn(2), after=backward)


def test_copies_of_parameters_from_outside_are_no_work_of_the_graph() -> None:
    def f(layer, x):
        copied = copy.deepcopy(layer)
        y = copied(x)
        return y, copied.weight, copied.weight.requires_grad, copied.weight is layer.weight

    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert len(same(f, layer, torch.ones(2), graphs=1, grad=True).ops) == 1


def test_a_copy_of_a_parameter_that_the_graph_has_changed() -> None:
    def f(layer, x):
        with torch.no_grad():
            layer.weight.mul_(2)
        copied = copy.deepcopy(layer)
        with torch.no_grad():
            copied.weight.add_(1)
            layer.bias.add_(1)
        return copied(x) + layer(x), copied.weight, layer.weight

    same(f, torch.nn.Linear(2, 2), torch.ones(2), grad=True)


# ---- parameters over the memory of what comes from outside


class Wrapped(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def _used(x: torch.Tensor) -> Any:
    q = nn.Parameter(x)
    return (q * 2 + x).sum(), q


def _frozen(x: torch.Tensor) -> Any:
    q = nn.Parameter(x, requires_grad=False)
    return q * 2, q, q is x, type(q) is nn.Parameter


def _in_module(x: torch.Tensor) -> Any:
    net = Wrapped(x)
    out = net(torch.ones(4))
    return out, net, list(net.parameters())[0] is net.weight


def _differentiated(x: torch.Tensor) -> Any:
    q = nn.Parameter(x)
    (found,) = torch.autograd.grad((q.sin() * x).sum(), [q])
    return found


def _twice(x: torch.Tensor) -> Any:
    return nn.Parameter(x), nn.Parameter(x), x * 2


def _written_through(x: torch.Tensor) -> Any:
    q = nn.Parameter(x)
    with torch.no_grad():
        q.add_(1)
    return q * 2, q


def _written_before(x: torch.Tensor) -> Any:
    x.mul_(3)
    return nn.Parameter(x) * 2


def _written_behind(x: torch.Tensor) -> Any:
    q = nn.Parameter(x)
    x.mul_(3)
    return (q * 2).sum(), q


@pytest.mark.parametrize(
    "fn", [_used, _frozen, _in_module, _differentiated, _twice, _written_through, _written_before, _written_behind]
)
def test_a_parameter_over_an_input(fn: Any) -> None:
    for backend in BACKENDS:
        alternator.reset()
        captured = alternator.compile(fn, backend=backend)
        for values in ([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]):
            found = []
            for one in (fn, captured):
                x = torch.tensor(values)
                made = one(x)
                facts: list[Any] = []
                numbers: list[torch.Tensor] = []
                look(made, facts, numbers)
                parameters = [item for item in (made if type(made) is tuple else ()) if type(item) is nn.Parameter]
                if isinstance(made, tuple) and made[0].grad_fn is not None:
                    made[0].sum().backward()
                x.fill_(7)  # who shares the memory sees it
                look([x, parameters, [p.data_ptr() == x.data_ptr() for p in parameters]], facts, numbers)
                found.append((facts, numbers))
            alike(*found)


def test_a_parameter_over_an_input_breaks_only_where_the_graph_writes() -> None:
    x = torch.ones(4)
    for fn in (_used, _frozen, _in_module, _differentiated, _twice):
        recorder = Recorder()
        alternator.reset()
        alternator.compile(fn, backend=recorder, fullgraph=True)(x)
        assert recorder.frame_count == 1
    for fn in (_written_through, _written_before, _written_behind):
        alternator.reset()
        with pytest.raises(alternator.exc.Unsupported):
            alternator.compile(fn, backend="eager", fullgraph=True)(x)


def test_a_parameter_over_an_input_without_a_graph() -> None:
    def f(x: torch.Tensor) -> Any:
        q = nn.Parameter(x)
        torch.compiler.is_compiling()
        alternator.graph_break()
        return q, (q * 2).sum()

    def g(x: torch.Tensor) -> Any:
        kept = [nn.Parameter(x, requires_grad=False)]
        alternator.graph_break()
        return kept

    for fn in (f, g):
        x = torch.arange(4.0)
        captured = alternator.compile(fn, backend="eager")
        for _ in range(2):
            facts = [results(one, x) for one in (fn, captured)]
            alike(*facts)
            assert captured(x)[0].data_ptr() == x.data_ptr()


def test_another_input_may_be_the_memory_of_a_parameter() -> None:
    def f(x: torch.Tensor, y: torch.Tensor) -> Any:
        q = nn.Parameter(x)
        y.add_(1)
        return (q * 2).sum()

    for backend in BACKENDS:
        captured = alternator.compile(f, backend=backend)
        for shared in (False, True, False):
            found = []
            for fn in (f, captured):
                x = torch.ones(4)
                found.append((fn(x, x.detach() if shared else torch.ones(4)), x))
            torch.testing.assert_close(*found)
