"""Operations on numbers that vary; how far integers are followed as formulas: beyond that each value is a version of its own."""

from __future__ import annotations

import functools
import operator
import re
from typing import Any, Callable

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from alternator.exc import Break, InternalError, SkipFrame, UserRaise
from alternator.interpreter import floats, tensor_errors
from alternator.interpreter.identity import hashable
from alternator.provenance.world import is_heap
from alternator.tensors.graph import SYMBOLIC

STEPS = 20
"""So many steps of the interpreter an operation weighs (it takes sympy longer than that)."""

MAX_TERMS = 128
"""So many parts may a formula have. Each step with a larger one, and each guard on it, takes sympy longer than the whole rest."""

MAX_CONSTANTS = 8
"""So many formulas become constants before the numbers that they are made of do.  This is no arithmetic on sizes, and
a version with guards on many long formulas answers no more calls than one for these numbers."""

_CONSTANTS = "formulas that became constants"

OF_BITS = 40
"""As so many parts counts what torch gives sympy for ``&`` and ``|``: nothing is simplified or bounded through it."""

EXACT = 2**53
"""All ints up to here are floats."""

LARGE = 2**62
"""Where native guards and the graph, which count in 64 bits, begin to overflow."""


_NUMBERS = (torch.SymInt, torch.SymFloat)


