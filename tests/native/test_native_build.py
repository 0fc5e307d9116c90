"""What generated code makes objects with."""

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


def test_copies_differ_in_the_names_given_and_in_nothing_else():
    shared = []
    template = {"a": None, "b": shared, "c": None}
    one = build.like(Thing, template, ("a", "c"), 1, 2)
    other = build.like(Thing, template, ("a", "c"), 3, 4)
    assert list(one.__dict__.items()) == [("a", 1), ("b", shared), ("c", 2)] and one.b is other.b is shared
    assert (other.a, other.c) == (3, 4) and template == {"a": None, "b": shared, "c": None} and Thing.asked == 0
    one.__dict__["b"] = 5
    assert other.b is shared and build.like(Thing, template, ()).b is shared


@pytest.mark.parametrize(
    "args",
    [
        (),
        (Thing, {}),
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
        build.like(*args)
