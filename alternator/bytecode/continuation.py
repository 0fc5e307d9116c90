"""Code objects that enter a function in its middle, with the frame's locals and stack as arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any, Final

from bytecode import Label

from .analysis import stack_depth, successors
from .assemble import Assembler, checked_layout, layout_at, origin_of, template
from .codecache import CodeCache
from .decode import DecodedCode
from .layout import Layout
from .step import Step, make_step
from .versions import FACTS

__all__ = [
    "Continuation",
    "Layout",
    "Step",
    "all_given",
    "links",
    "make_call_continuation",
    "make_continuation",
    "make_step",
    "new_function",
    "original_place",
    "stack_below",
]


@dataclass(frozen=True, slots=True)
class Continuation(Layout):
    """The rest of a function from one instruction on.

    Call a function made of `code` (with cells for `free_names` as its closure) with the arguments that the layout names.
    """

    code: CodeType
    free_names: tuple[str, ...]


_cache: Final[CodeCache[dict[Layout, Continuation]]] = CodeCache()


def make_continuation(
    code: CodeType,
    index: int,
    stack_depth: int,
    *,
    null_positions: Iterable[int] = (),
    unbound: Iterable[str] = (),
    kept: Iterable[str] = (),
) -> Continuation:
    """A continuation of `code` at instruction `index`, which `stack_depth` stack items are there before.

    Locals in `unbound` start unbound, and stack positions (from the bottom, 0) in `null_positions` hold NULL. Locals that
    are not live at `index` are parameters only if they are in `kept`. Inside a handler the exception that is being handled
    is a parameter, and what is on the stack is restored such that it is handled again. ValueError where a function cannot be
    entered: in generators and coroutines, in class bodies and modules, before the function's body. Cached per code object.

    >>> def f(x):
    ...     y = x + 1
    ...     return y * 2
    >>> rest = make_continuation(f.__code__, 4, 1)  # before STORE_FAST y
    >>> new_function(rest.code, globals())(10)
    20
    """
    layout = checked_layout(code, index, stack_depth, null_positions, unbound, kept)
    known = _cache.get_or_put(code, dict)
    if layout not in known:
        known[layout] = Continuation(**layout.fields, code=_assemble(code, layout), free_names=template(code).free_names)
    return known[layout]


def _assemble(code: CodeType, layout: Layout) -> CodeType:
    shape, index = template(code), layout.index
    out = Assembler(shape, index)
    out.follow((index, layout, layout.null_positions))
    out.prologue(layout)
    body = out.body((index,))
    if body[0] != index:
        out.emit("JUMP_FORWARD", out.label(index))
    for position in body:
        out.copy(position)
    return out.finish(code)


_CALLEE: Final = ("___child", "___given")


def all_given(code: CodeType, values: Iterable[Any]) -> Iterator[Any]:
    """What a continuation goes on with: the values that it is given, then those of the callee that it goes on with, and so on.

    >>> def f(___child, ___given): ...
    >>> def g(x): ...
    >>> list(all_given(f.__code__, (g, (5,)))) == [g, (5,), 5]
    True
    """
    while True:
        own = list(values)
        yield from own
        names = code.co_varnames[: code.co_argcount][-2:]
        if tuple(name.rstrip("_") for name in names) != _CALLEE:
            return
        child, values = own[code.co_argcount - 2 : code.co_argcount]
        code = child.__code__


_call_cache: Final[CodeCache[dict[Any, tuple[Continuation, CodeType]]]] = CodeCache()


def links(code: CodeType, index: int) -> bool:
    """Can `make_call_continuation` replace this instruction?"""
    try:
        decoded = template(code).decoded
    except ValueError:
        return False
    following = successors(decoded, index)
    return index > decoded.body_start and (len(following) == 1 or decoded.instrs[index].opname in _JUMPING)


def stack_below(code: CodeType, index: int) -> int:
    """How many items the stack holds below the operands of instruction `index`."""
    decoded = template(code).decoded
    name = decoded.instrs[index].opname
    results = 0 if name in FACTS.no_result else 2 if name in FACTS.method_loads else 1
    return stack_depth(decoded, index + 1) - results


def make_call_continuation(
    code: CodeType,
    index: int,
    runner: Any,
    child: CodeType,
    *,
    null_positions: Iterable[int] = (),
    unbound: Iterable[str] = (),
    kept: Iterable[str] = (),
) -> Continuation:
    """A continuation in the middle of instruction `index` of `code`, which has called something that is not finished yet.

    It takes the rest of the callee behind the locals and the stack that is left below the operands: a function and a tuple
    of its arguments. It calls `runner(function, arguments)` in the place of the instruction, inside
    its exception handlers, and goes on behind it with the result. A code object of its own for each code of the callee's.
    For FOR_ITER the result is a tuple of the next item, or an empty one; for SEND a pair: whether the receiver has returned,
    and what it gave.

    >>> def f(x):
    ...     y = g(x)
    ...     return y * 2
    >>> callee = (lambda a: a + 1).__code__
    >>> rest = make_call_continuation(f.__code__, 4, lambda fn, args: fn(*args), callee)  # in CALL
    >>> new_function(rest.code, {})(new_function(callee, {}), (4,))
    10
    """
    if not links(code, index):
        raise ValueError(f"instruction {index} cannot be entered in its middle")
    shape = template(code)
    nulls = frozenset(null_positions)
    layout = layout_at(shape, index, nulls, frozenset(unbound), frozenset(kept), stack_below(code, index))
    known = _call_cache.get_or_put(code, dict)
    key = (layout, id(runner), id(child))
    if key not in known:
        decoded = shape.decoded
        out = Assembler(shape, index)
        out.follow(*_behind(decoded, index, layout))
        name = decoded.instrs[index].opname
        rest = out.prologue(layout, more=_CALLEE)
        if name in FACTS.method_loads:
            out.emit("PUSH_NULL")
        out.emit_link(index, rest, runner)
        if name in FACTS.no_result:
            out.emit("POP_TOP")
        body = out.body((*successors(decoded, index), *_handlers(decoded, index)))
        if name in _JUMPING:
            _JUMPING[name](out, out.label(index + 1), out.label(decoded.instrs[index].target or 0))
        elif body[0] != index + 1:
            out.emit("JUMP_FORWARD", out.label(index + 1))
        for position in body:
            out.copy(position)
        made = out.finish(code)
        known[key] = Continuation(**layout.fields, code=made, free_names=shape.free_names), child
    return known[key][0]


def _after_for_iter(out: Assembler, body: Label, end: Label) -> None:
    """The result is a tuple of the next item, or an empty one where there is none."""
    none = Label()
    out.emit("GET_ITER")
    out.emit("FOR_ITER", none)
    out.emit("SWAP", 2)
    out.emit("POP_TOP")
    out.emit("JUMP_FORWARD", body)
    out.place(none)
    out.emit("POP_TOP")
    out.emit("JUMP_FORWARD", end)


def _after_send(out: Assembler, body: Label, end: Label) -> None:
    """The result is a pair: whether the receiver has returned, and what it gave."""
    returned = Label()
    out.emit("UNPACK_SEQUENCE", 2)
    out.emit("POP_JUMP_FORWARD_IF_TRUE", returned)
    out.emit("JUMP_FORWARD", body)
    out.place(returned)
    out.emit("SWAP", 2)
    out.emit("POP_TOP")
    out.emit("JUMP_FORWARD", end)


_JUMPING: Final = {"FOR_ITER": _after_for_iter, "SEND": _after_send}
"""What has two ways to go on: how the result of the rest of the callee says which."""


def _behind(decoded: DecodedCode, index: int, layout: Layout) -> list[tuple[int, Layout, frozenset[int]]]:
    """Where a piece in the middle of an instruction goes on, and where NULLs are on the stack there."""
    nulls = frozenset(layout.null_positions)
    made = {layout.stack_depth} if decoded.instrs[index].opname in FACTS.method_loads else set()
    starts = [(following, layout, nulls | made) for following in successors(decoded, index)]
    entry = decoded.exception_entry(index)
    if entry is not None:
        starts.append((entry.handler, layout, frozenset(position for position in nulls if position < entry.depth)))
    return starts


def _handlers(decoded: Any, index: int) -> tuple[int, ...]:
    entry = decoded.exception_entry(index)
    return () if entry is None else (entry.handler,)


def original_place(code: CodeType, index: int) -> tuple[CodeType, int]:
    """The same place in the function that a continuation is the rest of: (code object, index of the instruction).

    The place itself where the code is nobody's continuation, or in the part of one that the original does not have.
    """
    origin = origin_of(code)
    original = None if origin is None else origin.code
    if origin is None or original is None or index >= len(origin.indices) or origin.indices[index] < 0:
        return code, index
    return original, origin.indices[index]


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
