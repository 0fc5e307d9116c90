"""What our backends do with graphs: inference, training, settings, failures."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import assert_same

import alternator
from alternator import exc, utils
from alternator.backends.aot import aot_autograd
from alternator.backends.inductor import InductorBackend

NAMES = [
    "eager",
    "eager_noexcept",
    "eager_debug",
    "print",
    "aot_eager",
    "aot_eager_default_partitioner",
    "aot_eager_decomp_partition",
]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        y = self.norm(self.body(x))
        return {"y": y, "view": y.t(), "input": x}


def step(module: Any, x: torch.Tensor) -> tuple[Any, list[Any]]:
    module.zero_grad()
    out = module(x)
    out["y"].square().sum().backward()
    return out, [parameter.grad for parameter in module.parameters()]


@pytest.mark.parametrize("backend", [*NAMES, pytest.param("inductor", marks=pytest.mark.slow)])
def test_training_and_inference(backend: str) -> None:
    torch.manual_seed(0)
    net = Net()
    twin = copy.deepcopy(net)
    compiled = alternator.compile(net, backend=backend)
    for size in (3, 3, 5, 6):
        x = torch.randn(size, 4)
        assert_same(step(twin, x), step(compiled, x), rtol=1e-3, atol=1e-4)
    assert_same(dict(twin.state_dict()), dict(net.state_dict()), rtol=1e-3, atol=1e-4)
    twin.eval()
    compiled.eval()
    with torch.no_grad():
        x = torch.randn(3, 4)
        assert_same(twin(x), compiled(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_mutation_and_aliasing(backend: str) -> None:
    def f(x: torch.Tensor, y: torch.Tensor) -> Any:
        x.add_(1)
        z = y.view(-1)
        z[0] = x.sum()
        return x, z, y.t()

    compiled = alternator.compile(f, backend=backend)
    for _ in range(2):
        one, other = [(torch.ones(2), torch.arange(6.0).view(2, 3)) for _ in range(2)]
        assert_same(f(*one), compiled(*other))
        assert_same(one, other)


def test_print_shows_the_graph(capsys: pytest.CaptureFixture[str]) -> None:
    alternator.compile(lambda x: x.relu() * 2, backend="print")(torch.ones(2, 3, requires_grad=True))
    shown = capsys.readouterr().out
    for part in ("graph of 2 operations and 1 inputs", "float32[2, 3], requires_grad", "relu", "def forward", "lambda x"):
        assert part in shown, shown


def test_torchscript() -> None:
    x = torch.randn(3)
    with pytest.warns(DeprecationWarning):
        assert alternator.compile(lambda x: x.relu() + 1, backend="ts")(x).equal(x.relu() + 1)


def test_pre_dispatch_eager(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.randn(3)
    assert alternator.compile(lambda x: x.relu() + 1, backend="pre_dispatch_eager")(x).equal(x.relu() + 1)
    assert "torch.ops.aten.relu" in capsys.readouterr().out


def test_backends_that_fail() -> None:
    x = torch.ones(2)
    with pytest.raises(exc.BackendCompilerFailed, match="relu_compile_error.*(.|\n)*ReluCompileError(.|\n)*relu"):
        alternator.compile(lambda x: x.relu(), backend="relu_compile_error_TESTING_ONLY")(x)
    with pytest.raises(AssertionError, match="ReluRuntimeError"):
        alternator.compile(lambda x: torch.relu(x), backend="relu_runtime_error_TESTING_ONLY")(x)
    assert alternator.compile(lambda x: torch.relu(x), backend="relu_accuracy_error_TESTING_ONLY")(x).equal(x + 1)


def test_counters_of_aot() -> None:
    alternator.compile(lambda x: x + 1, backend="aot_eager")(torch.ones(2))
    assert utils.counters["aot_autograd"] == {"total": 1, "ok": 1}

    def broken(gm: Any, inputs: Any) -> Any:
        raise ValueError("no")

    with pytest.raises(exc.BackendCompilerFailed, match="no"):
        alternator.compile(lambda x: x + 2, backend=aot_autograd(fw_compiler=broken))(torch.ones(2))
    assert utils.counters["aot_autograd"] == {"total": 2, "ok": 1, "not_ok": 1}


def test_ones_own_compiler_for_aten_graphs() -> None:
    seen: list[Any] = []

    def compiler(gm: torch.fx.GraphModule, inputs: Any) -> Any:
        seen.append([node.target for node in gm.graph.nodes if node.op == "call_function"])
        return gm.forward

    backend = aot_autograd(fw_compiler=compiler, bw_compiler=compiler)
    x = torch.ones(2, requires_grad=True)
    alternator.compile(lambda x: x.sin(), backend=backend)(x).sum().backward()
    assert x.grad is not None and x.grad.allclose(torch.ones(2).cos())
    assert torch.ops.aten.sin.default in seen[0] and torch.ops.aten.cos.default in seen[1]


def test_nothing_is_captured_while_backends_work() -> None:
    """The backward pass is compiled when the program asks for it, which may be inside of a plain frame of a compiled region."""
    graphs: list[Any] = []

    def outer(gm: Any, inputs: Any) -> Any:
        graphs.append(gm)
        return alternator.lookup_backend("aot_eager")(gm, inputs)

    @alternator.compile(backend=outer)
    def train(x: torch.Tensor) -> torch.Tensor:
        y = (x * 2).sum()
        y.backward()
        return x.grad + 1

    x = torch.ones(2, requires_grad=True)
    assert train(x).tolist() == [3, 3]
    names = [gm.print_readable(print_output=False) for gm in graphs]
    assert len(graphs) == 2, names


# ---- Inductor's settings


def test_mode() -> None:
    assert InductorBackend("default").patches == {}
    assert InductorBackend("max-autotune-no-cudagraphs").patches["max_autotune"] is True
    assert InductorBackend(None, {"max-autotune": True}).patches == {"max_autotune": True}


def test_equal_settings_make_equal_backends() -> None:
    assert InductorBackend("default") == InductorBackend() and hash(InductorBackend()) == hash(InductorBackend())
    assert InductorBackend(None, {"max_autotune": True}) != InductorBackend()
    assert InductorBackend(None, None, True) != InductorBackend()


def test_compiler_config() -> None:
    compiled = alternator.compile(lambda x: x, options={"max_autotune": True})
    assert compiled.get_compiler_config()["max_autotune"] is True
    assert alternator.compile(torch.nn.ReLU(), options={"max_autotune": True}).get_compiler_config()["max_autotune"] is True
    assert alternator.compile(lambda x: x, backend="eager").get_compiler_config() is None


@pytest.mark.slow
def test_inductor_with_options() -> None:
    x = torch.randn(4, 4)
    compiled = alternator.compile(lambda x: (x @ x).softmax(-1), options={"epilogue_fusion": True}, dynamic=True)
    for size in (4, 5):
        x = torch.randn(size, size)
        torch.testing.assert_close(compiled(x), (x @ x).softmax(-1))


def test_the_graph_is_no_module_to_hooks_and_errors(capfd) -> None:
    def f(x, i):
        return x[i] * 2

    seen = []
    compiled = alternator.compile(f, backend="eager")
    x = torch.arange(3.0)
    with pytest.raises(IndexError):
        compiled(x, torch.tensor(7))
    assert "FX-traced" not in capfd.readouterr().err
    hook = torch.nn.modules.module.register_module_forward_hook(lambda module, args, out: seen.append(module))
    try:
        assert torch.equal(compiled(x, torch.tensor(1)), f(x, torch.tensor(1)))
        assert torch.equal(compiled(x, torch.tensor(2)), f(x, torch.tensor(2)))
    finally:
        hook.remove()
    assert seen == []


def both(x):
    return x + 1, x * 2


def one(x):
    return x + 1


def writes(x, seen):
    seen.append(1)
    y = x + 1
    x.add_(1)
    return y, x * 2


RESULTS = {
    "too few": lambda results: results[:1] if len(results) > 1 else (),
    "too many": lambda results: (*results, results[0]),
    "a tensor": lambda results: results[0],
    "nothing": lambda results: None,
}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("fn", [both, one, writes])
def test_a_backend_that_gives_other_results_than_the_graph_is_named(fn, name):
    def mine(gm, example_inputs):
        return lambda *args: RESULTS[name](gm(*args))

    given = (torch.ones(1), []) if fn is writes else (torch.ones(1),)
    count = 1 if fn is one else 2
    with pytest.raises(exc.WrongResults, match=rf"'mine' .* {count} output.* not {count} in a tuple") as caught:
        alternator.compile(fn, backend=mine)(*given)
    assert "\n" not in str(caught.value) and given[1:] in ((), ([],))


def test_a_backend_that_changes_what_the_graph_returns_is_named():
    def mine(gm, example_inputs):
        (output,) = (node for node in gm.graph.nodes if node.op == "output")
        output.args = (output.args[0][:1],)
        gm.recompile()
        return gm

    with pytest.raises(exc.WrongResults, match="'mine' .* 2 outputs, .* returned 1 in a tuple, not 2 in a tuple"):
        alternator.compile(both, backend=mine)(torch.ones(2))


def test_results_may_come_in_a_list():
    def mine(gm, example_inputs):
        return lambda *args: list(gm(*args))

    assert [one.tolist() for one in alternator.compile(both, backend=mine)(torch.ones(1))] == [[2.0], [2.0]]
