"""Gradients inside of captured code: ``torch.autograd.grad``, and leaves of autograd that the program makes.

Both are nodes of the graph: fakes have a real autograd graph, and AOTAutograd traces through what a graph does with autograd.
What leaves the captured code must be to autograd what it is in plain Python.  A leaf that was made inside, or what could not be
differentiated any more, would not be; and whether something leaves is known at the end only, so the capture then begins anew,
with breaks in the places in question.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.exc import Break, Restart
from alternator.interpreter import histories, operations, tensor_ops
from alternator.interpreter.tables import RULES
from alternator.interpreter.tensor_ops import ATTRIBUTES, METHODS, SET_ATTRIBUTES
from alternator.provenance.world import Outside
from alternator.semantics import computed_hooks
from alternator.tensors.graph import Recorder

_NOT_HERE = "gradients that leave"
"""In the state of a frame: it gave away what only plain Python makes of autograd."""


def _can_follow(vm: Any) -> bool:
    """The graph of the frame itself is being recorded, and no class of tensors or transform looks on."""
    if type(vm.recorder) is not Recorder or vm.overrides.active or vm.root_state.get(_NOT_HERE):
        return False
    return not torch._C._are_functorch_transforms_active()


# ---- leaves


@METHODS.rule(tensor_ops.class_attribute(torch.Tensor, "requires_grad_"))
def requires_grad_(vm: Any, args: Any, kwargs: Any) -> Any:
    """``tensor.requires_grad_()``"""
    tensor = args[0]
    wanted = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
    if bool(wanted) == tensor.requires_grad:
        return tensor
    histories.is_leaf(vm, tensor)
    if _can_follow(vm) and _may_be_switched(vm, tensor):
        _switch(vm, tensor, bool(wanted))
        return tensor
    if _is_new(vm, tensor):  # it is made with the flag that it has at last
        vm.recorder.new[id(tensor)].example.requires_grad_(bool(wanted))
        vm.ticks += 1
        return tensor.requires_grad_(bool(wanted))
    if not wanted or not _can_follow(vm) or not _may_be_a_leaf(vm, tensor):
        raise Break("TENSOR_EFFECT", "Tensor.requires_grad_() that changes the flag")
    tensor.requires_grad_(True)
    vm.recorder.bind(tensor, vm.recorder.record("call_method", "requires_grad_", (tensor,), {}, tensor))
    vm.states.setdefault("leaves", {})[id(tensor)] = tensor
    return tensor


def _is_new(vm: Any, tensor: torch.Tensor) -> bool:
    """A parameter that the program has made, which no gradient leads to so far."""
    if id(tensor) not in vm.recorder.new or not tensor.is_floating_point() and not tensor.is_complex():
        return False
    values = (node.meta.get("example_value") for node in vm.recorder.graph.nodes)
    results = [one for one in values if isinstance(one, torch.Tensor) and one.grad_fn is not None]
    return not any(getattr(node, "variable", None) is tensor for node in _nodes(results))


def _may_be_a_leaf(vm: Any, tensor: torch.Tensor) -> bool:
    made = type(tensor) is FakeTensor and vm.records.get(id(tensor)) is None and vm.recorder.knows(tensor)
    return made and tensor.is_leaf and (tensor.is_floating_point() or tensor.is_complex())


def _set_requires_grad(vm: Any, tensor: torch.Tensor, value: Any) -> None:
    requires_grad_(vm, (tensor, value), {})


SET_ATTRIBUTES["requires_grad"] = _set_requires_grad


# ---- flags of tensors from outside


class _Flag:
    """Whether a tensor from outside requires gradients where the graph uses it; what the program sees now is the fake's."""

    def __init__(self, rec: Outside, fake: torch.Tensor) -> None:
        self.rec = rec
        self.fake = fake
        self.in_graph = rec.obj.requires_grad


def _may_be_switched(vm: Any, tensor: torch.Tensor) -> bool:
    rec = vm.records.get(id(tensor))
    if rec is None or type(rec.obj) not in (torch.Tensor, torch.nn.Parameter) or type(tensor) is not FakeTensor:
        return False
    return rec.obj.is_leaf and not tensor._version and (tensor.is_floating_point() or tensor.is_complex())


def _switch(vm: Any, tensor: torch.Tensor, wanted: bool) -> None:
    """Before the graph has used it the flag is set before the graph runs, else behind it; then it is used no more."""
    flags = vm.states.setdefault("flags", {})
    flag = flags.get(id(tensor))
    if flag is None:
        flag = flags[id(tensor)] = _Flag(vm.records[id(tensor)], tensor)
    if not vm.recorder.uses(tensor):
        flag.in_graph = wanted
        vm.fakes.flags[id(flag.rec.obj)] = wanted
        vm.fakes.watch.shows = True
    elif wanted is flag.in_graph:
        vm.recorder.allow(tensor)
    else:
        vm.recorder.refuse(tensor, "a tensor that is used with another requires_grad than before")
    tensor.requires_grad_(wanted)
    vm.world.write_attr(flag.rec, "requires_grad", wanted)


def flags_before(b: Any) -> list[str]:
    """Statements that set flags as the graph has them."""
    flags = b.vm.states.get("flags", {}).values()
    changed = [flag for flag in flags if flag.in_graph is not flag.rec.obj.requires_grad]
    for flag in flags:
        flag.fake.requires_grad_(flag.in_graph)
    return [f"{b.load(flag.rec.source)}.requires_grad_({flag.in_graph})" for flag in changed]


