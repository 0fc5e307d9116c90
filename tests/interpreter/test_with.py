"""``with`` statements and the managers of contextlib."""

from __future__ import annotations

import contextlib

import torch
from helpers import same

X = torch.arange(4.0)


def test_with() -> None:
    class M:
        def __init__(self, log, swallow=False):
            self.log, self.swallow = log, swallow

        def __enter__(self):
            self.log.append("enter")
            return self

        def __exit__(self, kind, error, trace):
            self.log.append(("exit", kind and kind.__name__, str(error)))
            return self.swallow

    def f(x):
        log = []
        with M(log) as a, M(log, True):
            x = x + len(a.log)
            raise ValueError("swallowed")
        with M(log):
            x = x + 1
        try:
            with M(log):
                raise KeyError("goes on")
        except KeyError:
            log.append("caught")
        for i in range(2):
            with M(log):
                if i:
                    break
                continue

        def g():
            with M(log):
                return 5

        return x + g(), log

    same(f, X, graphs=1, breaks=0)


def test_with_on_something_else() -> None:
    def f(x):
        x = x + 1
        try:
            with 5:
                pass
        except TypeError as e:
            return x, str(e)

    same(f, X, graphs=1, breaks=0)


def test_contextlib() -> None:
    @contextlib.contextmanager
    def manager(log, n):
        log.append(f"enter {n}")
        try:
            yield n
        except ValueError as e:
            log.append(f"caught {e}")
        finally:
            log.append(f"exit {n}")

    def f(x):
        log = []
        with manager(log, 1) as a, manager(log, 2):
            x = x + a
            raise ValueError("v")
        with contextlib.suppress(KeyError, IndexError):
            log.append("suppress")
            [][1]
        with contextlib.nullcontext(5) as n:
            x = x + n
        with contextlib.ExitStack() as stack:
            for i in range(3):
                x = x + stack.enter_context(manager(log, i))
            stack.callback(log.append, "callback")
        with contextlib.closing(Closer(log)) as c:
            log.append(c.name)
        return x, log

    class Closer:
        name = "closer"

        def __init__(self, log):
            self.log = log

        def close(self):
            self.log.append("closed")

    same(f, X, graphs=1, breaks=0)


def test_contextmanager_as_decorator() -> None:
    @contextlib.contextmanager
    def manager(log):
        log.append("in")
        yield
        log.append("out")

    log: list = []

    def f(x):
        mine = []

        @manager(mine)
        def g(x):
            mine.append("body")
            return x + 1

        return g(x), mine

    same(f, X, graphs=1, breaks=0)
