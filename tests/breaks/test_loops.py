"""A break in a loop: the rest of the loop is captured once, and serves every iteration."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from helpers import same

import alternator
from alternator import utils

X = torch.ones(3)
MANY = 12
"""More iterations than a code object may have entries."""


def over_range(x: Any) -> Any:
    for i in range(MANY):
        x = x + i
        alternator.graph_break()
        x = x.sin()
    return x


def unused_variable(x: Any) -> Any:
    for _ in range(MANY):
        x = x + 1
        alternator.graph_break()
    return x


def collecting(x: Any) -> Any:
    out = []
    for i in range(MANY):
        x = x + 1
        alternator.graph_break()
        out.append(x * i)
    return out, x


def comprehension(x: Any) -> Any:
    return [step(x, i) for i in range(MANY)]


def step(x: Any, i: Any) -> Any:
    y = x * 2
    alternator.graph_break()
    return y + i


def counting(x: Any) -> Any:
    i = 0
    while i < MANY:
        x = x + 1
        alternator.graph_break()
        i += 1
    return x


def enumerated(x: Any) -> Any:
    for i, y in enumerate([x * n for n in range(MANY)]):
        alternator.graph_break()
        x = x + y * i
    else:
        x = x - 1
    return x


def zipped(x: Any) -> Any:
    for i, f in zip(range(MANY), [n + 0.5 for n in range(MANY)]):
        alternator.graph_break()
        x = x + i * f
    return x


def over_dict(x: Any) -> Any:
    table = {n: x + n for n in range(MANY)}
    for y in table.values():
        alternator.graph_break()
        x = x + y
    return x


def leaving(x: Any) -> Any:
    for i in range(3 * MANY):
        x = x + 1
        alternator.graph_break()
        if i == MANY:
            break
        if i % 2:
            continue
        x = x * 1.5
    else:
        return x
    return x - 1


def nested(x: Any) -> Any:
    for _ in range(MANY):
        for _ in range(3):
            x = step(x, 1) / 2
        x = x - 1
    return x


def with_handler(x: Any) -> Any:
    caught = 0
    for i in range(MANY):
        try:
            x = step(x, 0)
            if i % 3 == 0:
                raise ValueError(i)
        except ValueError:
            caught += 1
        finally:
            x = x / 2
    return x, caught


LOOPS = [over_range, unused_variable, collecting, comprehension, counting, enumerated, zipped, over_dict, nested]


@pytest.mark.parametrize("fn", LOOPS)
def test_no_capture_per_iteration(fn: Any) -> None:
    report = same(fn, X)
    assert len(report.graphs) < MANY, [str(reason) for reason in report.breaks]
    assert not utils.counters["recompile_limit"]


@pytest.mark.parametrize("fn", [leaving, with_handler])
def test_ways_out_of_an_iteration(fn: Any) -> None:
    same(fn, X)


def test_the_stack_stays_flat() -> None:
    depths = set()

    @alternator.disable
    def look() -> None:
        depth, frame = 0, sys._getframe()
        while frame is not None:
            depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
        depths.add(depth)

    def f(x: Any) -> Any:
        for _ in range(1200):
            x = x + 1
            look()
        return x

    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X), f(X))
    assert len(depths) < 8


def test_modules_of_one_class_share_the_rest_of_the_loop() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 3) for _ in range(MANY)])

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
                alternator.graph_break()
                x = x.relu()
            return x

    report = same(Net(), torch.ones(2, 3))
    assert len(report.graphs) <= 4


def test_what_is_iterated_may_grow() -> None:
    def f(x: Any, items: list[Any]) -> Any:
        for item in items:
            alternator.graph_break()
            x = x + item
            if len(items) < 5:
                items.append(len(items))
        return x

    same(f, X, [1, 2])


def test_a_dict_that_changes_while_it_is_iterated() -> None:
    def f(x: Any, table: dict[Any, Any]) -> Any:
        for key in table:
            alternator.graph_break()
            x = x + table[key]
            table[key + "x"] = 1
        return x

    same(f, X, {"a": 1, "b": 2})


def test_iterators_that_share_what_they_take_from() -> None:
    def f(x: Any, first: Any, second: Any) -> Any:
        for a, b in zip(first, second):
            alternator.graph_break()
            x = x + a * b + next(first, 0)
        return x

    for make in (lambda: (iter(range(2, 9)), iter(range(3, 9))), lambda: (iter(range(2, 9)),) * 2):
        alternator.reset()
        compiled = alternator.compile(f, backend="eager")
        for _ in range(2):
            assert torch.equal(compiled(X, *make()), f(X, *make()))
    compiled = alternator.compile(f, backend="eager")
    one = iter(range(2, 9))
    assert torch.equal(compiled(X, iter(range(2, 9)), iter(range(3, 9))), f(X, iter(range(2, 9)), iter(range(3, 9))))
    other = iter(range(2, 9))
    assert torch.equal(compiled(X, one, one), f(X, other, other))


def test_an_outside_enumerate_moves_on() -> None:
    def f(x: Any, it: Any) -> Any:
        i, y = next(it)
        return x * i + y

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    captured, plain = enumerate([4, 5, 6], 2), enumerate([4, 5, 6], 2)
    for _ in range(3):
        assert torch.equal(compiled(X, captured), f(X, plain))
    with pytest.raises(StopIteration):
        compiled(X, captured)


def test_what_breaks_everywhere_is_left_alone(caplog: Any) -> None:
    lines = ["def f(x):", *["    alternator.graph_break()"] * 40, "    return x + 1"]
    space: dict[str, Any] = {"alternator": alternator}
    exec("\n".join(lines), space)
    report = same(space["f"], X)
    assert len(report.breaks) < 20
    assert [record.levelname for record in caplog.records if "runs plainly from now on" in record.message] == ["WARNING"]
