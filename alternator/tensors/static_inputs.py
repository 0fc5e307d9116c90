"""What AOTAutograd is told about the inputs of a graph: which of them stay where they are, for CUDA graphs.

Parameters and buffers are inputs, like arguments.  Before each replay of a CUDA graph Inductor copies inputs into the memory that
it has recorded, except those that it knows to stay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._guards import CompileId


def announce(module: torch.fx.GraphModule, compile_id: str) -> None:
    """Have AOTAutograd read the marks in the placeholders' ``tensor_dict``, as it does in graphs of the in-tree front-end.

    Not where sizes are symbolic: there it would trust us to guard which inputs overlap, and leave that out of the facts on sizes
    that it states otherwise; nor where the graph has constants, which would need such names as inputs have.
    """
    places = module.graph.find_nodes(op="placeholder")
    if next(module.buffers(), None) is not None or any(_is_symbolic(node.meta.get("example_value")) for node in places):
        return
    for node in places:
        node._dynamo_source = None  # type: ignore[attr-defined]  # for its guards, and these are ours
    module._param_name_to_source = {}  # type: ignore[assignment]
    module.meta["dynamo_compile_id"] = CompileId.from_string(compile_id)


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return any(isinstance(size, torch.SymInt) for size in value.shape) or value.layout is not torch.strided
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))
