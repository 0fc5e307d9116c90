"""Generators of captured code: a frame that is run on demand, as a real iterator object."""

from __future__ import annotations

from typing import Any

from alternator.exc import UserRaise


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

    def __iter__(self) -> "TracedGenerator":
        return self

    def __next__(self) -> Any:
        return self.resume(None, None)

    def send(self, value: Any) -> Any:
        return self.resume(value, None)

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        error = kind if isinstance(kind, BaseException) else (value if isinstance(value, BaseException) else kind() if value is None else kind(value))
        return self.resume(None, error)

    def close(self) -> None:
        if self.finished:
            return
        if not self.frame.started:
            self.finished = True
            return
        try:
            self.resume(None, GeneratorExit())
        except UserRaise as raised:
            if isinstance(raised.exc, (StopIteration, GeneratorExit)):
                return
            raise
        raise self.vm.user_raise(RuntimeError("generator ignored GeneratorExit"))

    def resume(self, value: Any, error: BaseException | None) -> Any:
        """Run to the next yield; StopIteration leaves as the user's exception."""
        vm, frame = self.vm, self.frame
        if self.finished:
            raise vm.user_raise(error if error is not None else StopIteration())
        if self.running:
            raise vm.user_raise(ValueError("generator already executing"))
        if error is not None and not frame.started:
            self.finished = True
            raise vm.user_raise(error)
        if value is not None and not frame.started:
            raise vm.user_raise(TypeError("can't send non-None value to a just-started generator"))
        frame.parent = vm.frame
        outer, self.running = vm.handled, True
        vm.ticks += 1
        if frame.handled is not None:
            vm.handled = frame.handled
        try:
            if error is not None:
                self._throw_in(error)
            elif frame.started:
                frame.stack.append(value)
            frame.started = True
            frame.suspended = False
            result = frame.run()
        except UserRaise as raised:
            self.finished = True
            if isinstance(raised.exc, StopIteration):
                wrong = RuntimeError("generator raised StopIteration")
                wrong.__cause__ = wrong.__context__ = raised.exc
                raise UserRaise(wrong) from None
            raise
        except BaseException:
            self.finished = True
            raise
        finally:
            frame.handled = vm.handled if vm.handled is not outer else None
            vm.handled = outer
            self.running = False
            vm.frame = frame.parent
        if frame.suspended:
            return result
        self.finished = True
        raise UserRaise(StopIteration(result) if result is not None else StopIteration())

    def _throw_in(self, error: BaseException) -> None:
        """Raise inside the suspended frame; a delegate (``yield from``) gets it first."""
        frame = self.frame
        try:
            frame.vm.frame = frame
            delegate = frame.delegate()
            if delegate is not None:
                frame.throw_to_delegate(delegate, error)
                return
            raise UserRaise(self.vm.adopt(error))
        except UserRaise as raised:
            frame.unwind(raised)
