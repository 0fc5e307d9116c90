"""Every guard: passes, fails on exactly what it watches, and passes when something else changes."""

import abc
import collections
import functools
import gc
import math

import pytest
import torch
from native_helpers import Checked, Table, Thing, instance_with

from alternator._C.build import set_layout
from alternator._C.guards import GuardTree


@pytest.mark.parametrize(
    "constant, same, others",
    [
        (1, [int("1")], [True, 1.0, 2, None, "1"]),
        (10**30, [int("1" + "0" * 30)], [10**30 + 1, float(10**30)]),
        (True, [True], [1, False]),
        (0.0, [float("0")], [-0.0, 0, float("nan")]),
        (math.nan, [math.nan], [-math.nan, 0.0, 1]),
        ("text", ["".join(["te", "xt"])], ["texT", b"text", ""]),
        (b"xy", [bytes([120, 121])], [bytearray(b"xy"), "xy"]),
        (2j, [complex(0, 2)], [complex(-0.0, 2), 2]),
        ((1, "a", (2.0,)), [(1, "a", (float("2"),))], [(1, "a", (2,)), (1, "a"), [1, "a", (2.0,)], (True, "a", (2.0,))]),
        (None, [None], [0, False, ()]),
        (slice(1, None), [slice(1, None)], [slice(True, None), slice(1, 2)]),
        (range(0), [range(0)], [range(1, 1), range(0, 0, 2)]),
        (frozenset({1, 6.0}), [frozenset([6.0, 1])], [frozenset({True, 6.0}), frozenset({1, 6}), frozenset({1}), {1, 6.0}]),
        (frozenset([0, 8]), [frozenset([0, 8])], [frozenset([8, 0])]),
        (torch.float32, [torch.float32], [torch.float64, "float32"]),
        (torch.device("cpu"), [torch.device("cpu")], [torch.device("meta"), "cpu"]),
    ],
)
def test_eq(constant, same, others):
    table = Table()
    table.local(0, ("EQ", constant))
    tree = table.tree(None, [constant])
    for value in same:
        assert tree.check(None, [value]), value
    for value in others:
        assert not tree.check(None, [value]), value
        assert "expected" in tree.explain(None, [value])[2]
    for value in same:
        assert tree.check(None, [value]), value


def test_eq_does_not_run_python():
    class Liar:
        def __eq__(self, other):
            raise AssertionError("must not run")

        __hash__ = object.__hash__

    table = Table()
    table.local(0, ("EQ", 3))
    assert not table.tree(None, [3]).check(None, [Liar()])


def test_type_and_identity_of_an_attribute():
    checked, thing = instance_with(("TYPE", list), value=[])
    thing.y = 1
    checked.passes()
    thing.x = [5]
    checked.passes()
    thing.x = ()
    assert checked.fails("list", "tuple", "['x']")
    thing.x = []
    checked.passes()
    del thing.x
    checked.fails("not there")

    target = Thing()
    checked, thing = instance_with(("IS", target), value=target)
    thing.y = 1
    checked.passes()
    thing.x = Thing()
    checked.fails("Thing")
    thing.x = target
    checked.passes()


def test_values_of_is_are_held_weakly_and_death_is_for_ever():
    target = Thing()
    checked, thing = instance_with(("IS", target), value=target)
    thing.x = None
    del target
    checked.fails("gone")
    assert checked.tree.dead


def test_a_reused_address_is_not_the_same_object():
    hits = 0
    for _ in range(200):
        target = Thing()
        address = id(target)
        checked, thing = instance_with(("IS", target), value=target)
        thing.x = None
        del target
        others = [Thing() for _ in range(3)]
        for other in others:
            if id(other) == address:
                hits += 1
                thing.x = other
                checked.fails()
    assert hits, "the allocator never gave the same address again: the test shows nothing"


def test_a_reused_dict_or_class_is_not_the_same():
    """Roots that come and go: other objects at the same address, with other contents."""
    table = Table()
    root = table.local(0)
    table.node(table.node(root, "dict"), "dictitem", "x", ("EQ", 1))
    first = Thing()
    first.x = 1
    tree = table.tree(None, [first])
    seen = set()
    reused = 0
    del first
    for i in range(300):
        thing = Thing()
        thing.x = i % 3
        reused += id(thing) in seen
        seen.add(id(thing))
        assert tree.check(None, [thing]) == (i % 3 == 1)
        del thing
    assert reused

    table = Table()
    root = table.local(0)
    table.node(table.node(root, "type"), "typeattr", "x", ("EQ", 1))
    good = type("T", (), {"x": 1})
    tree = table.tree(None, [good()])
    del good
    gc.collect()
    for i in range(100):
        cls = type("T", (), {"x": i % 2})
        assert tree.check(None, [cls()]) == (i % 2 == 1)
        del cls
        gc.collect(0)


