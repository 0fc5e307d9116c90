"""``copy.copy`` and ``copy.deepcopy``."""

from __future__ import annotations

import collections
import copy
import dataclasses

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(4.0)


def test_containers_of_collections() -> None:
    def of(x, held):
        shallow, deep = {}, {}
        for name, one in held.items():
            shallow[name], deep[name] = copy.copy(one), copy.deepcopy(one)
            assert shallow[name] is not one and deep[name] is not one
        held["d"]["a"].append(x + 1)
        held["q"].append(2)
        held["o"]["new"] = 3
        deep["d"]["b"].append(1)
        return shallow, deep, deep["q"][0] is held["q"][0], deep["d"]["a"] is shallow["d"]["a"]

    def made(x):
        return {
            "d": collections.defaultdict(list, a=[x]),
            "q": collections.deque([[1], x], maxlen=2),
            "o": collections.OrderedDict(b=[x], a=2),
            "n": collections.defaultdict(None, c={1}),
        }

    same(of, X, made(X), then=[(X, {**made(X), "q": collections.deque([5])})], graphs=1, fullgraph=True)
    same(lambda x: of(x, made(x)), X, graphs=1, fullgraph=True)


def test_they_hold_themselves() -> None:
    def f(x, queue):
        queue.append(queue)
        made = copy.deepcopy(queue)
        return x + len(made), made[-1] is made

    same(f, X, collections.deque([1]), fullgraph=True, check_args=False)


@dataclasses.dataclass
class Settings:
    size: int
    scale: float = 0.5


def test_numbers_that_vary_are_atoms() -> None:
    def f(x, settings):
        size = settings.size
        assert copy.copy(size) is size and copy.deepcopy([size, size + 1])[0] is size
        return x * copy.deepcopy(settings).size, dataclasses.asdict(settings), dataclasses.astuple(settings), copy.copy(f"{size}")

    same(f, X, Settings(3), then=[(X, Settings(4, 0.25)), (X, Settings(5, 0.75)), (X, Settings(6))], fullgraph=True)


ASKED = []


class Asked:
    """Says itself what its instances have."""

    other_names = {"b": "a"}

    def __init__(self):
        self.a, self.items = 1, [1, 2]

    def __getattribute__(self, name):
        ASKED.append(name)
        return super().__getattribute__(super().__getattribute__("other_names").get(name, name))


class Empty(Asked):
    def __init__(self):
        pass


class SaysWhatIsMissing:
    def __init__(self):
        self.a, self.items = 1, [1]

    def __getattr__(self, name):
        ASKED.append(name)
        raise AttributeError(name)


class SaysAnything(SaysWhatIsMissing):
    def __getattr__(self, name):
        ASKED.append(name)
        return 5


class HasStateOfItsOwn(Asked):
    def __getattribute__(self, name):
        ASKED.append(name)
        return (lambda: {"a": 7}) if name == "__getstate__" else super().__getattribute__(name)


@pytest.mark.parametrize("kind", [Asked, Empty, SaysWhatIsMissing, SaysAnything, HasStateOfItsOwn])
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("inside", [False, True])
def test_a_class_that_says_what_it_has_is_asked_as_often(kind, copier, inside):
    def fn(x, value):
        value = kind() if inside else value
        ASKED.append("-")
        made = copier(value)
        ASKED.append("-")
        return x + 1, made

    def outcome(run):
        value = kind()
        ASKED.clear()
        try:
            _, made = run(torch.ones(2), value)
        except TypeError as error:
            return ASKED.copy(), str(error)
        return ASKED.copy(), object.__getattribute__(made, "__dict__"), type(made)

    compiled = alternator.compile(fn, backend="eager")
    expected = outcome(fn)
    assert [outcome(compiled), outcome(compiled)] == [expected, expected]
    if kind in (Asked, Empty, SaysWhatIsMissing):
        alternator.reset()
        alternator.compile(fn, backend="eager", fullgraph=True)(torch.ones(2), kind())


