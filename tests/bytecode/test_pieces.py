"""Continuations and steps one by one: layouts, names, limits, lifetimes, tracebacks."""

from __future__ import annotations

import gc
import sys
import traceback
import weakref
from types import CellType
from typing import Any

import pytest

from alternator.bytecode import decode, make_continuation, make_step, new_function, step_start


def find(fn: Any, opname: str, argval: Any = None, nth: int = 0) -> int:
    found = [i.index for i in decode(fn.__code__).instrs if i.opname == opname and argval in (None, i.argval)]
    return found[nth]


def test_only_live_locals_are_parameters() -> None:
    def f(a, b, c):
        d = a + b
        return c, d

    rest = make_continuation(f.__code__, find(f, "STORE_FAST", "d"), 1)
    assert rest.local_names == ("c",)
    assert new_function(rest.code, {})("c", "d") == ("c", "d")


def test_from_the_start() -> None:
    def f(a, *args, k=1, **kw):
        return a, args, k, kw

    rest = make_continuation(f.__code__, 0, 0)
    assert rest.local_names == ("a", "k", "args", "kw")
    assert new_function(rest.code, {})(1, 2, (3,), {}) == (1, (3,), 2, {})


def test_names_and_places() -> None:
    def f(a):
        g = lambda: a
        return g()

    rest = make_continuation(f.__code__, find(f, "STORE_FAST"), 1)
    assert rest.code.co_name == "f"
    assert rest.code.co_qualname == "test_names_and_places.<locals>.f"
    assert rest.code.co_filename == __file__
    assert rest.code.co_firstlineno == f.__code__.co_firstlineno
    assert rest.free_names == rest.code.co_freevars == ("a",)
    again = make_continuation(rest.code, find(type("", (), {"__code__": rest.code}), "RETURN_VALUE"), 1)
    assert again.code.co_name == "f"


def test_cached_for_the_life_of_the_code() -> None:
    def make() -> Any:
        space: dict[str, Any] = {}
        exec("def f(a):\n  b = a\n  return b", space)
        return space["f"]

    f, g = make(), make()
    args: Any = (find(f, "RETURN_VALUE"), 1)
    assert make_continuation(f.__code__, *args) is make_continuation(f.__code__, *args)
    assert make_continuation(f.__code__, *args, unbound=["b"]) is make_continuation(f.__code__, *args)
    assert make_continuation(f.__code__, *args) is not make_continuation(g.__code__, *args)
    assert make_step(f.__code__, *args) is make_step(f.__code__, *args)
    gone = weakref.ref(f.__code__)
    del f
    gc.collect()
    assert gone() is None


def test_call_is_one_unit() -> None:
    def f(g):
        return g(1, k=2)

    start = find(f, "KW_NAMES")
    for name in ("KW_NAMES", "PRECALL", "CALL"):
        assert step_start(decode(f.__code__), find(f, name)) == start
        step = make_step(f.__code__, find(f, name), 4, null_positions=[0])
        assert step.index == start
    (after,) = step.successors
    assert (after.index, after.stack_depth, after.null_positions) == (start + 3, 1, ())
    run = new_function(step.code, {})
    assert run(lambda x, k: (x, k), 1, 2) == (0, (1, 2))


def test_method_load_has_a_static_layout() -> None:
    def f(x):
        return x.upper()

    step = make_step(f.__code__, find(f, "LOAD_METHOD"), 1)
    assert step.successors[0].null_positions == (0,)
    assert step.successors[0].stack_depth == 2
    number, method = new_function(step.code, {})("a")
    assert (number, method()) == (0, "A")


def test_branches_in_order() -> None:
    def f(a, n):
        while a:
            n += 1
        return n

    code = f.__code__
    backward = find(f, "POP_JUMP_BACKWARD_IF_TRUE")
    step = make_step(code, backward, 1)
    assert [s.index for s in step.successors] == [backward + 1, decode(code).instrs[backward].target]
    run = new_function(step.code, {})
    local = {"a": 1, "n": 2}
    given = [local[name] for name in step.local_names]
    assert run(*given, True)[0] == 1
    assert run(*given, False) == (0, 2)


