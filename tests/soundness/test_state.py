"""What is read although nobody writes it down: torch's modes, hooks added later, the environment, the metadata of tensors.

Each row: a program, a context or a change, and the graphs that it takes: one more where the program could see it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Callable

import pytest
import torch
from torch.nn.modules import module as module_hooks

import alternator
from alternator import config

X = torch.arange(6.0).reshape(2, 3) + 1


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(3, 3)
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x: Any) -> Any:
        return self.norm(self.linear(x))


class Doubling(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out * 2 if func in (torch.nn.functional.linear, torch.add, torch.Tensor.add) else out


@contextlib.contextmanager
def _setting(get: Callable[[], Any], put: Callable[[Any], Any], value: Any) -> Any:
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


@contextlib.contextmanager
def _hook(handle: Any) -> Any:
    try:
        yield
    finally:
        handle.remove()


def _environment(value: str | None) -> Any:
    def put(value: Any) -> None:
        os.environ.pop("ALTERNATOR_STATE_TEST", None)
        if value is not None:
            os.environ["ALTERNATOR_STATE_TEST"] = value

    return _setting(lambda: os.environ.get("ALTERNATOR_STATE_TEST"), put, value)


MODES: dict[str, tuple[Callable[[], Any], int]] = {
    "no_grad": (torch.no_grad, 1),
    "inference mode": (torch.inference_mode, 1),
    "autocast": (lambda: torch.autocast("cpu", torch.bfloat16), 1),
    "default dtype": (lambda: _setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64), 1),
    "deterministic": (
        lambda: _setting(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True),
        1,
    ),
    "another environment variable": (lambda: _environment("1"), 0),
    "a thread of its own": (contextlib.nullcontext, 0),
    "recursion limit": (lambda: _setting(sys.getrecursionlimit, sys.setrecursionlimit, sys.getrecursionlimit() + 1), 0),
}
PROGRAMS = {
    "arithmetic": lambda x: x @ x.t() + torch.ones(()),
    "grad mode": lambda x: x + torch.is_grad_enabled(),
    "new tensor": lambda x: x + torch.tensor(0.5),
}


def _counting(fn: Any, **options: Any) -> tuple[Any, list[Any]]:
    graphs: list[Any] = []
    return alternator.compile(fn, backend=lambda gm, inputs: graphs.append(gm) or gm.forward, **options), graphs


def _agrees(compiled: Any, plain: Any, *args: Any) -> None:
    for _ in range(2):
        expected, found = plain(*args), compiled(*args)
        torch.testing.assert_close(found, expected)
        assert found.requires_grad == expected.requires_grad and found.is_inference() == expected.is_inference()


@pytest.mark.parametrize("again", [False, True], ids=["", "second check"])
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("mode", MODES)
def test_modes(mode: str, program: str, again: bool) -> None:
    make, takes = MODES[mode]
    with config.patch(recheck_guards=again):
        compiled, graphs = _counting(PROGRAMS[program])
        x = X.clone().requires_grad_()
        _agrees(compiled, PROGRAMS[program], x)
        assert len(graphs) == 1
        with make():
            _agrees(compiled, PROGRAMS[program], x)
        assert len(graphs) == 1 + takes
        _agrees(compiled, PROGRAMS[program], x)
        with make():
            _agrees(compiled, PROGRAMS[program], x)
        assert len(graphs) == 1 + takes


INFERENCE_PROGRAMS = {
    **PROGRAMS,
    "item": lambda x: x[torch.tensor(1) + x[0, 0].long() * 0] * 2,
    "written": lambda x: x.add_(1).sum() + x,
    "view": lambda x: x.t()[1:],
    "behind a break": lambda x: x[torch.where(x[:, 0] < 100)[0]].sin().max(dim=1)[0],
    "is_inference": lambda x: x + x.is_inference(),
}


@pytest.mark.parametrize("dynamic", [None, True], ids=["", "dynamic"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("program", INFERENCE_PROGRAMS)
def test_tensors_made_in_inference_mode(program: str, backend: str, dynamic: bool | None) -> None:
    fn, graphs = INFERENCE_PROGRAMS[program], []
    inner = alternator.lookup_backend(backend)
    captured = alternator.compile(fn, backend=lambda gm, args: graphs.append(gm) or inner(gm, args), dynamic=dynamic)
    with torch.inference_mode():
        for rows in (3, 3, 4):
            made = torch.arange(rows * 3.0).reshape(rows, 3)
            mine, theirs = made.clone(), made.clone()
            expected, found = fn(mine), captured(theirs)
            torch.testing.assert_close((found, theirs), (expected, mine))
            assert found.is_inference() and theirs.is_inference()
    assert graphs
    made = made.clone()
    with torch.inference_mode():
        mine, theirs = made.clone(), made.clone()
    if program == "written":
        for run in (fn, captured):
            with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
                run(mine)
    else:
        _agrees(captured, fn, mine)


def test_a_function_mode_sees_what_it_would_see() -> None:
    net = Net().eval()
    compiled, graphs = _counting(net)
    _agrees(compiled, net, X)
    for _ in range(2):
        with Doubling():
            _agrees(compiled, net, X)
        _agrees(compiled, net, X)


@pytest.mark.parametrize("value", ["1", "", None])
def test_the_environment(value: str | None) -> None:
    def program(x: Any) -> Any:
        return x + len(os.environ.get("ALTERNATOR_STATE_TEST", "missing"))

    compiled, graphs = _counting(program)
    with _environment("here"):
        _agrees(compiled, program, X)
        with _environment(value):
            _agrees(compiled, program, X)
        _agrees(compiled, program, X)
    assert len(graphs) == 2


HOOKS: dict[str, tuple[Callable[[Net], Any], int]] = {
    "forward": (lambda net: net.linear.register_forward_hook(lambda m, a, out: out * 2), 1),
    "forward, of the root": (lambda net: net.register_forward_hook(lambda m, a, out: out * 2), 1),  # a frame of its own
    "forward pre": (lambda net: net.linear.register_forward_pre_hook(lambda m, a: (a[0] + 1,)), 1),
    "forward with keywords": (lambda net: net.norm.register_forward_hook(lambda m, a, k, out: out + 1, with_kwargs=True), 1),
    "pre with keywords": (
        lambda net: net.linear.register_forward_pre_hook(lambda m, a, k: ((a[0] * 3,), k), with_kwargs=True),
        1,
    ),
    "global forward": (lambda net: module_hooks.register_module_forward_hook(lambda m, a, out: out * 2), 2),
    "global forward pre": (lambda net: module_hooks.register_module_forward_pre_hook(lambda m, a: (a[0] * 2,)), 2),
    "load_state_dict": (lambda net: net.register_load_state_dict_post_hook(lambda m, keys: None), 0),
    "state_dict": (lambda net: net._register_state_dict_hook(lambda m, d, p, meta: None), 0),
}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_added_later(name: str) -> None:
    add, takes = HOOKS[name]
    net = Net().eval()
    compiled, graphs = _counting(net)
    _agrees(compiled, net, X)
    assert len(graphs) == 1
    with _hook(add(net)):
        _agrees(compiled, net, X)
        assert len(graphs) == 1 + takes
    _agrees(compiled, net, X)
    assert len(graphs) == 1 + takes


def test_hooks_on_all_modules_are_not_for_graphs() -> None:
    """A backend may return the graph module itself."""
    net = Net().eval()
    compiled = alternator.compile(lambda x: net.linear(x) * 2, backend=lambda gm, inputs: gm)
    expected = compiled(X)
    with _hook(module_hooks.register_module_forward_hook(lambda m, a, out: out + 1)):
        torch.testing.assert_close(compiled(X), expected + 2)
        torch.testing.assert_close(compiled(X), expected + 2)
    torch.testing.assert_close(compiled(X), expected)


def test_hooks_of_tensors_added_later() -> None:
    net = Net().eval()
    compiled, graphs = _counting(net)
    _agrees(compiled, net, X)
    handle = net.linear.weight.register_hook(lambda grad: grad * 10)
    grads = []
    for run in (net, compiled):
        net.zero_grad()
        run(X).sum().backward()
        grads.append(net.linear.weight.grad.clone())
    torch.testing.assert_close(*grads)
    handle.remove()
    assert len(graphs) == 1


TENSORS: dict[str, tuple[Callable[[torch.Tensor], Any], int]] = {
    "values": (lambda t: t + 5, 0),
    "another address": (lambda t: t.clone(), 0),
    "the rest of a larger one": (lambda t: torch.cat([t, t])[:2], 0),
    "dtype": (lambda t: t.double(), 1),
    "integers": (lambda t: t.long(), 1),
    "columns": (lambda t: t[:, :2].contiguous(), 1),
    "rank": (lambda t: t[None], 1),
    "scalar": (lambda t: t.sum(), 1),
    "empty": (lambda t: t[:0], 1),
    "strides": (lambda t: t.t().contiguous().t(), 1),
    "every other column": (lambda t: torch.cat([t, t], 1)[:, ::2], 1),
    "expanded": (lambda t: t[:1].expand(2, 3), 1),
    "requires_grad": (lambda t: t.clone().requires_grad_(), 1),
    "parameter": (lambda t: torch.nn.Parameter(t.clone(), requires_grad=False), 1),
    "conjugate": (lambda t: torch.complex(t, t).conj(), 1),
    "negative": (lambda t: torch.complex(t, t).conj().imag, 1),
    "number": (lambda t: 3.5, 1),
    "none": (lambda t: None, 1),
    "list": (lambda t: [t], 1),
}


@pytest.mark.parametrize("again", [False, True], ids=["", "second check"])
@pytest.mark.parametrize("name", TENSORS)
def test_tensors(name: str, again: bool) -> None:
    def program(x: Any, y: Any) -> Any:
        if not isinstance(y, torch.Tensor):
            return x + 1
        return torch.stack([x.sum(), (y * 2).abs().sum(), torch.tensor(float(y.dim() + y.is_contiguous()))])

    make, takes = TENSORS[name]
    with config.patch(recheck_guards=again):
        compiled, graphs = _counting(program)
        _agrees(compiled, program, X, X + 1)
        for value in (make(X + 1), X + 1, make(X + 1)):
            _agrees(compiled, program, X, value)
    assert len(graphs) == 1 + takes


CHANGED_IN_PLACE: dict[str, tuple[Callable[[Net], Any], int]] = {
    "values": (lambda net: net.linear.weight.data.fill_(0.5), 0),
    "optimizer's step": (lambda net: torch.optim.SGD([net.linear.weight], 0.1).step(), 0),
    "load_state_dict": (lambda net: net.load_state_dict(Net().state_dict()), 0),
    "load_state_dict by assignment": (lambda net: net.load_state_dict(Net().state_dict(), assign=True), 0),
    "requires_grad_": (lambda net: net.linear.weight.requires_grad_(False), 1),
    "data of another shape": (
        lambda net: [setattr(net.linear.weight, "data", torch.ones(3, 3).expand(3, 3)), net.linear.bias.data.resize_(3)],
        0,
    ),
    "data with other strides": (lambda net: setattr(net.linear.weight, "data", torch.ones(3, 3).t().contiguous().t()[:, :]), 1),
    "all of another dtype": (lambda net: net.double(), 1),
    "a parameter that is gone": (lambda net: setattr(net.linear, "bias", None), 1),
    "a buffer replaced": (lambda net: setattr(net.norm, "running_mean", torch.ones(3)), 0),
    "a buffer of another dtype": (lambda net: setattr(net.norm, "running_mean", torch.ones(3, dtype=torch.float64)), None),
    "a submodule of another class": (lambda net: setattr(net, "norm", torch.nn.Identity()), 1),
    "a submodule that is alike": (lambda net: setattr(net, "linear", torch.nn.Linear(3, 3)), 0),
    "training": (lambda net: net.train(), 1),
    "eps": (lambda net: setattr(net.norm, "eps", 0.25), 1),
    "forward of the instance": (lambda net: setattr(net.norm, "forward", lambda x: x + 1), 1),
    "weights tied": (lambda net: setattr(net.norm, "weight", net.linear.bias), None),
}


@pytest.mark.parametrize("name", CHANGED_IN_PLACE)
def test_modules_changed_later(name: str) -> None:
    change, takes = CHANGED_IN_PLACE[name]
    net = Net().eval()
    compiled, graphs = _counting(net)
    _agrees(compiled, net, X)
    change(net)
    x = X.to(net.linear.weight.dtype)
    try:
        expected = net(x)
    except RuntimeError as error:  # what fails plainly fails compiled
        with pytest.raises(type(error)):
            compiled(x)
        return
    torch.testing.assert_close(compiled(x), expected)
    _agrees(compiled, net, x) if name != "training" else None
    assert takes is None or len(graphs) == 1 + takes


def test_objects_at_the_same_address() -> None:
    class Thing:
        pass

    def program(x: Any, thing: Any, table: Any, fn: Any) -> Any:
        return fn(x) + thing.number + table["n"]

    compiled, _ = _counting(program)
    for i in range(40):
        thing, table, k = Thing(), {"n": i % 5}, i % 4
        thing.number = i % 3  # all of these are often where those of the round before were
        assert compiled(X, thing, table, lambda x: x * k).equal(X * k + i % 3 + i % 5)
