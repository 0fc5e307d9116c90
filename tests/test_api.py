"""compile, optimize and their like: arguments, what they take, what they return."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import types
from typing import Any

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator import config, exc, utils

PUBLIC = """
OptimizedModule allow_in_graph assume_constant_result compile config disable disallow_in_graph exc explain forbid_in_graph
graph_break is_compiling is_dynamo_supported is_inductor_supported list_backends lookup_backend mark_dynamic mark_static
maybe_mark_dynamic on_compile_end on_compile_start optimize optimize_assert register_backend reset reset_code
reset_code_caches run set_stance utils
"""
COMPILER = """
compile assume_constant_result reset allow_in_graph list_backends disable cudagraph_mark_step_begin wrap_numpy is_compiling
is_dynamo_compiling
"""


def double(x: torch.Tensor) -> torch.Tensor:
    """Twice."""
    return x + x


class Scale(torch.nn.Module):
    def __init__(self, factor: float = 3.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2,), factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    def shifted(self, x: torch.Tensor, by: int = 1) -> torch.Tensor:
        return self(x) + by


def test_public_names() -> None:
    for name in PUBLIC.split():
        assert getattr(alternator, name) is not None, name
        assert name in dir(alternator)
    for name in COMPILER.split():
        assert callable(getattr(alternator.compiler, name)), name
    with pytest.raises(AttributeError, match="no_such_name"):
        alternator.no_such_name
    assert alternator.__version__


def test_the_in_tree_front_end_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own libraries import it (ShapeEnv does), but its tracer and its frame hook have nothing to do."""
    import torch._dynamo.convert_frame as convert_frame
    import torch._dynamo.symbolic_convert as symbolic_convert

    def trip(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the in-tree front-end was used")

    for owner, name in (
        (convert_frame, "_compile"),
        (convert_frame.ConvertFrame, "__call__"),
        (convert_frame.ConvertFrameAssert, "__call__"),
        (symbolic_convert.InstructionTranslatorBase, "run"),
    ):
        monkeypatch.setattr(owner, name, trip)
    compiled = alternator.compile(Scale(), backend="aot_eager")
    compiled(torch.ones(2)).sum().backward()


# ---- what can be compiled


def test_function() -> None:
    same(double, torch.ones(2), graphs=1, breaks=0)


def test_function_keeps_its_looks() -> None:
    compiled = alternator.compile(double, backend="eager")
    assert compiled.__name__ == "double" and compiled.__doc__ == "Twice." and compiled.__module__ == __name__
    assert inspect.signature(compiled) == inspect.signature(double)
    assert compiled._torchdynamo_orig_callable is double
    assert compiled.__wrapped__ is double
    assert inspect.isfunction(compiled) and isinstance(compiled, types.FunctionType)
    assert copy.copy(compiled)._torchdynamo_orig_callable is double


@alternator.compile(backend="eager")
def decorated(x: torch.Tensor) -> torch.Tensor:
    return x + 1


async def later(x: torch.Tensor) -> torch.Tensor:
    return x + 1


def test_pickle_and_copy() -> None:
    assert pickle.loads(pickle.dumps(decorated)) is decorated and copy.deepcopy(decorated) is decorated
    other = pickle.loads(pickle.dumps(alternator.compile(double, backend="eager")))
    assert other(torch.ones(1)).item() == 2 and other._torchdynamo_orig_callable is double
    method = copy.deepcopy(alternator.compile(Scale().shifted, backend="eager"))
    assert method(torch.ones(2)).tolist() == [4, 4]


def test_inspection_sees_what_was_compiled() -> None:
    assert inspect.iscoroutinefunction(alternator.compile(later, backend="eager"))
    assert inspect.ismethod(alternator.compile(Scale().shifted, backend="eager"))
    assert inspect.getsource(alternator.compile(double, backend="eager")) == inspect.getsource(double)


def test_bound_method() -> None:
    module, recorder = Scale(), Recorder()
    compiled = alternator.compile(module.shifted, backend=recorder)
    torch.testing.assert_close(compiled(torch.ones(2), by=2), torch.full((2,), 5.0))
    assert recorder.frame_count == 1


def test_decorated_method() -> None:
    recorder = Recorder()

    class Model:
        factor = 4

        @alternator.compile(backend=recorder)
        def scale(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.factor

    model = Model()
    assert model.scale(torch.ones(1)).item() == 4
    assert Model.scale(model, torch.ones(1)).item() == 4
    assert recorder.frame_count == 1


def test_decorator_with_and_without_arguments() -> None:
    @alternator.compile(backend="eager")
    def one(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    @functools.partial(alternator.compile, backend="eager")
    def two(x: torch.Tensor) -> torch.Tensor:
        return x + 2

    assert one(torch.zeros(())).item() == 1 and two(torch.zeros(())).item() == 2
    with config.patch(debug_backend_override="eager"):

        @alternator.compile
        def three(x: torch.Tensor) -> torch.Tensor:
            return x + 3

    assert three(torch.zeros(())).item() == 3


@pytest.mark.parametrize(
    "target",
    [torch.sin, functools.partial(torch.add, 1), torch.nn.functional.relu, torch.no_grad()(double)],
    ids=["C function", "partial", "function of torch", "no_grad wrapper"],
)
def test_callables_without_a_frame_of_their_own(target: Any) -> None:
    recorder = Recorder()
    x = torch.randn(3)
    torch.testing.assert_close(alternator.compile(target, backend=recorder)(x), target(x))
    assert recorder.frame_count == 1


def test_callable_object() -> None:
    class Adder:
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    recorder = Recorder()
    assert alternator.compile(Adder(), backend=recorder)(torch.zeros(())).item() == 1
    assert recorder.frame_count == 1


def test_class() -> None:
    recorder = Recorder()

    @alternator.compile(backend=recorder)
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu()

    assert inspect.isclass(Net) and Net()(torch.ones(2)).tolist() == [1, 1]
    assert recorder.frame_count == 1


@pytest.mark.parametrize("module", [torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())])
def test_modules_of_torch(module: torch.nn.Module) -> None:
    same(module, torch.randn(1, 2), graphs=1, breaks=0)


def test_graph_module() -> None:
    same(torch.fx.symbolic_trace(Scale()), torch.ones(2), graphs=1)


def test_compiled_again_uses_the_last_backend() -> None:
    first, second = Recorder(), Recorder()
    compiled = alternator.compile(alternator.compile(double, backend=first), backend=second)
    compiled(torch.ones(2))
    assert (first.frame_count, second.frame_count) == (0, 1)
    assert compiled._torchdynamo_orig_callable is double


def test_disable_returns_the_same_object() -> None:
    assert alternator.compile(double, disable=True) is double
    assert alternator.compile(disable=True)(double) is double
    assert alternator.optimize("eager", disable=True)(double) is double
    with config.patch(disable=True):
        assert alternator.compile(double) is double


def test_disable_setting_stops_what_is_compiled_already() -> None:
    recorder = Recorder()
    compiled = alternator.compile(double, backend=recorder)
    with config.patch(disable=True):
        compiled(torch.ones(2))
        assert recorder.frame_count == 0
    compiled(torch.ones(2))
    assert recorder.frame_count == 1


# ---- bad arguments are refused at once


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"backend": "inductr"}, exc.InvalidBackend, "'inductr' is no backend.*eager.*inductor"),
        ({"backend": 3}, TypeError, "backend is a name .*or a callable"),
        ({"mode": "max-autotune", "options": {"max_autotune": True}}, RuntimeError, "Either mode or options"),
        ({"mode": "fastest"}, RuntimeError, "mode='fastest'.*'max-autotune'.*'reduce-overhead'"),
        ({"mode": 3}, TypeError, "mode is a string"),
        ({"options": {"max_autotun": True}}, RuntimeError, "max_autotun.*did you mean max_autotune"),
        ({"options": {"max_autotune": "yes"}}, RuntimeError, "max_autotune.*str.*should be bool"),
        ({"options": [1]}, TypeError, "options is a dict"),
        ({"dynamic": "yes"}, TypeError, "dynamic is True, False or None"),
        ({"fullgraph": 1}, TypeError, "fullgraph is True or False"),
        ({"disable": None}, TypeError, "disable is True or False"),
        ({"recompile_limit": "many"}, TypeError, "recompile_limit is an int"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        alternator.compile(double, **kwargs)
    with pytest.raises(error, match=text):
        alternator.compile(**kwargs)


def test_what_is_not_supported_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotImplementedError, match="mark_dynamic"):
        alternator.compile(double, shapes_spec={})
    alternator.compile(double, options={"guard_filter_fn": lambda guards: []})
    assert "guard_filter_fn is ignored" in caplog.text


