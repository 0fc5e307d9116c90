"""The language around exceptions and generators: every program runs whole, and with a break at each of its marks.

(PYTEST_DONT_REWRITE: some of the programs have assertions.)
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any, Callable

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(4.0)
PROGRAMS: dict[str, Callable[..., Any]] = {}


def program(fn: Any) -> Any:
    """A function of a tensor and ``mark``, which it calls with 1, 2, 3 ...; it returns anything."""
    PROGRAMS[fn.__name__] = fn
    return fn


def marks(at: int) -> Callable[[int], None]:
    def mark(n: int) -> None:
        if n == at:
            alternator.graph_break()

    return mark


def now() -> str:
    return repr(sys.exc_info()[1])


class Point:
    __match_args__ = ("a", "b")

    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


class Mine(Exception):
    def __init__(self, n: int, *rest: Any) -> None:
        super().__init__(n, *rest)
        self.n = n

    def __str__(self) -> str:
        return f"mine {self.n}"


class Closes:
    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def close(self) -> None:
        self.log.append("closed")


class Manager:
    def __init__(self, log: list[Any], swallow: Any = ()) -> None:
        self.log, self.swallow = log, swallow

    def __enter__(self) -> "Manager":
        self.log.append("enter")
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        self.log.append(("exit", repr(error), now()))
        return isinstance(error, self.swallow)


# ---- exceptions


@program
def chains(x, mark):
    out = []
    for how in range(5):
        try:
            try:
                raise KeyError(how)
            except KeyError as e:
                mark(1)
                if how == 0:
                    raise ValueError(x.shape) from e
                if how == 1:
                    raise ValueError("none") from None
                if how == 2:
                    raise ValueError("implicit")
                if how == 3:
                    raise
                raise e
        except (ValueError, KeyError) as e:
            mark(2)
            out.append((repr(e), repr(e.__cause__), repr(e.__context__), e.__suppress_context__))
    mark(3)
    return x + 1, out, now()


@program
def finally_everywhere(x, mark):
    log = []

    def one(how):
        try:
            try:
                if how == 1:
                    raise KeyError(how)
                if how == 2:
                    return "early"
                mark(1)
            finally:
                log.append(("inner", how, now()))
                mark(2)
                if how == 3:
                    return "from finally"
        except KeyError:
            log.append(now())
            return "handled"
        else:
            log.append("else")
        finally:
            mark(3)
            log.append(("outer", how, now()))
        return "end"

    return [one(how) for how in range(4)], x * 2, log


@program
def finally_in_loops(x, mark):
    log = []
    for i in range(6):
        try:
            if i == 1:
                continue
            if i == 4:
                break
            if i == 2:
                try:
                    [][i]
                except IndexError:
                    mark(1)
                    continue
                finally:
                    log.append(("two", now()))
            log.append(i)
        finally:
            mark(2)
            log.append(("f", i, now()))
    else:
        log.append("else")
    while True:
        try:
            break
        finally:
            mark(3)
            x = x + 1
    return x, log


@program
def groups(x, mark):
    log = []
    for group in (
        ExceptionGroup("a", [ValueError(1), KeyError(2)]),
        ExceptionGroup("b", [ExceptionGroup("c", [ValueError(3), TypeError(4)]), OSError(5, "five")]),
        ValueError("naked"),
    ):
        try:
            try:
                raise group
            except* ValueError as e:
                mark(1)
                log.append((repr(e), now()))
            except* (TypeError, OSError) as e:
                mark(2)
                log.append((repr(e), now()))
                raise RuntimeError("new") from e
            finally:
                log.append(now())
        except* RuntimeError as e:
            log.append([repr(one.__cause__) for one in e.exceptions])
        except* KeyError as e:
            mark(3)
            log.append(e.subgroup(KeyError).message)
    return x + 1, log, now()


@program
def unbound_and_deleted(x, mark):
    out = []
    e = "before"
    try:
        raise KeyError("k")
    except KeyError as e:
        mark(1)
        kept = e
    try:
        out.append(e)
    except UnboundLocalError as u:
        mark(2)
        out.append((str(u), repr(u.__context__)))
    y = x + 1
    del y
    mark(3)
    try:
        y
    except NameError as n:
        out.append(str(n))
    return x * 2, out, repr(kept)


@program
def errors_of_callees(x, mark):
    def deep(n):
        if n == 0:
            mark(1)
            raise Mine(x.dim(), "rest")
        try:
            return deep(n - 1)
        finally:
            trail.append(n)

    trail = []
    try:
        deep(3)
    except Mine as m:
        mark(2)
        m.add_note("note")
        return x * m.n, str(m), m.args, m.__notes__, trail, isinstance(m, Exception)


@program
def assertion_and_lookup(x, mark):
    out = []
    for act in (lambda: {}["a"], lambda: [1][3], lambda: int("q"), lambda: None.x, lambda: 1 / 0, lambda: [1, 2].a):
        try:
            act()
        except (LookupError, ArithmeticError) as e:
            mark(1)
            out.append(repr(e))
        except Exception as e:
            mark(2)
            out.append((type(e).__mro__[1].__name__, str(e)))
    try:
        assert x is None, f"assert {len(out)}"
    except AssertionError as e:
        mark(3)
        out.append(str(e))
    return x - 1, out


# ---- with


@program
def managers(x, mark):
    log = []
    with Manager(log) as a, Manager(log, KeyError) as b:
        mark(1)
        log.append(a is b)
        raise KeyError("swallowed")
    with Manager(log, ValueError):
        with Manager(log):
            try:
                raise ValueError("goes out")
            finally:
                mark(2)
                x = x + 1
    for i in range(3):
        with Manager(log):
            if i == 1:
                continue
            mark(3)
            if i == 2:
                break
    return x, log, now()


@program
def contextlib_managers(x, mark):
    log = []

    @contextlib.contextmanager
    def manager(name, swallow):
        log.append(name)
        try:
            yield name
        except KeyError as e:
            log.append((repr(e), now()))
            if not swallow:
                raise
        finally:
            log.append("out " + name)

    with manager("a", True) as a:
        mark(1)
        x = x + len(a)
        raise KeyError("in a")
    try:
        with manager("b", False):
            mark(2)
            raise KeyError("in b")
    except KeyError as e:
        log.append(repr(e))
    with contextlib.suppress(ZeroDivisionError, IndexError), contextlib.nullcontext(3) as n:
        x = x * n
        mark(3)
        x = x / (n - 3) if n != 3 else [][n]
    return x, log


@program
def exit_stack(x, mark):
    log = []

    with contextlib.ExitStack() as stack:
        stack.callback(log.append, "callback")
        m = stack.enter_context(Manager(log, KeyError))
        stack.push(lambda kind, error, trace: log.append(repr(error)))
        stack.enter_context(contextlib.closing(Closes(log)))
        mark(1)
        x = x + (m is not None)
        raise KeyError("in the stack")
    mark(2)
    with contextlib.ExitStack() as stack:
        stack.callback(log.append, "kept")
        kept = stack.pop_all()
    log.append("before")
    kept.close()
    mark(3)
    return x, log


@program
def redirected(x, mark):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print("hidden")
        mark(1)
    print("shown")
    mark(2)
    return x + 1, out.getvalue()


# ---- generators


@program
def send_and_return(x, mark):
    def gen(total):
        while True:
            got = yield total
            mark(1)
            if got is None:
                return total * 10
            total = total + got

    g = gen(x)
    out = [next(g), g.send(1), g.send(x)]
    mark(2)
    try:
        g.send(None)
    except StopIteration as stop:
        mark(3)
        out.append(stop.value)
    return out


@program
def throw_and_close(x, mark):
    log = []

    def gen():
        n = 0
        while True:
            try:
                yield n
                n += 1
            except ValueError as e:
                log.append((repr(e), now()))
                mark(1)
                n = 100
            except GeneratorExit:
                log.append("exit")
                raise
            finally:
                log.append(("f", n))

    g = gen()
    out = [next(g), next(g), g.throw(ValueError("v")), next(g)]
    mark(2)
    g.close()
    out.append(list(g))
    mark(3)
    return x + len(out), out, log


@program
def delegation(x, mark):
    def leaf(n):
        try:
            got = yield n
            mark(1)
            while got:
                got = yield got * 2
        except KeyError as e:
            yield repr(e)
        return n + 1

    def middle():
        a = yield from leaf(1)
        b = yield from leaf(a)
        c = yield from (i for i in (7, 8))
        return a, b, c

    def top():
        return (yield from middle())

    g = top()
    out = [next(g), g.send(5), g.send(0), g.throw(KeyError("k"))]
    mark(2)
    try:
        while True:
            out.append(next(g))
    except StopIteration as stop:
        mark(3)
        out.append(stop.value)
    return x * 2, out


@program
def pipelines(x, mark):
    def numbers(n):
        for i in range(n):
            mark(1)
            yield i

    def squares(source):
        for i in source:
            yield x * i * i

    def window(source):
        last = None
        for item in source:
            if last is not None:
                mark(2)
                yield last + item
            last = item

    out = []
    for item in window(squares(numbers(4))):
        mark(3)
        out.append(item)
    return out, [*squares(iter([1, 2]))], dict(zip("ab", squares([1, 2]))), max(numbers(3)), sum(squares(numbers(3)))


@program
def errors_through_generators(x, mark):
    def gen():
        yield 1
        mark(1)
        raise KeyError("inside")

    def stops():
        yield 1
        raise StopIteration("wrong")

    out = []
    for make in (gen, stops):
        try:
            for i in make():
                out.append(i)
        except (KeyError, RuntimeError) as e:
            mark(2)
            out.append((repr(e), repr(e.__cause__)))
    g = gen()
    next(g)
    try:
        g.throw(TypeError, "old style")
    except TypeError as e:
        mark(3)
        out.append(repr(e))
    return x + 1, out


@program
def comprehensions(x, mark):
    mark(1)
    items = [x * i for i in range(3) if i]
    pairs = {i: [j for j in range(i)] for i in range(3)}
    mark(2)
    lazy = (i for row in pairs.values() for i in row)
    first = next(lazy)
    mark(3)
    return items, pairs, first, list(lazy), {(last := y) for y in range(2)}, last


# ---- the rest of the language


@program
def patterns(x, mark):
    out = []
    mark(1)
    for subject in (
        {"k": 1, "z": 2},
        [1, 2, 3],
        (1,),
        Point(1, 2),
        Point(b=3, a=0),
        "s",
        4,
        4.5,
        None,
        True,
        {},
        [[1], {"d": (2,)}],
    ):
        match subject:
            case {"k": v, **rest}:
                out.append((v, rest))
            case [int(a), *b] if len(b) > 1:
                out.append((a, b))
            case Point(1, bb) | Point(a=0, b=bb):
                out.append(bb)
            case "s" | 4 as s:
                out.append(s)
            case [[n], {"d": (m,)}]:
                out.append((n, m))
            case bool() | None as c:
                out.append(c)
            case float(f):
                out.append(f)
            case _:
                out.append("rest")
    mark(2)
    return x + 1, out


@program
def stars_and_names(x, mark):
    first, *middle, last = [x, 1, 2, x + 1]
    (a, *_), b = "xyz", {**{"i": 1}, "j": 2}
    mark(1)
    if (n := len(middle)) > 1 and (m := n * 2):
        x = x * m
    mark(2)

    def outer():
        count = 0

        def bump(by):
            nonlocal count
            count += by
            return count

        mark(3)
        return bump(1) + bump(2), count

    def f(p, /, q, *args, k=1, **kw):
        return p, q, args, k, sorted(kw)

    return first, middle, last, a, b, n, m, outer(), f(1, *[2, 3], k=4, **b), [*range(2), *middle], x


@program  # (a class that is made anew in each call is another one in what is captured behind a break)
def class_bodies(x, mark):
    class Base:
        made = []

        def __init_subclass__(cls, **kw):
            super().__init_subclass__()
            cls.made.append((cls.__name__, sorted(kw)))

    class Derived(Base, flag=1):
        try:
            n = [1, 2][5]
        except IndexError:
            n = 3
        squares = [i * i for i in range(3)]

        def __init__(self, y):
            self.y = y

        def value(self):
            return self.y * self.n

    return Derived(x).value(), Base.made, Derived.squares


@pytest.mark.parametrize("name", PROGRAMS)
def test_whole(name: str) -> None:
    same(PROGRAMS[name], X, marks(0), fullgraph=True, graphs=1)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("name", PROGRAMS)
def test_with_a_break(name: str, at: int) -> None:
    same(PROGRAMS[name], X, marks(at))