def test_not_none():
    checked, thing = instance_with(("NOT_NONE",), value=0)
    thing.x = "other"
    checked.passes()
    thing.x = None
    checked.fails("None")


@pytest.mark.parametrize(
    "value, change",
    [
        ([1, 2], lambda v: v.append(3)),
        ({1: 2}, lambda v: v.update({3: 4})),
        ({1, 2}, lambda v: v.add(3)),
        (collections.deque([1]), lambda v: v.append(2)),
        (bytearray(b"a"), lambda v: v.append(2)),
        (collections.OrderedDict(a=1), lambda v: v.update(b=1)),
        (collections.defaultdict(int, a=1), lambda v: v["b"]),
    ],
)
def test_len(value, change):
    checked, thing = instance_with(("LEN", len(value)), value=value)
    thing.y = 1
    checked.passes()
    change(value)
    checked.fails("length", str(len(value)))


def test_len_looks_at_the_storage_and_runs_no_python():
    class Odd(list):
        def __len__(self):
            raise AssertionError("must not run")

    class Alien:
        def __len__(self):
            raise AssertionError("must not run")

    table = Table()
    table.local(0, ("LEN", 2))
    tree = table.tree(None, [Odd([1, 2])])
    assert not tree.check(None, [Odd([1])])
    assert not tree.check(None, [Alien()])
    assert not tree.check(None, [3])


@pytest.mark.parametrize("make", [dict, collections.OrderedDict, functools.partial(collections.defaultdict, None)])
def test_keys(make):
    key = Thing()
    value = make()
    value.update({"a": 1, 2: 3, key: 4})
    checked, thing = instance_with(("KEYS", ("a", 2, key)), value=value)
    value["a"] = 7
    checked.passes()
    value["b"] = 1
    checked.fails("keys", "'b'")
    del value["b"]
    checked.passes()
    del value["a"]
    value["a"] = 7  # the same keys in another order
    checked.fails("keys")
    thing.x = make([("a", 1), (2, 3), (key, 4)])
    checked.passes()
    thing.x = make([("a", 1), (True, 3), (key, 4)])
    checked.fails()
    thing.x = make([("a", 1), (2, 3), (Thing(), 4)])
    checked.fails()


def test_the_order_of_an_ordered_dict():
    value = collections.OrderedDict(a=1, b=2)
    checked, thing = instance_with(("KEYS", ("a", "b")), value=value)
    value.move_to_end("a")
    checked.fails("['b', 'a']")
    value.move_to_end("b")
    checked.passes()


def test_absent_item_and_shadowing():
    class Base:
        def method(self):
            pass

    thing = Base()
    table = Table()
    root = table.local(0, ("TYPE", Base))
    table.node(table.node(root, "dict"), "dictitem", "method", ("ABSENT",))
    table.node(table.node(root, "type"), "typeattr", "method", ("IS", Base.method))
    checked = Checked(table, None, [thing])
    thing.other = 1
    checked.passes()
    thing.method = 1
    checked.fails("nothing", "'method'")
    del thing.method
    checked.passes()
    checked.values = [Base()]  # another instance, whose dict does not exist yet
    checked.passes()


def test_py_guard():
    calls = []

    def small(value):
        calls.append(value)
        return value < 3

    checked, thing = instance_with(("PY", small, "x < 3"), value=1)
    thing.x = 2
    checked.passes()
    thing.x = 3
    checked.fails("x < 3")
    thing.x = "text"  # raises
    checked.fails("x < 3")
    assert calls


def test_which_guard_failed():
    table = Table()
    table.local(0, ("NOT_NONE",))
    node = table.local(1, ("NOT_NONE",), ("TYPE", int), ("EQ", 5))

    def func(first, second):
        pass

    checked = Checked(table, func, [1, 5])
    checked.values = [1, 6]
    checked.fails("second", "expected 5, found 6", node=node, position=2)


class Text(str):
    def __eq__(self, other):
        raise AssertionError("asked")

    __hash__ = str.__hash__


class Number(int):
    __eq__ = Text.__eq__
    __hash__ = int.__hash__


class Real(float):
    pass


class Plane(complex):
    pass


class Bytes(bytes):
    pass


