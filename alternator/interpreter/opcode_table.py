"""Which function handles which opcode.

A handler takes ``(frame, instr)``; it returns None to go on, anything else to leave the frame with ``frame.result``.
Handlers register at import; an opcode without one is a break, never a crash.
"""

from __future__ import annotations

import dis
from typing import Any, Callable

from alternator.bytecode.decode import DecodedCode
from alternator.exc import Break

Handler = Callable[[Any, Any], Any]
HANDLERS: dict[str, Handler] = {}
_BY_CODE: "dict[int, tuple[Any, list[Handler]]]" = {}


def op(*names: str) -> Callable[[Handler], Handler]:
    """Decorator: the handler of these opcodes (names that this Python version lacks are refused)."""

    def put(handler: Handler) -> Handler:
        for name in names:
            if name not in dis.opmap:
                raise KeyError(f"{name} is no opcode of this Python version")
            if name in HANDLERS:
                raise KeyError(f"{name} has a handler already")
            HANDLERS[name] = handler
        return handler

    return put


def _missing(frame: Any, instr: Any) -> Any:
    raise Break("OPCODE", instr.opname)


def handlers_of(decoded: DecodedCode) -> list[Handler]:
    """The handlers of a code's instructions, in order (kept with the decoded code)."""
    found = decoded.handlers
    if found is None:
        found = decoded.handlers = [HANDLERS.get(i.opname, _missing) for i in decoded.instrs]
    return found
