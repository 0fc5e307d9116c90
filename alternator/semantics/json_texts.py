"""``json.dumps``: its encoder in C calls back into Python, so the one that ``json`` has in Python is interpreted instead."""

from __future__ import annotations

import _json
import json.encoder
from typing import Any

from alternator.exc import Break
from alternator.interpreter import calls
from alternator.interpreter.tables import DEEP, PURE, RULES

for _fn in (_json.encode_basestring, _json.encode_basestring_ascii):
    PURE.put(_fn, DEEP)


def _encoder(
    markers: Any,
    default: Any,
    encoder: Any,
    indent: Any,
    key_separator: Any,
    item_separator: Any,
    sort_keys: Any,
    skipkeys: Any,
    allow_nan: Any,
    make: Any,
) -> Any:
    def text_of_float(number: float) -> str:
        if number != number:
            text = "NaN"
        elif number in (float("inf"), float("-inf")):
            text = "Infinity" if number > 0 else "-Infinity"
        else:
            return float.__repr__(number)
        if not allow_nan:
            raise ValueError("Out of range float values are not JSON compliant")  # as in C
        return text

    chunks = make(markers, default, encoder, indent, text_of_float, key_separator, item_separator, sort_keys, skipkeys, True)
    return lambda value, level: tuple(chunks(value, level))


@RULES.rule(_json.make_encoder)
def make_encoder(vm: Any, args: Any, kwargs: Any) -> Any:
    """Only ``json`` itself makes one, with all of its arguments by position."""
    if len(args) != 9 or kwargs:
        raise Break("UNKNOWN_C_FUNCTION", "construction of _json.Encoder")
    return calls.call(vm, _encoder, (*args, json.encoder._make_iterencode), {})  # type: ignore[attr-defined]
