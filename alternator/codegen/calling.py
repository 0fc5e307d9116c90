"""Handing the graph to the backend."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx._lazy_graph_module import _LazyGraphModule

from alternator import interrupts

MAX_STARTS = 30


def call_backend(backend: Any, module: torch.fx.GraphModule, examples: list[Any]) -> Any:
    """AOTAutograd begins anew when it has found numbers that must be constants of the graph, and remembers which; they
    are guarded where it reads them, so that nothing has to be captured anew."""
    for _ in range(MAX_STARTS):
        try:
            return backend(module, examples)
        except Exception as error:
            interrupts.check(error)
            if type(error).__name__ != "TensorifyScalarRestartAnalysis":
                raise
    return backend(module, examples)


def run_late(module: torch.fx.GraphModule) -> Any:
    """A function that runs the graph, and not the module: hooks on all modules are not meant for graphs.

    The module makes its code when it is first run, and its own ``forward`` would be a call of the module till then.
    """
    forward = None

    def run(*args: Any) -> Any:
        nonlocal forward
        if forward is None:
            _LazyGraphModule.force_recompile(module)
            forward = module.forward
        return forward(*args)

    return run
