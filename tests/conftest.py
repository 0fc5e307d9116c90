"""Every test starts with nothing compiled, default settings and a known seed, and fails on a bug that would be hidden."""

from __future__ import annotations

import os
import sys
from typing import Iterator

import pytest

sys.path.insert(0, os.path.dirname(__file__))


@pytest.fixture(autouse=True)
def clean_state(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.path.parent.name == "bytecode" or request.node.get_closest_marker("no_torch"):
        yield
        return
    import torch

    import alternator
    from alternator import config, utils

    settings = config.snapshot()
    config.raise_internal_errors = True
    alternator.reset()
    utils.counters.clear()
    utils.clear_compilation_metrics()
    torch.manual_seed(0)
    grad = torch.is_grad_enabled()
    yield
    from alternator._C import eval_frame

    left_on = eval_frame.set_eval_frame(None)
    assert left_on is None, f"the frame hook was left on: {left_on}"
    torch.set_grad_enabled(grad)
    config.restore(settings)
    alternator.reset()
