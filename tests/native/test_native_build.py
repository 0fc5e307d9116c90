"""What generated code makes objects with."""

import copy
import gc
import pickle
import random
import weakref

import pytest

from alternator._C import build


class Thing:
    asked = 0

    def __init__(self):
        Thing.asked += 1

    def __setattr__(self, name, value):
        Thing.asked += 1


class Slotted:
    __slots__ = ("x",)


def test_instances_get_their_dict_and_nothing_runs():
    space = {"a": 1}
    made = build.instance(Thing, space)
    assert type(made) is Thing and made.__dict__ is space and Thing.asked == 0


class Plain:
    """Its instances keep their attributes in themselves."""

    def __init__(self):
        self.a, self.b, self.c = 0, 1, 2


def test_copies_differ_in_the_names_given_and_in_nothing_else():
    shared = []
    template = {"a": None, "b": shared, "c": None}
    mold = build.Mold(template, ("a", "c"))
    for cls in (Thing, Plain):
        one, other = mold(cls, 1, 2), mold(cls, 3, 4)
        assert list(one.__dict__.items()) == [("a", 1), ("b", shared), ("c", 2)] and one.b is other.b is shared
        assert (other.a, other.c) == (3, 4) and template == {"a": None, "b": shared, "c": None} and Thing.asked == 0
        one.__dict__["b"] = 5
        assert other.b is shared and mold(cls, None, None).b is shared
    template["a"] = 7
    assert build.Mold({"a": 1}, ())(Plain).a == 1 and mold(Plain, 1, 2).a == 1


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b"), ("b", "late", "a"), ("new", "a"), ("a",)])
def test_what_comes_out_of_a_mold_is_an_object_like_others(order):
    Plain()
    late = Plain()
    late.late = 3
    refs = []
    for cls in (Plain, type("Sub", (Plain,), {}), type("Odd", (Plain,), {"__slots__": ("x",)})):
        for _ in range(3):
            made = build.Mold(dict.fromkeys(order, 0), order)(cls, *order)
            assert list(vars(made).items()) == [(name, name) for name in order] and type(made) is cls
            made = build.Mold(dict.fromkeys(order, 0), order)(cls, *order)
            made.extra, made.a = made, 5
            del made.a
            assert not hasattr(made, "a") and made.extra is made and gc.is_tracked(made)
            assert [name for name in vars(copy.copy(made)) if name != "extra"] == [name for name in order if name != "a"]
            assert list(pickle.loads(pickle.dumps(build.Mold({"a": 1}, ())(Plain))).__dict__) == ["a"]
            for i in range(40):
                setattr(made, f"more{i}", i)
            assert made.more39 == 39
            refs.append(weakref.ref(made))
    del made
    gc.collect()
    assert len(refs) == 9 and all(ref() is None for ref in refs)


def test_a_class_that_changes_between_two_objects_of_a_mold():
    mold = build.Mold({"a": 1, "b": 2}, ("b",))
    first = type("First", (), {})
    assert vars(mold(first, 3)) == {"a": 1, "b": 3}
    one = first()
    one.b, one.a = 1, 2
    assert list(vars(mold(first, 4))) == ["a", "b"] and mold(first, 4).b == 4
    second = type("Second", (), {})
    other = second()
    other.x, other.a, other.b = 1, 2, 3
    assert vars(mold(second, 5)) == {"a": 1, "b": 5} and vars(mold(first, 6)) == {"a": 1, "b": 6}


@pytest.mark.parametrize(
    "args",
    [
        (Thing, {}, ("a",)),
        (Thing, {}, ["a"], 1),
        (Thing, [], ()),
        (3, {}, ()),
        (Slotted, {}, ()),
        (dict, {}, ()),
    ],
)
def test_what_cannot_be_made_is_refused(args):
    with pytest.raises(TypeError):
        cls, attributes, names, *values = args
        build.Mold(attributes, names)(cls, *values)


def test_a_set_gets_the_table_of_another_one():
    for seed in range(40):
        drawn = random.Random(seed)
        made = set(drawn.sample(range(200), drawn.randrange(60)))
        for _ in range(drawn.randrange(60)):
            if made and drawn.random() < 0.5:
                made.pop()
            else:
                made.add(drawn.randrange(400))
        other = set(sorted(made))
        mask, finger, slots, gone = build.set_layout(made)
        place = dict(zip(made, slots))
        build.arrange_set(other, (mask, finger, tuple(place[one] for one in other), gone))
        assert build.same_table(other, made) and build.set_layout(other) == build.set_layout(made)
        for step in (
            lambda s: s.add(1000 + seed),
            lambda s: s.update(range(300, 340)),
            lambda s: s.pop(),
            lambda s: s.discard(7),
        ):
            step(made)
            step(other)
            assert list(other) == list(made) == sorted(made, key=list(other).index) and all(one in other for one in made)


@pytest.mark.parametrize(
    "layout",
    [
        (7, 0, (1,), ()),  # one slot for two members
        (7, 0, (1, 1), ()),
        (7, 0, (1, 8), ()),
        (7, 0, (1, -1), ()),
        (6, 0, (1, 2), ()),
        (3, 0, (1, 2), ()),
        (7, 9, (1, 2), ()),
        (7, 0, (0, 1), (2, 3, 4, 5, 6, 7)),  # a search would not end
        (7, 0, (0, 1), (1,)),
        (7, 0, [0, 1], ()),
        (7, 0, (0, "1"), ()),
        (7, 0, (0, 1)),
    ],
)
def test_what_is_no_layout_of_a_set(layout):
    members = {1, 2}
    with pytest.raises((ValueError, TypeError)):
        build.arrange_set(members, layout)
    assert members == {1, 2} and build.set_layout(members) == (7, 0, (1, 2), ())
    for wrong in (lambda: build.set_layout([1]), lambda: build.same_table({1}, [1]), lambda: build.arrange_set([1], layout)):
        with pytest.raises((ValueError, TypeError)):
            wrong()


@pytest.mark.parametrize("made, fill", [(dict, lambda table, key: table.__setitem__(key, object())), (set, set.add)])
def test_a_collection_may_empty_the_table_that_is_read(made, fill):
    """It starts where the tuples are made, and runs code of the program."""
    table = made()
    for _ in range(2000):
        fill(table, object())

    class Emptying:
        def __del__(self):
            table.clear()

    before, enabled = gc.get_threshold(), gc.isenabled()
    gc.collect()
    gc.disable()
    cycle = Emptying()
    cycle.itself = cycle
    del cycle
    try:
        gc.set_threshold(1)
        gc.enable()
        keys, values, hashes = build.contents(table)
    finally:
        gc.set_threshold(*before)
        (gc.enable if enabled else gc.disable)()
    assert not table and len(keys) == len(hashes) == 2000 and len(values) in (0, 2000)
    assert all(type(key) is object and hash(key) == known for key, known in zip(keys, hashes))
