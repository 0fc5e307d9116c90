"""The frame hook with several threads, and when entries die."""

import gc
import sys
import threading
import weakref

import pytest
from hook_helpers import entry_for, local, no_callback, own, running  # noqa: F401

from alternator import _C
from alternator._C import eval_frame
from alternator._C.eval_frame import (
    CompiledFunction,
    _debug_get_cache_entry_list,
    reset_code,
    set_eval_frame,
    skip_code,
)

# ---- threads --------------------------------------------------------------------------------------------------------


def test_each_thread_has_its_own_callback():
    def f(n):
        return n

    barrier = threading.Barrier(3)
    results = {}

    def work(name, use):
        offered = []

        def callback(func, values):
            if func is f:
                offered.append(values[0])

        if use:
            set_eval_frame(callback)
        barrier.wait()
        for i in range(200):
            f(i)
        barrier.wait()
        if name == "leaves it on":
            results[name] = len(offered)
            return
        set_eval_frame(None)
        results[name] = len(offered)

    threads = [threading.Thread(target=work, args=args) for args in (("on", True), ("leaves it on", True), ("off", False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"on": 200, "leaves it on": 200, "off": 0}
    assert eval_frame.get_eval_frame() is None


def test_many_threads_use_one_entry():
    def slow(x):
        for _ in range(20):
            pass
        return x >= 0

    def f(x):
        return None

    def callback(func, values):
        if func is f:
            return entry_for(f, values, [local(0, ("TYPE", int), ("PY", slow, "slow"))], lambda x: x * 2, (0,))

    compiled = CompiledFunction(f, callback)
    compiled(0)
    wrong = []
    interval = sys.getswitchinterval()

    def work(base):
        for i in range(base, base + 300):
            if compiled(i) != i * 2:
                wrong.append(i)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


# ---- lifetimes ------------------------------------------------------------------------------------------------------


def counts():
    gc.collect()
    return _C.live_counts()


def make_function():
    space = {}
    exec(compile("def f(self, x):\n    return self.n + x", "<made>", "exec"), space)
    return space["f"]


class Owner:
    n = 1


made_with = {}  # further arguments of the next entry


def make_entry(func, values):  # an entry keeps its callback, so the callback must not keep the function
    if func.__code__.co_filename == "<made>":
        guards = [local(0, ("IS", values[0])), local(1, ("TYPE", int)), (-1, "object", values[0], ())]
        return entry_for(func, values, guards, lambda s, x: ("compiled", x), (0, 1), **made_with)


def compile_once(f, owner, **kwargs):
    made_with.update(kwargs)
    assert running(make_entry, f, owner, 1) == ("compiled", 1)
    made_with.clear()
    assert CompiledFunction(f, make_entry)(owner, 2) == ("compiled", 2)


def test_entries_die_with_the_code_object():
    before = counts()
    for _ in range(200):
        compile_once(make_function(), Owner())
    assert counts() == before


def test_entries_die_with_their_owners():
    f = make_function()
    keep = Owner()
    compile_once(f, keep)
    before = counts()
    for _ in range(200):
        owner = Owner()
        compile_once(f, owner, owners=(owner, keep))
        entry = weakref.ref(_debug_get_cache_entry_list(f.__code__)[0])
        assert entry() is not None and len(_debug_get_cache_entry_list(f.__code__)) == 2
        del owner
        assert entry() is None
    assert counts() == before
    reset_code(f.__code__)
    assert counts()["entries"] == before["entries"] - 1


def test_an_entry_whose_guards_can_never_hold_is_dropped():
    f = make_function()
    owner = Owner()
    compile_once(f, owner)
    (entry,) = _debug_get_cache_entry_list(f.__code__)
    del owner
    assert running(False, f, Owner(), 1) == 2
    assert _debug_get_cache_entry_list(f.__code__) == [] and not entry.valid


def test_an_owner_that_dies_while_its_entry_runs():
    def f(holder):
        return None

    class Holder:
        pass

    def compiled(holder):
        holder.owner = None
        gc.collect()
        return "ran"

    def callback(func, values):
        if func is f:
            return entry_for(f, values, [local(0)], compiled, (0,), owners=(values[0].owner,))

    holder = Holder()
    for _ in range(3):
        holder.owner = Owner()
        assert running(callback, f, holder) == "ran"
        assert _debug_get_cache_entry_list(f.__code__) == []


def test_owners_must_be_weakly_referenceable():
    f = make_function()
    with pytest.raises(TypeError):
        entry_for(f, [1, 2], [], f, (), owners=(3,))


def test_references_are_balanced():
    def f(a, b):
        return None

    marker = Owner()

    def callback(func, values):
        if func is f:
            return entry_for(f, values, [local(0, ("TYPE", Owner)), local(1)], lambda a, pair: None, (0, (1, 0)))

    compiled = CompiledFunction(f, callback)
    compiled(marker, 1)
    before = sys.getrefcount(marker), sys.getrefcount(f), sys.getrefcount(callback), sys.getrefcount(None)
    for _ in range(1000):
        compiled(marker, 1)
        running(callback, f, marker, 1)
        running(callback, f, b=1, a=marker)
    after = sys.getrefcount(marker), sys.getrefcount(f), sys.getrefcount(callback), sys.getrefcount(None)
    assert after[:3] == before[:3] and abs(after[3] - before[3]) < 50


def test_a_skip_mark_dies_with_its_code():
    before = counts()
    for _ in range(50):
        skip_code(make_function().__code__)
    assert counts() == before


def test_submodules_and_opcode_caches():
    import opcode

    assert _C.eval_frame.py_opcode_caches == opcode._inline_cache_entries
    from alternator._C.py_opcode_caches import py_opcode_caches

    assert len(py_opcode_caches) == 256
    assert eval_frame.unsupported(1, 2) == 2
