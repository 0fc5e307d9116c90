"""Profilers: one that nobody can ask does nothing; any other is really entered."""

import pytest
import torch
from helpers import Recorder, same

import alternator


def test_a_profiler_without_a_name_is_no_break():
    def f(x):
        y = x * 2
        with torch.profiler.profile(record_shapes=True):
            y = y + 1
            with torch.profiler.record_function("part"):
                y = y.sin()
        return y

    same(f, torch.ones(3), fullgraph=True, graphs=1)


def test_a_break_inside_of_it():
    def f(x):
        with torch.profiler.profile():
            x = x * 2
            alternator.graph_break()
            x = x + 1
        return x - 1

    same(f, torch.ones(3), graphs=2)


@pytest.mark.parametrize("compile", [False, True])
def test_what_a_profiler_with_a_name_has_seen(compile):
    def f(x):
        with torch.profiler.profile() as profile:
            x = x.sin()
        return x, sum(event.name == "aten::sin" for event in profile.events())

    run = alternator.compile(f, backend="eager") if compile else f
    run(torch.ones(3))  # captured, which calls operators too
    assert run(torch.ones(3))[1] == 1


def test_a_handler_is_called():
    seen = []

    def f(x):
        with torch.profiler.profile(on_trace_ready=lambda profile: seen.append(len(profile.events()))):
            return x.sin()

    alternator.compile(f, backend="eager")(torch.ones(3))
    assert len(seen) == 1 and seen[0] > 0


def test_inside_of_another_profiler_it_is_entered():
    def f(x):
        x = x + 1
        with torch.profiler.profile():
            return x.sin()

    backend = Recorder()
    compiled = alternator.compile(f, backend=backend)
    compiled(torch.ones(3))
    assert backend.frame_count == 1
    with torch.profiler.profile():
        torch.testing.assert_close(compiled(torch.ones(3)), torch.full((3,), 2.0).sin())
    assert backend.frame_count > 1


whole = torch.profiler.record_function("whole")


@whole
def decorated(x, log=None):
    if log is not None:
        log.append("in")
        alternator.graph_break()
    return x * 2


def test_a_range_as_a_decorator():
    same(lambda x: decorated(x) + 1, torch.ones(2), graphs=1, fullgraph=True)
    same(lambda x, log: decorated(x, log) + 1, torch.ones(2), [])


def test_a_range_as_a_decorator_is_measured_where_something_happens_in_it():
    compiled = alternator.compile(lambda x, log: decorated(x, log) + 1, backend="eager")
    compiled(torch.ones(2), [])
    with torch.profiler.profile() as measured:
        compiled(torch.ones(2), [])
    assert [event.count for event in measured.key_averages() if event.key == "whole"] == [1]
