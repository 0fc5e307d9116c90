"""Generators that real code advances - native code, or a function that runs plainly - are captured up to their next yield."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import sys
import traceback
import weakref
from typing import Any

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.arange(4.0)
bk = alternator.graph_break


def steps(x: Any, n: int) -> Any:
    for i in range(n):
        x = x.sin()
        bk()
        x = x.cos() + i
        yield x
    return x


CONSUMERS = {
    "list": lambda g: list(g),
    "tuple": lambda g: (*g, 1),
    "sum": lambda g: sum(g),
    "zip": lambda g: list(zip(g, range(2))),
    "enumerate": lambda g: dict(enumerate(g)),
    "map": lambda g: list(map(torch.neg, g)),
    "islice": lambda g: (list(itertools.islice(g, 2)), next(g)),
    "chain": lambda g: list(itertools.chain([1], g, [2])),
    "takewhile": lambda g: list(itertools.takewhile(lambda t: t.sum() < 6, g)),
    "tee": lambda g: [list(one) for one in itertools.tee(g)],
    "unpacking": lambda g: [(a, c) for a, *b, c in [g]],
    "stack": lambda g: torch.stack(list(g)),
    "max": lambda g: max(g, key=lambda t: float(t.sum())),
    "in": lambda g: None in g,
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_all_of_the_tensor_work_is_captured(consumer: str) -> None:
    consume = CONSUMERS[consumer]

    def f(x: Any) -> Any:
        return consume(steps(x * 2, 3))

    report = same(f, X)
    names = [node.name.split("_")[0] for gm in report.graphs for node in gm.graph.nodes if node.op.startswith("call")]
    assert {"mul", "sin", "cos"} <= set(names)


def given(generator: Any, *sent: Any) -> Any:
    """All that it gives from here on, and how it ends."""
    out: list[Any] = []
    try:
        for value in sent:
            out.append(generator.send(value))
        out += [*generator]
    except Exception as error:
        out.append((repr(error), repr(error.__context__), repr(error.__cause__)))
    return out


@alternator.disable(recursive=False)
def plainly(fn: Any, *args: Any) -> Any:
    return fn(*args)


def in_handlers(x: Any, log: Any) -> Any:
    try:
        raise KeyError("outer")
    except KeyError as error:
        log.append(repr(sys.exc_info()[1]))
        got = yield x.sin()
        log.append((repr(error), got))
        try:
            raise ValueError("inner")
        except ValueError as other:
            log.append(repr(other.__context__))
            bk()
            yield x.cos()
            log.append(repr(sys.exc_info()[1]))
        log.append(repr(sys.exc_info()[1]))
        yield x.tan()
    log.append(repr(sys.exc_info()[1]))


def raising(x: Any, log: Any) -> Any:
    yield x.sin()
    bk()
    raise KeyError("from the body")


def stopping(x: Any, log: Any) -> Any:
    yield x.sin()
    next(iter(()))


def delegating(x: Any, log: Any) -> Any:
    log.append((yield from in_handlers(x.exp(), log)))
    got = yield from steps(x, 2)
    yield got


def with_cells(x: Any, log: Any) -> Any:
    total = x

    def add(y: Any) -> None:
        nonlocal total
        total = total + y

    for i in range(3):
        add(x * i)
        bk()
        yield total, add
    log.append(i)


def on_the_stack(x: Any, log: Any) -> Any:
    for i in range(2):
        log.append([x, (yield i), max(i, len([(yield bk()), (yield x)]))])


def perhaps_bound(x: Any, log: Any) -> Any:
    for i in range(len(log) + 1):
        late = x + i
        yield late
    bk()
    yield late + i
    del late
    yield x
    log.append("late" in locals())
    yield late


def advance(generator: Any, times: int) -> None:
    with contextlib.suppress(KeyError, RuntimeError):
        for _ in range(times):
            next(generator, None)


GENERATORS = [steps, in_handlers, raising, stopping, delegating, with_cells, on_the_stack, perhaps_bound]


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda fn: fn.__name__)
def test_in_a_function_that_runs_plainly(generator: Any) -> None:
    def f(x: Any, log: Any) -> Any:
        g = generator(x, 3 if generator is steps else log)
        return plainly(given, g), log, g.gi_frame

    same(f, X, [])


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("stop", range(1, 4))
def test_it_goes_on_without_us(generator: Any, stop: int) -> None:
    def f(x: Any, log: Any) -> Any:
        g = generator(x, 3 if generator is steps else log)
        plainly(advance, g, stop)
        return g

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        logs: list[Any] = [[], []]
        g, h = f(X, logs[0]), compiled(X, logs[1])
        assert inspect.getgeneratorstate(g) == inspect.getgeneratorstate(h)
        assert (g.gi_yieldfrom is None) == (h.gi_yieldfrom is None)
        if g.gi_frame is not None:
            assert g.gi_frame.f_lineno == h.gi_frame.f_lineno
            assert_same(_plain(g.gi_frame.f_locals), _plain(h.gi_frame.f_locals))
        assert_same(_plain(given(g, None, 5)), _plain(given(h, None, 5)))
        assert_same(logs[0], logs[1])


def _plain(value: Any) -> Any:
    return {k: v for k, v in value.items() if not inspect.isgenerator(v)} if type(value) is dict else value


def test_closed_and_thrown_into() -> None:
    def gen(x: Any, log: Any) -> Any:
        try:
            yield x.sin()
        except KeyError as error:
            log.append(repr(error))
            yield x.cos()
        finally:
            log.append("finally")

    def f(x: Any) -> Any:
        log: list[Any] = []
        out = []
        for how in range(3):
            g = gen(x, log)
            out.append(plainly(next, g))
            bk()
            if how:
                out.append(plainly(g.throw, KeyError("k")))
            if how == 1:
                plainly(g.close)
            else:
                out += plainly(list, g)
        return out, log

    same(f, X)


def test_the_stack_and_tracebacks_show_it() -> None:
    seen: list[Any] = []

    @alternator.disable
    def look() -> None:
        seen.append([frame.name for frame in traceback.extract_stack() if "test_resumed" in frame.filename][-2:])

    def gen(x: Any) -> Any:
        yield x.sin()
        look()
        yield x.cos()
        raise KeyError("k")

    def f(x: Any) -> Any:
        try:
            return list(gen(x))
        except KeyError as error:
            return [entry.name for entry in traceback.extract_tb(error.__traceback__)]

    assert f(X) == alternator.compile(f, backend="eager")(X)
    assert seen[0] == seen[1]


def test_it_runs_while_it_runs() -> None:
    seen: list[Any] = []

    @alternator.disable
    def look(g: Any) -> None:
        seen.append((g.gi_running, inspect.getgeneratorstate(g), g.gi_yieldfrom))
        for again in (g.__next__, g.close):
            try:
                again()
            except ValueError as error:
                seen.append(str(error))

    def gen(x: Any, box: Any) -> Any:
        look(box[0])
        yield x.sin()
        look(box[0])
        yield from [look(box[0]), x.cos()]
        look(box[0])

    def f(x: Any) -> Any:
        box: list[Any] = []
        box.append(gen(x, box))
        return list(box[0])

    outs = [(fn(X), [seen.pop() for _ in range(len(seen))]) for fn in (f, alternator.compile(f, backend="eager"))]
    assert_same(*outs)


def test_what_it_drops_dies() -> None:
    class Thing:
        pass

    def gen(x: Any, log: Any) -> Any:
        thing = Thing()
        log.append(weakref.ref(thing))
        yield x.sin()
        thing = None
        bk()
        log.append(log[0]() is None)
        yield x.cos()

    def f(x: Any, log: Any) -> Any:
        out = list(gen(x, log))
        bk()
        return out, log[1:]

    same(f, X, [])


def test_a_generator_is_collected_with_what_it_holds() -> None:
    class Thing:
        pass

    def gen(x: Any) -> Any:
        thing = Thing()
        yield x.sin(), weakref.ref(thing)
        yield thing

    def f(x: Any) -> Any:
        g = gen(x)
        return g, plainly(next, g)

    g, (_, held) = alternator.compile(f, backend="eager")(X)
    assert held() is not None
    del g
    assert held() is None


def test_a_piece_that_is_the_yield_alone() -> None:
    """Behind a break in what it yields, inside of try: nothing is left of the piece that a handler could be for."""

    def pops(items: list[Any]) -> Any:
        try:
            while True:
                yield bk() or items.pop()
        except IndexError:
            items.append("handled")

    def breaks(items: list[Any]) -> Any:
        try:
            while items.pop():
                yield bk()
        except IndexError:
            items.append("handled")

    def f(x: Any) -> Any:
        first, second = [x, x + 1], [1, 2]
        return list(pops(first)), list(breaks(second)), first, second

    with alternator.config.patch(allow_empty_graphs=True, raise_internal_errors=True):
        same(f, X)
