"""``re``: patterns are compiled while tracing, unless that shows something; a replacement function is interpreted."""

from __future__ import annotations

import inspect
import re
import threading
import warnings
from typing import Any

from alternator.exc import Break
from alternator.interpreter import calls
from alternator.interpreter.tables import RULES

_VALUES = frozenset({str, bytes, int, re.RegexFlag})


def _compiled(vm: Any, pattern: Any, flags: Any) -> Any:
    """``re.compile(pattern, flags)``"""
    if type(pattern) is re.Pattern and not flags:
        return pattern
    if type(pattern) not in (*_VALUES, re.Pattern) or type(flags) not in _VALUES:
        raise Break("UNKNOWN_C_FUNCTION", f"re.compile() of a {type(pattern).__name__}")
    if flags & re.DEBUG:
        raise Break("PRINT", "re.DEBUG")
    seen: list[Any] = []
    original, here = warnings.warn, threading.get_ident()

    def noted(message: Any, category: Any = None, stacklevel: int = 1, source: Any = None) -> None:
        if threading.get_ident() == here:
            seen.append(message)
        else:  # of another thread, which goes on meanwhile
            original(message, category, stacklevel + 1, source)

    warnings.warn = noted  # type: ignore[assignment]  # filters are left alone
    try:
        return vm.plain(re.compile, pattern, flags)
    finally:
        warnings.warn = original
        if seen:  # it is compiled for real, and warns then
            re.purge()
            raise Break("WARNING", "a regular expression that warns")


@RULES.rule(re.purge)
def rule_purge(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("UNSUPPORTED_EFFECT", "re.purge(): what is compiled while tracing is in that cache as well")


@RULES.rule(re.compile)
def rule_compile(vm: Any, args: Any, kwargs: Any) -> Any:
    given = vm.plain(lambda: _COMPILE.bind(*args, **kwargs)).arguments
    return _compiled(vm, given["pattern"], given.get("flags", 0))


_COMPILE = inspect.signature(re.compile)


def _method(fn: Any) -> None:
    """``re.search(pattern, ...)`` and the like: a method of the pattern."""
    signature = inspect.signature(fn)

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        try:
            given = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            return vm.plain(lambda: fn(*args, **kwargs))
        pattern = _compiled(vm, given.pop("pattern"), given.pop("flags", 0))
        return calls.call(vm, getattr(pattern, fn.__name__), tuple(given.values()), {})

    RULES.put(fn, rule)


for _fn in (re.match, re.search, re.fullmatch, re.sub, re.subn, re.findall, re.finditer, re.split):
    _method(_fn)
