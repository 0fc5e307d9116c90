"""torch.distributed in captured code, with a group of one process."""

import pytest
import torch
import torch.distributed as dist
from helpers import same

import alternator


@pytest.fixture
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_questions_about_the_processes_are_no_breaks(alone):
    def fn(x):
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.barrier()
        group = dist.group.WORLD
        asked = (
            dist.get_rank(),
            dist.get_rank(group),
            group.size(),
            group.rank(),
            dist.get_backend(),
            dist.get_process_group_ranks(group),
        )
        return x * 2, asked

    same(fn, torch.ones(2), graphs=1, fullgraph=True)


def test_whether_there_are_processes_is_guarded():
    def fn(x):
        return x * 2 if dist.is_initialized() else x + 5

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    assert compiled(torch.ones(1)).item() == 6
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert compiled(torch.ones(1)).item() == 2
    finally:
        dist.destroy_process_group()
    assert compiled(torch.ones(1)).item() == 6


def test_collectives_are_operators_of_the_graph(alone):
    def fn(x):
        y = x * 2
        dist.all_reduce(y)
        dist.all_reduce(y, op=dist.ReduceOp.MAX, group=dist.group.WORLD)
        whole, part, all_of_it = torch.empty_like(y), torch.empty_like(y), [torch.empty_like(y)]
        dist.all_gather_into_tensor(whole, y)
        dist.reduce_scatter_tensor(part, y)
        dist.all_gather(all_of_it, y)
        return y, whole, part, all_of_it

    report = same(fn, torch.randn(4), then=[(torch.randn(6),)], graphs=1, fullgraph=True)
    assert "all_reduce" in str(report.ops)


def test_functional_collectives(alone):
    import torch.distributed._functional_collectives as functional

    def fn(x):
        return functional.all_reduce(x, "sum", dist.group.WORLD) * 2, functional.all_gather_tensor(x, 0, dist.group.WORLD) + 1

    same(fn, torch.randn(4), graphs=1, fullgraph=True)


def test_what_a_collective_does_to_gradients_is_left_to_it(alone):
    def fn(x):
        y = x * 2
        with torch.no_grad():
            dist.all_reduce(y)
        return y * 3

    same(fn, torch.randn(4, requires_grad=True), breaks=["UNSUPPORTED_CALL"], grad=True)


def test_one_that_is_waited_for_later_is_a_break(alone):
    def fn(x):
        y = x * 2
        dist.all_reduce(y, async_op=True).wait()
        return y + 1

    report = same(fn, torch.randn(4))
    assert report.breaks[0].code == "UNSUPPORTED_CALL"
