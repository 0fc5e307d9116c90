"""Frames end to end: breaks in every kind of place, what lives across them, and frames that cannot be resumed."""

import contextlib
import itertools
import operator

import pytest
import torch
from helpers import same

import alternator
from alternator import _C, utils

break_here = _C.eval_frame.unsupported  # something that nobody can trace


def test_a_bound_method_of_a_traced_tensor_on_the_stack():
    def f(x):
        y = (x * 2).sum().item()
        return x * y

    same(f, torch.randn(4), breaks=1)


def test_branch_on_data():
    def f(x):
        y = x * 2
        if y.sum() > 0:
            return y + 1
        return y - 1

    same(f, torch.ones(3), breaks=1, then=[(-torch.ones(3),)])


def test_locals_cells_and_stack_live_across_a_break():
    def f(x, n):
        total = [x]
        count = n

        def add(v):
            nonlocal count
            count += 1
            total.append(v * count)

        add(x)
        first = (x + 1) * 2 + break_here(x, x * 3)
        add(first)
        return total, count, len(total)

    same(f, torch.randn(3), 2, breaks=1)


def test_break_in_with_keeps_the_context():
    def f(x):
        with torch.no_grad():
            y = x * 2
            break_here()
            z = y * x
        return z, z.requires_grad, (x * 2).requires_grad

    same(f, torch.randn(3, requires_grad=True), breaks=1)


def test_break_in_autocast():
    def f(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = x @ x
            break_here()
            z = y @ x
        return y, z, x @ x

    same(f, torch.randn(3, 3))


def test_exception_of_the_breaking_instruction_finds_the_handler():
    def bad(x):
        break_here()
        raise ValueError("no")

    def f(x):
        y = x + 1
        try:
            y = y + bad(y)
        except ValueError as error:
            return y * 2, str(error)
        finally:
            y = y + 1
        return y

    same(f, torch.randn(3))


@pytest.mark.parametrize("place", ["loop", "while", "comprehension"])
def test_break_in_a_loop(place):
    def loop(x):
        for i in range(3):
            x = x + i
            break_here()
        return x * 2

    def while_(x):
        i = 0
        while i < 3:
            x = x * 2
            break_here()
            i += 1
        return x

    def comprehension(x):
        return [break_here(i) + x for i in range(3)]

    same({"loop": loop, "while": while_, "comprehension": comprehension}[place], torch.randn(3))


def test_break_in_an_inlined_function():
    def inner(x):
        y = x.sin()
        break_here()
        return y.cos()

    def f(x):
        return inner(x + 1) * 2

    same(f, torch.randn(3))


def test_effects_before_and_after_a_break_are_in_order():
    log = []

    def f(x, seen):
        seen.append(1)
        y = x + len(seen)
        print("before", len(seen))
        break_here()
        seen.append(2)
        print("after", len(seen))
        return y * len(seen)

    same(f, torch.randn(3), log)


def test_many_breaks_in_a_row():
    def f(x):
        x = x + 1
        break_here()
        x = x * 2
        break_here()
        x = x - 3
        break_here()
        return x.relu()

    same(f, torch.randn(3), breaks=3, graphs=4)


def test_fullgraph_raises_with_the_users_line():
    def f(x):
        y = x + 1
        break_here()
        return y

    with pytest.raises(alternator.exc.Unsupported, match="break_here"):
        alternator.compile(f, backend="eager", fullgraph=True)(torch.randn(3))


def test_a_users_exception_is_the_users():
    def f(x):
        y = x + 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        alternator.compile(f, backend="eager")(torch.randn(3))
    assert "alternator/interpreter" not in "".join(str(entry.path) for entry in caught.traceback)


def test_generated_code_is_not_captured():
    def f(x):
        x = x + 1
        break_here()
        return x + 2

    utils.counters.clear()
    alternator.compile(f, backend="eager")(torch.randn(3))
    assert utils.counters["frames"]["ok"] == 2


def test_a_frame_without_tensor_work_makes_no_graph():
    def f(x, n):
        return n + 1

    graphs = []
    compiled = alternator.compile(f, backend=lambda gm, inputs: graphs.append(gm) or gm.forward)
    assert compiled(torch.randn(3), 4) == 5
    assert not graphs


def test_user_context_manager_across_a_break():
    @contextlib.contextmanager
    def scope(name):
        print("+" + name)
        yield name
        print("-" + name)

    def f(x):
        with scope("a") as name:
            y = x + len(name)
        break_here()
        with scope("b"):
            return y * 2

    same(f, torch.randn(3))


def test_the_module_that_was_fixed_keeps_its_attributes():
    class Counter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = 0
            self.register_buffer("seen", torch.zeros(3))

        def forward(self, x):
            self.steps += 1
            self.seen = self.seen + x
            break_here()
            self.steps += 1
            return self.seen * self.steps

    plain, captured = Counter(), Counter()
    compiled = alternator.compile(captured, backend="eager")
    for _ in range(3):
        x = torch.randn(3)
        torch.testing.assert_close(compiled(x), plain(x))
    assert captured.steps == plain.steps == 6
    torch.testing.assert_close(captured.seen, plain.seen)


def test_fullgraph_without_tensor_work_runs_plainly_with_all_that_it_calls() -> None:
    def f(items):
        return [(key, list(group)) for key, group in itertools.groupby(items, key=operator.neg)]

    def g(items):
        return f(items)[items[0]]

    for fn in (f, g):
        compiled = alternator.compile(fn, backend="eager", fullgraph=True)
        for _ in range(6):
            assert compiled([1, 1, 2, -2]) == fn([1, 1, 2, -2])
    compiled = alternator.compile(g, backend="eager", fullgraph=True)
    for _ in range(20):
        with pytest.raises(IndexError):
            compiled([7, 1])


def test_hooks_on_saved_tensors_see_no_fakes() -> None:
    def packed(fn):
        seen = []

        def pack(tensor):
            seen.append(type(tensor))
            return tensor

        x = torch.ones(3, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            fn(x)
        return seen

    def fn(x):
        return (x * x).sin().sum()

    compiled = alternator.compile(fn, backend="eager")
    assert packed(fn) == packed(compiled) == packed(compiled)
