"""What the recorded graph looks like to a backend."""

import torch
from helpers import same

import alternator


def placeholders(gm):
    return {node.name: node for node in gm.graph.nodes if node.op == "placeholder"}


def test_inputs_are_named_after_what_they_are_read_from():
    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.plain = torch.ones(2)
            self.register_buffer("buffer", torch.ones(2))

    held = Holder()
    report = same(lambda x, y: x + y[0] + held.plain + held.buffer, torch.ones(2), [torch.ones(2)], graphs=1)
    assert list(placeholders(report.graphs[0])) == ["l_x_", "l_y_0_", "l_held_plain", "l_held_buffers_buffer_"]


def test_tensors_of_modules_are_static_inputs():
    layer, graphs = torch.nn.Linear(2, 2), []
    compiled = alternator.compile(lambda x, w: layer(x) + w, backend=lambda gm, _: graphs.append(gm) or gm)
    compiled(torch.ones(2), layer.weight)
    kinds = [node.meta["tensor_dict"].get("_dynamo_static_input_type") for node in placeholders(graphs[0]).values()]
    assert kinds == [None, "unguarded", "unguarded"]


def test_values_that_nobody_uses_are_not_read():
    def fn(x):
        x.sum().item()
        return x + 1

    with alternator.config.patch(capture_scalar_outputs=True):
        assert "item" not in same(fn, torch.ones(2), graphs=1).ops


def test_grad_mode_that_stays_as_it_is_leaves_no_trace():
    def fn(x):
        with torch.no_grad(), torch.set_grad_enabled(False):
            x = x + 1
        return x * 2

    assert len(same(fn, torch.ones(2), graphs=1).ops) == 4
    with torch.no_grad():
        assert len(same(fn, torch.ones(2), graphs=1).ops) == 2
