"""Output that the program sends somewhere else: files in memory, and another ``sys.stdout``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time

import pytest
import torch
from helpers import assert_same, same

import alternator

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


def written(value):
    """What a file in memory holds, and where it is."""
    return value if value.closed else (value.getvalue(), value.tell())


def same_file(fn, make=io.StringIO, **expected) -> None:
    """``same`` for a function of a tensor and a file from outside; the file is compared, too."""
    same(fn, X, make(), **expected)
    compiled, files = alternator.compile(fn, backend="eager"), [make(), make()]
    for _ in range(3):
        assert_same(fn(X.clone(), files[0]), compiled(X.clone(), files[1]))
        assert written(files[0]) == written(files[1])


def test_what_is_written_to_a_file_from_outside_comes_in_order() -> None:
    def f(x, file):
        count = file.write("one\n")
        x = x + count
        print("two", x, file=file)
        file.writelines(["three\n", f"{x.shape[0]}\n"])
        file.write(f"four {x}\n")
        file.flush()
        return x * 2

    same_file(f, fullgraph=True, graphs=1)


def test_bytes_are_written_to_a_file_from_outside() -> None:
    def f(x, file):
        return x + file.write(b"ab") + file.write(b"c")

    same_file(f, io.BytesIO, fullgraph=True, graphs=1)


def test_a_tensor_as_it_was_is_written() -> None:
    def f(x, file):
        file.write(f"{x}")
        x.add_(1)
        file.write(f"{x}")
        return x

    same_file(f, fullgraph=True, graphs=1)


def test_the_length_of_a_text_that_nobody_knows_yet_is_looked_at() -> None:
    def f(x, file):
        return x + file.write(f"{x + 1}")

    same_file(f, breaks=["DATA_DEPENDENT_VALUE"])


def test_reading_a_file_behind_writes() -> None:
    def f(x, file):
        file.write("abc")
        y = x + len(file.getvalue())
        file.seek(1)
        file.write("z")
        return y, file.read(), file.tell()

    same_file(f)
    same_file(f, lambda: io.StringIO("long enough to be read"))


class Loud(io.StringIO):
    def write(self, text):
        return super().write(text.upper())


def test_a_file_of_a_class_of_the_programs() -> None:
    def f(x, file):
        print("a", file=file)
        file.writelines(["b", "c"])
        return x + file.write("d")

    same_file(f, Loud, fullgraph=True, graphs=1)


@pytest.mark.parametrize("kind", [io.StringIO, io.BytesIO])
def test_a_file_that_is_closed_in_a_later_call(kind) -> None:
    def f(x, file):
        text = "a" if isinstance(file, io.StringIO) else b"a"
        try:
            if isinstance(file, io.StringIO):
                print("b", file=file)
            file.write(text)
        except ValueError as error:
            return x + 2, str(error), file.closed
        return x + 1, file.closed

    compiled = alternator.compile(f, backend="eager")
    open_file, closed = kind(), kind()
    closed.close()
    for file in (open_file, closed, open_file):
        assert_same(f(X, file), compiled(X, file))
    assert_same(f(X, closed), alternator.compile(f, backend="eager")(X, closed))


def test_what_a_file_does_not_take_is_refused_at_its_place() -> None:
    def f(x, file, text):
        try:
            file.write(text)
        except TypeError as error:
            file.write("refused")
            return x + 1, str(error)
        return x

    for text in (3, None, b"bytes", [1]):
        same(f, X, io.StringIO(), text)


def test_a_text_that_the_encoding_of_a_file_does_not_have() -> None:
    def f(x, file, text):
        try:
            file.write(text)
        except UnicodeEncodeError:
            return x + 1
        return x + 2

    for text in ("plain", "\u00e9", "\udc80"):
        for encoding in ("ascii", "utf-8"):
            files = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
            compiled = alternator.compile(f, backend="eager")
            for _ in range(2):
                assert_same(f(X, files[0], text), compiled(X, files[1], text))
            for file in files:
                file.flush()
            assert files[0].buffer.getvalue() == files[1].buffer.getvalue()


class Raw(io.RawIOBase):
    """Runs code of the program's where it is written to."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.seen.append(len(data))
        return len(data)


