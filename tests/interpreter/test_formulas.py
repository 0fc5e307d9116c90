"""Integers that vary: as formulas as far as these can be had, as constants beyond."""

from __future__ import annotations

import math
import random
import re
from typing import Any, Callable

import pytest
import torch

import alternator

X = torch.ones(2)


def check(fn: Callable[..., Any], *calls: tuple[Any, ...], dynamic: bool | None = None, fullgraph: bool = True) -> None:
    compiled = alternator.compile(fn, backend="eager", fullgraph=fullgraph, dynamic=dynamic)
    breaks: list[Any] = []
    with alternator.config.patch(recompile_limit=len(calls) + 1), alternator.utils.listening_to_breaks(breaks.append):
        for args in (*calls, *calls[::-1]):
            assert repr(compiled(X, *args)) == repr(fn(X, *args)), args
    assert not breaks


@pytest.mark.parametrize("dynamic", [None, True])
def test_numbers_beyond_64_bits(dynamic: bool | None) -> None:
    def fn(x: Any, a: int, d: int) -> Any:
        b, c = a << d, a * 2**d
        q, r = divmod(b * b + 1, 12345)
        return x + 1, b, c, q, r, b > 10**40, -b, abs(-c) // 7, (b & 0xFFFF) % 255, b ^ c, (b >> d) - a

    check(fn, (3, 5), (5, 30), (7, 61), (7, 62), (9, 70), (12345, 200), (2**62 - 1, 1), (-(2**61), 2), (3, 6), dynamic=dynamic)


def test_formulas_that_double() -> None:
    def bits(n: int) -> int:
        return 1 + bits(n & n - 1) if n else 0

    def fn(x: Any, n: int) -> Any:
        return x + 1, bits(n)

    check(fn, *[(n,) for n in (3, 5, 2**40 - 1, 2**40 + 1, 12345678, 0)], dynamic=True)


def test_formulas_of_bits_stay_short() -> None:
    """Nothing is simplified or bounded through them: each guard on a long one takes sympy tens of milliseconds."""

    def product(start: int, stop: int) -> int:
        count = (stop - start) >> 1
        if count < 2:
            return start if count else 1
        middle = (start + count) | 1
        return product(start, middle) * product(middle, stop)

    def fn(x: Any, n: int) -> Any:
        return x + 1, product(3, n | 1)

    entries: list[Any] = []
    with alternator.utils.listening_to_entries(entries.append):
        check(fn, *[(n,) for n in (4, 9, 21, 40, 64, 101)], dynamic=True)
    assert 0 < max(text.count("bitwise_or") for entry in entries for text in entry.extra.guards) <= 4


def test_many_formulas_that_become_constants() -> None:
    """After a few of them the numbers that they are made of do: else a version has hundreds of long guards."""

    def fn(x: Any, n: int) -> Any:
        digits = []
        for i in range(1, 40):
            digits.append((n * (n + i)) << 61)
        return x + 1, digits

    entries: list[Any] = []
    with alternator.utils.listening_to_entries(entries.append):
        check(fn, (3,), (5,), (70,))
    assert len(entries) == 3
    assert max(sum(bool(re.search(r"\bn\b", text)) for text in entry.extra.guards) for entry in entries) <= 15


def test_what_became_constant_is_a_number() -> None:
    """What is made of it is no formula: it takes no longer than numbers do, and counts as such."""

    def fn(x: Any, n: int) -> Any:
        total = {1: 1}.get(n, 2)  # the number itself is looked up
        for i in range(1200):
            total += n ^ i
        return x + 1, total

    with alternator.config.patch(idle_steps_limit=8000):
        check(fn, (3,), (5,), (70,), dynamic=True, fullgraph=False)


