"""All that differs between CPython versions in bytecode, as tables.

A version is one `Facts` row in `_FACTS`. Importing this module under a version without a row fails at once: silently
wrong bytecode is worse than none.

>>> FACTS.name_shift["LOAD_GLOBAL"]
1
"""

from __future__ import annotations

import dis
import opcode
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "BINARY_OPS",
    "COMPARE_OPS",
    "FACTS",
    "SUPPORTED",
    "WRAPS_LONE_ERRORS",
    "Facts",
    "binary_operator",
    "cache_entries",
    "opcodes",
    "stack_effect",
]

_OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "+": operator.add,
    "&": operator.and_,
    "//": operator.floordiv,
    "<<": operator.lshift,
    "@": operator.matmul,
    "*": operator.mul,
    "%": operator.mod,
    "|": operator.or_,
    "**": operator.pow,
    ">>": operator.rshift,
    "-": operator.sub,
    "/": operator.truediv,
    "^": operator.xor,
    "+=": operator.iadd,
    "&=": operator.iand,
    "//=": operator.ifloordiv,
    "<<=": operator.ilshift,
    "@=": operator.imatmul,
    "*=": operator.imul,
    "%=": operator.imod,
    "|=": operator.ior,
    "**=": operator.ipow,
    ">>=": operator.irshift,
    "-=": operator.isub,
    "/=": operator.itruediv,
    "^=": operator.ixor,
    "[]": operator.getitem,
}

COMPARE_OPS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Facts:
    """What one CPython version does differently; every field is read by decode, analysis or assembly."""

    #: opcodes whose name index stands above that many flag bits (bit 0 = "also push NULL")
    name_shift: dict[str, int]
    #: number of bits below the comparison's index in COMPARE_OP's argument
    compare_shift: int
    #: jumps that never fall through
    unconditional_jumps: frozenset[str]
    #: jumps whose argument counts backwards
    backward_jumps: frozenset[str]
    #: opcodes after which the code object's execution ends or leaves for a handler
    terminators: frozenset[str]
    #: a conditional backward jump -> the same test jumping forward
    forward_twin: dict[str, str]
    #: opcodes that run as one unit with the CALL that follows them
    call_prefixes: frozenset[str]
    #: the instructions that perform a positional call; each takes the number of arguments
    call_sequence: tuple[str, ...]
    #: opcodes that set up cells before the body starts, and the one that ends this prelude
    prelude: frozenset[str]
    resume: str
    #: opcodes that read or write one fast local
    local_reads: frozenset[str]
    local_writes: frozenset[str]
    local_deletes: frozenset[str]
    #: opcodes of handlers that raise nothing, although the exception table covers them
    never_raise: frozenset[str]
    #: opcodes that read a global or builtin by name
    global_loads: frozenset[str]
    #: opcodes that drop the result of what they call, and those that push NULL below it
    no_result: frozenset[str]
    method_loads: frozenset[str]
    #: hands a value to the consumer of a generator
    yields: str
    #: real effect on the stack where `dis.stack_effect` only balances on the whole: f(arg) -> change
    stack_effects: dict[str, Callable[[int], int]] = field(default_factory=dict)


