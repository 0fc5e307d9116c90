"""Tensors made of numbers that vary, sizes above all: one version serves all, unless the program looks at what is in them."""

import pytest
import torch
from helpers import same

import alternator
from alternator import config

BATCHES = [(torch.randn(n, 3),) for n in (3, 4, 5, 6)]


MAKERS = {
    "number": lambda x: torch.tensor(x.shape[0]),
    "list": lambda x: torch.tensor([x.shape[0], x.shape[1], 7]),
    "shape": lambda x: torch.tensor(x.shape),
    "nested": lambda x: torch.tensor([[x.shape[0], 1], (2, x.numel())]),
    "dtype of another tensor": lambda x: torch.tensor([x.shape[0], 2], dtype=x.dtype, device=x.device),
    "division": lambda x: torch.tensor(x.shape[0] / 3),
    "ints and floats": lambda x: torch.tensor([x.shape[0], 1.5, True]),
    "as_tensor": lambda x: torch.as_tensor([x.shape[0]]),
    "new_tensor": lambda x: x.new_tensor([x.shape[0], 2]),
    "new_tensor with a dtype": lambda x: x.new_tensor(x.shape[0], dtype=torch.int32),
    "LongTensor": lambda x: torch.LongTensor([x.shape[0], 4]),
    "float64": lambda x: torch.tensor(x.shape[0] / 7, dtype=torch.float64),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_one_version_for_all_sizes(kind):
    make = MAKERS[kind]

    def f(x):
        return make(x), x.sum() + make(x)

    same(f, torch.randn(2, 3), then=BATCHES, fullgraph=True, recompiles=1)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_backends_take_them(backend):
    compiled = alternator.compile(
        lambda x: x.sum() * torch.tensor([x.shape[0], 2.5]), backend=backend, dynamic=True, fullgraph=True
    )
    for n in (2, 5, 9):
        assert torch.equal(compiled(torch.ones(n)), n * torch.tensor([n, 2.5]))


def test_arguments_that_vary():
    def f(x, n, v):
        return torch.tensor([n, 2]), x + torch.tensor(v), torch.tensor([[v], [1.0]], dtype=torch.float64)

    x = torch.ones(2)
    same(f, x, 3, 0.5, fullgraph=True, then=[(x, 4, 1.25), (x, 5, 0.1), (x, -6, 1e30)])


@config.patch(capture_scalar_outputs=True)
def test_numbers_that_only_the_graph_knows():
    def f(x):
        y = x.item()
        return torch.tensor([y]), torch.tensor([[y], [2]]), torch.tensor(y * 2), torch.as_tensor((y, 1.5))

    for first, second in ((3, 0), (2.5, -1.0)):
        same(f, torch.tensor(first), fullgraph=True, then=[(torch.tensor(second),)], recompiles=0)


def test_what_they_were_made_of_is_known():
    def f(x):
        t = torch.tensor([x.shape[0], 2])
        fixed = torch.tensor([[1, 2], [3, 4]])
        return x + torch.tensor(x.shape[0]).item(), x * t.tolist()[0], fixed.tolist(), torch.tensor(5).item(), t

    same(f, torch.randn(2, 3), then=BATCHES, fullgraph=True, recompiles=1)


def test_what_is_written_into_them_is_not():
    def f(x):
        t = torch.tensor([x.shape[0], 2])
        t[0] = 9
        t.add_(1)
        return t.tolist(), torch.tensor([1.9, 2.9], dtype=torch.int64).tolist(), torch.tensor([True, 2]).tolist()

    same(f, torch.randn(2, 3), then=BATCHES)


def test_a_program_that_looks_at_them_has_constants():
    def branch(x):
        return x + 1 if torch.tensor([x.shape[0]]).max() > 3 else x - 1

    def arange(x):
        return torch.arange(torch.tensor(x.shape[0])) + x.sum()

    for f in (branch, arange):
        for given in BATCHES:
            alternator.reset()
            compiled = alternator.compile(f, backend="eager", dynamic=True, fullgraph=f is arange)
            torch.testing.assert_close(compiled(*given), f(*given))
        same(f, torch.randn(2, 3), then=BATCHES)


def test_a_break_that_has_nothing_to_do_with_them_leaves_them_symbolic():
    def f(x):
        t = torch.tensor([x.shape[0], 2])
        y = x.abs().sum().item()
        return x + t[0], y

    same(f, torch.randn(2, 3), then=BATCHES, recompiles=2)
