"""Output of the program (print, warnings): done after the graph, in order, with its values."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

from alternator.exc import Break, UserRaise
from alternator.interpreter import calls, global_names, operations, pending
from alternator.interpreter.pending import PendingText
from alternator.interpreter.tables import RULES
from alternator.provenance.world import MISSING, Unread
from alternator.semantics.text_files import is_open, takes


def deferred(vm: Any, fn: Any, args: Any, kwargs: Any, **unread: Any) -> None:
    """Log the call as an effect; its arguments are rebuilt when the effects are replayed.  ``unread``: more, as they are."""
    if fn is not print and _redirected(vm, "stderr") is not _UNTOUCHED:
        raise Break("PRINT", "output while sys.stderr is another one")
    for value in (*args, *(value for value in kwargs.values() if type(value) not in _FILES)):
        _showable(vm, value)
    vm.ticks += 1
    args = tuple([_as_it_is(vm, value) for value in args])
    vm.world.effects.append(("call", fn, args, {name: _as_it_is(vm, value) for name, value in kwargs.items()} | unread))


def _as_it_is(vm: Any, value: Any) -> Any:
    """What is shown later must be what the value is now."""
    if pending.is_pending(vm, value):
        return pending.snapshot(vm, value)
    if issubclass(type(value), (list, tuple, dict, set, frozenset)):
        try:
            return pending.snapshot(vm, value)
        except Break:
            raise Break("PRINT", f"a {type(value).__name__} that may change before it is shown") from None
    return value


def _showable(vm: Any, value: Any) -> None:
    if type(value) is PendingText:
        return
    vm.close(value)
    if issubclass(type(value), (list, tuple, set, frozenset)):
        for item in value:
            _showable(vm, item)
    elif issubclass(type(value), dict):
        for item in value.values():
            _showable(vm, item)


_FILES = (io.TextIOWrapper, io.StringIO)
"""What is written to them cannot be seen before the captured code is left: reading them is a break."""


@RULES.rule(print)
def rule_print(vm: Any, args: Any, kwargs: Any) -> Any:
    file, flush = kwargs.get("file"), vm.truth(kwargs.get("flush", False))
    if file is None:
        file = _redirected(vm, "stdout")
        if file is None:  # then print() does nothing
            return
    if file is MISSING:
        raise Break("PRINT", "print() without sys.stdout")
    if not {type(kwargs.get("sep")), type(kwargs.get("end"))} <= {str, type(None), PendingText}:
        raise Break("PRINT", "print() with something else than text between or behind what is shown")
    if file is not _UNTOUCHED and not (id(file) in vm.records and type(file) in _FILES):
        _print_to(vm, file, args, flush, **{name: value for name, value in kwargs.items() if name not in ("file", "flush")})
        return
    kwargs = {**kwargs, "file": file, "flush": flush}
    if file is _UNTOUCHED:
        del kwargs["file"]
        _rely_on_stdout(vm)
    shown: list[Any] = []
    try:
        for value in args:
            shown.append(_text_of(vm, value, bool(shown)))
    except UserRaise:
        if shown:  # these are out, with what comes between them
            sep = kwargs.get("sep")
            _print(vm, shown, {**kwargs, "end": " " if sep is None else sep, "flush": False})
        raise
    _print(vm, shown, kwargs)


def _text_of(vm: Any, value: Any, behind: bool) -> Any:
    """``str(value)``; ``behind``: of something before it, which is out when the program's own ``__str__`` runs."""
    effects, raised, text = len(vm.world.effects), None, None
    try:
        text = calls.call(vm, str, (value,), {})
    except UserRaise as error:
        raised = error
    if behind and len(vm.world.effects) != effects:
        raise Break("PRINT", "print() of something that itself prints, or the like, when it is turned into text")
    if raised is not None:
        raise raised
    return text


def _print(vm: Any, shown: list[Any], kwargs: dict[str, Any]) -> None:
    if "file" in kwargs:
        takes(vm, kwargs["file"])
    deferred(vm, print, shown, kwargs)


def _rely_on_stdout(vm: Any) -> None:
    """Nobody can tell when something is written to sys.stdout: it runs no code of the program's, and does not refuse."""
    if not _stdout_is_ordinary():
        raise Break("PRINT", "print() where sys.stdout is closed, or a file of the program's own class")
    if "stdout" not in vm.states:
        vm.states["stdout"] = True
        vm.world.tree.tail.append(("PY", (), _stdout_is_ordinary, "sys.stdout is an ordinary file"))


