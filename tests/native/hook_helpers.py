"""Entries and callbacks for the tests of the frame hook."""

import pytest

from alternator._C import eval_frame
from alternator._C.eval_frame import (
    _CacheEntry,
    set_eval_frame,
)
from alternator._C.guards import GuardTree


@pytest.fixture(autouse=True)
def no_callback():
    assert eval_frame.get_eval_frame() is None
    yield
    left = eval_frame.get_eval_frame()
    set_eval_frame(None)
    assert left is None


def running(callback, fn, *args, **kwargs):
    old = set_eval_frame(callback)
    try:
        return fn(*args, **kwargs)
    finally:
        set_eval_frame(old)


def own(*functions):
    """Only frames of these functions matter; the harness calls functions of its own."""
    return {f.__code__ for f in functions}


def entry_for(func, values, guards, fn, loads, **kwargs):
    return _CacheEntry(func.__code__, GuardTree(guards, [], func, values), fn, loads, **kwargs)


def local(index, *guards):
    return (-1, "local", index, guards)
