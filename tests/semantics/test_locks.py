"""Locks from outside: really held while the graph and the effects of what they protect run, and given back whatever happens."""

from __future__ import annotations

import copy
import queue
import threading

import pytest
import torch
from helpers import assert_same

import alternator

X = torch.arange(4.0)
KINDS = [threading.Lock, threading.RLock, threading.Condition]


def is_free(lock) -> bool:
    """Whether another thread can take the lock."""
    taken = []

    def take():
        if lock.acquire(blocking=False):
            taken.append(True)
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(taken)


def both(fn, make, *args, calls=3, graphs=None):
    """The plain and the captured function, each with a lock and arguments of its own; the lock is free afterwards."""
    made, held, given = [], [], [copy.deepcopy(args) for _ in range(2)]
    locks = [make(), make()]

    def backend(module, inputs):
        made.append(module)

        def run(*inputs):
            held.append(not is_free(locks[1]))
            return module(*inputs)

        return run

    alternator.reset()
    compiled = alternator.compile(fn, backend=backend)
    for _ in range(calls):
        outcomes = []
        for run, lock, more in zip((fn, compiled), locks, given):
            held.clear()
            try:
                outcomes.append(run(X.clone(), lock, *more))
            except Exception as error:
                outcomes.append((type(error), str(error)))
            assert is_free(lock)
        assert_same(*outcomes)
    if graphs is not None:
        assert len(made) == graphs
    return list(held)


@pytest.mark.parametrize("make", KINDS)
def test_the_lock_is_held_while_its_graph_runs(make) -> None:
    def f(x, lock):
        y = x + 1
        with lock:
            y = y * 2
        return y.sin()

    assert both(f, make, graphs=2) == [False, True]


def test_acquire_and_release() -> None:
    def f(x, lock):
        lock.acquire()
        try:
            y = x * 2
        finally:
            lock.release()
        return y + 1

    for make in KINDS:
        both(f, make, graphs=1)


def test_a_lock_that_is_taken_twice() -> None:
    def f(x, lock):
        with lock:
            with lock:
                x = x + 1
            x = x * 2
        return x - 1

    both(f, threading.RLock)


def test_one_lock_after_the_other() -> None:
    def f(x, lock):
        for _ in range(3):
            with lock:
                x = x + 1
            x = x.sin()
        return x

    for make in KINDS:
        both(f, make)


class Cache:
    def __init__(self) -> None:
        self.lock, self.items, self.asked = threading.Lock(), {}, 0

    def get(self, key, x):
        with self.lock:
            self.asked += 1
            if key not in self.items:
                self.items[key] = x.sin()
            return self.items[key]


def test_what_a_lock_protects_is_read_behind_it() -> None:
    def f(x, cache):
        return cache.get("a", x) + cache.get("b", x)

    caches = [Cache(), Cache()]
    compiled = alternator.compile(f, backend="eager")
    for _ in range(4):
        assert_same(f(X, caches[0]), compiled(X, caches[1]))
        assert caches[0].asked == caches[1].asked and not caches[1].lock.locked()
        assert_same(caches[0].items, caches[1].items)


def test_threads_that_count_under_a_lock() -> None:
    class Total:
        def __init__(self):
            self.lock, self.count, self.sum = threading.Lock(), 0, torch.zeros(4)

    def f(x, total):
        y = x * 2
        with total.lock:
            total.count += 1
            total.sum = total.sum + y
        return y + 1

    total = Total()
    compiled = alternator.compile(f, backend="eager")
    threads = [threading.Thread(target=lambda: [compiled(X, total) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total.count == 200 and torch.equal(total.sum, X * 400)


def test_exceptions_give_the_lock_back() -> None:
    def f(x, lock, index):
        y = x + 1
        with lock:
            y = y * 2
            z = y[index]
            if index.numel() == 2:
                raise ValueError("two")
        return z + 1

    for index in (torch.tensor([9]), torch.tensor([1]), torch.tensor([1, 2])):
        for make in KINDS:
            both(f, make, index)


def test_a_graph_that_cannot_run_twice() -> None:
    """It writes into a large input: then the lock is given back where the program does it."""
    big = torch.zeros(1 << 16)

    def f(x, lock, big):
        with lock:
            big.add_(1)
        return x + big[:4]

    held = both(f, threading.Lock, big)
    assert held == [True, False]


def test_an_operator_that_takes_the_lock_itself() -> None:
    shared = threading.Lock()
    with torch.library._scoped_library("alternator_locks", "FRAGMENT") as lib:
        lib.define("locked(Tensor x) -> Tensor")

        def locked(x):
            with shared:
                return x * 3

        lib.impl("locked", locked, "CompositeExplicitAutograd")
        lib.impl("locked", torch.empty_like, "Meta")

        def f(x, lock):
            with lock:
                y = x + 1
            return torch.ops.alternator_locks.locked(y) - 1

        compiled = alternator.compile(f, backend="eager")
        for _ in range(2):
            assert_same(f(X, shared), compiled(X, shared))
    alternator.reset()


def test_a_lock_that_is_not_held() -> None:
    def f(x, lock):
        try:
            lock.release()
        except RuntimeError as error:
            return x + 1, str(error)
        return x

    for make in (threading.Lock, threading.RLock):
        both(f, make)
    compiled = alternator.compile(f, backend="eager")
    lock = threading.Lock()
    lock.acquire()
    assert torch.equal(compiled(X, lock), X)
    assert compiled(X, lock)[1] == "release unlocked lock"


def test_two_locks_that_turn_out_to_be_one() -> None:
    def f(x, one, two):
        one.release()
        try:
            two.release()
        except RuntimeError:
            return x + 2
        return x + 1

    compiled = alternator.compile(f, backend="eager")
    locks = [threading.Lock() for _ in range(2)]
    for lock in locks:
        lock.acquire()
    assert torch.equal(compiled(X, *locks), X + 1)
    locks[0].acquire()
    assert torch.equal(compiled(X, locks[0], locks[0]), X + 2)


class Shared:
    def __init__(self) -> None:
        self.lock, self.event, self.waiting = threading.Condition(), threading.Event(), queue.Queue()


def test_conditions_events_and_queues() -> None:
    def f(x, shared):
        with shared.lock:
            shared.lock.notify_all()
        if not shared.event.is_set():
            shared.event.set()
            x = x + 1
        shared.waiting.put(x * 2)
        return shared.waiting.get() + 1, shared.waiting.qsize()

    compiled, both_shared = alternator.compile(f, backend="eager"), [Shared(), Shared()]
    for _ in range(3):
        assert_same(f(X, both_shared[0]), compiled(X, both_shared[1]))


def test_somebody_waits_for_the_lock() -> None:
    def f(x, condition, log):
        with condition:
            log.append("notified")
            condition.notify()
        return x + 1

    for run in (f, alternator.compile(f, backend="eager")):
        for _ in range(2):
            condition, log, ready = threading.Condition(), [], threading.Event()

            def wait(condition=condition, log=log, ready=ready):
                with condition:
                    ready.set()
                    condition.wait(20)
                    log.append("woken")

            thread = threading.Thread(target=wait)
            thread.start()
            ready.wait()
            assert torch.equal(run(X, condition, log), X + 1)
            thread.join()
            assert log == ["notified", "woken"]