def _stdout_is_ordinary() -> bool:
    file: Any = vars(sys).get("stdout")
    kind = type(file)
    if str(type.__getattribute__(kind, "__module__")).partition(".")[0] in _CONSOLES:
        return True
    if not issubclass(kind, _FILES) or not {"write", "flush"}.isdisjoint(vars(file)):
        return False
    mro = type.__getattribute__(kind, "__mro__")
    own = next(number for number, base in enumerate(mro) if base in _FILES)
    return not any({"write", "flush"} & vars(base).keys() for base in mro[:own]) and is_open(file)


_CONSOLES = frozenset({"ipykernel", "IPython", "google", "idlelib", "colorama"})
"""What shows output of programs in windows and browsers: nothing that a program looks at."""

_UNTOUCHED = object()


def _redirected(vm: Any, name: str) -> Any:
    """What the program has put in the place of ``sys.stdout`` or ``sys.stderr``."""
    rec = vm.records.get(id(sys))
    file = rec.attrs.get(name, _UNTOUCHED) if rec is not None and rec.attrs else _UNTOUCHED
    return _UNTOUCHED if file is vars(sys).get(name, MISSING) else file


def _print_to(vm: Any, file: Any, args: tuple[Any, ...], flush: bool, sep: Any = None, end: Any = None) -> None:
    """``print(*args, file=file)``: the same calls of ``__str__`` and ``write``."""
    sep, end = " " if sep is None else sep, "\n" if end is None else end
    if type(sep) is not str or type(end) is not str:
        raise Break("PRINT", "print() to a file with something else than text")
    for number, value in enumerate(args):
        if number:
            vm.call(vm.getattr(file, "write"), (sep,))
        write = vm.getattr(file, "write")
        text = calls.call(vm, str, (value,), {})
        if type(text) is PendingText:
            raise Break("PRINT", "print() of a tensor to a file")
        vm.call(write, (text,))
    vm.call(vm.getattr(file, "write"), (end,))
    if flush:
        vm.call(vm.getattr(file, "flush"), ())


@RULES.rule(warnings._filters_mutated)  # type: ignore[attr-defined]
def filters_mutated(vm: Any, args: Any, kwargs: Any) -> None:
    """Caches of which warnings were shown are void, once the filters are what the program made them."""
    vm.world.effects.append(("call", warnings._filters_mutated, (), {}))  # type: ignore[attr-defined]


def _as_outside(vm: Any, module: Any) -> bool:
    """The program has not put anything else into the module (filters of warnings, another ``sys.stdout``)."""
    space = vars(module)
    if global_names.in_hand(vm, space) is not None:
        return False
    return all(space.get(name, vm) is value for name, value in vm.shadow_globals.get(id(space), {}).items())


@RULES.rule(warnings.warn)
def rule_warn(vm: Any, args: Any, kwargs: Any) -> Any:
    if not _as_outside(vm, warnings):
        raise Break("WARNING", "a warning under filters that the captured code has set")
    message, category, level, source = vm.plain(lambda: _warning(*args, **kwargs))
    if type(level) is not int or not issubclass(type(category), type):
        raise Break("WARNING", "a warning with an unusual category or level")
    if _raises(category):
        raise Break("WARNING", f"a {category.__name__} under a filter that makes errors of such")
    vm.world.tree.tail.append(("PY", (), lambda: not _raises(category), f"no filter makes errors of {category.__name__}"))
    frame = vm.frame
    while frame.parent is not None and level > 1:
        frame, level = frame.parent, level - 1
    if level > 1:  # in a caller of the captured function; stacks do not show the frame of generated code
        deferred(vm, warnings.warn, (message, category, level - 1, source), {})
        return
    space = Unread(frame.func.__globals__, vm.globals_source(frame.func))
    deferred(vm, warn_at, (message, category, frame.code.co_filename, frame.line(), source), {}, space=space)


def _raises(category: type) -> bool:
    """Whether a filter may make an error of such a warning: handlers are left when generated code gives it."""
    for action, text, of, module, line in warnings.filters:
        if issubclass(category, of):
            if action == "error":
                return True
            if text is module is None and not line:
                return False
    return warnings.defaultaction == "error"  # type: ignore[attr-defined]


def _warning(message: Any, category: Any = UserWarning, stacklevel: Any = 1, source: Any = None) -> tuple[Any, ...]:
    return message, type(message) if issubclass(type(message), Warning) else category or UserWarning, stacklevel, source


_warning.__name__ = _warning.__qualname__ = "warn"  # as errors of a wrong call call it


def warn_at(message: Any, category: Any, filename: str, line: int, source: Any, space: dict[str, Any]) -> None:
    """``warnings.warn`` at a place of the program: filters, and what was shown already, go by the place."""
    registry = space.setdefault("__warningregistry__", {})
    name = space.get("__name__") or "<unknown>"
    warnings.warn_explicit(message, category, filename, line, name, registry, space, source)


__all__ = ["operations"]
