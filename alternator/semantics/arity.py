"""Argument counts of builtins: a rule is only run with arguments that its function takes; else CPython says what is wrong."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from typing import Any

import torch

from alternator.exc import InternalError
from alternator.interpreter.links import passes_on
from alternator.interpreter.tables import RULES
from alternator.provenance.world import is_heap

_NATIVE = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.FunctionType,
    type,
)
_CONTAINERS = frozenset({dict, list, set, frozenset, tuple, str, bytes})
_MODULES = sys.stdlib_module_names | {"torch"}
_ANY = sys.maxsize
_Limits = tuple[int, int, tuple[str, ...], frozenset[str]]


def _row(least: int, most: int, *names: str, order: tuple[str, ...] = ()) -> _Limits:
    return least, most, order, frozenset((*names, *order))


_WITHOUT_SIGNATURE: dict[Any, _Limits] = {
    bool: _row(0, 1),
    torch.from_numpy: _row(1, 1),
    dict: _row(0, 1, "*"),
    dict.update: _row(1, 2, "*"),
    dir: _row(0, 1),
    filter: _row(2, 2),
    frozenset: _row(0, 1),
    functools.reduce: _row(2, 3),
    getattr: _row(2, 3),
    iter: _row(1, 2),
    map: _row(0, _ANY),
    max: _row(1, _ANY, "key", "default"),
    min: _row(1, _ANY, "key", "default"),
    next: _row(1, 2),
    set: _row(0, 1),
    str: _row(0, 3, order=("object", "encoding", "errors")),
    str.format: _row(1, _ANY, "*"),
    vars: _row(0, 1),
    zip: _row(0, _ANY, "strict"),
    BaseException.with_traceback: _row(2, 2),
}
"""Those that tell nothing of themselves: least and most positional arguments (with ``self``), keywords (``*``: any)."""


def _limits(fn: Any) -> _Limits | None:
    """What a function takes: least and most positional arguments, the names of those that rules get as positional ones however
    they are given (of Python functions the needed ones), all keywords.  None where that is not known."""
    if fn in _WITHOUT_SIGNATURE:
        return _WITHOUT_SIGNATURE[fn]
    try:
        parameters = list(inspect.signature(fn, follow_wrapped=False).parameters.values())
    except (ValueError, TypeError):
        return None
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    least = sum(one.default is one.empty for one in positional)
    order = tuple(one.name if one.kind is one.POSITIONAL_OR_KEYWORD else "" for one in positional)
    names = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        names.add("*")
    many = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if type(fn) is types.FunctionType:
        order = order[:least]
    return least, _ANY if many else len(positional), order, frozenset(names)


def _checked(fn: Any, rule: Any, least: int, most: int, order: tuple[str, ...], names: frozenset[str]) -> Any:
    any_name = "*" in names
    owner = getattr(fn, "__objclass__", object)
    owner = owner if owner in _CONTAINERS else object

    def given_twice(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return any(name in kwargs for name in order[: len(args)])

    @passes_on
    def checked(vm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs:
            while len(args) < len(order) and order[len(args)] in kwargs:
                kwargs = dict(kwargs)
                args = (*args, kwargs.pop(order[len(args)]))
        if least <= len(args) <= most and (not kwargs or (any_name or kwargs.keys() <= names) and not given_twice(args, kwargs)):
            if owner is object or args and issubclass(type(args[0]), owner):
                return rule(vm, args, kwargs)
        vm.plain(lambda: fn(*args, **kwargs))  # the arguments are refused before they are looked at
        raise InternalError(f"{fn!r} takes these arguments after all: {len(args)}, {list(kwargs)}")

    return checked


def install() -> None:
    """Put the check in front of the rules for builtins and the standard library that stand in the table."""
    for fn in list(RULES.keys()):
        if not issubclass(type(fn), _NATIVE) or issubclass(type(fn), type) and is_heap(fn):
            continue
        owner = getattr(fn, "__objclass__", fn)
        module = getattr(owner, "__module__", None) or "builtins"
        if module.split(".")[0] not in _MODULES or type(getattr(fn, "__self__", None)).__name__ == "PyCapsule":
            continue
        limits = _limits(fn)
        if limits is not None and fn in RULES:
            RULES.replace(fn, _checked(fn, RULES.get(fn), *limits))