def test_loop_end_pops_the_iterator() -> None:
    def f(n):
        for i in n:
            print(i)
        return 5

    step = make_step(f.__code__, find(f, "FOR_ITER"), 1)
    assert [s.stack_depth for s in step.successors] == [2, 0]
    run = new_function(step.code, {})
    items = iter([3])
    assert run(items) == (0, items, 3)
    assert run(items) == (1,)


def test_handler_covers_the_instruction() -> None:
    def f(g):
        try:
            x = g()
        except ValueError:
            return "handled"
        return x

    step = make_step(f.__code__, find(f, "CALL"), 2, null_positions=[0])
    run = new_function(step.code, {"ValueError": ValueError})

    def bad(kind: type) -> Any:
        raise kind("bad")

    number, error = run(lambda: bad(ValueError))
    assert (number, type(error), sys.exc_info()) == (1, ValueError, (None, None, None))
    assert run(lambda: bad(TypeError))[0] == 1
    assert run(lambda: 1) == (0, 1)
    entered = step.successors[1]
    assert (entered.stack_depth, entered.passed, entered.handles) == (1, (0,), False)
    rest = make_continuation(f.__code__, entered.index, 1)
    after = new_function(rest.code, {"ValueError": ValueError})
    assert after(ValueError()) == "handled"
    with pytest.raises(TypeError, match="not handled"):
        after(TypeError("not handled"))


def test_layout_inside_of_handlers() -> None:
    def f(g):
        try:
            g()
        except ValueError:
            try:
                g()
            except KeyError:
                return g(1)
            finally:
                g(2)

    outer = make_continuation(f.__code__, find(f, "CALL", 0, 1), 3, null_positions=[1])
    assert (outer.made_positions, outer.passed, outer.handles) == ((0,), (2,), True)
    inner = make_continuation(f.__code__, find(f, "LOAD_CONST", 1), 4, null_positions=[2])
    assert (inner.made_positions, inner.passed, inner.handles) == ((0,), (1, 3), True)

    def g(n):
        seen.append((n, sys.exc_info()[1]))
        return n

    k, v = KeyError(3), ValueError(2)
    seen: list[Any] = []
    assert new_function(inner.code, {"KeyError": KeyError, "ValueError": ValueError})(g, v, g, k) == 1
    assert seen == [(1, k), (2, v)]
    assert sys.exc_info() == (None, None, None)
    cleanup = find(f, "COPY")
    closed = make_continuation(f.__code__, cleanup + 2, 4)
    assert (closed.made_positions, closed.passed, closed.handles) == ((0, 1, 2), (3,), True)


def test_no_successor() -> None:
    def f(a):
        return a

    step = make_step(f.__code__, find(f, "RETURN_VALUE"), 1)
    assert step.successors == ()
    assert new_function(step.code, {})(4) == (-1, 4)


def test_unbound_follows_the_instruction() -> None:
    def f(a):
        b = 1
        del a
        for _ in range(2):
            print(b)
            a = 1
        return a, b

    code = f.__code__
    store = make_step(code, find(f, "STORE_FAST", "b"), 1, unbound=["b"])
    assert store.unbound == frozenset()
    assert store.successors[0].local_names == ("a", "b")
    delete = make_step(code, find(f, "DELETE_FAST"), 0)
    assert delete.successors[0].unbound == {"a"}
    assert delete.successors[0].local_names == ("b",)


def test_cells_are_shared() -> None:
    def f(n):
        def bump():
            nonlocal n
            n += 1

        bump()
        return n

    index = find(f, "LOAD_FAST", "bump")
    rest = make_continuation(f.__code__, index, 1, null_positions=[0])
    cell = CellType(5)

    def bump():
        cell.cell_contents += 10

    assert new_function(rest.code, {}, closure=[cell])(bump) == 15
    assert cell.cell_contents == 15


