"""Subgraphs: the body of a higher-order operator is recorded into a graph of its own, nested in the one around it.

A value from around the body that the body uses is *lifted*: it becomes a placeholder of the subgraph and an argument of the
node that calls it.  A value of the body that is used afterwards becomes an output of the subgraph; which ones these are is
only known when the graph around it is finished, so outputs can be added until then.
"""

from __future__ import annotations

from typing import Any

import sympy
import torch
import torch.fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from alternator.exc import Break
from alternator.provenance.source import Source
from alternator.tensors.graph import SYMBOLIC, Recorder, _getitem

_STATISTICS = frozenset(
    {"batch_norm", "instance_norm", "_batch_norm_impl_index", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"}
)


class SubRecorder(Recorder):
    """Records the body of an operator; knows the recorder of the graph around it."""

    def __init__(self, parent: Recorder, what: str) -> None:
        super().__init__()
        if torch.is_inference_mode_enabled():  # nobody counts what a body writes
            raise Break("MODE", f"{what} in inference mode that captured code has entered")
        self.parent = parent
        self.what = what
        self.annotate = parent.annotate
        self.sizes_from_data = parent.sizes_from_data
        self.lifted: dict[Any, tuple[torch.fx.Node | None, torch.fx.Node]] = {}
        self._versions: dict[int, int | None] = {id(value): _version(value) for value in parent.all_values()}
        self._inputs: list[torch.Tensor] = []

    # ---- inputs

    def tensor_input(self, fake: torch.Tensor, real: torch.Tensor, source: Source, kind: str = "tensor") -> None:
        self.parent.tensor_input(fake, real, source, kind)
        self._versions[id(fake)] = _version(fake)

    def all_values(self) -> list[torch.Tensor]:
        return self.parent.all_values() + self._pins

    def symbol_input(self, symbol: sympy.Symbol, source: Source, kind: str, dim: int, example: Any) -> None:
        self.parent.symbol_input(symbol, source, kind, dim, example)

    def source_of(self, expr: sympy.Expr) -> Source | None:
        return self.parent.source_of(expr)

    def formula(self, symbol: sympy.Symbol, fn: Any, args: tuple[Any, ...], example: Any) -> None:
        if any(free_unbacked_symbols(arg) for arg in args if isinstance(arg, SYMBOLIC)):  # what the body may have computed
            super().formula(symbol, fn, args, example)
        else:
            self.parent.formula(symbol, fn, args, example)

    def formal(self, value: Any, name: str = "arg") -> torch.fx.Node:
        """A parameter of the body: a placeholder, whether it is used or not, that the caller passes something for."""
        node = self._placeholder(name, value)
        if isinstance(value, torch.Tensor):
            self._versions[id(value)] = _version(value)
            self.bind(value, node)
            self._inputs.append(value)
            self.lifted["formal", id(value), len(self.lifted)] = (None, node)
        else:
            self.bind_symbol(value, node)
            self.lifted["formal", value.node.expr, len(self.lifted)] = (None, node)
        return node

    def lift(self, value: torch.Tensor) -> torch.fx.Node:
        """The placeholder of a value from around the body, whether it is used or not."""
        return self.node_of(value)

    def knows(self, value: Any) -> bool:
        return id(value) in self._nodes or self.parent.knows(value)

    def owns(self, value: Any) -> bool:
        """The body itself computed this tensor."""
        return id(value) in self._nodes and ("tensor", id(value)) not in self.lifted

    def _unknown(self, value: Any) -> torch.fx.Node:
        outer = self.parent.node_of(value)
        node = self._placeholder(outer.name, value)
        node.meta.update({k: v for k, v in outer.meta.items() if k == "tensor_dict"})
        self.bind(value, node)
        self._inputs.append(value)
        self.lifted["tensor", id(value)] = (outer, node)
        return node

    def symbolic_node(self, value: Any) -> Any:
        expr = value.node.expr
        if expr not in self._exprs and expr in self.parent._exprs:
            self._lift_symbol(expr, self.parent.symbolic_node(value))
        return super().symbolic_node(value)

    def _symbol_proxy(self, symbol: sympy.Symbol) -> torch.fx.Proxy:
        if symbol in self._symbols:
            return super()._symbol_proxy(symbol)
        if symbol not in self._exprs:
            self._lift_symbol(symbol, self.parent._symbol_proxy(symbol).node)
        return torch.fx.Proxy(self._exprs[symbol], self._tracer)

    def _lift_symbol(self, expr: sympy.Expr, outer: torch.fx.Node) -> None:
        node = self._placeholder(outer.name, outer.meta.get("example_value"))
        self._exprs[expr] = node
        self.lifted["symbol", expr] = (outer, node)

    def arguments(self) -> list[torch.fx.Node]:
        """The nodes around the body that its lifted values come from, in the order of its placeholders."""
        outer = {inner: outer for outer, inner in self.lifted.values()}
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        return [outer[node] for node in placeholders if outer[node] is not None]

    @staticmethod
    def unify(recorders: list["SubRecorder"]) -> list[torch.fx.Node]:
        """Give several bodies the same lifted inputs, in the same order; the nodes around them that these come from."""
        outer = {key: pair[0] for recorder in recorders for key, pair in recorder.lifted.items() if pair[0] is not None}
        for recorder in recorders:
            for key, node in outer.items():
                if key not in recorder.lifted:
                    recorder.lifted[key] = (node, recorder._placeholder(node.name, node.meta.get("example_value")))
            formals = [inner for place, inner in recorder.lifted.values() if place is None]
            _order(recorder.graph, formals + [recorder.lifted[key][1] for key in outer])
        return list(outer.values())  # type: ignore[arg-type]

    # ---- what the body must not do

    def mutated(self) -> list[torch.Tensor]:
        """The inputs of the body that it changed in place."""
        statistics = self._running_statistics()
        return [t for t in self._inputs if self._changed(t) or any(t is s for s in statistics)]

    def _changed(self, value: torch.Tensor) -> bool:
        now = _version(value)
        if now is None:
            return any(_in_place(node) for node in self.graph.nodes)
        return self._versions.setdefault(id(value), now) != now

    def _running_statistics(self) -> list[torch.Tensor]:
        """Running means and variances that normalisation updates: its schema does not say so, and fakes do not show it."""
        nodes = [s for node in self.graph.nodes for s in running_statistics(node)]
        return [node.meta.get("example_value") for node in nodes]

    def aliases(self, value: torch.Tensor) -> bool:
        """``value`` shares memory with an input of the body."""
        return any(_storage(value) == _storage(t) for t in self._inputs)

    @staticmethod
    def overlap(values: list[torch.Tensor]) -> bool:
        """Two of the tensors share memory."""
        return len({_storage(value) for value in values}) != len(values)

    def hide(self, what: str) -> None:
        """Values of the body are not to be used outside of it."""
        self._give_away(_Hidden(what))

    def _give_away(self, marker: Any) -> None:
        for value in self._pins:
            if not self.parent.knows(value):
                self.parent.bind(value, marker)


def _order(graph: torch.fx.Graph, placeholders: list[torch.fx.Node]) -> None:
    previous = None
    for node in placeholders:
        if previous is None:
            first = next(iter(graph.nodes))
            if first is not node:
                first.prepend(node)
        else:
            previous.append(node)
        previous = node


def running_statistics(node: torch.fx.Node) -> list[torch.fx.Node]:
    """The running statistics that a normalisation in training mode updates."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name not in _STATISTICS:
        return []
    functional = getattr(node.target, "__module__", "") == "torch.nn.functional"
    flag = "training" if "batch" in name else "use_input_stats"
    training = node.kwargs.get(flag, node.args[5] if len(node.args) > 5 else not (functional and flag == "training"))
    if training is False:
        return []
    given = [*(node.args[1:3] if functional else node.args[3:5]), node.kwargs.get("running_mean"), node.kwargs.get("running_var")]
    return [value for value in given if isinstance(value, torch.fx.Node)]


def changes_unseen(node: torch.fx.Node) -> bool:
    """What it changes in place, or gives to be changed, no version counter shows."""
    return bool(running_statistics(node)) or node.target is getattr and node.args[1] == "data"


def _in_place(node: torch.fx.Node) -> bool:
    """The node may change an argument, as far as its name tells (for tensors that have no version counter)."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return (
        name.endswith("_")
        or name in ("setitem", "__setitem__")
        or node.kwargs.get("inplace") is True
        or node.kwargs.get("out") is not None
    )


