"""Many entries of one code object: the one that fits is found, whatever it is that tells them apart."""

import gc

import pytest
import torch

from alternator._C.eval_frame import CompiledFunction, _CacheEntry, _debug_get_cache_entry_list, _debug_get_extra_state
from alternator._C.guards import GuardTree

COUNT = 64


class Thing:
    pass


def holder(value):
    made = Thing()
    made.mode = value
    return made


def tensor_guard(t):
    return ("TENSOR", t, tuple(t.shape), tuple(t.stride()))


DTYPES = [torch.float32, torch.float64, torch.int32, torch.int64, torch.bool, torch.complex64, torch.int8, torch.bfloat16]

# value number i, and the rows of the table that guard it
KINDS = {
    "ints": (lambda i: i, lambda v: [(-1, "local", 0, (("EQ", v),))]),
    "strings": (lambda i: f"mode {i}", lambda v: [(-1, "local", 0, (("EQ", v),))]),
    "floats": (lambda i: i / 7, lambda v: [(-1, "local", 0, (("EQ", v),))]),
    "ints, bools and floats that are equal": (lambda i: [1, True, 1.0, 0, False, 0.0, -0.0, None][i % 8],
                                              lambda v: [(-1, "local", 0, (("EQ", v),))]),
    "tuples": (lambda i: (i, "x"), lambda v: [(-1, "local", 0, (("EQ", v),))]),
    "shapes": (lambda i: torch.zeros(i + 1, 2), lambda v: [(-1, "local", 0, (tensor_guard(v),))]),
    "dtypes": (lambda i: torch.zeros(3, dtype=DTYPES[i % 8]), lambda v: [(-1, "local", 0, (tensor_guard(v),))]),
    "an attribute": (
        lambda i: holder(i),
        lambda v: [(-1, "local", 0, (("TYPE", Thing),)), (0, "dict", None, ()), (1, "dictitem", "mode", (("EQ", v.mode),))],
    ),
    "an item": (lambda i: [0, i], lambda v: [(-1, "local", 0, (("TYPE", list),)), (0, "index", 1, (("EQ", v[1]),))]),
    "identity": (lambda i: Thing(), lambda v: [(-1, "local", 0, (("IS", v),))]),
}  # fmt: skip


def table_of(rows):
    made = []

    def callback(func, values):
        tag = len(made)
        made.append(tag)
        return _CacheEntry(func.__code__, GuardTree(rows(values[0]), [], func, values), lambda: tag, ())

    return made, callback


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_that_fits_is_found(kind):
    make, rows = KINDS[kind]
    made, callback = table_of(rows)

    def f(x):
        pass

    compiled = CompiledFunction(f, callback)
    values = [make(i) for i in range(COUNT)]
    tags = [compiled(value) for value in values]
    count = len(made)
    assert count == 8 if kind in ("dtypes", "ints, bools and floats that are equal") else count == COUNT
    for _ in range(3):
        assert [compiled(value) for value in values] == tags
        assert [compiled(value) for value in reversed(values)] == tags[::-1]
    assert len(made) == count  # nothing was made twice
    assert compiled(values[5]) == tags[5] == _debug_get_cache_entry_list(f.__code__)[0].fn()  # the last used is in front


@pytest.mark.parametrize("kind", ["ints", "shapes", "an attribute"])
def test_entries_that_go_and_come(kind):
    make, rows = KINDS[kind]
    made, callback = table_of(rows)

    def f(x):
        pass

    compiled = CompiledFunction(f, callback)
    values = [make(i) for i in range(COUNT)]
    tags = [compiled(value) for value in values]
    entries = {entry.fn(): entry for entry in _debug_get_cache_entry_list(f.__code__)}
    for tag in tags[::3]:
        _debug_get_extra_state(f.__code__).invalidate(entries[tag])
    again = [compiled(value) for value in values]
    assert all((new == old) == (i % 3 != 0) for i, (new, old) in enumerate(zip(again, tags)))
    assert [compiled(value) for value in values] == again


