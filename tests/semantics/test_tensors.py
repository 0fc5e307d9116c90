"""What may be done with tensors, and which tensors there are."""

import torch
from helpers import same

import alternator


def test_a_view_that_was_given_data_of_another_type():
    def fn(x, y):
        x.data = y
        return x + 1, x.dtype

    def view(x, y):
        return x + y

    same(fn, torch.arange(4).view(2, 2), torch.ones(2, 2))
    other = torch.arange(4).view(2, 2)
    other.data = torch.ones(2, 2)
    assert torch.equal(alternator.compile(view, backend="eager")(other, torch.ones(2, 2)), torch.full((2, 2), 2.0))
