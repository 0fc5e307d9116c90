"""A training step: the backward pass breaks, and the step of the optimizer is one graph, with what is around it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator import utils

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "adam, one by one": lambda parameters: torch.optim.Adam(parameters, lr=0.01, foreach=False),
}


def training(name: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    optimizer = OPTIMIZERS[name](net.parameters())

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach(), torch.is_grad_enabled()

    return net, step


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_step(name: str, backend: str) -> None:
    plain_net, plain = training(name)
    net, step = training(name)
    recorder = Recorder()
    compiled = alternator.compile(step, backend=recorder if backend == "eager" else backend)
    for seed in range(4):
        torch.manual_seed(seed)
        x, y = torch.randn(3, 4), torch.randn(3, 2)
        (expected, _), (got, grad_mode) = plain(x, y), compiled(x, y)
        assert grad_mode
        torch.testing.assert_close(got, expected)
        for mine, other in zip(net.parameters(), plain_net.parameters()):
            torch.testing.assert_close(mine, other)
            assert mine.requires_grad and mine.is_leaf
        if seed == 0 and backend == "eager":
            assert len(recorder.graphs) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"weight_decay": 0.1, "maximize": True}])
def test_steps_on_lists(options: dict[str, Any], dtype: torch.dtype) -> None:
    nets = [torch.nn.Linear(4, 2, dtype=dtype) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [torch.optim.AdamW(net.parameters(), lr=0.1, foreach=True, **options) for net in nets]
    recorder = Recorder()
    steps = alternator.compile(lambda: optimizers[0].step(), backend=recorder), optimizers[1].step
    for x in torch.randn(4, 3, 4, dtype=dtype):
        for net, step in zip(nets, steps):
            net.zero_grad()
            net(x).pow(2).sum().backward()
            step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)
    assert len(recorder.graphs) == 1


def test_sums_of_products_of_lists() -> None:
    def f(tensors: Any, others: Any, factors: Any) -> Any:
        torch._foreach_addcmul_(tensors, others, others, factors)
        torch._foreach_addcdiv_(tensors, others, others, 2.0)
        return tensors

    lists = [[torch.randn(3), torch.randn(2, 2)] for _ in range(2)]
    same(f, *lists, torch.tensor([0.5, 2.0]))
    same(f, *lists, [0.5, 2.0])
    same(f, *lists, torch.tensor([0.5, 2.0, 1.0]))


OF_ALL_KINDS = {
    f"{name}{', on lists' * foreach}": (name, {"foreach": foreach, **options})
    for name, options in {
        "Adam": {"amsgrad": True},
        "AdamW": {},
        "NAdam": {},
        "RAdam": {"lr": 0.01, "weight_decay": 0.1},
        "ASGD": {"t0": 2},
        "Adagrad": {"lr_decay": 0.1},
        "Adadelta": {},
        "Adamax": {},
        "RMSprop": {"momentum": 0.9, "centered": True},
        "Rprop": {},
    }.items()
    for foreach in (False, True)
}


def steps(name: str, options: dict[str, Any], dtype: torch.dtype, wrap: Any, count: int = 8) -> list[Any]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).to(dtype)
    optimizer = getattr(torch.optim, name)(net.parameters(), **options)
    step = wrap(lambda: optimizer.step())
    for _ in range(count):
        optimizer.zero_grad()
        net(torch.randn(3, 4, dtype=dtype)).pow(2).sum().backward()
        step()
    return [*net.parameters(), [dict(entry) for entry in optimizer.state_dict()["state"].values()]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OF_ALL_KINDS)
def test_all_steps_are_one_graph_and_exact(name: str, dtype: torch.dtype) -> None:
    """State is made before the first step is captured; numbers that are made of tensors are as exact as Python's."""
    recorder = Recorder()
    plain = steps(*OF_ALL_KINDS[name], dtype, lambda step: step)
    got = steps(*OF_ALL_KINDS[name], dtype, lambda step: alternator.compile(step, backend=recorder, fullgraph=True))
    assert len(recorder.graphs) == 1
    exact = 1e-5 if dtype is torch.float32 else 1e-6 if name.startswith(("NAdam", "RAdam", "ASGD")) else 1e-12  # 32 bits in state
    torch.testing.assert_close(got, plain, rtol=exact, atol=exact)


@pytest.mark.parametrize("name", [name for name in OF_ALL_KINDS if not name.startswith(("Adadelta", "RMSprop, on"))])
def test_steps_of_few_bits(name: str) -> None:
    plain = steps(*OF_ALL_KINDS[name], torch.bfloat16, lambda step: step)
    got = steps(*OF_ALL_KINDS[name], torch.bfloat16, lambda step: alternator.compile(step, backend="eager"))
    torch.testing.assert_close(got, plain, rtol=0.02, atol=0.001)


def test_the_fused_step_breaks() -> None:
    plain = steps("AdamW", {"fused": True}, torch.float32, lambda step: step)
    got = steps("AdamW", {"fused": True}, torch.float32, lambda step: alternator.compile(step, backend="aot_eager"))
    torch.testing.assert_close(got, plain)


class OfTheProgram(torch.optim.Adam):
    """Its state is its own business."""

    def _init_group(self, group: Any, *lists: Any) -> Any:
        self.groups_seen = getattr(self, "groups_seen", 0) + 1
        return super()._init_group(group, *lists)


