"""Scalars of NumPy that only the graph knows: arrays of no dimensions to ``torch._numpy``, numbers to the program.

They are never written to, count as Python's numbers beside tensors, and have the type that NumPy itself would give: it is asked
about examples of the arguments, and where ``torch._numpy`` gives another one the graph breaks.
"""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any, Callable

import numpy
import torch
import torch._numpy as tnp
from torch._subclasses.fake_tensor import unset_fake_temporarily

from alternator.exc import Break, UserRaise
from alternator.interpreter import attributes, operations, tensor_ops
from alternator.interpreter.tables import GETATTR, RULES
from alternator.provenance.world import ADMIT, MISSING
from alternator.tensors.graph import SYMBOLIC

Array = tnp.ndarray
_EXAMPLES = {torch.SymInt: 3, torch.SymFloat: 0.5, torch.SymBool: True}
_LARGE = 4096
"""Larger arrays are no arguments to try things with."""


def no_scalar(vm: Any, value: Any) -> Any:
    """NumPy's operators and reductions give scalars where no dimension is left; this came from something that does not."""
    if type(value) is Array and not value.tensor.dim():
        vm.states.setdefault("arrays", {})[id(value)] = value
    return value


def is_scalar(vm: Any, value: Any) -> bool:
    """Whether a captured array is a scalar to the program."""
    return type(value) is Array and not value.tensor.dim() and id(value) not in vm.states.get("arrays", ())


def _type_of(vm: Any, value: Any) -> type:
    if in_library(vm) or not is_scalar(vm, value):
        return numpy.ndarray
    return numpy.dtype(value.dtype.name).type


def in_library(vm: Any) -> bool:
    """The code that asks is that of ``torch._numpy``, to which there are only arrays."""
    return bool(vm.frame.globals.get("__name__", "").startswith("torch._numpy"))


attributes.show_as(Array, _type_of, known=True)


def number_of(vm: Any, value: Any, fn: Any = None, left: Any = None, right: Any = None) -> Any:
    """What stands beside a tensor for something of NumPy's: a scalar is a number there."""
    if type(value) is not Array:
        return value
    if not is_scalar(vm, value):
        raise Break("NUMPY", "an operation of a tensor and an array")
    if value.tensor.is_complex():
        raise Break("NUMPY", "an operation of a tensor and a complex scalar")
    beside = right if left is None else left
    if fn in (_EITHER_WAY if left is None else _AS_RIGHT) and value.tensor.dtype is not torch.bool:
        if beside.dim() and beside.dtype in (torch.float32, torch.float64):
            return value.tensor
    return tensor_ops.symbol_of(vm, value.tensor)


tensor_ops.NUMBERS_BESIDE[Array] = number_of
_EITHER_WAY = frozenset({operator.add, operator.mul})
_AS_RIGHT = _EITHER_WAY | {operator.sub, operator.truediv, operator.iadd, operator.isub, operator.imul, operator.itruediv}
"""What a number and a tensor of no dimensions do alike to tensors of floats that have some: kernels make the one of the other."""


# ---- which functions of numbers give what


def is_number(value: Any) -> bool:
    """A constant that NumPy's functions take for a number (or a text that says how)."""
    return issubclass(type(value), numpy.generic) or ADMIT.is_constant(type(value))


def are_numbers(value: Any) -> bool:
    """The same of lists of them."""
    if type(value) in (list, tuple):
        return all(map(are_numbers, value))
    return is_number(value)


def has_tensor(value: Any) -> bool:
    """A tensor, or a list with one."""
    return any(map(has_tensor, value)) if type(value) in (list, tuple) else issubclass(type(value), torch.Tensor)


