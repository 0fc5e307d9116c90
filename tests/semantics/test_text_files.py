"""Output that the program sends somewhere else: files in memory, and another ``sys.stdout``."""

from __future__ import annotations

import contextlib
import io
import sys

import torch
from helpers import same

X = torch.arange(4.0)


def test_print_to_a_file_in_memory() -> None:
    def f(x):
        out = io.StringIO("start")
        print("one", 2, file=out)
        print("a", "b", sep="-", end="!", file=out)
        return x + 1, out.getvalue(), out.tell(), out.read()

    same(f, X, graphs=1, breaks=0)


def test_the_file_goes_on_outside() -> None:
    def f(x):
        out = io.StringIO()
        out.write("abcdef")
        out.seek(2)
        return x + 1, out

    def g(x):
        y, out = f(x)
        out.write("X")
        return y, out.getvalue(), out.read()

    from alternator import compile

    compiled = compile(f, backend="eager")
    for _ in range(2):
        y, out = compiled(X)
        assert (out.tell(), out.read(2)) == (2, "cd")
        assert torch.equal(y, X + 1)
    same(g, X, graphs=1, breaks=0)


def test_print_while_stdout_is_another_one() -> None:
    class Loud:
        def __init__(self):
            self.calls = []

        def write(self, text):
            self.calls.append(text.upper())

    def f(x, loud):
        print("before")
        with contextlib.redirect_stdout(loud):
            print("a", "b")
        print("after")
        keep, sys.stdout = sys.stdout, loud
        print("c", end="")
        sys.stdout = keep
        return x + 1, loud.calls

    same(f, X, Loud())


def test_a_tensor_is_printed_to_a_file() -> None:
    def f(x):
        out = io.StringIO()
        print(x + 1, file=out)
        out.write(f"{x}")
        return x * 2, out.getvalue()

    same(f, X)
