"""``torch.inference_mode`` entered and left in captured code."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from helpers import same

import alternator

W = torch.randn(4, 4, requires_grad=True)
X = torch.randn(3, 4)


def facts(tensor: torch.Tensor) -> tuple[bool, ...]:
    return tensor.is_inference(), tensor.requires_grad, tensor.is_leaf


def made_inside(x: Any) -> Any:
    with torch.inference_mode():
        y = x @ W
        view = y.view(-1)
    return y, view, (x @ W).sum(), facts(y), facts(view), torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def views_of_what_was_there(x: Any) -> Any:
    with torch.inference_mode():
        y = x.view(-1)
        z = torch.ones(3)
    return y, z, facts(y), z[1:], facts(z[1:]), (z + 1).is_inference()


def nested(x: Any) -> Any:
    with torch.inference_mode():
        a = x * 2
        with torch.inference_mode(False):
            b = x * W.sum()
            inside = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        c = a + b
    return a, b, c, inside, [facts(one) for one in (a, b, c)]


def grad_mode_around(x: Any) -> Any:
    with torch.no_grad():
        with torch.inference_mode():
            with torch.enable_grad():
                y = x * 2
                z = torch.is_grad_enabled()
            z = z, torch.is_grad_enabled()
        z = z, torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return y, z, torch.is_grad_enabled()


@torch.inference_mode()
def evaluate(x: Any) -> Any:
    return (x @ W).relu()


def decorated(x: Any) -> Any:
    y = evaluate(x)
    return y, facts(y), torch.is_grad_enabled()


def given_in_place(x: Any) -> Any:
    with torch.inference_mode():
        x.add_(1)
        y = x * 2
        y.mul_(3)
    return y


def left_by_an_exception(x: Any) -> Any:
    try:
        with torch.inference_mode():
            y = x + 1
            raise KeyError("left")
    except KeyError:
        z = x * W.sum()
    return y, z, torch.is_inference_mode_enabled()


ONE_GRAPH = (made_inside, views_of_what_was_there, nested, grad_mode_around, decorated, given_in_place, left_by_an_exception)


@pytest.mark.parametrize("fn", ONE_GRAPH)
def test_is_one_graph(fn: Callable[..., Any]) -> None:
    report = same(fn, X, graphs=1, breaks=0)
    again = alternator.compile(fn, backend="aot_eager")(X.clone())
    for one, other in zip(torch.utils._pytree.tree_leaves(report.outcomes[0].result), torch.utils._pytree.tree_leaves(again)):
        if isinstance(one, torch.Tensor):
            assert facts(one) == facts(other)
            torch.testing.assert_close(one.detach(), other.detach())


def saved_for_backward(x: Any) -> Any:
    with torch.inference_mode():
        y = x * 2
    return y * W


def written_outside(x: Any) -> Any:
    with torch.inference_mode():
        y = x * 2
    return y.add_(1)


def asked_for_its_version(x: Any) -> Any:
    with torch.inference_mode():
        y = x * 2
    return y._version


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("fn", [saved_for_backward, written_outside, asked_for_its_version])
def test_what_is_refused_plainly_is_refused(fn: Callable[..., Any], backend: str) -> None:
    with pytest.raises(RuntimeError, match="[Ii]nference") as plain:
        fn(torch.ones(4, 4))
    with pytest.raises(RuntimeError) as captured:
        alternator.compile(fn, backend=backend)(torch.ones(4, 4))
    assert str(plain.value) == str(captured.value)


def broken_inside(x: Any) -> Any:
    y = x + 1
    with torch.inference_mode():
        z = y * 2
        alternator.graph_break()
        u = z * 3
        inside = facts(u), torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    return z, u, y * W.sum(), inside, torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def broken_inside_of_others(x: Any) -> Any:
    with torch.no_grad(), torch.inference_mode(), torch.enable_grad():
        z = x * 2
        alternator.graph_break()
        inside = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        z = z + 1
    return z, inside, torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def broken_inside_of_two(x: Any) -> Any:
    seen = []
    with torch.inference_mode():
        with torch.inference_mode(False):
            z = x * W.sum()
            alternator.graph_break()
            seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
            z = z + 1
        seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        y = z * 2
    return z, y, seen, facts(y), torch.is_grad_enabled()


@pytest.mark.parametrize("fn", [broken_inside, broken_inside_of_others, broken_inside_of_two])
def test_a_break_inside_goes_on_inside(fn: Callable[..., Any]) -> None:
    report = same(fn, X)
    assert report.breaks[0].code == "GRAPH_BREAK_CALL"
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_a_frame_in_inference_mode_may_enter_it_again() -> None:
    def fn(x: Any) -> Any:
        with torch.inference_mode():
            y = x * W.sum()
        return y, torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.inference_mode():
        same(fn, X, graphs=1, breaks=0)


def test_what_comes_in_inside_is_what_it_is() -> None:
    net = torch.nn.Linear(4, 4)

    def fn(x: Any) -> Any:
        with torch.inference_mode():
            y = net(x)
        return net(x).sum(), y

    compiled = alternator.compile(fn, backend="aot_eager", fullgraph=True)
    loss, y = compiled(X)
    loss.backward()
    assert net.weight.grad is not None and y.is_inference()
