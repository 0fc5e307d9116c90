"""Hooks on saved tensors that AOTAutograd makes a part of what it compiles.

``torch.autograd.graph.saved_tensors_hooks`` around compiled code works on what the graph saves, as on anything else.  If both
hooks are FX graphs, AOTAutograd takes those that it finds when it compiles into its own graphs, and switches hooks off in each
call from then on.
"""

from __future__ import annotations

from typing import Any

import torch


def _hooks() -> tuple[Any, Any] | None:
    hooks: Any = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks if hooks and all(isinstance(hook, torch.fx.GraphModule) for hook in hooks) else None


def install(module: torch.fx.GraphModule) -> list[Any]:
    """Add such hooks to the graph, where AOTAutograd's cache looks for them; facts to guard."""
    hooks = _hooks()
    if hooks is None:
        return []
    for name, hook in zip(("pack", "unpack"), hooks):
        setattr(module, f"saved_tensors_hooks_{name}_0", torch.fx.GraphModule(hook, hook.graph))
    pack, unpack = hooks

    def are_these() -> bool:
        now = _hooks()
        return now is not None and now[0] is pack and now[1] is unpack

    return [("PY", (), are_these, "the hooks on saved tensors are the same two graphs")]