def test_not_callable() -> None:
    with pytest.raises(TypeError, match="takes a function, a method, a module or another callable, not 3"):
        alternator.compile(3)
    with pytest.raises(TypeError, match="can be compiled"):
        alternator.optimize("eager")(3)


def test_script_module() -> None:
    with pytest.raises(RuntimeError, match="compile the original module"):
        alternator.compile(torch.jit.script(Scale()), backend="eager")


# ---- fullgraph, dynamic


def breaks_in_the_middle(x: torch.Tensor) -> torch.Tensor:
    x = x + 1
    alternator.graph_break()
    return x * 2


def test_fullgraph() -> None:
    same(breaks_in_the_middle, torch.ones(2), graphs=2, breaks=["GRAPH_BREAK_CALL"])
    for wrap in (
        alternator.compile(backend="eager", fullgraph=True),
        alternator.optimize_assert("eager"),
        alternator.optimize("eager", nopython=True),
    ):
        alternator.reset()
        with pytest.raises(exc.Unsupported) as caught:
            wrap(breaks_in_the_middle)(torch.ones(2))
        text = str(caught.value)
        assert caught.value.code == "GRAPH_BREAK_CALL"
        assert "alternator.graph_break()" in text and "reason:" in text and "cure:" in text and "test_api.py" in text


