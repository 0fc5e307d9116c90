"""``torch.autograd.grad`` and leaves of autograd that are made in captured code."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator.utils import counters

BACKENDS = ["eager", "aot_eager"]


def trained(fn: Any, *args: Any, net: Any = None) -> list[Any]:
    """What it returns, and the gradients of all that it was given, twice."""
    found = []
    for _ in range(2):
        given = [arg.detach().clone().requires_grad_(arg.requires_grad) for arg in args]
        result = fn(*given)
        results = result if isinstance(result, tuple) else (result,)
        total = sum(one.sum() for one in results if one.requires_grad)
        if isinstance(total, torch.Tensor):
            total.backward()
        parameters = [*given, *(net.parameters() if net is not None else ())]
        found.append(([one.detach() for one in results], [one.requires_grad for one in results]))
        found.append(
            ([one.grad if one.grad is None else one.grad.clone() for one in parameters], [r.grad for r in results if r.is_leaf])
        )
        if net is not None:
            net.zero_grad()
    return found


def one_graph(fn: Any, *args: Any, net: Any = None, graphs: int = 1) -> None:
    plain = trained(fn, *args, net=net)
    recorder = Recorder()
    for backend in (recorder, *BACKENDS):
        alternator.reset()
        torch.testing.assert_close(trained(alternator.compile(fn, backend=backend), *args, net=net), plain)
    assert len(recorder.graphs) == graphs


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def test_a_gradient_penalty_is_trained() -> None:
    net = network()

    def penalty(real, fake):
        mixed = (0.3 * real + 0.7 * fake).detach().requires_grad_(True)
        (grad,) = torch.autograd.grad(net(mixed).sum(), mixed, create_graph=True)
        return ((grad.norm(dim=1) - 1) ** 2).mean()

    one_graph(penalty, torch.randn(3, 4), torch.randn(3, 4), net=net)


def test_forces_are_trained() -> None:
    net = network()

    def energy_and_forces(positions):
        energy = net(positions).sum()
        return energy, -torch.autograd.grad(energy, positions, create_graph=True)[0]

    one_graph(energy_and_forces, torch.randn(3, 4, requires_grad=True), net=net)


def test_steps_of_an_attack() -> None:
    net = network()

    def attack(x):
        change = torch.zeros_like(x)
        for _ in range(3):
            change = change.detach()
            change.requires_grad = True
            (grad,) = torch.autograd.grad(net(x + change).sum(), [change])
            change = (change + 0.1 * grad.sign()).clamp(-0.2, 0.2)
        return x + change.detach()

    one_graph(attack, torch.randn(3, 4), net=net)


def test_second_derivatives_of_made_leaves() -> None:
    def f(x):
        point = torch.ones(3, requires_grad=True)
        (first,) = torch.autograd.grad((point**3 * x).sum(), point, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), point)
        return first.detach(), second

    one_graph(f, torch.randn(3))


def test_gradients_of_parameters_unused_ones_too() -> None:
    net = network()

    def f(x):
        loss = net[0](x).pow(2).sum()
        grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
        return tuple(torch.zeros(1) if grad is None else grad * 2 for grad in grads)

    one_graph(f, torch.randn(3, 4))


def test_inputs_that_can_be_gone_over_once() -> None:
    model = torch.nn.Linear(3, 2)
    named = dict(model.named_parameters())

    def f(x):
        of_generator = torch.autograd.grad(model(x).sin().sum(), model.parameters())
        of_view = torch.autograd.grad(model(x).cos().sum(), inputs=named.values())
        of_expression = torch.autograd.grad(model(x).exp().sum(), (p for p in model.parameters() if p.dim() == 2))
        return (*of_generator, *of_view, *of_expression)

    one_graph(f, torch.randn(4, 3))


def test_a_gradient_with_respect_to_what_was_computed() -> None:
    def f(x, w):
        hidden = (x * w).tanh()
        (grad,) = torch.autograd.grad(hidden.pow(2).sum(), hidden)
        return (hidden * grad.mean()).sum()

    one_graph(f, torch.randn(4), torch.randn(4, requires_grad=True))


def test_a_leaf_that_leaves_is_one() -> None:
    def given_back(x):
        leaf = (x * 2).detach().requires_grad_()
        return (leaf**2).sum(), leaf

    def only_leaf(x):
        leaf = torch.ones(3, requires_grad=True)
        return (leaf * x).sum() + 1

    one_graph(given_back, torch.randn(3), graphs=2)
    one_graph(only_leaf, torch.randn(3), graphs=1)


def test_what_was_differentiated_leaves() -> None:
    """Its way back has been freed, and says so."""

    def f(x):
        loss = (x**2).sum()
        return torch.autograd.grad(loss, x)[0] * 2, loss

    for fn in (f, *(alternator.compile(f, backend=backend) for backend in BACKENDS)):
        for _ in range(2):
            x = torch.randn(3, requires_grad=True)
            grad, loss = fn(x)
            torch.testing.assert_close(grad, 4 * x.detach())
            with pytest.raises(RuntimeError, match="second time"):
                loss.backward()


def test_hooks_run() -> None:
    def f(x):
        return torch.autograd.grad((x**2).sum(), x)[0] + 1

    compiled = alternator.compile(f, backend="eager")
    for hooked in (False, True, False):
        x = torch.ones(3, requires_grad=True)
        if hooked:
            x.register_hook(lambda grad: grad * 10)
        torch.testing.assert_close(compiled(x), f(x))


def test_history_from_outside() -> None:
    def f(x, y):
        return torch.autograd.grad((y * 3).sum(), x)[0] + 1

    for fn in (f, alternator.compile(f, backend="eager")):
        x = torch.ones(3, requires_grad=True)
        torch.testing.assert_close(fn(x, x * 2), torch.full((3,), 7.0))


def test_what_it_raises() -> None:
    def unused(x, y):
        return torch.autograd.grad((y * 3).sum(), x)[0]

    def no_gradient(x, y):
        return torch.autograd.grad((y.detach() * 3).sum(), x)[0]

    for fn in (unused, no_gradient):
        same(fn, torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True))


def test_made_with_gradient_in_a_training_step() -> None:
    def make():
        net = network()
        return net, torch.optim.SGD(net.parameters(), lr=0.1)

    def run(wrap):
        net, optimizer = copy.deepcopy(make())

        def step(x):
            noise = torch.full((4,), 0.5, requires_grad=True)
            loss = net(x + noise).pow(2).sum()
            (grad,) = torch.autograd.grad(loss, noise, retain_graph=True)
            loss.backward()
            optimizer.step()
            return grad, noise.grad

        compiled = wrap(step)
        torch.manual_seed(1)
        return [compiled(torch.randn(2, 4)) for _ in range(2)], list(net.parameters())

    for backend in BACKENDS:
        torch.testing.assert_close(run(lambda fn: alternator.compile(fn, backend=backend)), run(lambda fn: fn))


# ---- flags of tensors from outside


def flagged(fn: Any, make: Any, graphs: int | None = None, breaks: int = 0) -> None:
    """The same results, gradients and flags, twice, with each backend."""

    def run(wrap: Any) -> Any:
        net, args = make()
        compiled = wrap(lambda *given: fn(net, *given))
        seen = []
        for _ in range(2):
            net.zero_grad()
            given = [arg.clone() for arg in args]
            result = compiled(*given)
            if result.requires_grad:
                result.sum().backward()
            tensors = [*net.parameters(), *given]
            seen.append((result.detach(), [one.requires_grad for one in (result, *tensors)], [one.grad for one in tensors]))
        return seen

    plain, recorder = run(lambda one: one), Recorder()
    for backend in (recorder, *BACKENDS):
        alternator.reset()
        counters.clear()
        torch.testing.assert_close(run(lambda one: alternator.compile(one, backend=backend)), plain)
        assert sum(counters["graph_break"].values()) == breaks
    assert graphs is None or len(recorder.graphs) == graphs


def made() -> Any:
    return network(), [torch.ones(3, 4)]


def test_a_part_is_frozen_while_it_is_used() -> None:
    def f(net, x):
        for parameter in net[0].parameters():
            parameter.requires_grad = False
        result = net(x)
        net.requires_grad_(True)
        return result

    flagged(f, made, graphs=1)


def test_an_input_becomes_a_leaf() -> None:
    def f(net, x):
        x.requires_grad_()
        return net(x) + torch.autograd.grad(net(x).sum(), x)[0].sum()

    flagged(f, made, graphs=1)


def test_a_flag_that_changes_nothing_in_the_end() -> None:
    def f(net, x):
        net.requires_grad_(False).requires_grad_(True)
        return net(x)

    flagged(f, made, graphs=1)


def test_flags_without_tensor_work_and_flags_that_are_read() -> None:
    def f(net, x):
        before = [parameter.requires_grad for parameter in net.parameters()]
        net[2].weight.requires_grad_(not before[2])
        return x + sum(parameter.requires_grad for parameter in net.parameters())

    flagged(f, made)


def test_used_before_and_behind_a_change() -> None:
    def f(net, x):
        first = net(x)
        net.requires_grad_(False)
        second = net(x)
        net.requires_grad_(True)
        return first * second

    def detached_first(net, x):
        net.requires_grad_(False)
        first = net(x)
        net.requires_grad_(True)
        net.requires_grad_(False)
        second = net(x)
        net.requires_grad_(True)
        return first * second

    flagged(f, made, breaks=1)
    flagged(detached_first, made, graphs=1)


def test_flags_that_cannot_be_changed() -> None:
    def f(x):
        y = x * 2
        y.requires_grad_(False)
        return y

    def of_ints(x):
        return x.int().requires_grad_()

    for fn in (f, of_ints):
        same(fn, torch.ones(2, requires_grad=True))


def test_what_is_written_is_not_what_is_read_by_another_name() -> None:
    def tag(x, y):
        x.tag = 1
        return torch.ones(2) + getattr(y, "tag", 0)

    def gradient(x, y):
        x.grad = torch.ones(2)
        return torch.ones(2) + (y.grad is None)

    def flag(x, y):
        x.requires_grad_()
        return torch.ones(2) + y.requires_grad

    for fn in (tag, gradient, flag):
        alternator.reset()
        compiled = alternator.compile(fn, backend="eager")
        compiled(torch.ones(2), torch.ones(2))
        one, other = torch.ones(2), torch.ones(2)
        torch.testing.assert_close(compiled(one, one), fn(other, other))


# ---- memory of tensors from outside


def test_data_is_assigned() -> None:
    def average(net, x):
        old = [parameter.data.clone() for parameter in net.parameters()]
        for parameter in net.parameters():
            parameter.data = parameter.data * 0.5
        return x + sum(one.sum() for one in old)

    def between_two_uses(net, x):
        first = net(x)
        net[0].weight.data = net[0].weight.data.clamp(-0.1, 0.1)
        return first + net(x)

    flagged(average, made, graphs=1)
    flagged(between_two_uses, made, breaks=1)


def test_data_is_shared() -> None:
    def f(x, y, z):
        doubled = y * 2
        x.data = doubled
        z.data = y.data
        doubled.add_(1)
        return doubled

    for backend in BACKENDS:
        compiled = alternator.compile(f, backend=backend)
        for fn in (f, compiled, compiled):
            x, y, z = (torch.full((3,), value) for value in (1.0, 2.0, 3.0))
            result = fn(x, y, z)
            result.mul_(10)
            y.add_(1)
            assert (x.tolist(), y.tolist(), z.tolist()) == ([50.0] * 3, [3.0] * 3, [3.0] * 3)


def test_data_of_another_kind() -> None:
    def f(x):
        x.data = torch.ones(5)
        return x + 1

    def g(x):
        x.data = x.data.double()
        return x + 1

    same(f, torch.ones(3))
    same(g, torch.ones(3))


def test_parameters_that_are_converted_while_they_have_gradients() -> None:
    def run(wrap):
        net, calls = network(), [0]

        def fn(x):
            calls[0] += 1
            if calls[0] == 2:
                net.bfloat16()
            return net(x.to(next(net.parameters()).dtype)).float()

        fn, found = wrap(fn), []
        for _ in range(3):
            net.zero_grad(calls[0] > 0)
            result = fn(torch.ones(2, 4))
            result.sum().backward()
            found += [result.detach(), *(one.detach().clone() for one in net.parameters())]
            found += [one.grad.clone() for one in net.parameters()]
        return found

    def keeping(wrap):
        net = network()
        net(torch.ones(2, 4)).sum().backward()
        with torch.no_grad():
            for one in net.parameters():
                one.data = one.data.bfloat16()
        return wrap(lambda x: net(x) * 2)(torch.ones(2, 4, dtype=torch.bfloat16)).detach()

    for program in (run, keeping):
        alternator.reset()
        torch.testing.assert_close(program(lambda fn: alternator.compile(fn, backend="eager")), program(lambda fn: fn))
