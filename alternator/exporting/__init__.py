"""``export``: a whole function as one graph with the function's own calling convention."""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import Any, Callable, Iterator, NamedTuple

import torch
import torch.fx
import torch.utils._pytree as torch_pytree

from alternator import config
from alternator.capture import Attempt
from alternator.exporting import assembly
from alternator.exporting.capturing import capture_whole
from alternator.exporting.effects import refuse_effects
from alternator.exporting.lowering import lower
from alternator.exporting.shapes import ArgumentShapes
from alternator.provenance.source import SourceTree
from alternator.request import CompileRequest
from alternator.runtime.convert import Options
from alternator.runtime.module import original_of
from alternator.tensors.shape_guards import shape_facts
from alternator.tensors.sharing import inputs_for_backend


class Guards:
    """What the graph relies on, one line each: it stands for the function as long as all of it is true.

    Iterating gives the lines; ``str()`` all of them.

    Example: ``for line in alternator.export(fn)(x).guards: print(line)``
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __repr__(self) -> str:
        return f"<{len(self.lines)} guards>"


class ExportResult(NamedTuple):
    """What :func:`export` gives; unpacks as ``(graph_module, guards)``.

    ``graph_module`` is called as the exported function is.  Tensors that it uses and that are no arguments are its attributes:
    the parameter ``layer.weight`` of an exported module is ``L__self___layer_weight``, and
    ``graph_module.meta["dynamo_flat_name_to_original_fqn"]`` maps these names to the module's own.  ``guards`` lists what was
    relied on besides the tensors' sizes, types and devices, and these.
    """

    graph_module: torch.fx.GraphModule
    guards: Guards


@dataclasses.dataclass(frozen=True)
class _Settings:
    aten_graph: bool
    pre_dispatch: bool
    decomposition_table: dict[Any, Any] | None
    dynamic_shapes: Any
    static: bool
    specialize_float: bool
    same_signature: bool
    solve: bool


def export(
    f: Callable[..., Any],
    *extra_args: Any,
    aten_graph: bool = False,
    pre_dispatch: bool = False,
    decomposition_table: dict[Any, Callable[..., Any]] | None = None,
    tracing_mode: str = "symbolic",
    dynamic_shapes: Any = None,
    specialize_float: bool = True,
    assume_static_by_default: bool = False,
    same_signature: bool = True,
    disable_constraint_solver: bool = False,
    **extra_kwargs: Any,
) -> Any:
    """Capture a function or module as one graph: ``export(f)(*args)`` gives an :class:`ExportResult`.

    The function is not run: arguments are examples.  Numbers, texts and the structure of the arguments become constants, and a
    tensor that is given twice is one input: the graph takes its first place.

    Args:
        f: a function, a method, an ``nn.Module`` or another callable.
        extra_args: an older form, ``export(f, *args, **kwargs)``, gives the result at once.
        aten_graph: the graph calls ATen's operators instead of torch's functions.
        pre_dispatch: those that come to the dispatcher first, before autograd and autocast; needs ``aten_graph``.
        decomposition_table: operator -> function that it is replaced by; needs ``aten_graph``.
        tracing_mode: "symbolic": sizes vary; "real" or "fake": sizes are constants.
        dynamic_shapes: which sizes must be allowed to vary: per argument (a dict by name, or a tuple) what its dimensions are, as
            ``{0: torch.export.Dim("batch", min=2)}``; None for one that is a constant.
        specialize_float: floats are constants.
        assume_static_by_default: sizes that nothing is said of are constants; else they vary where the program lets them.
        same_signature: the graph is called as the function is.  False: it takes and gives the tensors that it uses and computes.
        disable_constraint_solver: an error about ``dynamic_shapes`` comes without suggestions.

    Raises:
        Unsupported: what cannot be in one graph, with the reason: a graph break, or a change of something outside.
        UserError: an argument or a result of a type that no graph takes; an argument's size had to be a constant or in narrower
            bounds than ``dynamic_shapes`` (or ``mark_dynamic``) says (``ConstraintViolation``).

    Example:
        >>> graph_module, guards = alternator.export(model, dynamic_shapes={"x": {0: torch.export.Dim("batch")}})(x)
        >>> graph_module(x)
    """
    if decomposition_table is not None and not aten_graph:
        raise AssertionError("Specifying a decomposition_table is illegal without setting aten_graph=True")
    if pre_dispatch and not aten_graph:
        raise AssertionError("pre_dispatch=True can only be used when aten_graph=True")
    if tracing_mode not in ("symbolic", "real", "fake"):
        raise ValueError(f"tracing_mode is 'symbolic', 'real' or 'fake', not {tracing_mode!r}")
    if not callable(f):
        raise TypeError(f"export() takes a function, a module or another callable, not {f!r}")
    static = assume_static_by_default or tracing_mode != "symbolic"
    settings = _Settings(
        aten_graph,
        pre_dispatch,
        decomposition_table,
        dynamic_shapes,
        static,
        specialize_float,
        same_signature,
        not disable_constraint_solver,
    )

    def run(*args: Any, **kwargs: Any) -> ExportResult:
        return _export(original_of(f), args, kwargs, settings)

    return run(*extra_args, **extra_kwargs) if extra_args or extra_kwargs else run


def _export(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], settings: _Settings) -> ExportResult:
    signature = inspect.signature(f.forward if isinstance(f, torch.nn.Module) else f)
    bound = signature.bind(*args, **kwargs)  # raises what calling it would
    given = dict(bound.arguments)
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    given.update(given.pop(rest, {}) if rest is not None else {})
    arguments = assembly.Arguments(signature, args, kwargs)
    shapes = ArgumentShapes(given, settings.dynamic_shapes)

    def name(tree: SourceTree) -> None:
        tree.local(0, "fn").call_it("L['self']" if isinstance(f, torch.nn.Module) else getattr(f, "__name__", "fn"))
        _name_arguments(tree, arguments, len(args), kwargs)
        for i, own in enumerate(("tree_flatten", "is_size"), 3):
            tree.local(i, own).call_it(f"{__name__}.{own}")

    def consume(attempt: Attempt) -> ExportResult:
        return _result(attempt, f, signature, arguments, shapes, settings)

    func = types.FunctionType(_call.__code__.replace(co_name=getattr(f, "__name__", "call")), _GLOBALS)
    values = [f, args, kwargs, torch_pytree.tree_flatten, _is_size]
    return capture_whole(func, values, _request(settings), shapes, name, consume)


def _call(fn: Any, args: Any, kwargs: Any, flatten: Any, is_leaf: Any) -> Any:
    return flatten(fn(*args, **kwargs), is_leaf)


_GLOBALS: dict[str, Any] = {"__name__": "alternator.exported"}


def _request(settings: _Settings) -> CompileRequest:
    chosen = dataclasses.replace(
        config.snapshot(),
        specialize_int=True,
        specialize_float=settings.specialize_float,
        assume_static_by_default=settings.static,
        automatic_dynamic_shapes=False,
        capture_dynamic_output_shape_ops=True,
        capture_scalar_outputs=True,
    )
    return CompileRequest(_nobody, "export", chosen, "export", Options(_nobody, "export", fullgraph=True, export=True))


def _nobody(module: torch.fx.GraphModule, examples: Any) -> Any:
    raise AssertionError("an exported graph is not compiled")


def _name_arguments(tree: SourceTree, arguments: assembly.Arguments, count: int, kwargs: dict[str, Any]) -> None:
    """Guards and errors speak of ``L['x']``, not of items of our own frame's variables."""
    positional = tree.local(1, "args")
    for i, name in enumerate(arguments.names[:count]):
        positional.child("index", i).call_it(f"L[{name!r}]")
    named = tree.local(2, "kwargs")
    for key in kwargs:
        named.child("dictitem", key).call_it(f"L[{key!r}]")


