"""From what was captured to the graph module that is handed out: arguments, attributes, outputs, the calling convention."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple, Sequence

import torch
import torch.fx
import torch.utils._pytree as pytree
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo

from alternator.exc import UserError, UserErrorType
from alternator.tensors.fake import Fakes
from alternator.tensors.graph import SYMBOLIC, Input, Recorder

CONSTANTS: tuple[type, ...] = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented))
CONSTANTS += (torch.dtype, torch.device, torch.layout, torch.memory_format)


class Arguments:
    """What the function is called with: flat, with names, and how it is put together again."""

    def __init__(self, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.flat, self.spec = pytree.tree_flatten((args, kwargs))
        self.names = argument_names(signature, args, kwargs)
        for value in self.flat:
            if not isinstance(value, (torch.Tensor, *SYMBOLIC, *CONSTANTS)):
                raise _unsupported(UserErrorType.INVALID_INPUT, "input", value)
        paths = [path for path, _ in pytree.tree_flatten_with_path((args, kwargs))[0]]
        self.paths = [_path_name(path, self.names) for path in paths]
        self._position: dict[int, int] = {}
        for i, value in enumerate(self.flat):
            if isinstance(value, torch.Tensor):
                self._position.setdefault(id(value), i)

    def position(self, entry: Input) -> int | None:
        """Which of the flat arguments an input of the graph is; None: it is none of them."""
        return self._position.get(id(entry.example))


def argument_names(signature: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """The parameters of the exported function: one per argument that was given, named as the function's own are.

    Example: ``argument_names(inspect.signature(lambda x, *rest, k=1: x), (1, 2), {"k": 3}) == ["x", "rest_0", "k"]``
    """
    named = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    found = [p.name for p in named[: len(args)]]
    found += [f"{rest}_{i}" for i in range(len(args) - len(named))]
    return found + list(kwargs)


def _path_name(path: Any, names: list[str]) -> str:
    """``l_x_`` for the argument x, ``l_x_0_`` for its first item: as inputs of graphs are called."""
    where, which, *rest = path
    if isinstance(where, pytree.SequenceKey) and where.idx == 0:
        text = names[which.idx]
    else:
        text = str(which.key)
    for key in rest:
        text += f"_{getattr(key, 'idx', getattr(key, 'key', getattr(key, 'name', '')))}"
    return re.sub(r"\W+", "_", f"l_{text}_").lower()


def plain_name(text: str) -> str:
    """The name of a source as people write it: ``self.layers.0.weight``."""
    return _TABLES.sub(r".\1", text)


_TABLES = re.compile(r"\._(?:modules|parameters|buffers)\['([^']*)'\]")


class Attributes:
    """Tensors that the graph uses and that are no arguments: attributes of the graph module, named by where they are from.

    Example: the parameter ``layer.weight`` of an exported module is ``L__self___layer_weight``.
    """

    def __init__(self, exported: Any) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self.origin: dict[str, str] = {}
        self._known: dict[int, str] = {}
        if isinstance(exported, torch.nn.Module):
            for listing in (exported.named_buffers, exported.named_parameters):
                for name, value in listing(remove_duplicate=False):
                    self._known[id(value)] = name

    def name(self, entry: Input) -> str:
        """The name of the attribute for an input of the graph."""
        known = self._known.get(id(entry.example))
        text = f"L__self___{known}" if known is not None else plain_name(entry.source.name)
        base = text = re.sub(r"\W", "_", text)
        if text[:1].isdigit():
            base = text = "_" + text
        n = 0
        while text in self.values and self.values[text] is not entry.example:
            n += 1
            text = f"{base}_{n}"
        if text not in self.values and known is not None:
            self.origin[text] = known
        self.values[text] = entry.example
        return text

    def put_on(self, module: torch.nn.Module) -> None:
        for name, value in self.values.items():
            if isinstance(value, torch.nn.Parameter):
                module.register_parameter(name, value)
            else:
                module.register_buffer(name, value)


class Outputs(NamedTuple):
    """The flat results: what the graph computes, or constants; and how they are put together."""

    computed: list[Any]
    flat: list[Any]
    """``_Computed`` for an item of ``computed``, a ``torch.Size`` of such, or a constant."""
    spec: pytree.TreeSpec


class _Computed(NamedTuple):
    number: int


def outputs_of(vm: Any, leaves: list[Any], spec: pytree.TreeSpec) -> Outputs:
    """Tell the leaves of a result that the graph computes from constants.

    Raises ``UserError`` for a leaf that can be neither.
    """
    computed: list[Any] = []

    def place(value: Any) -> Any:
        if isinstance(value, SYMBOLIC):
            if not value.node.is_constant():
                computed.append(value)
                return _Computed(len(computed) - 1)
            value = value.node.maybe_as_int() if isinstance(value, torch.SymInt) else value.node.expr
            return value if isinstance(value, int) else bool(value) if value.is_Boolean else float(value)
        if isinstance(value, torch.Tensor) and vm.recorder.knows(value) and id(value) not in vm.overrides.made:
            computed.append(value)
            return _Computed(len(computed) - 1)
        if type(value) is torch.Size:
            return torch.Size, [place(item) for item in value]
        if not isinstance(value, CONSTANTS):
            raise _unsupported(UserErrorType.INVALID_OUTPUT, "output", value)
        return value

    flat = [place(value) for value in leaves]
    return Outputs(computed, flat, spec)


def _unsupported(kind: UserErrorType, what: str, value: Any) -> UserError:
    names = ", ".join(t.__name__ for t in (torch.Tensor, *SYMBOLIC, *CONSTANTS))
    return UserError(
        kind,
        f"It looks like one of the {what}s with type `{type(value)}` is not supported or pytree-flattenable.\n"
        f"Exported graphs {what}s can only contain the following supported types: {names}.\n"
        "If you are using a custom class object, please register a pytree_flatten/unflatten function using "
        "`torch.utils._pytree.register_pytree_node` or `torch.export.register_dataclass`.",
    )


# ---- sizes


def compute_sizes(fakes: Fakes, recorder: Recorder, module: torch.fx.GraphModule) -> list[Input]:
    """Sizes of inputs that the graph takes as inputs of their own are read from these in the graph; the inputs that are left,
    in the order of the placeholders.

    Raises ``UserError`` for a number that varies and that no tensor gives.
    """
    graph = module.graph
    numbers = [entry for entry in recorder.inputs if entry.kind != "tensor"]
    owners = {id(where.ours): fake for _, fake, where, _ in fakes.inputs}
    for entry in numbers:
        if entry.kind not in ("size", "stride", "offset") or id(entry.source) not in owners:
            name = entry.source.name if entry.source is not None else entry.node.name
            raise UserError(
                UserErrorType.INVALID_INPUT, f"{name} is no tensor, and is not the same in each call: it cannot be an input"
            )
    holders = {id(entry): recorder.node_of(owners[id(entry.source)]) for entry in numbers if entry.node.users}
    last = next((node for node in reversed(graph.nodes) if node.op == "placeholder"), None)
    for entry in reversed(numbers):
        if id(entry) in holders:
            holder = holders[id(entry)]
            with graph.inserting_after(last):
                method, args = ("storage_offset", (holder,)) if entry.kind == "offset" else (entry.kind, (holder, entry.dim))
                node = graph.call_method(method, args)
            node.meta = {key: value for key, value in entry.node.meta.items() if key != "tensor_dict"}
            entry.node.replace_all_uses_with(node)
    for entry in numbers:
        graph.erase_node(entry.node)
    order = {node: i for i, node in enumerate(graph.nodes)}
    return sorted((entry for entry in recorder.inputs if entry.kind == "tensor"), key=lambda entry: order[entry.node])


# ---- the graph module


def assemble(
    module: torch.fx.GraphModule,
    inputs: list[Input],
    arguments: Arguments,
    attributes: Attributes,
    outputs: Outputs,
    vals: list[Any],
) -> torch.fx.GraphModule:
    """The graph with the function's own calling convention.

    Args:
        module: its placeholders are ``inputs``, in order; it returns ``outputs.computed``.
        vals: per flat argument what stands for it in the metadata.
    """
    graph = torch.fx.Graph()
    places = []
    for i, (name, val) in enumerate(zip(arguments.paths, vals)):
        node = graph.create_node("placeholder", f"arg{i}", name=name)
        node.meta["val"] = val
        places.append(node)
    results = _copy(
        module, inputs, [places[at] if at is not None else None for at in map(arguments.position, inputs)], attributes, graph
    )
    graph.output([_result(graph, one, results) for one in outputs.flat])
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(arguments.names, arguments.spec, outputs.spec)))
    return _made(module, graph, attributes)


def assemble_flat(
    module: torch.fx.GraphModule, inputs: list[Input], arguments: Arguments, attributes: Attributes
) -> torch.fx.GraphModule:
    """The graph as it was captured: the arguments' tensors that it uses in, the tensors that it computes out."""
    graph = torch.fx.Graph()
    given = [arguments.position(entry) is not None for entry in inputs]
    places = [
        graph.create_node("placeholder", str(entry.node.target)) if is_given else None for entry, is_given in zip(inputs, given)
    ]
    graph.output(tuple(_copy(module, inputs, places, attributes, graph)))
    return _made(module, graph, attributes)


