"""Caches, weak references, locks and finalizers in captured code."""

import collections
import dataclasses
import functools
import threading
import weakref

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.ones(2)


class Thing:
    value = 3


THING = Thing()
FINALIZED = []


class Finalized:
    def __del__(self):
        FINALIZED.append(1)


def test_a_cache_made_in_captured_code_is_asked():
    def fn(x):
        seen = []

        @functools.lru_cache(maxsize=2)
        def double(a, b=1):
            seen.append(a)
            return a * 2

        results = [double(1), double(1), double(2), double(3), double(1), double(a=1)]
        info = double.cache_info()
        double.cache_clear()
        return x, results, seen, tuple(info), double.cache_info().currsize, double.cache_parameters()

    same(fn, X, fullgraph=True)


def test_a_cache_holds_tensors_methods_and_recursion():
    def fn(x):
        class Owner:
            @functools.lru_cache
            def times(self, n):
                return x * n

        @functools.cache
        def more(t):
            return t + 1

        @functools.cache
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        owner = Owner()
        return more(x), more(x) is more(x), owner.times(2) is owner.times(2), fib(30)

    same(fn, X, fullgraph=True)


COMPUTED = []
FACTOR = 2


@functools.lru_cache(maxsize=3)
def scaled(n, by=1):
    COMPUTED.append(n)
    return n * FACTOR * by


@functools.cache
def shared(n):
    return [n]


@functools.lru_cache(typed=True)
def kind_of(n):
    return type(n).__name__


@functools.lru_cache(maxsize=0)
def uncached(n):
    return [n]


@functools.cache
def total(n):
    return sum(n) if isinstance(n, (tuple, range)) else n


@functools.lru_cache
def refused(n):
    raise ValueError(n)


class Table:
    @functools.lru_cache
    def row(self, n):
        return torch.arange(n)

    @staticmethod
    @functools.cache
    def name(kind):
        return str(kind)


TABLE = Table()
CACHES = [scaled, shared, kind_of, uncached, refused, Table.row, Table.name]


@pytest.fixture(autouse=True)
def empty_caches():
    for cache in CACHES:
        cache.cache_clear()
    COMPUTED.clear()


def test_an_outside_cache_gives_what_it_holds():
    def fn(x):
        return x + scaled(3) + scaled(3, by=2) + scaled(n=3), kind_of(1), kind_of(True), TABLE.name(torch.int8)

    same(fn, X, fullgraph=True)


def test_a_result_from_an_outside_cache_is_computed_once_and_guarded():
    def fn(x):
        return x * scaled(3)

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    global FACTOR
    try:
        assert compiled(X)[0] == 6 and COMPUTED == [3]
        FACTOR = 5
        assert compiled(X)[0] == 6 and COMPUTED == [3]
        scaled.cache_clear()
        assert compiled(X)[0] == 15 and compiled(X)[0] == 15 and COMPUTED == [3, 3]
        scaled(1), scaled(2), scaled(4)
        assert compiled(X)[0] == 15 and COMPUTED == [3, 3, 1, 2, 4, 3]
    finally:
        FACTOR = 2


def test_an_object_from_an_outside_cache_is_the_same_in_each_call():
    def fn(x):
        shared(1).append(2)
        return x + len(shared(1))

    compiled = alternator.compile(fn, backend="eager")
    assert [int(compiled(X)[0]) for _ in range(3)] == [3, 4, 5] and shared(1) == [1, 2, 2, 2]


def test_a_tensor_from_the_outside_cache_of_a_method():
    def fn(x, table):
        return x + table.row(2)

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    other = Table()
    assert compiled(X, TABLE).tolist() == [1, 2] and compiled(X, other).tolist() == [1, 2]
    TABLE.row(2).add_(1)
    assert compiled(X, TABLE).tolist() == [2, 3] and compiled(X, other).tolist() == [1, 2]


def test_a_cached_function_comes_after_what_the_program_did_before():
    def fn(x):
        COMPUTED.append("before")
        return x * scaled(3)

    def hit(x):
        COMPUTED.append("again")
        return x * scaled(3)

    compiled = alternator.compile(fn, backend="eager")
    assert compiled(X)[0] == 6 and COMPUTED == ["before", 3]
    assert compiled(X)[0] == 6 and COMPUTED == ["before", 3, "before"]
    alternator.compile(hit, backend="eager", fullgraph=True)(X)


def test_what_a_cache_does_not_keep():
    def fn(x):
        return x + 1, uncached(2), uncached(2) is uncached(2)

    def raises(x):
        try:
            return x + refused(1)
        except ValueError as error:
            return x - 1, str(error)

    same(fn, X)
    same(raises, X)


def test_a_cache_from_outside_is_not_looked_into():
    def clears(x):
        scaled.cache_clear()
        return x + 1, scaled.cache_info().misses

    def counts(x):
        return x + scaled.cache_info().currsize

    same(clears, X)
    compiled = alternator.compile(counts, backend="eager")
    assert compiled(X)[0] == 1
    scaled(3)
    assert compiled(X)[0] == 2


