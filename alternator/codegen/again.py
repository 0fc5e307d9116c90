"""What happens to an exception that the graph raises: an index out of range, a matrix that is singular, a failed check.

In plain Python it is raised at its own place: behind the effects up to there, under the handlers that are around it.  Where the
graph has changed nothing that can be seen, the frame is run plainly from its start, and raises it there.
"""

from __future__ import annotations

import types
from typing import Any

import torch

from alternator.exc import AlternatorException
from alternator.tensors.state import GlobalState
from alternator.tensors.watched import Watch


class RunAgain:
    """Asked by the native side.  None: the exception is raised; True: the frame is to be run plainly; False: it is, too, and
    if nothing is raised, the exception is the compiled graph's own, and is raised after all.

    ``before``: torch's state at the start, which the graph may have left switched; ``harmless``: nothing was changed;
    ``handles``: the program may handle exceptions.
    """

    def __init__(self, before: GlobalState, harmless: bool, handles: bool) -> None:
        self.before = before
        self.harmless = harmless
        self.handles = handles

    def __call__(self, error: BaseException) -> bool | None:
        self.before.restore()
        ours = isinstance(error, AlternatorException)
        return self.handles if self.harmless and isinstance(error, Exception) and not ours else None


def is_harmless(graph: torch.fx.Graph, inputs: list[Any], watch: Watch) -> bool:
    """Whether nobody can tell that the graph has run a part of the way."""
    if any(entry.kind == "made" for entry in inputs) or not all(map(_is_known, graph.nodes)):
        return False
    values = [entry.node.meta["example_value"] for entry in inputs]
    return bool(watch.leaves_alone([value for value in values if isinstance(value, torch.Tensor)]))


def _is_known(node: torch.fx.Node) -> bool:
    """An operation that is no more than the operators that it comes to."""
    target = node.target
    if node.op == "call_method":
        return target not in _CHANGE_THE_TENSOR
    if node.op == "call_function":
        if isinstance(target, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
            return True
        module = getattr(target, "__module__", None) or ""
        kinds = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType, type)
        return isinstance(target, kinds) and module.split(".")[0] in ("torch", "_operator", "builtins", "math", "")
    return node.op in ("placeholder", "output")


_CHANGE_THE_TENSOR = frozenset(
    {"requires_grad_", "register_hook", "register_post_accumulate_grad_hook", "retain_grad", "backward"}
)
