"""Generators of captured code: a frame that is run on demand, as a real iterator object."""

from __future__ import annotations

import itertools
import sys
import types
from typing import Any

from alternator._C.eval_frame import NULL
from alternator.exc import Break, UserRaise
from alternator.interpreter import rests
from alternator.interpreter.frame import StopHere
from alternator.interpreter.links import ENDS_HERE, finishes, passes_on
from alternator.interpreter.tracebacks import not_an_exception
from alternator.provenance import storage


class TracedGenerator:
    """What calling a generator function gives in captured code.

    It is a real Python iterator, so native code (``list``, ``zip``, ``sum``) can consume it; each step runs the frame in the
    interpreter.
    """

    def __init__(self, vm: Any, frame: Any) -> None:
        self.vm = vm
        self.frame = frame
        self.running = False
        self.finished = False
        self.interrupted = False
        """The capture ended while it ran."""
        self.outer: Any = None, None
        """While it runs: what was being handled in the frame that advances it, and in those that wait for that one."""
        vm.generators.append(self)

    def __iter__(self) -> "TracedGenerator":
        return self

    def __next__(self) -> Any:
        return self.resume(None, None)

    def send(self, value: Any) -> Any:
        """Go on, with a value for the yield."""
        return self.resume(value, None)

    @passes_on
    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        """Go on with an exception at the yield."""
        return self.resume(None, self._to_throw(kind, value, trace))

    def _to_throw(self, kind: Any, value: Any, trace: Any) -> BaseException:
        if issubclass(type(kind), BaseException):
            if value is not None:
                raise self.vm.user_raise(TypeError("instance exception may not have a separate value"))
            error = kind
        elif issubclass(type(kind), type) and issubclass(kind, BaseException):
            made = (
                value
                if isinstance(value, kind)
                else self.vm.call(kind, () if value is None else value if type(value) is tuple else (value,))
            )
            if not issubclass(type(made), BaseException):  # is thrown in the place of the other
                made = TypeError(not_an_exception(self.vm, kind, type(made).__name__))
            error = made
        else:
            raise self.vm.user_raise(
                TypeError(f"exceptions must be classes or instances deriving from BaseException, not {type(kind).__name__}")
            )
        if trace is not None and id(error) not in self.vm.records:
            BaseException.with_traceback(error, trace)
        return error  # type: ignore[no-any-return]

    def close(self) -> None:
        """Have the generator clean up: GeneratorExit at the yield."""
        if self.finished:
            return
        if not self.frame.started:
            self.finished = True
            return
        try:
            self.resume(None, GeneratorExit())
        except UserRaise as raised:
            if issubclass(type(raised.exc), (StopIteration, GeneratorExit)):
                return
            raise
        raise self.vm.user_raise(RuntimeError("generator ignored GeneratorExit"))

    def rest(self) -> Any:
        """What is done with the result of the frame's rest, where a break cuts it in two (see ``links.finishes``)."""
        return rests.of_generator, (self,)

    @finishes(lambda space: space["self"].rest())
    def resume(self, value: Any, error: BaseException | None) -> Any:
        """Run to the next yield; StopIteration leaves as the user's exception."""
        vm, frame = self.vm, self.frame
        self._check(value, error)
        frame.parent = vm.frame
        self.outer = outer = vm.handled, vm.handled_below
        vm.handled, vm.handled_below = frame.handled, vm.current_error()
        self.running = True
        vm.ticks += 1
        vm.depth += 1
        try:
            if vm.depth > MAX_DEPTH:
                raise Break("RECURSION", frame.code.co_qualname)
            if error is not None:
                yielded = self._throw_in(error)
                if yielded is not _NOTHING:
                    return yielded
            elif frame.started:
                frame.stack.append(value)
            frame.started = True
            frame.suspended = False
            with vm.places.calling(frame.parent):
                result = frame.run_carefully() if vm.careful else frame.run()
        except UserRaise as raised:
            self.left_by_error()
            if issubclass(type(raised.exc), StopIteration):
                wrong = RuntimeError("generator raised StopIteration")
                wrong.__cause__ = wrong.__context__ = raised.exc
                raise UserRaise(wrong) from None
            raise
        except (Break, StopHere):
            self.interrupted = True
            raise
        except BaseException:
            self.finished = True
            raise
        finally:
            frame.handled = vm.handled
            vm.handled, vm.handled_below = outer
            vm.depth -= 1
            self.running = False
            vm.frame = frame.parent
        if frame.suspended:
            return result
        self.finished = True
        raise vm.user_raise(stop_iteration(result))

    def left_by_error(self) -> None:
        """An exception has left the frame: that is its end."""
        self.finished = True

    def _check(self, value: Any, error: BaseException | None) -> None:
        vm = self.vm
        if self.running:
            if type(self) in ITERATORS:  # C code may allow that, or has words of its own for it
                raise Break("GENERATOR_STATE", "an iterator that is advanced by what it runs")
            raise vm.user_raise(ValueError("generator already executing"))
        if self.finished:
            raise vm.user_raise(error if error is not None else StopIteration())
        started = self.frame.started
        if error is not None and not started:
            self.finished = True
            raise vm.user_raise(error)
        if value is not None and not started:
            raise vm.user_raise(TypeError("can't send non-None value to a just-started generator"))

    # ---- exceptions thrown in, delegates (``yield from``)

    def delegate(self) -> Any:
        """The iterator that a suspended ``yield from`` waits for, or None."""
        frame = self.frame
        before = frame.instrs[frame.at - 1] if frame.at else None
        if frame.suspended and before is not None and before.opname == "SEND":
            return frame.stack[-1]
        return None

    def _throw_in(self, error: BaseException) -> Any:
        """Raise inside the suspended frame; a delegate gets it first.  What the delegate yields is what the generator yields."""
        frame, vm = self.frame, self.vm
        vm.frame = frame
        try:
            receiver = self.delegate()
            if receiver is not None:
                try:
                    handled, result = self._throw_to(receiver, error)
                    if handled:
                        return result
                except UserRaise as raised:
                    frame.stack.pop()
                    if not issubclass(type(raised.exc), StopIteration) or issubclass(type(error), GeneratorExit):
                        raise
                    frame.stack.append(storage.returned(raised.exc))
                    frame.pc = frame.instrs[frame.at - 1].target
                    return _NOTHING
                frame.stack.pop()
            raise vm.user_raise(error)
        except UserRaise as raised:
            frame.unwind(raised)
            return _NOTHING

    def _throw_to(self, receiver: Any, error: BaseException) -> tuple[bool, Any]:
        vm = self.vm
        if issubclass(type(error), GeneratorExit):
            if issubclass(type(receiver), TracedGenerator):
                receiver.close()
            elif hasattr(type(receiver), "close"):
                vm.call(vm.getattr(receiver, "close"), ())
            return False, None
        if issubclass(type(receiver), TracedGenerator):
            return True, receiver.resume(None, error)
        if not hasattr(type(receiver), "throw"):
            return False, None
        return True, vm.call(vm.getattr(receiver, "throw"), (error,))

    def must_be_closed(self) -> bool:
        """Whether giving it up now would run code of the user's: it waits inside of try or with."""
        if self.finished or self.running or self.interrupted or not self.frame.started:
            return False
        frame = self.frame
        if not _passes_through(frame, frame.at):
            return True
        receiver = self.delegate()
        return receiver is not None and not issubclass(type(receiver), TracedGenerator) and hasattr(type(receiver), "close")


