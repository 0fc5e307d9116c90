"""Functions of ``torch.jit``: a node of the graph each, since what they do is what TorchScript makes of their text."""

from __future__ import annotations

from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter import tensor_ops
from alternator.interpreter.tables import INSTANCE_CALLS

_OUTPUT = ("prim::Print", "aten::warn")


@INSTANCE_CALLS.rule(torch.jit.ScriptFunction)
def call_script_function(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """What it does on fakes, it does in the graph; it must not be seen to be run twice."""
    rec = vm.records.get(id(obj))
    if rec is not None:
        rec.source.guard("IS", rec.obj)
    made = vm.states.setdefault("scripted", {})
    if obj not in made:
        for what in _OUTPUT:
            if obj.inlined_graph.findNode(what, True) is not None:
                raise Break("JIT", f"{obj.name}, which writes output")
        made[obj] = _as_function(obj)
    return tensor_ops.call(vm, made[obj], args, kwargs)


def _as_function(scripted: Any) -> Any:
    """A function in Python: the text of a graph names functions, and has none for one of TorchScript."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return scripted(*args, **kwargs)

    run.__name__ = run.__qualname__ = scripted.name if scripted.name.isidentifier() else "scripted"
    return run
