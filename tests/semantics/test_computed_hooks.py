"""Hooks that captured code registers on what it computes: bodies in the graph, if nobody can tell."""

from __future__ import annotations

import functools

import pytest
import torch
from helpers import Recorder

import alternator
from alternator import utils

SCALE = 2.0


def check(fn, graphs=1, backends=("eager", "aot_eager"), times=2, after=None):
    """``fn(w, x)`` gives the gradients of plain Python, in so many graphs; ``after`` is called before each backward pass."""
    torch.manual_seed(0)
    xs = [torch.randn(3, 4) for _ in range(times)]
    expected = _run(fn, xs, after)
    recorder = Recorder()
    for backend in (recorder, *backends):
        alternator.reset()
        got = _run(alternator.compile(fn, backend=backend), xs, after)
        torch.testing.assert_close(got, expected)
    assert recorder.frame_count == graphs, utils.counters["graph_break"]


def _run(fn, xs, after):
    found = []
    for x in xs:
        w = torch.linspace(-1, 1, 4, requires_grad=True)
        results = fn(w, x)
        results = results if isinstance(results, tuple) else (results,)
        if after is not None:
            after()
        sum((r * r.detach().cos()).sum() for r in results).backward()
        found.append([*(r.detach() for r in results), w.grad])
    return found


def test_it_changes_the_whole_gradient_of_the_tensor() -> None:
    def early(w, x):
        y = w * x
        z = y.sin()
        y.register_hook(lambda grad: grad * 3)
        return z, y.cos()

    def leaves(w, x):
        y = w * x
        y.register_hook(lambda grad: grad * 3 + 1)
        return y, (y * 2).sum()

    def only_leaves(w, x):
        y = w * x
        y.register_hook(lambda grad: grad.clamp(-0.1, 0.1))
        return y

    def part(w, x):
        one, other = (w * x).chunk(2, -1)
        one.register_hook(torch.neg)
        return one.sin(), other

    for fn in (early, leaves, only_leaves, part):
        check(fn)


def test_several_run_in_their_order() -> None:
    def f(w, x):
        y = w * x
        y.register_hook(lambda grad: grad + 1)
        y.register_hook(lambda grad: grad * 10)
        for _ in range(3):
            y = y.tanh()
            y.register_hook(lambda grad: grad * 0.5)
        return y

    check(f)


def test_what_is_changed_in_place_has_the_hooks_of_before() -> None:
    def f(w, x):
        y = w * x
        y.register_hook(lambda grad: grad + 1)
        y.mul_(2)
        y.register_hook(lambda grad: grad * 0.5)
        return y.sin()

    def view(w, x):
        y = w * x
        row = y[0]
        row.register_hook(lambda grad: grad * 0.5)
        y.add_(1)
        return y.sin(), row.cos()

    check(f)
    check(view)


def test_it_reads_what_stays_as_it_is() -> None:
    def scaled(factor):
        return lambda grad: grad * factor

    def f(w, x):
        y = w * x
        n, mask = x.shape[0], (x > 0).float()
        y.register_hook(lambda grad: grad / n * mask + w.detach() + y.detach())
        y.register_hook(lambda grad: mask)
        y.register_hook(lambda grad: grad + mask * y.detach())
        y.register_hook(scaled(0.3))
        y.register_hook(functools.partial(torch.clamp, min=-0.5, max=0.5))
        for factor in (2.0, 3.0):
            y.register_hook(lambda grad, factor=factor: grad * factor)
        return y.sin()

    check(f)


