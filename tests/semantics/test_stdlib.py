"""The standard library."""

from __future__ import annotations

import bisect
import collections
import contextlib
import functools
import gc
import heapq
import inspect
import itertools
import logging
import math
import operator
import os
import random
import re
import string
import struct
import time
import traceback
import types
import typing
import unittest
import warnings
import weakref

import torch
from helpers import same

import alternator

X = torch.arange(4.0)
log = logging.getLogger("alternator.tests.stdlib")


def test_itertools() -> None:
    def f(x, l):
        return (
            list(itertools.chain(l, [9])), list(itertools.chain.from_iterable([[1], [2]])), list(itertools.islice(itertools.count(5, 2), 3)), list(itertools.islice(itertools.cycle(l), 5)), list(itertools.repeat(1, 2)),
            list(itertools.accumulate(l)), list(itertools.accumulate(l, lambda a, b: a * b, initial=1)), list(itertools.product(l, repeat=2)), list(itertools.permutations(l, 2)), list(itertools.combinations(l, 2)),
            list(itertools.combinations_with_replacement(l, 2)), list(itertools.compress(l, [1, 0, 1])), list(itertools.dropwhile(lambda v: v < 2, l)), list(itertools.takewhile(lambda v: v < 2, l)),
            list(itertools.filterfalse(lambda v: v % 2, l)), [(k, list(g)) for k, g in itertools.groupby([1, 1, 2])], [(k, list(g)) for k, g in itertools.groupby(l, key=lambda v: v > 1)], list(itertools.pairwise(l)),
            list(itertools.starmap(pow, [(2, 3)])), list(itertools.zip_longest(l, [1], fillvalue=0)), [list(t) for t in itertools.tee(l, 2)], sum(itertools.chain([x], [x])), list(itertools.accumulate([x, x])),
            list(itertools.starmap(lambda a, b: a + b, [(x, 1)])), list(itertools.chain(*[[1], [2]])),
        )  # fmt: skip

    same(f, X, [1, 2, 3], graphs=1, breaks=0)


def test_functools() -> None:
    @functools.lru_cache
    def cached(n):
        return n * 2

    @functools.cache
    def of_tensor(t):
        return t + 1

    @functools.singledispatch
    def single(v):
        return "other"

    @single.register
    def _(v: int):
        return "int"

    @single.register(list)
    def _(v):
        return "list"

    @functools.total_ordering
    class T:
        def __init__(self, n):
            self.n = n

        def __eq__(self, o):
            return self.n == o.n

        def __lt__(self, o):
            return self.n < o.n

    class C:
        @functools.singledispatchmethod
        def m(self, v):
            return "any"

        @m.register
        def _(self, v: str):
            return "str"

    def f(x):
        key = functools.cmp_to_key(lambda a, b: b - a)
        return (
            functools.reduce(lambda a, b: a + b, [x, x, 1]), cached(3), of_tensor(x), single(1), single([]), single("s"), T(1) >= T(0), T(1) != T(2), sorted([1, 3, 2], key=key), functools.reduce(max, [1, 5, 2], 0), C().m(1), C().m("s"),
        )  # fmt: skip

    same(f, X, graphs=1, breaks=0)


def test_lru_cache_does_not_keep_traced_values() -> None:
    @functools.lru_cache
    def cached(t):
        return t * 2

    def f(x):
        return cached(x + 1)

    same(f, X)
    assert torch.equal(cached(X), X * 2)


def test_collections_abc_and_typing() -> None:
    def f(x):
        return (
            x + 1,
            typing.get_origin(list[int]) is list,
            typing.get_args(dict[str, int]),
            isinstance([], collections.abc.Sequence),
            typing.Optional[int] == typing.Union[int, None],
        )

    same(f, X, graphs=1, breaks=0)


def test_heapq_and_bisect() -> None:
    def f(x, h):
        heapq.heappush(h, 0)
        a = heapq.heappop(h)
        mine = [5, 1, 4]
        heapq.heapify(mine)
        l = [1, 3, 5]
        bisect.insort(l, 4)
        return (
            x + a,
            h,
            heapq.heappushpop(mine, 2),
            heapq.nsmallest(2, [3, 1, 2]),
            heapq.nlargest(1, [3, 1]),
            bisect.bisect(l, 3),
            l,
            list(heapq.merge([1, 3], [2])),
            bisect.bisect_left(l, 3),
        )

    same(f, X, [2, 7], graphs=1, breaks=0)


def test_re_string_math() -> None:
    def f(x, s):
        m = re.match(r"(\w+)-(?P<n>\d+)", s)
        return (
            x + int(m.group("n")), m.group(1), m.groups(), re.sub("a", "b", s), re.findall(r"\d", s), re.split("-", s), re.compile("b").search(s) is None, string.ascii_lowercase[:3], string.Template("$a").substitute(a=1), math.hypot(3, 4),
            re.sub(r"\d", lambda k: str(int(k.group()) + 1), s), bool(re.fullmatch("x", s)),
        )  # fmt: skip

    same(f, X, "ab-12", graphs=1, breaks=0, then=[(X, "zz-9")])


