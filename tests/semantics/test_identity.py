"""``hash`` of objects that have none of their own."""

import bisect
import copy
import dataclasses
import math
import weakref

import pytest
import torch
from helpers import same

import alternator


class Plain:
    pass


THING = Plain()


def test_the_hash_of_an_object_from_outside_is_its_own():
    def fn(x):
        return x + 1, hash(THING), hash(Plain), hash(len), hash(None), hash(THING) == THING.__hash__()

    report = same(fn, torch.ones(2), fullgraph=True)
    assert report.outcomes[0].result[1] == hash(THING)


def test_a_weak_reference_hashes_as_what_it_refers_to():
    def fn(x):
        made = Plain()
        return x + 1, hash(weakref.ref(made)) == hash(made), hash(weakref.ref(THING))

    same(fn, torch.ones(2), fullgraph=True)


class Numbered:
    def __init__(self, number):
        self.number = number


KNOWN = [Numbered(number) for number in range(3)]
BY_OBJECT = weakref.WeakKeyDictionary({one: torch.tensor(float(one.number)) for one in KNOWN})
BY_REFERENCE = {weakref.ref(one): one.number for one in KNOWN}
FIRST = weakref.ref(KNOWN[0])


def test_a_weak_key_is_looked_up_for_the_object_that_it_refers_to():
    def behind(x, one):
        return x * BY_OBJECT[one] + BY_REFERENCE[weakref.ref(one)], weakref.ref(one) == weakref.ref(KNOWN[0])

    def fn(x, one):
        return behind(x, one), one in BY_OBJECT, BY_OBJECT.get(one), BY_OBJECT.data[weakref.ref(one)], weakref.ref(one) == FIRST

    for function in (behind, fn):
        compiled = alternator.compile(function, backend="eager")
        for one in (*KNOWN, *KNOWN):
            assert str(compiled(torch.ones(2), one)) == str(function(torch.ones(2), one))


def test_bound_builtin_methods_from_outside_are_themselves() -> None:
    def fn(x, method, other, items):
        items.append(method)
        return x + 1, method is other, other is items[-1], method == other

    both = [1].append
    same(fn, torch.ones(2), both, both, [], then=[(torch.ones(2), "a".upper, "b".upper, [])])
    compiled = alternator.compile(lambda x, method: (x + 1, method), backend="eager")
    for method in (both, "a".upper, {}.get, object().__str__):
        assert compiled(torch.ones(2), method)[1] is method


def test_what_cannot_be_copied_or_written_says_so() -> None:
    def fn(x):
        seen = []
        for change in (lambda: copy.copy(n for n in [1]), lambda: setattr(int, "new", 1), lambda: setattr(list[int], "new", 1)):
            try:
                change()
            except TypeError as error:
                seen.append(str(error))
        return x + 1, seen

    same(fn, torch.ones(2))


