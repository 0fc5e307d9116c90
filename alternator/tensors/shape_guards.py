"""What the shape environment relied on, as native programs over sizes of the inputs."""

from __future__ import annotations

from typing import Any, Callable

import sympy
import torch
from torch.utils._sympy import functions as f
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis
from torch.utils._sympy.symbol import SymT, symbol_is_type

from alternator.exc import Break, ConstraintViolation
from alternator.provenance.source import Source
from alternator.tensors.fake import Fakes


def shape_facts(fakes: Fakes) -> list[tuple[Any, ...]]:
    """Rows for the tail of the guard table: one per condition that was relied on, and per symbol's range."""
    env = fakes.shape_env
    check_marked(fakes)
    origins = {symbol: where for symbol, where in fakes.sources.items() if isinstance(symbol, sympy.Symbol)}
    large = {symbol for symbol in origins if abs(env.backed_var_to_val.get(symbol, 0)) > EXACT}
    conditions: list[sympy.Basic] = []
    for guard in env.guards:
        conditions.append(guard.expr)
    for deferred in env.deferred_runtime_asserts.values():  # of unbacked sizes of inputs: guards like others
        conditions += [condition.expr for condition in deferred]
    for symbol in origins:
        bounds = env.var_to_range.get(symbol)
        if bounds is None:
            continue
        if bounds.lower.is_integer and bounds.lower > 0:
            conditions.append(sympy.Ge(symbol, bounds.lower, evaluate=False))
    facts = []
    for condition in dict.fromkeys(conditions):
        if condition is sympy.true:
            continue
        unknown = [s for s in condition.free_symbols if s not in origins]
        if any(not symbol_is_type(s, (SymT.UNBACKED_INT, SymT.UNBACKED_FLOAT)) for s in unknown):
            raise Break("DATA_DEPENDENT_GUARD", f"nothing outside gives the value of {unknown[0]}, and {condition} was relied on")
        if unknown:
            continue  # a condition on what the graph computes: an assertion in the graph, not a guard
        facts.append(_fact(condition, origins, large))
    checked: list[tuple[Any, Any]] = [(k, v) for k, v in fakes.sources.items() if isinstance(k, tuple)]
    for handle, (expr, source, dim) in checked:
        kind = handle[2]
        if all(s in origins for s in expr.free_symbols) and origins.get(expr) != (source, kind, dim):
            facts.append(_fact(expr, origins, large, equals=(source, kind, dim)))
    return facts


def check_marked(fakes: Fakes) -> None:
    """Sizes that the user marked as dynamic must be so, as far as the user said."""
    for fake, source, dim, bounds in fakes.must_vary:
        size = fake.shape[dim]
        name = f"{source.name}.size({dim})"
        expr = size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
        seen = fakes.shape_env.bound_sympy(expr)
        if not expr.free_symbols or seen.lower == seen.upper:
            raise ConstraintViolation(
                f"{name} was marked as dynamic, but the program needs it to be {seen.lower}. Use maybe_mark_dynamic where "
                "a constant will do, or change what the program relies on"
            )
        value = fakes.shape_env.size_hint(expr)
        if bounds is not None and not (bounds.min or 0) <= value <= (value if bounds.max is None else bounds.max):
            raise ConstraintViolation(f"{name} was marked as dynamic between {bounds.min} and {bounds.max}, but it is {value}")


EXACT = 2**53
"""Native programs take no larger ints for floats: the conversion may round."""


def _fact(expr: sympy.Basic, origins: dict[Any, Any], large: set[Any], equals: Any = None) -> tuple[Any, ...]:
    if large and not large.isdisjoint(expr.free_symbols):
        return _interpreted_fact(expr, origins, equals)
    try:
        return _native_fact(expr, origins, equals)
    except _NoNativeForm:
        return _interpreted_fact(expr, origins, equals)


class _NoNativeForm(Exception):
    """A function that the native programs do not know."""