_FACTS: Final[dict[tuple[int, int], Facts]] = {
    (3, 11): Facts(
        name_shift={"LOAD_GLOBAL": 1},
        compare_shift=0,
        unconditional_jumps=frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}),
        backward_jumps=frozenset(
            {
                "JUMP_BACKWARD",
                "JUMP_BACKWARD_NO_INTERRUPT",
                "POP_JUMP_BACKWARD_IF_FALSE",
                "POP_JUMP_BACKWARD_IF_TRUE",
                "POP_JUMP_BACKWARD_IF_NONE",
                "POP_JUMP_BACKWARD_IF_NOT_NONE",
            }
        ),
        terminators=frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE"}),
        forward_twin={
            "POP_JUMP_BACKWARD_IF_FALSE": "POP_JUMP_FORWARD_IF_FALSE",
            "POP_JUMP_BACKWARD_IF_TRUE": "POP_JUMP_FORWARD_IF_TRUE",
            "POP_JUMP_BACKWARD_IF_NONE": "POP_JUMP_FORWARD_IF_NONE",
            "POP_JUMP_BACKWARD_IF_NOT_NONE": "POP_JUMP_FORWARD_IF_NOT_NONE",
        },
        call_prefixes=frozenset({"KW_NAMES", "PRECALL"}),
        call_sequence=("PRECALL", "CALL"),
        prelude=frozenset({"MAKE_CELL", "COPY_FREE_VARS", "RETURN_GENERATOR"}),
        resume="RESUME",
        local_reads=frozenset({"LOAD_FAST"}),
        local_writes=frozenset({"STORE_FAST"}),
        local_deletes=frozenset({"DELETE_FAST"}),
        never_raise=frozenset({"PUSH_EXC_INFO", "POP_EXCEPT", "POP_TOP", "LOAD_CONST", "COPY", "SWAP", "NOP"}),
        global_loads=frozenset({"LOAD_GLOBAL", "LOAD_NAME"}),
        no_result=frozenset({"STORE_ATTR", "DELETE_ATTR", "STORE_SUBSCR", "DELETE_SUBSCR"}),
        method_loads=frozenset({"LOAD_METHOD"}),
        yields="YIELD_VALUE",
        stack_effects={
            "PRECALL": lambda arg: 0,
            "CALL": lambda arg: -arg - 1,
            "RETURN_GENERATOR": lambda arg: 1,
        },
    ),
}

SUPPORTED: Final = frozenset(_FACTS)


def facts_of(version: tuple[int, int]) -> Facts:
    """The row for one version; fails loudly for a version without a row.

    >>> facts_of((3, 11)).resume
    'RESUME'
    """
    facts = _FACTS.get(version)
    if facts is None:
        known = ", ".join(f"{a}.{b}" for a, b in sorted(_FACTS))
        raise RuntimeError(
            f"alternator.bytecode knows CPython {known}, but this is {version[0]}.{version[1]}: "
            "add a row to alternator/bytecode/versions.py"
        )
    return facts


FACTS: Final[Facts] = facts_of(sys.version_info[:2])
WRAPS_LONE_ERRORS: Final = sys.version_info < (3, 11, 4)
"""Whether ``except*`` makes a group even of a single exception that its blocks raised."""


def binary_operator(symbol: str) -> Callable[[Any, Any], Any]:
    """The `operator` function for a BINARY_OP symbol (an Instr's argval).

    >>> binary_operator("+=")([1], [2])
    [1, 2]
    """
    return _OPERATORS[symbol]


#: BINARY_OP's argument -> (symbol, function)
BINARY_OPS: Final[tuple[tuple[str, Callable[..., Any]], ...]] = tuple(
    (symbol, _OPERATORS[symbol])
    for _, symbol in opcode._nb_ops  # type: ignore[attr-defined]
)


def _cache_table() -> tuple[int, ...]:
    raw = opcode._inline_cache_entries  # type: ignore[attr-defined]
    if isinstance(raw, dict):  # 3.13 and later: name -> count
        return tuple(raw.get(name, 0) for name in dis.opname)
    return tuple(raw) + (0,) * (256 - len(raw))


_CACHES: Final[tuple[int, ...]] = _cache_table()


def cache_entries(op: int) -> int:
    """How many CACHE code units follow the opcode.

    >>> cache_entries(dis.opmap["LOAD_FAST"])
    0
    """
    return _CACHES[op]


def opcodes() -> frozenset[str]:
    """The names of all opcodes of this version that can stand in a code object.

    >>> "LOAD_FAST" in opcodes()
    True
    """
    return frozenset(name for name, number in dis.opmap.items() if number < 256)


def stack_effect(name: str, arg: int | None, jump: bool) -> int:
    """Change of the stack's depth made by one instruction, exact per instruction.

    >>> stack_effect("CALL", 2, jump=False)
    -3
    """
    exact = FACTS.stack_effects.get(name)
    if exact is not None:
        return exact(arg or 0)
    return dis.stack_effect(dis.opmap[name], arg, jump=jump)
