"""The compiled module is the original in every respect but that calling it runs compiled code."""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import weakref
from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator import OptimizedModule


class Net(torch.nn.Module):
    """A net."""

    kind = "net"

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.steps = 0
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x: torch.Tensor, shift: float = 0.0) -> torch.Tensor:
        self.steps += 1
        return self.norm(self.first(x)) * self.scale + shift

    @property
    def width(self) -> int:
        return self.first.out_features

    def train(self, mode: bool = True) -> Any:
        self.mode_was_set = mode
        return super().train(mode)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def compiled(net: Net) -> Any:
    return alternator.compile(net, backend="eager")


X = torch.randn(5, 3)


def test_runs(net: Net) -> None:
    same(torch.nn.Sequential(net.first, net.norm), X, graphs=1, breaks=0, grad=True)


def test_type(net: Net, compiled: Any) -> None:
    assert isinstance(compiled, OptimizedModule) and isinstance(compiled, torch.nn.Module)
    assert type(compiled) is alternator.OptimizedModule
    assert compiled._orig_mod is net


def test_state_dict_has_the_originals_keys(net: Net, compiled: Any) -> None:
    assert list(compiled.state_dict()) == list(net.state_dict())
    assert not any("_orig_mod" in key for key in compiled.state_dict())


def test_load_state_dict_accepts_both(net: Net, compiled: Any) -> None:
    for prefix in ("", "_orig_mod."):
        state = {prefix + key: torch.zeros_like(value) for key, value in net.state_dict().items()}
        net.first.weight.data.fill_(1)
        result = compiled.load_state_dict(state)
        assert not result.missing_keys and not result.unexpected_keys
        assert net.first.weight.sum() == 0


def test_load_state_dict_as_a_part(net: Net) -> None:
    parent = torch.nn.Sequential(alternator.compile(net, backend="eager"), torch.nn.Linear(4, 1))
    assert "0.first.weight" in parent.state_dict()
    for prefix in ("0.", "0._orig_mod."):
        state = {
            key.replace("0.", prefix, 1) if key.startswith("0.") else key: value for key, value in parent.state_dict().items()
        }
        state = {key: torch.zeros_like(value) for key, value in state.items()}
        net.first.weight.data.fill_(1)
        parent.load_state_dict(state)
        assert net.first.weight.sum() == 0
    with pytest.raises(RuntimeError, match="0.nonsense"):
        parent.load_state_dict({**parent.state_dict(), "0.nonsense": torch.ones(1)})


def test_loading_errors_are_the_originals(compiled: Any) -> None:
    with pytest.raises(RuntimeError, match="Missing key.*first.weight"):
        compiled.load_state_dict({})


def test_parameters_are_the_same_objects(net: Net, compiled: Any) -> None:
    for one, other in zip(net.named_parameters(), compiled.named_parameters()):
        assert one[0] == other[0] and one[1] is other[1]
    assert all(one is other for one, other in zip(net.buffers(), compiled.buffers()))
    assert compiled.first is net.first and compiled.scale is net.scale
    assert compiled.get_parameter("first.weight") is net.first.weight


def test_attributes_pass_through(net: Net, compiled: Any) -> None:
    compiled.extra = 3
    assert net.extra == 3
    net.extra = 4
    assert compiled.extra == 4
    del compiled.extra
    assert not hasattr(net, "extra") and not hasattr(compiled, "extra")
    assert compiled.kind == "net" and compiled.width == 4 and compiled.__doc__ == "A net."
    compiled.first = torch.nn.Linear(3, 4)
    assert net.first is compiled.first and "first.weight" in dict(net.named_parameters())
    compiled.weight = torch.nn.Parameter(torch.ones(2))
    assert dict(net.named_parameters())["weight"] is compiled.weight
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        compiled.nothing


def test_attributes_that_forward_writes(net: Net, compiled: Any) -> None:
    compiled(X)
    compiled(X)
    assert net.steps == compiled.steps == 2


def test_training_flag(net: Net, compiled: Any) -> None:
    assert compiled.training
    assert compiled.eval() is compiled and not net.training and not net.norm.training and net.mode_was_set is False
    compiled.training = True
    assert net.training
    torch.testing.assert_close(compiled.eval()(X), net(X))
    assert compiled.train() is compiled


