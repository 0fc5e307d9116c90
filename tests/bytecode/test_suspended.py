"""Generators that are made to wait in the middle: compared with ones that came there by themselves."""

from __future__ import annotations

import sys
from types import CellType, FunctionType
from typing import Any

import pytest

from alternator.bytecode import decode, make_suspended


def yields(fn: Any) -> list[int]:
    return [i.index for i in decode(fn.__code__).instrs if i.opname == "YIELD_VALUE"]


def waiting(fn: Any, nth: int, given: dict[str, Any], stack: tuple[Any, ...] = (), handled: Any = None) -> Any:
    """The generator that waits in the nth yield of fn with these locals."""
    unbound = [name for name in fn.__code__.co_varnames if name not in given]
    made = make_suspended(fn.__code__, yields(fn)[nth], unbound=unbound)
    cells = tuple(CellType(given[name]) for name in made.free_names) or None
    function = FunctionType(made.code, {**fn.__globals__}, fn.__name__, None, cells)
    words = [given[name] for name in made.local_names] + list(stack) + ([handled] if made.handles else [])
    generator = function(*words)
    assert next(generator) is None
    return generator


def test_locals_and_what_is_sent() -> None:
    def f(a, b):
        c = yield a
        d = yield b, c
        return a, b, c, d

    g = waiting(f, 0, {"a": 1, "b": 2})
    assert g.gi_frame.f_locals == {"a": 1, "b": 2}
    assert (g.gi_frame.f_lineno, g.__name__, g.gi_code.co_name) == (f.__code__.co_firstlineno + 1, "f", "f")
    assert g.send(3) == (2, 3)
    assert g.gi_frame.f_locals == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(StopIteration) as stop:
        g.send(4)
    assert stop.value.value == (1, 2, 3, 4)


def test_stack_below_the_yield() -> None:
    def f(items):
        for i in items:
            yield [i, (yield i)]

    it = iter([1, 2, 3])
    next(it)
    g = waiting(f, 0, {"items": None, "i": 1}, (it, 1))
    assert g.send("s") == [1, "s"]
    assert list(g) == [2, [2, None], 3, [3, None]]


def test_throw_meets_the_handlers() -> None:
    def f(log):
        try:
            yield 1
        except ValueError as e:
            yield repr(e)
        finally:
            log.append("finally")

    log: list[Any] = []
    assert waiting(f, 0, {"log": log}).throw(ValueError("v")) == "ValueError('v')"
    assert log == ["finally"]  # the generator is gone
    waiting(f, 0, {"log": log}).close()
    assert log == ["finally"] * 2
    with pytest.raises(KeyError):
        waiting(f, 0, {"log": log}).throw(KeyError)


def test_in_a_handler() -> None:
    def f():
        try:
            raise KeyError
        except KeyError:
            yield sys.exc_info()[1]
            yield sys.exc_info()[1]
            raise
        yield None

    error = KeyError("mine")
    g = waiting(f, 0, {}, (), error)
    assert sys.exc_info()[1] is None
    assert next(g) is error
    try:
        raise LookupError("outside")
    except LookupError as outside:
        with pytest.raises(KeyError) as raised:
            next(g)
        assert raised.value is error
        assert sys.exc_info()[1] is outside


def test_delegates() -> None:
    def f(inner):
        return (yield from inner)

    def inner():
        try:
            yield 1
        except KeyError:
            yield "caught"
        return 5

    delegate = inner()
    next(delegate)
    g = waiting(f, 0, {"inner": delegate}, (delegate,))
    assert g.gi_yieldfrom is delegate
    assert g.throw(KeyError) == "caught"
    with pytest.raises(StopIteration) as stop:
        next(g)
    assert stop.value.value == 5


def test_cells() -> None:
    def f(n):
        def bump():
            nonlocal n
            n += 1

        yield bump
        yield n

    cell = CellType(5)

    def bump():
        cell.cell_contents += 10

    made = make_suspended(f.__code__, yields(f)[0])
    assert made.free_names == ("n",)
    g = FunctionType(made.code, {}, "f", None, (cell,))(bump)
    next(g)
    bump()
    assert next(g) == 15


def test_what_is_refused() -> None:
    def f():
        yield 1

    async def coroutine():
        return 1

    async def both():
        yield 1

    with pytest.raises(ValueError, match="no generator waits"):
        make_suspended(f.__code__, 0)
    for fn in (test_cells, coroutine, both):
        with pytest.raises(ValueError, match="no generator"):
            make_suspended(fn.__code__, 0)
