"""The recorder: every tensor operation of the captured program becomes a node of one FX graph."""

from __future__ import annotations

import dataclasses
import enum
import operator
import re
import threading
import types
from typing import Any, Callable

import numpy
import sympy
import torch
import torch._numpy
import torch.fx
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import _lazy_graph_module
from torch.fx.node import map_aggregate
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.symbol import SymT, symbol_is_type

from alternator.exc import Break, InternalError
from alternator.provenance.source import Source
from alternator.tensors.number_nodes import NodeAnalysis
from alternator.tensors.written import KEYWORDS, call_named, is_written

SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


_WRITTEN = (
    complex,
    types.EllipsisType,
    torch.memory_format,
    torch.layout,
    enum.Enum,
    type,
    OpOverload,
    HigherOrderOperator,
    torch.fx.Node,
)
"""What the text of a graph can name, besides numbers, texts and what is made of such."""

EXACT: dict[type, Callable[[Any], Any]] = {int: int.__pos__, float: float.__pos__, str: str.__str__, bytes: bytes}
"""How a number or text of a subclass is written."""


class Input:
    """A graph input: the placeholder, the source that its value is loaded from, and how.

    ``kind`` is "tensor", "array" (a NumPy array over the same memory), "int" (the number itself), or "size" or
    "stride" (of dimension ``dim`` of the tensor at the source); "number" (a float in a tensor of its own) or "made" (drawn, in
    order, of the ``generator`` at a source): by an expression, ``make(builder)``, without a source; "new": likewise, a parameter
    that the program makes.
    """

    __slots__ = ("node", "source", "kind", "dim", "example", "make", "generator")
    make: Callable[[Any], str]
    generator: Source | None

    def __init__(self, node: torch.fx.Node, source: Any, kind: str, dim: int, example: Any) -> None:
        self.node, self.source, self.kind, self.dim, self.example = node, source, kind, dim, example


