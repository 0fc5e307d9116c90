"""Assertions in the graph: raised as the errors that the program raises, at its lines."""

from __future__ import annotations

import functools
import re
import types
from typing import Any, Callable


def raising(compiled: Callable[..., Any], checks: dict[str, tuple[Any, ...]] | None) -> Callable[..., Any]:
    """The compiled graph, whose failed checks are the program's own exceptions; ``checks``: text in the graph -> which one."""
    if not checks:
        return compiled

    @functools.wraps(compiled, updated=())
    def checked(*args: Any) -> Any:
        try:
            return compiled(*args)
        except RuntimeError as error:
            found = _failed(str(error), checks)
            if found is None:
                raise
        kind, given, code, line = found
        _raiser(code, line)(kind(*given))

    return checked


def _failed(said: str, checks: dict[str, tuple[Any, ...]]) -> tuple[Any, ...] | None:
    for text, row in checks.items():
        if text in said:
            return row
    # Inductor says of a number only what it had to be; which check that was is clear where there is one
    return next(iter(checks.values())) if len(checks) == 1 and _OF_A_SYMBOL.match(said) else None


_OF_A_SYMBOL = re.compile(r"[^ ]*\bu\d+\b[^ ]* (==|!=|<|<=|>|>=) |Runtime assertion failed for expression")


def _raiser(code: types.CodeType, line: int) -> Any:
    """A function that raises its argument at the user's line, for the traceback."""
    scope: dict[str, Any] = {}
    exec(compile("\n" * (line - 1) + "def fail(error): raise error", code.co_filename, "exec"), scope)
    fail = scope["fail"]
    fail.__code__ = fail.__code__.replace(co_name=code.co_name, co_qualname=code.co_qualname)
    return fail
