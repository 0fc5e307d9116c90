"""``exported``: what tests of ``alternator.export`` have in common."""

from __future__ import annotations

import copy
from typing import Any

import torch
from helpers import assert_same

import alternator


def exported(fn: Any, *args: Any, again: Any = None, aten_graph: bool = False, **kwargs: Any) -> torch.fx.GraphModule:
    """Export; the graph must do what the function does, to the examples and to other arguments (``again``)."""
    gm, guards = alternator.export(fn, aten_graph=aten_graph)(*copy.deepcopy(args), **copy.deepcopy(kwargs))
    gm.graph.lint()
    for given in (args, again):
        if given is not None:
            mine, plain = copy.deepcopy((given, kwargs)), copy.deepcopy((given, kwargs))
            assert_same(fn(*plain[0], **plain[1]), gm(*mine[0], **mine[1]), "result")
            assert_same(plain, mine, "arguments")
    assert len(guards) and str(guards).count("\n") == len(list(guards)) - 1
    return gm
