"""Floats that vary are computed as the program wrote it: no formula is simplified that a machine would not simplify."""

from __future__ import annotations

import contextlib
import io
import math
import operator

import pytest
import torch
from helpers import Recorder, same

import alternator
from alternator.utils import counters

X = torch.arange(3.0)
VALUES = (1.5, 2.5, 3.7, 0.3, -0.1, 1e300, -7.25)
ODD = (float("inf"), float("nan"), -0.0, float("-inf"))
FORMULAS = {
    "cancels": lambda v: (v + 1e20) - 1e20,
    "associates": lambda v: (v + 0.1) + 0.2,
    "collects": lambda v: v * 0.1 * 3,
    "nothing left": lambda v: v - v,
    "times nothing": lambda v: v * 0,
    "overflows": lambda v: (v * 1e200) * 1e200 / 1e200 / 1e200,
    "neutral": lambda v: (v + 0, v * 1, -(-v), v / 1, +v, abs(-v)),
    "distributes": lambda v: (v + 0.1) * 3 - v * 3,
    "squares": lambda v: v * v - v * v * 1.1,
    "mixed": lambda v: (v * 3 + 1) / 3 - 1,
    "in place": lambda v: operator.isub(operator.imul(v, 0.7), v),
    "powers": lambda v: (v**2) * 0.1 + v**3 if abs(v) < 100 else 0.0,
    "functions": lambda v: math.sqrt(abs(v) * 0.1 + 0.7) * 0.3,
    "rounded": lambda v: round(v * 0.1 + 0.05, 1) if abs(v) < 100 else 0.0,
    "to int": lambda v: int(v * 0.1 * 3) if abs(v) < 100 else 0,
    "ends": lambda v: (max(v * 0.1, 0.2), min(v, v - 0.1, 0.5)),
}


def check(fn, *rows):
    compiled = alternator.compile(fn, backend="eager")
    for row in rows:
        assert repr(compiled(*row)) == repr(fn(*row)), row


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name: str) -> None:
    def f(x, v):
        made = FORMULAS[name](v)
        return x * (made[0] if isinstance(made, tuple) else made), made

    check(f, *[(X, v) for v in VALUES])


@pytest.mark.parametrize("name", ["cancels", "nothing left", "times nothing", "neutral", "associates"])
def test_numbers_that_are_none(name: str) -> None:
    check(lambda x, v: (x + 1, FORMULAS[name](v)), *[(X, v) for v in (*VALUES, *ODD)])


DECISIONS = {
    "sum": lambda v: v + 0.1 + 0.2 == v + 0.3,
    "cancels": lambda v: (v + 1e20) - 1e20 == v,
    "scaled": lambda v: v * 0.1 < 0.25,
    "successor": lambda v: v < v + 1,
    "itself": lambda v: v == v,
    "infinite": lambda v: v == float("inf"),
    "bounded": lambda v: v < float("inf"),
    "overflows": lambda v: v * 1e300 < float("inf"),
    "quotient": lambda v: v / 3 * 3 == v,
}


@pytest.mark.parametrize("name", DECISIONS)
def test_decisions_are_guarded_as_they_were_made(name: str) -> None:
    check(lambda x, v: x + 1 if DECISIONS[name](v) else x - 1, *[(X, v) for v in (*VALUES, 2.4999999999999996, 1e16, *ODD)])


@pytest.mark.parametrize("name", DECISIONS)
def test_decisions_on_what_the_graph_computes(name: str) -> None:
    def f(x, t):
        return x + 1 if DECISIONS[name](t.item()) else x - 1

    with alternator.config.patch(capture_scalar_outputs=True):
        check(f, *[(X, torch.tensor(v, dtype=torch.float64)) for v in (*VALUES, *ODD)])


@pytest.mark.parametrize("name", ["cancels", "associates", "collects", "nothing left", "neutral", "mixed"])
def test_formulas_of_what_the_graph_computes(name: str) -> None:
    with alternator.config.patch(capture_scalar_outputs=True):
        check(
            lambda x, t: (x + 1, FORMULAS[name](t.item())), *[(X, torch.tensor(v, dtype=torch.float64)) for v in (*VALUES, *ODD)]
        )


def test_sizes_become_floats() -> None:
    def f(x):
        n = x.shape[0]
        scale = n**-0.5 * 0.1 * 3 + n / 3 - n * 0.1 * 3
        return x * scale, scale, n * 0.0, n / 7 == n * (1 / 7)

    compiled = alternator.compile(f, backend="eager", dynamic=True)
    for n in (2, 3, 5, 7, 49, 103):
        assert repr(compiled(torch.ones(n))) == repr(f(torch.ones(n)))


def test_one_graph_serves_all_values() -> None:
    def f(x, v):
        w = v * 0.1 * 3
        return x * w + w if w < 100 else x

    counters.clear()
    check(f, *[(X, v) for v in (1.0, 2.0, 3.0, 4.5, 5.5)])
    assert counters["stats"]["unique_graphs"] == 2


def test_formulas_in_bodies() -> None:
    def f(x, v):
        w = v * 0.1 * 3
        return torch.cond(x.sum() > 0, lambda x: x * w + (w * 7) * 0.1, lambda x: x - w, (x,))

    check(f, *[(X, v) for v in (1.0, 2.0, 3.0)], *[(-X, v) for v in (4.0, 2.0)])


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_number_that_is_too_large_is_so_at_its_place(backend: str) -> None:
    def f(x, v, how, seen):
        seen.append(v)
        try:
            w = v**2.0 if how == "power" else v**200.5 if how == "large" else math.exp(v)
        except OverflowError:
            w = "over"
        seen.append(w)
        return x + 1, w

    for how, large in (("power", 1e300), ("large", 1e300), ("exp", 1e4)):
        compiled = alternator.compile(f, backend=backend)
        for v in (2.0, 3.0, 4.0, large, 5.0):
            outs = []
            for fn in (f, compiled):
                seen: list[object] = []
                outs.append((fn(torch.ones(1), v, how, seen)[1], seen))
            assert outs[0] == outs[1]


def test_numbers_of_more_than_64_bits_beside_floats() -> None:
    def f(x, v):
        w = v * 10**66
        return x + (1 if w + 10**70 > 10**71 else 2), w * 10**30, w < 10**67

    check(f, *[(X, v) for v in (1.5, 2.5, 1e9, -3.25)])


def test_numbers_of_tensors_are_shown_without_another_version() -> None:
    """What is logged of a loss differs each time."""
    log: list[object] = []

    def step(x):
        loss = (x * x).mean()
        print(f"loss {loss.item():.4f}")
        print("loss", loss.item(), str(loss.item()))
        log.append({"loss": round(loss.item(), 3), "text": "%.2f" % loss.item()})
        return loss * 2

    recorder = Recorder()
    compiled = alternator.compile(step, backend=recorder)
    shown = []
    for fn in (step, compiled):
        torch.manual_seed(0)
        out = io.StringIO()
        log.clear()
        with contextlib.redirect_stdout(out):
            for _ in range(6):
                fn(torch.randn(3))
        shown.append((out.getvalue(), list(log)))
    assert shown[0] == shown[1]
    assert len(recorder.graphs) <= 5


def test_rounding() -> None:
    def f(x, v):
        return x * round(v, 2), round(v, 3), round(v)

    x = torch.ones(2)
    same(f, x, 0.12345, then=[(x, 0.98765), (x, -2.5), (x, 2.675), (x, 1e300)])
