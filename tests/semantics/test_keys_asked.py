"""Keys with a ``__hash__`` and ``__eq__`` of the program's are asked as often, and in the same order, as in plain Python."""

from __future__ import annotations

import collections
from typing import Any, Callable

import pytest
import torch

import alternator

KINDS = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "defaultdict": lambda items: collections.defaultdict(int, items),
}


class Key:
    log: list[Any] = []

    def __init__(self, name: int, known: int) -> None:
        self.name, self.known = name, known

    def __hash__(self) -> int:
        Key.log.append(("hash", self.name))
        return self.known

    def __eq__(self, other: Any) -> bool:
        Key.log.append(("eq", self.name, getattr(other, "name", None)))
        return type(other) is Key and self.name == other.name


def asked(fn: Callable[..., Any], make: Callable[[list[Any]], Any], which: str, alike: bool) -> list[Any]:
    """What three calls give, and which keys they asked for what."""
    keys = [Key(i, 7 if alike else i) for i in range(3)]
    key = {"same": keys[1], "equal": Key(1, keys[1].known), "new": Key(9, 7)}[which]
    table, seen = make(keys), []
    for _ in range(3):
        Key.log = []
        try:
            result: Any = fn(torch.ones(1), table, key)
        except KeyError:
            result = "KeyError"
        log = list(Key.log)
        seen.append((named(result), named(table), log))
    return seen


def named(value: Any) -> Any:
    """The value with names for its keys."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return [(named(key), named(item)) for key, item in list(value.items())]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [named(item) for item in value]
    return value.name if isinstance(value, Key) else value


def check(fn: Callable[..., Any], make: Callable[[list[Any]], Any], which: str, alike: bool) -> None:
    assert asked(alternator.compile(fn, backend="eager"), make, which, alike) == asked(fn, make, which, alike)


def looks_up(x: Any, table: Any, key: Any) -> Any:
    return x + table[key]


def gets(x: Any, table: Any, key: Any) -> Any:
    return x + table.get(key, 3) + (key in table)


def puts(x: Any, table: Any, key: Any) -> Any:
    table[key] = 5
    return x + 1


def puts_with_another_hash(x: Any, table: Any, key: Any) -> Any:
    key.known = 99
    table[key] = 5
    key.known = 3
    return x + 1


def deletes(x: Any, table: Any, key: Any) -> Any:
    del table[key]
    return x + 1


def goes_over(x: Any, table: Any, key: Any) -> Any:
    for item in table.values():
        x = x + item
    return x, len(table)


def copies(x: Any, table: Any, key: Any) -> Any:
    return x + 1, table.copy(), dict(table)


def makes(x: Any, table: Any, key: Any) -> Any:
    return x + 1, {key: 1}, {key}, frozenset([key]), collections.OrderedDict([(key, 2)]), collections.Counter([key])


def holds(x: Any, table: Any, key: Any) -> Any:
    made = {(key, 1): 1}
    return x + made[key, 1], made


def breaks_between(x: Any, table: Any, key: Any) -> Any:
    table[key] = 3
    alternator.graph_break()
    return x + table[key]


OF_DICTS = [looks_up, gets, puts, puts_with_another_hash, deletes, goes_over, copies, makes, holds, breaks_between]


@pytest.mark.parametrize("alike", [False, True], ids=["apart", "alike"])
@pytest.mark.parametrize("which", ["same", "equal", "new"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fn", OF_DICTS, ids=lambda fn: fn.__name__)
def test_keys_of_dicts_are_asked_as_in_plain_python(fn: Any, kind: str, which: str, alike: bool) -> None:
    check(fn, lambda keys: KINDS[kind]([(key, i) for i, key in enumerate(keys)]), which, alike)


def puts_and_breaks(x: Any, table: Any, key: Any) -> Any:
    table[key] = 5
    alternator.graph_break()
    return x + 1


@pytest.mark.parametrize("kind", KINDS)
def test_why_a_call_does_not_fit_is_found_out_without_asking(kind: str) -> None:
    """A table that was empty has a key in the second call: the reason shows it, and an iterator may ask it for its hash."""
    check(puts_and_breaks, lambda keys: KINDS[kind](()), "new", False)


def adds(x: Any, members: Any, key: Any) -> Any:
    members.add(key)
    return x + 1


def discards(x: Any, members: Any, key: Any) -> Any:
    members.discard(key)
    return x + (key in members)


def unites(x: Any, members: Any, key: Any) -> Any:
    return x + 1, len(members | {key}), members & {key}


@pytest.mark.parametrize("alike", [False, True], ids=["apart", "alike"])
@pytest.mark.parametrize("which", ["same", "equal", "new"])
@pytest.mark.parametrize("fn", [adds, discards, unites], ids=lambda fn: fn.__name__)
def test_members_of_sets_are_asked_as_in_plain_python(fn: Any, which: str, alike: bool) -> None:
    def run(wrap: Any) -> list[Any]:
        seen = asked(wrap(fn), set, which, alike)
        return [(sorted(map(str, [result])), sorted(map(str, members)), log) for result, members, log in seen]

    assert run(lambda fn: alternator.compile(fn, backend="eager")) == run(lambda fn: fn)


def test_hashes_that_change_are_found_as_they_were() -> None:
    """A table is what the keys told when they were put in, in the next call, too."""
    key = Key(1, 1)
    fast = alternator.compile(lambda x, table: x + table.get(key, 10), backend="eager")
    first = {key: 1}
    key.known = 2
    second = {key: 2}
    for table in (first, second, first):
        assert fast(torch.zeros(1), table).item() == table.get(key, 10)


def test_ordered_dicts_whose_keys_are_not_found_again() -> None:
    """``OrderedDict`` asks keys anew where it gives their values; so does the program, not the capture."""
    count = iter(range(1000))

    class Fickle:
        def __hash__(self) -> int:
            return next(count)

    def fn(x: Any, table: Any) -> Any:
        table[Fickle()] = 1
        return x + len(table)

    table: Any = collections.OrderedDict([(Fickle(), 1)])
    with alternator.config.patch(raise_internal_errors=True):
        assert alternator.compile(fn, backend="eager")(torch.zeros(1), table).item() == 2
    with pytest.raises(KeyError):
        list(table.values())


def test_hashes_by_the_address_of_a_class_that_the_call_makes() -> None:
    """Each call makes a class of its own, which lies elsewhere: what is left of a table is found by its own class's hash."""

    def fn(x: Any) -> Any:
        class Mine:
            def __hash__(self) -> int:
                return hash(type(self))

            def __eq__(self, other: Any) -> bool:
                raise LookupError

        key, other = Mine(), Mine()
        return x + 1, {key: 2, (key, 1): 3}, {key}, key, other

    fast = alternator.compile(fn, backend="eager")
    for _ in range(2):
        _, table, members, key, other = fast(torch.zeros(1))
        assert table[key] == 2 and table[key, 1] == 3 and key in members
        for held in (table, members):
            with pytest.raises(LookupError):
                other in held  # noqa: B015
