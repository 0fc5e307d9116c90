"""Higher-order operators that keep a region together: checkpoint, wrap (control flow has a file of its own)."""

from __future__ import annotations

import functools
import types
import warnings
from typing import Any

import torch
import torch.utils.checkpoint as checkpoint_module
from torch._higher_order_ops._invoke_quant import InvokeQuant, invoke_quant, invoke_quant_packed
from torch._higher_order_ops.foreach_map import _foreach_map
from torch._higher_order_ops.invoke_subgraph import invoke_subgraph_placeholder
from torch._higher_order_ops.wrap import TagActivationCheckpoint
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from alternator.exc import Break, Restart
from alternator.interpreter import tensor_ops
from alternator.interpreter.tables import INSTANCE_CALLS, RULES
from alternator.semantics import pytree
from alternator.semantics.bodies import run_body
from alternator.semantics.control_flow import OPERATORS
from alternator.tensors.subgraph import OpenOutputs, SubRecorder

ops = torch.ops.higher_order


# ---- activation checkpointing


class _CheckpointThatDraws(TagActivationCheckpoint):
    """A checkpoint that draws random numbers, and draws the same when it is computed again.

    Backends on AOTAutograd see to that themselves, and torch's operator relies on it; a graph that is run as it is does not.
    """

    def __init__(self) -> None:
        HigherOrderOperator.__init__(self, "checkpoint_that_draws", cacheable=True)

    def __call__(self, body: Any, *args: Any, **kwargs: Any) -> Any:
        if is_in_torch_dispatch_mode() or torch._C._are_functorch_transforms_active():  # it is being traced
            return ops.tag_activation_checkpoint(body, *args, **kwargs)
        context_fn = body.meta.get("_checkpoint_context_fn", checkpoint_module.noop_context_fn)
        ours = {"use_reentrant": False, "preserve_rng_state": True, "context_fn": context_fn}
        return checkpoint_module.checkpoint(body, *args, **{**kwargs, **ours})


_checkpoint_that_draws = _CheckpointThatDraws()


@RULES.rule(checkpoint_module.checkpoint)
def rule_checkpoint(vm: Any, args: Any, kwargs: Any) -> Any:
    """``torch.utils.checkpoint.checkpoint``: the function's operations are tagged for recomputation in the backward pass."""
    if not args:
        raise Break("HOP_BODY", "checkpoint() with its function as a keyword")
    mine, theirs = TagActivationCheckpoint.divide_kwargs(kwargs)
    fn, *given = args
    if not torch.is_grad_enabled():
        return vm.call(fn, tuple(given), theirs)
    reentrant = mine.get("use_reentrant")
    if reentrant is not False:
        _check_reentrant(given, mine, theirs)
        if not any(issubclass(type(a), torch.Tensor) and a.requires_grad for a in given):
            return _without_gradients(vm, fn, tuple(given))
    if mine.get("debug"):
        raise Break("HOP_BODY", "checkpoint(debug=True)")
    context_fn = mine.pop("context_fn", None)
    if context_fn is not None and context_fn is not checkpoint_module.noop_context_fn:
        _guard_helper(vm, context_fn)
    else:
        context_fn = None
    for name, value in mine.items():
        if not issubclass(type(value), (bool, str, type(None))):
            raise Break("HOP_BODY", f"checkpoint({name}=...) that is no constant")
    watch = vm.fakes.watch
    before, watch.draws = watch.draws, False
    try:
        body = run_body(vm, "checkpoint", fn, tuple(given), theirs)
    finally:
        draws, watch.draws = watch.draws, watch.draws or before
    if draws and mine.get("preserve_rng_state", True) is not True:
        raise Break("HOP_BODY", "checkpoint(preserve_rng_state=False) of what draws random numbers, which compilers preserve")
    if any(node.target in OPERATORS for node in body.recorder.graph.nodes):
        raise Break("HOP_BODY", "checkpoint: control flow operators cannot be recomputed by AOTAutograd")
    target = _checkpoint_that_draws if draws else ops.tag_activation_checkpoint
    hop = OpenOutputs(body.recorder, "wrap_body", target, (), mine)
    if context_fn is not None:
        hop.module_meta["_checkpoint_context_fn"] = context_fn
    if reentrant is not False and not _all_differentiable(body.result):
        raise Break("HOP_BODY", "a reentrant checkpoint with an output that does not depend on its inputs")
    return body.result