def test_a_file_that_stands_on_one_of_the_programs() -> None:
    def f(x, file, raw):
        file.write("abc")
        file.flush()
        return x + len(raw.seen)

    files = [io.TextIOWrapper(io.BufferedWriter(raw)) for raw in (Raw(), Raw())]
    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        assert_same(f(X, files[0], files[0].buffer.raw), compiled(X, files[1], files[1].buffer.raw))


def test_files_that_are_no_text_files() -> None:
    def f(x, raw):
        raw.flush()
        raw.write(b"abc")
        raw.flush()
        return x + 1

    for make in (Raw, lambda: open(os.devnull, "wb", buffering=0)):
        plain, captured = make(), make()
        compiled = alternator.compile(f, backend="eager")
        for _ in range(2):
            assert_same(f(X, plain), compiled(X, captured))
        assert getattr(plain, "seen", None) == getattr(captured, "seen", None)
        plain.close(), captured.close()


def test_a_file_that_the_program_makes_in_with() -> None:
    def f(x):
        with io.StringIO() as file, io.BytesIO() as other:
            file.writelines(["a\n", "b\n"])
            other.write(b"xy")
            file.seek(0)
            lines = [line for line in file]
        try:
            file.write("late")
        except ValueError as error:
            message = str(error)
        return x + len(lines), lines, message, file.closed, other.closed, file

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for _ in range(2):
        y, *rest, file = compiled(X)
        assert torch.equal(y, X + 2) and file.closed
        assert_same(list(f(X)[1:-1]), rest)


def test_bytes_in_memory_leave() -> None:
    def f(x):
        file = io.BytesIO(b"abc")
        file.seek(1)
        return x + len(file.getvalue()), file

    for _ in range(2):
        file = alternator.compile(f, backend="eager", fullgraph=True)(X)[1]
        assert (file.read(), file.getvalue()) == (b"bc", b"abc")


class Bar:
    """A bar that shows how far a loop has come, as ``tqdm`` does it."""

    def __init__(self, items, file, least=0.0):
        self.items, self.file, self.least, self.count, self.shown_at = items, file, least, 0, time.time()

    def __iter__(self):
        try:
            for item in self.items:
                yield item
                self.count += 1
                now = time.time()
                if now - self.shown_at >= self.least:
                    self.shown_at = now
                    self.file.write(f"\r{self.count}/{len(self.items)}")
                    self.file.flush()
        finally:
            self.file.write("\n")


def test_a_bar_shows_how_far_a_loop_has_come() -> None:
    def f(x, items, file):
        for item in Bar(items, file):
            x = x + item
        return x

    compiled = alternator.compile(f, backend="eager")
    for count in (3, 20, 3):
        plain, captured = io.StringIO(), io.StringIO()
        items = [torch.full((4,), float(i)) for i in range(count)]
        assert_same(f(X, items, plain), compiled(X, items, captured))
        assert plain.getvalue() == captured.getvalue()


@pytest.mark.parametrize("wrapped", [False, True])
def test_bytes_in_memory_that_somebody_has_in_hand(wrapped) -> None:
    below = io.BytesIO(b"start")
    file = io.TextIOWrapper(below, write_through=True) if wrapped else below
    text = "text" if wrapped else b"text"

    def f(x):
        y = x + 1
        try:
            file.write(text)
        except BufferError:
            return y, "refused"
        return y

    compiled = alternator.compile(f, backend="eager")
    assert_same(f(X), compiled(X))
    assert_same(f(X), compiled(X))
    with below.getbuffer():
        assert_same((X + 1, "refused"), compiled(X))
        alternator.reset()
        assert_same((X + 1, "refused"), alternator.compile(f, backend="eager")(X))


def test_a_text_file_that_stands_on_one_to_be_read(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_text("")

    def f(x):
        y = x + 1
        try:
            file.write("text")
        except io.UnsupportedOperation as error:
            return y, str(error)
        return y

    with io.FileIO(path, "r") as below:
        file = io.TextIOWrapper(below, write_through=True)
        assert_same(f(X), alternator.compile(f, backend="eager")(X))
        file.detach()
