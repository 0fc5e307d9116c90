"""What the shape environment relied on, as native programs over sizes of the inputs."""

from __future__ import annotations

import operator
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
from alternator.tensors.graph import SYMBOLIC


def shape_facts(fakes: Fakes) -> list[tuple[Any, ...]]:
    """Rows for the tail of the guard table: one per condition that was relied on, and per symbol's range."""
    env = fakes.shape_env
    check_marked(fakes)
    origins = {symbol: where for symbol, where in fakes.sources.items() if isinstance(symbol, sympy.Symbol)}
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
    ints = [symbol for symbol, origin in origins.items() if origin[1] != "float"]
    where = Places(origins, fakes.formulas.of, {symbol for symbol in ints if abs(env.backed_var_to_val.get(symbol, 0)) > EXACT})
    numbers = [symbol for symbol, origin in origins.items() if origin[1] == "float"]
    facts = [_finite(symbol, where) for symbol in (*numbers, *where.formulas) if where.knows(symbol)]
    for condition in dict.fromkeys(conditions):
        if condition is sympy.true:
            continue
        unknown = [s for s in condition.free_symbols if not where.knows(s)]
        if any(not symbol_is_type(s, (SymT.UNBACKED_INT, SymT.UNBACKED_FLOAT)) for s in unknown):
            raise Break("DATA_DEPENDENT_GUARD", f"nothing outside gives the value of {unknown[0]}, and {condition} was relied on")
        if unknown:
            continue  # a condition on what the graph computes: an assertion in the graph, not a guard
        facts.append(_fact(condition, where))
    checked: list[tuple[Any, Any]] = [(k, v) for k, v in fakes.sources.items() if isinstance(k, tuple)]
    for handle, (expr, source, dim) in checked:
        kind = handle[2]
        if all(s in origins for s in expr.free_symbols) and origins.get(expr) != (source, kind, dim):
            facts.append(_fact(expr, where, equals=(source, kind, dim)))
    return facts


class Places:
    """Where the numbers that conditions speak of can be had: from outside, or by a formula of such."""

    def __init__(self, origins: dict[Any, tuple[Source, str, int]], formulas: dict[Any, Any], large: set[Any]) -> None:
        self.origins, self.formulas, self.large = origins, formulas, large

    def knows(self, symbol: sympy.Symbol) -> bool:
        if symbol in self.formulas:
            return all(self.knows(inner) for arg in self.formulas[symbol][1] for inner in _expr(arg).free_symbols)
        return symbol in self.origins

    def outside(self, symbols: Any) -> list[sympy.Symbol]:
        """The symbols of outside values that these are, or are computed of."""
        found: dict[sympy.Symbol, None] = {}
        for symbol in sorted(symbols, key=str):
            if symbol in self.formulas:
                inner = {one for arg in self.formulas[symbol][1] for one in _expr(arg).free_symbols}
                found.update(dict.fromkeys(self.outside(inner)))
            else:
                found[symbol] = None
        return list(found)

    def evaluate(self, expr: Any, values: dict[Any, Any]) -> Any:
        """The value of an expression; ``values`` has those of the outside symbols, and gets those of formulas."""
        for symbol in expr.free_symbols:
            if symbol not in values:
                fn, args = self.formulas[symbol]
                values[symbol] = fn(*[self.evaluate(_expr(a), values) if isinstance(a, SYMBOLIC) else a for a in args])
        return sympy_interp(_Numbers, values, expr)

    def text(self, expr: Any) -> str:
        """For people: with the names of sources in place of the symbols."""
        try:
            text = str(expr)
        except ValueError:  # an int of very many digits
            text = f"a condition on {', '.join(map(str, expr.free_symbols))}"
        for symbol in sorted(expr.free_symbols, key=str, reverse=True):
            if symbol in self.formulas:
                fn, args = self.formulas[symbol]
                name = f"{fn.__name__}({', '.join(self.text(_expr(arg)) for arg in args)})"
            else:
                source, kind, dim = self.origins[symbol]
                name = source.name if dim < 0 else f"{source.name}.{kind}({dim})"
            text = text.replace(str(symbol), name)
        return text


class _Numbers(PythonReferenceAnalysis):
    """What sympy's functions are on Python's numbers; torch's own table falls back to sympy's for some of them."""

    @staticmethod
    def maximum(a: Any, b: Any) -> Any:
        return max(a, b)

    @staticmethod
    def minimum(a: Any, b: Any) -> Any:
        return min(a, b)

    @staticmethod
    def int_truediv(a: Any, b: Any) -> Any:
        return a / b

    @staticmethod
    def round_to_int(a: Any, dtype: Any) -> Any:
        return round(a)

    @staticmethod
    def round_decimal(a: Any, b: Any) -> Any:
        return round(a, b)


def _expr(value: Any) -> Any:
    return value.node.expr if isinstance(value, SYMBOLIC) else sympy.sympify(value)


def _finite(symbol: sympy.Symbol, where: Places) -> tuple[Any, ...]:
    """The float is neither infinite nor NaN: no condition that was taken for granted holds for those."""
    difference = sympy.Add(symbol, sympy.Mul(-1, symbol, evaluate=False), evaluate=False)
    return _fact(sympy.Eq(difference, 0, evaluate=False), where, text=f"{where.text(symbol)} is finite")


