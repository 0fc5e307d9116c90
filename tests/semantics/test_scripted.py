"""Functions of torch.jit that captured code calls."""

import torch
from helpers import same

import alternator


@torch.jit.script
def gelu(x, scale: float = 1.0):
    if torch.jit.is_scripting():
        x = x + 1
    return x * torch.sigmoid(1.702 * x) * scale


@torch.jit.script
def rows(x, n: int):
    y = x.clone()
    for i in range(n):
        y[i].add_(i)
    return y, x.shape[0], [x, y]


@torch.jit.script
def decides(x):
    if bool(x.sum() > 0):
        return x + 1
    return x - 1


@torch.jit.script
def speaks(x):
    print("from TorchScript")
    return x + 1


@torch.jit.script
def writes(x):
    return x.add_(1)


def test_a_scripted_function_is_a_node_and_does_what_torchscript_does():
    def fn(x):
        return gelu(x * 2) + gelu(x, scale=2.0)

    x = torch.randn(2, 3, requires_grad=True)
    report = same(fn, x, then=[(torch.randn(4, 3, requires_grad=True),)], graphs=1, fullgraph=True, grad=True)
    assert [op.__name__ for op in report.ops[:3]] == ["mul", "gelu", "gelu"]


def test_its_results_are_the_programs():
    def fn(x):
        y, n, (a, b) = rows(x, 2)
        return y * n, a + b

    same(fn, torch.randn(2, 3), then=[(torch.randn(4, 3),)], fullgraph=True)


def test_a_traced_function():
    traced = torch.jit.trace(lambda x: x * 2, (torch.ones(3),))
    same(lambda x: traced(x) + 1, torch.randn(3), graphs=1, fullgraph=True)


def test_it_may_write_to_its_arguments():
    def fn(x):
        y = x * 2
        writes(y)
        writes(x)
        return y

    same(fn, torch.randn(3), graphs=1, fullgraph=True)


def test_what_data_decides_in_it_is_a_break():
    def fn(x):
        return decides(x * 2) * 2

    same(fn, torch.ones(3), then=[(-torch.ones(3),)], breaks=["NO_FAKE_RULE"])


def test_one_that_prints_is_not_run_while_tracing():
    def fn(x):
        return speaks(x) * 2

    report = same(fn, torch.ones(3), breaks=["JIT"])
    assert report.outcomes[0].stdout == "from TorchScript\n"


@torch.jit.script
def doubles(x):
    return x * 2


@torch.jit.script
def triples(x):
    return x * 3


class Holder:
    fn = doubles


FN = doubles


def test_which_function_it_is_is_guarded():
    global FN

    def fn(x):
        return FN(x) + 1, Holder.fn(x)

    compiled = alternator.compile(fn, backend="eager")
    x = torch.ones(2)
    try:
        for FN in (doubles, triples, doubles):
            Holder.fn = FN
            assert repr(compiled(x)) == repr(fn(x))
    finally:
        FN = Holder.fn = doubles
