"""Operations on fakes: what they raise, and what they say of a tensor."""

import pytest
import torch
from helpers import same
from torch.library import custom_op

import alternator


@custom_op("alternator_tests::without_a_fake", mutates_args=())
def without_a_fake(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_what_only_a_fake_raises_is_a_break_that_is_counted():
    def fn(x):
        y = without_a_fake(x + 1)
        return y - 1

    report = same(fn, torch.randn(3), breaks=["NO_FAKE_RULE"], graphs=2)
    assert "without_a_fake" in report.breaks[0].reason


def test_what_eager_raises_too_is_the_programs():
    def fn(x):
        return (x + 1) @ torch.ones(7, 2)

    same(fn, torch.randn(3, 3), breaks=0)


def test_bytes_of_a_tensor_whose_size_varies():
    def fn(x):
        return x * 2, x.nbytes, x[1:].nbytes, x.double().nbytes

    same(fn, torch.randn(3, 4), then=[(torch.randn(5, 4),), (torch.randn(6, 4),)], recompiles=1, fullgraph=True)


WEIGHT = torch.ones(3, 3, requires_grad=True)


@pytest.mark.parametrize("rows", [lambda x: [row for row in x], list, lambda x: (*x,)])
def test_rows_of_what_gets_a_history_are_those_of_one_operation(rows):
    """Autograd lets nobody look at them any more; at views of single rows it does."""

    def fn(x):
        made = rows(x)
        x.copy_(WEIGHT * 2)
        return made

    for one in (fn, alternator.compile(fn, backend="eager", fullgraph=True)):
        for row in one(torch.ones(3, 3)):
            with pytest.raises(RuntimeError, match="multiple views"):
                row.grad_fn  # noqa: B018
