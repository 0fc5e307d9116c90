"""What autograd knows of an outside tensor: is it a leaf, a view, and of what.

The guards on tensors say nothing of it, since the same graph does for all of them; where the program asks, or an operation
depends on it, it is guarded.
"""

from __future__ import annotations

from typing import Any

import torch

from alternator.provenance.source import worded
from alternator.tensors.graph import Recorder

_METHODS = frozenset({"_is_view", "is_pinned"})


def _reader(name: str) -> Any:
    @worded(f"{{}}.{name}()" if name in _METHODS else f"{{}}.{name}")
    def read(tensor: torch.Tensor) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            value = getattr(tensor, name)
            return value() if name in _METHODS else value

    return read


READERS = {
    name: _reader(name)
    for name in (
        "grad",
        "_backward_hooks",
        "is_leaf",
        "output_nr",
        "name",
        "requires_grad",
        "retains_grad",
        "_version",
        "_base",
        "_is_view",
        "is_pinned",
    )
}
"""Each of them is one function: a source is known by what it calls."""


@worded("the history of {}")
def history(tensor: torch.Tensor) -> str:
    """What decides whether autograd lets a tensor be written into."""
    with torch._C.DisableTorchFunctionSubclass():
        if not tensor._is_view():
            return "leaf" if tensor.is_leaf else "computed"
        base: Any = tensor._base
        try:
            leaf = tensor.is_leaf
        except RuntimeError:  # its history cannot be told any more
            leaf = None
        meta = torch._C._autograd._get_creation_meta(tensor)
        return f"view of a {'leaf' if base.is_leaf else 'computed'} ({leaf}, {meta.name}, {base.requires_grad})"


def is_leaf(vm: Any, tensor: torch.Tensor) -> bool:
    """``tensor.is_leaf``; what requires no gradients always is one."""
    rec = vm.records.get(id(tensor))
    with torch._C.DisableTorchFunctionSubclass():
        if rec is not None and rec.obj.requires_grad:
            rec.source.child("call", READERS["is_leaf"]).guard("EQ", READERS["is_leaf"](rec.obj))
        return tensor.is_leaf


def rely_on(vm: Any, tensor: torch.Tensor) -> None:
    """Guard the history of an outside tensor, and that of what a tensor of the program's is a view of."""
    for one in (tensor, READERS["_base"](tensor)):
        rec = vm.records.get(id(one))
        if rec is not None and issubclass(type(rec.obj), torch.Tensor):
            rec.source.child("call", history).guard("EQ", history(rec.obj))


def rely_on_all(vm: Any, values: Any) -> None:
    """The same for all tensors among the arguments of an operation that autograd may have refused."""
    if not torch.is_grad_enabled():
        return
    for value in values:
        if issubclass(type(value), torch.Tensor):
            rely_on(vm, value)
        elif type(value) in (list, tuple):
            rely_on_all(vm, value)


def rely_on_written(vm: Any, recorder: Recorder) -> None:
    """The same for the inputs that the graph writes into where autograd looks on: it refuses to write into some."""
    for entry in recorder.inputs:
        fake = entry.node.meta["example_value"]
        if entry.kind != "tensor" or not issubclass(type(entry.example), torch.Tensor):
            continue
        if vm.fakes.watch.tracks(fake) and (READERS["requires_grad"](fake) or READERS["requires_grad"](entry.example)):
            entry.source.child("call", history).guard("EQ", history(entry.example))
