"""Functions that are not traced, where that is not all."""

import gc

import torch
from helpers import same


class Own:
    def __eq__(self, other):
        return len("") > 1


def test_who_counts_objects_counts_none_of_ours():
    def fn(x):
        y = x + 1
        one = Own()
        before = len(gc.get_objects())
        for _ in range(10):
            one == one
        return y * 2, len(gc.get_objects()) - before

    gc.collect()
    gc.disable()  # what is no longer needed is not to be taken away meanwhile
    try:
        same(fn, torch.ones(2), breaks=["UNKNOWN_C_FUNCTION"])
    finally:
        gc.enable()
