"""``flex_attention``: the operator with its two bodies, which say how a score is changed and which scores count."""

from __future__ import annotations

from typing import Any

import torch
from torch._higher_order_ops.flex_attention import flex_attention as flex_attention_op
from torch.nn.attention.flex_attention import noop_mask

from alternator.exc import Break
from alternator.interpreter import operations, tensor_ops
from alternator.semantics.control_flow import Part, emit, operator


@operator(
    flex_attention_op,
    *("query", "key", "value", "score_mod", "block_mask", "scale", "kernel_options"),
    *("score_mod_other_buffers", "mask_mod_other_buffers"),
    score_mod_other_buffers=(),
    mask_mod_other_buffers=(),
)
def rule_flex_attention(
    vm: Any,
    query: Any,
    key: Any,
    value: Any,
    score_mod: Any,
    block_mask: Any,
    scale: Any,
    kernel_options: Any,
    score_mod_other_buffers: Any,
    mask_mod_other_buffers: Any,
) -> Any:
    if score_mod_other_buffers or mask_mod_other_buffers:
        raise Break("HOP_BODY", "flex_attention: buffers that are given apart from the functions that use them")
    *blocks, mask_mod = operations.unpack(vm, block_mask)
    options = dict(vm.fill_value(kernel_options))
    score = tensor_ops.execute(vm, query.new_empty, ([],), {"requires_grad": query.requires_grad})
    score_part = _part(vm, "score_mod", score_mod, [score, *_places(vm, query)])
    mask_part = _part(vm, "mask_mod", noop_mask if mask_mod is None else mask_mod, _places(vm, query))
    score_nodes, mask_nodes = score_part.recorder.arguments(), mask_part.recorder.arguments()
    modules = {"score_mod": score_part.module(single=True), "mask_mod": mask_part.module(single=True)}
    result = tensor_ops.execute(
        vm,
        flex_attention_op,
        (
            query,
            key,
            value,
            modules["score_mod"],
            (*blocks, modules["mask_mod"]),
            scale,
            options,
            _values(score_nodes),
            _values(mask_nodes),
        ),
        {},
    )
    first = vm.recorder.args((query, key, value))
    given, factor, chosen = vm.recorder.args(tuple(blocks)), vm.recorder.args(scale), vm.recorder.args(options)
    return emit(
        vm,
        flex_attention_op,
        modules,
        lambda change, mask: (*first, change, (*given, mask), factor, chosen, tuple(score_nodes), tuple(mask_nodes)),
        result,
    )


def _places(vm: Any, query: torch.Tensor) -> list[Any]:
    """Batch, head, and the positions of query and key, as a body sees them."""
    return [tensor_ops.execute(vm, query.new_empty, ([],), {"dtype": torch.int32}) for _ in range(4)]


def _part(vm: Any, name: str, fn: Any, formals: list[Any]) -> Part:
    """Run a body, in which tensors are subscripted by tensors without their values being asked for."""
    vm.world.pins.extend(formals)
    before, vm.tensor_subscripts = vm.tensor_subscripts, True
    try:
        part = Part(vm, f"flex_attention({name})", fn, formals, formals)
    finally:
        vm.tensor_subscripts = before
    if len(part.leaves) != 1 or not issubclass(type(part.leaves[0]), torch.Tensor):
        raise Break("HOP_BODY", f"flex_attention: {name} does not return a tensor")
    return part


def _values(nodes: list[torch.fx.Node]) -> tuple[Any, ...]:
    return tuple(node.meta["example_value"] for node in nodes)
