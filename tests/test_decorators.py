"""Marks on functions and tensors, and calls that steer the capture."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from helpers import Recorder, ops, same

import alternator
from alternator import exc, utils

X = torch.ones(3)


def scale(x: torch.Tensor) -> torch.Tensor:
    return x.cos() * 2


# ---- disable


def test_disable() -> None:
    inner = alternator.disable(scale, reason="too odd")

    def outer(x: torch.Tensor) -> torch.Tensor:
        return inner(x + 1) + 1

    report = same(outer, X, graphs=2, breaks=["DISABLED_FUNCTION"])
    assert "too odd" in report.breaks[0].reason and "scale" in report.breaks[0].reason
    assert inner.__name__ == "scale" and inner(X).equal(scale(X))
    with pytest.raises(exc.Unsupported, match="too odd"):
        alternator.compile(outer, backend="eager", fullgraph=True)(X)


def test_disable_is_recursive() -> None:
    recorder = Recorder()

    @alternator.disable
    def outer(x: torch.Tensor) -> torch.Tensor:
        return scale(x) + scale(x)

    alternator.compile(lambda x: outer(x), backend=recorder)(X)
    assert recorder.frame_count == 0


def test_disable_one_frame_only() -> None:
    recorder = Recorder()

    @alternator.disable(recursive=False)
    def outer(x: torch.Tensor) -> torch.Tensor:
        y = x + 1  # runs plainly
        return scale(y)

    compiled = alternator.compile(lambda x: outer(x), backend=recorder)
    assert compiled(X).equal(scale(X + 1)) and compiled(X).equal(scale(X + 1))
    assert [[getattr(op, "__name__", op) for op in ops(gm)] for gm in recorder.graphs] == [["cos", "mul"]]


def test_disable_methods_and_classes() -> None:
    class Model:
        @alternator.disable
        def hidden(self, x: torch.Tensor) -> torch.Tensor:
            return x.sin()

        def visible(self, x: torch.Tensor) -> torch.Tensor:
            return self.hidden(x + 1) * 2

    same(Model().visible, X, graphs=2, breaks=["DISABLED_FUNCTION"])

    @alternator.disable
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sin()

    net = Net()
    same(lambda x: net(x + 1) * 2, X, graphs=2, breaks=1)


@pytest.mark.parametrize("disable", [torch.compiler.disable, torch._disable_dynamo], ids=["torch.compiler", "_disable_dynamo"])
def test_torchs_own_disable_is_honoured(disable: Any) -> None:
    recorder = Recorder()

    @disable
    def inner(x: torch.Tensor) -> torch.Tensor:
        return scale(x).tan()

    compiled = alternator.compile(lambda x: inner(x + 1) + 1, backend=recorder)
    for _ in range(2):
        assert compiled(X).equal(inner(X + 1) + 1)
    assert recorder.frame_count == 2
    assert not any(op in (torch.cos, "cos") for gm in recorder.graphs for op in ops(gm))


def test_torchs_disable_of_one_frame_is_honoured() -> None:
    recorder = Recorder()

    @torch.compiler.disable(recursive=False)
    def inner(x: torch.Tensor) -> torch.Tensor:
        return scale(x.tan())

    compiled = alternator.compile(lambda x: inner(x), backend=recorder)
    assert compiled(X).equal(scale(X.tan()))
    assert [[getattr(op, "__name__", op) for op in ops(gm)] for gm in recorder.graphs] == [["cos", "mul"]]


def test_disabled_function_of_a_compiled_one() -> None:
    assert alternator.disable(alternator.compile(scale, backend="eager"))._torchdynamo_orig_callable is scale


# ---- run


def test_run_uses_what_is_there() -> None:
    recorder = Recorder()
    compiled = alternator.compile(scale, backend=recorder, dynamic=False)
    compiled(X)
    only = alternator.run(compiled)
    assert only(X).equal(scale(X)) and only(torch.ones(5)).equal(scale(torch.ones(5)))
    assert recorder.frame_count == 1


# ---- in graph or not


def test_allow_in_graph() -> None:
    @alternator.allow_in_graph
    def opaque(x: torch.Tensor) -> torch.Tensor:
        return x.sin() + 1

    report = same(lambda x: opaque(x) * 2, X, graphs=1, breaks=0)
    assert opaque in report.ops and len(report.ops) == 2


def test_torchs_allow_in_graph_is_honoured() -> None:
    @torch.compiler.allow_in_graph
    def opaque(x: torch.Tensor) -> torch.Tensor:
        return x.sin() + 1

    assert opaque in same(lambda x: opaque(x) * 2, X, graphs=1, breaks=0).ops


def test_disallow_in_graph() -> None:
    try:
        alternator.disallow_in_graph(torch.sub)
        same(lambda x: torch.sub(x + 1, 1) * 2, X, graphs=2, breaks=["DISALLOWED"])
    finally:
        alternator.allow_in_graph(torch.sub)
    same(lambda x: torch.sub(x + 1, 1) * 2, X, graphs=1, breaks=0)
    with pytest.raises(exc.IncorrectUsage, match="alternator.disable"):
        alternator.disallow_in_graph(scale)


def test_forbid_in_graph() -> None:
    @alternator.forbid_in_graph
    def never(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    for fullgraph in (False, True):
        with pytest.raises(AssertionError, match="forbidden callable.*never"):
            alternator.compile(lambda x: never(x), backend="eager", fullgraph=fullgraph)(X)
    with pytest.raises(exc.ForbiddenCall, match="mark_dynamic"):
        alternator.compile(lambda x: alternator.mark_dynamic(x, 0) or x + 1, backend="eager")(X)
    with pytest.raises(exc.ForbiddenCall, match="set_stance"):
        alternator.compile(lambda x: alternator.set_stance("default") or x, backend="eager")(X)


@pytest.mark.parametrize(
    "mark", [alternator.assume_constant_result, torch.compiler.assume_constant_result], ids=["ours", "torch's"]
)
def test_assume_constant_result(mark: Any) -> None:
    calls = []

    @mark
    def once(power: int) -> int:
        calls.append(power)
        return 3**power

    compiled = alternator.compile(lambda x: x * once(2), backend="eager", fullgraph=True)
    for _ in range(3):
        assert compiled(X).tolist() == [9, 9, 9]
    assert calls == [2]


def test_substitute_in_graph() -> None:
    import bisect

    @alternator.substitute_in_graph(bisect.bisect, skip_signature_check=True)
    def in_python(items: list[int], value: int) -> int:
        return sum(item <= value for item in items)

    assert in_python([1, 2, 3], 2) == 2
    same(lambda x, items: x * bisect.bisect(items, 2), X, [1, 2, 3], graphs=1, breaks=0)
    with pytest.raises(ValueError, match="substitute already"):
        alternator.substitute_in_graph(bisect.bisect)(lambda a, b: 0)
    with pytest.raises(TypeError, match="Signature mismatch"):
        alternator.substitute_in_graph(scale)(lambda wrong: 0)


def test_nonstrict_trace() -> None:
    @alternator.nonstrict_trace
    def opaque(x: torch.Tensor) -> torch.Tensor:
        return x.sin()

    same(lambda x: opaque(x) + 1, X, graphs=1, breaks=0)


# ---- steering the capture


@pytest.mark.parametrize("graph_break", [alternator.graph_break, torch._dynamo.graph_break], ids=["ours", "in-tree"])
def test_graph_break(graph_break: Any) -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        graph_break()
        return x * 2

    same(f, X, graphs=2, breaks=["GRAPH_BREAK_CALL"])


def test_graph_break_with_a_message() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        alternator.graph_break("on purpose")
        return x * 2

    assert "on purpose" in same(f, X, graphs=2).breaks[0].reason
    assert any("on purpose" in reason for reason in utils.counters["graph_break"])


def test_skip_frame() -> None:
    recorder = Recorder()

    def f(x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        alternator.skip_frame()
        return x * 2

    compiled = alternator.compile(f, backend=recorder)
    assert compiled(X).equal(f(X)) and compiled(X).equal(f(X))
    assert recorder.frame_count == 0


def test_skip_frame_keeps_out_the_function_that_calls_it() -> None:
    def skipped(x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        alternator.skip_frame()
        return x * 2

    report = same(lambda x: skipped(x.sin()).cos(), X, graphs=2, breaks=["DISABLED_FUNCTION"])
    assert "skip_frame" in report.breaks[0].reason and "skipped" in report.breaks[0].reason


def test_error_on_graph_break_in_captured_code() -> None:
    def breaks() -> None:
        alternator.graph_break()

    def f(x: torch.Tensor, strict: bool) -> torch.Tensor:
        x = x + 1
        with alternator.error_on_graph_break(strict):
            breaks()
        return x * 2

    compiled = alternator.compile(f, backend="eager")
    assert compiled(X, False).equal(f(X, False))
    alternator.reset()
    with pytest.raises(exc.Unsupported):
        compiled(X, True)


def test_compile_inside_of_captured_code() -> None:
    recorder = Recorder()

    def f(x: torch.Tensor) -> torch.Tensor:
        return alternator.compile(scale, backend=recorder)(x) + 1

    outer = Recorder()
    assert alternator.compile(f, backend=outer, fullgraph=True)(X).equal(scale(X) + 1)
    assert (outer.frame_count, recorder.frame_count) == (1, 0)


def test_a_compiled_function_inside_of_captured_code() -> None:
    recorder = Recorder()
    inner = alternator.compile(scale, backend=recorder)
    outer = Recorder()
    assert alternator.compile(lambda x: inner(x) + 1, backend=outer, fullgraph=True)(X).equal(scale(X) + 1)
    assert (outer.frame_count, recorder.frame_count) == (1, 0)


# ---- sizes


def test_mark_dynamic() -> None:
    recorder = Recorder()
    compiled = alternator.compile(lambda x: x * x.shape[0], backend=recorder)
    x = torch.ones(4)
    alternator.mark_dynamic(x, 0)
    compiled(x)
    assert compiled(torch.ones(7)).tolist() == [7] * 7
    assert recorder.frame_count == 1


@pytest.mark.parametrize(
    "mark", [alternator.mark_dynamic, alternator.maybe_mark_dynamic, alternator.mark_unbacked, alternator.mark_static]
)
def test_marks_are_for_dimensions_that_there_are(mark: Any) -> None:
    x = torch.ones(4, 3)
    with pytest.raises(IndexError, match="2 dimensions: 2 is none of -2 to 1"):
        mark(x, 2)
    with pytest.raises(TypeError, match="a dimension is an int"):
        mark(x, "0")
    with pytest.raises(TypeError, match="tensor"):
        mark(3, 0)
    recorder = Recorder()
    compiled = alternator.compile(lambda x: x * 2, backend=recorder, dynamic=True)
    mark(x, [-1])
    compiled(x)
    compiled(torch.ones(4, 5))
    assert recorder.frame_count == (2 if mark is alternator.mark_static else 1)


def test_maybe_mark_dynamic() -> None:
    recorder = Recorder()
    compiled = alternator.compile(lambda x: x * 2, backend=recorder)
    x = torch.ones(4)
    alternator.maybe_mark_dynamic(x, [0])
    compiled(x)
    compiled(torch.ones(7))
    assert recorder.frame_count == 1


def test_mark_static() -> None:
    recorder = Recorder()
    compiled = alternator.compile(lambda x: x * 2, backend=recorder, dynamic=True)
    for size in (4, 5):
        x = torch.ones(size)
        alternator.mark_static(x)
        compiled(x)
    assert recorder.frame_count == 2
    with pytest.raises(TypeError, match="mark_static expects a tensor"):
        alternator.mark_static(3)


def test_mark_static_in_captured_code() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        alternator.mark_static(x, 0)
        return x * 2

    same(f, torch.ones(4, 3), then=[(torch.ones(4, 5),), (torch.ones(6, 5),)], dynamic=True, recompiles=1)


def test_a_guarded_address_is_one_tensor() -> None:
    for guard, graphs in ((True, 2), (False, 1)):
        recorder = Recorder()
        compiled = alternator.compile(lambda x: x * 2, backend=recorder)
        x = torch.ones(3)
        alternator.mark_static_address(x, guard=guard)
        for given in (x, x, torch.ones(3)):
            assert compiled(given).equal(given * 2)
        assert recorder.frame_count == graphs


def test_marks_are_torchs() -> None:
    """Libraries mark with torch's functions, and torch.export reads the marks: they are the same attributes."""
    ours, theirs = torch.ones(2, 3, 4), torch.ones(2, 3, 4)
    for module, x in ((alternator, ours), (torch._dynamo, theirs)):
        module.mark_dynamic(x, 0, min=2, max=8)
        module.maybe_mark_dynamic(x, 1)
        module.mark_static(x, 2)
        module.mark_static_address(x)
        module.decorators.mark_unbacked(x, 1)
    assert ours.__dict__.keys() == theirs.__dict__.keys()
    for name, value in ours.__dict__.items():
        if name not in ("_dynamo_dynamic_range", "_specialize_on"):
            assert value == theirs.__dict__[name], name
    (one,), (other,) = ours._dynamo_dynamic_range, theirs._dynamo_dynamic_range
    assert (one.dim, one.min, one.max) == (other.dim, other.min, other.max)


