"""What is called, or asked, is another one of the same type in the next call, or has changed inside."""

import typing

import numpy as np
import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.add, np.multiply),
        (np.sum, np.prod),
        (torch.sin, torch.cos),
        (torch.ops.aten.sin, torch.ops.aten.cos),
        (torch.nn.functional.relu, torch.nn.functional.gelu),
    ],
    ids=["ufunc", "array function", "builtin", "packet", "function"],
)
@pytest.mark.parametrize("captured", [False, True], ids=["numbers", "values"])
def test_functions_that_the_tracer_knows(first, second, captured):
    arguments = (3, 4) if type(first) is np.ufunc else ([3, 4],) if first is np.sum else (X,)

    def fn(f, x):
        given = (x.numpy(),) if captured and len(arguments) == 1 and first is np.sum else arguments
        return x + 1, f(*given)

    same(fn, first, X, then=[(second, X), (first, X)])


ALIASES = [typing.List[int], typing.List[str], typing.Union[int, str], typing.Union[str, int]]  # noqa: UP006, UP007


@pytest.mark.parametrize("first", ALIASES, ids=repr)
def test_parts_of_type_expressions(first):
    def fn(kind, x):
        return x + (typing.get_args(kind)[0] is int), typing.get_origin(kind) is list

    same(fn, first, X, then=[(other, X) for other in ALIASES], fullgraph=True)


def test_names_of_the_fields_of_a_dtype():
    dtype = np.dtype([("a", "i4")])

    def fn(x):
        return x + 1, dtype.names

    compiled = alternator.compile(fn, backend="eager")
    for names in (("a",), ("b",)):
        dtype.names = names
        assert_same(compiled(X), fn(X))


READS = {
    "class": lambda cls: cls.thing,
    "instance": lambda cls: cls().thing,
    "getattr": lambda cls: getattr(cls, "thing"),  # noqa: B009
    "vars": lambda cls: vars(cls)["thing"],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_methods_of_outside_objects_in_a_class(read):
    """They do not bind; what they are bound to is outside, where nothing is written while tracing."""

    class Holder:
        pass

    def counts(x):
        return x + read(Holder)(2)

    def appends(x):
        read(Holder)(4)
        return x + len(items)

    items, compiled = [1, 2], {fn: alternator.compile(fn, backend="eager") for fn in (counts, appends)}
    for _ in range(3):
        Holder.thing = items.count
        assert_same(compiled[counts](X), counts(X))
        items.append(2)
        assert_same(compiled[counts](X), counts(X))
        Holder.thing = items.append
        before = len(items)
        assert_same(compiled[appends](X), X + before + 1)
        assert len(items) == before + 1
    Holder.thing = [2].count
    assert_same(compiled[counts](X), X + 1)
