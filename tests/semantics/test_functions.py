"""Functions as objects: their attributes, their signatures, and what wraps them in a class."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from helpers import Recorder, assert_same

import alternator


def made() -> Any:
    def fn(x: Any, a: Any = 1, *, b: Any = 2) -> Any:
        return x

    return fn


def delete_an_attribute(x: Any, fn: Any) -> Any:
    fn.tag = 1
    del fn.tag
    return x + 1, getattr(fn, "tag", "gone"), hasattr(fn, "tag")


def show_the_signature(x: Any, fn: Any) -> Any:
    return x + 1, str(inspect.signature(fn)), [p.default for p in inspect.signature(fn).parameters.values()]


def change_what_the_signature_shows(x: Any, fn: Any) -> Any:
    fn.__defaults__ = ([],) if fn.__defaults__ == (1,) else fn.__defaults__
    inspect.signature(fn).parameters["a"].default.append(len(fn.__defaults__[0]))
    return x + 1, list(fn.__defaults__[0])


@pytest.mark.parametrize("program", [delete_an_attribute, show_the_signature, change_what_the_signature_shows])
def test_functions_from_outside(program: Any) -> None:
    captured = alternator.compile(program, backend=Recorder())
    ours, theirs = made(), made()
    for _ in range(3):
        assert_same(program(torch.ones(2), theirs), captured(torch.ones(2), ours))
        assert vars(ours) == vars(theirs) and ours.__defaults__ == theirs.__defaults__


def test_a_signature_shows_defaults_as_they_are() -> None:
    captured, fn = alternator.compile(show_the_signature, backend=Recorder()), made()
    for defaults, by_name in (((1,), {"b": 2}), ((2,), {"b": 2}), (None, {"b": 2}), ((2,), None), ((2,), {"b": 3})):
        fn.__defaults__, fn.__kwdefaults__ = defaults, by_name
        assert_same(show_the_signature(torch.ones(2), fn), captured(torch.ones(2), fn))


def wrap(x: Any, broken: bool) -> Any:
    def method(cls: Any) -> int:
        return 1

    bound, free = classmethod(method), staticmethod(method)
    bound.tag = "bound"  # type: ignore[attr-defined]
    free.tags = [x + 2]  # type: ignore[attr-defined]
    free.__doc__ = "said"

    class Owner:
        wrapped = bound

    if broken:
        alternator.graph_break()
    return x + 1, vars(Owner)["wrapped"].tag, free.tags, free.__doc__, bound, free, Owner.wrapped()


@pytest.mark.parametrize("broken", [False, True])
def test_attributes_of_class_and_static_methods_that_are_made(broken: bool) -> None:
    captured = alternator.compile(wrap, backend=Recorder())
    for _ in range(2):
        plain, ours = wrap(torch.ones(2), broken), captured(torch.ones(2), broken)
        assert_same(plain[:4], ours[:4])
        for one, other in zip(plain[4:6], ours[4:6]):
            assert type(one) is type(other) and [*vars(one)] == [*vars(other)]
        assert ours[4].tag == "bound" and ours[5].tags[0] is ours[2][0] and plain[6] == ours[6]


class Like:
    def __init__(self, fn: Any) -> None:
        self.__name__, self.__code__, self.__annotations__ = fn.__name__, fn.__code__, fn.__annotations__
        self.__defaults__, self.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__

    def __call__(self) -> None: ...


def show_the_signature_of_what_looks_like_one(x: Any, fn: Any) -> Any:
    first = inspect.signature(fn)
    alternator.graph_break()
    like = inspect.signature(Like(fn))
    return x + 1, str(like), like == first


def test_the_signature_of_what_looks_like_a_function() -> None:
    captured, fn = alternator.compile(show_the_signature_of_what_looks_like_one, backend=Recorder()), made()
    for defaults, by_name in (((1,), {"b": 2}), ((2,), {"b": 3}), (None, {"b": 3})):
        fn.__defaults__, fn.__kwdefaults__ = defaults, by_name
        assert_same(show_the_signature_of_what_looks_like_one(torch.ones(2), fn), captured(torch.ones(2), fn))
