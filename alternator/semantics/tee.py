"""``itertools.tee``: in Python as long as its iterators stay in the captured code; what leaves is made by ``itertools``."""

from __future__ import annotations

import collections
import itertools
from typing import Any

from alternator.exc import Break, Restart
from alternator.interpreter import calls
from alternator.interpreter.generators import TracedGenerator, TracedTee
from alternator.interpreter.tables import REBUILD, RULES

_LEAVES = "an iterator of tee leaves"


@RULES.rule(itertools.tee)
def rule_tee(vm: Any, args: Any, kwargs: Any) -> Any:
    if vm.root_state.get(_LEAVES):
        raise Break("GENERATOR_STATE", "iterators of itertools.tee that leave the captured code")
    made = calls.call(vm, _tee, args, kwargs)
    for iterator in made:
        if type(iterator) is TracedGenerator:
            iterator.__class__ = TracedTee
    return made


@REBUILD.rule(TracedTee)
def rebuild_tee(b: Any, value: TracedTee) -> str:
    """They share what none of them, or not all, have given yet: the capture begins anew, and breaks where they are made."""
    raise Restart(lambda: b.vm.root_state.__setitem__(_LEAVES, True))


def _tee(iterable: Any, n: int = 2, /) -> Any:
    """Polyfill of ``itertools.tee``."""
    if n < 0:
        raise ValueError("n must be >= 0")
    if n == 0:
        return ()
    it = iter(iterable)
    copy = getattr(it, "__copy__", None)
    if copy is not None:
        return (it, *[copy() for _ in range(n - 1)])
    queues: list[Any] = [collections.deque() for _ in range(n)]
    busy = False

    def steps(mine: Any) -> Any:
        nonlocal busy
        while True:
            if not mine:
                if busy:
                    raise RuntimeError("cannot re-enter the tee iterator")
                busy = True
                try:
                    value = next(it)
                except StopIteration:
                    return
                finally:
                    busy = False
                for queue in queues:
                    queue.append(value)
            yield mine.popleft()

    return tuple([steps(queue) for queue in queues])
