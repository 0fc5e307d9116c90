"""torch's own code finds the user's place in the program while it is traced."""

import torch
from helpers import same
from torch._guards import TracingContext

SEEN = []


@torch.library.custom_op("alternator_places::look", mutates_args=())
def look(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@look.register_fake
def _(x):
    SEEN.append([(row.name, row.line) for row in TracingContext.extract_stack()])
    return torch.empty_like(x)


def leaf(x):
    return look(x) + 1


def middle(x):
    y = leaf(x)
    return y * leaf(y[:1])


def numbers(x):
    yield leaf(x)


class Model(torch.nn.Module):
    def forward(self, x):
        return middle(x)


def _rows(fn, *args):
    SEEN.clear()
    same(fn, *args)
    return [[row for row in rows if row[0] not in ("_wrapped_call_impl", "_call_impl", "__call__")] for rows in SEEN if rows]


def test_calls_that_are_under_way_are_seen_with_their_lines():
    def root(x):
        return middle(x)

    rows = _rows(root, torch.ones(2))
    end = [("leaf", "return look(x) + 1")]
    assert rows[0] == [("root", "return middle(x)"), ("middle", "y = leaf(x)"), *end]
    assert rows[1] == [("root", "return middle(x)"), ("middle", "return y * leaf(y[:1])"), *end]


def test_through_generators_and_native_code():
    def root(x):
        return sum(list(numbers(x)), x)

    names = [name for name, _ in _rows(root, torch.ones(2))[0]]
    assert names == ["root", "numbers", "leaf"]


def test_behind_a_handled_exception_the_place_is_the_callers():
    def fails(x):
        raise ValueError(x)

    def root(x):
        try:
            fails(1)
        except ValueError:
            x = leaf(x)
        return x

    assert [name for name, _ in _rows(root, torch.ones(2))[0]] == ["root", "leaf"]


def test_without_a_capture_nothing_is_left():
    same(middle, torch.ones(2))
    assert TracingContext.try_get() is None