def _passes_through(frame: Any, at: int) -> bool:
    """Whether GeneratorExit raised at this instruction leaves the frame through ``except`` clauses of other exceptions only."""
    entry = frame.decoded.exception_entry(at)
    if entry is None:
        return True
    at, classes = entry[0], []
    while True:
        instr = frame.instrs[at]
        name = instr.opname
        if name == "RERAISE":
            return _passes_through(frame, at)
        if name == "LOAD_GLOBAL":
            classes.append(frame.globals.get(instr.argval, frame.func.__builtins__.get(instr.argval)))
        elif name == "CHECK_EXC_MATCH":
            if any(not issubclass(type(cls), type) or issubclass(GeneratorExit, cls) for cls in classes):
                return False
            classes.clear()
            at = frame.instrs[at + 1].target - 1
        elif name not in _QUIET:
            return False
        at += 1


_QUIET = frozenset("PUSH_EXC_INFO COPY POP_EXCEPT BUILD_TUPLE NOP LOAD_CONST STORE_FAST DELETE_FAST".split())
"""What handlers do that nobody can tell; the last ones: ``as`` lets go of its name."""


def close_dropped(vm: Any) -> None:
    """Close the generators that nothing refers to any more, as CPython does when the last reference goes.

    The interpreter may hold references of its own, beside those that are counted here: then the generator is not closed, and
    counts as given up when the capture is over.
    """
    frame = vm.frame
    for generator in [g for g in vm.generators if not (g.finished or g.running or g.interrupted) and g.frame.started]:
        held = _HOLDERS + sum(item is generator for item in frame.saved)
        if sys.getrefcount(generator) == held:
            try:
                generator.close()
            except UserRaise as raised:
                raise Break("GENERATOR_STATE", f"a generator that raises when it is given up: {raised.exc!r}") from None


