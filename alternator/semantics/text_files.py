"""Files in memory, and text that goes to a file from outside: it is written after the graph, in order, as output is."""

from __future__ import annotations

import io
from typing import Any

from alternator.exc import Break
from alternator.interpreter import calls
from alternator.interpreter.pending import PendingText
from alternator.interpreter.tables import GETTERS, PURE_TYPES, REBUILD, RULES, SHALLOW

PURE_TYPES.put(io.StringIO, SHALLOW)
PURE_TYPES.put(io.BytesIO, SHALLOW)
_STRING_CLOSED: Any = io.StringIO.__dict__["closed"].__get__
_SYSTEMS = (io.BufferedWriter, io.BufferedRandom, io.FileIO, io.BytesIO)
"""What a text file may stand on: C code that runs nothing of the program's."""


def is_open(file: Any) -> bool:
    """A file in memory that is open, or one of the system's: writing to it runs no code of the program's."""
    kind = type(file)
    if issubclass(kind, io.StringIO):
        return not _STRING_CLOSED(file)
    if issubclass(kind, io.BytesIO):
        return _takes_bytes(file)
    if not issubclass(kind, io.TextIOWrapper):
        return False
    try:
        below = _BUFFER(file)
        at_bottom = below.raw if type(below) in (io.BufferedWriter, io.BufferedRandom) else below
        if type(below) is io.BytesIO:
            return _takes_bytes(below)
        return type(below) in _SYSTEMS and type(at_bottom) in _SYSTEMS and not below.closed and below.writable()
    except ValueError:  # it has been detached
        return False


def _takes_bytes(file: Any) -> bool:
    """It is open, and nobody has its memory in hand: ``getbuffer()`` forbids writes."""
    try:
        io.BytesIO.write(file, b"")
    except (ValueError, BufferError):
        return False
    return True


_BUFFER: Any = io.TextIOWrapper.__dict__["buffer"].__get__
_ENCODING: Any = io.TextIOWrapper.__dict__["encoding"].__get__


def _is_utf8(file: Any) -> bool:
    return str(_ENCODING(file)).lower() in ("utf-8", "utf8")


def takes(vm: Any, file: Any) -> None:
    """Rely on it that what is written to an outside file goes through."""
    rec = vm.records[id(file)]
    if not is_open(rec.obj):
        raise Break("IO", "writing to a file that is closed, or stands on an unusual one")
    rec.source.guard("TYPE", type(rec.obj))
    rec.source.guard_predicate(is_open, "is an open file")


def _later(vm: Any, method: Any, *args: Any) -> None:
    """Something is done with an outside file: nobody can see it before the captured code is left, since looking is a break."""
    takes(vm, args[0])
    vm.ticks += 1
    vm.world.effects.append(("call", method, args, {}))


def _encodes(vm: Any, file: Any, text: str) -> None:
    """Rely on it that the file can hold the text, whatever it makes of ends of lines."""
    if text.isascii() and type(text) is str or not issubclass(type(file), io.TextIOWrapper):
        return
    rec = vm.records[id(file)]
    if not _is_utf8(rec.obj) or any("\ud800" <= char <= "\udfff" for char in str.__iter__(text)):
        raise Break("IO", "text that the file may not be able to hold")
    rec.source.guard_predicate(_is_utf8, "encoding is UTF-8")


def _is_dropped(vm: Any) -> bool:
    """Nobody looks at what the call gives."""
    frame = vm.frame
    here, behind = frame.instrs[frame.at : frame.at + 2]
    return vm.native_function is None and here.opname in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") and behind.opname == "POP_TOP"


def _writing(kind: Any, text: type) -> None:
    method = kind.write

    def write(vm: Any, args: Any, kwargs: Any) -> Any:
        """``file.write(text)``, which gives how long the text is."""
        given: Any
        file, given = args if len(args) == 2 and not kwargs else (args[0], None)
        shown = type(given) is PendingText
        if id(file) not in vm.records:
            vm.close_all(args[1:], kwargs, SHALLOW)
            return vm.plain(lambda: method(*args, **kwargs))
        if type(given) is not text and not (shown and text is str):
            raise Break("IO", f"{kind.__name__}.write() of something else than exactly {text.__name__}")
        if shown and not _is_dropped(vm):
            raise Break("DATA_DEPENDENT_VALUE", "the length of the text of a tensor")
        if text is str:
            _encodes(vm, file, given)
        _later(vm, method, file, given)
        return PendingText(_length, (given,), {}) if shown else len(given)

    RULES.put(method, write)


def _length(text: str) -> str:
    return str(len(text))


for _kind, _text in ((io.StringIO, str), (io.TextIOWrapper, str), (io.BytesIO, bytes)):
    _writing(_kind, _text)


def _flushing(method: Any) -> None:
    def flush(vm: Any, args: Any, kwargs: Any) -> Any:
        if id(args[0]) not in vm.records and issubclass(type(args[0]), (io.StringIO, io.BytesIO)):
            return vm.plain(lambda: method(*args, **kwargs))
        if id(args[0]) not in vm.records or len(args) > 1 or kwargs:
            raise Break("IO", "such a call of flush()")
        return _later(vm, method, *args)

    RULES.put(method, flush)


_BASE: Any = io.IOBase.__base__
for _method in (_BASE.flush, io.TextIOWrapper.flush, io.BytesIO.flush):
    _flushing(_method)


def _writelines(file: Any, lines: Any) -> None:
    """Polyfill."""
    if file.closed:
        raise ValueError("I/O operation on closed file.")
    for line in lines:
        file.write(line)


def _enter(file: Any) -> Any:
    """Polyfill."""
    if file.closed:
        raise ValueError("I/O operation on closed file.")
    return file


def _exit(file: Any, *raised: Any) -> Any:
    """Polyfill."""
    return file.close()


def _polyfill(method: Any, plain: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if not issubclass(type(args[0]), (io.StringIO, io.BytesIO, io.TextIOWrapper)):
            raise Break("IO", f"{method.__name__}() of a {type(args[0]).__name__}")
        if len(args) == 1 and plain is _writelines or kwargs:
            vm.plain(lambda: method(io.StringIO(), *args[1:], **kwargs))
        return calls.call(vm, plain, args, kwargs)

    RULES.put(method, rule)


_polyfill(_BASE.writelines, _writelines)
_polyfill(_BASE.__enter__, _enter)
_polyfill(_BASE.__exit__, _exit)


def _asking(kind: Any) -> None:
    """Whether a file is closed; captured code cannot close one from outside."""
    getter: Any = vars(kind)["closed"]

    def closed(vm: Any, file: Any) -> Any:
        rec = vm.records.get(id(file))
        if rec is None:
            return vm.plain(getter.__get__, file)
        if not is_open(rec.obj):
            raise Break("IO", "a look at a file that is closed, or stands on an unusual one")
        takes(vm, file)
        return False

    GETTERS.put(getter, closed)


for _kind in (io.StringIO, io.BytesIO, io.TextIOWrapper):
    _asking(_kind)


@REBUILD.rule(io.StringIO, io.BytesIO)
def rebuild_file(b: Any, value: Any) -> str:
    """What was written, and the position; or that it is closed."""
    kind = type(value)
    name = str(b.assign(f"{b.constant(kind, kind.__name__)}()"))
    b.register(value, name)
    if not value.closed:
        b.emit(f"{name}.__setstate__({b.value(value.__getstate__())})")
    elif vars(value):
        raise Break("UNREBUILDABLE_OUTPUT", f"a closed {kind.__name__} with attributes")
    else:
        b.emit(f"{name}.close()")
    return name
