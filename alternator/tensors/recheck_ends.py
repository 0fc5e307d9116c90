"""Whether the ends of objects show, once more, in plain Python: a check of the native check (``config.recheck_guards``)."""

from __future__ import annotations

import gc
import types
import weakref
from typing import Any, Callable, Sequence

from alternator.bytecode.decode import decode
from alternator.provenance.ends import APART, HOLDERS, PLAIN, SILENT
from alternator.provenance.world import MISSING, class_space, module_of

_MRO: Any = type.__dict__["__mro__"].__get__
_WEAK_OFFSET: Any = type.__dict__["__weakrefoffset__"].__get__


def is_observed(value: Any, apart: Sequence[Any], most: int) -> bool:
    """What :func:`alternator.provenance.ends.is_observed` says."""
    seen = {id(one) for one in apart} - {id(value)}
    most += len(seen)
    pending = [value]
    while pending:
        one = pending.pop()
        kind = type(one)
        if kind in PLAIN or issubclass(kind, APART) or _is_ours(kind) or id(one) in seen:
            continue
        if kind not in HOLDERS and _shows(one, kind):
            return True
        seen.add(id(one))
        if len(seen) > most:
            return True
        pending += _held_by(one, kind)
    return False


def _is_ours(kind: type) -> bool:
    return module_of(kind).split(".")[0] == "alternator"


def _shows(one: Any, kind: type) -> bool:
    if kind is types.GeneratorType:
        frame = one.gi_frame
        decoded = decode(one.gi_code)
        return frame is not None and decoded.exception_entry(decoded.index_of_offset(frame.f_lasti)) is not None
    if kind in (types.CoroutineType, types.AsyncGeneratorType):
        return getattr(one, "cr_frame", MISSING) is not None and getattr(one, "ag_frame", MISSING) is not None
    if kind in SILENT:
        return False
    if any("__del__" in class_space(base) for base in _MRO(kind)):
        return True
    return _WEAK_OFFSET(kind) != 0 and not all(_is_ours(type(ref)) for ref in weakref.getweakrefs(one))


def _held_by(one: Any, kind: type) -> list[Any]:
    if kind is types.FunctionType:
        return [one.__defaults__, one.__kwdefaults__, one.__closure__, one.__dict__]
    found = gc.get_referents(one)
    if kind is types.FrameType:
        shared = one.f_globals, one.f_builtins
        return [item for item in found if type(item) is not types.FrameType and all(item is not space for space in shared)]
    return found


# ---- where values are held


def _attribute(obj: Any, name: str) -> Any:
    try:
        space = object.__getattribute__(obj, "__dict__")
    except (AttributeError, TypeError):
        space = None
    if name == "__dict__":
        return space
    if isinstance(space, dict) and name in space:
        return dict.__getitem__(space, name)
    for base in _MRO(type(obj)):
        raw = class_space(base).get(name)
        if type(raw) is types.MemberDescriptorType:
            try:
                return raw.__get__(obj, type(obj))
            except AttributeError:
                return MISSING
    return MISSING


def _contents(cell: Any, name: str) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


_HELD: dict[str, Callable[[Any, str], Any]] = {
    "itself": lambda holder, name: holder,
    "attribute": _attribute,
    "class": lambda holder, name: class_space(holder).get(name, MISSING),
    "global": lambda holder, name: dict.get(holder, name, MISSING),
    "cell": _contents,
}


def is_quiet(how: str, name: str, most: int, missing: Any, holder: Any, *apart: Any) -> bool:
    """What the native guard ``QUIET`` says; ``missing`` stands for what is not there."""
    if holder is missing:
        return True
    return not is_observed(_HELD[how](holder, name), [one for one in apart if one is not missing], most)
