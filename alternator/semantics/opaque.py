"""Calls that are one node of the graph, of any arguments and results that pytree takes apart (``nonstrict_trace``)."""

from __future__ import annotations

from typing import Any, Callable

import torch.utils._pytree as pytree

from alternator.interpreter import tensor_ops
from alternator.semantics.pytree import flatten, unflatten


def call_on_trees(vm: Any, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``fn(*args, **kwargs)`` as one node, whose arguments are the leaves of both; it gives the leaves of the result."""
    leaves: list[Any] = []
    spec = flatten(vm, (args, kwargs), leaves)
    node = _on_leaves(fn, spec)
    result = tensor_ops.call(vm, node, tuple(leaves), {})
    made = node.made[0]
    return result if made.is_leaf() else unflatten(vm, made, iter(result))


def _on_leaves(fn: Callable[..., Any], spec: pytree.TreeSpec) -> Any:
    made: list[pytree.TreeSpec] = []

    def call(*leaves: Any) -> Any:
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        found, structure = pytree.tree_flatten(fn(*args, **kwargs))
        made[:] = [structure]
        return found[0] if structure.is_leaf() else tuple(found)

    call.__name__ = call.__qualname__ = getattr(fn, "__name__", "call")
    call.made = made  # type: ignore[attr-defined]
    return call


__all__ = ["call_on_trees"]
