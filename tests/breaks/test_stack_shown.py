"""What the program sees of its own stack around a break: its own frames, by their names and lines, and none of ours."""

from __future__ import annotations

import inspect
import sys
import traceback
from typing import Any

import pytest
import torch

import alternator
from alternator._C.eval_frame import hide_code, unsupported
from tests.helpers import same


def stack() -> list[tuple[str, str, int]]:
    """Name, file and line of each frame above, outermost last."""
    rows = []
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "_run":
        rows.append((frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return rows


def leaf(x: Any) -> Any:
    return x + 1, stack()


def middle(x: Any) -> Any:
    y = x * 2
    found = leaf(y)
    return found, y - 1


def root(x: Any) -> Any:
    return middle(x + 3)


def test_who_looks_at_the_stack_finds_the_frames_of_the_program() -> None:
    same(root, torch.ones(2))


def test_behind_a_break_the_callers_are_on_the_stack() -> None:
    def deepest(x: Any) -> Any:
        unsupported()
        return x + 1, [row[0] for row in stack()]

    def above(x: Any) -> Any:
        return deepest(x * 2)

    def top(x: Any) -> Any:
        try:
            return above(x)
        finally:
            x.add_(1)

    same(top, torch.ones(2))


def failing(x: Any) -> Any:
    unsupported()
    if x.sum() > 0:
        raise ValueError("positive")
    return x


def caller(x: Any) -> Any:
    y = x + 1
    return failing(y)


def rows_of(error: BaseException) -> list[tuple[str, int | None]]:
    return [(row.name, row.lineno) for row in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("handled", [True, False])
def test_tracebacks_show_the_frames_of_the_program(handled: bool) -> None:
    def inside(x: Any) -> Any:
        try:
            return caller(x)
        except ValueError as error:
            return rows_of(error)

    def outside(x: Any) -> Any:
        return caller(x)

    if handled:
        same(inside, torch.ones(2))
        return
    seen = []
    for fn in (outside, alternator.compile(outside, backend="eager")):
        with pytest.raises(ValueError, match="positive") as raised:
            fn(torch.ones(2))
        seen.append(rows_of(raised.value)[1:])
    assert seen[0] == seen[1]


def test_names_of_callers_for_library_code() -> None:
    """``inspect.stack`` and the like walk the frames themselves."""

    def who() -> str:
        return inspect.stack()[1].function

    def asks(x: Any) -> Any:
        return x + 1, who()

    same(asks, torch.ones(2))


def test_hidden_code_leaves_stack_and_traceback_alone() -> None:
    def hidden(fn: Any) -> Any:
        return fn()

    def fails() -> Any:
        raise KeyError(1)

    hide_code(hidden.__code__)
    names = hidden(lambda: [row[0] for row in stack()])
    assert not any("hidden.<locals>" in name or name.endswith(".hidden") for name in names)
    with pytest.raises(KeyError) as raised:
        hidden(fails)
    assert [name for name, _ in rows_of(raised.value)][1:] == ["fails"]


def test_lines_and_globals_of_the_frames_of_a_traceback() -> None:
    """A frame that was captured never ran: it shows where it would be, and its globals."""

    def fails(x: Any) -> Any:
        try:
            raise KeyError(x)
        finally:
            x += 1

    def handles(x: Any) -> Any:
        try:
            fails(x)
        except KeyError as error:
            return error

    def shown(fn: Any) -> Any:
        rows = []
        trace = fn(1).__traceback__.tb_next
        while trace is not None:
            frame = trace.tb_frame
            rows.append((trace.tb_lineno, frame.f_lineno, frame.f_lasti, frame.f_code.co_name, frame.f_globals is globals()))
            trace = trace.tb_next
        return rows

    plain = shown(handles)
    compiled = alternator.compile(handles, backend="eager")
    with alternator.config.patch(allow_empty_graphs=True):
        assert [row[:2] + row[3:] for row in shown(compiled)] == [row[:2] + row[3:] for row in plain]


def test_equal_strings_stay_two_across_a_break() -> None:
    def f(x: Any) -> Any:
        a = b = "xyzpdq"
        c = a[:3] + b[3:]
        d, e = "two words", b"bytes"
        fresh = " ".join(["two", "words"])
        unsupported()
        return x + 1, a is b, a is c, d is fresh, e

    same(f, torch.ones(2))
