"""Functions of ``torch`` with rules of their own."""

import functools

import pytest
import torch
import torch.nn.functional as F
from helpers import Recorder, assert_same, same

import alternator


def test_a_check_of_a_whole_tensor_is_made_by_the_graph() -> None:
    def f(x):
        torch._check_tensor_all(x > 0)
        return x * 2

    same(f, torch.ones(2), fullgraph=True, graphs=1)
    same(f, torch.zeros(2))


def test_a_check_with_a_message_or_another_error_is_as_in_plain_python() -> None:
    def f(x):
        torch._check_tensor_all(x > 0, lambda: f"not all of {x.shape} are positive")
        return x * 2

    def g(x):
        torch._check_tensor_all_with(ValueError, x > 0, lambda: "wrong")
        return x * 2

    def not_bool(x):
        torch._check_tensor_all(x)
        return x

    for fn in (f, g, not_bool):
        same(fn, torch.ones(2))
        same(fn, torch.zeros(2))


def test_a_list_of_what_a_tensor_holds() -> None:
    def f(x):
        rows = (x * 2).tolist()
        return x + rows[0][1], rows

    same(f, torch.arange(6).reshape(2, 3), breaks=["DATA_DEPENDENT_VALUE"])
    with alternator.config.patch(capture_scalar_outputs=True):
        same(f, torch.arange(6).reshape(2, 3), fullgraph=True, graphs=1)


def test_what_is_an_inference_tensor() -> None:
    def f(x, w):
        with torch.inference_mode():
            y = x @ w
            flags = y.is_inference(), x.is_inference(), w.is_inference()
        return y + 0, flags, x.is_inference()

    same(f, torch.ones(2, 2), torch.ones(2, 2))
    with torch.inference_mode():
        w = torch.ones(2, 2)
    compiled = alternator.compile(f, backend="eager")
    for weight in (torch.ones(2, 2), w, w):
        assert compiled(torch.ones(2, 2), weight)[1] == (True, False, weight is w)


def test_parts_of_sparse_and_nested_tensors() -> None:
    def sparse(x):
        values = x.to_sparse().coalesce().values()
        return values * 2, values.sum()

    def nested(x):
        whole = torch.nested.nested_tensor([x, x + 1])
        return [part.sum() for part in whole.unbind()]

    same(sparse, torch.eye(3))
    same(nested, torch.ones(2))


def test_a_function_that_calls_what_it_is_given():
    def f(x, y):
        loss = F.triplet_margin_with_distance_loss
        return loss(x, y, x + y, distance_function=torch.nn.PairwiseDistance()) + loss(
            x, y, y, distance_function=lambda a, b: (a - b).abs().sum(-1)
        )

    same(f, torch.randn(3, 4), torch.randn(3, 4), graphs=1, breaks=0)


def test_operators_whose_kernels_look_at_data_but_whose_rules_do_not():
    window = torch.hann_window(8)
    spectrum = torch.stft(torch.randn(2, 32), 8, window=window, return_complex=True)
    same(lambda s: torch.istft(s, 8, window=window), spectrum, graphs=1, breaks=0)


def test_arguments_that_no_graph_can_name():
    class Whole(int):
        def __repr__(self):
            return "no Python"

    same(lambda x: x.sum(Whole(0)) + x.reshape(Whole(3), 2).shape[0], torch.ones(2, 3), graphs=1, breaks=0)
    same(lambda x: (x + 1).split(functools.partial(int, 1)()), torch.ones(2), graphs=1, breaks=0)
    with pytest.raises(TypeError):
        alternator.compile(lambda x: torch.sum(x, dim=functools.partial(int)), backend="eager")(torch.ones(2))


