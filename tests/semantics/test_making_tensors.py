"""Tensors made by calling their type, and of nested lists that hold tensors."""

import numpy
import torch
from helpers import same


def test_a_type_is_called() -> None:
    def f(x, n):
        made = (
            torch.LongTensor([1, n]),
            torch.Tensor([[1, 2.5]]),
            torch.FloatTensor((3, 4)),
            torch.Tensor(),
            torch.DoubleTensor([n]),
        )
        empty = torch.Tensor(2, n).shape, torch.IntTensor(x.shape).dtype
        alias = torch.Tensor(x)
        alias.add_(1)
        return made, empty, alias, x

    same(f, torch.ones(2, 2), 3, fullgraph=True, graphs=1)
    same(lambda x: torch.LongTensor([1.5]) + x, torch.ones(1))
    same(lambda x: torch.LongTensor(x) + 1, torch.ones(1))
    same(lambda x: torch.Tensor(x), torch.ones(2, dtype=torch.int64))


def test_lists_that_hold_tensors() -> None:
    def f(x):
        y = torch.tensor([x[0, 0], 2, x[1, 1].int()])
        z = torch.tensor([[x[0, 0].double(), 1], [x[0, 1], True]])
        return (
            y,
            z,
            torch.tensor([x[0, 0].int(), 3]),
            torch.tensor([x[0, 0].bool()]),
            torch.tensor([x[1, 0]], dtype=torch.float16),
        )

    same(f, torch.tensor([[1.0, 0.0], [2.5, 3.0]]), fullgraph=True, graphs=1)
    same(lambda x: torch.tensor([x[0], 3.5], dtype=torch.int64), torch.ones(2))
    same(lambda x: torch.tensor([x.sum() * 2, 1.0]), torch.ones(2, requires_grad=True), fullgraph=True)


def test_arrays_of_arrays() -> None:
    def f(x, y):
        a = numpy.array([1, 2, 3])
        return numpy.array([x, y]), numpy.array((x * 2, y)), torch.LongTensor([a[0], a[2]])

    same(f, numpy.arange(3), numpy.arange(3) + 2, fullgraph=True, graphs=1)
    same(lambda x, y: numpy.array([x, y]), numpy.arange(3), numpy.arange(2.0).reshape(1, 2))


def test_rows_of_a_tensor() -> None:
    def f(x):
        first, second = x
        for row in x:
            row.add_(1)
        return torch.cat([*x]), first * 2, second, [r for r in x[0]]

    same(f, torch.arange(6.0).reshape(2, 3), fullgraph=True, graphs=1)
    report = same(lambda x: [row * 2 for row in x], torch.ones(2, 2, requires_grad=True), fullgraph=True, grad=True)
    assert "unbind" in report.ops
    report = same(lambda x: [row * 2 for row in x], torch.ones(2, 2), fullgraph=True)
    assert "unbind" not in report.ops
