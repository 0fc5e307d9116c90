"""Numbers that are made of outside numbers: computed by generated code, exactly as the program wrote it.

What leaves the captured code need not go through the graph then, and floats go to it in tensors.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._sympy import functions as f

from alternator.tensors.fake import SymbolSource
from alternator.tensors.memo import dense_fake

_SIGNS = {sympy.Add: "+", sympy.Mul: "*"}
_OPERATORS = {
    f.FloorDiv: "//",
    f.PythonMod: "%",
    f.IntTrueDiv: "/",
    f.FloatTrueDiv: "/",
    f.FloatPow: "**",
    f.PowByNatural: "**",
}
_FUNCTIONS: dict[Any, Any] = {
    f.Max: max,
    f.Min: min,
    f.ToFloat: float,
    f.TruncToInt: math.trunc,
    f.FloorToInt: math.floor,
    f.CeilToInt: math.ceil,
    sympy.Abs: abs,
}
_NEVER_RAISE = frozenset(
    {operator.pos, operator.neg, operator.add, operator.sub, operator.mul, operator.truediv, abs, max, min, round}
)
"""Of numbers that guards have found to fit: a power may be too large, and ``math.sin`` wants no infinity.  What is rounded is so
behind the point."""
_OF_INTS = (f.ToFloat, f.IntTrueDiv)
_OF_FLOATS = (f.TruncToInt, f.FloorToInt, f.CeilToInt)


def text_of(b: Any, value: Any) -> str | None:
    """The expression of a number over the parameters of the generated function; None: only the graph computes it."""
    if isinstance(value, (torch.SymFloat, torch.SymInt)):
        return _of(b, value.node.expr, type(value) is torch.SymInt)
    return repr(value) if type(value) is int or type(value) is float and math.isfinite(value) else None


def never_raises(vm: Any, value: Any) -> bool:
    """Whether the expression of a number can stand behind effects, and outside of the program's handlers."""
    return all(_is_total(vm, sub) for sub in sympy.preorder_traversal(value.node.expr))


def _is_total(vm: Any, expr: Any) -> bool:
    made = vm.fakes.formulas.of.get(expr)
    if made is not None:
        fn, args = made
        numbers = [arg for arg in args if isinstance(arg, (torch.SymFloat, torch.SymInt))]
        if fn in _WITHIN:
            return all(never_raises(vm, arg) and _lies(vm, arg.node.expr, *_WITHIN[fn]) for arg in numbers)
        return fn in _NEVER_RAISE and all(never_raises(vm, arg) for arg in numbers)
    if expr.func is f.FloatPow:
        return _power_fits(vm, *expr.args)
    return expr.func not in (f.PowByNatural, f.TruncToInt, f.FloorToInt, f.CeilToInt)


def _power_fits(vm: Any, base: Any, exponent: Any) -> bool:
    if not exponent.is_number or not 0 < float(exponent) <= 8:
        return False
    return _lies(vm, base, -_FAR if float(exponent).is_integer() else 0.0, _FAR)


def _lies(vm: Any, expr: Any, low: float, high: float) -> bool:
    """Whether a number is between these; then it is guarded to be so."""
    return _holds(vm, sympy.Ge(expr, low)) and _holds(vm, sympy.Le(expr, high))


_FAR = 1e30
_RANGES = {
    "sqrt": (0.0, _FAR),
    "log2": (1 / _FAR, _FAR),
    **dict.fromkeys(("sin", "cos", "tan", "tanh", "atan"), (-_FAR, _FAR)),
}
_WITHIN = {
    getattr(space, prefix + name): between
    for name, between in _RANGES.items()
    for space, prefix in ((math, ""), (torch, "sym_"), (torch, "_sym_"))
    if hasattr(space, prefix + name)
}
"""Functions that may raise, and what they certainly do not raise between."""


def _holds(vm: Any, condition: Any) -> bool:
    """Whether it is so in this capture; then guards say so."""
    if free_unbacked_symbols(condition):
        return False
    return bool(vm.fakes.shape_env.evaluate_expr(condition))


def _of(b: Any, expr: Any, whole: bool) -> str | None:
    source = b.vm.recorder.source_of(expr)
    if source is not None:
        return str(b.load(source))
    made = b.vm.fakes.formulas.of.get(expr)
    if made is not None:
        fn, args = made
        return _call(b.constant(fn, "formula"), [text_of(b, arg) for arg in args])
    if expr.is_number:
        return repr(int(expr) if whole else float(expr)) if expr.is_Integer or expr.is_Float else None
    kind = expr.func
    if kind in _SIGNS:
        if not whole and len(expr.args) != 2:  # floats are added and multiplied one by one (interpreter/floats.py)
            return None
        return _joined(_SIGNS[kind], [_of(b, arg, whole) for arg in expr.args])
    words = [_of(b, arg, kind in _OF_INTS or whole and kind not in _OF_FLOATS) for arg in expr.args]
    if kind in _OPERATORS:
        return _joined(_OPERATORS[kind], words)
    return _call(b.constant(_FUNCTIONS[kind], "number"), words) if kind in _FUNCTIONS else None


def _joined(sign: str, words: list[str | None]) -> str | None:
    return None if None in words else f"({f' {sign} '.join(map(str, words))})"


def _call(name: str, words: list[str | None]) -> str | None:
    return None if None in words else f"{name}({', '.join(map(str, words))})"


class _Dry:
    """Takes the place of the builder to see whether there is an expression."""

    def __init__(self, vm: Any) -> None:
        self.vm = vm

    def load(self, source: Any) -> str:
        return "load"

    def constant(self, value: Any, hint: str) -> str:
        return hint


def in_tensor(vm: Any, value: Any) -> tuple[Any, Any, Any] | None:
    """For a float that goes to the backend in a tensor: the tensor, a fake whose item it is, what makes one in generated code."""
    if text_of(_Dry(vm), value) is None:
        return None
    number = vm.fakes.number(value)
    with unset_fake_temporarily():
        real = torch.tensor(number, dtype=torch.float64)
    fake: Any = dense_fake(vm.fakes.mode, real.shape, real.stride(), real.dtype, real.device)
    if not value.node.expr.is_Symbol:  # the backend looks for symbols, and must not take it apart
        named = vm.fakes.derived_float(number, SymbolSource(None, f"number({value.node.expr})"))
        vm.fakes.formulas.of[named.node.expr] = operator.pos, (value,)
        value = named
    fake.item_memo = value

    def make(b: Any) -> str:
        return f"{b.constant(torch.tensor, 'tensor')}({text_of(b, value)}, dtype={b.constant(torch.float64, 'float64')})"

    return real, fake, make