def test_state_is_not_made_before_the_program_comes_there() -> None:
    for kind in (torch.optim.Adam, OfTheProgram):
        seen = []
        for wrap in (lambda fn: fn, lambda fn: alternator.compile(fn, backend="eager")):
            parameter = torch.nn.Parameter(torch.ones(3))
            optimizer = kind([parameter], lr=0.1)

            def step(rate: float, index: Any) -> Any:
                optimizer.param_groups[0]["lr"] = rate
                parameter.grad = torch.ones(3)
                picked = torch.arange(3.0)[index]
                optimizer.step()
                return picked

            compiled = wrap(step)
            with pytest.raises(IndexError):
                compiled(0.5, torch.tensor([7]))
            states = [len(optimizer.state)]
            for rate in (0.5, 0.25):
                compiled(rate, torch.tensor([1]))
                states.append(len(optimizer.state))
            seen.append((states, parameter.detach().tolist(), getattr(optimizer, "groups_seen", None)))
        assert seen[0] == seen[1]


@pytest.mark.parametrize("foreach", [False, True])
def test_a_rate_that_varies_makes_two_versions(foreach: bool) -> None:
    """For backends on AOTAutograd too, which take factors of tensors for constants."""
    found = []
    for wrap in (lambda fn: fn, lambda fn: alternator.compile(fn, backend="aot_eager")):
        torch.manual_seed(0)
        net = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.01, foreach=foreach)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        step = wrap(lambda: optimizer.step())
        entries: list[Any] = []
        with utils.listening_to_entries(entries.append):
            for _ in range(6):
                optimizer.zero_grad()
                net(torch.randn(3, 4)).pow(2).sum().backward()
                step()
                scheduler.step()
        found.append(list(net.parameters()))
        assert len(entries) <= 2
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_factors_that_vary(dtype: torch.dtype) -> None:
    def f(x, y, factor):
        lists = [x.clone(), x * 2], [y, y * 3]
        torch._foreach_add_(*lists, alpha=factor)
        made = torch._foreach_sub(*lists, alpha=factor)
        return x.add(y, alpha=factor), torch.sub(x, y, alpha=-factor), x.mul(2).sub_(y, alpha=factor), lists[0], made

    x, y = torch.randn(3, 2, dtype=dtype), torch.randn(2, dtype=dtype)
    wide = torch.ones((), dtype=torch.float64)
    compiled = alternator.compile(f, backend="aot_eager")
    exact = {"rtol": 0.02, "atol": 0.02} if dtype is torch.bfloat16 else {}
    for factor in (0.5, 0.25, 0.125, 3.0):
        torch.testing.assert_close(compiled(x, y, factor), f(x, y, factor), **exact)
        torch.testing.assert_close(compiled(x, wide, factor), f(x, wide, factor), **exact)


@pytest.mark.parametrize("foreach", [False, True])
def test_a_step_that_reads_a_number_of_each_parameter_is_not_cut_into_pieces(foreach: bool) -> None:
    found = []
    for recorder in (None, Recorder()):
        torch.manual_seed(0)
        net = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(4)))
        optimizer = torch.optim.Adafactor(net.parameters(), foreach=foreach)

        def step(x: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            loss = net(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach() * 2

        alternator.reset()
        compiled = alternator.compile(step, backend=recorder) if recorder is not None else step
        found.append([[compiled(torch.ones(2, 4)) for _ in range(3)], [one.detach() for one in net.parameters()]])
    torch.testing.assert_close(*found)
    assert recorder is not None and recorder.frame_count == 2


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("whose", ["optimizer", "module"])
def test_gradients_are_dropped_without_a_look_at_them(whose: str, first: bool) -> None:
    def make() -> tuple[Any, Any]:
        torch.manual_seed(0)
        net = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        owner = optimizer if whose == "optimizer" else net

        def step(x: Any) -> Any:
            if first:
                owner.zero_grad()
            loss = net(x).sum()
            loss.backward()
            optimizer.step()
            if not first:
                owner.zero_grad(set_to_none=True)
            return loss.detach(), [parameter.grad is None for parameter in net.parameters()]

        return net, step

    (plain_net, plain), (net, step) = make(), make()
    recorder, breaks = Recorder(), []
    compiled = alternator.compile(step, backend=recorder)
    with utils.listening_to_breaks(breaks.append):
        for _ in range(3):
            x = torch.randn(3, 4)
            (expected, plain_none), (got, none) = plain(x), compiled(x)
            torch.testing.assert_close(got, expected)
            torch.testing.assert_close([*net.parameters()], [*plain_net.parameters()])
            assert none == plain_none
    assert [reason.code for reason in breaks] == ["BACKWARD"]
    assert len(recorder.graphs) == 2


def test_gradients_that_are_kept_are_set_to_zero() -> None:
    net = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    alternator.compile(lambda x: net(x).sum(), backend="eager")(torch.randn(3, 4)).backward()
    grad = net.weight.grad

    @alternator.compile(backend="eager")
    def drop(keep: bool) -> None:
        optimizer.zero_grad(not keep)

    drop(True)
    assert net.weight.grad is grad and not grad.any()
    drop(False)
    assert net.weight.grad is None


def test_an_optimizer_that_a_function_is_given_is_not_lost() -> None:
    net = torch.nn.Linear(4, 2)
    optimizer = torch.optim.Adam(net.parameters())

    def update(owner: Any, loss: Any) -> None:
        owner.zero_grad()
        loss.backward()
        owner.step()

    def step(x: Any) -> None:
        update(optimizer, net(x).sum())

    recorder, breaks = Recorder(), []
    compiled = alternator.compile(step, backend=recorder)
    with utils.listening_to_breaks(breaks.append):
        for _ in range(3):
            compiled(torch.randn(3, 4))
    assert [reason.code for reason in breaks] == ["BACKWARD"]
    assert len(recorder.graphs) == 2