def test_inspect_and_types() -> None:
    def g(a, b=2, *c, d, **e):
        return a

    def f(x):
        sig = inspect.signature(g)
        return (
            x + len(sig.parameters),
            list(sig.parameters),
            inspect.isfunction(g),
            inspect.isclass(int),
            inspect.ismethod(g),
            callable(g),
            types.SimpleNamespace(a=1).a,
            isinstance(g, types.FunctionType),
            sig.parameters["b"].default,
        )

    same(f, X, graphs=1, breaks=0)


def test_environment() -> None:
    def f(x):
        return (
            x + int(os.environ.get("ALTERNATOR_TEST_N", "3")),
            os.getenv("ALTERNATOR_NOTHING"),
            "PATH" in os.environ,
            os.path.join("a", "b"),
            os.sep,
        )

    os.environ.pop("ALTERNATOR_TEST_N", None)
    same(f, X)
    import alternator

    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X)[0], X + 3)
    os.environ["ALTERNATOR_TEST_N"] = "5"
    try:
        assert torch.equal(compiled(X)[0], X + 5)
    finally:
        del os.environ["ALTERNATOR_TEST_N"]


def test_random_advances_as_plainly() -> None:
    import alternator

    def f(x):
        return (
            x + random.random() + random.randint(0, 100) + random.uniform(0, 1),
            random.choice([1, 2, 3]),
            random.sample(range(10), 3),
        )

    def g(x, rng):
        l = [1, 2, 3]
        random.shuffle(l)
        return x + rng.random() + rng.randint(1, 9), l

    compiled, compiled_g = alternator.compile(f, backend="eager"), alternator.compile(g, backend="eager")
    random.seed(5)
    plain = [f(X) for _ in range(3)] + [g(X, random.Random(3)) for _ in range(3)]
    state = random.getstate()
    random.seed(5)
    captured = [compiled(X) for _ in range(3)] + [compiled_g(X, random.Random(3)) for _ in range(3)]
    for a, b in zip(plain, captured):
        assert torch.allclose(a[0], b[0]) and a[1:] == b[1:]
    assert random.getstate() == state


def test_logging_and_warnings(caplog) -> None:
    import alternator

    def f(x, n):
        log.info("info %s", n)
        y = x + 1
        log.warning("shape %s", tuple(y.shape))
        log.debug("not shown")
        warnings.warn(f"careful {n}", UserWarning)
        return y

    compiled = alternator.compile(f, backend="eager")
    for n in (1, 2):
        with caplog.at_level(logging.INFO, logger=log.name), warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            caplog.clear()
            assert torch.equal(compiled(X, n), X + 1)
        mine = [r.getMessage() for r in caplog.records if r.name == log.name]
        assert mine == [f"info {n}", "shape (4,)"]
        assert [str(w.message) for w in seen if w.category is UserWarning] == [f"careful {n}"]


def test_time_is_read_when_it_runs() -> None:
    import alternator

    def f(x):
        start = time.perf_counter()
        y = x + 1
        return y, time.perf_counter() - start, time.time()

    compiled = alternator.compile(f, backend="eager")
    first, second = compiled(X), compiled(X)
    assert second[2] > first[2] and second[1] >= 0


class Held:
    n = 3


def test_weakref() -> None:
    def f(x, ref):
        o = ref()
        return x + (o.n if o is not None else 0)

    import alternator

    compiled = alternator.compile(f, backend="eager")
    o = Held()
    ref = weakref.ref(o)
    first = compiled(X, ref)
    assert torch.equal(first, X + 3)
    del o
    gc.collect()
    assert ref() is None
    assert torch.equal(compiled(X, ref), X)


def test_weakref_made_inside() -> None:
    class C:
        n = 3

    def f(x, o):
        r = weakref.ref(o)
        return x + r().n, r() is o

    same(f, X, C())


def test_context_managers_of_contextlib() -> None:
    class M(contextlib.ContextDecorator):
        def __init__(self, log):
            self.log = log

        def __enter__(self):
            self.log.append("in")
            return self

        def __exit__(self, *a):
            self.log.append("out")
            return False

    def f(x):
        log = []

        @M(log)
        def g(y):
            return y + 1

        with contextlib.ExitStack() as stack:
            stack.enter_context(M(log))
            stack.push(lambda *a: True)
            raise ValueError("swallowed")
        return g(x), log

    same(f, X, graphs=1, breaks=0)


def test_exit_stack_order_and_pop_all() -> None:
    def f(x):
        log = []
        with contextlib.ExitStack() as stack:
            stack.callback(log.append, 1)
            stack.callback(log.append, 2)
            kept = stack.pop_all()
        log.append("after")
        kept.close()
        return x + 1, log

    same(f, X, graphs=1, breaks=0)


def test_redirect_and_suppress_reused() -> None:
    def f(x):
        s = contextlib.suppress(ZeroDivisionError)
        n = 0
        with s:
            1 / 0
        with s:
            n = 1
        return x + n

    same(f, X, graphs=1, breaks=0)


def test_unknown_c_function_breaks() -> None:
    import zlib

    def f(x):
        y = x + 1
        n = zlib.crc32(b"abc")
        return y + n % 7

    same(f, X, breaks=["UNKNOWN_C_FUNCTION"])


