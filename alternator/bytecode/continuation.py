"""Code objects that enter a function in its middle, with the frame's locals and stack as arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any, Final

from .analysis import reachable
from .assemble import Assembler, checked_index, parameters, template
from .codecache import CodeCache
from .step import Step, SuccessorLayout, make_step

__all__ = ["Continuation", "Step", "SuccessorLayout", "make_continuation", "make_step", "new_function"]

_Key = tuple[int, int, frozenset[int], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Continuation:
    """The rest of a function from one instruction on.

    Call a function made of `code` (with cells for `free_names` as its closure) with the values of `local_names`, then the
    stack's items from the bottom up without those at `null_positions`. A name of `local_names` that is in `free_names`
    too (the first argument of a method that uses `super()`) keeps a place only: any value may be passed for it.
    """

    code: CodeType
    index: int
    local_names: tuple[str, ...]
    free_names: tuple[str, ...]
    stack_depth: int
    null_positions: tuple[int, ...]
    unbound: frozenset[str]


_cache: Final[CodeCache[dict[_Key, Continuation]]] = CodeCache()


def make_continuation(
    code: CodeType,
    index: int,
    stack_depth: int,
    *,
    null_positions: Iterable[int] = (),
    unbound: Iterable[str] = (),
) -> Continuation:
    """A continuation of `code` at instruction `index`, which `stack_depth` stack items are there before.

    Locals in `unbound` start unbound, and stack positions (from the bottom, 0) in `null_positions` hold NULL. Locals that
    are not live at `index` are no parameters. ValueError where a function cannot be entered: inside an exception handler,
    in generators and coroutines, in class bodies and modules, before the function's body. Cached per code object.

    >>> def f(x):
    ...     y = x + 1
    ...     return y * 2
    >>> rest = make_continuation(f.__code__, 4, 1)  # before STORE_FAST y
    >>> new_function(rest.code, globals())(10)
    20
    """
    shape = template(code)
    nulls = frozenset(null_positions)
    index = checked_index(shape, index, stack_depth, nulls)
    locals_, missing = parameters(shape, index, frozenset(unbound))
    known = _cache.get(code)
    if known is None:
        _cache.put(code, known := {})
    key = (index, stack_depth, nulls, missing)
    if key not in known:
        made = _assemble(code, index, stack_depth, nulls, locals_)
        known[key] = Continuation(made, index, locals_, shape.free_names, stack_depth, tuple(sorted(nulls)), missing)
    return known[key]


def _assemble(code: CodeType, index: int, depth: int, nulls: frozenset[int], locals_: tuple[str, ...]) -> CodeType:
    shape = template(code)
    out = Assembler(shape, index)
    out.prologue(locals_, depth, nulls, takes_conts=False)
    body = reachable(shape.decoded, (index,))
    if body[0] != index:
        out.emit("JUMP_FORWARD", out.label(index))
    for position in body:
        out.copy(position)
    return out.finish(code, f"__resume_at_{shape.decoded.instrs[index].offset}")


def new_function(
    code: CodeType,
    globals_: dict[str, Any],
    name: str | None = None,
    *,
    defaults_from: FunctionType | None = None,
    closure: Iterable[CellType] = (),
) -> FunctionType:
    """A function made of a code object; `defaults_from` lends its defaults, module and attributes.

    >>> new_function((lambda x: x + 1).__code__, {}, "inc")(1)
    2
    """
    made = FunctionType(code, globals_, name or code.co_name, None, tuple(closure) or None)
    if defaults_from is not None:
        made.__defaults__ = defaults_from.__defaults__
        made.__kwdefaults__ = defaults_from.__kwdefaults__
        made.__module__ = defaults_from.__module__
        made.__dict__.update(defaults_from.__dict__)
    return made
