"""nn.Module: lazy modules."""

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
