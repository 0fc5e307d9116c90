"""Every instruction of every function of the corpus: leave the frame there, continue, compare with the plain run."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from corpus import CASES, LOGS
from snapshot import frame_at

from alternator.bytecode import decode, make_continuation, make_step, new_function, stack_depth, step_start

MISSING = object()


def outcome(fn: Any, args: tuple[Any, ...], log: list[Any], file: str | None = None) -> Any:
    """(result or exception, log, last line of the function's file in the traceback)."""
    try:
        result = ("returns", simple(fn(*args)))
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        chain = type(error.__cause__), type(error.__context__)
        result = ("raises", type(error), str(error), chain, lines[-1:])
    return result, simple(log)


def simple(value: Any) -> str:
    """A text to compare by, without addresses."""
    import re

    return re.sub(r"0x[0-9a-f]+", "0x", repr(value))


def fresh(name: str) -> tuple[Any, tuple[Any, ...], list[Any]]:
    fn, args = CASES[name]()
    log = LOGS[id(fn)] if id(fn) in LOGS and name.startswith("super") else args[-1]
    return fn, args, log


def eligible(code: Any) -> list[int]:
    d = decode(code)
    return [
        i
        for i in range(d.body_start + 1, len(d.instrs))  # before RESUME a frame cannot be looked at
        if step_start(d, i) == i and stack_depth(d, i) >= 0
    ]


def arguments(frame: Any, layout: Any) -> list[Any]:
    cells = getattr(layout, "free_names", ())  # what is passed for a cell's name is ignored
    locals_ = ["ignored" if name in cells else frame.locals[name] for name in layout.local_names]
    handled = [frame.handled] if layout.handles else []
    return locals_ + [frame.stack[i] for i in layout.passed] + handled


def state_of(frame: Any, code: Any, index: int) -> dict[str, Any]:
    depth = stack_depth(decode(code), index)
    nulls = [i for i in range(depth) if i not in frame.stack]
    unbound = [name for name in code.co_varnames if name not in frame.locals]
    return {"stack_depth": depth, "null_positions": nulls, "unbound": unbound}


def functions_of(step: Any, code: Any, fn: Any, cells: Any) -> tuple[Any, ...]:
    made = []
    for layout in step.successors:
        cont = make_continuation(
            code,
            layout.index,
            layout.stack_depth,
            null_positions=layout.null_positions,
            unbound=layout.unbound,
        )
        assert cont.local_names == layout.local_names
        assert cont.unbound == layout.unbound
        made.append(new_function(cont.code, fn.__globals__, closure=cells))
    return tuple(made)


def then(step: Any, conts: tuple[Any, ...]) -> Any:
    """A step with what follows: the function's result."""

    def run(*given: Any) -> Any:
        number, *values = step(*given)
        return values[0] if number < 0 else conts[number](*values)

    return run


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["continuation", "step"])
def test_leave_and_continue(name: str, mode: str) -> None:
    fn, args, log = fresh(name)
    code, file = fn.__code__, fn.__code__.co_filename
    expected = outcome(fn, args, log, file)
    tried = 0
    for index in eligible(code):
        for nth in (1, 2):
            fn, args, log = fresh(name)
            frame = frame_at(fn, args, index, nth)
            if frame is None:
                break
            state = state_of(frame, code, index)
            if mode == "step":
                piece = make_step(code, index, **state)
            else:
                piece = make_continuation(code, index, **state)
            assert piece.free_names == piece.code.co_freevars
            rest = new_function(piece.code, fn.__globals__, closure=frame.cells)
            if mode == "step":
                rest = then(rest, functions_of(piece, code, fn, frame.cells))
            given = arguments(frame, piece)
            del frame
            assert outcome(rest, tuple(given), log, file) == expected, (decode(code).instrs[index], nth)
            tried += 1
    assert tried


@pytest.mark.parametrize("name", CASES)
def test_single_stepping(name: str) -> None:
    """Run the whole function one step at a time, each step's continuation being the next step."""
    fn, args, log = fresh(name)
    code, file = fn.__code__, fn.__code__.co_filename
    expected = outcome(fn, args, log, file)
    fn, args, log = fresh(name)
    start = decode(code).body_start + 1
    frame = frame_at(fn, args, start)
    steps = 0

    def go(layout: Any, given: tuple[Any, ...]) -> Any:
        nonlocal steps
        steps += 1
        step = make_step(code, layout.index, layout.stack_depth, null_positions=layout.null_positions, unbound=layout.unbound)
        conts = tuple((lambda *given, after=after: go(after, given)) for after in step.successors)
        return then(new_function(step.code, fn.__globals__, closure=frame.cells), conts)(*given)

    first = make_continuation(code, start, **state_of(frame, code, start))
    got = outcome(lambda: go(first, tuple(arguments(frame, first))), (), log, file)
    assert got == expected
    assert steps > 2


HANDLING = [
    "handlers_nested",
    "handler_raises_anew",
    "bare_raise_in_callee",
    "with_in_handler",
    "star_nested",
    "try_finally_return",
]


@pytest.mark.parametrize("name", HANDLING)
@pytest.mark.parametrize("mode", ["continuation", "step"])
def test_while_the_caller_handles_an_exception(name: str, mode: str) -> None:
    """What the callers are handling is restored too, and is theirs: not what it was when the frame was left."""
    try:
        raise LookupError("outside")
    except LookupError:
        test_leave_and_continue(name, mode)


@pytest.mark.parametrize(
    "name", ["for_loop", "try_except", "handlers_nested", "star_nested", "super_cell", "counter", "with_return", "super_plain"]
)
def test_continuation_of_a_continuation(name: str) -> None:
    fn, args, log = fresh(name)
    code, file = fn.__code__, fn.__code__.co_filename
    expected = outcome(fn, args, log, file)
    for index in eligible(code)[::3]:
        fn, args, log = fresh(name)
        frame = frame_at(fn, args, index)
        if frame is None:
            continue
        state = state_of(frame, code, index)
        second_code = make_continuation(code, index, **state).code
        for inner in eligible(second_code)[1::3]:
            fn, args, log = fresh(name)
            frame = frame_at(fn, args, index)
            piece = make_continuation(code, index, **state)
            middle = new_function(piece.code, fn.__globals__, closure=frame.cells)
            inner_frame = frame_at(middle, tuple(arguments(frame, piece)), inner)
            if inner_frame is None:
                continue
            step = make_step(second_code, inner, **state_of(inner_frame, second_code, inner))
            conts = functions_of(step, second_code, fn, inner_frame.cells)
            rest = then(new_function(step.code, fn.__globals__, closure=inner_frame.cells), conts)
            assert outcome(rest, tuple(arguments(inner_frame, step)), log, file) == expected, (index, inner)
