"""A break in a generator's body keeps its consumer's graph: both go on behind it, and the generator is what it is plainly."""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
import traceback
import weakref
from typing import Any

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(4.0)
bk = alternator.graph_break


def steps(x: Any, n: int) -> Any:
    for _ in range(n):
        x = x.sin()
        bk()
        x = x.cos()
        yield x


def once(x: Any) -> Any:
    x = x.sin()
    bk()
    yield x.cos()


def over(x: Any) -> Any:
    out = x * 2
    for y in once(x):
        out = out + y
    return out.exp()


def by_next(x: Any) -> Any:
    g = once(x)
    y = next(g) + 1
    return y, next(g, None)


def by_default(x: Any) -> Any:
    def gen() -> Any:
        yield x.sin()
        bk()

    g = gen()
    return next(g, 1) + 1, next(g, 2), next(g, x.cos())


def by_send(x: Any) -> Any:
    def gen(x: Any) -> Any:
        got = yield x.sin()
        bk()
        yield got + x.cos()

    g = gen(x)
    y = next(g)
    return g.send(y * 2).exp()


def by_throw(x: Any) -> Any:
    def gen(x: Any) -> Any:
        try:
            yield x.sin()
        except KeyError as error:
            bk()
            yield x + len(error.args)

    g = gen(x)
    y = next(g)
    return g.throw(KeyError("k")) * y


def delegated(x: Any) -> Any:
    def outer(x: Any) -> Any:
        y = yield from inner(x.exp())
        yield y

    def inner(x: Any) -> Any:
        bk()
        yield x.sin()
        return x.cos()

    out = x
    for y in outer(x):
        out = out + y
    return out


def expression(x: Any) -> Any:
    def step(x: Any) -> Any:
        x = x.sin()
        bk()
        return x.cos()

    out = x
    for y in (step(v) for v in [x]):
        out = out + y
    return out


def comprehension_over_it(x: Any) -> Any:
    return [y + 1 for y in once(x.tan())]


def managed(x: Any) -> Any:
    @contextlib.contextmanager
    def manager(x: Any) -> Any:
        x = x.sin()
        bk()
        yield x.cos()

    with manager(x) as y:
        y = y * 2
    return y + 1


def leaving(x: Any) -> Any:
    log = []

    @contextlib.contextmanager
    def manager(x: Any) -> Any:
        yield x.cos()
        log.append(x.sin())
        bk()
        log.append(x.tan())

    with manager(x) as y:
        y = y * 2
    return y + 1, log


class Items:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __iter__(self) -> Any:
        yield self.x.sin()
        bk()
        yield self.x.cos()


def method(x: Any) -> Any:
    out = x * 2
    for y in Items(x):
        out = out + y
    return out


def in_a_callee(x: Any) -> Any:
    def gen(x: Any) -> Any:
        yield leaf(x.exp()) + 1

    def leaf(x: Any) -> Any:
        x = x.sin()
        bk()
        return x.cos()

    out = x * 2
    for y in gen(x):
        out = out + y
    return out


class Once:
    def __init__(self, x: Any) -> None:
        self.x, self.left = x, 1

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if not self.left:
            raise StopIteration
        self.left -= 1
        y = self.x.sin()
        bk()
        return y.cos()


def iterator_class(x: Any) -> Any:
    out = x * 2
    for y in Once(x):
        out = out + y
    return out


ONE_BREAK = [
    over, by_next, by_default, by_send, by_throw, delegated, expression, comprehension_over_it, managed, leaving, method,
    in_a_callee, iterator_class,
]  # fmt: skip


