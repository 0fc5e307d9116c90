"""One user frame, and the loop that runs its bytecode."""

from __future__ import annotations

import contextlib
import types
from typing import TYPE_CHECKING, Any

from alternator._C.eval_frame import NULL  # a slot of the stack or of the locals that holds nothing
from alternator.bytecode.decode import DecodedCode, Instr, decode
from alternator.exc import Break, UserRaise
from alternator.interpreter import rests
from alternator.interpreter.opcode_table import handlers_of
from alternator.interpreter.tracebacks import add_entry, leaves_again
from alternator.provenance.world import MISSING

if TYPE_CHECKING:
    from alternator.interpreter.machine import Machine


class StopHere(BaseException):
    """The run has reached the instruction where it is to stop."""


class Frame:
    """State of one function's execution: locals (CPython's localsplus), stack, position."""

    __slots__ = (
        "vm",
        "func",
        "code",
        "decoded",
        "instrs",
        "handlers",
        "locals",
        "stack",
        "pc",
        "globals",
        "parent",
        "result",
        "suspended",
        "names",
        "kwnames",
        "at",
        "number",
        "count",
        "saved",
        "marked",
        "started",
        "handled",
        "nlocals",
    )

    def __init__(self, vm: "Machine", func: types.FunctionType, slots: list[Any], parent: "Frame | None") -> None:
        self.vm = vm
        self.func = func
        self.code = func.__code__
        decoded: DecodedCode = decode(self.code)
        if decoded.handles_errors and func.__globals__ is not vars(contextlib) and func.__globals__ is not vars(rests):
            vm.has_handlers = True
        self.decoded = decoded
        self.instrs = decoded.instrs
        self.handlers = handlers_of(decoded)
        if vm.watch is not None:
            self.handlers = vm.watch.wrap(self.handlers, self.instrs)
        missing = len(decoded.localsplus_names) - len(slots)
        self.locals = slots + [NULL] * missing if missing else slots
        self.stack: list[Any] = []
        self.pc = 0
        self.globals = func.__globals__
        self.parent = parent
        self.result: Any = None
        self.suspended = False
        self.kwnames: tuple[str, ...] = ()
        self.at = 0
        self.number = 0
        self.count = 0
        self.saved: list[Any] = []
        self.marked: tuple[int, int, int] = (0, 0, 0)
        self.started = False
        self.handled: Any = None

    def run(self) -> Any:
        """Run until the function returns or yields; a user exception that is not handled here leaves as UserRaise."""
        handlers = self.handlers
        instrs = self.instrs
        vm = self.vm
        vm.frame = self
        try:
            while True:
                try:
                    while True:
                        at = self.pc
                        self.pc = at + 1
                        self.at = at
                        if handlers[at](self, instrs[at]) is not None:
                            return self.result
                except UserRaise as raised:
                    self.unwind(raised)
        except Break:
            if vm.broken is None:
                vm.broken = self
            raise
        finally:
            vm.frame = self.parent

    def run_carefully(self) -> Any:
        """Like ``run``, so that the state before the instruction in progress is known when it cannot be finished.

        Frames are numbered and their instructions counted: the run stops before the one that ``vm.stop`` names.
        """
        handlers = self.handlers
        instrs = self.instrs
        vm = self.vm
        vm.frame = self
        self.number = vm.careful_frames
        vm.careful_frames += 1
        stop = vm.stop[1] if vm.stop[0] == self.number else -1
        try:
            while True:
                try:
                    while True:
                        at = self.pc
                        self.at = at
                        if self.count == stop:
                            raise StopHere
                        self.saved = self.stack[:]
                        self.pc = at + 1
                        self.marked = vm.mark()
                        if handlers[at](self, instrs[at]) is not None:
                            return self.result
                        self.count += 1
                except UserRaise as raised:
                    self.unwind(raised)
                    self.count += 1
        except Break:
            if vm.broken is None:
                vm.broken = self
            raise
        finally:
            vm.frame = self.parent

    def unwind(self, raised: UserRaise) -> None:
        """Go to the handler that the exception table names, or leave."""
        instr = self.instrs[self.at]
        if instr.opname != "RERAISE" and not (instr.opname == "RAISE_VARARGS" and instr.arg == 0):
            add_entry(self.vm, self, raised.exc)
        elif not instr.arg:  # else it goes back to the instruction that raised
            leaves_again(self.vm, self, raised.exc)
        entry = self.decoded.exception_entry(self.at)
        held = self.vm.handed_over
        if held and self.globals is not vars(rests):
            held.check_dropped(self.vm, self.locals + self.stack if entry is None else self.stack[entry.depth :])
        if entry is None:
            try:
                raise raised
            finally:
                del raised  # its traceback has this frame, which would keep it until the garbage collector comes by
        target, depth, lasti = entry
        stack = self.stack
        del stack[depth:]
        if lasti:
            stack.append(self.at)
        stack.append(raised.exc)
        self.pc = target

    def is_in_loop(self) -> bool:
        """Whether the present instruction may be executed again."""
        return any(i.target is not None and i.target <= self.at <= i.index for i in self.instrs)

    def line(self) -> int | None:
        return self.instrs[self.at].lineno

    def break_here(self, code: str, detail: str = "") -> Break:
        return Break(code, detail)

    def local_name(self, index: int) -> str:
        return self.decoded.localsplus_names[index]


__all__ = ["Frame", "Instr", "MISSING", "NULL", "StopHere"]