def example(vm: Any, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What the function gives for arguments like these; UNKNOWN if that cannot be told, or depends on what is in the arrays."""
    if _computes_otherwise(fn.__name__, [*args, *kwargs.values()]):
        raise Break("NUMPY", f"{fn.__name__}() of such numbers")
    try:
        with unset_fake_temporarily(), torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            given = [_like(vm, arg) for arg in args]
            named = {name: _like(vm, arg) for name, arg in kwargs.items()}
            with numpy.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return fn(*given, **named)
    except _NoExample:
        return UNKNOWN
    except Exception as error:
        if not issubclass(type(error), numpy.linalg.LinAlgError) or all(map(are_numbers, (*args, *kwargs.values()))):
            raise Break("NUMPY", f"how {fn.__name__}() of such arguments fails") from None
        return UNKNOWN


def _computes_otherwise(name: str, values: list[Any]) -> bool:
    """Torch takes ints that do not fit for others that do, rounds nothing in front of the point, and has no kernels for some."""
    kinds = {value.tensor.dtype for value in values if type(value) is Array}
    whole = [torch.iinfo(kind) for kind in kinds if not kind.is_floating_point and not kind.is_complex and kind is not torch.bool]
    ints = [value for value in values if type(value) is int]
    if torch.bool in kinds and name in _PRODUCTS or name in _OF_REALS and any(kind.is_complex for kind in kinds):
        return True
    if "round" in name and any(value < 0 for value in ints):
        return True
    return any(not info.min <= value <= info.max for info in whole for value in ints)


_PRODUCTS = frozenset({"tensordot", "dot", "matmul", "inner", "outer", "vdot", "kron", "einsum"})
_OF_REALS = frozenset({"rint", "std", "var", "sign"})
UNKNOWN = object()
"""What ``example`` cannot tell."""


class _NoExample(Exception):
    """There is nothing to try the function with."""


def _like(vm: Any, value: Any) -> Any:
    if type(value) is Array:
        shape = [vm.fakes.number(size) or 2 for size in value.tensor.shape]
        made = numpy.ones(shape, value.dtype.name) if numpy.prod(shape, dtype=object) <= _LARGE else None
        if made is None:
            raise _NoExample
        return made[()] if is_scalar(vm, value) else made
    if issubclass(type(value), torch.Tensor):
        shape = [vm.fakes.number(size) or 2 for size in value.shape]
        if value.requires_grad or math.prod(shape) > _LARGE:
            raise _NoExample
        return torch.ones(shape, dtype=value.dtype)
    if issubclass(type(value), SYMBOLIC):
        known = vm.fakes.number(value)
        return _EXAMPLES[type(value)] if known is None else known
    if type(value) in (list, tuple):
        return type(value)([_like(vm, item) for item in value])
    if not is_number(value) and not issubclass(type(value), (type, numpy.dtype)):
        raise _NoExample
    return value


def as_numpy_gives(vm: Any, name: str, expected: Any, result: Any) -> Any:
    """The result of ``torch._numpy``, if it is of the type that NumPy's is; else a break."""
    if expected is UNKNOWN:
        return result
    if type(result) is not Array:
        if type(result) in (tuple, list) and type(expected) in (tuple, list) and len(result) == len(expected):
            return type(expected)([as_numpy_gives(vm, name, *pair) for pair in zip(expected, result)])
        if type(result) is type(expected) or type(result) in SYMBOLIC and type(expected) in (int, float, bool):
            return result
        raise Break("NUMPY", f"numpy.{name}() of such arguments")
    if not isinstance(expected, (numpy.ndarray, numpy.generic)) or expected.dtype.name != result.dtype.name.rstrip("_"):
        raise Break("NUMPY", f"numpy.{name}() of such arguments")
    if expected.ndim != result.tensor.dim():
        raise Break("NUMPY", f"numpy.{name}() of such arguments")
    return no_scalar(vm, result) if isinstance(expected, numpy.ndarray) else result


# ---- operators


def binary(vm: Any, fn: Callable[..., Any], left: Any, right: Any) -> Any:
    """``left <op> right`` where one is a captured array or scalar."""
    if is_scalar(vm, left):
        fn = operations.NOT_IN_PLACE.get(fn, fn)  # scalars are not written to
    given = tuple(
        [vm.call(tnp.asarray, (value,)) if issubclass(type(value), numpy.generic) else value for value in (left, right)]
    )
    if fn is operator.truediv and not any(map(_is_fraction, given)):  # torch divides in its default type
        given = tuple(
            [Array(vm.call(torch.Tensor.double, (value.tensor,))) if type(value) is Array else value for value in given]
        )
    try:
        result = vm.native(fn, given)
    except UserRaise:
        raise Break("NUMPY", f"how {fn.__name__} of arrays fails") from None
    return as_numpy_gives(vm, fn.__name__, example(vm, fn, (left, right), {}), result) if type(result) is Array else result


def _is_fraction(value: Any) -> bool:
    if type(value) is Array:
        return bool(value.tensor.is_floating_point() or value.tensor.is_complex())
    return issubclass(type(value), (float, complex, torch.SymFloat))


def unary(vm: Any, fn: Callable[..., Any], value: Any) -> Any:
    """``<op> value`` of a captured array or scalar."""
    try:
        return vm.native(fn, (value,))
    except UserRaise:
        raise Break("NUMPY", f"how {fn.__name__} of an array fails") from None


operations.OF_ARRAYS[Array] = binary, unary


# ---- attributes


@GETATTR.rule(Array)
def load(vm: Any, value: Any, name: str) -> Any:
    """What NumPy's arrays have and these have not is a break; only ``torch._numpy`` itself sees what only these have."""
    inside = in_library(vm)
    shown = _type_of(vm, value)
    if not inside and not hasattr(shown, name):
        raise vm.user_raise(AttributeError(f"'numpy.{shown.__name__}' object has no attribute '{name}'", name=name))
    found = attributes.lookup(vm, value, name)
    if found is MISSING or not inside and name in _OTHERWISE:
        raise Break("NUMPY", f"{name} of a numpy.{shown.__name__}")
    return found


_OTHERWISE = frozenset(
    {"flat", "data", "__format__", "__repr__", "__str__", "__reduce__", "__reduce_ex__", "__sizeof__", "__hash__"}
)
"""What these have, and is something else there."""


for _name in ("__str__", "__repr__"):

    def _text(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break("DATA_DEPENDENT_VALUE", "the text of an array")

    RULES.put(Array.__dict__[_name], _text)
