"""The frame hook: offering frames, entries, skip marks."""

import asyncio
import functools
import gc
import os
import subprocess
import sys
import traceback

import pytest
from hook_helpers import entry_for, local, no_callback, own, running  # noqa: F401

from alternator._C import eval_frame
from alternator._C.eval_frame import (
    NULL,
    SKIP_CODE,
    SKIP_CODE_RECURSIVE,
    CompiledFunction,
    _CacheEntry,
    _debug_get_cache_entry_list,
    _debug_get_extra_state,
    reset_code,
    set_eval_frame,
    skip_code,
    unskip_code,
)
from alternator._C.guards import GuardTree

# ---- offering -------------------------------------------------------------------------------------------------------


def test_the_callback_gets_function_and_values():
    def f(a, b=2, *args, c, **kwargs):
        d = a
        return d + b

    seen = []

    def callback(func, values):
        if func.__code__ is f.__code__:
            seen.append((func, values))
            assert eval_frame.get_eval_frame() is None  # our own calls are not captured
        return None

    assert running(callback, f, 1, c=3, e=4) == 3
    ((func, values),) = seen
    assert func is f and dict(zip(f.__code__.co_varnames, values)) == {
        "a": 1, "b": 2, "c": 3, "args": (), "kwargs": {"e": 4}, "d": NULL,
    }  # fmt: skip
    assert len(values) == f.__code__.co_nlocals and repr(NULL) == "NULL"


def test_callees_are_offered_too_and_previous_is_returned():
    def inner():
        return 1

    def outer():
        return inner() + 1

    names = []

    def callback(func, values):
        names.append(func.__name__)

    assert set_eval_frame(callback) is None
    outer()
    assert set_eval_frame(False) is callback
    outer()
    assert set_eval_frame(None) is False
    assert names == ["outer", "inner"]
    with pytest.raises(TypeError):
        set_eval_frame(3)


def test_cells_and_free_variables_at_entry():
    free = 7

    def f(a, b):
        def inner():
            return a + free

        return inner() + b

    seen = []

    def callback(func, values):
        if func.__code__ is f.__code__:
            seen.append(values)

    assert running(callback, f, 1, 2) == 10
    assert seen[0][:2] == [1, 2]  # raw arguments, not cells


def test_generators_coroutines_and_class_bodies_run_plainly():
    offered = []

    def callback(func, values):
        offered.append(func.__name__)

    def helper():
        return 1

    def gen(n):
        for i in range(n):
            helper()
            got = yield i
            if got:
                yield got

    async def coro():
        await asyncio.sleep(0)
        return helper()

    def use():
        g = gen(3)
        first = next(g)
        sent = g.send("x")
        rest = list(g)
        h = gen(1)
        next(h)
        with pytest.raises(KeyError):
            h.throw(KeyError)

        class Body:
            x = helper()

        return first, sent, rest, Body.x, [i for i in range(2)]

    assert running(callback, use) == (0, "x", [1, 2], 1, [0, 1])
    assert offered.count("helper") == 5
    assert "gen" not in offered and "Body" not in offered
    assert running(callback, asyncio.run, coro()) == 1
    assert "coro" not in offered


def test_exceptions_of_the_callback_and_of_the_function():
    def f():
        raise KeyError("from f")

    def broken(func, values):
        raise ValueError("from the callback")

    def plain(func, values):
        return None

    with pytest.raises(ValueError, match="from the callback"):
        running(broken, f)
    with pytest.raises(KeyError, match="from f") as info:
        running(plain, f)
    assert traceback.extract_tb(info.value.__traceback__)[-1].name == "f"
    with pytest.raises(TypeError, match="must return"):
        running(lambda func, values: 3, f)


def test_recursion():
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    count = [0]

    def callback(func, values):
        count[0] += func is fib
        if func is fib and values[0] == 3:
            return entry_for(fib, values, [local(0, ("EQ", 3))], lambda n: 2, (0,))

    try:
        assert running(callback, fib, 12) == 144
        assert _debug_get_cache_entry_list(fib.__code__)[0].hits > 10
    finally:
        reset_code(fib.__code__)

    def endless(n):
        return endless(n + 1)

    with pytest.raises(RecursionError):
        running(callback, endless, 0)


# ---- entries --------------------------------------------------------------------------------------------------------


def test_hits_misses_and_order():
    def f(x):
        return ("plain", x)

    compiled = []

    def callback(func, values):
        if func is not f:
            return None
        n = values[0]
        compiled.append(n)
        return entry_for(f, values, [local(0, ("EQ", n))], lambda x, n=n: (n, x), (0,), extra=n)

    compiled_f = CompiledFunction(f, callback)
    for call in (1, 1, 2, 1, 3, 2):
        assert compiled_f(call) == (call, call)
    assert compiled == [1, 2, 3]
    entries = _debug_get_cache_entry_list(f.__code__)
    assert [e.extra for e in entries] == [2, 3, 1]  # the last hit is in front
    assert [e.hits for e in entries] == [1, 0, 2]
    assert entries[0].next is entries[1] and entries[2].next is None
    assert _debug_get_extra_state(f.__code__).entries == entries
    assert entries[0].code is f.__code__ and entries[0].check_fn.check(f, [2]) and entries[0].valid
    assert f(1) == ("plain", 1)  # nobody asked for the compiled one

    _debug_get_extra_state(f.__code__).invalidate(entries[0])
    assert not entries[0].valid and entries[0].next is None
    assert compiled_f(2) == (2, 2) and compiled == [1, 2, 3, 2]
    reset_code(f.__code__)
    assert _debug_get_cache_entry_list(f.__code__) == []
    assert compiled_f(2) == (2, 2) and compiled == [1, 2, 3, 2, 2]