def test_sizes_that_vary_are_arguments_of_a_cached_function():
    def fn(x):
        return x + total(x.shape[0]) + total((x.shape[0], 2)) + total(range(x.shape[0]))

    same(fn, torch.ones(3, 2), then=[(torch.ones(4, 2),), (torch.ones(5, 2),), (torch.ones(7, 2),)])


def test_the_same_tensor_gives_the_same_result_again():
    def fn(x):
        return shared(x) is shared(x), shared(x)[0]

    same(fn, X, fullgraph=True)


def test_an_empty_cache_leaves_captured_code_and_a_used_one_is_a_break():
    def empty(x):
        @functools.lru_cache(maxsize=3)
        def double(a):
            return a * 2

        return x + 1, double

    report = same(empty, X, fullgraph=True, check_args=False)
    made = report.compiled(X)[1]
    assert made(4) == 8 and made.cache_parameters() == {"maxsize": 3, "typed": False}

    def used(x):
        @functools.cache
        def double(a):
            return a * 2

        double(1)
        return x + 1, double.cache_info().currsize, double

    same(used, X, check_args=False, breaks=["UNREBUILDABLE_OUTPUT"])


def test_what_cannot_be_hashed_cannot_be_cached():
    def fn(x):
        try:
            functools.cache(lambda a: a)([])
        except TypeError as error:
            return x, str(error)

    same(fn, X, fullgraph=True)


def test_cached_property_of_a_class_made_in_captured_code():
    def fn(x):
        class Owner:
            calls = 0

            @functools.cached_property
            def value(self):
                Owner.calls += 1
                return x * 2

        owner = Owner()
        return owner.value, owner.value is owner.value, Owner.calls

    same(fn, X, fullgraph=True)


def test_single_dispatch_made_in_captured_code():
    def fn(x):
        @functools.singledispatch
        def kind(value):
            return 0

        @kind.register(int)
        def _(value):
            return 1

        class Owner:
            @functools.singledispatchmethod
            def kind(self, value):
                return 3

            @kind.register
            def _(self, value: str):
                return 4

        return x + kind(1) + kind(""), Owner().kind(1), Owner().kind(""), kind.dispatch(bool) is kind.registry[int]

    same(fn, X, fullgraph=True)


def test_a_weak_reference_to_an_object_from_outside():
    def fn(x):
        ref = weakref.ref(THING)
        return x + ref().value, ref() is THING, ref is weakref.ref(THING), ref

    report = same(fn, X, fullgraph=True, check_args=False)
    assert report.compiled(X)[-1]() is THING


def test_a_weak_reference_to_what_the_program_holds():
    def fn(x):
        made = Thing()
        made.value = x + 2
        ref = weakref.ref(made)
        return ref().value, ref() is made, hash(ref) == hash(made)

    same(fn, X, fullgraph=True)


def test_whether_an_object_that_nobody_holds_is_alive_is_not_guessed():
    def fn(x):
        made = Thing()
        ref = weakref.ref(made)
        del made
        return x + 1, ref() is None

    same(fn, X)


def test_a_lock_of_captured_code():
    def fn(x):
        lock, again = threading.Lock(), threading.RLock()
        with lock, again, again:
            y = x + 1
            held = lock.locked()
        return y, held, lock.locked()

    same(fn, X, fullgraph=True)


def test_an_object_with_a_finalizer_is_finalized_as_often_as_plainly():
    def fn(x):
        Finalized()
        kept = Finalized()
        return x + 1, kept is None

    same(fn, X, namespace=["FINALIZED"])


def test_arguments_are_hashed_even_if_they_are_in_no_cache():
    class Loud:
        def __hash__(self):
            print("hashed")
            return 7

    @functools.cache
    def double(v):
        return [v, v]

    def f(x):
        seen = [double(x + 1) is double(x + 1), double(Loud())[0] is None]
        for given in ([1], {1: 2}, {3}, collections.deque([x])):
            try:
                double(given)
            except TypeError as error:
                seen.append(str(error))
        return x * 2, seen

    same(f, torch.ones(2))


@pytest.mark.parametrize(
    "of", [lambda x: (tuple(x.shape),), lambda x: (x.shape, 2), lambda x: (x.shape[0],), lambda x: (("a", 1),)]
)
def test_a_cached_function_with_effects_runs_as_often_as_plainly(of):
    def run(wrap):
        ran = []

        @functools.lru_cache
        def size(*key):
            ran.append(key)
            return [key]

        def fn(x):
            return x + 1, size(*of(x)) is size(*of(x)), size(*of(x))

        fn = wrap(fn)
        results = [fn(torch.ones(n)) for n in (3, 3, 4, 5, 6, 5, 3)]
        return ran, [(same_object, shown) for _, same_object, shown in results]

    assert run(lambda fn: alternator.compile(fn, backend="eager")) == run(lambda fn: fn)