# ---- autograd.grad


@RULES.rule(torch.autograd.grad)
def grad(vm: Any, args: Any, kwargs: Any) -> Any:
    """One node, if all of what is differentiated was computed inside, of leaves."""
    args, kwargs = _with_lists(vm, args, kwargs)
    _check(vm, kwargs.get("inputs", args[1] if len(args) > 1 else None), kwargs)
    given = tuple(map(vm.close, args)), {name: vm.close(value) for name, value in kwargs.items()}
    outputs = _tensors(given[1].get("outputs", given[0][:1]))
    inputs = _tensors(given[1].get("inputs", given[0][1:2]))
    needed = _needed(outputs, inputs)
    try:
        with torch.autograd.set_multithreading_enabled(False):
            result = torch.autograd.grad(*given[0], **given[1])
    except Exception as error:  # what it is, the real one says
        raise Break("BACKWARD", f"torch.autograd.grad(): {error}") from None
    if not given[1].get("retain_graph", given[0][3] if len(args) > 3 else None):
        create = given[1].get("create_graph", given[0][4] if len(args) > 4 else False)
        vm.states.setdefault("freed", []).extend([] if create else needed)
    return tensor_ops.record(vm, "call_function", torch.autograd.grad, *given, result)


def _with_lists(vm: Any, args: Any, kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """The function goes over its arguments as often as it likes: what the program gives it to be gone over once is a tuple."""
    if len(args) > 1:
        args = (args[0], _listed(vm, args[1]), *args[2:])
    return args, {name: _listed(vm, value) if name == "inputs" else value for name, value in kwargs.items()}


def _listed(vm: Any, inputs: Any) -> Any:
    if issubclass(type(inputs), (torch.Tensor, list, tuple, Mapping)):
        return inputs
    return tuple(operations.unpack(vm, inputs))


def _check(vm: Any, inputs: Any, kwargs: Any) -> None:
    if not _can_follow(vm) or kwargs.get("is_grads_batched"):
        raise Break("BACKWARD", "torch.autograd.grad()")
    if vm.recorder.attributes.keys() - computed_hooks.bodies(vm):
        raise Break("BACKWARD", "torch.autograd.grad() behind operators with bodies")
    if "hooks" in vm.states:
        raise Break("BACKWARD", "torch.autograd.grad() behind hooks")
    for entry in vm.recorder.inputs:
        if entry.kind == "tensor" and entry.example.requires_grad and not entry.example.is_leaf:
            raise Break("BACKWARD", "torch.autograd.grad() of what was computed before")
    for tensor in _tensors((vm.close(inputs),)):
        if computed_hooks.is_hooked(vm, tensor):
            continue
        if not vm.recorder.knows(tensor) or ATTRIBUTES["_backward_hooks"](vm, tensor) is not None:
            raise Break("BACKWARD", "torch.autograd.grad() with hooks")


def _tensors(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if issubclass(type(value), torch.Tensor):
            found.append(value)
        elif type(value) in (list, tuple):
            found += _tensors(value)
    return found


def _nodes(tensors: list[Any]) -> Iterator[Any]:
    """The nodes of autograd that lead to these tensors, each before those that lead to it."""
    seen: dict[int, Any] = {}
    todo = [tensor.grad_fn for tensor in tensors]
    while todo:
        node = todo.pop()
        if node is not None and id(node) not in seen:
            seen[id(node)] = node  # kept: they are made anew for each look
            todo += [before for before, _ in node.next_functions]
            yield node


def _needed(outputs: list[Any], inputs: list[Any]) -> list[Any]:
    """The nodes on the ways from ``inputs`` to ``outputs``, which have done their work."""
    ends = {id(tensor) for tensor in inputs} | {id(tensor.grad_fn) for tensor in inputs if tensor.grad_fn is not None}
    nodes = list(_nodes(outputs))
    reaching = {id(node) for node in nodes if id(node) in ends or id(getattr(node, "variable", None)) in ends}
    found: dict[int, Any] = {}
    growing = True
    while growing:
        new = [node for node in nodes if id(node) not in found and any(id(n) in reaching for n, _ in node.next_functions)]
        found.update((id(node), node) for node in new)
        reaching |= found.keys()
        growing = bool(new)
    return list(found.values())


def check_leaving(vm: Any, outputs: list[Any]) -> None:
    """What leaves the captured code is to autograd what it would be in plain Python; else the capture begins anew."""
    leaves: dict[int, Any] = vm.states.get("leaves", {})
    freed = {id(node) for node in vm.states.get("freed", ())}
    if not leaves and not freed:
        return
    changed = [entry.node.meta["example_value"] for entry in vm.recorder.inputs if vm.recorder.changed_in_place(entry)]
    for value in (*outputs, *changed):
        if issubclass(type(value), torch.Tensor) and value.requires_grad and not _is_as_in_python(value, leaves, freed):
            raise Restart(lambda: vm.root_state.__setitem__(_NOT_HERE, True))


def _is_as_in_python(value: torch.Tensor, leaves: dict[int, Any], freed: set[int]) -> bool:
    if id(value) in leaves:
        return False
    nodes = list(_nodes([value]))
    found = {id(node.variable) for node in nodes if hasattr(node, "variable")}
    only_made = bool(found) and found <= leaves.keys()
    return not only_made and not any(id(node) in freed for node in nodes)