def test_run_only():
    def f(x):
        return "plain"

    def callback(func, values):
        if func is f:
            return entry_for(f, values, [local(0, ("TYPE", int))], lambda: "compiled", ())

    assert running(False, f, 1) == "plain"
    assert running(callback, f, 1) == "compiled"
    assert running(False, f, 2) == "compiled"
    assert running(False, f, "text") == "plain"
    assert CompiledFunction(f, False)(3) == "compiled"


def test_loads_and_nested_tuples():
    class Holder:
        pass

    def f(a, b):
        return None

    guards = [local(0), local(1), (0, "dict", None, ()), (2, "dictitem", "x", ()), (2, "dictitem", "gone", (("ABSENT",),))]
    holder = Holder()
    holder.x = "the x"

    def callback(func, values):
        if func is f:
            return entry_for(f, values, guards, lambda *args: args, (1, (3, (1, ()), 4), 0))

    for _ in range(3):
        assert running(callback, f, holder, 5) == (5, ("the x", (5, ()), NULL), holder)
    with pytest.raises(ValueError):
        entry_for(f, [holder, 5], guards, f, (9,))


def test_many_loads():
    def f(xs):
        return None

    count = 60
    guards = [local(0)] + [(0, "index", i, (("TYPE", str),)) for i in range(count)]

    def callback(func, values):
        if func is f:
            return entry_for(f, values, guards, lambda *args: args, tuple(range(1, count + 1)))

    xs = [f"item {i}" for i in range(count)]
    for _ in range(3):
        assert running(callback, f, xs) == tuple(xs)
    before = sys.getrefcount(xs[0])
    for _ in range(10):
        CompiledFunction(f, callback)(xs)
    after = sys.getrefcount(xs[0])
    assert after == before


@pytest.mark.parametrize("keep", [True, False])
def test_keep_hook(keep):
    def callee():
        return eval_frame.get_eval_frame()

    def f():
        return None

    offered = []

    def callback(func, values):
        offered.append(func.__name__)
        if func is f:
            return entry_for(f, values, [], lambda: callee(), (), keep_hook=keep)

    for run in (functools.partial(running, callback, f), CompiledFunction(f, callback)):
        for _ in range(2):
            offered.clear()
            assert run() is (callback if keep else None)
            assert ("callee" in offered) == keep


_MISFIT = """
import pytest
from test_native_hook import local, running
from alternator._C.eval_frame import _CacheEntry, _debug_get_cache_entry_list
from alternator._C.guards import GuardTree

def f(x):
    return x

def callback(func, values):
    if func is f:
        return _CacheEntry(f.__code__, GuardTree([local(0, ("EQ", 5))], [], f, [5]), lambda x: x, (0,))

with pytest.raises(RuntimeError, match="x: expected 5, found 6"):
    running(callback, f, 6)
assert _debug_get_cache_entry_list(f.__code__) == []
"""