def test_a_cached_function_of_sizes_alone_is_captured_for_all_sizes():
    @functools.lru_cache
    def half(shape, by):
        return [shape[0] // by, shape[1]]

    def fn(x):
        rows, _ = half(x.shape, 2)
        return x[:rows] * 2, half(x.shape, 2) is half(x.shape, 2)

    report = same(fn, torch.ones(4, 3), then=[(torch.ones(n, 3),) for n in (6, 7, 8, 11)], graphs=1, breaks=0)
    assert report.recompiles == 1


def test_a_tuple_whose_class_counts_its_items_otherwise():
    class Lazy(collections.namedtuple("Lazy", ["one", "two"])):
        def __len__(self):
            return 3

        def __iter__(self):
            return iter((self[0], self[1], "made"))

    lazy = Lazy(1, 2)

    def fn(x):
        return x + lazy.one, len(lazy), list(lazy)

    report = same(fn, X, graphs=1, breaks=0)
    assert report.recompiles == 0


_MADE = {
    "list": lambda n: [0, n],
    "dict": lambda n: {"n": n},
    "nested": lambda n: ([n], n),
    "tensor": lambda n: torch.zeros(n),
}


def change(table):
    if type(table) is torch.Tensor:
        return table.add_(1)
    (table if type(table) is dict else {}).setdefault(f"k{len(table)}", 1)
    (table[0] if type(table) is tuple else table if type(table) is list else []).append(1)
    return len(table[0]) if type(table) is tuple else len(table)


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("use", [change, lambda table: table], ids=["changed", "handed out"])
@pytest.mark.parametrize("kind", _MADE)
def test_what_a_cache_gives_for_a_size_is_what_it_holds(kind, use, dynamic):
    def fn(x, table):
        return x + 1, use(table(x.shape[0]))

    compiled = alternator.compile(fn, backend="eager", dynamic=dynamic)
    ours, theirs = functools.lru_cache(_MADE[kind]), functools.lru_cache(_MADE[kind])
    for n in (3, 4, 5, 3, 4, 3, 5):
        x = torch.ones(n)
        plain, captured = fn(x, theirs), compiled(x, ours)
        assert_same(plain, captured)
        assert use is change or plain[1] is theirs(n) and captured[1] is ours(n)


@dataclasses.dataclass(frozen=True)
class Named:
    n: int


@pytest.mark.parametrize(
    "of", [lambda key: key, lambda key: Named(key.n), lambda key: (key, 1)], ids=["outside", "made", "in a tuple"]
)
def test_a_cache_knows_keys_that_are_equal_by_code_of_the_program(of):
    """What it holds for an equal key is what the program gets: effects come once, and the result is one object."""

    def run(wrap):
        ran = []

        @functools.lru_cache
        def counted(key):
            ran.append(1)
            return 3

        @functools.lru_cache
        def listed(key):
            return [key]

        def fn(x, key):
            return x + counted(of(key)), listed(of(key))

        fn = wrap(fn)
        results = [fn(X, Named(n)) for n in (3, 3, 4, 3)]
        return [[a[1] is b[1] for a in results] for b in results], [x.tolist() for x, _ in results], ran

    assert run(lambda fn: alternator.compile(fn, backend="eager")) == run(lambda fn: fn)


def test_what_is_computed_for_such_keys_alone_is_captured():
    @functools.lru_cache
    def half(key, by):
        return key.n // by, (key.n, "text")

    def fn(x, key):
        return x * half(key, 2)[0] + half(Named(8), 4)[0]

    same(fn, X, Named(4), then=[(X, Named(6))], graphs=1, breaks=0)


def test_a_cached_function_beside_a_generator_from_outside():
    @functools.lru_cache
    def twice(number):
        return number * 2

    def counting():
        yield from range(9)

    def fn(x, number, made):
        first = next(made)
        return x + 1, first, twice(number + next(made)), [*made]

    compiled = alternator.compile(fn, backend="eager")
    for number in (0, 0, 1, 3, 4):
        assert_same(fn(X, number, counting()), compiled(X, number, counting()))
    assert not alternator.utils.counters["internal_errors"]


@pytest.mark.parametrize("broken", [False, True])
def test_a_cached_function_of_what_a_loop_takes_from_a_list_that_grows(broken):
    @functools.lru_cache
    def twice(number):
        return number * 2

    def fn(x, numbers, more):
        for number in numbers:
            if len(numbers) < 5:
                numbers.append(twice(number) + twice(next(more)))
            if broken:
                alternator.graph_break()
        return x + 1, number, [*more]

    compiled = alternator.compile(fn, backend="eager")
    for first in (0, 0, 1, 3, 4):
        ours, theirs = [first], [first]
        assert_same(fn(X, theirs, iter(range(first, 9))), compiled(X, ours, iter(range(first, 9))))
        assert ours == theirs