def run(vm: Any, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """An operation of which some operands are symbolic."""
    if any(_is_known(arg) for arg in args):
        args = tuple([int(arg) if _is_known(arg) else arg for arg in args])
        if all(type(arg) not in SYMBOLIC for arg in args):
            return vm.plain(fn, *args)
    vm.weigh()
    if any(type(arg) in _NUMBERS for arg in args):  # to sympy a bool is no number
        args = tuple([int(arg) if type(arg) is bool else arg for arg in args])
    inexact = any(type(arg) is torch.SymInt and _is_inexact(vm, arg) for arg in args)
    try:
        if any(type(arg) in (torch.SymFloat, float) for arg in args):
            if not inexact:
                return floats.run(vm, fn, args)
        else:
            result = fn(*args)
            if not (
                inexact and type(result) is torch.SymFloat or type(result) is torch.SymInt and not _can_be_had(vm, result, args)
            ):
                return int(result) if _is_known(result) else result
    except (Break, InternalError, SkipFrame, UserRaise):
        raise
    except Exception as error:
        found = tensor_errors.classify(vm, fn, error)
        if not isinstance(found, UserRaise) or all(not issubclass(type(arg), SYMBOLIC) for arg in args):
            raise found from None
    _make_constant(vm, args)
    return vm.plain(fn, *[hashable(vm, arg) for arg in args])  # as the numbers do it, and with their errors


def _make_constant(vm: Any, args: tuple[Any, ...]) -> None:
    """These formulas become constants, with a guard each; where many do, the numbers that they are made of."""
    exprs = [arg.node.expr for arg in args if type(arg) is torch.SymInt]
    made = [expr for expr in exprs if not expr.is_Symbol and not expr.is_number]
    vm.states[_CONSTANTS] = count = vm.states.get(_CONSTANTS, 0) + len(made)
    if count > MAX_CONSTANTS:
        known = vm.fakes.shape_env.backed_var_to_val
        for symbol in {symbol: None for expr in made for symbol in sorted(expr.free_symbols, key=str)}:
            if symbol in known and type(known[symbol]) is sympy.Integer:
                vm.fakes.shape_env.evaluate_expr(symbol)


def _is_known(value: Any) -> bool:
    """A number that is the same in every call of this version: no symbol any more, and nothing that is made of it takes sympy."""
    return type(value) is torch.SymInt and value.node.maybe_as_int() is not None


def _is_inexact(vm: Any, value: Any) -> bool:
    """Whether the number is rounded where it becomes a float: symbolic mathematics would not do that."""
    number = vm.fakes.number(value)
    return number is not None and abs(number) > EXACT


def _can_be_had(vm: Any, result: Any, args: tuple[Any, ...]) -> bool:
    """Whether a symbolic int, made of these numbers, may stay one; what only the graph knows must."""
    numbers = [vm.fakes.number(value) for value in (result, *args)]
    if None in numbers:
        return True
    return all(-LARGE < number < LARGE for number in numbers) and not _is_long(result.node.expr)


def _is_long(expr: Any) -> bool:
    count, waiting = 0, [expr]
    while waiting:
        part = waiting.pop()
        count += OF_BITS if type(part).__name__.startswith("BitwiseFn") else 1
        if count > MAX_TERMS:
            return True
        waiting += part.args
    return False


# ---- C code that compares or adds up, where a number of a class of its own stands beside a symbolic one

_BINARY = "add sub mul truediv floordiv mod pow and or xor lshift rshift".split()
_COMPARING = "lt le eq ne gt ge".split()


def is_foreign(values: Any) -> bool:
    """Whether these are a symbolic number and an instance of a subclass of ``int``, ``float`` or ``complex``."""
    return len(values) == 2 and is_heap(type(values[1])) and issubclass(type(values[1]), (int, float, complex))


def asked(vm: Any, func: Any, values: list[Any]) -> Any:
    """What a method of a symbolic number gives that C code calls.  A bool beside it is an int: to sympy it is none."""
    if is_foreign(values):
        return beside_number(vm, func, *values)
    if len(values) == 2 and type(values[1]) is bool and type(values[0]) in _NUMBERS:
        return func(values[0], int(values[1]))
    return func(*values)


def beside_number(vm: Any, func: Any, number: Any, other: Any) -> Any:
    """A special method of a symbolic number that C code calls with such an instance: sympy takes it for a symbol of its own, and
    would never ask the class, which may have methods that go first."""
    if func not in _special_methods():
        return func(number, other)
    fn, reflected = _special_methods()[func]
    number = hashable(vm, number)
    return vm.call(fn, (other, number) if reflected else (number, other))


@functools.cache
def _special_methods() -> dict[Any, tuple[Callable[..., Any], bool]]:
    """Special methods of symbolic numbers: the operator, and whether the number is its right operand."""
    methods = {}
    for kind in SYMBOLIC:
        for name in (*_BINARY, *_COMPARING):
            for prefix in ("", "r") if name in _BINARY else ("",):
                found = vars(kind).get(f"__{prefix}{name}__")
                if found is not None:
                    methods[found] = getattr(operator, f"__{name}__"), bool(prefix)
    return methods


_ONLY_SYMBOLS = (
    ("Can only compare inequalities with Expr",),
    ("BooleanAtom not allowed in this context.",),
    ("unhashable type: non-nested SymInt",),
)
"""What symbolic numbers say to C code that does what the program's numbers can do: be hashed, be compared with a bool. Captured
arrays and scalars of NumPy cannot do all that NumPy's can, either."""


_OF_OURS = re.compile("ndarray|not supported between instances of .*'Sym")
"""The program's own would raise something else, or say another type."""

SHOWS_SYMBOL = re.compile(r"\bSym(Int|Float|Bool)\b")
"""The text of an error names the class of what stands for a number."""


def as_shown(error: BaseException) -> None:
    """Let the text of an error name the types that the program sees."""
    if type(error) is TypeError and len(error.args) == 1 and type(error.args[0]) is str and "Sym" in error.args[0]:
        error.args = (SHOWS_SYMBOL.sub(lambda found: found[1].lower(), error.args[0]),)


def only_symbols_raise(error: Exception) -> bool:
    """Whether native code raised it because of what stands for a number or an array, and would not for the program's own."""
    if type(error) is TypeError and (error.args in _ONLY_SYMBOLS or _OF_OURS.search(str(error))):
        return True
    return issubclass(type(error), GuardOnDataDependentSymNode)
