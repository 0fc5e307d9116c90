"""Handing the graph to the backend."""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch
from torch.fx._lazy_graph_module import _LazyGraphModule

from alternator import interrupts
from alternator.exc import WrongResults

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


def outputs_of(module: torch.fx.GraphModule) -> int:
    """How many outputs the graph has; -1: what it returns is no tuple."""
    (results,) = next(reversed(module.graph.nodes)).args
    return len(results) if isinstance(results, (tuple, list)) else -1


def giving(compiled: Callable[..., Any], count: int, name: str) -> Callable[..., Any]:
    """The compiled graph, which is held to give so many outputs, in a tuple or list."""

    @functools.wraps(compiled, updated=())
    def giving_all(*args: Any) -> Any:
        results = compiled(*args)
        if isinstance(results, (tuple, list)) and len(results) == count:
            return results
        found = f"a {type(results).__name__}"
        if isinstance(results, (tuple, list)):
            found = f"{len(results)} in a {type(results).__name__}"
        outputs = "1 output" if count == 1 else f"{count} outputs"
        raise WrongResults(
            f"backend {name!r} was given a graph with {outputs}, and what it made of it returned {found}, not {count} in a tuple"
        )

    return giving_all
