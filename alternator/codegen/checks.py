"""Assertions in the graph: raised as the errors that the program raises, at its lines."""

from __future__ import annotations

import functools
import types
from typing import Any, Callable, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Check(NamedTuple):
    """One assertion: what is raised, where, and what generated code would have done before had it come that far."""

    error: type[Exception]
    args: tuple[Any, ...]
    code: types.CodeType
    line: int
    waiting: list[tuple[Any, tuple[Any, ...], dict[str, Any]]]


def raising(compiled: Callable[..., Any], checks: dict[str, Check], conditions: Callable[..., Any] | None) -> Callable[..., Any]:
    """The compiled graph, whose failed checks are the program's own exceptions.

    Args:
        checks: text in the graph -> which one.
        conditions: what ``conditions_of`` gave, for backends that do not say which check failed.
    """

    if conditions is None:
        return compiled

    @functools.wraps(compiled, updated=())
    def checked(*args: Any) -> Any:
        try:
            return compiled(*args)
        except RuntimeError as error:
            found = next((row for text, row in checks.items() if text in str(error)), None)
            if found is None:
                found = _first_that_fails(conditions, args, list(checks.values()))
            if found is None:
                raise
        for fn, given, named in found.waiting:
            fn(*given, **named)
        _raiser(found.code, found.line)(found.error(*found.args))

    return checked


def conditions_of(module: torch.fx.GraphModule, checks: dict[str, Check]) -> Callable[..., Any] | None:
    """A function of the graph's inputs that gives the conditions of all checks in order, as a copy: backends change graphs."""
    if not checks:
        return None
    graph = torch.fx.Graph()
    copies: dict[torch.fx.Node, torch.fx.Node] = {}
    found: dict[Any, Any] = {}
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in _ASSERTIONS and node.args[1] in checks:
            found[node.args[1]] = torch.fx.node.map_arg(node.args[0], copies.__getitem__)
        elif node.op == "placeholder" or len(found) < len(checks):
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output([found.get(text, True) for text in checks])
    return torch.fx.GraphModule(module, graph)


_ASSERTIONS = (torch._assert_async, torch.ops.aten._assert_scalar.default)


class _Repeatable(TorchDispatchMode):
    """What is computed once more gives what it gave."""

    def __torch_dispatch__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise RuntimeError("a random number")
        return func(*args, **(kwargs or {}))


def _first_that_fails(conditions: Callable[..., Any], args: tuple[Any, ...], rows: list[Check]) -> Check | None:
    """The check that the program would have met first, or None if that is not certain."""
    try:
        with _Repeatable(), torch.no_grad():
            values = conditions(*args)
    except Exception:
        return None
    return next((row for row, value in zip(rows, values) if not value), None)


def _raiser(code: types.CodeType, line: int) -> Any:
    """A function that raises its argument at the user's line, for the traceback."""
    scope: dict[str, Any] = {}
    exec(compile("\n" * (line - 1) + "def fail(error): raise error", code.co_filename, "exec"), scope)
    fail = scope["fail"]
    fail.__code__ = fail.__code__.replace(co_name=code.co_name, co_qualname=code.co_qualname)
    return fail
