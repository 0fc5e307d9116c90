"""Expressions of types that captured code makes."""

import types
import typing
from typing import Annotated, Any, Callable, Generic, Literal, Optional, Tuple, TypeVar, Union

import torch
from helpers import same

import alternator

T = TypeVar("T")


class Box(Generic[T]):
    pass


class Key:
    def __class_getitem__(cls, key):
        Key.asked += 1
        return cls, key


@alternator.disable
def held(value):
    return value


def test_what_typing_caches_is_the_object_that_it_caches():
    def fn(x):
        made = [
            typing.AbstractSet[Any],
            Optional[int],
            Callable[[int], str],
            Literal[1],
            Box[int],
            Annotated[int, "here"],
            Tuple[T, ...],
        ]
        held(None)
        again = held([typing.AbstractSet[Any], Optional[int], Callable[[int], str], Literal[1], Box[int]])
        return x + 1, made, [one is other for one, other in zip(made, again)]

    made, alike = same(fn, torch.ones(2)).outcomes[0].result[1:]
    assert all(alike)
    assert made[0] is typing.AbstractSet[Any] and made[4] is Box[int] and made[5] is Annotated[int, "here"]


def test_expressions_are_of_the_classes_and_variables_that_leave():
    def fn(x):
        variable = TypeVar("variable")
        several = typing.TypeVarTuple("several")

        class Own:
            pass

        made = [list[Own], dict[str, variable], Tuple[variable, int], Own | None, int | Own | str, tuple[*several]]
        made += [typing.Unpack[several], Union[Own, int], types.GenericAlias(list, (Own,))]
        return x + 1, Own, variable, several, made, held(made)

    def check(out):
        _, own, variable, several, made, _ = out
        assert made == [list[own], dict[str, variable], Tuple[variable, int], own | None, int | own | str, tuple[*several]] + [
            typing.Unpack[several],
            Union[own, int],
            list[own],
        ]
        assert made[2] is Tuple[variable, int] and made[6] is typing.Unpack[several]

    compiled = alternator.compile(fn, backend="eager")
    for _ in range(2):
        check(compiled(torch.ones(2)))
    check(fn(torch.ones(2)))


def test_subscripting_a_class_is_a_call_of_the_program():
    Key.asked = 0

    def fn(x):
        return x + 1, Key[3][1], Key.asked

    compiled = alternator.compile(fn, backend="eager")
    assert compiled(torch.ones(2))[1:] == (3, 1)
    assert compiled(torch.ones(2))[1:] == (3, 2)
    assert Key.asked == 2


def test_of_expressions_that_are_equal_the_first_one_is_cached():
    def fn(x):
        variable = TypeVar("variable")
        one, other = Union[variable, str], Union[str, variable]
        first, second = one[int], other[int]
        held(None)
        return x + 1, first is second, second.__args__

    assert same(fn, torch.ones(2)).outcomes[0].result[1:] == (True, (int, str))
