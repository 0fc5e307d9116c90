"""Loggers: a record is made and handled after the graph, in order, and says the place in the program where it was logged."""

from __future__ import annotations

import logging
from typing import Any

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.tables import RULES
from alternator.semantics.output_calls import deferred


def _logger_method(name: str) -> None:
    fn = getattr(logging.Logger, name)

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        logger = args[0]
        level = getattr(logging, name.upper(), logging.ERROR) if name != "log" else args[1]
        if not calls.call(vm, logging.Logger.isEnabledFor, (logger, level), {}):
            return None
        message, values, with_exception, extra, with_stack, depth = vm.plain(lambda: parts(*args[1:], **kwargs))
        if vm.truth(with_exception) or vm.truth(with_stack):
            raise Break("PRINT", "a log record with an exception or the stack")
        _is_ordinary(vm, logger)
        frame, depth = _frame_at(vm, depth)
        if frame is None:  # stacks do not show the frame of generated code
            deferred(vm, fn, args, {**kwargs, "stacklevel": depth})
            return None
        place = (frame.code.co_filename, frame.line(), frame.code.co_name)
        deferred(vm, log_at, (logger, level, place, message, values, extra), {})
        return None

    parts: Any = _PARTS.get(name, _of_level)
    RULES.put(fn, rule)


def _of_level(msg: Any, *args: Any, exc_info: Any = None, extra: Any = None, stack_info: Any = False, stacklevel: Any = 1) -> Any:
    return msg, args, exc_info, extra, stack_info, stacklevel


def _of_exception(msg: Any, *args: Any, exc_info: Any = True, **kwargs: Any) -> Any:
    return _of_level(msg, *args, exc_info=exc_info, **kwargs)


def _of_log(level: Any, msg: Any, *args: Any, **kwargs: Any) -> Any:
    return _of_level(msg, *args, **kwargs)


for _parts in (_of_level, _of_exception, _of_log):  # as errors of a wrong call call it
    _parts.__name__ = _parts.__qualname__ = "Logger._log"
_PARTS: dict[str, Any] = {"exception": _of_exception, "log": _of_log}

for _name in ("debug", "info", "warning", "error", "critical", "exception", "log"):
    _logger_method(_name)


def _is_ordinary(vm: Any, logger: Any) -> None:
    """What makes a record is what logging itself has: that looks at the stack, but for the place does nothing else with it."""
    for name in ("_log", "findCaller"):
        if getattr(attributes.load(vm, logger, name), "__func__", None) is not getattr(logging.Logger, name):
            raise Break("PRINT", f"a logger with a {name} of its own")


def _frame_at(vm: Any, depth: Any) -> tuple[Any, int]:
    """The frame that a record names, as ``Logger.findCaller`` looks for it; None: it is so many above the captured function."""
    if type(depth) is not int:
        raise Break("PRINT", "a log record with an unusual stacklevel")
    frame = vm.frame
    while frame is not None:
        if not logging._is_internal_frame(_Code(frame.code)):  # type: ignore[attr-defined]
            depth -= 1
            if depth <= 0:
                return frame, 0
        frame = frame.parent
    return None, depth


class _Code:
    """As much of a frame as ``logging`` looks at."""

    def __init__(self, code: Any) -> None:
        self.f_code = code


def log_at(logger: logging.Logger, level: int, place: tuple[str, int, str], message: Any, values: Any, extra: Any) -> None:
    """``Logger._log`` at a place of the program."""
    if not logging._srcfile:  # type: ignore[attr-defined]
        place = "(unknown file)", 0, "(unknown function)"
    filename, line, function = place
    logger.handle(logger.makeRecord(logger.name, level, filename, line, message, values, None, function, extra, None))


@RULES.rule(logging.Logger.isEnabledFor)
def is_enabled_for(vm: Any, args: Any, kwargs: Any) -> Any:
    """Whether a message would be shown: guarded as a whole, since handlers of many loggers decide."""
    logger, level = args
    rec = vm.records.get(id(logger))
    answer = logger.isEnabledFor(level)
    if rec is not None:
        rec.source.guard_predicate(lambda value: value.isEnabledFor(level) == answer, f"isEnabledFor({level}) == {answer}")
    return answer
