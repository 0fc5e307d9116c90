"""Attributes of tensors that tell what autograd knows of them: ``is_leaf``, ``grad_fn``, ``_base``, ``_version`` and the like."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from alternator.exc import Break
from alternator.interpreter import tensor_ops
from alternator.interpreter.histories import READERS, is_leaf
from alternator.interpreter.tensor_ops import ATTRIBUTES, METHODS
from alternator.semantics.tensors import stored
from alternator.tensors.graph import Recorder


def _is_leaf(vm: Any, tensor: torch.Tensor) -> bool:
    return is_leaf(vm, tensor)


def _grad_fn(vm: Any, tensor: torch.Tensor) -> None:
    """None of a leaf; what else it is, nobody can be given before the graph has run."""
    if not is_leaf(vm, tensor) and tensor.grad_fn is not None:
        raise Break("TENSOR_ATTRIBUTE", "grad_fn")


def _as_it_came(name: str) -> Any:
    """An attribute that only writing into the tensor changes; of what the program made, the fake's."""

    def rule(vm: Any, tensor: torch.Tensor) -> Any:
        rec = vm.records.get(id(tensor))
        if rec is None:
            return tensor_ops.execute(vm, getattr, (tensor, name), {})
        if tensor._version or rec.attrs:
            raise Break("TENSOR_ATTRIBUTE", f"{name} of an input that was changed")
        return vm.world.admit(READERS[name](rec.obj), stored(vm, rec, name))

    return rule


def _version(vm: Any, tensor: torch.Tensor) -> Any:
    """How often an input was written into before; what captured code writes, backends count in ways of their own."""
    rec = vm.records.get(id(tensor))
    if rec is None or rec.attrs or type(vm.recorder) is not Recorder or not vm.fakes.watch.changes_nothing(vm.recorder):
        raise Break("TENSOR_ATTRIBUTE", "_version")
    if torch.is_inference(rec.obj) or vm.inference_mode:
        raise Break("TENSOR_ATTRIBUTE", "_version in inference mode")
    return vm.world.admit(READERS["_version"](rec.obj), stored(vm, rec, "_version"))


def _base(vm: Any, tensor: torch.Tensor) -> Any:
    """What a tensor is a view of."""
    rec = vm.records.get(id(tensor))
    if rec is not None:
        if rec.attrs or type(vm.recorder) is not Recorder:
            raise Break("TENSOR_ATTRIBUTE", "_base")
        return vm.world.admit(READERS["_base"](rec.obj), stored(vm, rec, "_base"))
    base = tensor._base
    if base is not None and (vm.fakes.symbolic or not vm.recorder.knows(base)):  # rules of symbolic sizes make other views
        raise Break("TENSOR_ATTRIBUTE", "_base")
    return base


def _is_view(vm: Any, args: Any, kwargs: Any) -> bool:
    rec = vm.records.get(id(args[0]))
    if rec is not None and not kwargs and len(args) == 1:
        rec.source.child("call", READERS["_is_view"]).guard("EQ", READERS["_is_view"](rec.obj))
    return tensor_ops.execute(vm, args[0]._is_view, args[1:], kwargs)  # type: ignore[no-any-return]


def _is_pinned(vm: Any, args: Any, kwargs: Any) -> bool:
    rec = vm.records.get(id(args[0]))
    if rec is None or kwargs or len(args) > 1:
        raise Break("TENSOR_ATTRIBUTE", "is_pinned()")
    with unset_fake_temporarily():
        pinned: bool = READERS["is_pinned"](rec.obj)
    rec.source.child("call", READERS["is_pinned"]).guard("EQ", pinned)
    return pinned


def _is_set_to(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("TENSOR_DATA", "Tensor.is_set_to()")


for _name, _rule in (("_is_view", _is_view), ("is_pinned", _is_pinned), ("is_set_to", _is_set_to)):
    METHODS.put(tensor_ops.class_attribute(torch.Tensor, _name), _rule)
ATTRIBUTES.update(is_leaf=_is_leaf, grad_fn=_grad_fn, _base=_base, _version=_version)
ATTRIBUTES.update({name: _as_it_came(name) for name in ("output_nr", "retains_grad", "name")})
