"""``pickle.dumps`` of numbers and texts, as caches make keys of keyword arguments."""

from __future__ import annotations

import _pickle
from typing import Any

from alternator.exc import Break
from alternator.interpreter.tables import DEEP, RULES

_NUMBERS = frozenset({int, float, bool, type(None)})
_TEXTS = frozenset({str, bytes})


@RULES.rule(_pickle.dumps)
def dumps(vm: Any, args: Any, kwargs: Any) -> Any:
    """A constant, if it is one value, or a dict, list or tuple of such; other classes are asked how they are pickled.

    What is pickled twice is a reference the second time if it is the same object, which guards on values do not say.
    """
    if len(args) != 1 or kwargs:
        raise Break("UNKNOWN_C_FUNCTION", "_pickle.dumps with a protocol")
    vm.close_all(args, kwargs, DEEP)
    kind = type(args[0])
    parts: list[Any] = [args[0]]
    if kind is dict:
        parts = [part for item in dict.items(args[0]) for part in item]
    elif kind in (list, tuple):
        parts = list(args[0])
    texts = [part for part in parts if type(part) in _TEXTS]
    if not all(type(part) in _NUMBERS or type(part) in _TEXTS for part in parts) or len(set(texts)) < len(texts):
        raise Break("UNKNOWN_C_FUNCTION", f"_pickle.dumps of a {kind.__name__}")
    return vm.native(_pickle.dumps, args)
