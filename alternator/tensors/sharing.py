"""Graph inputs that the graph changes in place, and inputs that share memory with them.

Compilers keep changed inputs in registers and write them back at the end, so for them it matters which inputs overlap, and
how.  What was found at capture is guarded: usually that no input which is changed shares memory with any other.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator

import torch
import torch.fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from alternator.exc import SkipFrame
from alternator.tensors.fake import Fakes
from alternator.tensors.graph import Input, Recorder
from alternator.tensors.subgraph import running_statistics


def inputs_for_backend(
    fakes: Fakes, recorder: Recorder, module: torch.fx.GraphModule
) -> tuple[FakeTensorMode, list[tuple[Any, ...]]]:
    """Give each placeholder a fake of its input as it is *before* the graph runs.

    Returns the fake mode that they belong to, which knows the real inputs too, and the facts to guard.
    """
    inputs = [entry for entry in recorder.inputs if entry.kind in ("tensor", "array") and isinstance(_fake(entry), FakeTensor)]
    wrapped = [entry for entry in recorder.inputs if entry.kind == "tensor" and not isinstance(_fake(entry), FakeTensor)]
    changed = _changed(inputs, module)
    mode, facts = fakes.mode, []
    fakes.shape_env.pending_fresh_unbacked_symbols.clear()  # each has its node; AOTAutograd would look for them among its own
    if fakes.symbolic:
        _pass_symbols(recorder, module, inputs)
    rewrapped = any(_fake(entry)._version for entry in wrapped)
    if wrapped and (changed or rewrapped):
        facts.append(_nothing_shared(inputs + wrapped))
    if changed or rewrapped:
        shared = _shared(inputs, changed)
        if changed:
            facts.append(_fact(inputs, changed, shared))
        if shared or wrapped or not all(fakes.is_plain(_fake(entry)) for entry in changed if _fake(entry)._version):
            mode = fakes.new_mode()
            again = inputs
            for entry in wrapped:
                entry.node.meta["example_value"] = fakes.again(mode, entry.example, _fake(entry), False)
        else:
            again = [entry for entry in changed if _fake(entry)._version]
        for entry in again:
            entry.node.meta["example_value"] = fakes.again(mode, entry.example, _fake(entry), entry not in shared)
    for entry in recorder.inputs:
        if entry.kind in ("made", "number"):
            known = _fake(entry)
            fake: Any = known if mode is fakes.mode else mode.from_tensor(entry.example, static_shapes=True)
            if entry.kind == "number":
                fake.item_memo = known.item_memo
            entry.node.meta["example_value"] = fake
            mode.fake_tensor_converter.set_tensor_memo(entry.example, fake)
        elif entry.kind == "new":
            entry.node.meta["example_value"] = fake = fakes.again(mode, entry.example, _fake(entry), True)
            mode.fake_tensor_converter.set_tensor_memo(entry.example, fake)
    for entry in inputs:  # or AOTAutograd would make fakes of its own, and take their sizes for symbolic
        mode.fake_tensor_converter.set_tensor_memo(entry.example, _fake(entry))
    return mode, facts


def _pass_symbols(recorder: Recorder, module: torch.fx.GraphModule, inputs: list[Input]) -> None:
    """Sizes that vary become inputs of their own.

    Passes of AOTAutograd look for each symbol among the inputs, and tensors that share memory are made one, which does not tell
    their sizes.
    """
    known = len(recorder.inputs)
    for entry in inputs:
        fake = _fake(entry)
        for number in (*fake.shape, *fake.stride(), fake.storage_offset()):
            if isinstance(number, torch.SymInt) and number.node.expr.is_Symbol:
                recorder.symbolic_node(number)
    if len(recorder.inputs) > known:
        module.recompile()


def _fake(entry: Input) -> Any:
    return entry.node.meta["example_value"]


def _changed(inputs: list[Input], module: torch.fx.GraphModule) -> list[Input]:
    """The inputs that the graph may change in place.

    A write shows in the version of the fake, but for the running statistics of normalisation and what ``.data`` gives.
    """
    silent = {_storage(value) for value in _silently_changed(module)}
    return [entry for entry in inputs if _fake(entry)._version or silent and _storage(_fake(entry)) in silent]


def _silently_changed(module: torch.fx.GraphModule) -> Iterator[torch.Tensor]:
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                if node.op in ("call_function", "call_method"):
                    found = [node.args[0]] if node.target is getattr and node.args[1] == "data" else running_statistics(node)
                    for given in found:
                        value = given.meta.get("example_value") if isinstance(given, torch.fx.Node) else None
                        if isinstance(value, torch.Tensor):
                            yield value


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _shared(inputs: list[Input], changed: list[Input]) -> list[Input]:
    """The inputs that share memory with one that is changed, and these."""
    groups: dict[int, list[Input]] = {}
    for entry in inputs:
        groups.setdefault(_storage(entry.example), []).append(entry)
    spans = sorted(_spans([group[0].example for group in groups.values()]))
    if any(left[1] > right[0] for left, right in zip(spans, spans[1:])):
        raise SkipFrame(
            "the graph changes one of several inputs that share memory but no storage (NumPy arrays over one buffer, say)"
        )
    shared = [group for group in groups.values() if len(group) > 1 and any(entry in changed for entry in group)]
    if torch.is_grad_enabled() and not all(map(_are_views, shared)):
        raise SkipFrame("the graph changes one of several inputs that share memory unknown to autograd, and one needs a gradient")
    return [entry for group in shared for entry in group]


def _are_views(group: list[Input]) -> bool:
    """As far as gradients go through them, inputs that share memory are views of one tensor: AOTAutograd takes no others."""
    tensors = [entry.example for entry in group if entry.kind == "tensor"]
    bases = {id(tensor if tensor._base is None else tensor._base) for tensor in tensors}
    return len(bases) == 1 or not any(tensor.requires_grad for tensor in tensors)


def _spans(tensors: Iterable[torch.Tensor]) -> Iterator[tuple[int, int]]:
    """The memory of each tensor's storage."""
    for tensor in tensors:
        storage = tensor.untyped_storage()
        start = storage.data_ptr()
        if start:
            yield start, start + storage.nbytes()


