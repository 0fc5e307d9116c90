"""Backends on AOTAutograd: the graph is traced to ATen forward and backward graphs, which a compiler then takes."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable, Sequence

import torch
import torch._functorch.config as functorch_config
from torch._functorch.aot_autograd import aot_module_simplified
from torch._functorch.partitioners import default_partition, min_cut_rematerialization_partition
from torch.fx.graph import _BoxedCodeGen

from alternator import utils
from alternator._C import eval_frame
from alternator.backends import interop
from alternator.backends.eager import refuse_extra
from alternator.backends.registry import register_backend, register_debug_backend


def run_boxed(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """A compiler that compiles nothing: run the ATen graph, freeing inputs as soon as they are used up."""
    gm.graph.set_codegen(_BoxedCodeGen())
    gm.recompile()
    forward = gm.forward

    def run(args: list[Any]) -> Any:
        return forward(args)

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


def without_hook(compiler: Callable[..., Any]) -> Callable[..., Any]:
    """A compiler that runs, and whose results run, with the frame hook off.

    The backward pass is compiled when the program first asks for gradients, and that may be while the hook is on.
    """

    @functools.wraps(compiler)
    def compile_without_hook(*args: Any, **kwargs: Any) -> Any:
        with hook_off():
            compiled = compiler(*args, **kwargs)
        return eval_frame.DisabledCall(compiled) if not getattr(compiled, "_boxed_call", False) else _boxed(compiled)

    return compile_without_hook


def _boxed(compiled: Callable[..., Any]) -> Callable[..., Any]:
    inner = eval_frame.DisabledCall(compiled)

    def run(args: list[Any]) -> Any:
        return inner(args)

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


@contextlib.contextmanager
def hook_off() -> Any:
    """Nothing is captured inside of this."""
    before = eval_frame.set_eval_frame(None)
    try:
        yield
    finally:
        eval_frame.set_eval_frame(before)


class AotBackend:
    """Makes a backend out of compilers for ATen graphs; takes what ``aot_module_simplified`` takes."""

    def __init__(self, fw_compiler: Callable[..., Any], **kwargs: Any) -> None:
        self.__name__ = kwargs.pop("name", "aot_autograd")
        self.fw_compiler = fw_compiler
        self.kwargs = kwargs

    def __call__(self, gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
        refuse_extra(self.__name__, kwargs)
        options = dict(self.kwargs)
        if callable(options.get("decompositions")):
            options["decompositions"] = options["decompositions"]()
        options["bw_compiler"] = without_hook(options.get("bw_compiler") or self.fw_compiler)
        options.setdefault("inference_compiler", self.fw_compiler)
        options.setdefault("partition_fn", default_partition)
        utils.counters["aot_autograd"]["total"] += 1
        try:
            with interop.ready_for_aot(), functorch_config.patch(debug_assert=self.fw_compiler is run_boxed):
                compiled = aot_module_simplified(gm, example_inputs, fw_compiler=self.fw_compiler, **options)
        except Exception:
            utils.counters["aot_autograd"]["not_ok"] += 1
            raise
        utils.counters["aot_autograd"]["ok"] += 1
        return compiled


def aot_autograd(**kwargs: Any) -> AotBackend:
    """A backend from ``fw_compiler``, ``bw_compiler``, ``partition_fn``, ``decompositions`` ... (as torch's helper)."""
    return AotBackend(**kwargs)


aot_eager = AotBackend(
    run_boxed,
    name="aot_eager",
    partition_fn=min_cut_rematerialization_partition,
    keep_inference_input_mutations=True,
)
register_backend(aot_eager, name="aot_eager")
register_debug_backend(
    AotBackend(run_boxed, name="aot_eager_default_partitioner", keep_inference_input_mutations=True),
    name="aot_eager_default_partitioner",
)


def _inductor_decompositions() -> Any:
    from torch._inductor.decomposition import select_decomp_table

    return select_decomp_table()


@register_debug_backend
def aot_eager_decomp_partition(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """AOTAutograd with Inductor's decompositions and partitioner, but nothing compiled: tells the two apart."""
    backend = AotBackend(
        run_boxed,
        name="aot_eager_decomp_partition",
        decompositions=_inductor_decompositions,
        partition_fn=functools.partial(min_cut_rematerialization_partition, compiler="inductor"),
    )
    with functorch_config.patch(unlift_effect_tokens=True):
        return backend(gm, example_inputs, **kwargs)
