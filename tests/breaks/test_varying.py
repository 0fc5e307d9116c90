"""What varies by nature is taken to vary at the first capture of a continuation: each version serves all that follows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(12.0)


def shrinking(x: Any) -> Any:
    total = torch.zeros(())
    while x.numel() > 2:
        total = total + x.sum()
        x = x[x > x.min()]
    return total


def shrinking_in_a_callee(x: Any) -> Any:
    def keep(x: Any) -> Any:
        return x[x > x.min()] * 1

    total = torch.zeros(())
    while x.numel() > 2:
        total = total + keep(x).sum()
        x = keep(x)
    return total


def parts(x: Any) -> Any:
    out = torch.zeros_like(x)
    for i in range(5):
        rows, columns = torch.where(x.view(3, 4) > i * 2)
        out.index_add_(0, rows, columns * x[rows] * i)
    return out


@pytest.mark.parametrize(("fn", "graphs"), [(shrinking, 2), (parts, 3)])
def test_sizes_from_data_vary_from_the_start(fn: Any, graphs: int) -> None:
    report = same(fn, X, then=[(X + 1,), (torch.arange(12.0).flip(0),)])
    assert len(report.graphs) == graphs


def test_sizes_from_data_of_a_callee() -> None:
    report = same(shrinking_in_a_callee, X)
    assert len(report.graphs) <= 5


def test_only_the_sizes_that_data_decides_vary() -> None:
    def f(x: Any) -> Any:
        rows = x.view(3, 4)
        return rows[rows[:, 0] > 1] * 2, rows[:, rows[0] > 1] * 2

    report = same(f, X, graphs=3)
    varying = [
        tuple(type(size) is torch.SymInt for size in node.meta["example_value"].shape)
        for gm in report.graphs[1:]
        for node in gm.graph.nodes
        if node.op == "placeholder" and isinstance(node.meta.get("example_value"), torch.Tensor)
    ]
    assert (True, False) in varying and (False, True) in varying and (True, True) not in varying


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item() + 0.5,
        lambda x: int(x.sum()) + 1,
        lambda x: sum(x[:3].tolist()),
        lambda x: x[0].item() > 2,
    ],
)
def test_numbers_from_data_vary_from_the_start(read: Any) -> None:
    def f(x: Any) -> Any:
        n = read(x)
        return x * n if n else x

    same(f, X + 3, graphs=2, then=[(X + 4,), (X + 5,)], recompiles=0)


def test_counts_of_a_loop_vary_from_the_start() -> None:
    def f(x: Any) -> Any:
        for i, (j, w) in enumerate(zip(range(1, 7), [x, x, x, x, x, x])):
            x = x + w * (i + j)
            alternator.graph_break()
        return x

    same(f, X, graphs=2)


def test_steps_of_a_loop_vary_from_the_start() -> None:
    def until(x: Any) -> Any:
        n = 0
        while x.sum() < 100:
            x = x * 2 + n
            n += 1
        return x, n

    def down(x: Any, limit: int) -> Any:
        n = 10
        while True:
            x = x * 2 + n
            n -= 1
            if x.sum() > 1000 or n < limit:
                break
        return x, n

    same(until, X, graphs=2, then=[(X * 3,), (X + 0.5,), (X * 200,)], recompiles=0)
    same(down, X, 4, graphs=2, then=[(X * 0, 4), (X + 6, 4), (X * 100, 4)], recompiles=0)


def test_a_step_that_decides_is_guarded() -> None:
    def f(x: Any) -> Any:
        n = 0
        weights = [x + 1, x * 2, x - 3, x]
        while n < 4:
            x = x + weights[n].sum().item() * (1 if n % 2 else 3)
            n += 1
            if n == 3:
                x = x - 1
        return x, n

    same(f, X, then=[(X * 3,), (X + 0.5,)], recompiles=0)


def test_what_a_count_decides_is_guarded() -> None:
    def f(x: Any) -> Any:
        for i in range(6):
            alternator.graph_break()
            x = x + 1 if i % 2 else x * 2
            if i == 4:
                x = x - 1
        return x

    same(f, X)


def test_numbers_in_a_list_are_constants_at_first() -> None:
    def f(x: Any) -> Any:
        for i in [2, 2, 2]:
            x = x + i
            alternator.graph_break()
        return x

    report = same(f, X)
    assert all(not isinstance(node.meta.get("example_value"), torch.SymInt) for gm in report.graphs for node in gm.graph.nodes)


def test_what_varies_before_the_break_varies_behind_it() -> None:
    def f(x: Any, n: int) -> Any:
        y = [x * n, {"z": x + n}]
        alternator.graph_break()
        return y[0].sum() * n + y[1]["z"].sum()

    calls = [(torch.ones(size, 2), n) for size, n in ((3, 3), (5, 5), (7, 6))]
    graphs: list[Any] = []
    compiled = alternator.compile(f, backend=lambda gm, inputs: graphs.append(gm) or gm.forward, dynamic=None)
    for x, n in calls:
        alternator.mark_dynamic(x, 0)
        torch.testing.assert_close(compiled(x, n), f(x, n))
    assert len(graphs) == 4  # the number: once more for each half


def test_a_rare_size_is_compiled_when_it_comes_again() -> None:
    def f(x: Any) -> Any:
        y = x[x > 5]
        return y.sum() + (y[1:] * y[:1]).sum()

    entries: list[Any] = []
    with alternator.utils.listening_to_entries(entries.append):
        compiled = alternator.compile(f, backend="eager")
        counts = []
        for n in (11, 10, 6, 6, 6, 9):
            x = torch.arange(n + 1.0)
            torch.testing.assert_close(compiled(x), f(x))
            counts.append(len(entries))
    assert counts[1] - counts[0] <= 1
    assert counts[2] <= counts[3] == counts[4]


class Closing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        alternator.graph_break()


def test_counts_of_a_loop_that_is_entered_in_a_handler() -> None:
    def f(x: Any) -> Any:
        for i in range(4):
            with Closing():
                x = x + i
                try:
                    raise KeyError(i)
                except KeyError as error:
                    for j in range(2):
                        x = x + j * len(error.args)
                        alternator.graph_break()
                        with Closing():
                            x = x * 2
                finally:
                    alternator.graph_break()
        return x

    same(f, X)


def test_a_break_where_a_with_is_left_by_an_exception() -> None:
    def f(x: Any) -> Any:
        for i in range(3):
            x = x + i
            try:
                with Closing():
                    alternator.graph_break()
                    raise KeyError(i)
            except KeyError:
                x = x * 2
        return x

    same(f, X)