def test_methods_that_return_the_module(net: Net, compiled: Any) -> None:
    assert compiled.double() is compiled and net.first.weight.dtype is torch.float64
    assert compiled.to(torch.float32) is compiled and compiled(X).dtype is torch.float32
    assert compiled.requires_grad_(False) is compiled
    assert compiled.apply(lambda module: None) is compiled


def test_modules(net: Net, compiled: Any) -> None:
    assert [name for name, _ in compiled.named_modules()] == [name for name, _ in net.named_modules()]
    assert list(compiled.modules())[0] is compiled
    assert list(compiled.children()) == list(net.children())


def test_looks_like_the_original(net: Net, compiled: Any) -> None:
    assert repr(compiled) == repr(net)
    assert set(dir(net)) <= set(dir(compiled))
    assert inspect.signature(compiled) == inspect.signature(net)
    assert inspect.signature(compiled.forward) == inspect.signature(net.forward)


def test_container_protocol() -> None:
    container = alternator.compile(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Tanh()), backend="eager")
    assert len(container) == 2 and isinstance(container[1], torch.nn.Tanh) and len(list(container)) == 2
    assert bool(container)
    plain = alternator.compile(torch.nn.ReLU(), backend="eager")
    assert bool(plain)
    with pytest.raises(TypeError, match="'ReLU' has no len"):
        len(plain)


@pytest.mark.parametrize("how", ["deepcopy", "copy", "pickle", "torch.save"])
def test_copies(net: Net, compiled: Any, how: str) -> None:
    expected = compiled.eval()(X)
    if how == "torch.save":
        buffer = io.BytesIO()
        torch.save(compiled, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    else:
        copies = {"deepcopy": copy.deepcopy, "copy": copy.copy, "pickle": lambda module: pickle.loads(pickle.dumps(module))}
        other = copies[how](compiled)
    assert isinstance(other, OptimizedModule) and other is not compiled
    assert (other._orig_mod is net) == (how == "copy")
    torch.testing.assert_close(other(X), expected)


def test_a_copy_is_compiled_for_itself(net: Net) -> None:
    recorder = Recorder()
    compiled = alternator.compile(net, backend=recorder)
    compiled(X)
    other = copy.deepcopy(compiled)
    other.scale.zero_()
    torch.testing.assert_close(other.eval()(X), torch.zeros(5, 4))


def test_setattr_on_forward(net: Net, compiled: Any) -> None:
    compiled(X)
    net.forward = lambda x: x + 1  # type: ignore[method-assign]
    torch.testing.assert_close(compiled(X), X + 1)
    torch.testing.assert_close(compiled.forward(X), X + 1)


def test_hooks(net: Net, compiled: Any) -> None:
    seen = []
    handle = compiled.register_forward_hook(lambda module, args, output: seen.append(type(module).__name__))
    compiled(X)
    compiled(X)
    assert seen == ["Net", "Net"]
    handle.remove()
    compiled(X)
    assert len(seen) == 2
    compiled.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    torch.testing.assert_close(compiled.eval()(X), net(X))


def test_as_a_part_of_another_module(net: Net) -> None:
    recorder = Recorder()
    parent = torch.nn.Sequential(alternator.compile(net, backend=recorder), torch.nn.ReLU())
    torch.testing.assert_close(parent.eval()(X), torch.relu(net(X)))
    assert recorder.frame_count == 1
    outer = Recorder()
    torch.testing.assert_close(alternator.compile(parent, backend=outer, fullgraph=True)(X), torch.relu(net(X)))
    assert outer.frame_count == 1 and recorder.frame_count == 1


def test_attributes_in_captured_code(net: Net, compiled: Any) -> None:
    def use(x: torch.Tensor) -> torch.Tensor:
        compiled.counter = 7
        return x * compiled.scale.sum() + compiled.width + compiled.counter

    same(use, X, graphs=1, breaks=0)
    assert net.counter == 7


def test_compiled_forward(net: Net) -> None:
    recorder = Recorder()
    compiled = alternator.compile(net, backend=recorder)
    compiled.eval()
    torch.testing.assert_close(compiled.forward(X), net(X))
    assert recorder.frame_count == 1


def test_training_step(net: Net) -> None:
    twin = copy.deepcopy(net)
    compiled = alternator.compile(net, backend="aot_eager")
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1) for module in (compiled, twin)]
    for _ in range(3):
        for module, optimizer in zip((compiled, twin), optimizers):
            optimizer.zero_grad()
            module(X).square().sum().backward()
            optimizer.step()
    for one, other in zip(net.state_dict().values(), twin.state_dict().values()):
        torch.testing.assert_close(one, other)


