"""Functions that are not traced, where that is not all."""

import gc
import os
import socket
import subprocess
import sys

import pytest
import torch
from helpers import same

import alternator
from alternator import config
from alternator.semantics import refused

SENDS, RECEIVES = socket.socketpair()


class Own:
    def __eq__(self, other):
        return len("") > 1


def alone(*words):
    """In a process of its own: what other tests have left behind decides on which objects CPython makes and which it uses again."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, __file__, *words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_who_counts_objects_counts_none_of_ours():
    alone("count_objects")


def reads_a_file(x):
    y = x + 1
    with open(__file__) as file:
        first = file.read(3)
    return y * 2, first


def asks_the_system(x):
    y = x + 1
    return y * 2, os.path.exists(__file__), os.stat(__file__).st_size


def writes_to_a_socket(x):
    y = x + 1
    SENDS.send(b"hello")
    return y * 2, RECEIVES.recv(5)


@pytest.mark.parametrize("fn", [reads_a_file, asks_the_system, writes_to_a_socket])
def test_files_and_the_like_are_input_or_output(fn):
    same(fn, torch.ones(2))
    report = alternator.explain(fn)(torch.ones(2))
    assert {reason.code for reason in report.break_reasons} - {"LIFETIME"} == {"IO"}


def count_objects():
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


@pytest.mark.parametrize("data", [b"some bytes", "a text", (1, 2), 12345], ids=lambda data: type(data).__name__)
def test_who_counts_references_counts_none_of_ours(data):
    def fn(x, data):
        y, before = x + 1, sys.getrefcount(data)
        held = [(lambda: data)() for _ in range(3)]
        alternator.graph_break()
        again = [item is data for item in held]
        held = None
        return y * 2, again, sys.getrefcount(data) - before

    compiled = alternator.compile(fn, backend="eager")
    for _ in range(3):
        assert repr(compiled(torch.ones(2), data)) == repr(fn(torch.ones(2), data))


def helper(n):
    return [n, n + 1]


def counts_in_many_pieces():
    one = Own()
    for n in range(20):
        print(object(), end="\n"[:0])  # a break
    before = len(gc.get_objects())
    for n in range(10):
        one == one
        helper(n)
    return len(gc.get_objects()) - before


def counts_behind_what_is_not_captured():
    import gc as collector

    before = len(collector.get_objects())
    made = [work(torch.ones(2)) for _ in range(3)]
    return len(collector.get_objects()) - before - len(made)


def work(x):
    return x * 2


@pytest.mark.parametrize("fn", ["counts_in_many_pieces", "counts_behind_what_is_not_captured"])
@pytest.mark.parametrize("empty", ["", "empty"])
def test_what_is_called_by_who_counts_is_left_alone_where_that_runs_plainly(fn, empty):
    alone("count_left_alone", fn, empty)


def count_left_alone(fn, empty):
    fn = globals()[fn]
    gc.collect()
    gc.disable()
    try:
        plainly = [fn() for _ in range(3)]
        with config.patch(allow_empty_graphs=bool(empty)):
            compiled = alternator.compile(fn, backend="eager")
            assert [compiled() for _ in range(3)] == plainly
    finally:
        gc.enable()


def test_names_alone_do_not_count():
    class Store:
        def get_objects(self):
            return [1, 2]

    def fn(x, store):
        return helper_of(x) + len(store.get_objects())

    def helper_of(x):
        return x + 1

    assert not refused.counts_objects(fn.__code__, globals())
    assert refused.counts_objects(counts_in_many_pieces.__code__, globals())
    same(fn, torch.ones(2), Store(), fullgraph=True)


def test_a_quantized_result_whose_fake_is_none_is_not_captured():
    def fn(x):
        y = torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)
        return y.dequantize(), y.dtype, y.is_quantized

    report = same(fn, torch.randn(3))
    assert report.breaks[0].code == "SPARSE"


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
