"""In which order variables end with the function, where a continuation of it is captured: in the order of their names."""

from typing import Any, Callable

import pytest
import torch

import alternator

LOG: list[str] = []
X = torch.ones(2)


class Loud:
    def __init__(self, name: str) -> None:
        self.name = name

    def __del__(self) -> None:
        LOG.append(self.name)

    def use(self) -> int:
        return 1


class Holder:
    inside: Any


def waits(name: str) -> Any:
    try:
        yield 1
        yield 2
    finally:
        LOG.append(name)


def started(name: str) -> Any:
    generator = waits(name)
    next(generator)
    return generator


def methods(x: torch.Tensor) -> torch.Tensor:
    a, b, c = Loud("a"), Loud("b"), Loud("c")
    alternator.graph_break()
    c.seen = x  # type: ignore[attr-defined]
    x = x + b.use()
    a.seen = x  # type: ignore[attr-defined]
    return x * 2


def generators(x: torch.Tensor) -> torch.Tensor:
    a, b, c, d = started("a"), started("b"), started("c"), Loud("d")
    alternator.graph_break()
    x = x + next(c, 5)
    d.seen = x  # type: ignore[attr-defined]
    return x + next(a, 7) * 2


def unused(x: torch.Tensor) -> torch.Tensor:
    a, c, d = Loud("a"), Loud("c"), [Loud("d")]
    x = x + c.use()
    LOG.append("work")
    return x + len(d)


def in_a_generator(x: torch.Tensor, n: int) -> torch.Tensor:
    def gives(v: int) -> Any:
        try:
            yield v
            alternator.graph_break()
            yield v + x.shape[0]
        finally:
            LOG.append("second")

    feed = started("first")
    other = feed
    feed = gives(n)
    next(feed)
    next(feed)
    return torch.tensor([1, n / 2]).sum() + x


@pytest.mark.parametrize("fn", [methods, generators, unused])
def test_in_the_order_of_names(fn: Callable[..., Any]) -> None:
    compiled = alternator.compile(fn, backend="eager")
    check(lambda: fn(X), lambda: compiled(X), times=3)


def test_what_the_rest_of_a_callee_is_called_with_goes_at_once() -> None:
    compiled = alternator.compile(in_a_generator, backend="eager")
    for n in (0, 4, 5):
        check(lambda n=n: in_a_generator(X, n), lambda n=n: compiled(X, n))


def quiet() -> Any:
    return 5


def loud() -> Any:
    return Loud("a")


def in_a_list(x: torch.Tensor, make: Callable[[], Any]) -> torch.Tensor:
    a = make()
    alternator.graph_break()
    a = [a]
    LOG.append("work")
    return x + 1


def in_an_object(x: torch.Tensor, make: Callable[[], Any]) -> torch.Tensor:
    a = make()
    alternator.graph_break()
    holder = Holder()
    holder.inside = a
    del a
    LOG.append("work")
    return x + 1


@pytest.mark.parametrize("fn", [in_a_list, in_an_object])
@pytest.mark.parametrize("order", [[quiet, loud, loud], [Holder, loud, quiet], [loud, loud, quiet, loud]])
def test_what_an_object_holds_that_was_made_inside(fn: Callable[..., Any], order: list[Any]) -> None:
    compiled = alternator.compile(fn, backend="eager")
    for make in order:
        check(lambda make=make: fn(X, make), lambda make=make: compiled(X, make))


def check(plain: Callable[[], Any], captured: Callable[[], Any], times: int = 1) -> None:
    for _ in range(times):
        seen = []
        for run in (plain, captured):
            LOG.clear()
            result = run()
            seen.append((LOG.copy(), repr(result)))
        assert seen[0] == seen[1]
