"""Generators that are made to wait in the middle: compared with ones that came there by themselves."""

from __future__ import annotations

import sys
import weakref
from types import CellType, FunctionType
from typing import Any

import pytest

from alternator._C.eval_frame import NULL, set_finished, set_running, set_waiting, set_yielded, waiting


def places(fn: Any, *args: Any) -> list[Any]:
    """What `waiting` says before each step of a generator."""
    g = fn(*args)
    seen = [waiting(g)]
    for _ in g:
        seen.append(waiting(g))
    return [*seen, waiting(g)]


def placed(fn: Any, nth: int, given: dict[str, Any], stack: tuple[Any, ...] = (), handled: Any = None, model: Any = ()) -> Any:
    """A new generator of fn that waits in its nth yield with these variables; `model`: arguments with which one comes there."""
    place = places(fn, *model)[nth + 1][1]
    code = fn.__code__
    g = fn(*[None] * code.co_argcount)
    names = (*code.co_varnames, *(name for name in code.co_cellvars if name not in code.co_varnames))
    return set_waiting(g, place, {i: given.get(name, NULL) for i, name in enumerate(names)}, stack, handled)


def plain(a: Any, b: Any) -> Any:
    c = yield a
    d = yield b, c
    return a, b, c, d


def test_what_is_read() -> None:
    before, first, second, over = places(plain, 1, 2)
    assert before[0] is first[0] is plain.__code__
    assert before[1] < first[1] < second[1]
    assert (first[2], first[3], first[4], first[5]) == (plain, None, (1, 2, NULL, NULL), ())
    assert second[4] == (1, 2, None, NULL)
    assert over == (None, -1, None, None, (), ())


def test_variables_and_what_is_sent() -> None:
    g = placed(plain, 0, {"a": 1, "b": 2}, model=(1, 2))
    assert g.gi_frame.f_locals == {"a": 1, "b": 2}
    assert g.gi_frame.f_lineno == plain.__code__.co_firstlineno + 1
    assert g.send(3) == (2, 3)
    with pytest.raises(StopIteration) as stop:
        g.send(4)
    assert stop.value.value == (1, 2, 3, 4)


def test_stack_below_the_yield() -> None:
    def f(items: Any) -> Any:
        for i in items:
            yield [i, (yield i)]

    it = iter([1, 2, 3])
    next(it)
    g = placed(f, 0, {"i": 1}, (it, 1), model=([1],))
    assert g.send("s") == [1, "s"]
    assert list(g) == [2, [2, None], 3, [3, None]]


def test_throw_meets_the_handlers() -> None:
    def f(log: list[Any]) -> Any:
        try:
            yield 1
        except ValueError as e:
            yield repr(e)
        finally:
            log.append("finally")

    log: list[Any] = []
    assert placed(f, 0, {"log": log}, model=([],)).throw(ValueError("v")) == "ValueError('v')"
    assert log == ["finally"]  # the generator is gone
    placed(f, 0, {"log": log}, model=([],)).close()
    assert log == ["finally"] * 2
    with pytest.raises(KeyError):
        placed(f, 0, {"log": log}, model=([],)).throw(KeyError)


def test_in_a_handler() -> None:
    def f() -> Any:
        try:
            raise KeyError
        except KeyError:
            yield sys.exc_info()[1]
            yield sys.exc_info()[1]
        yield None

    error = KeyError("mine")
    g = f()
    next(g)
    _, place, _, handled, _, stack = waiting(g)  # type: ignore[misc]
    assert type(handled) is KeyError
    assert stack == (None,)
    g = set_waiting(f(), place, {}, stack, error)
    assert sys.exc_info()[1] is None
    assert next(g) is error
    assert sys.exc_info()[1] is None
    assert next(g) is None


def test_delegates() -> None:
    def f(inner: Any) -> Any:
        return (yield from inner)

    def inner() -> Any:
        try:
            yield 1
        except KeyError:
            yield "caught"
        return 5

    delegate = inner()
    next(delegate)
    g = placed(f, 0, {}, (delegate,), model=([1],))
    assert g.gi_yieldfrom is delegate
    assert g.throw(KeyError) == "caught"
    with pytest.raises(StopIteration) as stop:
        next(g)
    assert stop.value.value == 5


def test_cells() -> None:
    def f(n: Any) -> Any:
        yield lambda: n
        yield n

    g = placed(f, 0, {"n": CellType(5)}, model=(1,))
    assert next(g) == 5


def test_finished() -> None:
    class Token:
        pass

    def f(token: Any, log: list[Any]) -> Any:
        try:
            yield 1
        finally:
            log.append("finally")

    for steps in (0, 1):
        token, log = Token(), []  # type: ignore[var-annotated]
        died = weakref.ref(token)
        g = f(token, log)
        del token
        for _ in range(steps):
            next(g)
        set_finished(g)
        assert (died(), log, next(g, "over"), g.gi_frame) == (None, [], "over", None)


def test_what_is_refused() -> None:
    def f() -> Any:
        yield waiting(g)

    g = f()
    assert next(g) is None  # it runs
    g.gi_frame.f_trace = print
    assert waiting(g) is None
    with pytest.raises(ValueError, match="traced"):
        set_waiting(g, 0, {}, (), None)
    with pytest.raises(ValueError, match="traced"):
        set_finished(g)
    g.gi_frame.f_trace = None
    place = waiting(g)[1]  # type: ignore[index]
    for wrong in ((1000, {}, ()), (place, {7: 1}, ()), (place, {}, (1,) * 50)):
        with pytest.raises(ValueError, match="generator"):
            set_waiting(g, *wrong, None)
    with pytest.raises(TypeError, match="expected a generator"):
        waiting(iter([]))
    assert FunctionType(f.__code__, {"g": 1}, "f", None, (CellType(g),))  # the function still stands
    assert next(g, "over") == "over"


def test_without_its_frame() -> None:
    def f(a: Any) -> Any:
        def look() -> Any:
            return a

        b = yield look
        yield a, b

    g = f(1)
    look = next(g)
    place, cells = waiting(g)[1], {f.__code__.co_varnames.index("a"): look.__closure__[0]}
    slots = tuple(f.__code__.co_varnames.index(name) for name in ("look", "b"))
    held = weakref.ref(look)
    del look
    assert set_running(g, cells) is g
    assert held() is None
    assert g.gi_running and waiting(g)[1] == -2 and g.gi_yieldfrom is None
    for forbidden in (lambda: next(g), g.close):
        with pytest.raises(ValueError, match="already executing"):
            forbidden()
    assert set_yielded(g, ((place, slots, (), False), "given", len, NULL)) == "given"
    assert not g.gi_running and g.gi_frame.f_locals == {"a": 1, "look": len}
    with pytest.raises(ValueError, match="has its frame itself"):
        set_yielded(g, (None, 3))
    assert g.send(2) == (1, 2)
    set_running(g, {})
    with pytest.raises(StopIteration) as stop:
        set_yielded(g, (None, 3))
    assert stop.value.value == 3 and g.gi_frame is None


def test_a_state_that_is_none() -> None:
    g = set_running(plain(1, 2), {})
    for state in ((), ((0, (), (), False),), ((9999, (), (), False), 1), ((0, (7,), (), False), 1, 2), ((0, (), (3,), False), 1)):
        with pytest.raises(ValueError, match="state"):
            set_yielded(g, state)
    set_finished(g)
    assert g.gi_frame is None
