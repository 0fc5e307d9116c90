"""What the text of a graph, which fx writes as a Python function, cannot say in the usual way."""

from __future__ import annotations

import keyword
import math
from typing import Any

KEYWORDS = frozenset(keyword.kwlist)


def call_named(name_or_fn: Any, names: tuple[str, ...], values: tuple[Any, ...], *args: Any) -> Any:
    """Call a function, or a method of the first argument, with keyword arguments that have names of the language (``from``)."""
    kwargs = dict(zip(names, values))
    if type(name_or_fn) is str:
        return getattr(args[0], name_or_fn)(*args[1:], **kwargs)
    return name_or_fn(*args, **kwargs)


def is_written(number: complex) -> bool:
    """Whether the text of a complex number makes that very number: not if it has a ``nan``, an ``inf``, or zeros with a sign."""
    real, imag = number.real, number.imag
    if not (math.isfinite(real) and math.isfinite(imag)):
        return False
    if real == 0.0 and (math.copysign(1.0, real) < 0 or imag < 0):
        return False
    return imag != 0.0 or math.copysign(1.0, imag) > 0
