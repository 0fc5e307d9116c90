"""Calls: every kind of parameter and argument, closures, cells, recursion, callables of every kind."""

from __future__ import annotations

import enum
import functools
from typing import TypedDict

import pytest
import torch
from helpers import same

X = torch.arange(4.0)
counter = 0
written = [0]


def test_parameter_kinds() -> None:
    def g(a, /, b, c=3, *args, d, e=5, **kw):
        return a + b + c + sum(args) + d + e + sum(kw.values()), args, kw

    def f(x):
        return (
            g(x, 2, d=4),
            g(x, 2, 3, 4, 5, d=1, e=2, z=9),
            g(x, b=1, d=2),
            g(*[x, 1], **{"d": 3}),
            g(x, *(1, 2), *[3], d=4, **{"q": 1}, **{"r": 2}),
        )

    same(f, X, graphs=1, breaks=0)


def test_root_parameter_kinds() -> None:
    def f(a, /, b, *args, d=4, **kw):
        return a + b + sum(args) + d + kw.get("z", 0), args, kw

    same(f, X, 1, 2, 3, kwargs={"z": 5}, graphs=1, breaks=0)
    same(f, X, 1, kwargs={"d": 2}, graphs=1, breaks=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda g: g(),
        lambda g: g(1),
        lambda g: g(1, 2, 3, 4),
        lambda g: g(1, 2, d=1, b=2),
        lambda g: g(1, 2, d=1, q=2),
        lambda g: g(a=1, b=2, d=3),
        lambda g: g(1, 2),
        lambda g: g(*(1, 2), **{"d": 1}, **{"d": 2}),
    ],
)
def test_binding_errors_have_the_same_text(call) -> None:
    def f(x):
        def g(a, /, b, c=3, *, d):
            return 0

        x = x + 1
        try:
            call(g)
        except TypeError as e:
            return x, str(e)

    same(f, X, graphs=1, breaks=0)


def test_defaults_are_shared_between_calls() -> None:
    def g(x, acc=[]):
        acc.append(1)
        return x + len(acc)

    def f(x):
        def h(x, acc=[]):
            acc.append(1)
            return x * len(acc)

        return h(x), h(x), h(x, [1, 1])

    same(f, X, graphs=1, breaks=0)

    def outer(x):
        return g(x)

    g(X)
    import alternator

    compiled = alternator.compile(outer, backend="eager")
    before = len(g.__defaults__[0])
    assert torch.equal(compiled(X), X + before + 1)
    assert torch.equal(compiled(X), X + before + 2)
    assert len(g.__defaults__[0]) == before + 2


def test_closures() -> None:
    k = 3

    def f(x):
        n = 2

        def g(y):
            return y * n + k

        n = 5
        return g(x), [h(x) for h in [lambda y: y + n, lambda y, n=n: y * n]]

    same(f, X, graphs=1, breaks=0)


def test_nonlocal() -> None:
    def f(x):
        count = 0

        def step(y):
            nonlocal count
            count += 1
            return y + count

        x = step(step(x))
        return x, count, step

    r = same(f, X, graphs=1, breaks=0)
    step = r.outcomes[0].result[2]
    assert step(0) == 3 and step(0) == 4


def test_write_to_a_cell_outside() -> None:
    def make():
        count = 0

        def f(x):
            nonlocal count
            count += 1
            return x + count

        return f, lambda: count

    import alternator

    f, read = make()
    compiled = alternator.compile(f, backend="eager", dynamic=False)
    for i in range(1, 4):
        assert torch.equal(compiled(X), X + i)
        assert read() == i


def test_global_write() -> None:
    def f(x):
        global counter
        counter = counter + 1
        return x + counter

    same(f, X, namespace=["counter"], breaks=0)


def test_recursion() -> None:
    def f(x, n):
        def fac(k):
            return 1 if k < 2 else k * fac(k - 1)

        def tree(t):
            return sum(tree(c) for c in t) if isinstance(t, (list, tuple)) else t

        return x * fac(n), tree([x, [x, (x, [1])]])

    same(f, X, 5, graphs=1, breaks=0)


def test_unbounded_recursion_raises_as_plainly() -> None:
    def f(x):
        def loop(n):
            return loop(n + 1)

        x = x + 1
        try:
            return loop(0)
        except RecursionError:
            return x

    same(f, X)


def test_methods_of_all_kinds() -> None:
    class C:
        k = 2

        def m(self, x):
            return x * self.k

        @classmethod
        def c(cls, x):
            return x + cls.k

        @staticmethod
        def s(x):
            return x - 1

        def __call__(self, x, *a, **k):
            return self.m(x), a, k

    def f(x, o):
        m = o.m
        p = C()
        p.k = 7
        return m(x), o.c(x), C.c(x), o.s(x), C.s(x), C.m(o, x), o(x, 1, a=2), p(x), C().m(x), list(map(o.m, [x, x]))

    same(f, X, C(), graphs=1, breaks=0)


def test_partial() -> None:
    def g(a, b, c=0, **kw):
        return a + b * c, kw

    outside = functools.partial(g, c=3)

    def f(x, h):
        p = functools.partial(g, x, c=2)
        q = functools.partial(p, 5, z=1)
        return p(1), q(), q(c=9), outside(x, 1), h(b=2), p.func is g, p.args, q.keywords, functools.partial(g, b=1)

    same(f, X, functools.partial(g, X, c=1), graphs=1, breaks=0)


