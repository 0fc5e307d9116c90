"""What is left of an operation when the Python code that it runs is finished elsewhere (see ``links.finishes``).

Plain Python, that runs as it is or is captured like the user's code.  ``run(rest, given)`` gives the result of that code.
"""

from __future__ import annotations

from typing import Any


def of_init(run: Any, rest: Any, given: Any, obj: Any) -> Any:
    """A constructor call, in ``__init__``."""
    result = run(rest, given)
    if result is not None:
        raise TypeError(f"__init__() should return None, not '{type(result).__name__}'")
    return obj


def of_load(run: Any, rest: Any, given: Any, obj: Any, name: str, fallback: Any) -> Any:
    """An attribute read of an object with ``__getattr__``, in a property or ``__getattribute__``."""
    try:
        return run(rest, given)
    except AttributeError:
        return fallback(obj, name)