def _fact(inputs: list[Input], changed: list[Input], shared: list[Input]) -> tuple[Any, ...]:
    sources = [_source(entry) for entry in changed] + [_source(entry) for entry in inputs if entry not in changed]
    if not shared and all(entry.kind == "tensor" for entry in inputs):
        return ("UNSHARED", len(changed), tuple(sources))
    ordered = changed + [entry for entry in inputs if entry not in changed]
    expected = memory_layout(*(entry.example for entry in ordered))
    return ("PY", tuple(sources), _same_layout(expected), "inputs share memory as they did at capture")


def _nothing_shared(inputs: list[Input]) -> tuple[Any, ...]:
    """Where tensors that wrap others are among the inputs, and one of all is changed: no two share memory."""
    if not _apart(*(entry.example for entry in inputs)):
        raise SkipFrame("the graph changes one of several inputs that share memory, and some of them wrap other tensors")
    return ("PY", tuple(_source(entry) for entry in inputs), _apart, "inputs, and what they wrap, share no memory")


def _apart(*values: Any) -> bool:
    tensors: list[torch.Tensor] = []
    todo = list(values)
    while todo:
        value = todo.pop()
        if isinstance(value, torch.Tensor) and is_traceable_wrapper_subclass(value):
            todo += [getattr(value, name) for name in value.__tensor_flatten__()[0]]
        else:
            tensors.append(value)
    return memory_layout(*tensors) == []


def _source(entry: Input) -> Any:
    assert entry.source is not None
    return entry.source.want()


def _same_layout(expected: Any) -> Callable[..., bool]:
    return lambda *values: memory_layout(*values) == expected


def memory_layout(*values: Any) -> Any:
    """Which tensors (or arrays) share memory, and where in it they lie; None: they share it in a way that we do not know."""
    with torch._C.DisableTorchFunctionSubclass():
        return _layout([value if isinstance(value, torch.Tensor) else torch.as_tensor(value) for value in values])


def _layout(tensors: list[torch.Tensor]) -> Any:
    groups: dict[int, list[int]] = {}
    for i, tensor in enumerate(tensors):
        groups.setdefault(_storage(tensor), []).append(i)
    spans = sorted(_spans(tensors[group[0]] for group in groups.values()))
    if any(left[1] > right[0] for left, right in zip(spans, spans[1:])):
        return None
    return [
        [(i, *_place(tensors[i]), None if tensors[i]._base is None else _place(tensors[i]._base)) for i in group]
        for group in groups.values()
        if len(group) > 1
    ]


def _place(tensor: Any) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), tensor.untyped_storage().nbytes()