def _check_reentrant(given: list[Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The reentrant variant takes no keyword arguments of the function."""
    if theirs or mine.get("context_fn") is not None:
        raise Break("HOP_BODY", "a reentrant checkpoint with keyword arguments")


_WITHOUT_REGION = "reentrant checkpoints without gradients as they are"


def _without_gradients(vm: Any, fn: Any, given: tuple[Any, ...]) -> Any:
    """A reentrant checkpoint none of whose arguments requires a gradient: nor does what it gives.

    Nothing is computed again then.  If nothing in the body requires a gradient either, the body is a region that needs no
    ``no_grad`` around it; else, or if it has effects, the capture begins anew with its operations in the graph itself.
    """
    vm.call(_warn_without_gradients, ())
    if vm.root_state.get(_WITHOUT_REGION):
        result = vm.call(_call_without_gradients, (fn, given))
    else:
        result = _region_without_gradients(vm, fn, given)
    leaves: list[Any] = []
    pytree.flatten(vm, result, leaves)
    if any(leaf is value for leaf in leaves for value in given if issubclass(type(leaf), torch.Tensor)):
        raise Break("HOP_BODY", "a reentrant checkpoint that gives one of its arguments")
    return result


def _region_without_gradients(vm: Any, fn: Any, given: tuple[Any, ...]) -> Any:
    with torch.no_grad():
        try:
            body = run_body(vm, "checkpoint", fn, given)
        except Break:
            body = None
    if body is None or not _same_with_gradients(body.recorder):
        raise Restart(lambda: vm.root_state.__setitem__(_WITHOUT_REGION, True))
    OpenOutputs(body.recorder, "wrap_body", ops.wrap, (), {})
    return body.result


_SWITCHES = frozenset({torch._C._set_grad_enabled, torch.set_grad_enabled})


def _same_with_gradients(body: SubRecorder) -> bool:
    """Its operations give the same with gradients switched on: none requires one, none switches them, no region is inside."""
    return not any(isinstance(value, (SubRecorder, torch.fx.GraphModule)) for value in body.attributes.values()) and not any(
        node.target in _SWITCHES or getattr(node.meta.get("example_value"), "requires_grad", False) for node in body.graph.nodes
    )


def _warn_without_gradients() -> None:
    warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


def _call_without_gradients(fn: Any, given: Any) -> Any:
    with torch.no_grad():
        return fn(*given)


def _all_differentiable(result: Any) -> bool:
    if issubclass(type(result), torch.Tensor):
        return result.requires_grad or not result.is_floating_point()
    return (
        issubclass(type(result), (tuple, list))
        and all(_all_differentiable(r) for r in result if issubclass(type(r), torch.Tensor))
        or result is None
    )


def _guard_helper(vm: Any, value: Any) -> None:
    """A function that the backend will call natively while it traces (a selective policy): it must be exactly this one."""
    rec = vm.records.get(id(value))
    if issubclass(type(value), functools.partial):
        for part in (
            (value.func, value.args, value.keywords) if rec is None else (rec.obj.func, *rec.obj.args, *rec.obj.keywords.values())
        ):
            _guard_helper(vm, part)
        if rec is not None:
            rec.source.guard("IS", rec.obj)
    elif issubclass(type(value), (tuple, list)):
        for item in vm.close(value):
            _guard_helper(vm, item)
    elif issubclass(type(value), dict):
        for item in vm.close(value).values():
            _guard_helper(vm, item)
    elif rec is not None and rec.obj is value:
        rec.source.guard("IS", value)
    elif issubclass(type(value), types.FunctionType) and (rec is None and not value.__closure__):
        return
    elif not issubclass(type(value), (int, str, bool, type(None), torch._ops.OpOverload)):
        raise Break("HOP_BODY", f"checkpoint(context_fn=...) that refers to a {type(value).__name__} made while tracing")


@RULES.rule(torch.autograd._is_checkpoint_valid)
def rule_is_checkpoint_valid(vm: Any, args: Any, kwargs: Any) -> Any:
    answer = torch.autograd._is_checkpoint_valid()
    same = lambda: torch.autograd._is_checkpoint_valid() is answer  # noqa: E731
    vm.world.tree.tail.append(("PY", (), same, f"is_checkpoint_valid() is {answer}"))
    return answer


# ---- regions


@INSTANCE_CALLS.rule(type(ops.wrap))
def rule_wrap(vm: Any, op: Any, args: Any, kwargs: Any) -> Any:
    """A body that is kept together, and nothing else."""
    body = run_body(vm, "wrap", args[0], args[1:], kwargs)
    OpenOutputs(body.recorder, "wrap_body", ops.wrap, (), {})
    return body.result


@INSTANCE_CALLS.rule(type(_foreach_map), type(invoke_quant_packed), type(invoke_quant))
def rule_plain_region(vm: Any, op: Any, args: Any, kwargs: Any) -> Any:
    """A body that backends treat in their own way, told by the operator and its keywords."""
    if not all(issubclass(type(value), (int, float, str, bool, type(None), InvokeQuant)) for value in kwargs.values()):
        raise Break("HOP_BODY", f"{op}: a keyword that is no constant")
    body = run_body(vm, str(op), args[0], args[1:])
    given = {k: vm.recorder.attribute(k, v) if issubclass(type(v), InvokeQuant) else v for k, v in kwargs.items()}
    OpenOutputs(body.recorder, "subgraph", op, (), given)
    return body.result


@INSTANCE_CALLS.rule(type(ops.out_dtype))
def rule_out_dtype(vm: Any, op: Any, args: Any, kwargs: Any) -> Any:
    """An operator with the type of its result."""
    return tensor_ops.call(vm, op, args, kwargs)


@RULES.rule(invoke_subgraph_placeholder)
def rule_nested_region(vm: Any, args: Any, kwargs: Any) -> Any:
    """``nested_compile_region``: a hint to compile the function once; inlining it gives the same results."""
    return vm.call(args[0], args[1:], kwargs)
