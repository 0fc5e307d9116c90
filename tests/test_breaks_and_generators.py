"""Generators that are half consumed where the captured code is left: they go on as if nothing had happened."""

from __future__ import annotations

import contextlib
import gc
import sys

import torch
from helpers import same

import alternator

X = torch.arange(4.0)


def taken(generator, *sent):
    """All that the generator gives from here on, then what it returns."""
    out = []
    try:
        for value in sent:
            out.append(generator.send(value))
        while True:
            out.append(next(generator))
    except StopIteration as stop:
        return out, stop.value
    except Exception as error:
        return out, repr(error)


def test_live_across_a_break() -> None:
    def f(x, n):
        def gen(k):
            total = x
            for i in range(k):
                got = yield total + i
                if got is not None:
                    total = total * got
            return total

        g = gen(n)
        a = next(g)
        alternator.graph_break()
        b = g.send(3)
        alternator.graph_break()
        return a, b, taken(g)

    same(f, X, 5)


def test_as_result() -> None:
    def f(x):
        def gen():
            for i in range(3):
                yield x + i

        g = gen()
        next(g)
        return g, x * 2

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        (g, y), (h, z) = compiled(X), f(X)
        assert type(g) is type(h)
        assert (g.__name__, g.__qualname__, g.gi_code.co_name) == (h.__name__, h.__qualname__, h.gi_code.co_name)
        assert sorted(g.gi_frame.f_locals) == sorted(h.gi_frame.f_locals)
        assert g.gi_frame.f_lineno == h.gi_frame.f_lineno
        assert torch.equal(y, z)
        assert [t.tolist() for t in g] == [t.tolist() for t in h]


def test_stored_outside() -> None:
    class Box:
        pass

    def f(x, box):
        def gen():
            n = 0
            while True:
                n += yield x + n

        box.g = gen()
        next(box.g)
        return x * 2

    for one in (f, alternator.compile(f, backend="eager")):
        box = Box()
        one(X, box)
        assert torch.equal(box.g.send(5), X + 5)
        assert torch.equal(box.g.send(5), X + 10)


def test_waiting_inside_of_handlers() -> None:
    def gen(log, x):
        try:
            try:
                raise KeyError("k")
            except KeyError as e:
                log.append((yield x))
                log.append((repr(sys.exc_info()[1]), repr(e)))
                try:
                    yield x + 1
                except ValueError as v:
                    log.append((repr(v), repr(v.__context__)))
                    yield x + 2
                    raise
        finally:
            log.append("finally")
            yield x + 3
            log.append(repr(sys.exc_info()[1]))

    def f(x, how):
        log = []
        g = gen(log, x)
        out = [next(g)]
        alternator.graph_break()
        out.append(g.send("sent"))
        alternator.graph_break()
        if how == "throw":
            out.append(g.throw(ValueError("thrown")))
            alternator.graph_break()
        elif how == "close":
            try:
                g.close()
            except RuntimeError as e:
                log.append(str(e))
            return out, log
        rest = taken(g)
        return out, rest, log, repr(sys.exc_info()[1])

    for how in ("go on", "throw", "close"):
        same(f, X, how)


def test_close_after_the_break_runs_the_cleanup_there() -> None:
    def f(x):
        log = []

        def gen():
            try:
                yield x
            finally:
                log.append("closed")

        g = gen()
        next(g)
        alternator.graph_break()
        log.append("before")
        g.close()
        log.append("after")
        return x + 1, log

    same(f, X)


def test_yield_from() -> None:
    def f(x):
        def inner(n):
            got = yield n
            try:
                yield got
            except KeyError as e:
                yield repr(e)
            return n * 10

        def outer():
            a = yield from inner(1)
            b = yield from [7, 8]
            return a, b

        g = outer()
        out = [next(g)]
        alternator.graph_break()
        out.append(g.gi_yieldfrom is not None)
        out.append(g.send(x))
        alternator.graph_break()
        out.append(g.throw(KeyError("k")))
        out.append(next(g))
        alternator.graph_break()
        return out, taken(g)

    same(f, X)