def _version(value: torch.Tensor) -> int | None:
    try:
        return value._version
    except RuntimeError:  # inference tensors have none
        return None


def _storage(value: torch.Tensor) -> Any:
    try:
        return value.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):
        return id(value)


class _Hidden:
    """A value of a body whose outputs are fixed."""

    def __init__(self, what: str) -> None:
        self.what = what

    def make(self, recorder: Recorder, value: Any) -> torch.fx.Node:
        raise Break("HOP_BODY", f"{self.what}: a tensor that its body made is used outside of it")


class OpenOutputs:
    """The outputs of a finished body, which grow as values of the body are used around it."""

    def __init__(self, body: SubRecorder, name: str, target: Any, prefix: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outer = body.parent
        self.body = body
        self.values: list[torch.Tensor] = []
        self.module_meta: dict[str, Any] = {}
        place = outer.attribute(name, body)  # until it is finished
        self.attribute = place.target
        self.node = outer.graph.create_node("call_function", target, (*prefix, place, *body.arguments()), kwargs)
        outer.calls += 1
        outer.annotate(self.node)
        outer.closers.append(self.close)
        body._give_away(self)

    def make(self, recorder: Recorder, value: torch.Tensor) -> torch.fx.Node:
        """The value as the graph around the body sees it."""
        self.values.append(value)
        made = recorder.graph.call_function(_getitem, (self.node, len(self.values) - 1))
        made.meta["example_value"] = value
        made.meta["stack_trace"] = self.node.meta.get("stack_trace")
        recorder.bind(value, made)
        return made

    def close(self) -> None:
        module = self.body.finish(list(self.values))
        module.meta.update(self.module_meta)
        self.body.parent.attributes[self.attribute] = module
        self.node.meta["example_value"] = tuple(self.values)


__all__ = ["OpenOutputs", "SubRecorder", "changes_unseen", "running_statistics"]
