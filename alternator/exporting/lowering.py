"""From the captured graph, which calls torch's functions, to one that calls ATen's operators."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.traceback import preserve_node_meta
from torch.utils._python_dispatch import _disable_current_modes


def lower(
    module: torch.fx.GraphModule, mode: FakeTensorMode, decompositions: dict[Any, Any] | None, pre_dispatch: bool
) -> torch.fx.GraphModule:
    """Run the captured graph on its fakes and record the operators that it comes to, with the metadata of its nodes.

    The result has the same placeholders in the same order.
    """
    places = module.graph.find_nodes(op="placeholder")
    fakes = [node.meta["example_value"] for node in places]

    def run(*args: Any) -> Any:
        with preserve_node_meta():
            return torch.fx.Interpreter(module).run(*args)

    with contextlib.ExitStack() as around:
        around.enter_context(_disable_current_modes())
        around.enter_context(enable_python_dispatcher())
        around.enter_context(mode)
        if mode.shape_env is not None:
            around.enter_context(mode.shape_env.ignore_fresh_unbacked_symbols())
        around.callback(setattr, mode, "allow_non_fake_inputs", mode.allow_non_fake_inputs)
        mode.allow_non_fake_inputs = True  # constants of the graph
        lowered = make_fx(
            run,
            decomposition_table=decompositions,
            tracing_mode="real",
            _allow_non_fake_inputs=True,
            pre_dispatch=pre_dispatch,
            _allow_fake_constant=False,
        )(*fakes)
    for old, new in zip(places, lowered.graph.find_nodes(op="placeholder")):
        new.meta = {**old.meta, **new.meta}
        new.target = old.target
        new._rename(old.name)
    return lowered
