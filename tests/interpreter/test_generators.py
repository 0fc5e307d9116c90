"""Generators: lazily run, sent to, thrown into, closed, delegated, abandoned, handed out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(4.0)


def test_iteration_is_lazy() -> None:
    def f(x):
        log = []

        def gen():
            for i in range(3):
                log.append(("made", i))
                yield x + i
            log.append("end")

        out = []
        for y in gen():
            log.append("used")
            out.append(y)
        g = gen()
        next(g)
        return out, log

    same(f, X, graphs=1, breaks=0)


def test_send() -> None:
    def f(x):
        def averager():
            total, n = 0, 0
            while True:
                value = yield (total / n if n else None)
                if value is None:
                    return "done"
                total = total + value
                n += 1

        g = averager()
        out = [g.send(None), g.send(x), g.send(x * 3)]
        try:
            g.send(None)
        except StopIteration as e:
            out.append(e.value)
        try:
            averager().send(1)
        except TypeError as e:
            out.append(str(e))
        return out

    same(f, X, graphs=1, breaks=0)


def test_throw_and_close() -> None:
    def f(x):
        log = []

        def gen():
            try:
                while True:
                    try:
                        got = yield x
                        log.append(got)
                    except ValueError as e:
                        log.append(str(e))
            finally:
                log.append("finally")

        g = gen()
        next(g)
        y = g.throw(ValueError("thrown"))
        y = y + g.throw(ValueError, "old style") if False else y + 1
        g.send("s")
        g.close()
        g.close()
        try:
            next(g)
        except StopIteration:
            log.append("stopped")
        h = gen()
        h.close()
        try:
            gen().throw(KeyError("k"))
        except KeyError:
            log.append("not started")
        return y, log

    same(f, X, graphs=1, breaks=0)


def test_generator_that_ignores_close() -> None:
    def f(x):
        def gen():
            try:
                yield 1
            except GeneratorExit:
                yield 2

        g = gen()
        next(g)
        try:
            g.close()
        except RuntimeError as e:
            return x + 1, str(e)

    same(f, X)  # given up inside of its handler: CPython closes it again, and complains


def test_stop_iteration_inside_becomes_runtime_error() -> None:
    def f(x):
        def gen():
            yield 1
            next(iter([]))

        try:
            list(gen())
        except RuntimeError as e:
            return x + 1, str(e), type(e.__cause__).__name__

    same(f, X, graphs=1, breaks=0)


def test_yield_from() -> None:
    def f(x):
        def inner(n):
            got = yield n
            try:
                yield got
            except KeyError:
                yield "caught inside"
            return n * 10

        def outer():
            a = yield from inner(1)
            b = yield from [7, 8]
            c = yield from inner(a)
            return c

        g = outer()
        out = [next(g), g.send(x), g.throw(KeyError("k")), next(g), next(g), next(g), next(g)]
        try:
            next(g)
        except StopIteration as e:
            out.append(e.value)
        return out, x + 1

    same(f, X, graphs=1, breaks=0)


def test_generator_expressions_and_consumers() -> None:
    def f(x, l):
        return (
            sum(i * 2 for i in l),
            max((i for i in l), default=0),
            list(i for i in l if i > 1),
            tuple(x + i for i in l),
            set(i for i in l),
            dict((i, x) for i in l),
            any(i > 2 for i in l),
            all(i > 0 for i in l),
            ",".join(str(i) for i in l),
            sorted((-i for i in l)),
            list(zip((i for i in l), range(2))),
            list(enumerate(i for i in l)),
            list(map(lambda a: a + 1, (i for i in l))),
            [*(i for i in l)],
            torch.stack([x * i for i in l]),
        )

    same(f, X, [1, 2, 3], graphs=1, breaks=0)


def test_any_and_all_stop_early() -> None:
    def f(x):
        log = []

        def gen():
            for i in range(5):
                log.append(i)
                yield i

        any(i == 1 for i in gen())
        all(i < 2 for i in gen())
        g = gen()
        2 in g
        a = next(g)
        b, c, *_ = gen()
        return x + a, log

    same(f, X, graphs=1, breaks=0)


def test_abandoned_half_way() -> None:
    def f(x):
        log = []

        def gen():
            try:
                yield 1
                yield 2
            finally:
                log.append("cleanup")

        for i in gen():
            break
        return x + i

    same(f, X)


def test_abandoned_without_finally() -> None:
    def f(x):
        def gen():
            yield 1
            yield 2

        for i in gen():
            break
        return x + i

    same(f, X, graphs=1, breaks=0)


def test_abandoned_inside_of_except_of_something_else() -> None:
    def f(x):
        def gen():
            i = 0
            try:
                while True:
                    try:
                        yield [5, 6][i]
                    except (KeyError, ValueError):
                        i = 9
                    i += 1
            except IndexError:
                return

        return x + next(gen())

    same(f, X, graphs=1, breaks=0)


def test_recursion_of_generators() -> None:
    def f(x):
        def walk(t):
            if isinstance(t, list):
                for c in t:
                    yield from walk(c)
            else:
                yield t

        return [x + i for i in walk([1, [2, [3]], 4])]

    same(f, X, graphs=1, breaks=0)


def test_mutual_state() -> None:
    def f(x):
        state = {"n": 0}

        def gen():
            while state["n"] < 3:
                yield state["n"]

        out = []
        for n in gen():
            state["n"] += 1
            out.append(n)
        return x + 1, out

    same(f, X, graphs=1, breaks=0)


def test_generator_methods_as_context() -> None:
    def f(x):
        def gen():
            with torch.no_grad():
                yield x + 1
            yield x * 2

        return list(gen())

    same(f, X, graphs=1, breaks=0)


def test_unstarted_generator_as_result() -> None:
    def f(x, n):
        y = x + 1

        def gen(k):
            for i in range(k):
                yield y + i

        return gen(n), (y * i for i in [1, 2])

    r = same(lambda x, n: [list(g) for g in f(x, n)], X, 3)
    assert r.outcomes
    import alternator

    made, expression = alternator.compile(f, backend="eager")(X, 3)
    assert [t.tolist() for t in made] == [(X + 1 + i).tolist() for i in range(3)]
    assert [t.tolist() for t in expression] == [((X + 1) * i).tolist() for i in (1, 2)]


def test_started_generator_as_result() -> None:
    import alternator

    def f(x):
        y = x + 1

        def gen():
            for i in range(3):
                yield y + i

        g = gen()
        next(g)
        return g, y

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        g, y = compiled(X)
        assert [t.tolist() for t in g] == [(X + 1 + i).tolist() for i in (1, 2)]


def test_generator_across_a_break() -> None:
    import alternator

    def f(x):
        def gen():
            for i in range(3):
                yield x + i

        g = gen()
        alternator.graph_break()
        return list(g)

    same(f, X)


def test_started_generator_across_a_break() -> None:
    import alternator

    def f(x):
        def gen():
            for i in range(3):
                yield x + i

        g = gen()
        y = next(g)
        alternator.graph_break()
        return y, list(g)

    same(f, X)


def test_generator_from_outside() -> None:
    def f(x, g):
        return [x + i for i in g]

    import alternator

    compiled = alternator.compile(f, backend="eager")
    for n in (2, 3):
        got = compiled(X, (i for i in range(n)))
        assert len(got) == n


def test_half_consumed_outside_iterator() -> None:
    def f(x, it):
        a = next(it)
        return x + a

    import alternator

    compiled = alternator.compile(f, backend="eager")
    it = iter([1, 2, 3])
    assert torch.equal(compiled(X, it), X + 1)
    assert torch.equal(compiled(X, it), X + 2)
    assert list(it) == [3]


def test_generator_attributes() -> None:
    def f(x):
        def gen():
            yield 1

        g = gen()
        return x + 1, g.__name__, iter(g) is g, isinstance(g, type(gen())), hasattr(g, "send")

    same(f, X)


def test_iterator_classes() -> None:
    class Count:
        def __init__(self, n):
            self.i, self.n = 0, n

        def __iter__(self):
            return self

        def __next__(self):
            if self.i >= self.n:
                raise StopIteration
            self.i += 1
            return self.i

    class Seq:
        def __getitem__(self, i):
            if i > 2:
                raise IndexError
            return i * 10

    class Gen:
        def __iter__(self):
            yield 1
            yield 2

    def f(x, outside):
        c = Count(3)
        a = next(c)
        return (
            x + a,
            list(c),
            list(Seq()),
            [*Gen()],
            list(outside),
            2 in Gen(),
            20 in Seq(),
            max(Count(4)),
            dict(zip("ab", Gen())),
            sum(Gen()),
            sorted(Seq(), reverse=True),
            tuple(reversed([1, 2])),
        )

    same(f, X, Count(2), graphs=1, breaks=0)


def test_iter_with_sentinel() -> None:
    def f(x):
        l = [1, 2, 3, 0, 4]
        it = iter(l)
        return x + 1, list(iter(lambda: next(it), 0)), list(it)

    same(f, X, graphs=1, breaks=0)


def test_mutation_while_iterating() -> None:
    def f(x, l):
        out = []
        for i in l:
            out.append(i)
            if i < 3:
                l.append(i + 2)
        d = {1: 1}
        try:
            for k in d:
                d[k + 1] = 1
        except RuntimeError as e:
            out.append(str(e))
        s = {1}
        try:
            for k in s:
                s.add(k + 1)
        except RuntimeError as e:
            out.append(str(e))
        return x + len(l), out

    same(f, X, [1, 2], graphs=1, breaks=0)


def test_where_a_generator_is() -> None:
    def numbers():
        yield 1
        yield 2

    def f(x):
        made = numbers()
        seen = [made.gi_suspended]
        next(made)
        seen.append(made.gi_suspended)
        list(made)
        return x + 1, seen, made.gi_suspended, made.gi_frame

    def outside(x, made):
        before = made.gi_suspended
        next(made)
        return x + 1, before, made.gi_suspended

    same(f, X, graphs=1, fullgraph=True)
    compiled = alternator.compile(outside, backend="eager", fullgraph=True)
    for started in (False, True, False):
        made = numbers()
        if started:
            next(made)
        assert compiled(X, made)[1:] == (started, True)


def contexts(fn: Any, *args: Any) -> list[str]:
    try:
        fn(*args)
    except Exception as error:
        names, last = [], error
        while last is not None:
            names.append(type(last).__name__)
            last = last.__context__
        return names
    return []


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("ask", [next, lambda made: made.send(None), lambda made: [*made, next(made)]])
def test_the_end_of_a_generator_is_raised_where_it_was_asked_for(waiting: bool, broken: bool, ask: Any) -> None:
    def held():
        try:
            yield 1
        finally:
            pass

    def empty(broken):
        if broken:
            alternator.graph_break()
        return 1
        yield

    def fn(x):
        y = x + 1
        if waiting:
            kept = held()
            next(kept)
        try:
            raise KeyError
        except KeyError:
            ask(empty(broken))
        return y

    compiled = alternator.compile(fn, backend="eager")
    assert contexts(fn, X) == contexts(compiled, X) == contexts(compiled, X) == ["StopIteration", "KeyError"]
