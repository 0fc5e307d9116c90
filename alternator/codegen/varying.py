"""What is known to vary where a function breaks is taken to vary in its continuation from the first capture on.

Sizes that the data decides (what ``nonzero`` or a boolean mask gives), its numbers (``item()``), what loops count through, and
sizes and numbers that are symbolic already: the continuation would be captured with the values of its first call, and again
when they turn out to change.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import torch

from alternator.bytecode.analysis import stack_depth
from alternator.bytecode.assemble import origin_of
from alternator.bytecode.continuation import original_place
from alternator.bytecode.decode import DecodedCode, decode
from alternator.interpreter.frame import Frame
from alternator.interpreter.loops import Lazy
from alternator.provenance import iterators
from alternator.tensors.from_data import FromData, symbolic_dims

MAX_ITEMS = 64
"""Longer containers are not looked through."""

NUMBER = FromData(("", True))
Given = list[tuple[str, Any]]
"""What a continuation is called with: names of parameters and values; of a nested call its own list."""


def expect(state: dict[Any, Any], given: Given) -> None:
    """Note in the state of a continuation's code what varies of that which it is called with."""
    for path, value in _leaves(given):
        if type(value) is FromData:
            for place, what in value.found:
                state["expected", path + place] = what
                if what is not True:
                    state["sizes from data"] = True
        elif issubclass(type(value), torch.Tensor):
            dims = symbolic_dims(value)
            if dims:
                state["expected", path] = dims
        elif issubclass(type(value), (torch.SymInt, torch.SymFloat)) and not value.node.is_constant():
            state["expected", path] = True


def _leaves(given: Given) -> Iterator[tuple[str, Any]]:
    for name, value in given:
        yield from _below(name, value, 3)


def _below(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if kind is Nested:
        for number, (_, item) in enumerate(value.given):
            yield from _below(f"{path}[{number}]", item, 3)
    elif kind in (list, tuple) and depth and len(value) <= MAX_ITEMS:
        for number, item in enumerate(value):
            yield from _below(f"{path}[{number}]", item, depth - 1)
    elif kind is dict and depth and len(value) <= MAX_ITEMS:
        for key, item in value.items():
            if type(key) in (str, int):
                yield from _below(f"{path}[{key!r}]", item, depth - 1)
    else:
        yield path, value


class Nested:
    """The tuple of arguments of a callee's rest."""

    def __init__(self, given: Given) -> None:
        self.given = given


def names_of(code: types.CodeType) -> tuple[str, ...]:
    """The parameters of a continuation."""
    return code.co_varnames[: code.co_argcount]


# ---- the variables that loops count through


def counted(frame: Frame) -> frozenset[str]:
    """The variables that hold the numbers that the loops around the frame's instruction count through."""
    names: set[str] = set()
    for position, value in enumerate(frame.stack):
        if issubclass(type(value), Lazy):
            names.update(value.variables(_targets(frame, position)))
        elif type(value) is iterators.RANGE or type(value) in iterators.COMPOSED:
            names.update(_variables(value, _targets(frame, position)))
    return frozenset(names).union(_stepped(frame))


def _stepped(frame: Frame) -> Iterator[str]:
    """The variables to which a loop around the frame's instruction, or right behind it, adds a number each time (``n += 1``)."""
    code, at = original_place(frame.code, frame.at)
    if origin_of(code) is not None:
        return
    instrs = decode(code).instrs
    ends = [i for i in instrs[at:] if "JUMP_BACKWARD" in i.opname and i.target is not None and i.target <= at + 1]
    if not ends:
        return
    first = min(instr.target or 0 for instr in ends)
    for number in range(first + 3, ends[-1].index):
        value, step, add, store = instrs[number - 3 : number + 1]
        if store.opname == "STORE_FAST" and (value.opname, value.argval) == ("LOAD_FAST", store.argval):
            if step.opname == "LOAD_CONST" and type(step.argval) is int and add.opname == "BINARY_OP" and add.argval in _STEPS:
                yield store.argval


_STEPS = frozenset({"+", "-", "+=", "-="})


def _targets(frame: Frame, position: int) -> Any:
    """What the innermost loop around the instruction whose iterator is there on the stack assigns to."""
    code, at = original_place(frame.code, frame.at)
    if origin_of(code) is not None:  # in the prologue of a continuation
        return None
    decoded, found = decode(code), None
    for instr in decoded.instrs[:at]:
        if instr.opname == "FOR_ITER" and (instr.target or 0) > at and stack_depth(decoded, instr.index) == position + 1:
            found = _target(decoded, instr.index + 1)[0]
    return found


def _target(decoded: DecodedCode, at: int) -> tuple[Any, int]:
    """A name, or a list of these for what is unpacked, and the instruction behind the assignment; None for other targets."""
    instr = decoded.instrs[at]
    if instr.opname == "STORE_FAST":
        return instr.argval, at + 1
    if instr.opname != "UNPACK_SEQUENCE":
        return None, at + 1
    at, parts = at + 1, []
    for _ in range(instr.arg or 0):
        part, at = _target(decoded, at)
        parts.append(part)
        if part is None:
            break
    return parts, at


def _variables(iterator: Any, target: Any) -> Iterator[str]:
    kind = type(iterator)
    if kind is iterators.RANGE:
        if type(target) is str:
            yield target
    elif kind in iterators.COMPOSED and type(target) is list:
        parts = iterator.__reduce__()[1]
        if kind is enumerate:
            if target and type(target[0]) is str:
                yield target[0]
            parts = (None, parts[0])
        for part, below in zip(parts, target):
            yield from _variables(part, below)
