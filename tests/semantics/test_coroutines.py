"""Coroutines that captured code makes."""

import sys

import torch

import alternator


async def coroutine():
    return 1


def makes():
    return coroutine()


def asks():
    return makes()


def fn(x):
    y = x + 1
    made = asks()
    return y * 2, made


def test_where_a_coroutine_was_made_is_noted_with_all_frames():
    compiled = alternator.compile(fn, backend="eager")
    before = sys.get_coroutine_origin_tracking_depth()

    def origin(run, depth):
        sys.set_coroutine_origin_tracking_depth(depth)
        try:
            made = run(torch.ones(2))[1]
        finally:
            sys.set_coroutine_origin_tracking_depth(before)
        names = [entry[::2] for entry in made.cr_origin or ()]
        made.close()
        return names

    for depth in (0, 2, 0, 3, 1, 0):
        assert origin(compiled, depth) == origin(fn, depth)
