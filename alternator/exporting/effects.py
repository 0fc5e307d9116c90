"""What a graph cannot do: changes of what lies outside of it, other than of tensors, are named and refused."""

from __future__ import annotations

from typing import Any, Iterator

import torch

from alternator.capture import Attempt
from alternator.exc import Break
from alternator.interpreter.lookahead import Ahead
from alternator.interpreter.outside_generators import OutsideGenerator
from alternator.provenance.changes import has_changed, records
from alternator.provenance.world import MISSING
from alternator.semantics.computed_hooks import bodies
from alternator.semantics.output_calls import warn_at


def refuse_effects(attempt: Attempt) -> None:
    """Raise ``Break`` if calling the graph would leave something undone that calling the function does."""
    for text in _effects(attempt):
        raise Break("UNSUPPORTED_EFFECT", f"the function that is exported {text}, and a graph cannot do that", cure=_CURE)


_CURE = "Keep it out of what is exported, or return the value. What is done in place to tensors and buffers is part of the graph."


def _effects(attempt: Attempt) -> Iterator[str]:
    vm = attempt.vm
    for kind, *what in _last_writes(vm.world.effects):
        if kind == "call":
            if _is_output(what[0]):
                continue
            yield f"calls {getattr(what[0], '__qualname__', what[0])}()"
        elif _as_before(vm, kind, what):
            continue
        elif kind == "global":
            yield f"writes the global variable {what[2]}"
        elif kind == "cell":
            yield f"writes a variable of the function around it ({what[0].source.name})"
        else:
            verb = "deletes" if what[2] is MISSING else "writes"
            yield f"{verb} the attribute {what[1]} of {_described(what[0])}"
    for rec in records(vm):
        if has_changed(rec):
            if isinstance(rec.standin, (Ahead, OutsideGenerator)):
                yield f"takes items from {_described(rec)}"
            else:
                yield f"changes {_described(rec)}"
    for entry in vm.recorder.inputs:
        if entry.kind == "new":
            yield "makes a parameter"
        if entry.kind == "made":
            yield f"draws numbers of Python's random module ({entry.node.name})"
    if bodies(vm):
        yield "registers a hook on what it computes"
    for fn, *args in attempt.before.steps_to(attempt.after):
        yield f"leaves torch's global state changed ({fn.__name__}({', '.join(map(repr, args))}))"


def _last_writes(effects: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Of the writes to one target the last."""
    found: dict[Any, tuple[Any, ...]] = {}
    for effect in effects:
        where = effect[-2] if effect[0] != "call" else id(effect)
        found[effect[0], id(effect[1]), where] = effect
    return list(found.values())


def _as_before(vm: Any, kind: str, what: list[Any]) -> bool:
    """What is written in the end is what was there before: it was set for a while."""
    target, name, value = what[0], what[-2], what[-1]
    if kind == "global":
        space = target
    elif kind == "cell":
        try:
            space = {name: target.obj.cell_contents}
        except ValueError:
            space = {}
    else:
        space = getattr(target.obj, "__dict__", None) or {}
    before, rec = space.get(name, MISSING), vm.records.get(id(value))
    if rec is not None:
        return before is rec.obj
    return type(before) is type(value) and (before is value or type(value) in _SCALARS and before == value)


_SCALARS = frozenset({int, float, str, bool, bytes})


def _described(rec: Any) -> str:
    kind = type(rec.obj)
    return f"{rec.source.name} (a {'tensor' if issubclass(kind, torch.Tensor) else kind.__name__})"


def _is_output(fn: Any) -> bool:
    """Warnings and log records are no part of what a function computes: they are left out."""
    return fn is warn_at or str(getattr(fn, "__module__", "")).partition(".")[0] in ("warnings", "_warnings", "logging")
