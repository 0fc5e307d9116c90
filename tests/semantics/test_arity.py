"""Builtins that are called with arguments that they do not take: the errors are CPython's own."""

import dataclasses
import math
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
    "given twice": lambda: round(2.5, number=3),
    "sum of texts": lambda: sum(["a"], ""),
    "type by keyword": lambda: type(3, wrong=1),
    "dict.update of a list": lambda: dict.update([1], {}),
    "operator.concat of numbers": lambda: operator.concat(3, 1),
    "from_numpy of nothing": lambda: torch.from_numpy(),
    "Size by keyword": lambda: torch.Size([1], wrong=1),
    "mode that is no bool": lambda: torch.use_deterministic_algorithms(3),
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


@dataclasses.dataclass
class Point:
    x: int = 1


def test_needed_arguments_of_python_functions_that_have_rules_may_be_given_by_keyword():
    def fn(x):
        torch._check(cond=True, message=lambda: "never")
        return x + torch.sym_max(a=1, b=2), [field.name for field in dataclasses.fields(class_or_instance=Point)]

    same(fn, torch.ones(2), fullgraph=True)


def test_a_check_that_fails_has_the_message_given_by_keyword():
    def fn(x):
        try:
            torch._check(cond=x.shape[0] > 5, message=lambda: "too few")
        except RuntimeError as error:
            return x + 1, str(error)

    same(fn, torch.ones(2))


def test_functions_of_numbers_that_vary_heed_their_keywords():
    def fn(x, close, n):
        numbers = math.isclose(close, 0.5, abs_tol=0.1), math.isclose(0.5, close, rel_tol=1.0), math.prod((n, n), start=n)
        return x + n, numbers, round(close, ndigits=1), round(close, ndigits=n), pow(n, 3, mod=7), str(object=n)

    x = torch.ones(2)
    same(fn, x, 0.25, 2, then=[(x, 0.4567, 3), (x, 0.41234, 4), (x, 3.0, 5)], fullgraph=True)


def test_attributes_of_tensors_that_are_not_there_cannot_be_deleted():
    def fn(x):
        x.there = 1
        del x.there
        for name in ("there", "never"):
            try:
                delattr(x, name)
            except AttributeError as error:
                print(error)
        return x + 1, hasattr(x, "there")

    same(fn, torch.ones(2), graphs=1)
    same(lambda x: fn(x * 2), torch.ones(2), graphs=1)


def test_symbolic_functions_read_what_is_outside():
    items = [1, 2]
    same(lambda x: (x + 1, torch.sym_not(items), torch.sym_max(3, 2.5), torch.sym_min(a=3, b=2)), torch.ones(2), graphs=1)
