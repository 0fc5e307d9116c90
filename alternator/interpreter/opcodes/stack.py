"""Stack shuffling, constants and local variables."""

from __future__ import annotations

from typing import Any

from alternator.exc import Break
from alternator.interpreter import generators, pending
from alternator.interpreter.frame import NULL
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.opcode_table import op
from alternator.interpreter.outside_generators import OutsideGenerator
from alternator.provenance.world import Unread


@op("NOP", "RESUME", "PRECALL", "KW_NAMES", "CACHE", "EXTENDED_ARG")
def nothing(f: Any, i: Any) -> None:
    pass


@op("POP_TOP")
def pop_top(f: Any, i: Any) -> None:
    kind = type(f.stack[-1])
    if kind is OutsideGenerator:
        f.vm.handed_over.check_dropped(f.vm, f.stack[-1:])
    f.stack.pop()
    if kind is TracedGenerator:
        generators.close_dropped(f.vm)


@op("PUSH_NULL")
def push_null(f: Any, i: Any) -> None:
    f.stack.append(NULL)


@op("COPY")
def copy(f: Any, i: Any) -> None:
    f.stack.append(f.stack[-i.arg])


@op("SWAP")
def swap(f: Any, i: Any) -> None:
    stack, n = f.stack, i.arg
    stack[-1], stack[-n] = stack[-n], stack[-1]


@op("LOAD_CONST")
def load_const(f: Any, i: Any) -> None:
    f.stack.append(i.argval)


@op("LOAD_FAST")
def load_fast(f: Any, i: Any) -> Any:
    value = f.locals[i.arg]
    if type(value) is Unread:
        text = pending.given(f, value) if type(value.obj) is str else None
        if text is not None:
            f.stack.append(text)
            return None
        try:
            value = f.locals[i.arg] = f.vm.world.admit(value.obj, value.source)
        except Break as broken:
            return _hand_on(f, value, broken)
    elif value is NULL:
        name = f.local_name(i.arg)
        raise f.vm.user_raise(UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value"))
    f.stack.append(value)
    return None


_MOVERS = frozenset(
    {
        "LOAD_CONST",
        "LOAD_GLOBAL",
        "LOAD_CLOSURE",
        "PUSH_NULL",
        "STORE_FAST",
        "DELETE_FAST",
        "NOP",
        "RESUME",
        "COPY",
        "SWAP",
        "POP_TOP",
    }
    | {"RETURN_VALUE"}
)
"""Instructions that do not look at what they move."""


def _hand_on(f: Any, value: Any, broken: Break) -> Any:
    """A value that cannot be looked at while tracing is only passed on, and the instruction that looks at it is the one to break.

    (Or the continuation, which is given the value, would break at it again, without end.)
    """
    if f.parent is not None:
        raise broken
    f.stack.append(value)
    while any(type(item) is Unread for item in f.stack):
        f.at = at = f.pc
        f.saved = f.stack[:]
        instr = f.instrs[at]
        if instr.opname == "LOAD_FAST" and type(f.locals[instr.arg]) is Unread:
            f.stack.append(f.locals[instr.arg])
            f.pc = at + 1
        elif instr.opname in _MOVERS or instr.opname == "LOAD_FAST":
            f.pc = at + 1
            done = f.handlers[at](f, instr)
            if done is not None:
                return done
        else:
            raise broken
    return None


@op("STORE_FAST")
def store_fast(f: Any, i: Any) -> None:
    f.locals[i.arg] = f.stack.pop()


@op("DELETE_FAST")
def delete_fast(f: Any, i: Any) -> None:
    if f.locals[i.arg] is NULL:
        name = f.local_name(i.arg)
        raise f.vm.user_raise(UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value"))
    dropped = type(f.locals[i.arg]) is TracedGenerator
    f.locals[i.arg] = NULL
    if dropped:
        generators.close_dropped(f.vm)
