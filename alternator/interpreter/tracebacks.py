"""Tracebacks of exceptions that are raised while tracing: real ones, that show the user's code and lines.

A traceback entry needs a frame. The interpreter has none that Python knows, so each entry gets one that was never run, made of
the user's code object with its name, file and positions.
"""

from __future__ import annotations

import inspect
import opcode
import types
from typing import Any, Final

from alternator._C.eval_frame import place_frame, skip_code
from alternator.bytecode.codecache import CodeCache
from alternator.exc import Break
from alternator.interpreter import rests
from alternator.provenance.storage import trace_of

__all__ = ["Row", "add_entry", "leaves_again", "is_made_here", "made_here", "not_an_exception", "rebuilt", "row_of", "trace_of"]

Row = tuple[types.CodeType, int, int]
"""Code, offset of the instruction that raised, and of the one in which the frame was left."""

_MARK: Final = object()
_HIDDEN: Final = vars(rests)
"""The program's stack has no frames of these functions."""
_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_DROPPED: Final = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | _ASYNC
_stubs: Final[CodeCache[types.CodeType]] = CodeCache()


def _stub(code: types.CodeType) -> types.CodeType:
    """The code with its places, and a body that only makes a generator: which is how a frame is had without running it."""
    made = _stubs.get(code)
    if made is None:
        made = code
        if not _is_stub(code):
            body = bytes([opcode.opmap["RETURN_GENERATOR"], 0]) + bytes([opcode.opmap["NOP"], 0]) * (len(code.co_code) // 2 - 1)
            made = code.replace(
                co_code=body,
                co_argcount=0,
                co_posonlyargcount=0,
                co_kwonlyargcount=0,
                co_cellvars=(),
                co_freevars=(),
                co_exceptiontable=b"",
                co_flags=code.co_flags & ~_DROPPED | inspect.CO_GENERATOR,
                co_consts=(None, _MARK),
            )
            skip_code(made)
        _stubs.put(code, made)
    return made


def _is_stub(code: types.CodeType) -> bool:
    return len(code.co_consts) == 2 and code.co_consts[1] is _MARK


def _entry(
    following: types.TracebackType | None, code: types.CodeType, space: dict[str, Any], offset: int, left: int
) -> types.TracebackType:
    """An entry in front of others; ``offset`` says its line, which there may be none of."""
    frame: types.FrameType = types.FunctionType(_stub(code), space)().gi_frame
    place_frame(frame, left)
    return types.TracebackType(following, frame, offset, _line_at(code, offset))


def _line_at(code: types.CodeType, offset: int) -> int:
    """-1 where there is none: CPython 3.11 looks the others up itself only since 3.11.3."""
    return next((line for start, end, line in code.co_lines() if start <= offset < end and line is not None), -1)


def not_an_exception(vm: Any, kind: type, what: str) -> str:
    """The complaint about a class of exceptions that makes something else."""
    shown = repr(kind) if type(kind) is type else vm.native(repr, (kind,))
    return f"calling {shown} should have returned an instance of BaseException, not {what}"


def add_entry(vm: Any, frame: Any, error: BaseException) -> None:
    """What CPython does where an exception arises in a frame or comes into it from a call: put the frame in front."""
    if frame.globals is _HIDDEN:
        return
    if id(error) in vm.records:
        raise Break("EXCEPTION_STATE", "an exception from outside passes through another frame")
    at = frame.instrs[frame.at].offset
    BaseException.with_traceback(error, _entry(trace_of(error), frame.code, frame.globals, at, at))


def leaves_again(vm: Any, frame: Any, error: BaseException) -> None:
    """An exception that a handler did not keep leaves the frame: which is there now."""
    trace = None if id(error) in vm.records else trace_of(error)
    if trace is not None and trace.tb_frame.f_code is _stubs.get(frame.code):
        place_frame(trace.tb_frame, frame.instrs[frame.at].offset)


def made_here(trace: types.TracebackType | None) -> types.TracebackType | None:
    """A traceback without the entries of the tracer's own frames."""
    kept = []
    while trace is not None:
        if _is_stub(trace.tb_frame.f_code):
            kept.append(trace)
        trace = trace.tb_next
    following = None
    for entry in reversed(kept):
        line = _line_at(entry.tb_frame.f_code, entry.tb_lasti)
        following = types.TracebackType(following, entry.tb_frame, entry.tb_lasti, line)
    return following


def is_made_here(trace: types.TracebackType) -> bool:
    """Whether the entry's frame is one that was never run."""
    return _is_stub(trace.tb_frame.f_code)


def row_of(entry: types.TracebackType) -> tuple[Row, dict[str, Any]]:
    """An entry of a traceback that was made here, and the global namespace of its frame."""
    code = entry.tb_frame.f_code
    if not _is_stub(code):
        raise Break("UNREBUILDABLE_OUTPUT", "a traceback of code that was not captured")
    return (code, entry.tb_lasti, entry.tb_frame.f_lasti), entry.tb_frame.f_globals


def rebuilt(following: types.TracebackType | None, row: Row, space: dict[str, Any]) -> types.TracebackType:
    """An entry in front of others.

    >>> code = rebuilt.__code__
    >>> rebuilt(None, (code, 0, 0), {}).tb_lineno == code.co_firstlineno
    True
    """
    code, offset, left = row
    return _entry(following, code, space, offset, left)


def say_of_what(vm: Any, error: BaseException, obj: Any, name: str) -> None:
    """CPython tells an AttributeError that names nothing what was looked for, and in what: for suggestions."""
    if not issubclass(type(error), AttributeError):
        return
    told = vars(AttributeError)
    if told["name"].__get__(error) is not None or told["obj"].__get__(error) is not None:
        return
    if id(error) in vm.records:
        raise Break("EXCEPTION_STATE", "an AttributeError from outside that is to name an attribute")
    told["name"].__set__(error, name)
    told["obj"].__set__(error, obj)
