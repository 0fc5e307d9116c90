"""nn.Module: lazy modules, hooks."""

import copy

import pytest
import torch
from torch.nn.modules.lazy import LazyModuleMixin

import alternator


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.LazyLinear(4), torch.nn.LazyLinear(2)

    def forward(self, x):
        return self.second(self.first(x * 2).relu()) + torch.rand(2)


@pytest.mark.parametrize("make", [Net, lambda: torch.nn.LazyLinear(3), lambda: torch.nn.Sequential(torch.nn.LazyBatchNorm1d())])
def test_lazy_modules_are_initialised_by_their_first_call(make):
    graphs = []
    runs = []
    for compiled in (False, True):
        torch.manual_seed(0)
        net = make()
        call = alternator.compile(net, backend=lambda gm, _: graphs.append(gm) or gm, fullgraph=True) if compiled else net
        runs.append([call(torch.ones(5, 3)), call(torch.ones(5, 3)), torch.rand(1), *net.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True)) and len(graphs) == 1


class FromValues(LazyModuleMixin, torch.nn.Linear):
    cls_to_become = torch.nn.Linear

    def __init__(self):
        super().__init__(1, 1)
        self.weight = torch.nn.UninitializedParameter()

    def initialize_parameters(self, x):
        if self.has_uninitialized_params():
            self.weight.materialize((1, x.shape[-1]))
            self.weight.data = x[:1].clone()


def test_parameters_made_from_values_break():
    x = torch.randn(2, 3)
    with pytest.raises(alternator.exc.Unsupported):
        outer = FromValues()
        alternator.compile(lambda x: outer(x), backend="eager", fullgraph=True)(x)
    net, wanted = FromValues(), FromValues()
    wanted.load_state_dict({"weight": torch.empty(1, 3), "bias": net.bias.detach()})
    wanted(x)
    wanted.weight.data = x[:1].clone()
    assert torch.equal(alternator.compile(lambda x: net(x), backend="eager")(x), wanted(x))


def test_modules_with_the_same_hooks_share_an_entry() -> None:
    graphs = []

    def counting(gm, inputs):
        graphs.append(gm)
        return gm

    def made(scale):
        layer = torch.nn.Linear(2, 2)
        layer.register_forward_pre_hook(lambda module, args: (args[0] + scale,))
        layer.register_forward_hook(lambda module, args, result: result * args[0].sum() * scale)
        return torch.nn.Sequential(layer)

    def check(net):
        for _ in range(2):
            assert torch.allclose(compiled(net), net(x))

    layers = [made(2) for _ in range(4)]
    x = torch.ones(2, 2)
    compiled = alternator.compile(lambda net: net(x), backend=counting, fullgraph=True, dynamic=False)
    for layer in layers:
        check(layer)
    assert len(graphs) == 1
    check(made(3))
    handle = layers[0][0].register_forward_hook(lambda module, args, result: result + 1)
    check(layers[0])
    handle.remove()
    layers[1][0].register_forward_hook(lambda module, args, kwargs, result: result - 1, with_kwargs=True)
    layers[2][0].register_forward_pre_hook(lambda module, args: None, prepend=True)
    for layer in layers:
        check(layer)


class Noting(torch.nn.Module):
    """With a hook that breaks, and one that is registered inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)
        self.seen: list[int] = []
        self.inner.register_forward_hook(self.note)

    def note(self, module, args, result):
        self.seen.append(len(args))
        alternator.graph_break()
        return result * 2

    def forward(self, x):
        y = self.inner(x)
        handle = self.inner.register_forward_pre_hook(lambda module, args: (args[0] * 3,))
        z = self.inner(x)
        handle.remove()
        return y + z + self.inner(x), len(self.seen)


def test_hooks_that_break_or_are_registered_inside() -> None:
    plain = Noting()
    captured = copy.deepcopy(plain)
    compiled = alternator.compile(captured, backend="eager")
    for _ in range(3):
        one, other = plain(torch.ones(2, 2)), compiled(torch.ones(2, 2))
        assert torch.allclose(one[0], other[0]) and one[1] == other[1]


def test_a_hook_that_forward_registers_runs_in_the_same_call() -> None:
    class Late(torch.nn.Module):
        def forward(self, x):
            if not self.done:
                self.done = True
                self.register_forward_hook(lambda module, args, result: result * 5)
            return x + 1

    def net():
        late = Late()
        late.done = False
        late.register_forward_hook(lambda module, args, result: result - 1)
        return torch.nn.Sequential(late)

    plain, captured = net(), net()
    compiled = alternator.compile(captured, backend="eager")
    for _ in range(2):
        assert compiled(torch.ones(2)).tolist() == plain(torch.ones(2)).tolist()


INSTEAD = {
    "_call_impl of the class": lambda m: setattr(type(m), "_call_impl", lambda self, x: torch.nn.Module._call_impl(self, x) * 5),
    "_call_impl": lambda m: setattr(m, "_call_impl", lambda x: x - 6),
    "_compiled_call_impl": lambda m: setattr(m, "_compiled_call_impl", lambda x: x - 7),
    "_compiled_call_impl of the class": lambda m: setattr(type(m), "_compiled_call_impl", lambda self, x: self.forward(x) - 8),
    "__call__": lambda m: setattr(type(m), "__call__", lambda self, x: torch.nn.Module.__call__(self, x) - 9),
}


@pytest.mark.parametrize("how", INSTEAD)
@pytest.mark.parametrize("hooked", (False, True))
def test_what_stands_in_for_the_call_of_a_module_is_called(how: str, hooked: bool) -> None:
    mod = type("Mine", (torch.nn.Module,), {"forward": lambda self, x: x + 1})()
    if hooked:
        mod.register_forward_hook(lambda module, args, result: result * 2)
    compiled = alternator.compile(lambda x: mod(x) * 3, backend="eager", fullgraph=True)
    x = torch.ones(2)
    assert torch.equal(compiled(x), mod(x) * 3)
    INSTEAD[how](mod)
    for _ in range(2):
        assert torch.equal(compiled(x), mod(x) * 3)
    assert torch.equal(alternator.compile(lambda x: mod(x) * 3, backend="eager", fullgraph=True)(x), mod(x) * 3)
