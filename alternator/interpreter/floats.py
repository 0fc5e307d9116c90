"""Arithmetic on floats that vary: exactly what the program wrote, where sympy would join, reorder and cancel it.

``(v + 1e20) - 1e20`` is not ``v`` to a machine, nor is ``v * 0.1 * 3`` what ``v * 0.3`` is.  So an operand that is a sum or a
product already, and a result that sympy simplified, get symbols of their own, and ``Fakes.formulas`` says how they are made.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Callable

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._sympy import functions
from torch.utils._sympy.functions import ToFloat

from alternator.exc import Break
from alternator.interpreter.identity import hashable
from alternator.tensors.fake import SymbolSource
from alternator.tensors.graph import SYMBOLIC

_COMPARE = frozenset({operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge})
_WRITTEN: dict[Any, Any] = {
    operator.add: sympy.Add,
    operator.iadd: sympy.Add,
    operator.sub: sympy.Add,
    operator.isub: sympy.Add,
    operator.mul: sympy.Mul,
    operator.imul: sympy.Mul,
}
_GIVE_ZEROS = frozenset({*_WRITTEN, operator.truediv, operator.floordiv, operator.mod})
_GIVE_ZEROS |= {operator.itruediv, operator.ifloordiv, operator.imod}
"""``0.0 * v``, ``v % v`` and the like are no constants: the zero has a sign."""
_ROUNDED = frozenset({operator.floordiv, operator.ifloordiv})
"""``1.0 // 0.1`` is 9.0, which no rounded quotient is."""
_TAKEN_APART = (
    sympy.Add,
    sympy.Mul,
    sympy.Pow,
    *[kind for name, kind in vars(functions).items() if name.startswith("OpaqueUnaryFn_")],
)
"""What sympy knows laws of: ``acos(v) == c`` is no ``v == cos(c)`` to a machine."""
_PLAIN = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
}


def run(vm: Any, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """An operation with floats among its arguments (some of them symbolic); raises what ``fn`` raises."""
    args = tuple([_named(vm, arg) if type(arg) is torch.SymFloat else arg for arg in args])
    if fn in _COMPARE:
        _can_be_compared(vm, *args)
        return fn(*args)
    result = fn(*args)
    kind = type(result)
    if kind is torch.SymFloat:
        as_written = fn not in _ROUNDED and _is_as_written(fn, args, result.node.expr)
        return result if as_written and math.isfinite(vm.fakes.number(result) or 0.0) else _named_result(vm, fn, args)
    if kind in (int, float) and fn in _GIVE_ZEROS:
        return _named_result(vm, fn, args)
    return result


def rounded(vm: Any, number: torch.SymFloat, digits: int) -> Any:
    """``round(number, digits)`` behind the point, which never fails."""
    return _named_result(vm, round, (number, digits))


def _named(vm: Any, value: torch.SymFloat) -> Any:
    """The number as one symbol if it is a formula that sympy would take apart."""
    expr = value.node.expr
    if not isinstance(expr, (sympy.Add, sympy.Mul, sympy.Pow)):
        return value
    return _name(vm, (operator.pos, expr), operator.pos, (value,), None)


def _named_result(vm: Any, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    fn = _PLAIN.get(fn, fn)
    numbers = [vm.fakes.number(arg) for arg in args]
    value = None
    if None not in numbers:
        value = fn(*numbers)
        if type(value) is not float or not math.isfinite(value):
            return fn(*[hashable(vm, arg) for arg in args])
    key = fn, *[arg.node.expr if issubclass(type(arg), SYMBOLIC) else (type(arg), repr(arg)) for arg in args]
    return _name(vm, key, fn, args, value)


def _name(vm: Any, key: Any, fn: Callable[..., Any], args: tuple[Any, ...], value: float | None) -> Any:
    formulas = vm.fakes.formulas
    made = formulas.made.get(key)
    if made is None:
        if value is None:
            value = vm.fakes.number(args[0]) if fn is operator.pos else None
        made = formulas.made[key] = vm.fakes.derived_float(value, SymbolSource(None, f"{fn.__name__}{args}"))
        formulas.of[made.node.expr] = fn, args
        vm.recorder.formula(made.node.expr, fn, args, made)
    return made


def _is_as_written(fn: Callable[..., Any], args: tuple[Any, ...], expr: sympy.Expr) -> bool:
    """Whether the expression is the one operation, on these operands."""
    head = _WRITTEN.get(fn)
    if expr.is_number:
        return False
    if head is None:
        return not isinstance(expr, _TAKEN_APART) or fn is operator.neg and expr == -args[0].node.expr
    if not isinstance(expr, head) or len(expr.args) != 2:
        return False
    left, right = args
    sign = -1 if fn in (operator.sub, operator.isub) else 1
    return any(_is(one, left, 1) and _is(other, right, sign) for one, other in (expr.args, expr.args[::-1]))


def _is(term: sympy.Expr, arg: Any, sign: int) -> bool:
    if issubclass(type(arg), SYMBOLIC):
        expr = arg.node.expr
        return term == sign * expr or term == sign * ToFloat(expr)
    return bool(term.is_number and float(term) == sign * arg)


def _can_be_compared(vm: Any, left: Any, right: Any) -> None:
    """Symbols stand for finite numbers: what the graph computes may be none, and then it differs from itself."""
    unbacked = [bool(issubclass(type(value), SYMBOLIC) and free_unbacked_symbols(value)) for value in (left, right)]
    if not any(unbacked):
        return
    if all(unbacked) and left.node.expr == right.node.expr:
        raise Break("DATA_DEPENDENT_VALUE", "whether a number is equal to itself")
    if any(type(value) is float and not math.isfinite(value) for value in (left, right)):
        raise Break("DATA_DEPENDENT_VALUE", "whether a number is finite")
