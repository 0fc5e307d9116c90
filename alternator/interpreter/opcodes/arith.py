"""Operators and subscripts."""

from __future__ import annotations

import operator
from typing import Any

import torch

from alternator.bytecode.versions import BINARY_OPS, COMPARE_OPS
from alternator.interpreter import operations
from alternator.interpreter.links import passes_on
from alternator.interpreter.opcode_table import op
from alternator.interpreter.sameness import same


@op("BINARY_OP")
def binary_op(f: Any, i: Any) -> None:
    stack = f.stack
    right = stack.pop()
    stack[-1] = operations.binary(f.vm, BINARY_OPS[i.arg][1], stack[-1], right)


@op("COMPARE_OP")
def compare_op(f: Any, i: Any) -> None:
    stack = f.stack
    right = stack.pop()
    stack[-1] = operations.binary(f.vm, COMPARE_OPS[i.argval], stack[-1], right)


@op("IS_OP")
def is_op(f: Any, i: Any) -> None:
    stack = f.stack
    right = stack.pop()
    stack[-1] = same(f.vm, stack[-1], right) is not bool(i.arg)


@op("CONTAINS_OP")
def contains_op(f: Any, i: Any) -> None:
    stack = f.stack
    container = stack.pop()
    found = operations.contains(f.vm, container, stack[-1])
    if type(found) is torch.SymBool:
        stack[-1] = torch.sym_not(found) if i.arg else found
    else:
        stack[-1] = found is not bool(i.arg)


@op("UNARY_NOT")
def unary_not(f: Any, i: Any) -> None:
    f.stack[-1] = not f.vm.truth(f.stack[-1])


@op("UNARY_NEGATIVE")
def unary_negative(f: Any, i: Any) -> None:
    f.stack[-1] = operations.unary(f.vm, operator.neg, f.stack[-1])


@op("UNARY_POSITIVE")
def unary_positive(f: Any, i: Any) -> None:
    f.stack[-1] = operations.unary(f.vm, operator.pos, f.stack[-1])


@op("UNARY_INVERT")
def unary_invert(f: Any, i: Any) -> None:
    f.stack[-1] = operations.unary(f.vm, operator.invert, f.stack[-1])


@op("BINARY_SUBSCR")
@passes_on
def binary_subscr(f: Any, i: Any) -> None:
    stack = f.stack
    key = stack.pop()
    stack[-1] = operations.getitem(f.vm, stack[-1], key)


@op("STORE_SUBSCR")
@passes_on
def store_subscr(f: Any, i: Any) -> None:
    key, obj, value = f.stack.pop(), f.stack.pop(), f.stack.pop()
    operations.setitem(f.vm, obj, key, value)


@op("DELETE_SUBSCR")
@passes_on
def delete_subscr(f: Any, i: Any) -> None:
    key, obj = f.stack.pop(), f.stack.pop()
    operations.delitem(f.vm, obj, key)
