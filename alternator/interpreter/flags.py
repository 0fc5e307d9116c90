"""Branches on what a module keeps in a tensor of one element: ``if self.initialized == 0``, ``if self.observer_enabled[0] == 1``.

Such a tensor is a setting rather than data: it changes now and then, if at all.  So the condition is computed of the real tensor
while tracing, and that it still has this answer is guarded, as for anything else that is read of a module.  Numbers that are read
(``item()``) are answers only where the type says that they are flags: a counter would have another one at each call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.fx
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from alternator.provenance.world import MISSING
from alternator.tensors.graph import Input, Recorder

ANSWERS = "answers of flags"
MAX_ANSWERS = 2
"""A question that has had more is about data."""
MAX_CAPTURES = 16
"""So often one piece of code is captured with flags in the guards; then they are data."""
MAX_STEPS = 4

_NAMES = ("eq", "ne", "lt", "le", "gt", "ge", "abs", "neg", "all", "any", "min", "max", "sum", "isnan", "isinf", "isfinite")
_METHODS = frozenset({*_NAMES, "logical_not", "bool", "int", "long", "float", "detach", "squeeze"})
_FUNCTIONS: frozenset[Any] = frozenset(
    {getattr(torch, name) for name in (*_NAMES, "logical_not", "squeeze")}
    | {getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "getitem")}
)
"""Functions of one tensor, in the order that graphs have them, that change nothing and give the same for the same."""
_CONSTANTS = frozenset({int, float, bool, type(None)})
_FLAG_TYPES = frozenset({torch.bool, torch.uint8})

Step = tuple[Any, tuple[Any, ...], int]
"""What to call, with which arguments, and at which place among them the tensor goes."""


def answer(vm: Any, asked: torch.Tensor, read: Callable[[torch.Tensor], Any]) -> Any:
    """``read(asked)``, from now on guarded, if it follows from a flag of a module; else MISSING."""
    if type(asked) is not FakeTensor or type(vm.recorder) is not Recorder or not _is_plain(vm):
        return MISSING
    found = _question(vm, asked)
    if found is None:
        return MISSING
    entry, steps, nodes = found
    if not _is_flag(entry) or read is not torch.Tensor.__bool__ and asked.dtype not in _FLAG_TYPES:
        return MISSING
    if not _is_as_before(vm, entry, nodes):
        return MISSING
    ask = _Ask(steps, read)
    with unset_fake_temporarily():
        value = vm.plain(ask.of, entry.example)
    if not _may_rely(vm, (entry.source.name, ask.text), value):  # type: ignore[union-attr]
        return MISSING
    entry.source.guard_predicate(ask.is_still(value), f"{ask.text} is {value}")  # type: ignore[union-attr]
    vm.states.setdefault(ANSWERS, []).extend(nodes)
    return value


def drop_questions(vm: Any, outputs: list[Any]) -> None:
    """Take out of the graph what nothing but questions needs."""
    nodes = vm.states.get(ANSWERS)
    if not nodes:
        return
    kept = {id(value) for value in outputs}
    for node in reversed(nodes):
        if not node.users and not node._erased and id(node.meta.get("example_value")) not in kept:
            vm.recorder.graph.erase_node(node)
    if all(node.op == "placeholder" for node in vm.recorder.graph.nodes):
        vm.recorder.calls = 0


class _Ask:
    """A question about a tensor."""

    def __init__(self, steps: list[Step], read: Callable[[torch.Tensor], Any]) -> None:
        self.steps = steps
        self.read = read
        names = [f"{getattr(fn, '__name__', fn)}{args}" for fn, args, _ in steps] + [read.__name__]
        self.text = ".".join(names)

    def of(self, value: torch.Tensor) -> Any:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            for fn, args, place in self.steps:
                value = fn(*args[:place], value, *args[place:])
            return self.read(value)

    def is_still(self, known: Any) -> Callable[[torch.Tensor], bool]:
        return lambda value: bool(self.of(value) == known)


def _is_plain(vm: Any) -> bool:
    return not (vm.overrides.active or vm.request.options.export or torch._C._are_functorch_transforms_active())


def _question(vm: Any, asked: torch.Tensor) -> tuple[Input, list[Step], list[torch.fx.Node]] | None:
    """The input of the graph that a value is computed of, how, and by which nodes."""
    if not vm.recorder.knows(asked):
        return None
    node = vm.recorder.node_of(asked)
    steps: list[Step] = []
    nodes: list[torch.fx.Node] = []
    while node.op != "placeholder":
        step = _step(node)
        if step is None or len(steps) == MAX_STEPS:
            return None
        steps.append(step)
        nodes.append(node)
        node = next(arg for arg in node.args if isinstance(arg, torch.fx.Node))
    entry = next((entry for entry in vm.recorder.inputs if entry.node is node), None)
    return None if entry is None else (entry, steps[::-1], nodes[::-1])


def _step(node: torch.fx.Node) -> Step | None:
    places = [place for place, arg in enumerate(node.args) if isinstance(arg, torch.fx.Node)]
    if len(places) != 1 or node.kwargs:
        return None
    args = tuple(arg for arg in node.args if not isinstance(arg, torch.fx.Node))
    if any(type(arg) not in _CONSTANTS for arg in args):
        return None
    if node.op == "call_function" and node.target in _FUNCTIONS:
        return node.target, args, places[0]
    if node.op == "call_method" and node.target in _METHODS and places == [0]:
        return getattr(torch.Tensor, str(node.target)), args, 0
    return None


def _is_flag(entry: Input) -> bool:
    if entry.kind != "tensor" or entry.source is None or not entry.source.owned:
        return False
    real = entry.example
    if type(entry.node.meta["example_value"]) is not FakeTensor or real.layout is not torch.strided:
        return False
    return bool(real.device.type == "cpu" and real.numel() == 1)


def _is_as_before(vm: Any, entry: Input, nodes: list[torch.fx.Node]) -> bool:
    """What the graph has done until now did not change an input, nor what is computed of it on the way to the question."""
    watch, recorder = vm.fakes.watch, vm.recorder
    if not watch.only_writes(recorder):
        return False
    if any(node.meta["example_value"].untyped_storage()._cdata in watch.written for node in nodes):
        return False
    written = watch.written_inputs(recorder)
    return not any(one is entry or _may_share(one, entry) for one in written)


def _may_share(written: Input, entry: Input) -> bool:
    """At the first call; that it is so at later ones is guarded (``tensors/sharing.py``)."""
    if written.kind != "tensor" or type(written.node.meta["example_value"]) is not FakeTensor:
        return True
    if written.example.layout is not torch.strided:
        return True
    ours, other = entry.example.untyped_storage(), written.example.untyped_storage()
    start, begin = ours.data_ptr(), other.data_ptr()
    return bool(begin < start + ours.nbytes() and start < begin + other.nbytes())


def _may_rely(vm: Any, question: tuple[str, str], value: Any) -> bool:
    state = vm.root_state.setdefault(ANSWERS, {"captures": 0})
    answers = state.setdefault(question, [])
    if value not in answers:
        if len(answers) == MAX_ANSWERS:
            return False
        answers.append(value)
    if ANSWERS not in vm.states:
        vm.states[ANSWERS] = []
        state["captures"] += 1
    return bool(state["captures"] <= MAX_CAPTURES)