def test_generator_expression() -> None:
    def f(x, items):
        g = (x + i for i in items if i)
        a = next(g)
        alternator.graph_break()
        return a, list(g)

    same(f, X, [0, 1, 2, 3])


def test_break_inside_of_a_generator() -> None:
    def gen(x, n):
        for i in range(n):
            x = x + i
            alternator.graph_break()
            x = x * 2
            yield x

    def loop(x, n):
        out = []
        for y in gen(x, n):
            out.append(y - 1)
        return out

    def whole(x, n):
        return list(gen(x, n)), sum(gen(x, n))

    def by_hand(x, n):
        g = gen(x, n)
        a = next(g)
        b = next(g, None)
        return a, b, next(g, "end")

    for f in (loop, whole, by_hand):
        same(f, X, 3)


def test_break_in_the_loop_over_a_generator() -> None:
    def gen(x):
        log = []
        for i in range(4):
            log.append(i)
            yield x * i, log

    def f(x):
        out = []
        for y, log in gen(x):
            alternator.graph_break()
            out.append(y + 1)
            if len(log) == 3:
                break
        else:
            out.append("not here")
        return out, log

    same(f, X)


def test_contextmanager_around_a_break() -> None:
    @contextlib.contextmanager
    def manager(log, swallow):
        log.append("in")
        try:
            yield len(log)
        except KeyError as e:
            log.append(repr(e))
            if not swallow:
                raise
        finally:
            log.append("out")

    def f(x, fails, swallow):
        log = []
        try:
            with manager(log, swallow) as n, torch.no_grad():
                x = x + n
                alternator.graph_break()
                x = x * 2
                log.append(torch.is_grad_enabled())
                if fails:
                    raise KeyError("k")
        except KeyError as e:
            log.append(("caught", repr(e), e.__traceback__ is not None))
        return x + 1, log, torch.is_grad_enabled()

    for fails in (False, True):
        for swallow in (False, True):
            same(f, X, fails, swallow)


def test_generator_from_outside() -> None:
    def f(x, g):
        x = x + 1
        out = []
        for i in g:
            out.append(x + i)
        return out, x * 2

    compiled = alternator.compile(f, backend="eager")
    for n in (2, 3):
        got, expected = compiled(X, (i for i in range(n))), f(X, (i for i in range(n)))
        assert [t.tolist() for t in got[0]] == [t.tolist() for t in expected[0]]
        assert torch.equal(got[1], expected[1])


def test_abandoned_inside_of_try() -> None:
    def gen(log):
        try:
            yield 1
            yield 2
        finally:
            log.append("cleanup")

    def at_return(x, log):
        g = gen(log)
        a = next(g)
        log.append("returns")
        return x + a

    def in_a_loop(x, log):
        for i in gen(log):
            log.append(i)
            break
        log.append("behind")
        return x + i

    def dropped(x, log):
        g = gen(log)
        a = next(g)
        del g
        log.append("behind")
        return x + a

    def in_an_argument(x, log):
        a = next(gen(log))
        log.append("behind")
        return x + a

    for f, breaks in ((at_return, 0), (in_a_loop, 0), (dropped, 0), (in_an_argument, None)):
        same(f, X, [], breaks=breaks)


def test_a_generator_that_waits_in_a_handler_dies_with_its_variable() -> None:
    """The error that it handles does not lead back to who resumed it, who holds it."""

    def fn(x, text):
        log = []

        def numbers():
            kept = None
            try:
                yield 1
                yield int(text)
            except ValueError as error:
                kept = error.__class__, error
                yield 2
            finally:
                log.append(kept is None)

        some = numbers()
        found = [next(some), next(some)]
        return x + 1, log, found

    gc.disable()
    try:
        for text in ("5", "r"):
            compiled = alternator.compile(fn, backend="eager")
            for _ in range(2):
                (_, plain, one), (_, captured, other) = fn(X, text), compiled(X, text)
                assert one == other and captured == plain == [text == "5"]
    finally:
        gc.enable()