def _interpreted_fact(expr: sympy.Basic, origins: dict[Any, Any], equals: Any) -> tuple[Any, ...]:
    """The same condition, evaluated in Python: for functions that are rare in shapes."""
    symbols = sorted(expr.free_symbols, key=str)
    places = [origins[symbol] for symbol in symbols] + ([equals] if equals is not None else [])
    for source, _, _ in places:
        source.want()
    kinds = [(kind, dim) for _, kind, dim in places]

    def holds(*values: Any) -> bool:
        numbers = [value if dim < 0 else getattr(value, kind)(dim) for value, (kind, dim) in zip(values, kinds)]
        answer = sympy_interp(PythonReferenceAnalysis, dict(zip(symbols, numbers)), expr)
        return bool(answer == numbers[-1] if equals is not None else answer)

    return ("PY", tuple(source for source, _, _ in places), holds, str(expr))


def _native_fact(expr: sympy.Basic, origins: dict[Any, Any], equals: Any) -> tuple[Any, ...]:
    inputs: list[tuple[Any, ...]] = []
    program: list[Any] = []

    def load(where: tuple[Source, str, int]) -> None:
        if where not in inputs:
            inputs.append(where)
            where[0].want()
        program.append(("in", inputs.index(where)))

    _emit(expr, origins, program, load)
    text = str(expr)
    if equals is not None:
        load(equals)
        program.append("==")
        text = f"{equals[0].name}.{equals[1]}({equals[2]}) == {text}"
    for symbol in sorted(expr.free_symbols, key=str):
        source, kind, dim = origins[symbol]
        text = text.replace(str(symbol), source.name if dim < 0 else f"{source.name}.{kind}({dim})")
    return ("SHAPE", tuple(inputs), tuple(program), text)


def _emit(expr: Any, origins: dict[Any, Any], program: list[Any], load: Callable[[Any], None]) -> None:
    if isinstance(expr, sympy.Symbol):
        load(origins[expr])
        return
    if isinstance(expr, (sympy.Integer, int)):
        if not -(2**63) <= int(expr) < 2**63:
            raise _NoNativeForm
        program.append(("const", int(expr)))
        return
    if isinstance(expr, (sympy.Float, float)):
        program.append(("const", float(expr)))
        return
    if isinstance(expr, sympy.Rational):
        program += [("const", int(expr.p)), ("const", int(expr.q)), "/"]
        return
    if expr in (sympy.true, sympy.false):
        program.append(("const", int(expr is sympy.true)))
        return
    name = _FOLDS.get(expr.func)
    if name is not None:
        for i, arg in enumerate(expr.args):
            _emit(arg, origins, program, load)
            if i:
                program.append(name)
        return
    name = _PLAIN.get(expr.func)
    if name is None:
        raise _NoNativeForm
    for arg in expr.args:
        _emit(arg, origins, program, load)
    program.append(name)


_FOLDS = {
    sympy.Add: "+",
    sympy.Mul: "*",
    sympy.And: "and",
    sympy.Or: "or",
    f.Max: "max",
    f.Min: "min",
    sympy.Max: "max",
    sympy.Min: "min",
}
_PLAIN = {
    sympy.Pow: "**",
    f.PowByNatural: "**",
    f.FloatPow: "**",
    f.FloorDiv: "//",
    f.CleanDiv: "//",
    f.Mod: "%",
    f.PythonMod: "%",
    sympy.Mod: "%",
    f.IntTrueDiv: "/",
    f.FloatTrueDiv: "/",
    sympy.Eq: "==",
    sympy.Ne: "!=",
    sympy.Lt: "<",
    sympy.Le: "<=",
    sympy.Gt: ">",
    sympy.Ge: ">=",
    sympy.Not: "not",
    f.ToFloat: "float",
    f.TruncToInt: "trunc",
    f.FloorToInt: "floor",
    f.CeilToInt: "ceil",
    f.OpaqueUnaryFn_sqrt: "sqrt",
    sympy.Abs: "abs",
    f.Where: "select",
    f.BitwiseFn_bitwise_and: "&",
    f.BitwiseFn_bitwise_or: "|",
    f.LShift: "<<",
    f.RShift: ">>",
}
