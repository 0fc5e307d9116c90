"""Loops with a break inside whose length is another in each call: two captures serve them all."""

import pytest
import torch
from helpers import same

import alternator


def _loop(over, body="x = x + v"):
    """A function whose loop goes over ``over``, with a break in each iteration."""
    space = {"alternator": alternator, "torch": torch}
    text = f"def fn(x, n, items):\n    for v in {over}:\n        x = x * 2\n        alternator.graph_break()\n        {body}\n    return x, n\n"
    exec(text, space)
    return space["fn"]


def _calls(*lengths):
    return [(torch.ones(3), n, [torch.full((3,), float(i)) for i in range(n)]) for n in lengths]


COUNTED = ["range(n)", "range(1, n)", "range(n, 0, -1)", "range(0, n, 2)", "reversed(range(n))", "reversed(range(n, 0, -1))"]
PAIRS = ["enumerate(items)", "enumerate(items, 5)", "enumerate(range(n))", "zip(range(n), items)", "zip(items, range(9))"]


@pytest.mark.parametrize("over", [*COUNTED, "items"])
def test_the_length_of_a_loop_is_not_relied_on(over):
    report = same(_loop(over), *_calls(3)[0], then=_calls(4, 5, 9, 0, 12, 6, 2, 7))
    assert report.recompiles <= 4, "0 is a constant of its own; what differs besides is captured once"


@pytest.mark.parametrize("over", PAIRS)
def test_nor_that_of_what_pairs_it(over):
    report = same(_loop(over, "x = x + v[0] * v[1]"), *_calls(3)[0], then=_calls(4, 5, 9, 0, 12, 6, 2, 7))
    assert report.recompiles <= 5


@pytest.mark.parametrize("made", ["[(x + v).sum().item() for v in range(n)]", "sum((x + v).sum().item() for v in range(n))"])
def test_nor_that_of_a_comprehension(made):
    space = {"torch": torch}
    exec(f"def fn(x, n):\n    return {made}, x + 1\n", space)
    report = same(space["fn"], torch.ones(3), 3, then=[(torch.ones(3), n) for n in (4, 5, 9, 0, 12, 6, 2, 7)])
    assert report.recompiles <= 3


@pytest.mark.parametrize(
    "body",
    [
        "items.append(x) if len(items) < 6 else None",
        "items.pop() if len(items) > 2 else None",
        "items[-1] = x",
        "items.clear()",
        "items.insert(0, x) if len(items) < 6 else None",
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_list_that_its_own_loop_changes(body, before):
    space = {"alternator": alternator}
    lines = [body, "alternator.graph_break()"][:: 1 if before else -1]
    text = "".join(f"        {line}\n" for line in lines)
    exec(f"def fn(x, items):\n    for v in items:\n{text}        x = x + v\n    return x, len(items)\n", space)
    same(space["fn"], torch.ones(3), [torch.ones(3)] * 3, then=[(torch.ones(3), [torch.ones(3)] * n) for n in (4, 5, 2, 7)])


def test_a_loop_that_is_left_and_its_else():
    def fn(x, n, items):
        for i in range(n):
            for j, item in enumerate(items):
                if (x + item).sum().item() > 40:
                    break
                x = x + j
            else:
                x = x - i
                continue
            break
        else:
            x = x * 3
        return x

    same(fn, *_calls(3)[0], then=_calls(4, 5, 9, 0, 12, 6, 2, 7))


def test_what_looks_at_a_range_sees_one():
    def fn(x, n):
        for i in range(n):
            alternator.graph_break()
            x = x + i
        made = range(n)
        pairs = enumerate(range(n))
        for i in range(n):
            x = x + i
        for i in list(range(n)):
            x = x + i
        for i in sorted(map(len, map(range, [n, n + 1]))):
            x = x + i
        return x, made, len(made), type(pairs), list(pairs), [type(v) for v in zip([made], [n])]

    same(fn, torch.ones(2), 3, then=[(torch.ones(2), n) for n in (4, 5, 2)])


def test_numbers_that_are_no_arguments_of_a_range():
    def fn(x, n, step):
        try:
            for i in range(0, n, step):
                alternator.graph_break()
                x = x + i
        except (TypeError, ValueError) as error:
            return str(error)
        return x

    calls = [(torch.ones(2), *more) for more in ((4, 1), (5, 2), (6, 0), (7, -1), (2.5, 1), (3, 1), (True, 1))]
    same(fn, *calls[0], then=calls[1:])