class Recorder:
    """One FX graph under construction, and which node computes which value.

    Tensors are known by identity (and kept alive, so ids are not reused); symbolic scalars by their expression.
    """

    def __init__(self) -> None:
        self.graph = torch.fx.Graph()
        self.inputs: list[Input] = []
        self.calls = 0
        self._nodes: dict[int, Any] = {}
        self._pins: list[Any] = []
        self._symbols: dict[sympy.Symbol, Any] = {}
        self._exprs: dict[sympy.Expr, torch.fx.Node] = {}
        self._names: set[str] = set()
        self.tensor_inputs: dict[int, Input] = {}
        self.new: dict[int, Input] = {}
        self.attributes: dict[str, Any] = {}
        self.attribute_hook: Callable[[str, Any], None] | None = None
        self.closers: list[Callable[[], None]] = []
        self.open_regions: list[tuple[Any, torch.fx.Node, Any]] = []
        self._last_input: torch.fx.Node | None = None
        self.float_in_tensor: Callable[[Any], tuple[torch.Tensor, torch.Tensor, Any] | None] | None = None
        """A tensor for a symbolic float, its fake, what makes it (``codegen/numbers.py``): backends take tensors and ints."""
        self.annotate: Callable[[torch.fx.Node], None] = lambda node: None
        self.sizes_from_data = False
        """Operations may have results of sizes that only data says (``nonzero``)."""
        self._tracer = _TRACER(self)

    def release(self) -> None:
        """The graph has been handed over: let go of the program's values."""
        inputs = self.inputs, self.tensor_inputs, self.new
        for table in (*inputs, self._nodes, self._pins, self._symbols, self.closers, self.open_regions):
            table.clear()
        self.annotate = lambda node: None

    # ---- inputs

    def _placeholder(self, name: str, example: Any) -> torch.fx.Node:
        anchor = self._last_input
        if anchor is None:
            root = next(iter(self.graph.nodes), None)
            where = self.graph.inserting_before(root) if root is not None else self.graph.inserting_before()
        else:
            where = self.graph.inserting_after(anchor)
        with where:
            node = self.graph.placeholder(_identifier(name))
        if node.target in self._names:
            node.target = node.name
        self._names.add(str(node.target))
        node.meta["example_value"] = example
        self._last_input = node
        return node

    def tensor_input(self, fake: torch.Tensor, real: torch.Tensor, source: Source, kind: str = "tensor") -> None:
        """Announce an outside tensor; its placeholder is made when an operation first uses it."""
        pending = _PendingInput(fake, real, source, kind)
        self._nodes[id(fake)] = pending
        self._pins.append(fake)

    def made_input(
        self, fake: torch.Tensor, example: torch.Tensor, name: str, make: Callable[[Any], str], generator: Source | None
    ) -> None:
        """A tensor that generated code makes before it calls the graph, in the order of these calls."""
        node = self._placeholder(name, fake)
        node.meta["tensor_dict"] = {}
        entry = Input(node, None, "made", -1, example)
        entry.make, entry.generator = make, generator
        self.inputs.append(entry)
        self.bind(fake, node)

    def new_input(self, fake: torch.Tensor, example: torch.Tensor, make: Callable[[Any], str]) -> None:
        """A tensor that generated code makes before it calls the graph, and which may leave as itself."""
        self.made_input(fake, example, "parameter", make, None)
        entry = self.new[id(fake)] = self.inputs[-1]
        entry.kind, entry.dim = "new", len(self.new)

    def replace(self, value: torch.Tensor, owner: torch.Tensor) -> None:
        """From now on a tensor is a view of all of another one."""
        self._nodes[id(value)] = _Detached(owner)

    def symbol_input(self, symbol: sympy.Symbol, source: Source, kind: str, dim: int, example: Any) -> None:
        """Announce where the value of a symbol can be had from."""
        self._symbols.setdefault(symbol, (source, kind, dim, example))

    def source_of(self, expr: sympy.Expr) -> Source | None:
        """The source of an outside number; None if it is anything else."""
        origin = self._symbols.get(expr)
        if type(origin) is tuple and origin[1] in ("int", "float"):
            return origin[0]
        return None

    def formula(self, symbol: sympy.Symbol, fn: Callable[..., Any], args: tuple[Any, ...], example: Any) -> None:
        """Announce a number that is computed of others, one node where it is first used."""
        self._symbols[symbol] = _Formula(fn, args, example)

    def _make_input(self, pending: "_PendingInput") -> torch.fx.Node:
        node = self._placeholder(_input_name(pending.source), pending.fake)
        marks = getattr(pending.real, "__dict__", {})
        node.meta["tensor_dict"] = {key: marks[key] for key in _MARKS if key in marks}
        entry = Input(node, pending.source, pending.kind, -1, pending.real)
        pending.source.want()
        self.inputs.append(entry)
        self.tensor_inputs[id(pending.fake)] = entry
        self._nodes[id(pending.fake)] = node
        return node

    def changed_in_place(self, entry: Input) -> bool:
        """Whether the graph has written into one of its inputs so far."""
        value = entry.node.meta["example_value"]
        return isinstance(value, torch.Tensor) and value._version != 0

    # ---- values

    def knows(self, value: Any) -> bool:
        return id(value) in self._nodes

    def uses(self, value: Any) -> bool:
        """Whether an operation has used a tensor from outside."""
        return type(self._nodes.get(id(value))) is not _PendingInput

    def refuse(self, value: Any, why: str) -> None:
        """From now on another use of a tensor is a break."""
        self._nodes[id(value)] = _Refused(self._nodes[id(value)], why)

    def allow(self, value: Any) -> None:
        """It may be used again."""
        refused = self._nodes[id(value)]
        if type(refused) is _Refused:
            self._nodes[id(value)] = refused.node

    def all_values(self) -> list[torch.Tensor]:
        """Every tensor that this graph, or one around it, has a node for."""
        return self._pins

    def bind(self, value: torch.Tensor, node: torch.fx.Node) -> None:
        self._nodes[id(value)] = node
        self._pins.append(value)

    def node_of(self, value: Any) -> torch.fx.Node:
        """The node that computes a tensor or a symbolic scalar."""
        if isinstance(value, SYMBOLIC):
            return self.symbolic_node(value)
        node = self._nodes.get(id(value))
        if type(node) is torch.fx.Node:
            return node
        if type(node) is _PendingInput:
            return self._make_input(node)
        if type(node) is _PendingItem:
            parent, index = node.parent, node.index
            made = self.graph.call_function(_getitem, (parent, index))
            made.meta["example_value"] = value
            if "stack_trace" in parent.meta:
                made.meta["stack_trace"] = parent.meta["stack_trace"]
            self._nodes[id(value)] = made
            return made
        if node is not None:
            return node.make(self, value)
        return self._unknown(value)

    def _unknown(self, value: Any) -> torch.fx.Node:
        raise InternalError(f"a tensor of type {type(value).__name__} reached the graph without a node")

    def symbolic_node(self, value: Any) -> torch.fx.Node:
        """The node of a symbolic scalar, made from its expression over the symbols of the inputs."""
        expr = value.node.expr
        node = self._exprs.get(expr)
        if node is None:
            node = self._number_input(value) or self._expression(expr)
            if isinstance(node, torch.fx.Node):
                node.meta.setdefault("example_value", value)
                self._exprs[expr] = node
        return node

    def bind_symbol(self, value: Any, node: torch.fx.Node) -> None:
        """A symbol that an operation of the graph made (``item``)."""
        self._exprs[value.node.expr] = node

    def _expression(self, expr: sympy.Expr) -> Any:
        env: dict[sympy.Symbol, Any] = {}
        for symbol in expr.free_symbols:
            env[symbol] = self._symbol_proxy(symbol)
        if isinstance(expr, sympy.Symbol):
            return env[expr].node
        if expr in (sympy.true, sympy.false):
            return expr is sympy.true
        if not env:
            return int(expr) if expr.is_integer else float(expr)
        try:
            return sympy_interp(NodeAnalysis, env, expr).node
        except (torch.fx.proxy.TraceError, TypeError, AttributeError, NotImplementedError) as error:
            raise Break("DATA_DEPENDENT_VALUE", f"the number {expr} has no form as graph operations: {error}") from None

    def _symbol_proxy(self, symbol: sympy.Symbol) -> torch.fx.Proxy:
        node = self._exprs.get(symbol)
        if node is None:
            origin = self._symbols.get(symbol)
            if origin is None:
                raise Break("DATA_DEPENDENT_VALUE", f"symbol {symbol} has no value outside of the graph")
            if type(origin) is _Formula:
                node = self._formula_node(origin)
            else:
                source, kind, dim, example = origin
                source.want()
                node = self._number_input(example)
                if node is None:
                    node = self._placeholder(str(symbol), example)
                    self.inputs.append(Input(node, source, kind, dim, example))
            self._exprs[symbol] = node
        return torch.fx.Proxy(node, self._tracer)

    def _number_input(self, value: Any) -> torch.fx.Node | None:
        """The item of an input that holds a float which outside numbers give: backends on AOTAutograd take no floats."""
        if self.float_in_tensor is None or type(value) is not torch.SymFloat:
            return None
        found = self.float_in_tensor(value)
        if found is None:
            return None
        real, fake, make = found
        place = self._placeholder("number", fake)
        place.meta["tensor_dict"] = {}
        entry = Input(place, None, "number", -1, real)
        entry.make = make
        self.inputs.append(entry)
        self.bind(fake, place)
        with self.graph.inserting_after(place):  # in front of whatever uses it
            node = self.graph.call_method("item", (place,))
        node.meta["example_value"] = value
        return node

    def _formula_node(self, formula: "_Formula") -> torch.fx.Node:
        if formula.fn is operator.pos:  # a name for what has a node
            return self.symbolic_node(formula.args[0])
        node = self.graph.call_function(formula.fn, self.args(formula.args))
        node.meta["example_value"] = formula.example
        self.annotate(node)
        return node

    def args(self, value: Any) -> Any:
        """Arguments of an operation with every tensor and symbolic scalar replaced by its node."""
        kind = type(value)
        if kind is FakeTensor or issubclass(kind, torch.Tensor):
            return self.node_of(value)
        if kind in (int, float, str, bool, type(None), torch.dtype, torch.device):
            return value
        if issubclass(kind, SYMBOLIC):
            return self.symbolic_node(value)
        if kind is tuple or kind is list:
            return kind([self.args(v) for v in value])
        if kind is torch.Size:
            return tuple([self.args(v) for v in value])
        if kind is dict:
            return {k: self.args(v) for k, v in value.items()}
        if kind is slice:
            return slice(self.args(value.start), self.args(value.stop), self.args(value.step))
        if issubclass(kind, tuple):
            items = [self.args(v) for v in tuple.__iter__(value)]
            return kind(*items) if hasattr(kind, "_fields") else tuple(items)
        if kind is type:
            return _DTYPES.get(value, value)
        if issubclass(kind, numpy.generic):
            return value.item()
        if issubclass(kind, torch._numpy.ndarray):  # a number of NumPy as the bound of a slice
            return self.args(value.tensor)
        if issubclass(kind, list):  # native code takes its items
            return [self.args(v) for v in list.__iter__(value)]
        if dataclasses.is_dataclass(kind):
            return self._dataclass(value)
        if kind is complex and not is_written(value):
            return self.graph.call_function(complex, (value.real, value.imag))
        if issubclass(kind, _WRITTEN):
            return value
        if kind in EXACT:
            return EXACT[kind](value)
        for base, plain in EXACT.items():  # what a subclass says of itself is not how it is made
            if issubclass(kind, base):
                return plain(value)
        raise Break("UNSUPPORTED_CALL", f"a {kind.__name__} passed to a graph operation")

    def _dataclass(self, value: Any) -> torch.fx.Node:
        """An argument that is an instance of a dataclass: made in the graph, of its fields."""
        node = self._nodes.get(id(value))
        if node is None:
            fields = {field.name: self.args(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
            node = self._nodes[id(value)] = self.graph.call_function(type(value), (), fields)
            self._pins.append(value)
        return node

    def record(self, op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> torch.fx.Node:
        """Append an operation whose fake execution gave ``result``."""
        if kwargs and not KEYWORDS.isdisjoint(kwargs):
            values = self.args(tuple(kwargs.values()))
            node = self.graph.call_function(call_named, (target, tuple(kwargs), values, *self.args(args)))
        else:
            node = self.graph.create_node(op, target, self.args(args), self.args(kwargs) if kwargs else {})
        self.calls += 1
        self.annotate(node)
        node.meta["example_value"] = result
        self.bind_results(result, node)
        return node

    def last(self) -> torch.fx.Node | None:
        """The operation that was recorded last."""
        return next(iter(reversed(self.graph.nodes)), None)

    def copy_at(self, value: torch.Tensor, after: torch.fx.Node | None) -> torch.Tensor:
        """A copy that the graph takes of a tensor behind one of its operations; None or an input: before all of them."""
        source = self.node_of(value)
        if after is None or after.op == "placeholder":
            assert self._last_input is not None  # where else would the value come from
            after = self._last_input
        with self.graph.inserting_after(after):
            node = self.graph.call_method("clone", (source,))
        made: torch.Tensor = value.detach().clone()
        node.meta["example_value"] = made
        self.calls += 1
        self.bind(made, node)
        return made

    def bind_results(self, result: Any, node: torch.fx.Node) -> None:
        if isinstance(result, torch.Tensor):
            if id(result) not in self._nodes:
                self._nodes[id(result)] = node
                self._pins.append(result)
                if self.sizes_from_data:
                    self._note_sizes(result)
        elif isinstance(result, (tuple, list)):
            for i, item in enumerate(result):
                self._bind_item(item, node, i)
        elif isinstance(result, SYMBOLIC):
            if not result.node.is_constant():
                self._exprs.setdefault(result.node.expr, node)
                if type(result) is torch.SymBool and isinstance(result.node.expr, sympy.Eq):  # a truth value is 1 == a symbol
                    for symbol in filter(_is_from_data, result.node.expr.args):
                        self._symbols.setdefault(symbol, _Formula(torch.sym_ite, (result, 1, 0), None))

    def _note_sizes(self, tensor: torch.Tensor) -> None:
        """Sizes that the operation has taken from data can be had from its result."""
        for dim, size in enumerate(tensor.shape if tensor.layout is torch.strided else ()):
            if type(size) is torch.SymInt and _is_from_data(size.node.expr):
                self._symbols.setdefault(size.node.expr, _Formula(torch.ops.aten.sym_size.int, (tensor, dim), size))

    def _bind_item(self, item: Any, parent: torch.fx.Node, index: int) -> None:
        if isinstance(item, torch.Tensor):
            if id(item) not in self._nodes:
                self._nodes[id(item)] = _PendingItem(parent, index)
                self._pins.append(item)
                if self.sizes_from_data:
                    self._note_sizes(item)
        elif isinstance(item, (tuple, list)):
            made = self.graph.call_function(_getitem, (parent, index))
            made.meta["example_value"] = item
            for i, inner in enumerate(item):
                self._bind_item(inner, made, i)
        elif isinstance(item, SYMBOLIC) and item.node.expr not in self._exprs:
            made = self.graph.call_function(_getitem, (parent, index))
            made.meta["example_value"] = item
            self._exprs[item.node.expr] = made

    def attribute(self, name: str, value: Any) -> torch.fx.Node:
        """A ``get_attr`` node for something that lives on the graph module (a subgraph)."""
        base, n = name, 0
        while (name := f"{base}_{n}") in self.attributes:
            n += 1
        self.attributes[name] = value
        return self.graph.get_attr(name)

    def finish(self, outputs: list[Any]) -> torch.fx.GraphModule:
        """The graph module that returns the given values (tensors or symbolic scalars) as a tuple."""
        for _, region, leave in reversed(self.open_regions):  # a break inside: the graph ends balanced
            self.graph.call_function(leave, (region,))
        return self.close(tuple(self.node_of(v) for v in outputs), tuple(outputs))

    def close(self, outputs: Any, values: Any) -> torch.fx.GraphModule:
        """The graph module whose output is a structure of nodes; ``values`` are its fake values."""
        node = self.graph.output(outputs)
        node.meta["example_value"] = values
        for close in self.closers:  # a subgraph returns what turned out to be used outside of it
            close()
        module = torch.nn.Module()
        for name, value in self.attributes.items():
            setattr(module, name, value)
        self._drop_dead()
        self._drop_overruled()
        for entry in self.inputs:
            if entry.source is not None and entry.source.owned and "tensor_dict" in entry.node.meta:  # it stays where it is
                entry.node.meta["tensor_dict"].setdefault("_dynamo_static_input_type", "unguarded")
        with _lazy_graph_module._use_lazy_graph_module(True):  # its Python text is made when somebody runs or prints it
            return _made_once(_lazy_graph_module._make_graph_module(module, self.graph, "CapturedGraph"))

    def _drop_dead(self) -> None:
        """Remove what is certainly without effect: unused reads of sizes and items."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and (node.target is _getitem or node.op == "call_method" and node.target == "item"):
                self.graph.erase_node(node)

    def _drop_overruled(self) -> None:
        """Remove switches of the grad mode that the next node switches again."""
        nodes = list(self.graph.nodes)
        for node, after in zip(nodes, nodes[1:]):
            if node.target is after.target is torch._C._set_grad_enabled:
                self.graph.erase_node(node)


def _made_once(module: Any) -> torch.fx.GraphModule:
    """Let one thread at a time write the text: fx keeps what it does meanwhile on the nodes."""
    cls = type(module)  # of this module alone
    lock, make = threading.RLock(), cls.real_recompile

    def real_recompile(self: Any) -> None:
        with lock:
            make(self)

    cls.real_recompile = real_recompile
    return module


def _is_from_data(expr: Any) -> bool:
    return isinstance(expr, sympy.Symbol) and symbol_is_type(expr, SymT.UNBACKED_INT)


class _PendingInput:
    __slots__ = ("fake", "real", "source", "kind")

    def __init__(self, fake: Any, real: Any, source: Source, kind: str) -> None:
        self.fake, self.real, self.source, self.kind = fake, real, source, kind


class _Refused:
    __slots__ = ("node", "why")

    def __init__(self, node: Any, why: str) -> None:
        self.node, self.why = node, why

    def make(self, recorder: Recorder, value: Any) -> Any:
        raise Break("TENSOR_EFFECT", self.why)


class _Detached:
    __slots__ = ("owner",)

    def __init__(self, owner: torch.Tensor) -> None:
        self.owner = owner

    def make(self, recorder: Recorder, value: Any) -> Any:
        node = recorder.graph.call_method("detach", (recorder.node_of(self.owner),))
        node.meta["example_value"] = value
        recorder._nodes[id(value)] = node
        return node


class _Formula:
    __slots__ = ("fn", "args", "example")

    def __init__(self, fn: Any, args: tuple[Any, ...], example: Any) -> None:
        self.fn, self.args, self.example = fn, args, example


class _PendingItem:
    __slots__ = ("parent", "index")

    def __init__(self, parent: torch.fx.Node, index: int) -> None:
        self.parent, self.index = parent, index


class _TRACER(torch.fx.Tracer):
    """Lets sympy expressions be evaluated over nodes of the recorder's graph."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.graph = recorder.graph
        self.recorder = recorder

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> torch.fx.Proxy:
        unwrap = lambda a: a.node if isinstance(a, torch.fx.Proxy) else a  # noqa: E731
        node = self.graph.create_node(kind, target, map_aggregate(args, unwrap), map_aggregate(kwargs, unwrap))
        self.recorder.annotate(node)
        return torch.fx.Proxy(node, self)


_DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128}
"""What PyTorch takes Python's types for, where it wants a dtype."""

_getitem = operator.getitem
_WORDS = re.compile(r"[^0-9a-zA-Z]+")
_MARKS = ("_dynamo_static_input_type", "tag")
_BAD = re.compile(r"[^0-9a-zA-Z_]+")


def _input_name(source: Source) -> str:
    """As backends know it: ``L_x_`` for the variable ``x``, ``L_self_weight`` for what is below one."""
    whole = source.parent is None or source.access == "cell"
    return "L_" + _WORDS.sub("_", source.name) + ("_" if whole else "")


def _identifier(name: str) -> str:
    text = _BAD.sub("_", name).lstrip("_")
    return text if text and not text[0].isdigit() else "_" + text
