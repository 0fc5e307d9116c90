"""Torch function modes that captured code enters."""

import torch
from helpers import same
from torch.overrides import TorchFunctionMode

import alternator


class Doubling(TorchFunctionMode):
    """Additions count twice."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result * 2 if func in (torch.add, torch.Tensor.add) else result


class Listing(TorchFunctionMode):
    """Lists what it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append((func.__name__, len(types), len(args)))
        return func(*args, **(kwargs or {}))


class First(TorchFunctionMode):
    """Reads at the first index only."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__getitem__:
            return torch.select(args[0], 0, 0)
        return func(*args, **(kwargs or {}))


def test_a_mode_sees_every_operation() -> None:
    def f(x):
        with Listing() as mode:
            y = x + 1
            y = torch.sin(y).relu() - x.shape[0]
            y = torch.nn.functional.gelu(y)
            y[0] = 1
            y = -y[1:] @ torch.ones(2) + torch.zeros(1, dtype=y.dtype)
            y += 2
            z = x.sum(dim=0).size()
        return y + 1, mode.seen, z

    same(f, torch.arange(3.0), fullgraph=True, graphs=1)


def test_a_mode_changes_operations() -> None:
    def f(x):
        with Doubling():
            y = x + 1
            y = y.add(1)
        return y + 1

    same(f, torch.ones(3), fullgraph=True, graphs=1)

    def g(x):
        with First(), Doubling():
            return x[2] + x

    same(g, torch.arange(3.0), fullgraph=True, graphs=1)


def test_modes_nest_and_see_what_others_do() -> None:
    def f(x):
        with Listing() as outer:
            with Doubling():
                with Listing() as inner:
                    y = x + 1
        return y, outer.seen, inner.seen

    same(f, torch.ones(3), fullgraph=True, graphs=1)


def test_a_mode_from_outside_is_entered() -> None:
    def f(mode, x):
        with mode:
            y = torch.add(x, 1)
        return y * 2

    same(f, Listing(), torch.ones(3))


def test_an_exception_leaves_the_mode() -> None:
    def f(x):
        try:
            with Doubling():
                raise ValueError(x.shape[0])
        except ValueError as error:
            return x + 1, error.args

    same(f, torch.ones(3), fullgraph=True, graphs=1)


def test_a_device_as_context() -> None:
    def f(x):
        with torch.device("meta"):
            y = torch.ones(3) + torch.zeros_like(x).to("meta")
        return y.device.type, y.shape, torch.ones(2) + x.sum(), torch.empty(1).device

    same(f, torch.ones(3), fullgraph=True, graphs=1)


def test_what_cannot_be_seen_through_a_mode_is_as_in_plain_python() -> None:
    def f(x):
        with Doubling():
            n = len(x)
            rows = [row + 1 for row in x]
            big = 1 if x.sum() > 0 else 2
            print(x.sum())
        return rows, n, big

    same(f, torch.ones(2, 2))


def test_what_torch_switches_while_it_prints_is_switched_back() -> None:
    def f(x):
        with Doubling():
            print(x.sum())
        return x + 1

    def g(x):
        return torch.func.grad(lambda a: a.sin().sum())(x)

    compiled = alternator.compile(f, backend="eager")
    before = torch._C._dispatch_tls_local_exclude_set()
    for _ in range(3):
        compiled(torch.ones(2))
        assert torch._C._dispatch_tls_local_exclude_set() == before
    same(g, torch.ones(2))