def test_copyreg_and_pickle_are_breaks_not_errors() -> None:
    import pickle

    def f(x):
        y = x + 1
        return y + len(pickle.dumps([1, 2]))

    same(f, X)


def test_threads_and_locks() -> None:
    import threading

    lock = threading.Lock()

    def f(x):
        y = x + 1
        with lock:
            y = y * 2
        return y, threading.current_thread().name

    same(f, X)


def test_decimal_fractions_datetime() -> None:
    import datetime
    import decimal
    import fractions

    def f(x, d):
        return (
            x + float(fractions.Fraction(1, 2)),
            decimal.Decimal("1.5") + 1,
            d + datetime.timedelta(days=1),
            datetime.date(2020, 1, 1).year,
        )

    same(f, X, datetime.datetime(2020, 1, 1))


def test_uuid_hash_json() -> None:
    import hashlib
    import json

    def f(x, d):
        return x + 1, json.dumps(d), json.loads("[1]"), hashlib.sha1(b"a").hexdigest()

    same(f, X, {"a": [1, None]})


def test_native_callables_called_by_native_code() -> None:
    def f(x, i, j):
        l = [j, i, 7]
        l.sort(key=str)
        return (
            x + i,
            l,
            sorted([i, j], key=abs),
            max([i, j], key=float),
            [list(g) for _, g in itertools.groupby([i, i, j], key=str)],
            list(itertools.takewhile(bool, [i, 0, j])),
            [t + 1 for t in itertools.starmap(torch.mul, [(x, i)])],
            list(itertools.accumulate([i, j], max)),
            functools.reduce(min, [i, j]),
        )

    same(f, X, 3, 10, graphs=1, breaks=0, then=[(X, 4, 2), (X, 12, 5)])


def test_a_compiled_pattern_and_a_sort_key_leave_captured_code():
    def fn(x):
        return x + 1, re.compile("a+b")

    same(fn, torch.ones(2), fullgraph=True)

    def keyed(x):
        return (
            x + 1,
            sorted([3, 1], key=functools.cmp_to_key(lambda a, b: a - b)),
            functools.cmp_to_key(lambda a, b: 0)(1) is None,
        )

    same(keyed, torch.ones(2), fullgraph=True)


def test_tracebacks_of_captured_exceptions_can_be_cleared():
    def fn(x):
        try:
            raise ValueError("v")
        except ValueError as error:
            traceback.clear_frames(error.__traceback__)
        with unittest.TestCase().assertRaisesRegex(KeyError, "k"):
            raise KeyError("k")
        return x + 1

    same(fn, torch.ones(2), fullgraph=True)


def test_methodcaller_with_keywords():
    def f(x, call):
        return call(x), operator.methodcaller("sum", dim=0)(x), operator.methodcaller("add", 1, alpha=2)(x)

    report = same(f, torch.ones(2, 2), operator.methodcaller("sum", dim=0, keepdim=True), fullgraph=True, graphs=1)
    for call in (operator.methodcaller("sum", dim=1), operator.methodcaller("mean", dim=1), operator.methodcaller("sum", dim=0)):
        assert torch.equal(report.compiled(torch.ones(2, 2), call)[0], call(torch.ones(2, 2)))


def test_how_long_an_iterator_says_that_it_is() -> None:
    class Hint:
        def __init__(self, hint):
            self.hint = hint

        def __length_hint__(self):
            if self.hint is None:
                raise TypeError("unknown")
            return self.hint

    def f(x, hint):
        made = iter([1, 2, 3])
        next(made)
        return (
            x + 1,
            operator.length_hint(made),
            operator.length_hint({1: 2}),
            operator.length_hint(5, 7),
            operator.length_hint(Hint(hint), 9),
        )

    same(f, X, 4, then=[(X, 6), (X, None), (X, NotImplemented), (X, -1), (X, "a")], fullgraph=True)
    same(lambda x: operator.length_hint([], "a"), X)


def test_limits_of_dtypes_leave() -> None:
    def f(x):
        return x + 1, torch.finfo(x.dtype), torch.iinfo(torch.int8)

    _, floats, ints = alternator.compile(f, backend="eager", fullgraph=True)(X)
    assert floats == torch.finfo(torch.float32) and ints == torch.iinfo(torch.int8)


def test_struct():
    def f(x, n, data):
        packed = struct.pack("<if2s", n, 0.5, b"ab")
        whole, half, text = struct.unpack("<if2s", packed)
        try:
            struct.pack("<b", 300)
        except struct.error as error:
            text += str(error).encode()
        return x * whole + half, text, struct.calcsize("<if"), struct.unpack("<h", data)[0]

    report = same(f, torch.ones(2), 3, b"\x01\x00", fullgraph=True, graphs=1)
    assert report.compiled(torch.ones(2), 3, b"\x02\x00")[-1] == 2

    def g(x):
        return struct.pack("<i", x.shape[0]), x + 1

    report = same(g, torch.ones(2), fullgraph=True, dynamic=True)
    assert report.compiled(torch.ones(7))[0] == struct.pack("<i", 7)
