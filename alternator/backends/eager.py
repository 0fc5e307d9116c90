"""Backends that run the graph as it was captured."""

from __future__ import annotations

import logging
from typing import Any, Callable, Sequence

import torch
from torch._functorch.autograd_function import autograd_function_apply
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint, noop_context_fn

from alternator.backends.registry import register_backend, register_debug_backend

log = logging.getLogger("alternator.backends")


def refuse_extra(name: str, kwargs: dict[str, Any]) -> None:
    """A backend that has no options says so, instead of dropping them without a word."""
    if kwargs:
        log.warning("the backend %r takes no options; ignoring %s", name, ", ".join(sorted(kwargs)))


@register_backend
def eager(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Run the captured graph with PyTorch's own kernels: shows what capture alone does."""
    refuse_extra("eager", kwargs)
    _run_operators_plainly(gm)
    return gm.forward


def _run_operators_plainly(gm: torch.fx.GraphModule) -> None:
    """Some operators leave to AOTAutograd what makes them right; without it, what they stand for runs instead.

    A checkpointed region has to draw its random numbers again as they were, or dropout has another mask in the backward pass.
    What an autograd.Function saves has to be saved through autograd, or its backward cannot be differentiated.
    """
    for module in gm.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                plain = _PLAIN.get(node.target) if node.op == "call_function" else None
                if plain is not None:
                    node.target = plain
                    module.recompile()


def _checkpoint(body: torch.fx.GraphModule, *args: Any, preserve_rng_state: bool = True, **_: Any) -> Any:
    context_fn = body.meta.get("_checkpoint_context_fn", noop_context_fn)
    return checkpoint(body, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state, context_fn=context_fn)


class _Captured(torch.autograd.Function):
    """An autograd.Function of the program's whose forward and backward are graphs."""

    @staticmethod
    def forward(ctx: Any, forward: Any, backward: Any, options: dict[str, Any], *args: Any) -> Any:
        outputs, saved = forward(*args)
        ctx.save_for_backward(*(value for value in saved if isinstance(value, torch.Tensor)))
        ctx.backward_graph = backward
        ctx.others = [None if isinstance(value, torch.Tensor) else value for value in saved]
        ctx.mark_dirty(*(outputs[i] for i in options.get("dirty_idx", ())))
        ctx.mark_non_differentiable(*(outputs[i] for i in options["non_differentiable_idx"]))
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        tensors = iter(ctx.saved_tensors)
        saved = [next(tensors) if value is None else value for value in ctx.others]
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            return None, None, None, *ctx.backward_graph(*grads, *saved)


def _autograd_function(forward: Any, backward: Any, *args: Any, **options: Any) -> Any:
    if torch._C._are_functorch_transforms_active():
        return autograd_function_apply(forward, backward, *args, **options)
    return _Captured.apply(forward, backward, options, *args)


def _region(body: torch.fx.GraphModule, *args: Any) -> Any:
    return body(*args)


_PLAIN = {
    torch.ops.higher_order.tag_activation_checkpoint: _checkpoint,
    torch.ops.higher_order.wrap: _region,
    autograd_function_apply: _autograd_function,
}


@register_debug_backend
def eager_noexcept(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Like ``eager``; an exception of the graph says that it is one."""
    refuse_extra("eager_noexcept", kwargs)

    def run(*args: Any) -> Any:
        try:
            return gm(*args)
        except Exception as error:
            raise RuntimeError("the captured graph raised an exception") from error

    return run


@register_debug_backend
def pre_dispatch_eager(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Trace the graph to ATen operations before dispatch, print and run that."""
    refuse_extra("pre_dispatch_eager", kwargs)

    def run(*args: Any) -> Any:
        return torch.fx.Interpreter(gm).run(*args)

    traced = make_fx(run, pre_dispatch=True)(*example_inputs)
    traced.print_readable()
    return traced


@register_debug_backend(name="ts")
def torchscript(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Compile the graph with TorchScript."""
    refuse_extra("ts", kwargs)
    return torch.jit.script(torch.fx.GraphModule(gm, gm.graph))  # an ordinary one: not what compiles its code late
