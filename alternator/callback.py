"""Functions that users have called before the first and after the last compilation of a call."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import threading
from typing import Any, Callable


class CallbackTrigger(enum.Enum):
    """What started a compilation."""

    DYNAMO = 1
    LAZY_BACKWARD = 2
    TRITON_AUTOTUNING = 3
    CUDAGRAPH_RECORDING = 4


@dataclasses.dataclass
class CallbackArgs:
    """What a callback is told, if it takes an argument."""

    callback_trigger: CallbackTrigger
    compile_id: str


class CallbackHandler:
    """The registered functions.  Nested compilations count as one."""

    def __init__(self) -> None:
        self.start_callbacks: list[Callable[..., None]] = []
        self.end_callbacks: list[Callable[..., None]] = []
        self._lock = threading.Lock()
        self._running = 0

    def register_start_callback(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Have it called before a compilation."""
        self.start_callbacks.append(callback)
        return callback

    def register_end_callback(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Have it called after a compilation."""
        self.end_callbacks.append(callback)
        return callback

    def remove_start_callback(self, callback: Callable[..., None]) -> None:
        """Take it out."""
        self.start_callbacks.remove(callback)

    def remove_end_callback(self, callback: Callable[..., None]) -> None:
        """Take it out."""
        self.end_callbacks.remove(callback)

    def clear(self) -> None:
        """Take all out."""
        self.start_callbacks.clear()
        self.end_callbacks.clear()

    def running(
        self, compile_id: str, trigger: CallbackTrigger = CallbackTrigger.DYNAMO
    ) -> contextlib.AbstractContextManager[None] | None:
        """A compilation runs inside of this; None: nobody listens."""
        return _Running(self, compile_id, trigger) if self.start_callbacks or self.end_callbacks else None


class _Running(contextlib.AbstractContextManager[None]):
    def __init__(self, handler: CallbackHandler, compile_id: str, trigger: CallbackTrigger) -> None:
        self._handler = handler
        self._compile_id = compile_id
        self._trigger = trigger

    def __enter__(self) -> None:
        handler = self._handler
        with handler._lock:
            handler._running += 1
            first = handler._running == 1
        if first and handler.start_callbacks:
            try:
                self._tell(handler.start_callbacks)
            except BaseException:
                self.__exit__()
                raise

    def __exit__(self, *exc_info: object) -> None:
        handler = self._handler
        with handler._lock:
            handler._running -= 1
            last = handler._running == 0
        if last and handler.end_callbacks:
            self._tell(handler.end_callbacks)

    def _tell(self, callbacks: list[Callable[..., None]]) -> None:
        args = CallbackArgs(self._trigger, self._compile_id)
        for callback in callbacks:
            _tell(callback, args)


def _tell(callback: Callable[..., Any], args: CallbackArgs) -> None:
    try:
        takes_args = bool(inspect.signature(callback).parameters)
    except (TypeError, ValueError):
        takes_args = True
    if takes_args:
        callback(args)
    else:
        callback()


callback_handler = CallbackHandler()


def on_compile_start(callback: Callable[..., None]) -> Callable[..., None]:
    """Decorator: have the function called before a compilation, with a :class:`CallbackArgs` if it takes an argument."""
    return callback_handler.register_start_callback(callback)


def on_compile_end(callback: Callable[..., None]) -> Callable[..., None]:
    """Decorator: have the function called after a compilation."""
    return callback_handler.register_end_callback(callback)