_HOLDERS = 4
"""References to a dropped generator: the machine's list, the list and the variable of the loop above, the argument."""


class TracedMap(TracedGenerator):
    """What ``map`` gives: its function and its iterators are all of its state."""

    def rest(self) -> Any:
        """There is no such generator outside of the capture."""
        return ENDS_HERE

    def left_by_error(self) -> None:
        """C code has no frame that could be left: the next step begins anew."""
        frame = self.frame
        frame.locals[2:] = [NULL] * len(frame.locals[2:])
        frame.stack, frame.pc, frame.started = [], 0, False


class TracedFilter(TracedMap):
    """What ``filter`` gives."""


class TracedUntil(TracedMap):
    """What ``iter(callable, sentinel)`` gives."""


class TracedIndexing(TracedGenerator):
    """What ``iter()`` of an object with no more than ``__getitem__`` gives."""

    def rest(self) -> Any:
        """There is no such generator outside of the capture."""
        return ENDS_HERE


class TracedTee(TracedMap):
    """One of those that ``itertools.tee`` gives: what waits for it is its first variable."""

    def left_by_error(self) -> None:
        """As with other C code; what it has for the next step it keeps."""
        frame = self.frame
        count = frame.code.co_nlocals
        frame.locals[1:count] = [NULL] * (count - 1)
        frame.stack, frame.pc, frame.started = [], 0, False


ITERATORS: dict[type[TracedGenerator], type] = {
    TracedMap: map,
    TracedFilter: filter,
    TracedUntil: type(iter(int, 1)),
    TracedIndexing: type(iter(type("Indexed", (), {"__getitem__": None})())),
    TracedTee: type(itertools.tee(())[0]),
}
"""Generators that do the work of an iterator in C, and its type."""


MAX_DEPTH = 900
_NOTHING: Any = object()


def stop_iteration(value: Any) -> StopIteration:
    """The StopIteration that ends a generator that returned ``value``."""
    return StopIteration() if value is None else StopIteration(value)


def load_attr(vm: Any, generator: TracedGenerator, name: str) -> Any:
    """``generator.name`` as of a real generator."""
    if name in ("send", "throw", "close", "__next__", "__iter__"):
        return types.MethodType(getattr(TracedGenerator, name), generator)
    if name == "__name__":
        return generator.frame.func.__name__
    if name == "__qualname__":
        return generator.frame.func.__qualname__
    if name == "__class__":
        return types.GeneratorType
    if name == "gi_code":
        return generator.frame.code
    if name == "gi_running":
        return generator.running
    if name == "gi_suspended":
        return generator.frame.started and not (generator.running or generator.finished)
    if name == "gi_frame" and generator.finished:
        return None
    if name == "gi_yieldfrom":
        return generator.delegate()
    if name in dir(types.GeneratorType):
        raise Break("GENERATOR_STATE", f"{name} of a generator")
    raise vm.user_raise(AttributeError(f"'generator' object has no attribute '{name}'", name=name, obj=generator))


def load_iterator_attr(vm: Any, iterator: TracedGenerator, name: str) -> Any:
    """``iterator.name`` as of the iterator in C."""
    kind = ITERATORS[type(iterator)]
    if name in ("__next__", "__iter__"):
        return types.MethodType(getattr(TracedGenerator, name), iterator)
    if name == "__class__":
        return kind
    if hasattr(kind, name):
        raise Break("GENERATOR_STATE", f"{name} of a {kind.__name__}")
    raise vm.user_raise(AttributeError(f"'{kind.__name__}' object has no attribute '{name}'", name=name, obj=iterator))
