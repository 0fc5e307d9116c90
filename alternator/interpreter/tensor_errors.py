"""What operations that fail on fakes raise: the user's exception, in eager's words, or a break."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from alternator import interrupts
from alternator.exc import Break, UserError, UserErrorType, UserRaise
from alternator.interpreter import histories
from alternator.provenance.world import MISSING
from alternator.tensors.eager_errors import CannotBeTried, eager_error, first_line
from alternator.tensors.from_data import sizes_from_data
from alternator.tensors.watched import PartialOverlap


def classify(vm: Any, what: Any, error: Exception, args: Any = None, kwargs: Any = None) -> BaseException:
    """An exception of fake execution: what eager would raise too is the user's; what only a fake cannot know is a break."""
    interrupts.check(error)
    name = getattr(what, "__name__", str(what))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DynamicOutputShapeException):
            return Break("DYNAMIC_OUTPUT_SHAPE", name, brings=args and sizes_from_data(vm.fakes, what, args, kwargs or {}))
        if isinstance(cause, GuardOnDataDependentSymNode):
            return Break("DATA_DEPENDENT_VALUE", name, raises=_needs_rewriting)
        if isinstance(cause, DataDependentOutputException):
            return Break("DATA_DEPENDENT_VALUE", name)
        if isinstance(cause, (UnsupportedOperatorException, UnsupportedFakeTensorException)):
            return Break("NO_FAKE_RULE", f"{name}: {cause}")
        if isinstance(cause, PartialOverlap):
            return Break("OVERLAPPING_WRITE", name)
        cause = cause.__cause__ or cause.__context__
    if issubclass(type(error), NotImplementedError):
        return Break("NO_FAKE_RULE", f"{name}: {first_line(error)}")
    if args is None:
        return UserRaise(vm.adopt(error))
    if type(error) is TypeError and torch.SymBool in map(type, (*args, *(kwargs or {}).values())):
        return Break("NO_FAKE_RULE", f"{name}: {first_line(error)}")
    if type(error) is TypeError and "failed to unpack" in str(error) and touches_tensor(args, kwargs or {}):
        return Break("DATA_DEPENDENT_VALUE", name)  # a tensor among numbers, such as a size
    try:
        in_eager = _tried_in_eager(vm, what, args, kwargs)
    except CannotBeTried:
        in_eager = MISSING
    if in_eager is None:
        return Break("NO_FAKE_RULE", f"{name}: {first_line(error)}")
    if type(in_eager) is not type(error):
        return Break("NO_FAKE_RULE", f"how {name} fails: {first_line(error)}")
    histories.rely_on_all(vm, (*args, *(kwargs or {}).values()))
    in_eager.__context__ = None  # it was raised while that of the fakes was handled, which is nothing of the program's
    return UserRaise(vm.adopt(in_eager))


def _tried_in_eager(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    return eager_error(fn, args, kwargs, lambda symbol: vm.symbolic(_NUMBERS[type(symbol)], symbol))


def try_written(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """An in-place operation with numbers of a larger kind than the tensor's: not all rules of fakes see that they do not fit."""
    kind = _number_kind(args[0])
    if kind < 3 and any(_number_kind(value) > kind for value in args[1:]):
        try_in_eager(vm, fn, args, kwargs)


def _number_kind(value: Any) -> int:
    """0 bool, 1 int, 2 float, 3 complex; -1 for what is no number."""
    if issubclass(type(value), torch.Tensor):
        dtype = value.dtype
        return 3 if dtype.is_complex else 2 if dtype.is_floating_point else dtype is not torch.bool
    return _NUMBER_KINDS.get(type(value), -1)


_NUMBERS: Any = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool, int: int}
_NUMBER_KINDS = {bool: 0, torch.SymBool: 0, int: 1, torch.SymInt: 1, float: 2, torch.SymFloat: 2, complex: 3}


def try_in_eager(vm: Any, fn: Any, args: Any, kwargs: Any) -> None:
    """Raise what the kernel raises where fakes are known to let pass what it does not."""
    try:
        error = _tried_in_eager(vm, fn, args, kwargs)
    except CannotBeTried:
        return
    if error is not None:
        raise UserRaise(vm.adopt(error))


def _needs_rewriting(text: str) -> UserError:
    """Where no break is allowed: the program decides on a number that only the graph knows."""
    return UserError(UserErrorType.ANTI_PATTERN, text)


def touches_tensor(args: Any, kwargs: Any) -> bool:
    for value in args:
        if issubclass(type(value), torch.Tensor) or issubclass(type(value), (list, tuple)) and touches_tensor(value, {}):
            return True
    return any(
        issubclass(type(v), torch.Tensor) or issubclass(type(v), (list, tuple)) and touches_tensor(v, {}) for v in kwargs.values()
    )
