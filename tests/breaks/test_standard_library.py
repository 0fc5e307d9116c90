"""A break in the standard library is taken at the call into it, and the library does the rest plainly."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import queue
import threading
from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator import utils

X = torch.ones(3)


waiting: queue.Queue[Any] = queue.Queue()


def by_a_queue(x: Any) -> Any:
    waiting.put(x + 1)
    return waiting.get() * 2


def by_a_thread(x: Any) -> Any:
    done: list[Any] = []
    y = x + 1
    worker = threading.Thread(target=lambda: done.append(y))
    worker.start()
    worker.join()
    return done[0] * 2


def by_a_pool(x: Any) -> Any:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda y: y * 2, x + 1).result() + 1


def by_files_in_memory(x: Any) -> Any:
    y = x + 1
    return gzip.decompress(gzip.compress(b"abc")), y * 2


@pytest.mark.parametrize("fn", [by_a_queue, by_a_thread, by_a_pool, by_files_in_memory])
def test_one_call_is_one_break(fn: Any) -> None:
    """Each has at most five calls into the library; what is behind them would break dozens of times."""
    alternator.reset()
    seen: list[Any] = []
    with utils.listening_to_breaks(seen.append):
        recorder = Recorder()
        found, expected = alternator.compile(fn, backend=recorder)(X), fn(X)
    assert 1 <= len(seen) <= 5 and recorder.frame_count == 2
    assert repr(found) == repr(expected)


class Counted:
    """A manager of the program's own, with tensor work behind its break."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __enter__(self) -> "Counted":
        return self

    def __exit__(self, *error: Any) -> None:
        alternator.graph_break()
        self.x = self.x * 2


def behind_a_stack(x: Any) -> Any:
    one = Counted(x + 1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(one)
        y = x + 2
    return one.x * y


def test_what_the_library_calls_is_the_program_s() -> None:
    same(behind_a_stack, X, graphs=2, breaks=1)