# ---- stances


def test_force_eager() -> None:
    recorder = Recorder()
    compiled = alternator.compile(scale, backend=recorder)
    with alternator.set_stance("force_eager"):
        compiled(X)
        assert recorder.frame_count == 0
    compiled(X)

    @alternator.set_stance("force_eager")
    def plainly() -> None:
        assert torch.compiler.is_compiling() is False
        compiled(torch.ones(9))

    plainly()
    assert recorder.frame_count == 1


def test_eager_on_recompile() -> None:
    recorder = Recorder()
    compiled = alternator.compile(scale, backend=recorder, dynamic=False)
    compiled(X)
    with alternator.set_stance("eager_on_recompile"):
        assert compiled(torch.ones(5)).equal(scale(torch.ones(5)))
        compiled(X)
    assert recorder.frame_count == 1


def test_fail_on_recompile() -> None:
    compiled = alternator.compile(scale, backend="eager", dynamic=False)
    compiled(X)
    with alternator.set_stance("fail_on_recompile"):
        compiled(X)
        with pytest.raises(RuntimeError, match="fail_on_recompile(.|\n)*guard failure"):
            compiled(torch.ones(5))


def test_force_backend() -> None:
    usual, other = Recorder(), Recorder()
    compiled = alternator.compile(scale, backend=usual)
    with alternator.set_stance("default", force_backend=other):
        compiled(X)
        compiled(X)
    compiled(X)
    assert (usual.frame_count, other.frame_count) == (1, 1)