def test_what_may_be_another_one_in_the_backward_pass_breaks() -> None:
    box = [2.0]
    outer = 2.0

    def late(w, x):
        y = w * x
        for factor in (2.0, 3.0):
            y.register_hook(lambda grad: grad * factor)
        return y.sin()

    def assigned(w, x):
        y, factor = w * x, 2.0
        y.register_hook(lambda grad: grad * factor)
        factor = 5.0
        return y.sin() * factor

    def by_another(w, x):
        y, factor = w * x, 2.0

        def change():
            nonlocal factor
            factor = 7.0

        y.register_hook(lambda grad: grad * factor)
        change()
        return y.sin()

    def shared(w, x):
        def both(factor):
            def change():
                nonlocal factor
                factor = 7.0

            return (lambda grad: grad * factor), change

        y = w * x
        hook, change = both(2.0)
        y.register_hook(hook)
        change()
        return y.sin()

    def item(w, x):
        y, factors = w * x, [2.0]
        y.register_hook(lambda grad: grad * factors[0])
        factors[0] = 5.0
        return y.sin()

    def of_a_global(w, x):
        y = w * x
        y.register_hook(lambda grad: grad * SCALE)
        return y.sin()

    def of_an_outer(w, x):
        y = w * x
        y.register_hook(lambda grad: grad * outer)
        return y.sin()

    def of_a_box(w, x):
        y = w * x
        y.register_hook(lambda grad: grad * box[0])
        return y.sin()

    def change() -> None:
        nonlocal outer
        global SCALE
        outer, SCALE, box[0] = outer + 1, SCALE + 1, box[0] + 1

    def put_back(fn):
        @functools.wraps(fn)
        def run(w, x):
            nonlocal outer
            global SCALE
            outer = SCALE = box[0] = 2.0
            return fn(w, x)

        return run

    for fn in (assigned, by_another, shared, item):
        check(fn, graphs=2)
    check(late, graphs=2)
    for fn in (of_a_global, of_an_outer, of_a_box):
        check(put_back(fn), graphs=2, after=change, times=1)


def test_what_does_more_than_tensor_work_breaks() -> None:
    seen = []

    def writes(w, x):
        y = w * x
        y.register_hook(lambda grad: seen.append(grad.shape))
        return y.sin()

    def branches(w, x):
        y = w * x
        y.register_hook(lambda grad: grad * 2 if grad.sum() > 0 else grad)
        return y.sin()

    def asks(w, x):
        y = (w * x).t()
        y.register_hook(lambda grad: grad * 2 if grad.is_contiguous() else grad * 3)
        return y.sin()

    def draws(w, x):
        y = w * x
        y.register_hook(lambda grad: grad + torch.rand(3, 4) * 0)
        return y.sin()

    def asserts(w, x):
        def hook(grad):
            assert not torch.isnan(grad).any()
            return grad * 2

        y = w * x
        y.register_hook(hook)
        return y.sin()

    for fn in (writes, branches, asks, draws, asserts):
        check(fn, graphs=2)


def test_one_that_is_removed_was_never_there() -> None:
    def f(w, x):
        y = w * x
        handle = y.register_hook(lambda grad: grad * 2)
        y.register_hook(lambda grad: grad + 1)
        z = y * 1
        handle.remove()
        handle.remove()
        return z.sin(), y

    check(f)


def test_a_handle_that_leaves_is_a_real_one() -> None:
    handles = []

    def f(w, x):
        y = w * x
        handles.append(y.register_hook(lambda grad: grad * 2))
        return y.sin()

    def remove() -> None:
        assert type(handles[-1]) is torch.utils.hooks.RemovableHandle
        handles.pop().remove()

    check(f, graphs=2, after=remove)


def test_gradients_inside_meet_the_hook() -> None:
    def f(w, x):
        y = w * x
        y.register_hook(lambda grad: grad * 2)
        y.register_hook(lambda grad: x)
        z = (y**2).sum()
        (of_w,) = torch.autograd.grad(z, w, retain_graph=True)
        (of_y,) = torch.autograd.grad(z, y, retain_graph=True)
        return of_w.sum() * z, of_y.sum() * z

    check(f)


def test_what_cannot_have_one() -> None:
    def constant(w, x):
        try:
            x.sin().register_hook(lambda grad: grad)
        except RuntimeError as error:
            return w * len(str(error))

    def no_leaf(w, x):
        try:
            (w * x).register_post_accumulate_grad_hook(lambda tensor: None)
        except RuntimeError as error:
            return w * len(str(error))

    check(constant)
    check(no_leaf)


def test_another_shape_is_the_program_s_error() -> None:
    def f(w, x):
        y = w * x
        y.register_hook(lambda grad: grad.sum(0))
        return y.sin()

    for one in (f, alternator.compile(f, backend="eager")):
        with pytest.raises(RuntimeError, match="has changed the size"):
            one(torch.ones(4, requires_grad=True), torch.ones(3, 4)).sum().backward()


def test_export_refuses_it() -> None:
    def f(w, x):
        y = w * x
        y.register_hook(lambda grad: grad * 2)
        return y

    with pytest.raises(alternator.exc.Unsupported, match="registers a hook"):
        alternator.export(f)(torch.ones(4, requires_grad=True), torch.ones(3, 4))
