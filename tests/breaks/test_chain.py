"""A break below inlined calls: every frame of the chain goes on where it was, and all of them together are one more graph."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import torch
from helpers import same

import alternator
from alternator import config

X = torch.arange(3.0)


def leaf(x: Any) -> Any:
    y = x + 1
    alternator.graph_break()
    return y * 2


def mid(x: Any) -> Any:
    z = leaf(x.sin()) + 3
    return z.cos()


def top(x: Any) -> Any:
    a = x * 5
    b = mid(a)
    return a + b


@pytest.mark.parametrize("fn", [leaf, mid, top])
def test_one_break_makes_two_graphs_at_any_depth(fn: Any) -> None:
    report = same(fn, X, graphs=2, breaks=["GRAPH_BREAK_CALL"])
    assert report.breaks[0].user_stack[-1].name == "leaf"
    assert len(report.breaks[0].user_stack) == (leaf, mid, top).index(fn) + 1


def test_without_nested_breaks_it_is_at_the_call_in_the_root() -> None:
    with config.patch(nested_graph_breaks=False):
        report = same(top, X)
    assert len(report.graphs) > 2


class Thing:
    def __init__(self, x: Any, fails: bool = False) -> None:
        self.a = x + 1
        alternator.graph_break()
        if fails:
            raise ValueError("no thing")
        self.b = self.a * 2

    @property
    def read(self) -> Any:
        alternator.graph_break()
        return self.b + 1

    @read.setter
    def read(self, value: Any) -> None:
        alternator.graph_break()
        self.b = value * 2

    def __getitem__(self, k: Any) -> Any:
        alternator.graph_break()
        return self.b * k

    def __setitem__(self, k: Any, value: Any) -> None:
        alternator.graph_break()
        self.b = self.b * k + value

    def __call__(self, x: Any) -> Any:
        alternator.graph_break()
        return x + self.b

    def __enter__(self) -> Any:
        alternator.graph_break()
        return self.a

    def __exit__(self, *error: Any) -> bool:
        alternator.graph_break()
        self.a = self.a + len(error)
        return error[0] is ValueError


class Fallback(Thing):
    @property
    def gone(self) -> Any:
        alternator.graph_break()
        raise AttributeError("gone")

    def __getattr__(self, name: str) -> Any:
        return self.a * len(name)


def constructor(x: Any) -> Any:
    thing = Thing(x.sin())
    return thing.a + thing.b


def failing_constructor(x: Any) -> Any:
    try:
        thing = Thing(x.sin(), fails=True)
    except ValueError as error:
        return x + len(str(error))
    return thing.a


def reads(x: Any) -> Any:
    thing = Thing(x)
    return thing.read.sin() + thing.read


def writes(x: Any) -> Any:
    thing = Thing(x)
    thing.read = x.cos()
    thing[2] = x + 1
    return thing.b + thing[3]


def calls_it(x: Any) -> Any:
    thing = Thing(x)
    return thing(x.sin()) + 1


def managers(x: Any) -> Any:
    thing = Thing(x)
    with thing as a:
        y = a + 1
        if x.shape[0] == 3:
            raise ValueError("swallowed")
    return y + thing.a


def falls_back(x: Any) -> Any:
    return Fallback(x).gone + 1


@pytest.mark.parametrize(
    "fn, breaks",
    [
        (constructor, 1),
        (failing_constructor, 1),
        (reads, 3),
        (writes, 4),
        (calls_it, 2),
        (managers, 2),
        (falls_back, 2),
    ],
)
def test_what_calls_for_the_program(fn: Any, breaks: int) -> None:
    same(fn, X, breaks=breaks if fn is not managers else None, then=[(torch.ones(4),)])


def raising(x: Any) -> Any:
    y = x + 1
    alternator.graph_break()
    if x.shape[0] == 3:
        raise ValueError("abc")
    return y


def test_an_exception_of_the_rest_meets_the_callers_handlers() -> None:
    def f(x: Any, log: list[Any]) -> Any:
        try:
            with torch.no_grad():
                y = raising(x * 2)
        except ValueError as error:
            log.append(str(error))
            return x + len(str(error)), torch.is_grad_enabled()
        finally:
            log.append(torch.is_grad_enabled())
        return y

    same(f, X, [], then=[(torch.ones(4), [])], graphs=2, breaks=1)


class Bad:
    def __len__(self) -> int:
        raise KeyError("bad")


plain_len = alternator.disable(len)


def test_an_exception_of_the_breaking_instruction_meets_the_callers_handlers() -> None:
    def broken(x: Any) -> Any:
        y = x + 1
        plain_len(Bad())
        return y

    def f(x: Any) -> Any:
        try:
            return broken(x.sin())
        except KeyError as error:
            return x.cos() + len(error.args)

    same(f, X)


def test_an_exception_that_nobody_handles_has_the_users_lines() -> None:
    def f(x: Any) -> Any:
        return raising(x.sin()) + 1

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        with pytest.raises(ValueError, match="abc") as info:
            compiled(X)
        lines = [row.line for row in traceback.extract_tb(info.value.__traceback__) if row.filename == __file__]
        assert lines[-2:] == ["return raising(x.sin()) + 1", 'raise ValueError("abc")']


class Inner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        y = self.linear(x)
        alternator.graph_break()
        return y.relu()


def test_modules() -> None:
    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(Inner(), Inner())

        def forward(self, x: Any) -> Any:
            return self.layers(x) + 1

    same(Outer(), torch.ones(2, 3), graphs=3, breaks=2)


def test_cells_are_shared_by_the_whole_chain() -> None:
    def f(x: Any) -> Any:
        count = 0

        def bump() -> None:
            nonlocal count
            count += 1

        def inner(y: Any) -> Any:
            bump()
            alternator.graph_break()
            bump()
            return y + count

        z = inner(x.sin())
        bump()
        return z * count

    same(f, X, graphs=2, breaks=1)


def test_many_breaks_below_one_call() -> None:
    def inner(x: Any) -> Any:
        x = x + 1
        alternator.graph_break()
        x = x.sin()
        alternator.graph_break()
        x = x.cos()
        alternator.graph_break()
        x = x * 2
        alternator.graph_break()
        x = x.exp()
        alternator.graph_break()
        x = x / 3
        alternator.graph_break()
        x = x.tan()
        alternator.graph_break()
        x = x - 5
        alternator.graph_break()
        x = x.neg()
        alternator.graph_break()
        return x + 7

    def f(x: Any) -> Any:
        return inner(x.sin()) + 1

    same(f, X, graphs=10, breaks=9)


def test_a_function_that_looks_at_its_locals() -> None:
    def f(x: Any) -> Any:
        alternator.graph_break()
        x = x + 1
        alternator.graph_break()
        later = x * 2
        return later, sorted(locals())

    same(f, X, breaks=2)