@pytest.mark.parametrize(
    "kind, value, others",
    [
        (Text, "ab", ["ba", "", "ab "]),
        (Number, 1 << 70, [1, -(1 << 70)]),
        (Real, -0.0, [0.0, 1.0]),
        (Real, float("nan"), [0.0]),
        (Plane, complex(-0.0, 1), [1j, complex(0.0, -1)]),
        (Bytes, b"ab", [b"", b"abc"]),
    ],
)
def test_value_of_a_subclass_of_a_builtin(kind, value, others):
    holder = Thing()
    holder.v = kind(value)
    table = Table()
    table.node(table.node(table.local(0, ("TYPE", Thing)), "dict"), "dictitem", "v", ("TYPE", kind), ("VALUE", value))
    checked = Checked(table, None, [holder])
    holder.v = kind(value)
    checked.passes()
    for other in others:
        holder.v = kind(other)
        checked.fails("value")
    with pytest.raises(ValueError, match="VALUE needs"):
        GuardTree([(-1, "local", 0, (("VALUE", None),))], [], None, [None])


@pytest.mark.parametrize("kind", [set, frozenset])
def test_members_of_a_set(kind):
    holder = Thing()
    holder.v = kind((1, 4, 2.5))
    expected, layout = tuple(holder.v), set_layout(holder.v)
    table = Table()
    table.node(table.node(table.local(0, ("TYPE", Thing)), "dict"), "dictitem", "v", ("TYPE", kind), ("ITEMS", expected, layout))
    checked = Checked(table, None, [holder])
    holder.v = kind(expected)
    checked.passes()
    for other in ((1, 4), (1, 4, 2.5, None), (True, 4, 2.5), (1, 5, 2.5), (1, 4.0, 2.5)):
        holder.v = kind(other)
        checked.fails("members")
    holder.v = kind(expected)
    checked.passes()
    if kind is set:
        holder.v.discard(1)
        checked.fails("members")
        holder.v.add(1.0)
        checked.fails("members")
    with pytest.raises(ValueError, match="ITEMS needs"):
        GuardTree([(-1, "local", 0, (("ITEMS", (Thing,), set_layout({Thing})),))], [], None, [{Thing}])
    with pytest.raises(ValueError, match="set_layout"):
        GuardTree([(-1, "local", 0, (("ITEMS", (1,), (1, 2)),))], [], None, [{1}])


def test_members_that_have_come_together_in_another_way():
    table = Table()
    table.local(0, ("ITEMS", (1, 4), set_layout({1, 4})))
    tree = table.tree(None, [{1, 4}])
    large, gone, popped = set(range(99)), {1, 4, 7}, {0, 1, 4}
    for one in (0, 2, 3, *range(5, 99)):
        large.discard(one)
    gone.discard(7)
    popped.pop()
    for other in (large, gone, popped):
        assert tuple(other) == (1, 4) and not tree.check(None, [other]), other
        assert "another way" in tree.explain(None, [other])[2]
    assert tree.check(None, [large & {1, 4}]), "which is made anew"


# ---- tails ----------------------------------------------------------------------------------------------------------


def test_alias_and_distinct():
    table = Table()
    nodes = [table.local(i) for i in range(3)]
    table.tail = [("ALIAS", nodes[0], nodes[1]), ("DISTINCT", (nodes[1], nodes[2]))]
    a, b = Thing(), Thing()
    checked = Checked(table, None, [a, a, b])
    checked.values = [b, b, a]
    checked.passes()
    checked.values = [a, b, b]
    checked.fails("same object", node=-1, position=0)
    checked.values = [a, a, a]
    checked.fails("different objects", node=-1, position=1)
    checked.values = [b, b, a]
    checked.passes()


def test_distinct_of_many():
    table = Table()
    nodes = tuple(table.local(i) for i in range(60))
    table.tail = [("DISTINCT", nodes)]
    things = [Thing() for _ in nodes]
    checked = Checked(table, None, things)
    checked.values[50] = checked.values[3]
    checked.fails("values[3]", "values[50]")
    checked.values = things[::-1]
    checked.passes()


def test_registrations_are_asked_about_once_each():
    """Python is asked when a class was registered with any abstract base class, and then no more; also on a flat tree."""

    class Base(abc.ABC):
        pass

    asked, answer = [], [True]

    def ask():
        asked.append(1)
        if answer[0] == "drop":
            space.clear()
        return answer[0]

    table, space = Table(), {"x": 1}
    table.node(table.node(-1, "object", space), "dictitem", "x", ("EQ", 1))
    table.tail = [("UNREGISTERED", abc.get_cache_token(), ask, "said no")]
    checked = Checked(table)
    assert checked.tree._scan is not None and not asked
    for count in (1, 2):
        Base.register(type("Other", (), {}))
        checked.passes()
        assert len(asked) == count
    answer[0] = False
    Base.register(type("Other", (), {}))
    checked.fails("said no", node=-1, position=0)
    answer[0] = True
    checked.passes()
    answer[0] = "drop"  # what was checked before Python ran is looked at once more
    Base.register(type("Other", (), {}))
    checked.fails("not there any more", node=1)


