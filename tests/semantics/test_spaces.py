"""The ``__dict__`` of objects: one dict, wherever the program has it."""

from __future__ import annotations

import functools
import types
from typing import Any

import pytest
import torch
from helpers import assert_same, same

import alternator
from alternator._C.eval_frame import unsupported

X = torch.ones(2)


class Own:
    def __init__(self, value: Any) -> None:
        self.value = value


class Attributes(dict):
    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.__dict__ = self


def test_it_stays_the_dict_of_its_object_behind_a_break() -> None:
    def fn(x: torch.Tensor) -> Any:
        own = Own(x + 1)
        space = own.__dict__
        unsupported(space)["seen"] = 1
        space["later"] = x * 2
        return own.seen, own.later, vars(own) is space, list(space)  # type: ignore[attr-defined]

    same(fn, X, breaks=["UNKNOWN_C_FUNCTION"])


def test_it_leaves_as_the_dict_of_its_object() -> None:
    def fn(x: torch.Tensor) -> Any:
        own = Own(x + 1)
        holder = Own([vars(own)])
        return vars(own), own, holder

    same(fn, X, graphs=1, breaks=0)
    space, own, holder = alternator.compile(fn, backend="eager")(X)
    assert space is own.__dict__ and holder.value[0] is space


def test_one_that_is_given() -> None:
    def fn(x: torch.Tensor) -> Any:
        space = {"a": x + 1}
        own = Own(1)
        own.__dict__ = space
        unsupported(1)
        space["b"] = 2
        own.c = 3  # type: ignore[attr-defined]
        return own.b, space, vars(own) is space  # type: ignore[attr-defined]

    def outside(x: torch.Tensor, space: dict[str, int]) -> Any:
        own = Own(x + 1)
        own.__dict__ = space
        own.new = 1  # type: ignore[attr-defined]
        return own.new, space, own.__dict__ is space  # type: ignore[attr-defined]

    same(fn, X)
    same(outside, X, {"a": 1})


def test_that_of_functions_exceptions_and_dicts_with_attributes() -> None:
    def fn(x: torch.Tensor) -> Any:
        def inner() -> None: ...

        error, own = ValueError(1), Attributes(a=1)
        spaces = vars(inner), vars(error), vars(own)
        unsupported(spaces)
        for space in spaces:
            space["b"] = 2
        own.c = 3
        return x + inner.b, error.b, own["b"], own["c"], spaces[2] is own  # type: ignore[attr-defined]

    same(fn, X, breaks=["UNKNOWN_C_FUNCTION"])


def test_a_dict_with_its_items_for_attributes_leaves() -> None:
    def fn(x: torch.Tensor) -> Any:
        own = Attributes(a=x + 1)
        own.b = 2
        return own, own["b"]

    own, _ = alternator.compile(fn, backend="eager", fullgraph=True)(X)
    own.c = 3
    assert own["c"] == 3 and own["b"] == own.b == 2 and torch.equal(own.a, X + 1)


def test_partials_keep_their_keywords_and_attributes() -> None:
    def fn(x: torch.Tensor) -> Any:
        part = functools.partial(dict, a=x + 1)
        part.extra = [1]  # type: ignore[attr-defined]
        keywords = part.keywords
        unsupported(1)
        keywords["b"] = 2
        return part(), part.extra, functools.partial(max, 1)(2)  # type: ignore[attr-defined]

    def leaves(x: torch.Tensor) -> Any:
        part = functools.partial(dict, 0, a=x + 1)
        part.extra = [part]  # type: ignore[attr-defined]
        return part

    same(fn, X, breaks=["UNKNOWN_C_FUNCTION"])
    part = alternator.compile(leaves, backend="eager")(X)
    assert part.args == (0,) and part.extra == [part] and torch.equal(part.keywords["a"], X + 1)


class Holder:
    def __init__(self):
        self.a = 1


def write_the_dict(x, obj, space):
    space["a"] += 1
    return x + obj.a, obj.__dict__ is space


def write_the_object(x, obj, space):
    obj.a += 1
    seen = space["a"]
    space["b"] = seen
    return x + obj.b, seen, list(space)


def write_both(x, obj, space):
    before = obj.a, space["a"]
    obj.a = 10
    between = space["a"]
    space["a"] = 20
    after = obj.a
    del obj.a
    left = dict(space)
    obj.a = 3
    return x + after, before, between, left


def add_and_remove(x, obj, space):
    count = len(space)
    obj.added = count
    items = list(space.items())
    space.pop("added")
    return x + count, items, hasattr(obj, "added")


def with_a_break(x, obj, space):
    space["a"] += 1
    alternator.graph_break()
    obj.a += 1
    alternator.graph_break()
    space["a"] *= 2
    return x + obj.a


@pytest.mark.parametrize("made", [Holder, lambda: torch.zeros(2), lambda: torch.nn.ReLU()])
@pytest.mark.parametrize("program", [write_the_dict, write_the_object, write_both, add_and_remove, with_a_break])
def test_an_object_and_its_dict_that_come_by_two_ways(program, made):
    compiled = alternator.compile(program, backend="eager")
    ours, theirs = made(), made()
    for one in (ours, theirs):
        one.a = 1
    for number in range(3):
        x = torch.full((2,), float(number))
        assert_same(program(x, theirs, vars(theirs)), compiled(x, ours, vars(ours)))
        for one in (ours, theirs):
            one.a += number


def test_the_attributes_of_a_partial_leave() -> None:
    def fn(x: torch.Tensor) -> Any:
        part = functools.partial(dict, a=x)
        part.extra = x + 1  # type: ignore[attr-defined]
        return part.__dict__, part

    space, part = alternator.compile(fn, backend="eager", fullgraph=True)(X)
    assert space is part.__dict__ and list(space) == ["extra"] and torch.equal(part.extra, X + 1)


class Bare:
    pass


class Members(set):
    pass


class Pairs(dict):
    pass


def test_the_dict_of_an_object_that_was_never_asked_for_one() -> None:
    def f(x, value):
        return x + len(value.__dict__), value.__dict__

    for kind in (Bare, Members, Pairs):
        full = kind()
        full.name = 1.0
        same(f, X, kind(), then=[(X, kind()), (X, full), (X, kind())], recompiles=1)


def wrapped(x: Any) -> Any:
    return x


@pytest.mark.parametrize("make", [lambda: copied(wrapped), lambda: functools.partial(wrapped), lambda: ValueError(1)])
def test_attributes_and_the_dict_of_an_outside_object_are_one(make: Any) -> None:
    def fn(x: torch.Tensor, own: Any) -> Any:
        space = vars(own)
        space["a"] = 2
        y = x + own.a
        own.b = 3
        del space["c"]
        seen = hasattr(own, "c"), list(space), space["b"]
        unsupported(1)
        own.a = 4
        return y, seen, space["a"], own.b, vars(own) is space

    compiled = alternator.compile(fn, backend="eager")
    for _ in range(3):
        one, other = make(), make()
        one.c = other.c = 1
        assert_same(fn(X, one), compiled(X, other))
        assert vars(one) == vars(other)


def copied(fn: Any) -> Any:
    return types.FunctionType(fn.__code__, fn.__globals__)
