"""Stack shuffling, constants and local variables."""

from __future__ import annotations

from typing import Any

from alternator.interpreter.frame import NULL
from alternator.interpreter.opcode_table import op
from alternator.provenance.world import Unread


@op("NOP", "RESUME", "PRECALL", "KW_NAMES", "CACHE", "EXTENDED_ARG")
def nothing(f: Any, i: Any) -> None:
    pass


@op("POP_TOP")
def pop_top(f: Any, i: Any) -> None:
    f.stack.pop()


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
def load_fast(f: Any, i: Any) -> None:
    value = f.locals[i.arg]
    if type(value) is Unread:
        value = f.locals[i.arg] = f.vm.world.admit(value.obj, value.source)
    elif value is NULL:
        name = f.local_name(i.arg)
        raise f.vm.user_raise(UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value"))
    f.stack.append(value)


@op("STORE_FAST")
def store_fast(f: Any, i: Any) -> None:
    f.locals[i.arg] = f.stack.pop()


@op("DELETE_FAST")
def delete_fast(f: Any, i: Any) -> None:
    if f.locals[i.arg] is NULL:
        name = f.local_name(i.arg)
        raise f.vm.user_raise(UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value"))
    f.locals[i.arg] = NULL
