"""How exceptions and tracebacks that arose while tracing are made anew."""

from __future__ import annotations

import types

from alternator.codegen.builder import Builder
from alternator.interpreter import tracebacks
from alternator.interpreter.tables import REBUILD, SUBCLASSES
from alternator.provenance import storage
from alternator.provenance.world import instance_space, is_heap, mro_of


@SUBCLASSES.rule(BaseException)
@REBUILD.rule(BaseException)
def rebuild_exception(b: Builder, value: BaseException) -> str:
    """Allocated with its arguments, without the ``__init__`` of its class; then all that an exception carries."""
    kind = type(value)
    native = next(base for base in mro_of(kind) if not is_heap(base))
    given = made = storage.exception_args(value)
    if issubclass(kind, BaseExceptionGroup):
        made = storage.group_message(value), list(storage.group_exceptions(value))
    if issubclass(kind, OSError) and (path := _PATH.__get__(value)) is not None:
        other = _OTHER_PATH.__get__(value)
        made = (*given[:2], path) if other is None else (*given[:2], path, None, other)
    args = b.values(made)
    words = f"{b.value(kind)}, {args}" if args else b.value(kind)
    name = b.assign(f"{b.constant(native.__new__, 'new')}({words})")
    b.register(value, name)
    if issubclass(kind, UnicodeError) and len(made) > 1 or issubclass(kind, SyntaxError):
        start = getattr(native, "__init__")
        b.emit(f"{b.constant(start, 'init')}({name}{', ' if args else ''}{args})")
    _put(b, name, "args", f"({b.values(given)}{',' if given else ''})")
    _fields(b, value, native, name)
    if space := instance_space(value):
        b.emit(f"{b.space(kind, name)}.update({b.value(dict(space))})")
    cause, suppressed = storage.cause_of(value), storage.context_is_suppressed(value)
    if cause is not None:
        _put(b, name, "__cause__", b.value(cause))
    if suppressed is not (cause is not None):
        _put(b, name, "__suppress_context__", repr(suppressed))
    context = b.vm.context_of(value)
    if context is not None:
        _put(b, name, "__context__", b.value(context))
    trace = storage.trace_of(value)
    if trace is not None:
        _put(b, name, "__traceback__", b.value(trace))
    return name


def _put(b: Builder, name: str, field: str, text: str) -> None:
    b.emit(f"{b.constant(vars(BaseException)[field].__set__, 'put')}({name}, {text})")


_PATH, _OTHER_PATH = (vars(OSError)[name] for name in ("filename", "filename2"))


def _fields(b: Builder, value: BaseException, native: type, name: str) -> None:
    """What a builtin exception stores beside its arguments: ``StopIteration.value``, ``NameError.name`` ..."""
    for base in native.__mro__:
        for raw in base.__dict__.values():
            if type(raw) is not types.MemberDescriptorType or raw.__name__ == "__suppress_context__":
                continue
            try:
                field = raw.__get__(value)
                raw.__set__(value, field)
            except (AttributeError, TypeError):  # read-only: the arguments decide
                continue
            if field is not None:
                b.emit(f"{b.constant(raw.__set__, 'field')}({name}, {b.value(field)})")


@REBUILD.rule(types.TracebackType)
def rebuild_traceback(b: Builder, value: types.TracebackType) -> str:
    """The same entries, each once: what is the end of another traceback, or held by the program, is so afterwards."""
    entries, name = [], "None"
    trace: types.TracebackType | None = value
    while trace is not None and not b.has(trace):
        entries.append(trace)
        trace = trace.tb_next
    if trace is not None:
        name = b.value(trace)
    for entry in reversed(entries):
        row, space = tracebacks.row_of(entry)
        make, words = b.constant(tracebacks.rebuilt, "traceback"), b.constant(row, "row")
        name = b.assign(f"{make}({name}, {words}, {b.global_namespace(space)})")
        b.register(entry, name)
    return name
