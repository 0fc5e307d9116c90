"""One function as one graph: an ordinary capture, up to the point where code would be generated for it."""

from __future__ import annotations

import types
from typing import Any, Callable, TypeVar

import torch
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _disable_current_modes

from alternator import breaks, utils
from alternator.capture import Attempt, reconsider, state_kept, user_stack
from alternator.exc import AlternatorException, Break, InternalError, Restart, UserRaise
from alternator.provenance.source import SourceTree
from alternator.request import CompileRequest
from alternator.runtime.convert import compile_lock
from alternator.semantics import function_modes, functorch
from alternator.tensors.dynamic import Shapes

Result = TypeVar("Result")


def capture_whole(
    func: types.FunctionType,
    values: list[Any],
    request: CompileRequest,
    shapes: Shapes,
    name: Callable[[SourceTree], None],
    consume: Callable[[Attempt], Result],
) -> Result:
    """Interpret a frame to its end; nothing is compiled, and nothing of the program is run.

    Args:
        name: may give the sources of arguments names of their own.
        consume: is given the run while it still holds everything; its result is returned.

    Raises ``Unsupported`` for a break, and what the program raises.
    """
    if any(type(mode) is not DeviceContext for mode in torch.overrides._get_current_function_mode_stack()):
        raise breaks.unsupported(Break("MODE", "a mode that is active around the function that is exported"))
    while True:
        try:
            with compile_lock, utils.timed("capture"), _disable_current_modes(), state_kept():
                return _capture(func, values, request, shapes, name, consume)
        except Restart as restart:
            restart.prepare()
        except UserRaise as raised:
            error = raised.exc
            break
    raise error  # here, where it gets no context of ours


def _capture(
    func: types.FunctionType,
    values: list[Any],
    request: CompileRequest,
    shapes: Shapes,
    name: Callable[[SourceTree], None],
    consume: Callable[[Attempt], Result],
) -> Result:
    attempt = Attempt(func, values, request, shapes=shapes)
    name(attempt.vm.world.tree)
    try:
        try:
            attempt.run()
            functorch.check_closed(attempt.vm)
            function_modes.check_closed(attempt.vm)
            attempt.vm.check_abandoned(lambda generator: False)
        except Break as stopped:
            broken = stopped
        except AlternatorException:
            raise
        except Exception as error:
            raise InternalError(f"while {func.__name__} was exported: {type(error).__name__}: {error}") from error
        else:
            try:
                return consume(attempt)
            except Break as stopped:
                broken = stopped
        reconsider(attempt, broken)
        raise breaks.unsupported(broken, user_stack(attempt)[1:]) from None
    finally:
        while request.attempts:
            request.attempts.pop().release()
