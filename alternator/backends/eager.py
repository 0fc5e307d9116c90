"""Backends that run the graph as it was captured."""

from __future__ import annotations

import logging
from typing import Any, Callable, Sequence

import torch
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
    _checkpoint_for_real(gm)
    return gm.forward


def _checkpoint_for_real(gm: torch.fx.GraphModule) -> None:
    """Checkpointed regions run under PyTorch's own ``checkpoint``.

    The operator that stands for them leaves it to a compiler that random numbers are drawn again as they were: without one,
    dropout would have another mask in the backward pass.
    """
    for module in gm.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.target is torch.ops.higher_order.tag_activation_checkpoint:
                    node.target = _checkpoint
                    module.recompile()


def _checkpoint(body: torch.fx.GraphModule, *args: Any, preserve_rng_state: bool = True, **_: Any) -> Any:
    context_fn = body.meta.get("_checkpoint_context_fn", noop_context_fn)
    return checkpoint(body, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state, context_fn=context_fn)


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
    return torch.jit.script(gm)
