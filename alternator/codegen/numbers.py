"""Floats that leave the captured code and are made of outside numbers: computed in Python, for few backends return numbers."""

from __future__ import annotations

from typing import Any

import sympy
import torch

_SIGNS = {sympy.Add: "+", sympy.Mul: "*"}


def text_of(b: Any, value: Any) -> str | None:
    """The expression of a symbolic number over the parameters of the generated function; None: only the graph computes it."""
    if not isinstance(value, (torch.SymFloat, torch.SymInt)):
        return repr(value) if type(value) in (int, float) and value - value == 0 else None
    return _of(b, value.node.expr)


def _of(b: Any, expr: Any) -> str | None:
    source = b.vm.recorder.source_of(expr)
    if source is not None:
        return b.load(source)
    made = b.vm.fakes.formulas.of.get(expr)
    if made is not None:
        fn, args = made
        words = [text_of(b, arg) for arg in args]
        return None if None in words else f"{b.constant(fn, 'formula')}({', '.join(map(str, words))})"
    if type(expr) in (sympy.Float, sympy.Integer, sympy.core.numbers.NegativeOne, sympy.core.numbers.One):
        return repr(float(expr))
    if type(expr) not in _SIGNS or len(expr.args) != 2 or any(arg.is_integer and arg.free_symbols for arg in expr.args):
        return None
    words = [_of(b, arg) for arg in expr.args]  # one operation, as the program wrote it (interpreter/floats.py)
    return None if None in words else f"({words[0]} {_SIGNS[type(expr)]} {words[1]})"