def test_dropping_a_local_in_the_continuation_drops_it() -> None:
    class Thing:
        pass

    def f(thing, alive):
        alive()
        del thing
        return alive()

    alive: list[Any] = []
    step = make_step(f.__code__, find(f, "CALL"), 2, null_positions=[0])
    (after,) = step.successors
    cont = make_continuation(f.__code__, after.index, after.stack_depth)
    rest = new_function(cont.code, {})

    def check() -> bool:
        return alive[0]() is not None

    def make() -> Any:
        thing = Thing()
        alive[:] = [weakref.ref(thing)]
        return thing

    assert step.local_names == ("thing", "alive")
    seen = rest(make(), check, None)  # outside of assert, which keeps what it shows
    assert seen is False


def test_traceback_shows_user_lines() -> None:
    def f(a):
        b = a + 1
        c = 2
        return (
            b
            / (c - 2)
        )  # fmt: skip

    rest = make_continuation(f.__code__, find(f, "STORE_FAST", "b"), 1)
    with pytest.raises(ZeroDivisionError) as info:
        new_function(rest.code, {})(1)
    frame = traceback.extract_tb(info.value.__traceback__)[-1]
    first = f.__code__.co_firstlineno
    assert (frame.filename, frame.lineno, frame.end_lineno) == (__file__, first + 4, first + 5)


def test_super_reads_a_cell_argument_anew() -> None:
    class A:
        def who(self):
            return "A", self.name

    class B(A):
        def __init__(self, name):
            self.name = name

        def who(self, other):
            def swap():
                nonlocal self
                self = other

            swap()
            return super().who()

    code = B.who.__code__
    rest = make_continuation(code, find(B.who, "LOAD_FAST", "swap"), 1, null_positions=[0])
    assert rest.local_names[0] == "self"
    cells = {"self": CellType(B("one")), "other": CellType(B("two")), "__class__": CellType(B)}
    closure = [cells[name] for name in rest.free_names]

    def swap():
        cells["self"].cell_contents = cells["other"].cell_contents

    run = new_function(rest.code, {"super": super}, closure=closure)
    assert run("ignored", swap) == ("A", "two")


def test_what_is_refused() -> None:
    async def generator():
        yield 1

    async def coroutine():
        return 1

    def f(a):
        def g():
            return a

        return g()

    module = compile("x = 1", "m", "exec")
    for code in (generator.__code__, coroutine.__code__):
        with pytest.raises(ValueError, match="a coroutine"):
            make_continuation(code, 2, 0)
    with pytest.raises(ValueError, match="not the body of a function"):
        make_continuation(module, 1, 0)
    with pytest.raises(ValueError, match="sets up cells"):
        make_step(f.__code__, 0, 0)
    with pytest.raises(ValueError, match="holds 1 items"):
        make_continuation(f.__code__, find(f, "RETURN_VALUE"), 0)
    with pytest.raises(ValueError, match="does not exist"):
        make_continuation(f.__code__, 999, 0)
    with pytest.raises(ValueError, match="outside the stack"):
        make_continuation(f.__code__, find(f, "RETURN_VALUE"), 1, null_positions=[1])


def test_new_function_lends() -> None:
    def f(a=1, *, b=2):
        return a, b

    f.note = "n"
    made = new_function(f.__code__, {}, "made", defaults_from=f)
    assert (made(), made.__name__, made.note) == ((1, 2), "made", "n")


def test_many_locals_and_far_jumps() -> None:
    count = 300
    lines = ["def f(n):", " total = 0"] + [f" v{i} = n + {i}" for i in range(count)]
    lines += [" for k in range(n):", *(f"  total += v{i} * k" for i in range(count)), " return total"]
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)
    f = space["f"]
    index = find(f, "LOAD_CONST", count - 1)
    rest = make_continuation(f.__code__, index, 1)
    given = [{"n": 3, "total": 0}.get(name, 3 + int(name[1:]) if name[0] == "v" else None) for name in rest.local_names]
    assert new_function(rest.code, {"range": range})(*given, 3) == f(3)
