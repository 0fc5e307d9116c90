"""``itertools.tee`` in captured code, and its iterators outside of it."""

from __future__ import annotations

import copy
import itertools
import threading
from typing import Any

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(3.0)


class Failing:
    """Raises at the second step, and goes on after that."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> int:
        self.count += 1
        if self.count == 2:
            raise KeyError(self.count)
        return self.count


class Copied(Failing):
    def __copy__(self) -> Any:
        other = Failing()
        other.count = 10 * self.count
        return other


def apart(x: Any) -> Any:
    a, b, c = itertools.tee((x * i for i in range(4)), 3)
    next(a)
    return next(a), [*b], next(a), [*c], [*a]


def kinds(x: Any) -> Any:
    a, b = itertools.tee(x)
    return type(a).__name__, type(a) is type(b), isinstance(a, itertools._tee), iter(a) is a, next(a)  # type: ignore[attr-defined]


def numbers(x: Any) -> Any:
    out: list[Any] = [itertools.tee(x, 0), len(itertools.tee(x, 1))]
    try:
        itertools.tee(x, -1)
    except ValueError as error:
        out.append(str(error))
    return x + 1, out


def of_tee(x: Any) -> Any:
    a, _ = itertools.tee(x)
    b, c = itertools.tee(a)
    return a is b, next(b), next(a), next(c)


def copying(x: Any) -> Any:
    a, b = itertools.tee(Copied())
    return x + 1, type(a), type(b), next(a), next(b)


def going_on(x: Any) -> Any:
    a, b = itertools.tee(Failing())
    out = [next(a)]
    for one in (a, a, b, b):
        try:
            out.append(next(one))
        except KeyError as error:
            out.append(error.args[0])
    return x + 1, out


def leaving(x: Any) -> Any:
    a, b = itertools.tee([x, x + 1, x + 2])
    next(a)
    return type(a).__name__, [*copy.copy(a)], [*a], [*b]


class Again:
    """A step that takes from its own consumer."""

    consumer: Any = None

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        consumer, self.consumer = self.consumer, None
        return 1 if consumer is None else next(consumer)


def again(x: Any, at: int = 1) -> Any:
    it = Again()
    both = itertools.tee(it)
    it.consumer = both[at]
    try:
        return x + next(both[0])
    except RuntimeError as error:
        return x + 1, str(error), next(both[1])


def again_itself(x: Any) -> Any:
    return again(x, 0)


def map_again(x: Any) -> Any:
    it = Again()
    it.consumer = made = map(lambda value: x + value, it)
    return next(made), next(made)


@pytest.mark.parametrize("fn", [apart, kinds, numbers, of_tee, copying, going_on, leaving, again, again_itself, map_again])
def test_as_in_plain_python(fn: Any) -> None:
    same(fn, X)


def test_what_leaves_is_of_itertools() -> None:
    def f(x: Any) -> Any:
        a, b = itertools.tee([x, x + 1, x + 2])
        return next(a), a, b

    for run in (f, alternator.compile(f, backend=lambda gm, examples: gm.forward)):
        _, a, b = run(X)
        assert type(a) is type(b) is type(itertools.tee(())[0])
        assert len([*copy.copy(a)]) == len([*a]) == 2 and len([*b]) == 3


def test_another_thread_takes_from_one() -> None:
    """They notice that two take from what they share at the same time: without that each waits for the other."""

    class Waits:
        def __init__(self) -> None:
            self.begun, self.end = threading.Event(), threading.Event()

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> int:
            self.begun.set()
            assert self.end.wait(20)
            return 1

    def f(x: Any) -> Any:
        waits = Waits()
        a, b = itertools.tee(waits)
        thread = threading.Thread(target=next, args=[a])
        thread.start()
        try:
            waits.begun.wait()
            return x + next(b)
        except RuntimeError as error:
            return str(error)
        finally:
            waits.end.set()
            thread.join()

    assert alternator.compile(f, backend=lambda gm, examples: gm.forward)(X) == f(X) == "cannot re-enter the tee iterator"


def test_kept_inside_all_is_one_graph() -> None:
    def f(x: Any) -> Any:
        a, b = itertools.tee(x * i for i in range(4))
        return [p + q for p, q in zip(a, b)]

    assert len(same(f, X).graphs) == 1