def _result(
    attempt: Attempt,
    f: Any,
    signature: inspect.Signature,
    arguments: assembly.Arguments,
    shapes: ArgumentShapes,
    settings: _Settings,
) -> ExportResult:
    vm, fakes, recorder = attempt.vm, attempt.fakes, attempt.recorder
    refuse_effects(attempt)
    outputs = assembly.outputs_of(vm, *attempt.result)
    for one in vm.states.get("expected", ()):
        text = "the program raises an exception here"
        recorder.record("call_function", torch._assert_async, (one, text), {}, None)
    if not recorder.calls and not settings.same_signature:
        raise AssertionError(
            "Failed to produce a graph during tracing as no tensor operations were found and same_signature is False."
        )
    sizes = shape_facts(fakes)
    shapes.check(fakes, signature, settings.solve)
    module: Any = recorder.finish(outputs.computed)
    with torch._C.DisableTorchFunctionSubclass():
        mode, _ = inputs_for_backend(fakes, recorder, module)
    inputs = assembly.compute_sizes(fakes, recorder, module)
    _complete_metadata(module, [])
    vals = [_standing_for(value, fakes, mode) for value in arguments.flat]
    if settings.aten_graph:
        module = lower(module, mode, settings.decomposition_table, settings.pre_dispatch)
    attributes = assembly.Attributes(f)
    if settings.same_signature:
        made = assembly.assemble(module, inputs, arguments, attributes, outputs, vals)
    else:
        made = assembly.assemble_flat(module, inputs, arguments, attributes)
    return ExportResult(made, _guards(vm.world.tree, sizes))


def _guards(tree: SourceTree, sizes: list[tuple[Any, ...]]) -> Guards:
    """Without what our own frame relies on."""
    lines = [line for line in tree.texts() if not line.startswith(__name__)]
    return Guards(lines + [f"SHAPE {fact[-1]}" for fact in sizes])


def _is_size(value: Any) -> bool:
    """pytree takes these apart, and makes tuples of them."""
    return type(value) is torch.Size


def _standing_for(value: Any, fakes: Any, mode: Any) -> Any:
    """What the metadata shows of an argument that the graph does not use."""
    if not isinstance(value, torch.Tensor):
        return value
    for tensor, fake, _, _ in fakes.inputs:
        if tensor is value:
            return fake
    return mode.from_tensor(value, static_shapes=True)


def _complete_metadata(module: torch.fx.GraphModule, above: list[Any]) -> None:
    """What tools that work on exported graphs read of nodes.

    ``source_fn_stack``: the function of torch that it is a call of, below the operators whose body it is in.
    ``nn_module_stack``: the modules whose code it is, by the names that people use.
    """
    for node in module.graph.nodes:
        modules = node.meta.get("nn_module_stack")
        if modules:
            node.meta["nn_module_stack"] = {key: (assembly.plain_name(name), kind) for key, (name, kind) in modules.items()}
        if node.op.startswith("call_"):
            stack = node.meta["source_fn_stack"] = [*above, (node.name, node.target)]
            for inner in node.all_input_nodes:
                part = getattr(module, str(inner.target), None) if inner.op == "get_attr" else None
                if isinstance(part, torch.fx.GraphModule):
                    _complete_metadata(part, stack)
    for node in module.graph.find_nodes(op="placeholder"):
        reader = next((user for user in node.users if "nn_module_stack" in user.meta), None)
        if reader is not None:  # for those that become attributes
            node.meta["nn_module_stack"] = reader.meta["nn_module_stack"]


__all__ = ["ExportResult", "Guards", "export"]
