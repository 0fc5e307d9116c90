"""Fast decoding of code objects into instructions that refer to each other by index."""

from __future__ import annotations

import dis
import opcode
import weakref
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .codecache import CodeCache
from .versions import BINARY_OPS, FACTS, cache_entries

if TYPE_CHECKING:
    from .analysis import Analysis

__all__ = ["CACHE", "DecodedCode", "ExceptionEntry", "Instr", "decode"]

Positions = tuple[int | None, int | None, int | None, int | None]


class ExceptionEntry(NamedTuple):
    """Where an exception goes: handler's index, stack depth to cut to, whether the raising offset is pushed first."""

    handler: int
    depth: int
    push_lasti: bool


class Instr:
    """One instruction: EXTENDED_ARG folded in, CACHE gone, the argument decoded.

    argval   the constant, the name (also of locals and cells), the comparison's or operator's text, the target index of a
             jump; else the number itself, None where the opcode takes no argument
    target   index of the instruction jumped to, or None
    flag     LOAD_GLOBAL (LOAD_ATTR in 3.12): the name index's flag bit, "push NULL too"
    kwnames  CALL: names of the keyword arguments, from the KW_NAMES before it
    """

    __slots__ = ("arg", "argval", "flag", "index", "kwnames", "lineno", "offset", "opcode", "opname", "target")

    def __init__(self, index: int, op: int, opname: str, arg: int | None, argval: Any, offset: int, lineno: int | None) -> None:
        self.index = index
        self.opcode = op
        self.opname = opname
        self.arg = arg
        self.argval = argval
        self.offset = offset
        self.lineno = lineno
        self.target: int | None = None
        self.flag = False
        self.kwnames: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.index}: {self.opname} {self.argval!r} (offset {self.offset}, line {self.lineno})>"


