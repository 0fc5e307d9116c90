"""Generators that were made outside of the captured code: read where they wait, and put where the program leaves them."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from typing import Any, Callable

import pytest
import torch
from helpers import Recorder, assert_same, same

import alternator
from alternator import utils
from alternator._C.eval_frame import unsupported

X = torch.arange(4.0)


def counting(x: Any, n: int = 5) -> Any:
    total = x
    for i in range(n):
        got = yield total + i
        if got is not None:
            total = total * got
    return total


def guarded(x: Any, log: list[Any]) -> Any:
    try:
        try:
            got = yield x
            log.append(got)
            yield x + 1
        except KeyError as error:
            log.append((repr(error), repr(error.__context__)))
            yield x + 2
            yield repr(sys.exc_info()[1])
            raise
    finally:
        log.append("finally")
        log.append(repr(sys.exc_info()[1]))


def chain(x: Any, log: list[Any]) -> Any:
    got = yield from guarded(x, log)
    log.append(got)
    yield from [x, 2]
    return "end"


def drained(generator: Any) -> Any:
    out = []
    while len(out) < 10:
        try:
            out.append(next(generator))
        except StopIteration as stop:
            return out, stop.value
        except Exception as error:
            return out, repr(error)
    return out, "goes on"


class Seen:
    """What both runs did: compiled code and plain code each on generators of their own."""

    def __init__(self, graphs: int, breaks: list[str], entries: int) -> None:
        self.graphs, self.breaks, self.entries = graphs, breaks, entries


def both(fn: Callable[..., Any], make: Callable[[], tuple[Any, ...]], then: Any = (), calls: int = 2) -> Seen:
    """``fn`` plainly and captured on what ``make`` gives (``calls`` times, and on each of ``then``): the same results, and
    generators that go on alike afterwards."""
    alternator.reset()
    backend = Recorder()
    breaks: list[Any] = []
    entries: list[Any] = []
    compiled = alternator.compile(fn, backend=backend)
    first = Seen(0, [], 0)
    with utils.listening_to_breaks(breaks.append), utils.listening_to_entries(entries.append):
        for number, one in enumerate([make] * calls + list(then)):
            outcomes = []
            for run in (fn, compiled):
                args = one()
                try:
                    result: Any = run(*args)
                except Exception as error:
                    result = repr(error)
                rest = [drained(arg) for arg in args if hasattr(arg, "gi_frame")]
                plain = [arg for arg in args if not hasattr(arg, "gi_frame")]
                outcomes.append((result, rest, plain))
            assert_same(*outcomes, f"call {number}")
            if number == 0:
                first = Seen(len(backend.graphs), [b.code for b in breaks], len(entries))
            elif number < calls:
                assert len(entries) == first.entries, "captured again for the same"
    first.entries = len(entries) - first.entries  # from here on: captured again by the later calls
    return first


def started(generator: Any, steps: int = 1) -> Any:
    for _ in range(steps):
        next(generator)
    return generator


def one_step(x: Any, g: Any) -> Any:
    return next(g) + x


def sends(x: Any, g: Any) -> Any:
    return g.send(3) * x, next(g)


def to_the_end(x: Any, g: Any) -> Any:
    return [v + x for v in g]


def nothing(x: Any, g: Any) -> Any:
    return x + 1


def in_native_code(x: Any, g: Any) -> Any:
    return list(zip(g, (x, x + 1))), sum(g)


def closes(x: Any, g: Any) -> Any:
    y = next(g)
    g.close()
    return y + x, next(g, "none")


@pytest.mark.parametrize("use", [one_step, sends, to_the_end, nothing, in_native_code, closes])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_plain_generator_needs_no_break(use: Any, steps: int) -> None:
    if use is sends and steps == 0:
        pytest.skip("send to one that was not started raises")
    seen = both(use, lambda: (X, started(counting(X), steps)))
    assert (seen.graphs, seen.breaks) == (1, [])


def throws(x: Any, g: Any) -> Any:
    return g.throw(KeyError("thrown")) + x, next(g)


def throws_what_is_not_caught(x: Any, g: Any) -> Any:
    try:
        g.throw(ValueError("v"))
    except ValueError as error:
        return x + 1, repr(error)


@pytest.mark.parametrize("use", [one_step, sends, throws, throws_what_is_not_caught, closes])
@pytest.mark.parametrize("make", [guarded, chain])
def test_handlers_and_delegates(use: Any, make: Any) -> None:
    def fresh() -> Any:
        log: list[Any] = []
        return X, started(make(X, log)), log

    def run(x: Any, g: Any, log: Any) -> Any:
        log.append("before")
        result = use(x, g)
        log.append("after")
        return result

    seen = both(run, fresh)
    assert seen.breaks == []


def test_inside_of_an_except_clause() -> None:
    def fresh() -> Any:
        log: list[Any] = []
        g = started(guarded(X, log))
        g.throw(KeyError("k"))
        return X, g, log

    def run(x: Any, g: Any, log: Any) -> Any:
        y = next(g)
        return x * 2, y, list(log)

    both(run, fresh)


def test_values_on_its_stack() -> None:
    def gen(x: Any, f: Any) -> Any:
        yield [x, f(1, (yield x), *((yield "a"), (yield "b")))]

    def run(x: Any, g: Any) -> Any:
        return g.send(x + 1), x * 2

    for steps in (1, 2, 3):
        seen = both(run, lambda: (X, started(gen(X, lambda *a: a), steps)))  # noqa: B023
        assert seen.breaks == []


def test_exhausted() -> None:
    def run(x: Any, g: Any) -> Any:
        return next(g, "none"), x + 1

    def over() -> Any:
        g = counting(X, 1)
        list(g)
        return X, g

    assert both(run, over).breaks == []


def test_each_thing_that_is_read_recompiles_once_when_it_changes() -> None:
    def gen(x: Any, k: str, unread: str, table: Any) -> Any:
        while True:
            yield x * len(k) + table["a"]

    def run(x: Any, g: Any) -> Any:
        return next(g) + x

    def other(x: Any, k: str, unread: str, table: Any) -> Any:
        yield x
        while True:
            yield x * len(k) + table["a"]

    def make(fn: Any = gen, k: str = "ab", unread: str = "u", a: float = 2.5, steps: int = 1, more: Any = ()) -> Any:
        return lambda: (X, started(fn(X, k, unread, {"a": a, **dict(more)}), steps))

    alike = {"unread": make(unread="v"), "other key": make(more=[("b", 1)]), "alike": make(), "steps": make(steps=3)}
    changed = {"local": make(k="abc"), "item": make(a=3.5), "code": make(other), "not started": make(steps=0)}
    for name, one in alike.items():
        assert both(run, make(), [one]).entries == 0, name
    for name, one in changed.items():
        assert both(run, make(), [one]).entries == 1, name
        assert both(run, make(), [one, one]).entries == 1, name
    dtype = lambda: (X, started(gen(X.double(), "ab", "u", {"a": 2.5})))  # noqa: E731
    assert both(run, make(), [dtype]).entries == 1


def test_aliases() -> None:
    def run(x: Any, g: Any, h: Any) -> Any:
        return next(g) + x, next(h), g is h

    def same_one() -> Any:
        g = started(counting(X))
        return X, g, g

    def two() -> Any:
        return X, started(counting(X)), started(counting(X))

    assert both(run, same_one, [two]).entries == 1
    assert both(run, two, [same_one]).entries == 1


def test_a_variable_that_is_seen_by_two() -> None:
    def outer(x: Any) -> Any:
        n = 1

        def inner() -> Any:
            nonlocal n
            while True:
                n += 1
                yield x * n

        g = inner()
        next(g)
        yield g
        yield n

    def run(x: Any, h: Any, g: Any) -> Any:
        return next(g) + x, next(h)

    def make() -> Any:
        h = outer(X)
        return X, h, next(h)

    assert both(run, make).breaks == []


def test_running() -> None:
    def gen(fn: Any, x: Any) -> Any:
        me = yield x
        try:
            fn(x, me)
        except ValueError as error:
            yield repr(error)

    def run(x: Any, g: Any) -> Any:
        return next(g) + x

    for fn in (run, alternator.compile(run, backend="eager")):
        g = started(gen(fn, X))
        assert g.send(g) == "ValueError('generator already executing')"


def test_a_frame_that_is_held() -> None:
    def run(x: Any, g: Any) -> Any:
        return next(g) + x

    def looks(x: Any, g: Any, frame: Any) -> Any:
        return next(g) + x, frame.f_locals["i"], frame.f_lineno, next(g), frame.f_locals["i"]

    compiled = alternator.compile(run, backend="eager")
    g = started(counting(X))
    frame = g.gi_frame
    assert frame.f_locals["i"] == 0
    assert torch.equal(compiled(X, g), X + X + 1)
    assert frame.f_locals["i"] == 1
    assert frame is g.gi_frame
    for fn in (looks, alternator.compile(looks, backend="eager")):
        g = started(counting(X))
        assert fn(X, g, g.gi_frame)[1:3] == (1, g.gi_frame.f_lineno)
        assert g.gi_frame.f_locals["i"] == 2


def test_what_it_holds_lives_as_long_as_it_does() -> None:
    class Token:
        pass

    def gen(token: Any, x: Any) -> Any:
        yield x
        token = None
        yield x + 1
        yield x + 2

    def run(x: Any, g: Any) -> Any:
        return next(g) + x

    compiled = alternator.compile(run, backend="eager")
    for _ in range(4):
        token = Token()
        died = weakref.ref(token)
        g = started(gen(token, X))
        del token
        assert died() is not None
        compiled(X, g)
        assert died() is None
        list(g)
    for _ in range(4):
        g = started(gen(Token(), X))
        died = weakref.ref(g)
        compiled(X, g)
        del g
        assert died() is None


def test_closed_when_nobody_holds_it_any_more() -> None:
    def gen(log: list[Any], x: Any) -> Any:
        try:
            yield x
            yield x + 1
        finally:
            log.append("closed")

    def run(x: Any, g: Any) -> Any:
        return next(g) + x

    compiled = alternator.compile(run, backend="eager")
    for _ in range(3):
        log: list[Any] = []
        g = started(gen(log, X))
        compiled(X, g)
        assert log == []
        del g
        gc.collect()
        assert log == ["closed"]


@contextlib.contextmanager
def noting(log: list[Any], swallows: bool = False) -> Any:
    log.append("in")
    try:
        with torch.no_grad():
            yield len(log)
    except KeyError as error:
        log.append(repr(error))
        if not swallows:
            raise
    finally:
        log.append(torch.is_grad_enabled())


def test_a_manager_that_was_entered_outside() -> None:
    def run(x: Any, manager: Any, log: list[Any], fails: bool) -> Any:
        error = KeyError("k") if fails else None
        swallowed = manager.__exit__(type(error) if fails else None, error, None)
        return x + 1, swallowed, torch.is_grad_enabled()

    for fails in (False, True):

        def make() -> Any:
            log: list[Any] = []
            manager = noting(log, True)
            manager.__enter__()
            return X, manager, log, fails  # noqa: B023

        compiled = alternator.compile(run, backend="eager")
        for _ in range(2):
            outcomes = []
            for fn in (run, compiled):
                x, manager, log, _fails = make()
                outcomes.append((fn(x, manager, log, fails), log))
            assert_same(*outcomes)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("swallows", [False, True])
def test_a_manager_around_a_break_needs_no_more_breaks(fails: bool, swallows: bool) -> None:
    def run(x: Any, log: list[Any]) -> Any:
        try:
            with noting(log, swallows) as n:
                x = x + n
                alternator.graph_break()
                x = x * 2
                if fails:
                    raise KeyError("k")
        except KeyError as error:
            log.append(repr(error))
        return x.sin(), torch.is_grad_enabled()

    seen = both(run, lambda: (X, []))
    assert (seen.graphs, seen.breaks) == (2, ["GRAPH_BREAK_CALL"])


def test_managers_of_torch_around_a_break() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def run(x: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            x = torch.nn.functional.scaled_dot_product_attention(x, x, x)
            alternator.graph_break()
            x = torch.nn.functional.scaled_dot_product_attention(x, x, x)
        return x + 1

    seen = both(run, lambda: (torch.ones(1, 2, 3, 4),))
    assert (seen.graphs, seen.breaks) == (2, ["GRAPH_BREAK_CALL"])


def test_half_consumed_around_breaks() -> None:
    def run(x: Any) -> Any:
        g = counting(x)
        a = next(g)
        alternator.graph_break()
        b = g.send(2)
        alternator.graph_break()
        return a, b, list(g)

    seen = both(run, lambda: (X,))
    assert (seen.graphs, seen.breaks) == (3, ["GRAPH_BREAK_CALL"] * 2)


def test_a_loop_with_a_break_over_a_generator() -> None:
    def run(x: Any, n: int) -> Any:
        for y in counting(x, n):
            x = x + y
            alternator.graph_break()
            x = x * 2
        return x

    seen = both(run, lambda: (X, 12))
    assert seen.graphs <= 5, "the rest of the loop serves every iteration"


def test_it_is_the_generator_of_its_function() -> None:
    def run(x: Any) -> Any:
        g = counting(x)
        return next(g), g

    compiled = alternator.compile(run, backend="eager")
    for _ in range(2):
        _, g = compiled(X)
        assert g.gi_code is counting.__code__
        assert g.gi_frame.f_locals["n"] == 5
        g.close()


def test_a_generator_that_holds_itself() -> None:
    def gen(x: Any, box: list[Any]) -> Any:
        yield x
        yield box[0]

    def run(x: Any) -> Any:
        box: list[Any] = []
        g = gen(x, box)
        box.append(g)
        next(g)
        alternator.graph_break()
        return next(g) is g, x + 1

    both(run, lambda: (X,))


def test_one_that_loses_its_variable_is_closed_between_the_effects() -> None:
    def gen(log: list[Any], safe: bool) -> Any:
        if safe:
            yield 0
            return
        try:
            yield 1
        finally:
            log.append("closed")

    def bound_anew(x: Any, log: list[Any], safe: bool) -> Any:
        for i in range(4):
            alternator.graph_break()
            log.append("before")
            g = gen(log, safe)
            log.append("after")
            x = x + next(g)
        return x

    def deleted(x: Any, log: list[Any], safe: bool) -> Any:
        g = gen(log, safe)
        x = x + next(g)
        alternator.graph_break()
        log.append("before")
        del g
        log.append("after")
        return x * 2

    for run in (bound_anew, deleted):
        both(run, lambda: (X, [], False))
        assert set(both(run, lambda: (X, [], True)).breaks) == {"GRAPH_BREAK_CALL"}


def test_a_generator_knows_that_it_runs_behind_a_break_in_its_body():
    def fn(x):
        seen = []

        def inner():
            seen.append(outer.gi_running)
            yield x + 1
            seen.append(outer.gi_running)

        def generate():
            unsupported(1)
            seen.append(outer.gi_running)
            yield from inner()

        outer = generate()
        seen.append(outer.gi_running)
        made = next(outer)
        seen.append(outer.gi_running)
        return made, list(outer), seen, outer.gi_running

    same(fn, torch.ones(2))
