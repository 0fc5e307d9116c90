"""How exceptions and tracebacks that arose while tracing are made anew."""

from __future__ import annotations

import types

from alternator.codegen.builder import Builder
from alternator.interpreter import tracebacks
from alternator.interpreter.tables import REBUILD, SUBCLASSES


@SUBCLASSES.rule(BaseException)
@REBUILD.rule(BaseException)
def rebuild_exception(b: Builder, value: BaseException) -> str:
    """Allocated with its arguments, without the ``__init__`` of its class; then all that an exception carries."""
    kind = type(value)
    native = next(base for base in kind.__mro__ if not base.__flags__ & 0x200)
    made = value.args if not isinstance(value, BaseExceptionGroup) else (value.message, list(value.exceptions))
    if isinstance(value, OSError) and value.filename is not None:
        more = (value.filename,) if value.filename2 is None else (value.filename, None, value.filename2)
        made = (*value.args[:2], *more)
    args = b.values(made)
    words = f"{b.value(kind)}, {args}" if args else b.value(kind)
    name = b.assign(f"{b.constant(native.__new__, 'new')}({words})")
    b.register(value, name)
    if isinstance(value, UnicodeError) and len(made) > 1 or isinstance(value, SyntaxError):
        start = getattr(native, "__init__")
        b.emit(f"{b.constant(start, 'init')}({name}{', ' if args else ''}{args})")
    b.emit(f"{name}.args = ({b.values(value.args)}{',' if value.args else ''})")
    _fields(b, value, native, name)
    if value.__dict__:
        b.emit(f"{name}.__dict__.update({b.value(dict(value.__dict__))})")
    if value.__cause__ is not None:
        b.emit(f"{name}.__cause__ = {b.value(value.__cause__)}")
    if value.__suppress_context__ is not (value.__cause__ is not None):
        b.emit(f"{name}.__suppress_context__ = {value.__suppress_context__}")
    context = b.vm.context_of(value)
    if context is not None:
        b.emit(f"{name}.__context__ = {b.value(context)}")
    if value.__traceback__ is not None:
        b.emit(f"{name}.__traceback__ = {b.value(value.__traceback__)}")
    return name


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