def test_by_a_global():
    space = {"__builtins__": __builtins__, "mode": 0}
    exec("def f(): pass", space)
    made = []

    def callback(func, values):
        tag = space["mode"]
        made.append(tag)
        rows = [(-1, "globals", None, ()), (0, "dictitem", "mode", (("EQ", tag),))]
        return _CacheEntry(func.__code__, GuardTree(rows, [], func, values), lambda: tag, ())

    compiled = CompiledFunction(space["f"], callback)
    for _ in range(3):
        for mode in range(COUNT):
            space["mode"] = mode
            assert compiled() == mode
    assert len(made) == COUNT


def test_values_of_another_kind_are_a_miss():
    make, rows = KINDS["ints"]
    made, callback = table_of(rows)

    def f(x):
        pass

    compiled = CompiledFunction(f, callback)
    for i in range(10):
        compiled(i)
    for value in (1.0, True, "1", 1 << 70, -1, 3 + 0j):
        assert compiled(value) == len(made) - 1
    assert len(made) == 16


def test_entries_with_and_without_a_guard():
    """A guard that only some entries have tells nothing: the others fit whatever the value."""
    taken = []

    def f(x, y):
        pass

    def callback(func, values):
        rows = [(-1, "local", 0, (("EQ", values[0]),)), (-1, "local", 1, (("EQ", values[1]),) if values[0] % 2 else ())]
        tag = tuple(values)
        taken.append(tag)
        return _CacheEntry(func.__code__, GuardTree(rows, [], func, values), lambda: tag, ())

    compiled = CompiledFunction(f, callback)
    for _ in range(2):
        for x in range(12):
            for y in range(3):
                assert compiled(x, y) == ((x, y) if x % 2 else (x, 0))
    assert len(taken) == 6 + 6 * 3


def test_the_most_recent_of_those_that_fit():
    made, callback = table_of(lambda v: [(-1, "local", 0, (("EQ", v),))])

    def f(x):
        pass

    compiled = CompiledFunction(f, callback)
    for i in range(8):
        compiled(i)
    # Another one for the same value, put in front.
    tree = GuardTree([(-1, "local", 0, (("EQ", 3),))], [], f, [3])
    newer = _CacheEntry(f.__code__, tree, lambda: "newer", ())
    answers = [newer]

    assert compiled(3) == 3
    _debug_get_extra_state(f.__code__).invalidate(
        next(entry for entry in _debug_get_cache_entry_list(f.__code__) if entry.fn() == 3)
    )
    made_by = CompiledFunction(f, lambda func, values: answers.pop())
    assert made_by(3) == "newer"
    assert compiled(3) == 8  # entries of another callback do not count
    assert made_by(3) == "newer"


def test_objects_that_died():
    make, rows = KINDS["an attribute"]
    made, callback = table_of(
        lambda v: [(-1, "object", v, ()), (0, "dict", None, ()), (1, "dictitem", "mode", (("EQ", v.mode),))]
    )

    def f(x):
        pass

    compiled = CompiledFunction(f, callback)
    values = [make(i) for i in range(8)]
    for value in values:
        compiled(value)
    del values, value
    gc.collect()
    assert compiled(make(3)) == len(made) - 1


def test_what_tells_them_apart_may_change_as_they_come():
    """First the one argument, then, for a value of it that is known already, the other; then one that looks at neither."""
    made = []

    def f(x, y):
        pass

    def callback(func, values):
        rows = [(-1, "local", i, (("EQ", value),)) for i, value in enumerate(values)]
        if values[0] == "anything":
            rows = [(-1, "local", i, ()) for i in range(2)]
        made.append(tuple(values))
        tag = made[-1]
        return _CacheEntry(func.__code__, GuardTree(rows, [], func, values), lambda: tag, ())

    compiled = CompiledFunction(f, callback)
    pairs = [(x, 0) for x in range(8)] + [(5, y) for y in range(1, COUNT)]
    for _ in range(3):
        assert [compiled(*pair) for pair in pairs] == pairs
    assert made == pairs
    assert compiled("anything", 0) == ("anything", 0)
    assert compiled(-1, -1) == ("anything", 0)
    assert [compiled(*pair) for pair in reversed(pairs)] == [("anything", 0)] * len(pairs)  # it fits, and was used last