def test_formulas_that_grow() -> None:
    def fn(x: Any, n: int, times: int) -> Any:
        a, b = n, 1
        for _ in range(times):
            a, b = b, (a * 3 + b // 2) % 1000003
        return x + a, b

    check(fn, *[(n, times) for n in (3, 5, 70) for times in (2, 100)], dynamic=True)


def test_a_sum_of_many_steps_stays_a_formula() -> None:
    def fn(x: Any, n: int) -> Any:
        for i in range(500):
            n = n + i
        return x * n, n

    compiled = alternator.compile(fn, backend="eager", fullgraph=True, dynamic=True)
    entries: list[Any] = []
    with alternator.utils.listening_to_entries(entries.append):
        for n in (3, 4, 5, 9):
            assert repr(compiled(X, n)) == repr(fn(X, n))
    assert len(entries) == 1


def test_large_constants_beside_numbers_that_vary() -> None:
    def fn(x: Any, q: int, shift: int, v: float) -> Any:
        return x + 1, q * 2**shift <= 1e300, (2**55 - 8) * v < 5.0, ((2**60 + 1) * v + 0.25) * 3

    check(fn, (3, -1, 1.5), (2**55 - 8, -2, 2.5), (2**55 - 8, -1, 2.5), (2**55 + 1, -3, 3.0), (2**60 + 1, -3, 3.0), dynamic=True)


@pytest.mark.parametrize("how", ["drawn", "computed"])
def test_a_long_loop_over_symbolic_numbers_runs_plainly(how: str) -> None:
    def fn(x: Any, n: int, v: float) -> Any:
        if how == "drawn":
            return x + 1, sum(random.randrange(1000) % 3 == 2 for _ in range(n))
        last = 0.0
        for i in range(n):
            last = v * i * 0.1 + last * 0.5
        return x + 1, last

    codes: list[str] = []
    few_steps = alternator.config.patch(idle_steps_limit=4_000)
    compiled = alternator.compile(fn, backend="eager")
    with alternator.utils.listening_to_breaks(lambda broken: codes.append(broken.code)), few_steps:
        for v in (1.5, 2.5, 3.5):
            random.seed(1)
            plain = fn(X, 3_000, v)
            random.seed(1)
            assert repr(compiled(X, 3_000, v)) == repr(plain)
    assert "LONG_LOOP" in codes


@pytest.mark.parametrize("dynamic", [None, True])
def test_ints_that_no_float_is_exactly(dynamic: bool | None) -> None:
    def fn(x: Any, n: int, v: float) -> Any:
        f, g = float(n), n / 3
        close = math.ldexp(float(n >> 4), 4)
        return (
            x + 1,
            f,
            f == 2.0**56,
            f >= 2.0**56,
            f == v,
            f == close,
            f == n,
            g == float(n // 3),
            n * 0.5,
            n < v,
            n == v,
            math.sqrt(abs(n)),
            f - v,
            n - v,
        )

    ints = (3, 2**56 - 1, -(2**56) + 95, 2**60 + 129, 2**53 + 1)
    check(fn, *[(n, 2.0**56) for n in ints], (2**56 + 3, float(2**56 + 3)), dynamic=dynamic)


def test_a_float_that_is_looked_at_says_nothing_more_of_the_int_that_it_is_made_of() -> None:
    def fn(x: Any, n: int) -> Any:
        f = float(n)
        return x + 1, f.hex(), n, n == 2**56, f == 2.0**56, n - 2**56

    check(fn, (3,), (2**56 - 1,), (2**56 + 1,), (-(2**56) + 95,), dynamic=True)


@pytest.mark.parametrize("flag", [True, False])
def test_a_number_that_varies_beside_a_bool(flag: bool) -> None:
    def fn(x: Any, items: list[int]) -> Any:
        found = items.count(flag), flag in items, (items[0],) == (flag,), [items[0]] < [flag], {flag: 5}.get(items[0])
        return x + 1, found, items[0] == flag, items[0] < flag, flag - items[0], items[0] | flag, 2.5 * items[0] > flag

    check(fn, ([1, 2, 3],), ([4, 1, 2],), ([0, 0],), ([7, 0],), dynamic=True)