def test_whether_anomalies_are_looked_for_is_guarded() -> None:
    def f(x):
        return x + torch.is_anomaly_enabled() + 2 * torch.is_anomaly_check_nan_enabled()

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    x = torch.ones(2)
    for check in (True, False):
        torch.testing.assert_close(compiled(x), f(x))
        with torch.autograd.set_detect_anomaly(True, check_nan=check):
            torch.testing.assert_close(compiled(x), f(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_powers_of_a_number_in_a_tensor(dtype) -> None:
    base = torch.tensor(0.8, dtype=dtype)
    exponents = [torch.rand(3) * 5, torch.rand(2, dtype=torch.float64), torch.tensor(3.4), torch.rand(2).half()]
    same(lambda b, e: torch._foreach_pow(b, e), base, exponents, fullgraph=True, graphs=1, then=[(base * 2, exponents)])
    same(lambda b, e: torch._foreach_pow(b, e), base, [torch.arange(3)])
    same(lambda b, e: torch._foreach_pow(b, e), base.requires_grad_(), exponents)  # refused


def test_symbolic_truth_for_a_bool() -> None:
    """torch takes a symbolic number for a number, but no symbolic truth value for a bool: it is relied on."""

    def f(q):
        attended = F.scaled_dot_product_attention(q, q, q, is_causal=q.shape[-2] > 5)
        return attended, q.sum(-1, keepdim=q.shape[-2] > 5), torch.sort(q, descending=q.shape[-2] <= 5)[0]

    recorder = Recorder()
    compiled = alternator.compile(f, backend=recorder, fullgraph=True)
    for size in (1, 2, 3, 4, 5, 6, 7):
        q = torch.randn(1, 2, size, 8)
        assert_same(f(q), compiled(q), str(size), 1e-5, 1e-6)
    assert recorder.frame_count == 3  # 1, up to 5, from 6 on


def test_nothing_is_traced_or_scripted() -> None:
    def f(x):
        state = torch._C._get_tracing_state()
        return x + 1, state is None, type(state), torch.jit.is_tracing(), torch.jit.is_scripting()

    same(f, torch.ones(2), fullgraph=True)


def test_parametrizations_are_cached() -> None:
    class Symmetric(torch.nn.Module):
        def forward(self, weight):
            return weight.triu() + weight.triu(1).T

    layer = torch.nn.Linear(3, 3)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())

    def f(x):
        with torch.nn.utils.parametrize.cached():
            return layer(layer(x)), layer.weight is layer.weight

    report = same(f, torch.ones(2, 3), fullgraph=True)
    assert report.ops.count("triu") == 2


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.rand((x.shape[0], 2), generator=None),
        lambda x: torch.randn(x.shape[0], 2, generator=None, dtype=torch.float64, device=x.device),
        lambda x: torch.randint(0, 9, (x.shape[0],), generator=None),
    ],
    ids=["rand", "randn", "randint"],
)
def test_no_generator_is_the_default_one_for_sizes_that_vary(draw) -> None:
    graphs: list[object] = []
    captured = alternator.compile(
        lambda x: (draw(x), x + 1), backend=lambda gm, args: graphs.append(gm) or gm.forward, dynamic=True
    )
    for rows in (3, 5, 4):
        torch.manual_seed(rows)
        found = captured(torch.ones(rows))
        torch.manual_seed(rows)
        assert torch.equal(found[0], draw(torch.ones(rows)))
    assert len(graphs) == 1


def test_the_precision_of_matrix_products_set_inside():
    def fn(x):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        y = x @ x
        torch.set_float32_matmul_precision("medium")
        return y, before, torch.get_float32_matmul_precision()

    before = torch.get_float32_matmul_precision()
    try:
        same(lambda x: (torch.set_float32_matmul_precision("highest"), fn(x), x + 1)[1:], torch.ones(2, 2), fullgraph=True)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_sizes_are_broadcast_as_plainly() -> None:
    def f(x, y):
        size = torch._C._infer_size(x.shape, y.shape[1:])
        return x.expand(size) + y, size

    same(f, torch.ones(3, 1), torch.ones(2, 1, 4), fullgraph=True, graphs=1)
    same(f, torch.ones(3, 2), torch.ones(2, 3, 4))
    graphs: list[object] = []
    captured = alternator.compile(f, backend=lambda gm, args: graphs.append(gm) or gm.forward, dynamic=True)
    for rows in (3, 5, 4):
        args = torch.ones(rows, 1), torch.ones(2, 1, rows + 2)
        assert_same(f(*args), captured(*args))
    assert len(graphs) == 1


_hooks = torch._C._autograd


@pytest.mark.parametrize(
    "read, change",
    [
        (torch.get_num_threads, lambda first: torch.set_num_threads(2 if first else 1)),
        (torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
        (
            _hooks._saved_tensors_hooks_is_enabled,
            lambda first: _hooks._saved_tensors_hooks_enable() if first else _hooks._saved_tensors_hooks_disable("no"),
        ),
        (torch._C._get_flash_sdp_enabled, torch._C._set_sdp_use_flash),
        (
            torch.is_deterministic_algorithms_warn_only_enabled,
            lambda first: torch.use_deterministic_algorithms(True, warn_only=first),
        ),
    ],
)
def test_settings_that_are_changed_between_calls(read, change):
    def fn(x):
        return x + 1, read()

    threads, flash, deterministic = (
        torch.get_num_threads(),
        torch._C._get_flash_sdp_enabled(),
        torch._C._get_deterministic_algorithms(),
    )
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    try:
        for first in (True, False, True, False):
            change(first)
            assert compiled(torch.ones(1))[1] == read()
    finally:
        torch.set_num_threads(threads)
        torch._C._set_sdp_use_flash(flash)
        torch.use_deterministic_algorithms(deterministic)
        torch._C._set_cudnn_enabled(True)
        _hooks._saved_tensors_hooks_enable()
