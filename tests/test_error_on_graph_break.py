"""``error_on_graph_break``: where a break is an error, and where not; each scope, also behind a break, and after an error."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import alternator
from alternator import error_on_graph_break, exc, graph_break, utils

X = torch.ones(3)


@error_on_graph_break(False)
def allowed(x):
    x = x + 1
    graph_break()
    x = x + 2
    graph_break()
    return x


@error_on_graph_break(True)
def refused(x):
    graph_break()
    return x + 1


def breaks(x):
    x = x + 1
    graph_break()
    return x * 2


def allowed_block(x):
    with error_on_graph_break(False):
        x = x + 1
        graph_break()
        x = x + 2
        graph_break()
    return x * 2


def break_behind_allowed_block(x):
    x = allowed_block(x)
    graph_break()
    return x * 2


def break_behind_refused_block(x):
    with error_on_graph_break(True):
        x = x + 1
    graph_break()
    return x * 2


def refused_block(x):
    graph_break()
    with error_on_graph_break(True):
        x = x + 1
        graph_break()
    return x


def allowed_in_refused(x):
    with error_on_graph_break(True):
        with error_on_graph_break(False):
            x = allowed_block(x)
            graph_break()
        x = x * 2
    graph_break()
    return x


def refused_behind_allowed(x):
    with error_on_graph_break(True):
        with error_on_graph_break(False):
            x = x + 1
            graph_break()
            x = x + 2
        x = x * 2
        graph_break()
    return x


def calls_allowed(x):
    return allowed(x + 1) * 2


def calls_refused(x):
    return refused(x + 1) * 2


def left_by_an_exception(x):
    try:
        with error_on_graph_break(False):
            x = x + 1
            graph_break()
            raise ValueError
    except ValueError:
        return x + 5


def behind_an_exception(x):
    x = left_by_an_exception(x)
    graph_break()
    return x


def in_a_loop(x):
    for i in range(3):
        with error_on_graph_break(False):
            x = x + i
            graph_break()
    return x


NEVER, ALWAYS, WHERE_STRICT = False, True, None
PROGRAMS = {
    breaks: WHERE_STRICT,
    allowed_block: NEVER,
    break_behind_allowed_block: WHERE_STRICT,
    break_behind_refused_block: WHERE_STRICT,
    refused_block: ALWAYS,
    allowed_in_refused: WHERE_STRICT,
    refused_behind_allowed: ALWAYS,
    calls_allowed: NEVER,
    calls_refused: ALWAYS,
    left_by_an_exception: NEVER,
    behind_an_exception: WHERE_STRICT,
    in_a_loop: NEVER,
}
WAYS: dict[str, Any] = {
    "compile": (False, lambda fn: alternator.compile(fn, backend="eager")),
    "optimize(True)": (True, lambda fn: alternator.optimize("eager", error_on_graph_break=True)(fn)),
    "optimize(False)": (False, lambda fn: alternator.optimize("eager", error_on_graph_break=False)(fn)),
    "decorated": (True, lambda fn: error_on_graph_break(True)(alternator.compile(fn, backend="eager"))),
    "inner wins": (False, lambda fn: error_on_graph_break(True)(alternator.optimize("eager", error_on_graph_break=False)(fn))),
}


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda fn: fn.__name__)
def test_where_a_break_is_an_error(program: Any, way: str, nested: bool) -> None:
    strict, wrap = WAYS[way]
    error = strict if PROGRAMS[program] is WHERE_STRICT else PROGRAMS[program]
    compiled = wrap(program)
    with alternator.config.patch(nested_graph_breaks=nested):
        for _ in range(3):
            if error:
                with pytest.raises(exc.Unsupported) as raised:
                    compiled(X)
                assert raised.value.code == "GRAPH_BREAK_CALL"
            else:
                assert compiled(X).equal(program(X))
            assert utils.error_on_graph_break() is None


@pytest.mark.parametrize("program", [allowed_block, calls_allowed, in_a_loop])
def test_fullgraph_cannot_be_switched_off(program: Any) -> None:
    with pytest.raises(exc.Unsupported):
        alternator.compile(program, backend="eager", fullgraph=True)(X)


def test_of_a_module() -> None:
    class Net(torch.nn.Module):
        def __init__(self, strict: bool) -> None:
            super().__init__()
            self.lin, self.strict = torch.nn.Linear(3, 3), strict

        def forward(self, x):
            x = self.lin(x)
            if self.strict:
                graph_break()
            return allowed(x)

    compiled = alternator.optimize("eager", error_on_graph_break=True)
    net = Net(False)
    torch.testing.assert_close(compiled(net)(X), net(X))
    with pytest.raises(exc.Unsupported):
        compiled(Net(True))(X)


def test_compiled_versions_hold_wherever_they_are_called() -> None:
    compiled = alternator.compile(allowed_block, backend="eager")
    for value in (None, True, False, None, True):
        before = utils.set_error_on_graph_break(value)
        assert compiled(X).equal(allowed_block(X))
        assert utils.error_on_graph_break() is value
        utils.set_error_on_graph_break(before)


def test_a_function_that_cannot_be_captured_runs_plainly() -> None:
    def skipped(x):
        alternator.skip_frame()
        return x + 1

    assert alternator.optimize("eager", error_on_graph_break=True)(skipped)(X).equal(X + 1)