def check_marked(fakes: Fakes) -> None:
    """Sizes that the user marked as dynamic must be so, as far as the user said, but for 0 and 1: these are constants always."""
    for fake, source, dim, bounds in fakes.must_vary:
        size = fake.shape[dim]
        name = f"{source.name}.size({dim})"
        expr = size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
        seen = fakes.shape_env.bound_sympy(expr)
        if expr in (0, 1) and (bounds is None or expr >= (bounds.min or 0)):
            continue
        if not expr.free_symbols or seen.lower == seen.upper:
            raise ConstraintViolation(
                f"{name} was marked as dynamic, but the program needs it to be {seen.lower}. Use maybe_mark_dynamic where "
                "a constant will do, or change what the program relies on"
            )
        value = fakes.shape_env.guarding_hint_or_throw(expr)
        if bounds is not None and not (bounds.min or 0) <= value <= (value if bounds.max is None else bounds.max):
            raise ConstraintViolation(f"{name} was marked as dynamic between {bounds.min} and {bounds.max}, but it is {value}")


EXACT = 2**53
"""Native programs take no larger ints for floats: the conversion may round."""


def _fact(expr: sympy.Basic, where: Places, equals: Any = None, text: str = "") -> tuple[Any, ...]:
    if where.large and not where.large.isdisjoint(where.outside(expr.free_symbols)):
        return _interpreted_fact(expr, where, equals, text)
    try:
        return _native_fact(expr, where, equals, text)
    except _NoNativeForm:
        return _interpreted_fact(expr, where, equals, text)


class _NoNativeForm(Exception):
    """A function that the native programs do not know."""


def _interpreted_fact(expr: sympy.Basic, where: Places, equals: Any, text: str) -> tuple[Any, ...]:
    """The same condition, evaluated in Python: for functions that are rare in shapes."""
    symbols = where.outside(expr.free_symbols)
    places = [where.origins[symbol] for symbol in symbols] + ([equals] if equals is not None else [])
    for source, _, _ in places:
        source.want()
    kinds = [(kind, dim) for _, kind, dim in places]

    def holds(*values: Any) -> bool:
        numbers = [value if dim < 0 else getattr(value, kind)(dim) for value, (kind, dim) in zip(values, kinds)]
        answer = where.evaluate(expr, dict(zip(symbols, numbers)))
        return bool(answer == numbers[-1] if equals is not None else answer)

    return ("PY", tuple(source for source, _, _ in places), holds, text or where.text(expr))


def _native_fact(expr: sympy.Basic, where: Places, equals: Any, text: str) -> tuple[Any, ...]:
    inputs: list[tuple[Any, ...]] = []
    program: list[Any] = []

    def load(place: tuple[Source, str, int]) -> None:
        if place not in inputs:
            inputs.append(place)
            place[0].want()
        program.append(("in", inputs.index(place)))

    _emit(expr, where, program, load)
    text = text or where.text(expr)
    if equals is not None:
        load(equals)
        program.append("==")
        text = f"{equals[0].name}.{equals[1]}({equals[2]}) == {text}"
    return ("SHAPE", tuple(inputs), tuple(program), text)


def _emit(expr: Any, where: Places, program: list[Any], load: Callable[[Any], None]) -> None:
    if isinstance(expr, sympy.Symbol):
        if expr in where.formulas:
            _emit_formula(where.formulas[expr], where, program, load)
        else:
            load(where.origins[expr])
        return
    if isinstance(expr, (sympy.Integer, int)):
        _emit_int(int(expr), program)
        return
    if isinstance(expr, (sympy.Float, float)):
        program.append(("const", float(expr)))
        return
    if isinstance(expr, sympy.Rational):
        _emit_int(int(expr.p), program)
        _emit_int(int(expr.q), program)
        program.append("/")
        return
    if expr in (sympy.true, sympy.false):
        program.append(("const", int(expr is sympy.true)))
        return
    name = _FOLDS.get(expr.func)
    if name is not None:
        for i, arg in enumerate(expr.args):
            _emit(arg, where, program, load)
            if i:
                program.append(name)
        return
    name = _PLAIN.get(expr.func)
    if name is None:
        raise _NoNativeForm
    for arg in expr.args:
        _emit(arg, where, program, load)
    program.append(name)


def _emit_formula(formula: tuple[Any, tuple[Any, ...]], where: Places, program: list[Any], load: Callable[[Any], None]) -> None:
    fn, args = formula
    name = _FUNCTIONS.get(fn)
    if name is None:
        raise _NoNativeForm
    for arg in args:
        if _expr(arg).is_Integer and abs(int(_expr(arg))) > EXACT:
            raise _NoNativeForm
        if isinstance(arg, SYMBOLIC):
            _emit(arg.node.expr, where, program, load)
        elif isinstance(arg, float):
            program.append(("const", arg))
        else:
            _emit_int(int(arg), program)
    program += name


def _emit_int(value: int, program: list[Any]) -> None:
    if not -(2**63) <= value < 2**63:
        raise _NoNativeForm
    program.append(("const", value))


_FUNCTIONS: dict[Any, tuple[str, ...]] = {
    operator.add: ("+",),
    operator.sub: ("-",),
    operator.mul: ("*",),
    operator.truediv: ("/",),
    operator.neg: ("neg",),
    operator.abs: ("abs",),
    operator.pos: (),
}
"""What formulas are made of -> the native operations."""
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