@pytest.mark.parametrize("fn", ONE_BREAK, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("depth", range(3))
def test_one_break_makes_two_graphs_at_any_depth(fn: Any, depth: int) -> None:
    for _ in range(depth):
        fn = _below(fn)
    same(fn, X, graphs=2, breaks=["GRAPH_BREAK_CALL"])


def _below(fn: Any) -> Any:
    def caller(x: Any) -> Any:
        with torch.no_grad():
            return fn(x + 1), x * 3

    return caller


def test_as_many_graphs_as_with_a_function() -> None:
    def with_generator(x: Any) -> Any:
        out = x * 2
        for y in steps(x, 5):
            out = out + y
        return out

    def with_function(x: Any) -> Any:
        out = x * 2
        for _ in range(5):
            x = x.sin()
            bk()
            x = x.cos()
            out = out + x
        return out

    assert len(same(with_generator, X).graphs) == len(same(with_function, X).graphs)


def test_the_generator_runs_while_its_body_does() -> None:
    seen: list[Any] = []

    @alternator.disable
    def look(g: Any) -> None:
        frame = g.gi_frame
        seen.append((g.gi_running, inspect.getgeneratorstate(g), g.gi_yieldfrom, frame is not None))
        with contextlib.suppress(ValueError):
            next(g)
            seen.append("went on")
        with contextlib.suppress(ValueError):
            g.close()
            seen.append("closed")

    def gen(x: Any, box: Any) -> Any:
        yield x
        look(box[0])
        yield x + 1
        yield from [look(box[0]), x + 2]

    def f(x: Any) -> Any:
        box: list[Any] = []
        box.append(gen(x.sin(), box))
        return [v for v in box[0] if v is not None], box[0].gi_frame

    outs = []
    for fn in (f, alternator.compile(f, backend="eager")):
        for _ in range(2):
            seen.clear()
            outs.append((fn(X), [*seen]))
    for out in outs[1:]:
        assert out[1] == outs[0][1]
        assert [t.tolist() for t in out[0][0]] == [t.tolist() for t in outs[0][0][0]]


def test_what_is_handled() -> None:
    def gen(x: Any, log: Any) -> Any:
        log.append(repr(sys.exc_info()[1]))
        bk()
        log.append(repr(sys.exc_info()[1]))
        try:
            raise KeyError("inner")
        except KeyError as error:
            log.append(repr(error.__context__))
            bk()
            log.append(repr(sys.exc_info()[1]))
            got = yield x + 1
            log.append((got, repr(sys.exc_info()[1])))
            try:
                bk()
                raise ValueError("second")
            except ValueError as other:
                yield repr(other.__context__)
                bk()
                log.append(repr(sys.exc_info()[1]))
            log.append(repr(sys.exc_info()[1]))
        log.append(repr(sys.exc_info()[1]))
        yield x + 2

    def f(x: Any) -> Any:
        log: list[Any] = []
        g = gen(x, log)
        try:
            raise OSError("outer")
        except OSError:
            out = [next(g)]
            log.append(repr(sys.exc_info()[1]))
            out.append(g.send("got"))
        log.append(repr(sys.exc_info()[1]))
        return out, list(g), log

    same(f, X)


def test_exceptions_leave_at_their_place() -> None:
    def gen(x: Any) -> Any:
        yield x
        bk()
        raise KeyError("from the body")

    def f(x: Any) -> Any:
        out = []
        g = gen(x)
        try:
            for y in g:
                out.append(y + 1)
        except KeyError as error:
            lines = [entry.name for entry in traceback.extract_tb(error.__traceback__)]
            out.append((repr(error), lines, repr(error.__context__)))
        return out, list(g), g.gi_frame

    same(f, X)


def test_stop_iteration_is_an_error_in_the_body() -> None:
    def gen(x: Any) -> Any:
        bk()
        yield x
        bk()
        next(iter([]))

    def f(x: Any) -> Any:
        out = []
        try:
            for y in gen(x):
                out.append(y + 1)
        except RuntimeError as error:
            return out, str(error), repr(error.__cause__), repr(error.__context__)

    same(f, X)


def test_the_break_itself_raises() -> None:
    @alternator.disable
    def fail() -> None:
        raise KeyError("from the call")

    def gen(x: Any, log: Any) -> Any:
        try:
            yield x + 1
            fail()
        except KeyError as error:
            log.append(repr(error))
            yield x + 2
            fail()
        finally:
            log.append("finally")

    def f(x: Any) -> Any:
        log: list[Any] = []
        out = []
        try:
            for y in gen(x, log):
                out.append(y * 2)
        except KeyError as error:
            log.append((repr(error), repr(error.__context__)))
        return out, log

    same(f, X)


def test_given_up_while_it_waits_in_a_handler() -> None:
    def gen(x: Any, log: Any) -> Any:
        try:
            bk()
            yield x + 1
            log.append("not reached")
        finally:
            log.append("closed")
            bk()
            log.append("and more")

    def f(x: Any) -> Any:
        log: list[Any] = []
        for y in gen(x, log):
            x = x * y
            break
        log.append("behind")
        return x, log

    same(f, X)


@pytest.mark.parametrize("how", ["break", "raise", "return", "function", "variable"])
@pytest.mark.parametrize("depth", range(2))
def test_given_up_behind_its_break(how: str, depth: int) -> None:
    def gen(x: Any, log: Any) -> Any:
        try:
            bk()
            yield x + 1
        finally:
            log.append("closed")

    def use(x: Any, log: Any) -> Any:
        g = gen(x, log)
        y = next(g)
        if how == "variable":
            g = None
            log.append("behind")
        return y

    def f(x: Any, log: Any) -> Any:
        if how in ("function", "variable"):
            x = use(x, log)
            log.append("behind")
            return x
        try:
            for y in gen(x, log):
                x = x * y
                if how == "break":
                    break
                if how == "return":
                    return x
                raise KeyError("k")
        except KeyError as error:
            log.append(repr(error))
        log.append("behind")
        return x

    def above(x: Any, log: Any) -> Any:
        x = f(x, log)
        log.append("above")
        return x * 2

    same(above if depth else f, X, [])


def test_it_dies_with_the_exception_that_leaves_its_consumer() -> None:
    def gen(x: Any, log: Any) -> Any:
        try:
            bk()
            yield x + 1
        finally:
            log.append("closed")

    def f(x: Any, log: Any) -> Any:
        g = gen(x, log)
        x = x * next(g)
        raise KeyError("k")

    compiled = alternator.compile(f, backend="eager")
    gc.disable()
    try:
        for _ in range(2):
            log: list[Any] = []
            with contextlib.suppress(KeyError):
                compiled(X, log)
            assert log == ["closed"]
    finally:
        gc.enable()


def test_it_goes_on_outside() -> None:
    def gen(x: Any, n: int) -> Any:
        try:
            for i in range(n):
                k = i
                bk()
                got = yield x + i
                if got is not None:
                    late = got
                    x = x * got
            return late
        finally:
            x = x + 1

    def f(x: Any, n: int) -> Any:
        g = gen(x, n)
        return g, next(g), g.send(3) * 2

    compiled = alternator.compile(f, backend="eager")
    for n in (4, 5, 6):
        (g, *gs), (h, *hs) = compiled(X, n), f(X, n)
        assert type(g) is type(h) and g.gi_code is h.gi_code
        assert g.gi_frame.f_lineno == h.gi_frame.f_lineno
        mine, theirs = g.gi_frame.f_locals, h.gi_frame.f_locals
        assert list(mine) == list(theirs)
        assert [str(v) for v in mine.values()] == [str(v) for v in theirs.values()]
        assert [str(v) for v in gs] == [str(v) for v in hs]
        assert [str(v) for v in g] == [str(v) for v in h]
        assert g.gi_frame is None


def test_cells_are_shared() -> None:
    def f(x: Any) -> Any:
        total = x

        def gen(n: int) -> Any:
            nonlocal total
            for i in range(n):
                total = total + i

                def look() -> Any:
                    return i, n

                bk()
                total = total * 2
                yield look

        g = gen(3)
        looks = [next(g)]
        total = total + 1
        looks.append(next(g))
        return total, [look() for look in looks], looks[0] is looks[1]

    same(f, X)


def test_variables_live_as_long_as_the_generator() -> None:
    class Thing:
        pass

    def gen(x: Any, log: Any) -> Any:
        thing = Thing()
        log.append(weakref.ref(thing))
        bk()
        yield x + 1
        log.append(log[0]() is None)
        thing = None
        bk()
        log.append(log[0]() is None)
        yield x + 2

    def f(x: Any) -> Any:
        log: list[Any] = []
        out = []
        for y in gen(x, log):
            log.append(log[0]() is None)
            out.append(y)
        return out, log[1:]

    same(f, X)


def test_stack_items_below_the_yield() -> None:
    def gen(x: Any) -> Any:
        out: list[Any] = []
        for i in range(3):
            out.append([x, (yield i), max(i, (yield bk()))])
        yield out

    def f(x: Any) -> Any:
        g = gen(x)
        next(g)
        got = [g.send(n) for n in range(5)]
        return got, g.send(7)

    same(f, X)


def test_a_generator_that_advances_another_one() -> None:
    def source(x: Any) -> Any:
        for i in range(3):
            x = x.sin()
            bk()
            yield x + i

    def doubled(items: Any) -> Any:
        for item in items:
            yield item * 2
            bk()

    def f(x: Any) -> Any:
        out = x
        for item in doubled(doubled(source(x))):
            out = out + item
        return out

    same(f, X)


def test_data_decides_in_the_body() -> None:
    def gen(x: Any) -> Any:
        while True:
            x = x * 2
            if x.sum() > 50:
                return
            yield x + 1

    def f(x: Any) -> Any:
        out = x
        for y in gen(x):
            out = out + y
        return out

    same(f, X, then=[(X + 1,), (X * 30,)])


def test_fullgraph_says_where() -> None:
    with pytest.raises(alternator.exc.Unsupported, match="once"):
        alternator.compile(over, fullgraph=True)(X)