def yields(x: Any) -> Any:
    yield x + 1


async def awaited(x: Any) -> Any:
    return x + 1


async def yields_later(x: Any) -> Any:
    yield x + 1


@pytest.mark.parametrize("fn, code", [(yields, "GENERATOR_STATE"), (awaited, "ASYNC"), (yields_later, "ASYNC")])
def test_fullgraph_of_what_is_never_captured(fn: Any, code: str) -> None:
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    with pytest.raises(exc.Unsupported, match=f"{fn.__name__} is compiled with fullgraph=True, but") as caught:
        compiled(torch.ones(2))
    assert caught.value.code == code
    assert inspect.isgeneratorfunction(compiled) == inspect.isgeneratorfunction(fn)
    with alternator.set_stance("force_eager"):
        plainly = compiled(torch.ones(2))
        assert type(plainly).__name__ in ("generator", "coroutine", "async_generator")
        if code == "ASYNC" and hasattr(plainly, "close"):
            plainly.close()
    assert [t.tolist() for t in alternator.compile(yields, backend="eager")(torch.ones(2))] == [[2, 2]]


def test_error_on_graph_break() -> None:
    compiled = alternator.compile(breaks_in_the_middle, backend="eager")
    with alternator.error_on_graph_break(True), pytest.raises(exc.Unsupported):
        compiled(torch.ones(2))
    compiled(torch.ones(2))


def test_dynamic() -> None:
    many = [(torch.ones(size),) for size in (3, 4, 5, 6)]
    same(double, torch.ones(2), dynamic=True, then=many, recompiles=0)
    same(double, torch.ones(2), dynamic=None, then=many, recompiles=1)
    same(double, torch.ones(2), dynamic=False, then=many, recompiles=4)


# ---- two ways to compile one function don't mix


def test_entries_belong_to_a_backend() -> None:
    first, second = Recorder(), Recorder()
    one, two = alternator.compile(double, backend=first), alternator.compile(double, backend=second)
    for _ in range(2):
        one(torch.ones(2))
        two(torch.ones(2))
    assert (first.frame_count, second.frame_count) == (1, 1)
    alternator.compile(double, backend=first)(torch.ones(2))
    assert first.frame_count == 1


def test_isolate_recompiles() -> None:
    recorder = Recorder()
    for _ in range(2):
        alternator.compile(double, backend=recorder, isolate_recompiles=True)(torch.ones(2))
    assert recorder.frame_count == 2


