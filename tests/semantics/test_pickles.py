"""``pickle.dumps`` while tracing: a constant for numbers and texts, a break where identity or a class decides."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest
import torch
from helpers import same

import alternator

X = torch.ones(2)


def test_keyword_arguments_as_a_key() -> None:
    def cached(method: Any) -> Any:
        @functools.wraps(method)
        def run(cache: Any, x: Any, **kwargs: Any) -> Any:
            key = pickle.dumps(kwargs)
            if key not in cache:
                cache[key] = method(x, **kwargs)
            return cache[key]

        return run

    @cached
    def scaled(x: Any, by: Any = 2, name: str = "") -> Any:
        return x * by

    def run(x: Any, cache: Any, by: Any) -> Any:
        return scaled(cache, x) + scaled(cache, x, by=by, name="n") + scaled(cache, x), cache

    same(run, X, {}, 3, then=[(X, {}, 4), (X, {}, 5), (X, {}, 2.5), (X, {}, 7)], graphs=1, breaks=0)


@pytest.mark.parametrize("value", [1, 2.5, True, None, "text", b"bytes", (), [], {}, [1, "a"], {"a": "b", 2: None}], ids=repr)
def test_numbers_and_texts(value: Any) -> None:
    same(lambda x, value: (x + 1, pickle.dumps(value)), X, value, graphs=1, breaks=0)


def _twice() -> list[str]:
    text = "".join(["not ", "interned"])
    return [text, text]


def test_what_is_pickled_twice_is_a_reference_if_it_is_one_object() -> None:
    def run(x: Any, value: Any) -> Any:
        return x + 1, pickle.dumps(value)

    compiled = alternator.compile(run, backend="eager")
    apart = ["".join(["not ", "interned"]) for _ in range(2)]
    for value in (_twice(), apart, _twice()):
        assert compiled(X, value)[1] == pickle.dumps(value)


class Odd(str):
    def __reduce__(self) -> Any:
        return str, ("odd",)

    def __deepcopy__(self, memo: Any) -> Odd:
        return self


@pytest.mark.parametrize("value", [Odd("a"), [Odd("a")], {"a": [1]}, (X,)], ids=["text", "list", "nested", "tensor"])
def test_others_are_breaks(value: Any) -> None:
    same(lambda x, value: (x + 1, pickle.dumps(value) == b""), X, value, breaks=["UNKNOWN_C_FUNCTION"])