def test_eager_then_compile() -> None:
    recorder = Recorder()
    compiled = alternator.compile(scale, backend=recorder)
    with alternator.set_stance("eager_then_compile"):
        counts = []
        for size in (4, 5, 6):
            compiled(torch.ones(size))
            counts.append(recorder.frame_count)
    assert counts == [0, 1, 1]  # the sizes that changed meanwhile are dynamic


def test_a_stance_set_for_good() -> None:
    recorder = Recorder()
    compiled = alternator.compile(scale, backend=recorder)
    alternator.set_stance("force_eager")
    compiled(X)
    alternator.set_stance("default")
    assert recorder.frame_count == 0


def test_bad_stances() -> None:
    with pytest.raises(RuntimeError, match="force_eager"):
        alternator.set_stance("eager")
    with pytest.raises(RuntimeError, match="cannot have force_backend"):
        alternator.set_stance("force_eager", force_backend="eager")


def test_what_libraries_gave_to_torch_compile_is_part_of_the_capture():
    @torch.compile(backend="eager", fullgraph=True)
    def given(x, n=2):
        return x.sin() * n

    @functools.wraps(given)
    def looks_like_it(x):
        return given(x) + 1

    class Holder:
        k = 3

        @torch.compile(backend="eager")
        def method(self, x):
            return x + self.k

    holder = Holder()
    linear = torch.compile(torch.nn.Linear(3, 3), backend="eager")
    same(lambda x: given(x) + given(x, n=3) + looks_like_it(x), torch.ones(2), graphs=1, breaks=0)
    same(lambda x: holder.method(linear(x)), torch.ones(2, 3), graphs=1, breaks=0)


def test_modules_are_made_inside_after_torch_compile_was_used():
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))  # from now on each new module is tagged
    same(lambda x: torch.nn.PairwiseDistance()(x, x + 1), torch.ones(2, 3), graphs=1, breaks=0)
