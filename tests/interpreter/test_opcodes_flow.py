"""Jumps, loops, pattern matching, unpacking, strings."""

from __future__ import annotations

import dataclasses

import torch
from helpers import same

X = torch.arange(4.0)


def test_if_on_constants() -> None:
    def f(x, flag, none, text):
        if flag:
            x = x + 1
        if none is None:
            x = x * 2
        if none is not None:
            x = x * 3
        if text and flag or none:
            x = x - 1
        return x

    same(f, X, True, None, "a", graphs=1, breaks=0, then=[(X, False, None, "a"), (X, True, 5, ""), (X, 0, 0, "")])


def test_loops() -> None:
    def f(x, n):
        for i in range(n):
            if i == 2:
                continue
            if i == 5:
                break
            x = x + i
        else:
            x = x * 10
        while n > 0:
            n -= 1
            x = x + n
        else:
            x = x - 1
        return x

    same(f, X, 4, graphs=1, breaks=0, then=[(X, 8), (X, 0)])


def test_boolean_operators_return_operands() -> None:
    def f(x, a, b):
        return a or b, a and b, not a, x + 1, (a or b) is b

    same(f, X, [], [1], graphs=1, breaks=0, then=[(X, [2], [])])


def test_conditional_expression_and_walrus() -> None:
    def f(x, l):
        if (n := len(l)) > 1:
            x = x + n
        return x if n else -x, [y := 1, y**2], y

    same(f, X, [1, 2], graphs=1, breaks=0, then=[(X, [])])


def test_loop_variable_survives() -> None:
    def f(x):
        for i, (a, *b) in enumerate([(1, 2, 3), (4, 5)]):
            x = x + a
        return x, i, a, b

    same(f, X, graphs=1, breaks=0)


def test_unpacking() -> None:
    def f(x, l, t, d):
        a, b = t
        c, *rest = l
        *front, last = l
        p, (q, r) = 1, (2, 3)
        first, *_, z = d
        m, n = x[:2]
        return [*l, *t], (*t, *d), {*t}, {**d, "z": 1}, a, b, c, rest, front, last, p, q, r, first, z, m + n

    same(f, X, [1, 2, 3], (4, 5), {"u": 1, "v": 2}, graphs=1, breaks=0)


def test_unpacking_errors() -> None:
    def f(x, l):
        x = x + 1
        out = []
        try:
            a, b = l
        except ValueError as e:
            out.append(str(e))
        try:
            a, b, c, d, *e = l
        except ValueError as e:
            out.append(str(e))
        try:
            a, b = 5
        except TypeError as e:
            out.append(str(e))
        return x, out

    same(f, X, [1, 2, 3], graphs=1, breaks=0)


def test_unpacking_an_iterator_takes_one_too_many() -> None:
    def f(x):
        it = iter(range(10))
        try:
            a, b = it
        except ValueError:
            pass
        return x + 1, list(it)

    same(f, X, graphs=1, breaks=0)


def test_f_strings() -> None:
    class C:
        def __format__(self, spec):
            return f"<{spec}>"

        def __repr__(self):
            return "repr"

        def __str__(self):
            return "str"

    def f(x, n, s):
        c = C()
        w = 8
        return (
            x + 1,
            f"{n}{s}",
            f"{n:>{w}}|{s!r:^10}|{c:abc}|{c!r}|{c!s}|{c!a}|{n=}|{3.14159:.2f}",
            "%s-%d" % (s, n),
            "{}:{a}".format(n, a=s),
        )

    same(f, X, 5, "text", graphs=1, breaks=0, then=[(X, 6, "other")])


def test_match_values_and_sequences() -> None:
    def f(x, subject):
        match subject:
            case 0:
                return x + 1
            case 1 | 2:
                return x + 2
            case "text":
                return x + 3
            case [a, b]:
                return x + a + b
            case [a, *rest] if a > 5:
                return x + len(rest)
            case (1, (2, c)):
                return x * c
            case None:
                return x - 1
            case _:
                return x - 2

    same(
        f,
        X,
        0,
        graphs=1,
        breaks=0,
        then=[(X, 2), (X, "text"), (X, [1, 2]), (X, [6, 1, 1]), (X, (1, (2, 3))), (X, None), (X, 3.5), (X, [])],
    )


