"""Backends to look at what is captured, or to make something go wrong."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import torch
from torch._subclasses.schema_check_mode import SchemaCheckMode

from alternator.backends.eager import refuse_extra
from alternator.backends.registry import register_debug_backend


def _shape(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        grad = ", requires_grad" if value.requires_grad else ""
        return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(str(size) for size in value.shape)}]{grad}"
    return f"{type(value).__name__} {value}"


@register_debug_backend(name="print")
def print_graph(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Print each captured graph with its inputs and the user's lines, then run it as ``eager`` does."""
    refuse_extra("print", kwargs)
    placeholders = [node.name for node in gm.graph.nodes if node.op == "placeholder"]
    calls = sum(node.op.startswith("call") for node in gm.graph.nodes)
    print(f"graph of {calls} operations and {len(placeholders)} inputs")
    for name, value in zip(placeholders, example_inputs):
        print(f"  input {name}: {_shape(value)}")
    gm.print_readable()
    return gm.forward


@register_debug_backend
def eager_debug(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Run the graph and check that each operator keeps to its schema (what it mutates and aliases)."""
    refuse_extra("eager_debug", kwargs)

    def run(*args: Any) -> Any:
        with SchemaCheckMode():
            return torch.fx.Interpreter(gm).run(*args)

    return run


class ReluCompileError(Exception):
    """What the failing test backends raise."""


def _uses_relu(gm: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return [node for node in gm.graph.nodes if node.target in (torch.relu, torch.nn.functional.relu, "relu")]


@register_debug_backend
def relu_compile_error_TESTING_ONLY(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Fails to compile a graph with a relu."""
    if _uses_relu(gm):
        raise ReluCompileError("there is a relu in the graph")
    return gm.forward


@register_debug_backend
def relu_runtime_error_TESTING_ONLY(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Compiles a graph with a relu to one that fails."""
    for node in _uses_relu(gm):
        node.op, node.target = "call_function", torch._assert
        node.args = (False, "ReluRuntimeError")
        node.kwargs = {}
    gm.recompile()
    return gm.forward


@register_debug_backend
def relu_accuracy_error_TESTING_ONLY(
    gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any
) -> Callable[..., Any]:
    """Compiles a relu to something else."""
    for node in _uses_relu(gm):
        node.op, node.target = "call_function", torch.add
        node.args = (node.args[0], 1)
        node.kwargs = {}
    gm.recompile()
    return gm.forward