def test_a_new_entry_must_fit_its_own_call():
    """In a process of one thread: another one might have changed what the entry was made from."""
    done = subprocess.run([sys.executable, "-c", _MISFIT], cwd=os.path.dirname(__file__), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_entry_of_another_code_is_refused():
    def f():
        return 1

    def g():
        return 2

    made = []

    def callback(func, values):
        if func in (f, g):
            made.append(entry_for(f, values, [], lambda: 3, ()) if not made else made[0])
            return made[-1]

    assert running(callback, f) == 3
    with pytest.raises(RuntimeError, match="another code object"):
        running(callback, g)


def test_entries_that_raise_and_that_drop_themselves():
    def f(x):
        return x

    def drop_all(x):
        reset_code(f.__code__)
        gc.collect()
        raise KeyError(x)

    def callback(func, values):
        if func is f:
            return entry_for(f, values, [local(0)], drop_all, (0,))

    for _ in range(3):
        with pytest.raises(KeyError):
            running(callback, f, 1)


def test_skip_marks():
    def inner():
        return 1

    def f():
        return inner()

    answers = {}
    names = []

    def callback(func, values):
        names.append(func.__name__)
        return answers.get(func.__name__)

    def names_of_call():
        names.clear()
        running(callback, f)
        return names[:]

    assert names_of_call() == ["f", "inner"]
    answers["f"] = SKIP_CODE
    assert names_of_call() == ["f", "inner"]
    assert names_of_call() == ["inner"]
    assert _debug_get_extra_state(f.__code__).skip == "code"
    unskip_code(f.__code__)
    answers["f"] = SKIP_CODE_RECURSIVE
    assert names_of_call() == ["f"]
    assert names_of_call() == []
    reset_code(f.__code__)
    answers.clear()
    skip_code(f.__code__)
    assert names_of_call() == ["inner"]
    skip_code(f.__code__, recursive=True)
    assert names_of_call() == []
    unskip_code(f.__code__)
    assert names_of_call() == ["f", "inner"]


def test_python_in_guards_is_not_captured():
    def check(x):
        return helper(x)

    def helper(x):
        return True

    def f(x):
        return x

    offered = []

    def callback(func, values):
        offered.append(func.__name__)
        if func is f:
            return entry_for(f, values, [local(0, ("PY", check, "check"))], lambda x: -x, (0,))

    for _ in range(3):
        assert running(callback, f, 1) == -1
    assert set(offered) == {"f"}


def test_guard_error_hook():
    def f(x):
        return x

    tree = GuardTree([local(0, ("PY", lambda x: x + 1, "x + 1"))], [], f, [1])
    errors = []
    assert eval_frame.set_guard_error_hook(errors.append) is None
    try:
        assert not tree.check(f, ["text"])
    finally:
        eval_frame.set_guard_error_hook(None)
    assert isinstance(errors[0], TypeError)
    assert not tree.check(f, ["text"]) and len(errors) == 1


def test_entries_belong_to_their_callback_and_key():
    def f(x):
        return "plain"

    def make(name):
        def callback(func, values):
            if func is f:
                return entry_for(f, values, [local(0)], lambda: name, ())

        return callback

    one, two = make("one"), make("two")
    assert running(one, f, 1) == "one" and running(two, f, 1) == "two" and running(one, f, 1) == "one"
    entries = _debug_get_cache_entry_list(f.__code__)
    assert len(entries) == 2 and {e.owner_callback for e in entries} == {one, two}
    old = eval_frame.set_cache_key(object())
    try:
        assert running(False, f, 1) == "plain"
        assert running(one, f, 1) == "one"
        assert len(_debug_get_cache_entry_list(f.__code__)) == 3
    finally:
        eval_frame.set_cache_key(old)
    assert running(one, f, 1) == "one" and len(_debug_get_cache_entry_list(f.__code__)) == 3


def test_plain_functions_are_offered_once_tracing_is_on():
    """A profiler or tracer must still see frames."""

    def f():
        return 1

    seen = []
    sys.setprofile(lambda frame, event, arg: seen.append((event, frame.f_code.co_name)))
    try:
        running(lambda func, values: None, f)
    finally:
        sys.setprofile(None)
    assert ("call", "f") in seen and ("return", "f") in seen


# ---- entries whose graph the native side calls ------------------------------------------------------------------------


def with_graph(func, count, graph, fn, loads=(), **kwargs):
    """A callable whose entries call graph with the first `count` variables, then fn."""

    def callback(found, values):
        nodes = [(-1, "local", i, ()) for i in range(len(values))]
        tree = GuardTree(nodes, [], found, values)
        return _CacheEntry(found.__code__, tree, fn, loads, graph=graph, inputs=tuple(range(count)), **kwargs)

    return CompiledFunction(func, callback)


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_graph_then_function(count):
    space = {}
    exec(f"def f({', '.join(f'a{i}' for i in range(max(count, 1)))}): pass", space)
    seen = []

    def graph(*args):
        seen.append(args)
        return (len(args), "second")

    compiled = with_graph(space["f"], count, graph, lambda results, last: (results, last), (max(count, 1) - 1,))
    values = [object() for _ in range(max(count, 1))]
    for _ in range(3):
        assert compiled(*values) == ((count, "second"), values[-1])
        assert seen.pop() == tuple(values[:count])
    assert sys.getrefcount(values[0]) == sys.getrefcount(object()) + 1


def test_graph_with_one_result():
    def f(a):
        pass

    answers = [(1,), [2], [3, 4], 5]
    compiled = with_graph(f, 1, lambda a: answers.pop(0), lambda results: ("fn", results), single=True)
    assert [compiled(0) for _ in range(4)] == [1, 2, ("fn", [3, 4]), ("fn", 5)]


def test_graph_that_raises():
    def f(a):
        pass

    called = []
    compiled = with_graph(f, 1, lambda a: 1 // a, lambda results: called.append(results))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            compiled(0)
    assert not called
    compiled(1)
    assert called == [1]


def test_graph_and_nested_loads():
    def f(a):
        pass

    tree = GuardTree([(-1, "local", 0, ())], [], f, [1])
    with pytest.raises(ValueError, match="must be nodes"):
        _CacheEntry(f.__code__, tree, len, ((0,),), graph=len, inputs=(0,))
    with pytest.raises(TypeError, match="not callable"):
        _CacheEntry(f.__code__, tree, len, (0,), graph=3, inputs=(0,))