def test_guards_that_run_python_come_last():
    table = Table()
    a, b = table.local(0), table.local(1)
    table.tail = [("PY", (a,), lambda value: asked.append(1) or True, "asked"), ("ALIAS", a, b)]
    asked, value = [], object()
    checked = Checked(table, None, [value, value])
    asked.clear()
    checked.values[1] = object()
    checked.fails("the same object", node=-1, position=1)
    assert not asked


def test_python_tail():
    table = Table()
    a, b = table.local(0), table.local(1)
    table.tail = [("PY", (a, b), lambda x, y: x < y, "a < b")]
    checked = Checked(table, None, [1, 2])
    checked.values = [2, 1]
    checked.fails("a < b", node=-1, position=0)
    checked.values = [1, "text"]
    checked.fails("a < b")


# ---- construction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows, tail, error",
    [
        ([(0, "local", 0, ())], [], ValueError),
        ([(-1, "nonsense", 0, ())], [], ValueError),
        ([(-1, "dictitem", 0, ())], [], ValueError),
        ([(-1, "local", -1, ())], [], ValueError),
        ([(-1, "local", "x", ())], [], TypeError),
        ([(-1, "local", 0)], [], ValueError),
        ([(-1, "local", 0, (("NONSENSE",),))], [], ValueError),
        ([(-1, "local", 0, (("TYPE", 3),))], [], ValueError),
        ([(-1, "local", 0, (("TENSOR", 3, None, None),))], [], TypeError),
        ([(-1, "local", 0, ())], [("ALIAS", 0, 1)], ValueError),
        ([(-1, "local", 0, ())], [("SHAPE", ((0, "int", None),), ("+",), "")], ValueError),
        ([(-1, "local", 0, ())], [("SHAPE", ((0, "int", None),), (("in", 0), ("in", 0)), "")], ValueError),
        ([(-1, "local", 0, (("EQ", 2),))], [], RuntimeError),
    ],
)
def test_bad_tables(rows, tail, error):
    with pytest.raises(error):
        GuardTree(rows, tail, None, [1])


def test_values_raises_with_the_reason():
    checked, thing = instance_with(("EQ", 1))
    thing.x = 2
    with pytest.raises(RuntimeError, match="expected 1, found 2"):
        checked.tree.values(None, [thing])


# ---- Python code inside a check -------------------------------------------------------------------------------------


def test_a_check_that_enters_itself():
    results = []

    class Nested:
        depth = 0

        @property
        def value(self):
            if tree and Nested.depth < 3:
                Nested.depth += 1
                results.append((True, tree.check(None, [Nested(), 5])))
                results.append((False, tree.check(None, [Nested(), 6])))
                Nested.depth -= 1
            return 1

    table = Table()
    table.node(table.local(0), "attr", "value", ("EQ", 1))
    last = table.local(1, ("EQ", 5))
    first = Nested()
    tree = None
    tree = table.tree(None, [first, 5])
    assert tree.check(None, [first, 5])
    assert tree.values(None, [first, 5])[last] == 5
    assert results and all(expected == found for expected, found in results)


def test_a_guard_that_changes_what_was_checked():
    thing = Thing()
    thing.a = Thing()
    thing.b = 1

    def meddle(value):
        thing.a = Thing()  # drops what the walk has just looked at
        gc.collect()
        return True

    table = Table()
    instance = table.node(table.local(0), "dict")
    a = table.node(instance, "dictitem", "a", ("TYPE", Thing))
    table.node(instance, "dictitem", "b", ("PY", meddle, "meddle"))
    with pytest.raises(RuntimeError):
        table.tree(None, [thing])

    rows = Table()
    a = rows.node(rows.node(rows.local(0), "dict"), "dictitem", "a", ("TYPE", Thing))
    last = rows.local(1, ("PY", meddle, "meddle"))
    tree = rows.tree(None, [thing, 1])
    for _ in range(20):
        values = tree.values(None, [thing, 1])
        assert values[a] is thing.a and values[last] == 1


def test_a_tree_is_collected_with_its_cycle():
    import weakref

    thing = Thing()
    table = Table()

    def guard(value):
        return True

    table.local(0, ("PY", guard, "cycle"))
    guard.tree = table.tree(None, [thing])
    ref = weakref.ref(guard)
    del guard, table
    gc.collect()
    assert ref() is None
