"""``assume_constant_result``: the function is called for real while its caller is captured, and its result is a constant.

Tensors in the result are constants of the graph: attributes of the graph module.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.fx
from torch.utils._python_dispatch import _disable_current_modes

from alternator.exc import Break
from alternator.interpreter.tables import MARKS
from alternator.tensors.graph import SYMBOLIC, Recorder
from alternator.tensors.state import GlobalState

_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def constant_result(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """Call the function now; arguments that the program computes are computed with the inputs of this call."""
    given = [_real(vm, value) for value in args]
    named = {name: _real(vm, value) for name, value in kwargs.items()}

    def run() -> Any:
        with _disable_current_modes():
            return fn(*given, **named)

    return _constant(vm, vm.plain(run), {})


def _constant(vm: Any, value: Any, seen: dict[int, Any]) -> Any:
    """A value that is the same in each call: containers of their own, tensors in the graph, and anything else as it is."""
    kind = type(value)
    if id(value) in seen:
        return seen[id(value)]
    if kind in _PLAIN and value.layout is torch.strided and not value.is_nested:
        seen[id(value)] = made = _in_graph(vm, value)
        return made
    if kind is list:
        items: list[Any] = []
        seen[id(value)] = items
        items += [_constant(vm, item, seen) for item in value]
        return items
    if kind is dict and all(type(key) in (str, int) for key in value):
        seen[id(value)] = table = {}
        table.update({key: _constant(vm, item, seen) for key, item in value.items()})
        return table
    if kind is tuple:
        return tuple([_constant(vm, item, seen) for item in value])
    vm.root_state.setdefault("constant results", []).append(value)  # for as long as the code, and entries for it
    return vm.world.admit(value, vm.world.tree.object(value))


def _in_graph(vm: Any, tensor: torch.Tensor) -> torch.Tensor:
    recorder = vm.recorder
    while (around := getattr(recorder, "parent", None)) is not None:
        recorder = around
    with _disable_current_modes():
        kept = tensor.detach().clone() if id(tensor) in vm.records else tensor  # an input is another one in the next call
        known = kept.detach().clone() if kept.numel() <= 1 and not kept.requires_grad else None
    fake: Any = vm.fakes.of(kept, vm.world.tree.object(kept), None)
    if known is not None and fake.constant is None:
        fake.constant = known  # the program may decide by its value
        vm.fakes.mode.fake_tensor_converter.add_constant_storage_mapping(fake)
    node = recorder.attribute("constant", kept)
    node.meta["example_value"] = fake
    recorder.bind(fake, node)
    recorder.closers.append(lambda: _keep_constant(recorder, node, fake))
    return fake


def _keep_constant(recorder: Recorder, node: torch.fx.Node, fake: torch.Tensor) -> None:
    """A constant that the program writes into, or hands out, is a copy of it in each call."""
    ends = recorder.graph.find_nodes(op="output")
    handed_out = torch.utils._pytree.tree_leaves([end.meta.get("example_value") for end in ends])
    storage = fake.untyped_storage()._cdata
    tensors = [one for one in handed_out if isinstance(one, torch.Tensor) and torch._C._has_storage(one)]
    shared = any(one.untyped_storage()._cdata == storage for one in tensors)
    if fake._version or shared:
        with recorder.graph.inserting_after(node):
            copy = recorder.graph.call_method("clone", (node,))
        copy.meta["example_value"] = fake
        node.replace_all_uses_with(copy, delete_user_cb=lambda user: user is not copy)


# ---- arguments


def _real(vm: Any, value: Any) -> Any:
    """What stands for a value of the program in this very call."""
    rec = vm.records.get(id(value))
    if rec is not None and not (isinstance(value, torch.Tensor) and value._version):
        return rec.obj
    if isinstance(value, SYMBOLIC) and value.node.has_hint():
        return value.node.hint
    if isinstance(value, (torch.Tensor, *SYMBOLIC)):
        return _computed(vm, value)
    if type(value) in (list, tuple):
        return type(value)([_real(vm, item) for item in value])
    if type(value) is dict:
        return {key: _real(vm, item) for key, item in value.items()}
    return value


def _computed(vm: Any, value: Any) -> Any:
    """Run the graph so far, on the inputs of this call, or copies of those that it changes."""
    recorder = vm.recorder
    if type(recorder) is not Recorder or any(entry.kind in ("made", "number", "new") for entry in recorder.inputs):
        raise Break("UNSUPPORTED_CALL", "assume_constant_result of a value that is computed in the body of an operator")
    wanted = recorder.node_of(value)
    values: dict[torch.fx.Node, Any] = {}
    before = GlobalState()
    try:
        with _disable_current_modes():
            for entry in recorder.inputs:
                values[entry.node] = _input(recorder, entry)
            for node in recorder.graph.nodes:
                if node not in values:  # all of them: some may have changed what was computed before
                    values[node] = _run(recorder, node, values)
    finally:
        before.restore()
    return values[wanted]


def _input(recorder: Recorder, entry: Any) -> Any:
    if entry.kind == "array":
        return torch.as_tensor(entry.example)
    if entry.kind != "tensor":
        return entry.example.node.hint
    return entry.example.detach().clone() if recorder.changed_in_place(entry) else entry.example


def _run(recorder: Recorder, node: torch.fx.Node, values: dict[torch.fx.Node, Any]) -> Any:
    if node.op == "get_attr":
        return recorder.attributes[str(node.target)]
    args = torch.fx.node.map_arg(node.args, values.__getitem__)
    kwargs = torch.fx.node.map_arg(node.kwargs, values.__getitem__)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


MARKS["_dynamo_marked_constant"] = constant_result
