"""Builtins that are called with arguments that they do not take: the errors are CPython's own."""

import operator

import pytest
import torch
from helpers import same

WRONG = {
    "len of two": lambda: len([], []),
    "dict.get of nothing": lambda: {}.get(),
    "dict.get by keyword": lambda: {}.get(1, default=2),
    "list.extend of nothing": lambda: [].extend(),
    "isinstance of three": lambda: isinstance(1, int, str),
    "getattr of one": lambda: getattr(1),
    "next of nothing": lambda: next(),
    "max of nothing": lambda: max(),
    "unknown keyword": lambda: sorted([], wrong=1),
    "operator": lambda: operator.add(1),
    "list of two": lambda: list(1, 2),
    "repr of nothing": lambda: repr(),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_raise_what_cpython_raises(name):
    call = WRONG[name]

    def fn(x):
        try:
            call()
        except TypeError as error:
            return x + 1, str(error)
        return x, None

    report = same(fn, torch.ones(2), fullgraph=True)
    assert report.outcomes[0].result[1] is not None


def test_needed_arguments_may_be_given_by_keyword():
    def fn(x):
        return (
            x + round(number=2.567, ndigits=1),
            pow(base=2, exp=3),
            list(enumerate(iterable="ab", start=1)),
            sum([1, 2], start=4),
        )

    same(fn, torch.ones(2), fullgraph=True)
