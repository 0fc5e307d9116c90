"""What a handler of a signal raises is the program's own exception, wherever it arrives.

Python runs these handlers between any two instructions of the main thread: in the tracer, in a backend, in a compiled graph. What
they raise (a time limit, say) is nothing that an operation of the program has raised, and no bug of ours: it leaves at once.
"""

from __future__ import annotations

import _signal  # signal.getsignal() looks each of them up in an enum
import functools
import threading
import types
from typing import Any

_SIGNALS = sorted(_signal.valid_signals())


class Interrupted(BaseException):
    """Carries such an exception out of a capture: it is raised where the frame begins."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


_TRACE: Any = vars(BaseException)["__traceback__"]


def check(error: BaseException) -> None:
    """Raise :class:`Interrupted` if a handler raised it."""
    if is_from_handler(error):
        raise Interrupted(error) from None


def is_from_handler(error: BaseException) -> bool:
    """Whether the exception came through a handler that is installed."""
    trace = _TRACE.__get__(error)
    if trace is None or trace.tb_next is None or threading.current_thread() is not threading.main_thread():
        return False
    codes = {_code_of(handler) for handler in map(_signal.getsignal, _SIGNALS) if not isinstance(handler, (int, types.NoneType))}
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: Any) -> types.CodeType | None:
    if type(handler) is functools.partial:
        return _code_of(handler.func)
    if type(handler) is types.MethodType:
        return _code_of(handler.__func__)
    if type(handler) is types.FunctionType:
        return handler.__code__
    call = getattr(type(handler), "__call__", None)
    return call.__code__ if type(call) is types.FunctionType else None