def test_entries_belong_to_settings() -> None:
    recorder = Recorder()
    compiled = alternator.compile(double, backend=recorder)
    compiled(torch.ones(2))
    with config.patch(capture_scalar_outputs=True):
        compiled(torch.ones(2))
        compiled(torch.ones(2))
        assert recorder.frame_count == 2
    compiled(torch.ones(2))
    assert recorder.frame_count == 2


# ---- resets


def test_reset() -> None:
    recorder = Recorder()
    compiled = alternator.compile(double, backend=recorder)
    for reset in (alternator.reset, alternator.reset_code_caches, lambda: alternator.reset_code(double)):
        compiled(torch.ones(2))
        before = recorder.frame_count
        reset()
        reset()
        compiled(torch.ones(2))
        assert recorder.frame_count == before + 1


def test_is_compiling() -> None:
    def path(x: torch.Tensor) -> torch.Tensor:
        return x + (1 if alternator.is_compiling() and torch.compiler.is_compiling() else 2)

    assert path(torch.zeros(())).item() == 2
    assert alternator.compile(path, backend="eager", fullgraph=True)(torch.zeros(())).item() == 1
    assert not alternator.is_compiling()


def test_dynamo_compiling() -> None:
    def path(x: torch.Tensor) -> torch.Tensor:
        return x + (1 if alternator.compiler.is_dynamo_compiling() else 2)

    assert path(torch.zeros(())).item() == 2
    assert alternator.compile(path, backend="eager", fullgraph=True)(torch.zeros(())).item() == 1


def test_supported() -> None:
    assert alternator.is_dynamo_supported() and isinstance(alternator.is_inductor_supported(), bool)


# ---- errors


def test_the_users_exception_is_the_users() -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        if x.shape[0] == 2:
            raise LookupError("not two")
        return y

    same(wrong, torch.ones(2))
    compiled = alternator.compile(wrong, backend="eager")
    with pytest.raises(LookupError, match="not two") as caught:
        compiled(torch.ones(2))
    assert caught.traceback[-1].frame.code.name == "wrong"


def test_a_failing_backend_names_itself_and_the_graph() -> None:
    def broken_backend(gm: Any, inputs: Any) -> Any:
        raise ValueError("out of registers")

    with pytest.raises(exc.BackendCompilerFailed) as caught:
        alternator.compile(double, backend=broken_backend)(torch.ones(2))
    text = str(caught.value)
    assert "broken_backend" in text and "ValueError: out of registers" in text and "add" in text
    assert isinstance(caught.value.inner_exception, ValueError)
    alternator.reset()
    with config.patch(suppress_errors=True):
        assert alternator.compile(double, backend=broken_backend)(torch.ones(2)).tolist() == [2, 2]


def test_fx_tracing_of_compiled_code_is_refused() -> None:
    compiled = alternator.compile(double, backend="eager")
    with pytest.raises(RuntimeError, match="FX to symbolically trace"):
        torch.fx.symbolic_trace(compiled)
    with config.patch(error_on_nested_fx_trace=False):
        assert len(torch.fx.symbolic_trace(compiled).graph.nodes) == 3


def test_optimize_as_context_manager() -> None:
    with pytest.raises(RuntimeError, match="context manager"):
        with alternator.optimize("eager"):
            pass
    recorder = Recorder()
    with config.patch(raise_on_ctx_manager_usage=False), alternator.optimize(recorder):
        double(torch.ones(2))
    assert recorder.frame_count == 1


def test_counters() -> None:
    compiled = alternator.compile(breaks_in_the_middle, backend="eager")
    compiled(torch.ones(2))
    assert utils.counters["frames"]["total"] == utils.counters["frames"]["ok"] == 2
    assert utils.counters["stats"]["unique_graphs"] == 2
    assert utils.counters["stats"]["calls_captured"] == 2
    assert list(utils.counters["graph_break"].values()) == [1]
    metrics = utils.get_compilation_metrics()
    assert [one.co_name for one in metrics][0] == "breaks_in_the_middle" and metrics[0].entire_frame_compile_time_s > 0
