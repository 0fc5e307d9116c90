"""Sees which operations on fakes write into their arguments or draw random numbers.

A graph that writes into nothing outside can be given up in its middle: what it has done so far cannot be told, once the random
numbers that it drew have been given back.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from alternator.tensors.graph import Recorder

_OWN = frozenset({"aten", "prims", "prim"})
_MOVING = frozenset({"running_mean", "running_var"})


class Watch:
    """What a fake mode dispatches through: knows the storages that were written into, whether random numbers were drawn, and
    whether something else was done that shows outside.  (A subclass of the mode would not do: higher order operators have rules
    for the very class.)"""

    pure: set[Any] = set()
    """Operators that were looked at, and never do any of it, whatever they are called with."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = weakref.ref(mode)
        self.written: dict[int, Any] = {}
        self.draws = False
        self.shows = False
        vars(mode)["dispatch"] = self

    def __call__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every operator that fakes come to."""
        if func not in self.pure:
            self._look_at(func, args, kwargs or {})
        mode = self.mode()
        assert mode is not None  # it is dispatching
        return FakeTensorMode.dispatch(mode, func, types, args, kwargs or {})

    def is_harmless(self, recorder: Recorder) -> bool:
        """Nobody can tell, but by random numbers, that the graph as it is now has run, or has run a part of the way."""
        if (
            self.shows
            or any(entry.kind == "made" for entry in recorder.inputs)
            or not _is_known(recorder.graph, recorder.attributes)
        ):
            return False
        values = [entry.node.meta["example_value"] for entry in recorder.inputs]
        return all(value.untyped_storage()._cdata not in self.written for value in values if isinstance(value, torch.Tensor))

    def _look_at(self, func: Any, args: Any, kwargs: Any) -> None:
        schema = getattr(func, "_schema", None)
        if schema is None or func.namespace not in _OWN:
            self.shows = True
            return
        names = [argument.name for argument in schema.arguments]
        given = dict(zip(names, args)) | kwargs
        seeded = torch.Tag.nondeterministic_seeded in func.tags
        moving = not _MOVING.isdisjoint(names)
        if seeded and given.get("dropout_p", 1.0) != 0.0:
            self.draws = True
            self.shows |= given.get("generator") is not None
        if (
            moving and given.get("training", given.get("train", True)) is not False
        ):  # not all of their schemas say that they write
            self.shows = True
        if schema.is_mutable:
            for argument in schema.arguments:
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._write(given.get(argument.name))
        elif not seeded and not moving:
            self.pure.add(func)

    def _write(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            self.written[storage._cdata] = storage  # kept, or another one could get its address
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._write(item)


def _is_known(graph: torch.fx.Graph, attributes: dict[str, Any]) -> bool:
    """The graph, and the bodies of operators in it, are no more than the operators that they come to."""
    return all(_KNOWN.get(node.op, _never)(node, attributes) for node in graph.nodes)


def _never(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    return False


def _always(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    return True


def _known_body(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    body = attributes[str(node.target)]
    if isinstance(body, Recorder):
        return _is_known(body.graph, body.attributes)
    return isinstance(body, torch.fx.GraphModule) and _is_known(body.graph, vars(body)["_modules"])


def _known_function(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    target = node.target
    if isinstance(target, (torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator)):
        return True
    kinds = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType, type)
    module = getattr(target, "__module__", None) or ""
    return isinstance(target, kinds) and module.split(".")[0] in ("torch", "_operator", "builtins", "math", "")


def _known_method(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    return node.target not in _CHANGE_THE_TENSOR


_CHANGE_THE_TENSOR = frozenset(
    {"requires_grad_", "register_hook", "register_post_accumulate_grad_hook", "retain_grad", "backward"}
)
_KNOWN = {
    "placeholder": _always,
    "output": _always,
    "get_attr": _known_body,
    "call_function": _known_function,
    "call_method": _known_method,
}
