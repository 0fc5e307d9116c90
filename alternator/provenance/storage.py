"""What an object is to the builtin base of its class: read and written by the base's own code.

A subclass may override ``__iter__``, ``__len__``, ``__getattribute__``, ``__setattr__``, ``__class__`` ...: these are for the
program to call.
"""

from __future__ import annotations

import collections
import types
from typing import Any, Callable

from alternator.provenance.source import worded
from alternator.provenance.world import mro_of

_ITEMS: dict[type, Callable[[Any], Any]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    dict: dict.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    collections.deque: collections.deque.__iter__,
}
_LENGTHS: dict[type, Callable[[Any], int]] = {kind: vars(kind)["__len__"] for kind in _ITEMS}


def container_base(kind: type) -> type | None:
    """The builtin container that instances of a class are; None if they are none."""
    if type(kind) is type and kind in _ITEMS:
        return kind
    return next((base for base in mro_of(kind) if type(base) is type and base in _ITEMS), None)  # others may have a __hash__


@worded("{}")
def items(container: Any) -> list[Any]:
    """Its items, a dict's keys."""
    base = container_base(type(container))
    if base is None:
        raise TypeError(f"a {type(container).__name__} is no container")
    return list(_ITEMS[base](container))


def length(container: Any) -> int:
    base = container_base(type(container))
    if base is None:
        raise TypeError(f"a {type(container).__name__} is no container")
    return _LENGTHS[base](container)


@worded("{}.default_factory")
def default_factory(table: collections.defaultdict[Any, Any]) -> Any:
    return _FACTORY.__get__(table)


def set_default_factory(table: collections.defaultdict[Any, Any], factory: Any) -> None:
    _FACTORY.__set__(table, factory)


_FACTORY: Any = vars(collections.defaultdict)["default_factory"]
deque_limit: Callable[[Any], "int | None"] = vars(collections.deque)["maxlen"].__get__


@worded("{}.args")
def exception_args(error: BaseException) -> tuple[Any, ...]:
    found: tuple[Any, ...] = _ARGS.__get__(error)
    return found


def set_exception_args(error: BaseException, args: tuple[Any, ...]) -> None:
    _ARGS.__set__(error, args)


@worded("{}.__traceback__")
def trace_of(error: BaseException) -> types.TracebackType | None:
    found: types.TracebackType | None = _TRACE.__get__(error)
    return found


@worded("{}.__context__")
def context_of(error: BaseException) -> BaseException | None:
    found: BaseException | None = _CONTEXT.__get__(error)
    return found


def set_context(error: BaseException, context: BaseException | None) -> None:
    _CONTEXT.__set__(error, context)


def cause_of(error: BaseException) -> BaseException | None:
    found: BaseException | None = _CAUSE.__get__(error)
    return found


def set_cause(error: BaseException, cause: BaseException | None) -> None:
    _CAUSE.__set__(error, cause)


@worded("{}.message")
def group_message(group: BaseException) -> str:
    found: str = _MESSAGE.__get__(group)
    return found


@worded("{}.exceptions")
def group_exceptions(group: BaseException) -> tuple[BaseException, ...]:
    found: tuple[BaseException, ...] = _EXCEPTIONS.__get__(group)
    return found


def returned(stop: BaseException) -> Any:
    """The value of a StopIteration."""
    return _VALUE.__get__(stop)


def context_is_suppressed(error: BaseException) -> bool:
    return bool(_SUPPRESSED.__get__(error))


_VALUE: Any = vars(StopIteration)["value"]
_MESSAGE, _EXCEPTIONS = (vars(BaseExceptionGroup)[name] for name in ("message", "exceptions"))
_OF_EXCEPTIONS = vars(BaseException)
_ARGS, _TRACE, _CONTEXT, _CAUSE, _SUPPRESSED = (
    _OF_EXCEPTIONS[name] for name in ("args", "__traceback__", "__context__", "__cause__", "__suppress_context__")
)
