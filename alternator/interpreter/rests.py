"""What is left of an operation when the Python code that it runs is finished elsewhere (see ``links.finishes``).

Plain Python, that runs as it is or is captured like the user's code.  ``run(rest, given)`` gives the result of that code.
"""

from __future__ import annotations

from typing import Any

from alternator._C.eval_frame import set_finished, set_yielded


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


def of_generator(run: Any, rest: Any, given: Any, generator: Any) -> Any:
    """Advancing a generator, in its body: what it yields, or StopIteration.  What runs is a piece of its code."""
    try:
        state = run(rest, given)
    except StopIteration as stop:
        set_finished(generator)
        raise RuntimeError("generator raised StopIteration") from stop
    except BaseException:
        set_finished(generator)
        raise
    return set_yielded(generator, state)


def of_loop(run: Any, rest: Any, given: Any) -> Any:
    """A loop's step to the next item."""
    try:
        return (run(rest, given),)
    except StopIteration:
        return ()


def of_delegation(run: Any, rest: Any, given: Any) -> Any:
    """A step of ``yield from``."""
    try:
        return False, run(rest, given)
    except StopIteration as stop:
        return True, stop.value


def of_next(run: Any, rest: Any, given: Any, default: Any) -> Any:
    """``next`` with a default."""
    try:
        return run(rest, given)
    except StopIteration:
        return default
