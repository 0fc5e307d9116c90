"""What users and libraries say about a callable: keep it in the graph, never trace it, its result is a constant.

The decorators that write the marks are in :mod:`alternator.decorators`.  Marks that libraries make with torch's own
decorators count as well: some are attributes of the function, which are read here, the others are brought over by
``backends.interop``, the only module that may know the in-tree front-end.
"""

from __future__ import annotations

import weakref
from typing import Any


class Marks:
    """A set of objects by identity, that does not keep them alive if it need not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._objects: dict[int, Any] = {}

    def add(self, obj: Any) -> None:
        """Mark an object."""
        key = id(obj)
        try:
            self._objects[key] = weakref.ref(obj, lambda _: self._objects.pop(key, None))
        except TypeError:  # builtins and slotted objects: kept alive, so that the id is not used again
            self._objects[key] = lambda: obj

    def discard(self, obj: Any) -> None:
        """Take a mark away."""
        if obj in self:
            self._objects.pop(id(obj), None)

    def __contains__(self, obj: Any) -> bool:
        found = self._objects.get(id(obj))
        return found is not None and found() is obj


IN_GRAPH = Marks("allow_in_graph")
"""A call of it is one node of the graph; it is not looked into."""
DISALLOWED = Marks("disallow_in_graph")
"""A call of it breaks the graph; it runs plainly."""
TRACED = Marks("dont_skip_tracing")
"""It is traced although its file is skipped by rule."""
COMPILED = Marks("compile")
"""Code of what was given to ``compile``: captured whether or not it looks as if it had to do with tensors."""


def _attribute(obj: Any, name: str) -> Any:
    """An attribute that decorators set, read without running code of the object's class."""
    try:
        return object.__getattribute__(obj, name)
    except AttributeError:
        pass
    except TypeError:
        return None
    try:
        return object.__getattribute__(obj, "__dict__").get(name)
    except (AttributeError, TypeError):
        return None


def is_disabled(fn: Any) -> bool:
    """Whether the callable was marked with ``disable`` (ours or torch's)."""
    return bool(_attribute(fn, "_torchdynamo_disable")) or bool(_attribute(fn, "_dynamo_disabled"))


def is_disabled_recursively(fn: Any) -> bool:
    """Whether that holds for what the callable calls, too."""
    return is_disabled(fn) and _attribute(fn, "_torchdynamo_disable_recursive") is not False


def disable_reason(fn: Any) -> str | None:
    """Why it was marked, if somebody said so."""
    return _attribute(fn, "_torchdynamo_disable_msg")


def is_constant_result(fn: Any) -> bool:
    """Whether the callable was marked with ``assume_constant_result`` (ours or torch's)."""
    return bool(_attribute(fn, "_dynamo_marked_constant"))


def is_forbidden(fn: Any) -> bool:
    """Whether the callable must not be called while tracing."""
    return bool(_attribute(fn, "_dynamo_forbidden"))


PURE_SLOTS = Marks("allow_c_slot")
"""C types whose hash and comparisons have no effects."""


# ---- calls that steer the capture from inside; they do nothing in plain code


def graph_break(msg: str = "") -> None:
    """End the graph here."""


def skip_frame(msg: str = "") -> None:
    """Don't capture the function that calls this."""


def step_unsupported(msg: str = "") -> None:
    """End the graph here."""