def test_match_mappings_and_classes() -> None:
    @dataclasses.dataclass
    class P:
        x: int
        y: int

    class Q:
        __match_args__ = ("u",)

        def __init__(self, u):
            self.u = u
            self.v = 2

    def f(x, subject):
        match subject:
            case {"a": a, "b": 2}:
                return x + a, 1
            case {"a": a, **rest}:
                return x + a, rest
            case P(0, y=y):
                return x + y, 3
            case P(x=a):
                return x + a, 4
            case Q(u, v=2):
                return x + u, 5
            case int(n) | float(n):
                return x + n, 6
            case str() as s:
                return x, s
            case bool():
                return x, "never"

    cases = [{"a": 1, "c": 3}, P(0, 5), P(1, 5), Q(3), 7, "s", 2.5, {"b": 1}]
    same(f, X, {"a": 1, "b": 2}, graphs=1, breaks=0, then=[(X, c) for c in cases])


def test_comprehensions() -> None:
    def f(x, l):
        k = 2
        return (
            [x + i for i in l if i % 2],
            {i: x * i for i in l},
            {i % k for i in l},
            sum(i * k for i in l),
            [[a + b for a in l] for b in l],
            [(a, b) for a in l for b in range(a)],
        )

    same(f, X, [1, 2, 3], graphs=1, breaks=0)


def test_del() -> None:
    def f(x, l):
        y = x + 1
        del y
        try:
            y
        except UnboundLocalError as e:
            text = str(e)
        z = x * 2

        def inner():
            return z

        inner()
        del z
        try:
            inner()
        except NameError as e:
            return x + 3, text, str(e)

    same(f, X, [1], graphs=1, breaks=0)


def test_unbound_local() -> None:
    def f(x, flag):
        x = x + 1
        if flag:
            y = 1
        try:
            return x + y
        except UnboundLocalError as e:
            return str(e)

    same(f, X, True, graphs=1, breaks=0, then=[(X, False)])


def test_assert() -> None:
    def f(x, n):
        x = x + 1
        assert n > 0, f"bad {n}"
        return x

    same(f, X, 1, graphs=1, breaks=0, then=[(X, -1)])


def test_imports() -> None:
    def f(x):
        import math
        import os.path as p
        from collections import OrderedDict as O
        from collections import deque

        from torch.nn import functional as F

        return F.relu(x) + math.floor(2.5), O(a=1), deque([1]), p.basename("a/b")

    same(f, X, graphs=1, breaks=0)


def test_import_errors() -> None:
    def f(x):
        x = x + 1
        try:
            from math import nothing_there  # noqa: F401
        except ImportError:
            x = x + 1
        try:
            import no_such_module_at_all  # noqa: F401
        except ModuleNotFoundError as e:
            return x, str(e)

    same(f, X)


class Whole(int):
    pass


class Apart(int):
    __match_args__ = ("real", "imag")


class Asked(dict):
    def get(self, key, default=None):
        print("get", key)
        return 5 if key == "five" else super().get(key, default)

    def __contains__(self, key):
        print("contains", key)
        return super().__contains__(key)


def test_patterns_of_classes_made_of_builtin_ones() -> None:
    def f(x, o):
        match o:
            case Apart(a, b):
                return x + a, b
            case Whole(a):
                return x * a, type(a) is Whole
            case float(a):
                return x - a

    def wrong(x, o):
        match o:
            case Whole(a, b):
                return x + a + b

    same(f, X, Whole(2), graphs=1, breaks=0, then=[(X, Apart(3)), (X, 1.5)])
    same(wrong, X, Whole(2))


def test_mapping_patterns_ask_for_get() -> None:
    def f(x, d):
        match d:
            case {"b": v, "a": _}:
                return x + v
            case {"five": v, "a": w}:
                return x * v + w
            case {"c": v, **rest}:
                return x - v, rest
            case {}:
                return x

    same(f, X, Asked(a=1, c=2), graphs=1, breaks=0, then=[(X, {"a": 1, "b": 2}), (X, {"d": 2, "c": 4}), (X, {"e": 1})])


class Steps:
    """An iterator that tells what it is asked."""

    def __init__(self) -> None:
        self.left = 4

    def __iter__(self):
        print("iter")
        return self

    def __next__(self):
        print("next")
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return self.left

    def __length_hint__(self):
        print("hint")
        return 4


def test_what_makes_lists_asks_how_many() -> None:
    def f(x):
        a, *b = Steps()
        c, d, e, g = Steps()
        return x + 1, a, b, c, list(Steps()), [*Steps()], sorted(Steps()), (lambda *args: args)(*Steps()), [].extend(Steps())

    same(f, X, graphs=1, breaks=0)
