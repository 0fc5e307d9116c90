"""Which frames wait for nothing but the result of the call in progress: those can go on when it is finished elsewhere.

When a break unwinds the interpreter, its traceback shows every function of the interpreter that was at work between one user
frame and the next.  Where all of them are marked with ``passes_on``, the caller's instruction has exactly the callee's
result: the link between the two frames is a *tail link*.  What is not marked (a rule that does something with the result,
native code that called back, a transform) is none.  So the interpreter's normal path pays nothing for this.
"""

from __future__ import annotations

import types
from typing import Any, Callable, TypeVar

from alternator.interpreter import rests
from alternator.interpreter.frame import Frame

Fn = TypeVar("Fn", bound=Callable[..., Any])
Locals = dict[str, Any]

_RUNS = frozenset({Frame.run.__code__, Frame.run_carefully.__code__})
_PASSES: set[types.CodeType] = set()
_FINISHES: dict[types.CodeType, Callable[[Locals], Any]] = {}

_WITHOUT_RESTS: list[str] = []

ENDS_HERE: Any = object()
"""What a function waits for that does more with the result than can be said."""


def passes_on(fn: Fn) -> Fn:
    """Decorator: the result of each call into another such function is this function's result, whatever it is, and an
    exception leaves it as it is."""
    _PASSES.add(fn.__code__)
    return fn


def never_goes_on(module: str) -> None:
    """Functions of a module, or of a package, have to do with values that stand for others only while they are traced: a frame of
    theirs is no link."""
    _WITHOUT_RESTS.append(module)


def _goes_on(frame: Frame) -> bool:
    name = frame.globals.get("__name__")
    return type(name) is not str or not any(name == one or name.startswith(one + ".") for one in _WITHOUT_RESTS)


def finishes(how: Callable[[Locals], Any]) -> Callable[[Fn], Fn]:
    """Decorator: what the function does with the result is what the Python function does that ``how`` gives, from the
    function's local variables, as ``(function, more arguments)``, or None for nothing; ``ENDS_HERE`` says that the function is
    none of these.  It is called with a function that runs the rest of the callee, the callee's rest (a function and its
    arguments), and these."""

    def mark(fn: Fn) -> Fn:
        _PASSES.add(fn.__code__)
        _FINISHES[fn.__code__] = how
        return fn

    return mark


class Link:
    """A frame of a chain, and what is done with its result before the frame above has it: outermost last.

    ``generator``: the generator whose frame it is, if it is one's."""

    __slots__ = ("frame", "finishes", "generator")

    def __init__(self, frame: Frame, finishes: list[Any]) -> None:
        self.frame = frame
        self.finishes = finishes
        self.generator = next((more[0] for finish, more in finishes if finish is rests.of_generator), None)


def chain_of(error: BaseException) -> list[Link]:
    """The user frames that the exception came through, outermost first, for as long as they are joined by tail links."""
    chain: list[Link] = []
    finish: list[Any] = []
    trace = error.__traceback__
    while trace is not None:
        here = trace.tb_frame
        code = here.f_code
        if code in _RUNS:
            frame = here.f_locals["self"]
            if not _goes_on(frame):
                break
            chain.append(Link(frame, finish[::-1]))
            finish = []
        elif chain:
            if code not in _PASSES:
                break
            how = _FINISHES.get(code)
            done = how(here.f_locals) if how is not None else None
            if done is ENDS_HERE:
                break
            if done is not None:
                finish.append(done)
        trace = trace.tb_next
    return chain
