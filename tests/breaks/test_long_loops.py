"""Loops that go round for long without tensor work run plainly; what is around them is captured."""

from __future__ import annotations

from typing import Any

import torch

import alternator
from alternator import config, utils
from tests.helpers import same


def loops(n: int) -> int:
    total = 0
    for i in range(n):
        total = (total * 7 + i) % 1001
    return total


def test_a_function_that_loops_is_called_plainly_between_two_graphs() -> None:
    def f(x: Any, n: int) -> Any:
        y = x + 1
        total = loops(n)
        return y * total

    with config.patch(idle_steps_limit=100):
        same(f, torch.ones(2), 1000, graphs=2, breaks=["LONG_LOOP"], then=[(torch.zeros(2), 1000), (torch.ones(2), 999)])
    same(f, torch.ones(2), 1000, graphs=1, breaks=0)


def test_the_root_itself_loops() -> None:
    def f(x: Any, n: int) -> Any:
        y = x + 1
        total = 0
        while total < n:
            total += len([total for _ in range(3)])
        return y * total

    with config.patch(idle_steps_limit=100):
        same(f, torch.ones(2), 1000, graphs=0, breaks=["LONG_LOOP"])


def test_recursion_counts() -> None:
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    def f(x: Any) -> Any:
        y = x + 1
        return y * fib(12)

    with config.patch(idle_steps_limit=100):
        assert same(f, torch.ones(2)).breaks[0].code == "LONG_LOOP"


def test_a_loop_with_tensor_work_is_captured_however_long() -> None:
    def f(x: Any, n: int) -> Any:
        for i in range(n):
            x = x + loops(5)
        return x

    with config.patch(idle_steps_limit=20):
        same(f, torch.ones(2), 50, graphs=1, breaks=0)


def test_a_generator_that_loops() -> None:
    def numbers(n: int) -> Any:
        for i in range(n):
            if i % 100 == 0:
                yield i

    def f(x: Any, n: int) -> Any:
        return x + sum(numbers(n))

    with config.patch(idle_steps_limit=100):
        same(f, torch.ones(2), 1000)


def test_where_no_break_is_allowed_there_is_more_patience() -> None:
    def f(x: Any, n: int) -> Any:
        return x + loops(n)

    with config.patch(idle_steps_limit=100):
        same(f, torch.ones(2), 1000, graphs=1, fullgraph=True)


class Dying:
    log: list[str] = []

    def __del__(self) -> None:
        Dying.log.append("died")


def test_looking_for_what_dies_counts() -> None:
    """Where something's end shows, all that the program holds is looked through behind each instruction: not for minutes."""

    def f(x: Any, given: list[Any]) -> Any:
        held = [given.pop()]
        many = [[i] for i in range(2000)]
        total = 0
        for _ in range(600):
            total = total + len(held)
        held.clear()
        Dying.log.append("behind")
        return x + total + len(many)

    codes: list[str] = []
    with utils.listening_to_breaks(lambda broken: codes.append(broken.code)):
        made = alternator.compile(f, backend="eager")(torch.ones(1), [Dying()])
    assert made.item() == 2601 and Dying.log == ["died", "behind"]
    assert "LONG_LOOP" in codes