class Sizes:
    def __init__(self, inner, times):
        self.sizes, self.lists = (inner,) * times, [inner, [inner], list(inner)] * times


@pytest.mark.parametrize("inner", [(1, 3), (1, [3])], ids=["its own copy", "copied"])
def test_one_tuple_in_several_places(inner) -> None:
    def f(x, one):
        made = copy.deepcopy(one)
        made.more = 3
        return x * made.more, made, [a is b for a in made.lists for b in made.lists], made.sizes[0] is one.sizes[0]

    same(f, torch.ones(2), Sizes(inner, 3), then=[(torch.ones(2), Sizes(inner, 2))], graphs=1)


class Tagged(dict):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.tag = [3.0]

    def total(self):
        return sum(self.values()) + self.tag[0]


class Slotted(dict):
    __slots__ = ()


class Logged(dict):
    """Says what is done to it."""

    def __setitem__(self, key, value) -> None:
        super().__setitem__(key, value * 2)


class Ordered(collections.OrderedDict):
    pass


class Defaulting(collections.defaultdict):
    pass


class Items(list):
    def append(self, item) -> None:
        super().append(item + 1)


class Members(set):
    pass


def containers():
    made = [Tagged(a=1.0, b=2.0), Slotted(a=1.0), Logged(a=1.0), Ordered(a=1.0, b=2.0), collections.Counter("abca")]
    made += [Defaulting(list, {"a": [1.0]}), collections.defaultdict(list, {"a": [1.0]}), Items([1.0, 2.0]), Members({1.0, 2.0})]
    made[3].tag = "kept"
    made[7].tag = ["own"]
    return made


@pytest.mark.parametrize("index", range(9))
@pytest.mark.parametrize("do", [copy.copy, copy.deepcopy])
def test_copies_of_containers_of_other_classes(do, index) -> None:
    def f(x, value):
        made = do(value)
        if isinstance(made, dict):
            made["new"] = [x] if isinstance(made, collections.defaultdict) else 5.0
        again = do(made)
        return x + len(made), made, again, value, type(made).__name__, getattr(made, "tag", None) is getattr(value, "tag", None)

    same(f, X, containers()[index], fullgraph=do is copy.copy or index != 5)


@pytest.mark.parametrize("index", range(9))
def test_copies_by_their_method(index) -> None:
    def f(x, value):
        made = value.copy()
        return x + len(made), made, type(made) is type(value)

    same(f, X, containers()[index])


def test_a_copy_follows_what_is_copied() -> None:
    def f(x, value):
        made = copy.copy(value)
        made["z"] = 9.0
        return x * made.total(), made

    changed = Tagged(a=4.0)
    changed.tag = [1.0]
    same(f, X, Tagged(a=1.0, b=2.0), then=[(X, changed), (X, Tagged())], fullgraph=True, graphs=1)


class Reducing(dict):
    def __reduce__(self):
        return Reducing, (list(self.items()),), {"from": "reduce"}


class Stating(dict):
    def __getstate__(self):
        return {"said": len(self)}


def test_containers_that_say_how_they_are_copied() -> None:
    def f(x, value):
        made = copy.copy(value)
        return x + len(made), made, vars(made), copy.deepcopy(value)

    for kind in (Reducing, Stating):
        same(f, X, kind(a=1.0, b=2.0))


def test_iterators_that_the_program_makes_are_copied():
    def fn(x):
        one = map(lambda item: item + 1, [x, x * 2])
        next(one)
        try:
            return x + 1, [*copy.copy(one)], [*one]
        except TypeError as error:
            return x, str(error)

    same(fn, torch.ones(2))


def test_a_container_of_another_class_that_is_reached_twice() -> None:
    def f(x, items):
        made = copy.deepcopy(items)
        return x + 1, made, made[0] is made[1], made[2].other is made[0], made[0]["me"] is made[0]

    shared, holder = Tagged(a=1.0), Tagged(b=2.0)
    shared["me"], holder.other = shared, shared
    same(f, X, [shared, shared, holder], fullgraph=True, check_args=False)