def _copy(
    module: torch.fx.GraphModule,
    inputs: list[Input],
    places: list[torch.fx.Node | None],
    attributes: Attributes,
    graph: torch.fx.Graph,
) -> list[Any]:
    """Copy the captured graph, with ``places`` for its inputs, or else attributes; what it computes."""
    found: dict[torch.fx.Node, Any] = {}
    for node, entry, place in zip(module.graph.find_nodes(op="placeholder"), inputs, places):
        meta = dict(node.meta)
        meta.setdefault("val", node.meta.get("example_value"))
        if place is None:
            if not node.users:
                continue
            place = graph.create_node("get_attr", attributes.name(entry))
            meta.pop("tensor_dict", None)
        else:
            meta.pop("nn_module_stack", None)
        place.meta.update(meta)
        found[node] = place
    for node in module.graph.nodes:
        if node.op == "output":
            return [found[one] if isinstance(one, torch.fx.Node) else one for one in node.args[0]]
        if node not in found and node.op != "placeholder":
            found[node] = graph.node_copy(node, found.__getitem__)
    raise AssertionError("a graph without an output")


def _result(graph: torch.fx.Graph, one: Any, results: list[Any]) -> Any:
    if type(one) is _Computed:
        return results[one.number]
    if type(one) is tuple:
        return graph.call_function(torch.Size, ([_result(graph, item, results) for item in one[1]],))
    return one


def _made(module: torch.fx.GraphModule, graph: torch.fx.Graph, attributes: Attributes) -> torch.fx.GraphModule:
    root = torch.nn.Module()
    attributes.put_on(root)
    for node in graph.find_nodes(op="get_attr"):
        if not hasattr(root, node.target):  # bodies of operators, constants
            setattr(root, node.target, getattr(module, node.target))
    made = torch.fx.GraphModule(root, graph)
    made.meta["dynamo_flat_name_to_original_fqn"] = dict(attributes.origin)
    return made
