"""Generators that wait in the middle of their function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Final

from .analysis import reachable
from .assemble import Assembler, suspended_layout, template
from .codecache import CodeCache
from .layout import Layout

__all__ = ["Suspended", "make_suspended"]


@dataclass(frozen=True, slots=True)
class Suspended(Layout):
    """A generator that waits in a `yield`.

    Call a function made of `code` (with cells for `free_names` as its closure) with the arguments that the layout names, and
    advance the generator that it gives once: it restores its state and waits as the original did, inside the same handlers.
    """

    code: CodeType
    free_names: tuple[str, ...]


_cache: Final[CodeCache[dict[tuple[int, frozenset[int], frozenset[str]], Suspended]]] = CodeCache()


def make_suspended(code: CodeType, index: int, *, null_positions: Iterable[int] = (), unbound: Iterable[str] = ()) -> Suspended:
    """A generator of `code` that waits in the YIELD_VALUE at `index`; ValueError for what is no generator function.

    All locals but those in `unbound` are parameters, live or not: they can be seen in `gi_frame.f_locals`.

    >>> from .decode import decode
    >>> def f(x):
    ...     y = yield x
    ...     yield x + y
    >>> waits = next(i.index for i in decode(f.__code__).instrs if i.opname == "YIELD_VALUE")
    >>> made = make_suspended(f.__code__, waits, unbound=["y"])
    >>> generator = type(f)(made.code, {})(5)
    >>> next(generator)
    >>> generator.send(3)
    8
    """
    shape = template(code, suspends=True)
    if shape.decoded.instrs[index].opname != "YIELD_VALUE":
        raise ValueError(f"no generator waits in instruction {index}")
    nulls, missing = frozenset(null_positions), frozenset(unbound)
    known = _cache.get(code)
    if known is None:
        _cache.put(code, known := {})
    key = (index, nulls, missing)
    if key not in known:
        layout = suspended_layout(shape, index, nulls, missing)
        out = Assembler(shape, index)
        out.prologue(layout)
        out.emit("LOAD_CONST", None)
        out.emit("JUMP_FORWARD", out.label(index))
        for position in reachable(shape.decoded, (index,)):
            out.copy(position)
        known[key] = Suspended(**layout.fields, code=out.finish(code), free_names=shape.free_names)
    return known[key]