class DecodedCode:
    """A decoded code object. Refers to the code object only weakly, so that caches may hold it.

    instrs            list of Instr
    localsplus_names  names of the frame's slots, as indexed by LOAD_FAST and LOAD_DEREF
    localsplus_kinds  "local", "cell" (also arguments that are cells) or "free", in step with the names
    varnames, cellvars, freevars, flags, argcount: as in the code object
    """

    __slots__ = (
        "_analysis",
        "_code",
        "_entries",
        "_offsets",
        "_positions",
        "argcount",
        "body_start",
        "cellvars",
        "flags",
        "freevars",
        "handlers",
        "handles_errors",
        "instrs",
        "localsplus_kinds",
        "localsplus_names",
        "names",
        "varnames",
    )

    def __init__(self, code: CodeType) -> None:
        self._code = weakref.ref(code)
        self.varnames = code.co_varnames
        self.cellvars = code.co_cellvars
        self.freevars = code.co_freevars
        self.names = code.co_names
        self.flags = code.co_flags
        self.argcount = code.co_argcount
        cells = set(self.cellvars)
        extra = tuple(name for name in self.cellvars if name not in self.varnames)
        self.localsplus_names = self.varnames + extra + self.freevars
        self.localsplus_kinds = (
            tuple("cell" if name in cells else "local" for name in self.varnames)
            + ("cell",) * len(extra)
            + ("free",) * len(self.freevars)
        )
        self.instrs, words = _decode_instrs(code, self.localsplus_names)
        #: index of the first instruction of the body: RESUME, behind the set-up of cells (0 if there is none)
        self.body_start = next((i.index for i in self.instrs if i.opname == FACTS.resume), 0)
        self._entries = _exception_entries(code, words, len(self.instrs))
        starts = {entry.handler for entry in self._entries if entry is not None}
        #: it has handlers, or ``finally``, and not only ``with`` and what ends a handler
        self.handles_errors = any(not self.is_with(at) and self.instrs[at].opname == "PUSH_EXC_INFO" for at in starts)
        self._positions: list[Positions] | None = None
        self._offsets: dict[int, int] | None = None
        self._analysis: Analysis | None = None
        #: a place where the interpreter keeps what belongs to each instruction
        self.handlers: list[Any] | None = None

    @property
    def code(self) -> CodeType:
        """The code object; ReferenceError if it is gone."""
        code = self._code()
        if code is None:
            raise ReferenceError("the decoded code object is gone")
        return code

    def exception_entry(self, index: int) -> ExceptionEntry | None:
        """Where an exception raised by the instruction goes; None: out of this frame."""
        return self._entries[index] if self._entries else None

    def is_with(self, handler: int) -> bool:
        """The handler is that of a ``with`` statement: it asks the manager."""
        return [instr.opname for instr in self.instrs[handler : handler + 2]] == ["PUSH_EXC_INFO", "WITH_EXCEPT_START"]

    def positions(self, index: int) -> Positions:
        """(lineno, end_lineno, col, end_col) of the instruction in the user's source."""
        if self._positions is None:
            every = list(self.code.co_positions())
            self._positions = [every[instr.offset // 2] for instr in self.instrs]
        return self._positions[index]

    def index_of_offset(self, offset: int) -> int:
        """The index of the instruction at a byte offset (a frame's `f_lasti`, a traceback's `tb_lasti`)."""
        if self._offsets is None:
            self._offsets = {instr.offset: instr.index for instr in self.instrs}
        return self._offsets[offset]


# How an opcode's argument is decoded; one of these per opcode in _KIND.
_NONE, _RAW, _CONST, _NAME, _FLAGGED, _SLOT = range(6)
_FORWARD, _BACKWARD, _COMPARE, _BINARY, _CALL, _KWNAMES, _EXTENDED = range(6, 13)


def _kind_table() -> list[int]:
    kinds = [_RAW if op >= opcode.HAVE_ARGUMENT else _NONE for op in range(256)]
    for ops, kind in (
        (opcode.hasconst, _CONST),
        (opcode.hasname, _NAME),
        (opcode.haslocal, _SLOT),
        (opcode.hasfree, _SLOT),
        (opcode.hasjrel, _FORWARD),
        (opcode.hascompare, _COMPARE),
    ):
        for op in ops:
            kinds[op] = kind
    named = {"BINARY_OP": _BINARY, "CALL": _CALL, "KW_NAMES": _KWNAMES, "EXTENDED_ARG": _EXTENDED}
    named.update(dict.fromkeys(FACTS.name_shift, _FLAGGED))
    named.update(dict.fromkeys(FACTS.backward_jumps, _BACKWARD))
    for name, kind in named.items():
        if name in dis.opmap:
            kinds[dis.opmap[name]] = kind
    return kinds


_KIND: Final = _kind_table()
_UNITS: Final = [1 + cache_entries(op) for op in range(256)]
_OPNAME: Final = list(dis.opname)
_SYMBOLS: Final = [symbol for symbol, _ in BINARY_OPS]
_COMPARE_TEXT: Final = list(opcode.cmp_op)


def _line_table(code: CodeType) -> list[int | None]:
    """Line number of every code unit."""
    lines: list[int | None] = []
    for start, end, line in code.co_lines():
        lines += [line] * ((end - start) >> 1)
    return lines


def _decode_instrs(code: CodeType, slots: tuple[str, ...]) -> tuple[list[Instr], list[int]]:
    """The instructions, and for each code unit the index of the instruction that it belongs to."""
    raw = code.co_code
    consts, names = code.co_consts, code.co_names
    lines = _line_table(code)
    instrs: list[Instr] = []
    words: list[int] = []
    jumps: list[tuple[Instr, int]] = []
    kwnames: tuple[str, ...] = ()
    index = position = extended = 0
    end = len(raw)
    while position < end:
        op = raw[position]
        kind = _KIND[op]
        arg: int | None = raw[position + 1] | extended
        argval: Any = arg
        if kind == _EXTENDED:
            extended = argval << 8
            words.append(index)
            position += 2
            continue
        extended = 0
        if kind == _NONE:
            arg = argval = None
        elif kind == _SLOT:
            argval = slots[argval]
        elif kind == _CONST:
            argval = consts[argval]
        elif kind == _NAME:
            argval = names[argval]
        elif kind == _COMPARE:
            argval = _COMPARE_TEXT[argval >> FACTS.compare_shift]
        elif kind == _BINARY:
            argval = _SYMBOLS[argval]
        elif kind == _KWNAMES:
            argval = kwnames = consts[argval]
        instr = Instr(index, op, _OPNAME[op], arg, argval, position, lines[position >> 1])
        units = _UNITS[op]
        if kind == _FLAGGED:
            instr.flag = bool(argval & 1)
            instr.argval = names[argval >> FACTS.name_shift[instr.opname]]
        elif kind == _FORWARD:
            jumps.append((instr, (position >> 1) + units + argval))
        elif kind == _BACKWARD:
            jumps.append((instr, (position >> 1) + units - argval))
        elif kind == _CALL:
            instr.kwnames, kwnames = kwnames, ()
        instrs.append(instr)
        words += [index] * units
        index += 1
        position += 2 * units
    for instr, word in jumps:
        instr.target = instr.argval = words[word]
    return instrs, words


def _varints(table: bytes) -> list[int]:
    """The numbers of an exception table: 6 bits a byte, bit 6 = more follow, bit 7 = start of an entry."""
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = (value << 6) | (byte & 63)
        if not byte & 64:
            numbers.append(value)
            value = 0
    return numbers


def _exception_entries(code: CodeType, words: list[int], count: int) -> list[ExceptionEntry | None]:
    """For each instruction the entry of the exception table that covers it; empty without a table."""
    table = code.co_exceptiontable
    if not table:
        return []
    entries: list[ExceptionEntry | None] = [None] * count
    numbers = iter(_varints(table))
    for start, length, target, depth_lasti in zip(numbers, numbers, numbers, numbers):
        first = words[start]
        stop = words[start + length] if start + length < len(words) else count
        entry = ExceptionEntry(words[target], depth_lasti >> 1, bool(depth_lasti & 1))
        entries[first:stop] = [entry] * (stop - first)
    return entries


#: decoded code objects; `CACHE.clear()` forgets them
CACHE: Final[CodeCache[DecodedCode]] = CodeCache()


def decode(code: CodeType) -> DecodedCode:
    """Decode a code object, once for as long as it lives.

    >>> def f(x): return x.y
    >>> [(i.opname, i.argval) for i in decode(f.__code__).instrs]
    [('RESUME', 0), ('LOAD_FAST', 'x'), ('LOAD_ATTR', 'y'), ('RETURN_VALUE', None)]
    """
    decoded = CACHE.get(code)
    if decoded is None:
        decoded = DecodedCode(code)
        CACHE.put(code, decoded)
    return decoded