def test_partialmethod_and_partial_in_class() -> None:
    class C:
        def m(self, a, b):
            return a + b

        add1 = functools.partialmethod(m, b=1)
        as_function = lambda self, x: x * 2

    def f(x):
        return C().add1(x), C().as_function(x)

    same(f, X, graphs=1, breaks=0)


def test_decorators() -> None:
    def twice(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(fn(*args, **kwargs))

        wrapper.tag = "t"
        return wrapper

    @twice
    def outside(x):
        return x + 1

    def f(x):
        @twice
        @twice
        def inside(x):
            "doc"
            return x * 2

        return outside(x), inside(x), inside.__name__, inside.__doc__, inside.tag, outside.__wrapped__(x)

    same(f, X, graphs=1, breaks=0)


def test_functions_as_values() -> None:
    def f(x, fn):
        table = {"a": torch.sin, "b": lambda y: y + 1, "c": fn, "d": len, "e": torch.Tensor.relu, "f": int}
        return [g(x) if k not in "df" else g("1") for k, g in table.items()]

    def g(x):
        return x * 3

    same(f, X, g, graphs=1, breaks=0)


def test_function_attributes() -> None:
    def g(a: int, b: str = "x", *, c: float = 1.0) -> bool:
        "doc"
        return a

    g.mark = 5

    def f(x):
        def h(a, b=2, *, c=3):
            return a

        h.own = 7
        return (
            x + g.mark + h.own,
            g.__name__,
            g.__doc__,
            g.__defaults__,
            g.__kwdefaults__,
            g.__code__.co_argcount,
            h.__name__,
            h.__defaults__,
            h.__qualname__,
            hasattr(g, "nothing"),
        )

    same(f, X, graphs=1, breaks=0)


def test_returned_functions_work() -> None:
    def f(x):
        y = x + 1

        def g(z, k=2, *, m=3):
            return y + z * k + m

        return g, lambda: y

    r = same(f, X, graphs=1, breaks=0)
    g, h = r.outcomes[0].result
    assert torch.equal(g(torch.ones(4)), X + 1 + 2 + 3)
    assert torch.equal(h(), X + 1)


def test_bound_methods_returned() -> None:
    class C:
        def __init__(self, x):
            self.x = x

        def m(self, y):
            return self.x + y

    def f(x, o):
        return C(x + 1).m, o.m

    r = same(f, X, C(1), graphs=1, breaks=0, check_args=False)
    made, outside = r.outcomes[0].result
    assert torch.equal(made(1), X + 2) and outside(1) == 2


def test_not_callable() -> None:
    def f(x):
        x = x + 1
        out = []
        for thing in (5, None, "s", object()):
            try:
                thing()
            except TypeError as e:
                out.append(str(e))
        return x, out

    same(f, X, graphs=1, breaks=0)


def test_arguments_after_star_errors() -> None:
    def f(x):
        def g(*a, **k):
            return a, k

        x = x + 1
        out = []
        for bad in (lambda: g(*5), lambda: g(**5), lambda: g(**{1: 2})):
            try:
                bad()
            except TypeError as e:
                out.append(str(e))
        return x, out

    same(f, X, graphs=1, breaks=0)


def test_lambda_defaults_and_argument_order() -> None:
    def f(x):
        order = []

        def note(v):
            order.append(v)
            return v

        def g(a, b=note(1), *, c=note(2)):
            return a

        g(note(3), b=note(4), c=note(5))
        d = {note(6): note(7), note(8): note(9)}
        [note(10), *[note(11)]]
        return x + 1, order, d

    same(f, X, graphs=1, breaks=0)


class Batch(TypedDict, total=False):
    x: torch.Tensor
    n: int


class Counting(type):
    __call__ = functools.partialmethod(lambda cls, first, *more: (cls.__name__, first, len(more)), 7)  # type: ignore[assignment]


class Counted(metaclass=Counting):
    pass


class Delegating:
    """``__call__`` is neither a function nor C code."""

    __call__ = functools.partial(torch.mul, 2)


def test_call_that_a_class_gives_in_its_own_way() -> None:
    def f(x):
        batch = Batch(x=x + 1, n=3)
        return Batch(**batch), type(batch) is dict, Counted(x, x), Delegating()(x)

    same(f, X, graphs=1, breaks=0)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Borrowing(list):
    append = list.remove
    push = list.append
    extend = list.extend

    def __deepcopy__(self, memo):
        return Borrowing(self)


class Table(dict):
    __getitem__ = dict.__getitem__
    get = dict.get
    fetch = dict.__getitem__


def test_classes_that_hold_methods_of_builtins() -> None:
    def of(x, items, table, level):
        items.push(level)
        items.append(5)
        items.extend([x])
        return x + 1, table["a"], table.get("b", 4), table.fetch("a"), level.__format__(">3"), format(level, "d"), items

    def fresh(x, level):
        return of(x, Borrowing([5, 6]), Table(a=1), level)

    same(of, X, Borrowing([5, 6]), Table(a=1), Level.LOW, then=[(X, Borrowing([5]), Table(a=2, b=1), Level.HIGH)], fullgraph=True)
    same(fresh, X, Level.LOW, then=[(X, Level.HIGH)], fullgraph=True)