def test_lazy_module() -> None:
    module = torch.nn.Sequential(torch.nn.LazyLinear(4), torch.nn.ReLU())
    assert alternator.compile(module, backend="eager")(X).shape == (5, 4)
    recorder = Recorder()
    lazy = alternator.compile(torch.nn.LazyLinear(4), backend=recorder)
    assert lazy(X).shape == (5, 4) and lazy(X).shape == (5, 4)  # the first call makes the parameters
    assert recorder.frame_count == 1


def test_is_freed() -> None:
    net = Net()
    compiled = alternator.compile(net, backend="eager")
    compiled(X)
    references = [weakref.ref(net), weakref.ref(net.first.weight), weakref.ref(compiled)]
    del net, compiled
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_disabled_module(net: Net) -> None:
    recorder = Recorder()
    disabled = alternator.disable(net)

    @alternator.compile(backend=recorder)
    def use(x: torch.Tensor) -> torch.Tensor:
        return disabled(x + 1) * 2

    torch.testing.assert_close(use(X), net(X + 1) * 2)
    assert recorder.frame_count == 2


class Offset(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor, scale: float = 2.0, *rest: Any, **more: Any) -> torch.Tensor:
        return self.lin(x) * scale + len(rest) + len(more)


BETWEEN: dict[str, Any] = {
    "forward hook": lambda m: m.register_forward_hook(lambda mod, args, out: out + 100),
    "forward pre-hook": lambda m: m.register_forward_pre_hook(lambda mod, args: (args[0] + 1, *args[1:])),
    "backward hook": lambda m: m.register_full_backward_hook(lambda mod, gin, gout: None),
    "global hook": lambda m: torch.nn.modules.module.register_module_forward_hook(
        lambda mod, args, out: out + 100 if mod is m else out
    ),
    "forward of the instance": lambda m: setattr(m, "forward", lambda x, *args, **kwargs: x - 5),
    "forward of the class": lambda m: setattr(type(m), "forward", lambda self, x, *args, **kwargs: x - 5),
    "_call_impl": lambda m: setattr(type(m), "_call_impl", lambda self, x, *args, **kwargs: x - 6),
    "_compiled_call_impl": lambda m: setattr(m, "_compiled_call_impl", lambda x, *args, **kwargs: x - 7),
    "__call__": lambda m: setattr(type(m), "__call__", lambda self, x, *args, **kwargs: x - 8),
    "another class": lambda m: setattr(
        m, "__class__", type("Other", (type(m),), {"forward": lambda self, x, *args, **kwargs: x - 9})
    ),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_what_comes_between_the_call_and_forward(between: str) -> None:
    cls = type("Mine", (Offset,), {"forward": Offset.forward})
    mod = cls()
    compiled = alternator.compile(mod, backend="eager")
    x = torch.randn(2, 3)

    def check() -> None:
        for _ in range(5):
            torch.testing.assert_close(compiled(x), mod(x))
            torch.testing.assert_close(compiled(x, scale=3.0), mod(x, scale=3.0))
            torch.testing.assert_close(compiled(x, 3.0, 1, k=1), mod(x, 3.0, 1, k=1))

    check()
    handle = BETWEEN[between](mod)
    try:
        check()
    finally:
        if handle is not None:
            handle.remove()
    check()


def test_another_call_on_the_class(net: Net, compiled: Any) -> None:
    class Louder(OptimizedModule):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs) + 1

    x = torch.randn(2, 3)
    net.eval()
    louder = Louder(net, compiled.dynamo_ctx)
    for _ in range(3):
        torch.testing.assert_close(louder(x), net(x) + 1)
        torch.testing.assert_close(louder(x, shift=2.0), net(x, shift=2.0) + 1)
        torch.testing.assert_close(compiled(x), net(x))
    OptimizedModule.__call__ = lambda self, x: x - 1  # type: ignore[method-assign]
    try:
        torch.testing.assert_close(compiled(x), x - 1)
    finally:
        del OptimizedModule.__call__
    torch.testing.assert_close(compiled(x), net(x))