LOOKS = {
    "sorted": lambda x, y: [one.sum() for one in sorted([x, y], key=id)],
    "less": lambda x, y: (id(x) < id(y), id(x) >= id(y)),
    "difference": lambda x, y: (id(x) - id(y), 5 + id(x), id(x) ^ id(y), id(y) % 7, -id(x), divmod(id(x), 7), pow(id(x), 2, 7)),
    "digits": lambda x, y: (hex(id(x)), oct(id(y)), bin(id(x))),
    "numbers": lambda x, y: (int(id(x)), float(id(y)), abs(id(x)), ~id(x)),
    "largest": lambda x, y: (max([x, y], key=id).sum(), min(id(x), id(y)) == id(x)),
    "pairs": lambda x, y: ((id(x), 1) < (id(y), 1), sum([id(x), id(y)])),
    "attributes": lambda x, y: (id(x).bit_count(), id(y).real, id(x).to_bytes(8, "little"), id(y).__lt__(id(x))),
    "functions": lambda x, y: (
        math.gcd(id(x), 48),
        math.log2(id(y)).hex(),
        math.sqrt(id(x)).hex(),
        bisect.bisect([id(x)], id(y)),
    ),
    "in the graph": lambda x, y: (torch.tensor(id(x)).tolist(), (x.double() * id(y)).tolist()),
    "range": lambda x, y: list(range(id(x) & 3)),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_an_address_says_besides_whose_it_is_is_relied_on(name: str) -> None:
    look = LOOKS[name]

    def fn(x, y):
        return x + 1, look(x, y)

    several = [torch.full((2,), float(value)) for value in range(4)]
    compiled = alternator.compile(fn, backend="eager")
    for one in several:
        for other in several:
            if other is not one:
                assert repr(compiled(one, other)) == repr(fn(one, other))


def test_whose_an_address_is_is_not_relied_on() -> None:
    def fn(x, y):
        known = {id(x): 1}
        return x + y, id(x) == id(y), id(y) in known, known[id(x)], len({id(x), id(y)})

    same(fn, torch.ones(2), torch.zeros(2), then=[(torch.zeros(2), torch.ones(2))], recompiles=0, fullgraph=True)


def test_what_the_address_of_what_is_made_says_is_asked_for_plainly() -> None:
    def fn(x):
        made = [x]
        return x + 1, id(made) % 8, id(made) > 0, int(id(made)) == id(made), hex(id(made))[:2]

    same(fn, torch.ones(2))


@dataclasses.dataclass(frozen=True)
class Key:
    number: int
    rest: tuple = ()


def test_the_hash_of_what_holds_numbers_that_vary() -> None:
    def fn(x, key):
        return x + key.number, {key: x}, hash(key) == hash((key.number, key.rest)), key in {key}

    same(fn, torch.ones(2), Key(3), then=[(torch.ones(2), Key(4)), (torch.ones(2), Key(5, (1,)))], fullgraph=True)


class Target:
    pass


TARGET, OTHER = Target(), Target()
REFERENCE = weakref.ref(TARGET)
REFERENCES = {REFERENCE: 1}


def test_weak_references_from_outside_are_keys() -> None:
    def fn(x, ref):
        return x + REFERENCES.get(ref, 5), ref in {weakref.ref(TARGET)}, hash(ref) == hash(weakref.ref(TARGET)), ref() is TARGET

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    for ref in (REFERENCE, weakref.ref(OTHER), weakref.ref(TARGET, id), REFERENCE):
        assert str(compiled(torch.ones(2), ref)) == str(fn(torch.ones(2), ref))


class Copied:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __deepcopy__(self, memo):
        copy.deepcopy(self.x, memo)
        return id(self.x) in memo, id(self.y) in memo


TOLD_APART = {
    "id ==": lambda x, y: id(x) == id(y),
    "id !=": lambda x, y: id(x) != id(y),
    "ids in a dict": lambda x, y: len({id(x): 1, id(y): 2}),
    "id in a set": lambda x, y: id(y) in {id(x)},
    "id in a list": lambda x, y: id(y) in [id(x)],
    "ids by map": lambda x, y: len(set(map(id, [x, y]))),
    "id as a key": lambda x, y: {id(x): 1}.get(id(y)),
    "hash": lambda x, y: x.__hash__() == y.__hash__(),
    "set": lambda x, y: len({x, y}),
    "frozenset": lambda x, y: len(frozenset([x, y])),
    "dict": lambda x, y: len({x: 1, y: 2}),
    "in a dict": lambda x, y: y in {x: 1},
    "keys": lambda x, y: len(dict.fromkeys([x, y])),
    "tuples as keys": lambda x, y: len({(x, 1), (y, 1)}),
    "memo of deepcopy": lambda x, y: copy.deepcopy(Copied(x, y)),
    "length of the memo": lambda x, y: len((memo := {}, copy.deepcopy([x, y], memo))[0]),
}


@pytest.mark.parametrize("told", TOLD_APART.values(), ids=TOLD_APART)
@pytest.mark.parametrize("used", [False, True])
def test_tensors_that_were_told_apart_may_be_one_later(told, used):
    def fn(x, y):
        return (x * 2 + y if used else x * 2), told(x, y), y

    x, y, z = torch.ones(2), torch.zeros(2), torch.zeros(2)
    same(fn, x, y, then=[(x, x), (y, z), (x, x), (x, y)])


class Kept:
    pass


@pytest.mark.parametrize(
    "told", [lambda a, b: id(a) == id(b), lambda a, b: len({id(a): 1, id(b): 2}), lambda a, b: id(a) in {id(b)}]
)
@pytest.mark.parametrize("make", [dict, list, Kept])
def test_objects_that_were_told_apart_may_be_one_later(told, make):
    def fn(x, a, b):
        return x + 1, told(a, b)

    one, other = make(), make()
    report = same(fn, torch.ones(2), one, other, recompiles=1, then=[(torch.ones(2), one, one), (torch.ones(2), make(), make())])
    assert report.compiled(torch.ones(2), make(), make())[1] == told(one, other)
