"""Control flow as operators: cond, while_loop, map, scan, associative_scan.

Their bodies are functions of tensors: each becomes a subgraph with a fixed list of inputs (the carried values, slices and the
like, then whatever is lifted) and a flat list of outputs.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch
import torch.utils._pytree as torch_pytree
from torch._higher_order_ops.associative_scan import associative_scan_op
from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.map import map_impl
from torch._higher_order_ops.scan import scan_op
from torch._higher_order_ops.while_loop import _create_unbacked_symint, while_loop_op
from torch.fx.experimental.symbolic_shapes import compute_unbacked_bindings

from alternator.exc import Break, UncapturedHigherOrderOpError, UserRaise
from alternator.interpreter import operations, tensor_ops
from alternator.interpreter.tables import INSTANCE_CALLS, RULES
from alternator.semantics import pytree
from alternator.semantics.bodies import run_body
from alternator.tensors.subgraph import SubRecorder

NUMBERS = (int, torch.SymInt)


def operator(op: Any, *names: str, **defaults: Any) -> Callable[[Any], Any]:
    """Decorator: the rule of an operator whose arguments have these names."""

    def put(fn: Any) -> Any:
        def rule(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
            given = {**defaults, **dict(zip(names, args)), **kwargs}
            if len(args) > len(names) or set(given) != set(names):
                raise Break("HOP_BODY", f"{op} called with other arguments than {', '.join(names)}")
            try:
                return fn(vm, **given)
            except Break as broken:
                broken.info.setdefault("raises", UncapturedHigherOrderOpError)
                raise

        INSTANCE_CALLS.put(type(op), rule)
        return fn

    return put


class Part:
    """One captured body: its recorder, its flat results and their structure."""

    def __init__(self, vm: Any, what: str, fn: Any, args: Any, formals: Any = ()) -> None:
        vm.fakes.mode.epoch += 1  # nothing that depends on data is the same in two bodies
        pending = vm.fakes.shape_env.pending_fresh_unbacked_symbols
        before = list(pending)
        body = run_body(vm, what, fn, tuple(args), formals=formals)
        pending[:] = before  # symbols of the body have their nodes there
        self.what = what
        self.result = body.result
        self.recorder: SubRecorder = body.recorder
        self.leaves: list[Any] = []
        self.spec = pytree.flatten(vm, body.result, self.leaves)

    def only(self, *kinds: type) -> None:
        """Results are of these types; none of them shares memory with an input or with another."""
        tensors = []
        for leaf in self.leaves:
            if not isinstance(leaf, (torch.Tensor, *kinds)):
                raise Break("HOP_BODY", f"{self.what}: its body returns a {type(leaf).__name__}")
            if issubclass(type(leaf), torch.Tensor):
                tensors.append(leaf)
        if any(not self.recorder.owns(t) or self.recorder.aliases(t) for t in tensors):
            raise Break("HOP_BODY", f"{self.what}: a result of its body shares memory with an input (return a clone)")
        if self.recorder.overlap(tensors):
            raise Break("HOP_BODY", f"{self.what}: two results of its body share memory (return a clone)")

    def module(self, single: bool = False) -> torch.fx.GraphModule:
        nodes = tuple(self.recorder.args(leaf) for leaf in self.leaves)
        self.recorder.hide(self.what)
        if single:
            return self.recorder.close(nodes[0], self.leaves[0])
        return self.recorder.close(nodes, tuple(self.leaves))


def emit(vm: Any, op: Any, name_modules: dict[str, Any], args: Callable[..., tuple[Any, ...]], result: Any) -> Any:
    """The node of an operator; ``args`` makes its arguments from the nodes of its subgraphs."""
    recorder = vm.recorder
    places = [recorder.attribute(name, module) for name, module in name_modules.items()]
    node = recorder.graph.create_node("call_function", op, args(*places))
    recorder.calls += 1
    recorder.annotate(node)
    node.meta["example_value"] = result
    bindings = compute_unbacked_bindings(vm.fakes.shape_env, result)
    if bindings:  # numbers that only running the operator gives: AOTAutograd has to meet them again
        node.meta["unbacked_bindings"] = bindings
    recorder.bind_results(result, node)
    return result


def _values(nodes: list[torch.fx.Node]) -> tuple[Any, ...]:
    return tuple(node.meta["example_value"] for node in nodes)


def _tensors(vm: Any, what: str, given: Any) -> list[Any]:
    items = operations.unpack(vm, given)
    if not all(issubclass(type(item), torch.Tensor) for item in items):
        raise Break("HOP_BODY", f"{what}: an operand is not a tensor")
    return items


def _copy(vm: Any, tensor: torch.Tensor) -> torch.Tensor:
    """A fake like ``tensor`` with no history, no constant, and memory of its own."""
    made = tensor_ops.execute(vm, torch.clone, (tensor,), {})
    made.constant = None
    vm.world.pins.append(made)
    return made


def _slice(vm: Any, tensor: torch.Tensor) -> torch.Tensor:
    made = tensor_ops.execute(vm, torch.select_copy, (tensor, 0, 0), {})
    vm.world.pins.append(made)
    return made


def _same_kind(what: str, expected: list[Any], found: list[Any]) -> None:
    """What is carried from one step to the next must not change its type, shape or device."""
    if len(expected) != len(found):
        raise Break("HOP_BODY", f"{what}: its body returns {len(found)} values where {len(expected)} are carried")
    for before, after in zip(expected, found):
        if issubclass(type(before), torch.Tensor) and issubclass(type(after), torch.Tensor):
            same = before.dtype == after.dtype and before.device == after.device and before.dim() == after.dim()
            if same and all(a == b for a, b in zip(before.shape, after.shape)):
                continue
        elif issubclass(type(before), NUMBERS) and issubclass(type(after), NUMBERS):
            continue
        raise Break("HOP_BODY", f"{what}: a carried value changes its type or shape")


# ---- cond


@operator(cond_op, "pred", "true_fn", "false_fn", "operands", operands=())
def rule_cond(vm: Any, pred: Any, true_fn: Any, false_fn: Any, operands: Any) -> Any:
    given = tuple(operations.unpack(vm, operands))
    if issubclass(type(pred), (bool, int, float)):
        return vm.call(true_fn if pred else false_fn, given)
    if not issubclass(type(pred), (torch.Tensor, torch.SymBool)) or issubclass(type(pred), torch.Tensor) and pred.numel() != 1:
        raise Break("HOP_BODY", "cond: the predicate is neither a boolean nor a tensor of one element")
    parts = [Part(vm, "cond", fn, given) for fn in (true_fn, false_fn)]
    for part in parts:
        part.only(int, torch.SymInt, type(None))
    if vm.call(torch_pytree.TreeSpec.__eq__, (parts[0].spec, parts[1].spec)) is not True:
        raise Break("HOP_BODY", "cond: its branches return different structures")
    nodes = SubRecorder.unify([part.recorder for part in parts])
    true_module, false_module = parts[0].module(), parts[1].module()
    try:
        result = tensor_ops.execute(vm, cond_op, (pred, true_module, false_module, _values(nodes)), {})
    except UserRaise as raised:  # a plain run takes one branch, and does not compare them
        raise Break("HOP_BODY", f"cond: its branches do not agree: {raised.exc}") from None
    except Break as broken:
        if broken.code != "NO_FAKE_RULE":
            raise
        raise Break("HOP_BODY", f"cond: its branches do not agree: {broken.detail}") from None
    condition = vm.recorder.node_of(pred)
    modules = {"cond_true": true_module, "cond_false": false_module}
    emit(vm, cond_op, modules, lambda true, false: (condition, true, false, tuple(nodes)), result)
    return pytree.unflatten(vm, parts[0].spec, iter(result))


# ---- while_loop


def _carried(vm: Any, value: Any) -> Any:
    """A carried value as the body sees it: nothing is known of it but its kind."""
    if issubclass(type(value), torch.Tensor):
        return _copy(vm, value)
    if issubclass(type(value), NUMBERS) and not issubclass(type(value), bool):
        return _create_unbacked_symint(vm.fakes.mode, ignore_fresh_unbacked_symbols=True)
    raise Break("HOP_BODY", f"while_loop: a {type(value).__name__} is carried")


@operator(while_loop_op, "cond_fn", "body_fn", "carried_inputs", "additional_inputs", additional_inputs=())
def rule_while_loop(vm: Any, cond_fn: Any, body_fn: Any, carried_inputs: Any, additional_inputs: Any) -> Any:
    start = operations.unpack(vm, carried_inputs)
    more = _tensors(vm, "while_loop", additional_inputs)
    parts = []
    for fn in (cond_fn, body_fn):
        formals = [_carried(vm, value) for value in start] + [_copy(vm, value) for value in more]
        parts.append(Part(vm, "while_loop", fn, formals, formals))
    condition, body = parts
    if len(condition.leaves) == 1 and issubclass(type(condition.leaves[0]), bool):
        if condition.leaves[0]:
            raise Break("HOP_BODY", "while_loop: its condition is always true")
        return carried_inputs
    condition.only(torch.SymBool)
    body.only(*NUMBERS)
    _same_kind("while_loop", start, body.leaves)
    if not _is_condition(condition.leaves):
        raise Break("HOP_BODY", "while_loop: its condition is not one boolean")
    nodes = SubRecorder.unify([condition.recorder, body.recorder])
    modules = {"cond_fn": condition.module(single=True), "body_fn": body.module()}
    values = tuple(more) + _values(nodes)
    result = tensor_ops.execute(vm, while_loop_op, (*modules.values(), tuple(start), values), {})
    carried, rest = vm.recorder.args(tuple(start)), (*vm.recorder.args(tuple(more)), *nodes)
    emit(vm, while_loop_op, modules, lambda test, step: (test, step, carried, rest), result)
    return pytree.unflatten(vm, body.spec, iter(result))


def _is_condition(leaves: list[Any]) -> bool:
    if len(leaves) != 1:
        return False
    leaf = leaves[0]
    return (
        issubclass(type(leaf), torch.SymBool)
        or issubclass(type(leaf), torch.Tensor)
        and leaf.dtype is torch.bool
        and leaf.dim() == 0
    )


# ---- map, scan, associative_scan


@operator(map_impl, "f", "xs", "pos_args", pos_args=())
def rule_map(vm: Any, f: Any, xs: Any, pos_args: Any) -> Any:
    tensors = _tensors(vm, "map", xs)
    more = operations.unpack(vm, pos_args)
    _check_length("map", tensors)
    formals = [_slice(vm, x) for x in tensors]
    seen = [_copy(vm, a) if issubclass(type(a), torch.Tensor) else a for a in more]
    part = Part(vm, "map", f, formals + seen, formals + [a for a in seen if issubclass(type(a), torch.Tensor)])
    part.only(type(None))
    nodes = part.recorder.arguments()
    module = part.module()
    given = [a for a in more if issubclass(type(a), torch.Tensor)]
    result = tensor_ops.execute(vm, map_impl, (module, list(tensors), [*given, *_values(nodes)]), {})
    args = vm.recorder.args
    emit(vm, map_impl, {"map_body": module}, lambda body: (body, args(list(tensors)), [*args(given), *nodes]), result)
    return pytree.unflatten(vm, part.spec, iter(result))


@operator(scan_op, "combine_fn", "init", "xs", "additional_inputs", additional_inputs=())
def rule_scan(vm: Any, combine_fn: Any, init: Any, xs: Any, additional_inputs: Any) -> Any:
    start, tensors = _tensors(vm, "scan", init), _tensors(vm, "scan", xs)
    more = _tensors(vm, "scan", additional_inputs)
    _check_length("scan", tensors)
    formals = [_copy(vm, t) for t in start] + [_slice(vm, x) for x in tensors] + [_copy(vm, t) for t in more]
    part = Part(vm, "scan", combine_fn, formals, formals)
    part.only()
    _same_kind("scan", start, part.leaves[: len(start)])
    if issubclass(type(combine_fn), functools.partial) and (
        not issubclass(type(part.result), (tuple, list)) or len(part.result) != 2
    ):
        raise Break("HOP_BODY", "scan: its function does not return (carry, output)")
    nodes = part.recorder.arguments()
    module = part.module()
    result = tensor_ops.execute(vm, scan_op, (module, list(start), list(tensors), [*more, *_values(nodes)]), {})
    args = vm.recorder.args
    rest = [*args(more), *nodes]
    emit(vm, scan_op, {"scan_combine_fn": module}, lambda body: (body, args(start), args(tensors), rest), result)
    return pytree.unflatten(vm, part.spec, iter(result))


@operator(associative_scan_op, "combine_fn", "xs", "additional_inputs", additional_inputs=())
def rule_associative_scan(vm: Any, combine_fn: Any, xs: Any, additional_inputs: Any) -> Any:
    tensors, more = _tensors(vm, "associative_scan", xs), _tensors(vm, "associative_scan", additional_inputs)
    _check_length("associative_scan", tensors)
    formals = [_slice(vm, x) for x in (*tensors, *tensors)] + [_copy(vm, t) for t in more]
    part = Part(vm, "associative_scan", combine_fn, formals, formals)
    part.only()
    _same_kind("associative_scan", formals[: len(tensors)], part.leaves)
    nodes = part.recorder.arguments()
    module = part.module()
    rest_values = (*more, *_values(nodes))
    result = tensor_ops.execute(vm, associative_scan_op, (module, list(tensors), rest_values), {})
    args = vm.recorder.args
    rest = (*args(more), *nodes)
    name = "associative_scan_combine_fn"
    emit(vm, associative_scan_op, {name: module}, lambda body: (body, args(list(tensors)), rest), result)
    return pytree.unflatten(vm, part.spec, iter(result))


def _check_length(what: str, tensors: list[torch.Tensor]) -> None:
    if not tensors or any(t.dim() == 0 or t.shape[0] == 0 for t in tensors):
        raise Break("HOP_BODY", f"{what}: there is nothing to go over")


OPERATORS = frozenset({cond_op, while_loop_op, map_impl, scan_op, associative_scan_op})


@RULES.rule(torch._ops.HigherOrderOperator.__call__)
def rule_other_operator(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("HOP_BODY", f"the operator {args[0]}")
