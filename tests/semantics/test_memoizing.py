"""Caches, weak references, locks and finalizers in captured code."""

import functools
import threading
import weakref

import torch
from helpers import same

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
