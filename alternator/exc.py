"""Exceptions.

Three kinds of trouble never mix (design, rule 4):

* an exception of the user's program travels inside the tracer as :class:`UserRaise` and leaves it as itself;
* a :class:`Break` says that something cannot be traced: a code of :mod:`alternator.breaks` and a detail;
* :class:`InternalError` is a bug of Alternator.

``Break`` and ``UserRaise`` are carriers: BaseExceptions, so that no handler of the program or of a library that runs in
between takes them for its own.  The others are what users see and catch; their names are those of ``torch._dynamo.exc``.
"""

from __future__ import annotations

import enum
from typing import Any, Callable

from torch.fx.experimental.symbolic_shapes import ConstraintViolationError


class Break(BaseException):
    """This cannot be traced.  ``code`` is a row of :mod:`alternator.breaks`, ``detail`` says what it was here."""

    def __init__(self, code: str, detail: str = "", **info: Any) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.info = info

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class UserRaise(BaseException):
    """Carries an exception of the user's program through the tracer."""

    def __init__(self, exc: BaseException) -> None:
        super().__init__(exc)
        self.exc = exc


class Restart(BaseException):
    """The capture needs something done for real first, outside of it; then it begins anew."""

    def __init__(self, prepare: Callable[[], Any]) -> None:
        super().__init__()
        self.prepare = prepare


class AlternatorException(RuntimeError):
    """Base of everything that Alternator raises to users."""

    def __init__(self, *args: Any, **_: Any) -> None:
        super().__init__(*args)
        self.real_stack: Any = None

    @property
    def msg(self) -> str:
        """The message."""
        return str(self)


class InternalError(AlternatorException):
    """A bug of Alternator, not of the program."""


class GuardMismatch(InternalError):
    """The native check of an entry passed where the same guards in plain Python do not (``config.recheck_guards``)."""


class SkipFrame(AlternatorException):
    """This frame cannot be captured; it runs plainly, and is not asked about again."""


class Unsupported(AlternatorException):
    """A break where none is allowed (``fullgraph=True``).  ``code`` is a row of :mod:`alternator.breaks`."""

    def __init__(self, message: str, code: str = "", detail: str = "", cure: str = "", stack: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail
        self.cure = cure
        self.real_stack = stack


class UserErrorType(enum.Enum):
    """What kind of wrong use a :class:`UserError` is about."""

    DYNAMIC_CONTROL_FLOW = enum.auto()
    ANTI_PATTERN = enum.auto()
    STANDARD_LIBRARY = enum.auto()
    CONSTRAINT_VIOLATION = enum.auto()
    DYNAMIC_DIM = enum.auto()
    INVALID_INPUT = enum.auto()
    INVALID_OUTPUT = enum.auto()
    UNSUPPORTED_ALIASED_MUTATED_DYNAMIC_INPUTS = enum.auto()


class UserError(Unsupported):
    """The program asks for something that cannot be had; it has to change."""

    def __init__(self, error_type: UserErrorType, message: str, case_name: str | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.case_name = case_name


class ConstraintViolation(UserError, ConstraintViolationError):
    """A size that was marked dynamic has to be a constant, or is outside of the range that was given."""

    def __init__(self, message: str) -> None:
        UserError.__init__(self, UserErrorType.CONSTRAINT_VIOLATION, message)


class BackendCompilerFailed(AlternatorException):
    """A backend raised while it compiled a graph.  ``inner_exception`` is what it raised."""

    def __init__(self, backend: str | Callable[..., Any], inner_exception: Exception, graph: str = "") -> None:
        self.backend_name = backend if isinstance(backend, str) else getattr(backend, "__name__", repr(backend))
        self.inner_exception = inner_exception
        self.graph = graph
        text = f"backend {self.backend_name!r} raised:\n{type(inner_exception).__name__}: {inner_exception}"
        if graph:
            text += f"\n\nwhile it compiled this graph:\n{graph}"
        text += (
            "\n\nTo see whether the graph or the backend is at fault, compile with backend='eager', then 'aot_eager'; "
            "to run such a function without compiling it, set alternator.config.suppress_errors = True"
        )
        super().__init__(text)

    def __reduce__(self) -> Any:
        return type(self), (self.backend_name, self.inner_exception, self.graph)


class WrongResults(AlternatorException):
    """What a backend has made of a graph gives something else than the graph's outputs."""


class TorchRuntimeError(AlternatorException):
    """A torch operation cannot work on the values it is given; running the program plainly fails as well."""


class InvalidBackend(AlternatorException):
    """No backend has this name."""

    def __init__(self, name: str, valid: Any = ()) -> None:
        self.name = name
        super().__init__(
            f"{name!r} is no backend. The backends are: {', '.join(sorted(valid))}. "
            "Your own is any function of (graph_module, example_inputs) that returns a callable; "
            "alternator.register_backend gives it a name"
        )


class ResetRequired(AlternatorException):
    """Something was changed that compiled code depends on."""

    def __init__(self, what: str = "the settings") -> None:
        super().__init__(f"call alternator.reset() before {what} can be changed")


class RecompileError(AlternatorException):
    """``config.error_on_recompile``: something that was compiled would have to be compiled again."""


class RecompileLimitExceeded(Unsupported):
    """One function needed more entries than ``config.recompile_limit`` allows."""


class FailOnRecompileLimitHit(RecompileLimitExceeded):
    """The limit was met where running plainly is not allowed."""


class ForbiddenCall(AlternatorException, AssertionError):
    """Captured code calls a function that must not be called there (``forbid_in_graph``)."""


class UncapturedHigherOrderOpError(UserError):
    """The body of ``cond``, ``map`` or the like could not be captured, and there is no other way to run it."""

    def __init__(self, message: str) -> None:
        super().__init__(UserErrorType.DYNAMIC_CONTROL_FLOW, message)


class CondOpArgsMismatchError(UserError):
    """The branches of ``torch.cond`` do not agree."""

    def __init__(self, message: str) -> None:
        super().__init__(UserErrorType.DYNAMIC_CONTROL_FLOW, message)


class InfiniteGeneratorError(AlternatorException):
    """A generator was asked for everything that it has, and never ends."""


class StepUnsupported(AlternatorException):
    """Kept for compatibility."""


class IncorrectUsage(AlternatorException):
    """A function of Alternator was used in a way that it is not made for."""


TorchDynamoException = AlternatorException
InternalTorchDynamoError = InternalError
ShortenTraceback = AlternatorException
