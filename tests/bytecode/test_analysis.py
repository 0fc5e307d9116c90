"""Liveness, stack depth, loops and handlers."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from corpus import CASES
from snapshot import frame_at
from test_decode import MODULES, module_codes

from alternator.bytecode import decode, in_handler, in_loop, live_locals, stack_depth, step_start, successors
from alternator.bytecode.analysis import analyse
from alternator.bytecode.versions import FACTS


def at(fn: Any, opname: str, argval: Any = None, nth: int = 0) -> tuple[Any, int]:
    decoded = decode(fn.__code__)
    found = [i.index for i in decoded.instrs if i.opname == opname and argval in (None, i.argval)]
    return decoded, found[nth]


def test_live_before_and_after_the_last_read() -> None:
    def f(a, b, c):
        d = a + b
        return d

    decoded, index = at(f, "STORE_FAST", "d")
    assert live_locals(decoded, decoded.body_start) == {"a", "b"}
    assert live_locals(decoded, index) == set()
    assert live_locals(decoded, index + 1) == {"d"}


def test_live_around_a_loop() -> None:
    def f(a, n):
        last = None
        for i in n:
            a(last)
            last = i
        return 1

    decoded, index = at(f, "STORE_FAST", "i")
    assert live_locals(decoded, index) == {"a", "last"}
    assert live_locals(decoded, index + 1) == {"a", "last", "i"}


def test_live_through_a_handler() -> None:
    def f(a, g):
        b = 1
        try:
            b = g()
        except ValueError:
            return a, b
        return 0

    decoded, index = at(f, "CALL")
    assert live_locals(decoded, index) == {"a", "b"}
    assert live_locals(decoded, at(f, "STORE_FAST", "b", 1)[1] + 1) == set()


def test_delete_reads_and_ends() -> None:
    def f(a):
        del a
        a = 1
        return a

    decoded, index = at(f, "DELETE_FAST")
    assert live_locals(decoded, index) == {"a"}
    assert live_locals(decoded, index + 1) == set()


def test_cells_always_live() -> None:
    def f(a, b):
        c = 1
        return lambda: (a, c, FACTS_)

    decoded, index = at(f, "RETURN_VALUE")
    assert live_locals(decoded, index) == {"a", "c"}


def test_all_live_where_the_frame_is_read() -> None:
    def f(a, b):
        c = 1
        return locals()

    def g(a, m):
        m.eval()
        return m.stack

    decoded, index = at(f, "RETURN_VALUE")
    assert live_locals(decoded, index) == {"a", "b", "c"}
    decoded, index = at(g, "RETURN_VALUE")
    assert live_locals(decoded, index) == set()


FACTS_ = None


@pytest.mark.parametrize("name", MODULES)
def test_depth_is_consistent(name: str) -> None:
    """All paths to an instruction agree on the depth (asserted inside), within the code's limit, 1 at each return."""
    for code in module_codes(name):
        decoded = decode(code)
        generator = code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
        for instr in decoded.instrs:
            depth = stack_depth(decoded, instr.index)
            assert -1 <= depth <= code.co_stacksize
            assert not (depth < 0 and instr.index in reached(decoded))
            if instr.opname == "RETURN_VALUE" and depth >= 0 and not generator:
                assert depth == 1
                assert not in_handler(decoded, instr.index)
            entry = decoded.exception_entry(instr.index)
            if entry is not None and depth >= 0 and instr.opname not in FACTS.terminators:
                assert depth >= entry.depth


def reached(decoded: Any) -> set[int]:
    seen, work = {0}, [0]
    while work:
        for following in analyse(decoded).edges(work.pop()):
            if following not in seen:
                seen.add(following)
                work.append(following)
    return seen


@pytest.mark.parametrize("name", CASES)
def test_loops(name: str) -> None:
    """What runs twice is in a loop; what is not in a loop does not run twice."""
    fn, _ = CASES[name]()
    decoded = decode(fn.__code__)
    for index in range(decoded.body_start + 1, len(decoded.instrs)):
        if in_handler(decoded, index) or step_start(decoded, index) != index or stack_depth(decoded, index) < 0:
            continue
        fn, args = CASES[name]()
        if frame_at(fn, args, index, 2) is not None:
            assert in_loop(decoded, index)


def test_in_loop() -> None:
    def f(n):
        a = 1
        for i in n:
            a += i
            if a > 9:
                a = 99
                break
        return a

    decoded, index = at(f, "STORE_FAST", "a", 0)
    assert not in_loop(decoded, index)
    assert in_loop(decoded, at(f, "STORE_FAST", "a", 1)[1])
    assert not in_loop(decoded, at(f, "STORE_FAST", "a", 2)[1])


def test_in_handler() -> None:
    def f(g):
        try:
            a = g(1)
        except ValueError:
            a = g(2)
        finally:
            b = g(3)
        return a, b

    decoded = decode(f.__code__)

    def state(constant: int, nth: int) -> bool:
        return in_handler(decoded, at(f, "LOAD_CONST", constant, nth)[1])

    assert [state(1, 0), state(2, 0), state(3, 0), state(3, 1)] == [False, True, False, True]
    assert not in_handler(decoded, at(f, "RETURN_VALUE")[1])


def test_successors_order() -> None:
    def f(a):
        if a:
            return 1
        return 2

    decoded, index = at(f, "POP_JUMP_FORWARD_IF_FALSE")
    assert successors(decoded, index) == (index + 1, decoded.instrs[index].target)
    assert successors(decoded, at(f, "RETURN_VALUE")[1]) == ()
