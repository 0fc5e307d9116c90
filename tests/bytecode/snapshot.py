"""Runs a function up to the n-th execution of one instruction and returns its frame's state there."""

from __future__ import annotations

import sys
import types
from typing import Any, NamedTuple

from bytecode import Bytecode, Instr, Label
from bytecode.instr import CellVar, FreeVar

from alternator.bytecode import decode, stack_depth


class Frame(NamedTuple):
    """State before an instruction; a missing key in `stack` is a NULL, a missing local is unbound."""

    locals: dict[str, Any]
    stack: dict[int, Any]
    cells: tuple[Any, ...]
    handled: BaseException | None


class Snapshot(BaseException):
    """Never raised; a result of this type says that the instruction was reached."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame


def frame_at(fn: Any, args: tuple[Any, ...], index: int, nth: int = 1) -> Frame | None:
    """The frame of fn(*args) before the nth run of instruction `index`; None if it ends (or raises) before."""
    result = _run(_prefix(fn, index, nth), args)
    return result.frame if isinstance(result, Snapshot) else None


def _run(fn: Any, args: tuple[Any, ...]) -> Any:
    """Run in a generator: leaving a handler in its middle would leave the thread handling the exception for ever."""

    def inside() -> Any:
        try:
            yield fn(*args)
        except Exception as error:
            yield error

    return next(inside())


def _prefix(fn: Any, index: int, nth: int) -> Any:
    code = fn.__code__
    depth = stack_depth(decode(code), index)
    runs = 0

    def hit() -> bool:
        nonlocal runs
        runs += 1
        return runs == nth

    def grab(cells: tuple[Any, ...]) -> Snapshot:
        shown = sys._getframe(1).f_locals  # the very dict that the function's own locals() returns
        seen = dict(shown)
        for name in [name for name in shown if name.startswith("___t")]:
            del shown[name]
        stack = {i: seen.pop(f"___t{i}") for i in range(depth) if f"___t{i}" in seen}
        return Snapshot(Frame(seen, stack, cells, sys.exc_info()[1]))

    names = [*map(CellVar, code.co_cellvars), *map(FreeVar, code.co_freevars)]
    end = Label()
    probe: list[Any] = [Instr("PUSH_NULL"), Instr("LOAD_CONST", hit), *_call(0)]
    probe.append(Instr("POP_JUMP_FORWARD_IF_FALSE", end))
    probe += [Instr("STORE_FAST", f"___t{i}") for i in reversed(range(depth))]
    probe += [Instr("PUSH_NULL"), Instr("LOAD_CONST", grab)]
    probe += [Instr("LOAD_CLOSURE", name) for name in names]
    probe += [Instr("BUILD_TUPLE", len(names)), *_call(1), Instr("RETURN_VALUE"), end]
    whole = Bytecode.from_code(code, conserve_exception_block_stackdepth=True)
    place = [i for i, op in enumerate(whole) if isinstance(op, Instr)][index]
    whole[place:place] = probe
    made = whole.to_code(stacksize=code.co_stacksize + 50, compute_exception_stack_depths=False)
    return types.FunctionType(made, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)


def _call(count: int) -> list[Instr]:
    return [Instr("PRECALL", count), Instr("CALL", count)]
