"""Names and texts that CPython attaches to what a program makes: the module of a class, of a function, what an AttributeError
was looking for."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from helpers import same

import alternator

X = torch.ones(2)


class Silent:
    def __getattr__(self, name: str) -> Any:
        raise AttributeError()

    @property
    def failing(self) -> Any:
        raise AttributeError("no")

    @property
    def telling(self) -> Any:
        raise AttributeError("no", name="other")


def test_an_attribute_error_that_names_nothing_is_told_what_was_looked_for() -> None:
    def fn(x):
        seen = []
        it = Silent()
        for name in ("absent", "failing", "telling"):
            try:
                getattr(it, name)
            except AttributeError as error:
                seen.append((error.name, error.obj is it))
        try:
            it.absent()
        except AttributeError as error:
            seen.append((error.name, error.obj is it))
        try:
            it.failing  # noqa: B018
        except AttributeError as error:
            kept = error
        alternator.graph_break()
        return x + 1, seen, kept.name, kept.obj is it, hasattr(it, "absent")

    same(fn, X)


def test_a_class_is_of_the_module_that_makes_it() -> None:
    def fn(x):
        made = type("Made", (), {"a": 1})
        return x + 1, made.__module__, type("Given", (), {"__module__": "elsewhere"}).__module__

    same(fn, X)


def tripled(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(a: int) -> Any:
        return fn(a * 3)

    return wrapper


def annotated(a: int, b: str = "") -> float:
    """What it says."""
    return float(a)


annotated.__module__ = "elsewhere"


def test_a_wrapped_function_that_lives_on_keeps_what_it_was_given() -> None:
    def fn(x):
        wrapped = tripled(annotated)
        alternator.graph_break()
        return x + wrapped(2), wrapped.__annotations__, wrapped.__doc__, wrapped.__module__, inspect.get_annotations(wrapped)

    same(fn, X)
