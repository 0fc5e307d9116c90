"""Iterators that come from outside, or live across a break."""

import itertools
import operator

import pytest
import torch
from helpers import assert_same, same

import alternator
from alternator._C.eval_frame import unsupported

X = torch.ones(2)

MAKERS = {
    "tuple": lambda: iter((1, 2, 3, 4)),
    "list": lambda: iter([1, 2, 3, 4]),
    "range": lambda: iter(range(1, 5)),
    "string": lambda: iter("1234"),
}


def advanced(it):
    next(it)
    return it


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_outside_iterator_moves_on(kind, taken):
    def fn(x, it):
        return x + sum(int(next(it)) for _ in range(taken))

    x = torch.ones(3)
    plain, captured = advanced(MAKERS[kind]()), advanced(MAKERS[kind]())
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x, captured), fn(x, plain))
    assert list(captured) == list(plain)


def test_position_and_items_are_guarded():
    def fn(x, it):
        return x * next(it, 7)

    compiled = alternator.compile(fn, backend="eager")
    x = torch.ones(2)
    for make in (
        lambda: iter((2, 3)),
        lambda: advanced(iter((2, 3))),
        lambda: iter((5, 3)),
        lambda: iter(()),
        lambda: iter([2, 3]),
    ):
        assert torch.equal(compiled(x, make()), fn(x, make()))


def test_a_list_iterator_sees_what_is_appended():
    def fn(x, items):
        it = iter(items)
        x = x + next(it)
        alternator.graph_break()
        items.append(5)
        return [x + item for item in it]

    same(fn, torch.ones(2), [1, 2], graphs=2)


def test_an_iterator_lives_across_breaks():
    def fn(x):
        it = iter(tuple(range(6)))
        x = x + next(it)
        alternator.graph_break()
        x = x + next(it)
        alternator.graph_break()
        return x + next(it), it

    x = torch.ones(2)
    compiled = alternator.compile(fn, backend="eager")
    for _ in range(2):
        (got, rest), (wanted, left) = compiled(x), fn(x)
        assert torch.equal(got, wanted) and list(rest) == list(left)


DICT_ITERATORS = {"keys": iter, "values": lambda d: iter(d.values()), "items": lambda d: iter(d.items())}


@pytest.mark.parametrize("kind", DICT_ITERATORS)
@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_an_outside_iterator_over_a_dict_moves_on(kind, taken):
    def fn(x, it):
        return x + len([next(it, None) for _ in range(taken)])

    plain, captured = [DICT_ITERATORS[kind]({"a": 1, "b": 2, "c": 3}) for _ in range(2)]
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    x = torch.ones(3)
    for one in (plain, captured):
        next(one)
    assert torch.equal(compiled(x, captured), fn(x, plain))
    assert list(captured) == list(plain)


@pytest.mark.parametrize("kind", DICT_ITERATORS)
def test_a_dict_that_is_changed_while_it_is_iterated_across_a_break(kind):
    def fn(x, d):
        for item in DICT_ITERATORS[kind](d):
            alternator.graph_break()
            x = x + len(str(item))
            d["new"] = 1
        return x

    same(fn, torch.ones(2), {"a": 1, "b": 2}, then=[(torch.ones(2), {"new": 1, "b": 2})])


def test_a_list_that_grows_before_its_iterator_is_used_across_a_break():
    def fn(x, l):
        l.append(1)
        for i, j in zip(range(3), l):
            alternator.graph_break()
            x = x * 2 + j
        return x, i, j

    same(fn, torch.ones(2), [5], then=[(torch.ones(2), [])])


def test_a_function_that_an_iterator_calls_leaves_as_itself():
    def fn(x):
        return x + 1, itertools.accumulate([1, 2, 3], operator.mul), itertools.starmap(max, [(1, 2)])

    made = alternator.compile(fn, backend="eager", fullgraph=True)(torch.ones(2))
    assert made[1].__reduce__()[1][1] is operator.mul and made[2].__reduce__()[1][0] is max


def test_iterators_in_c_that_the_interpreter_stands_in_for():
    class Items:
        def __init__(self, *items):
            self.items = items

        def __getitem__(self, index):
            if index == 3:
                raise StopIteration
            return self.items[index]

    def f(x):
        counter = iter([1, 2, 3, 4]).__next__
        made = [iter(Items(5, 6, 7, 8)), iter(Items(1, 2)), iter(counter, 3), iter(iter([7]).__next__, 0), map(str, [1, 2])]
        first = [next(one) for one in made]
        used = iter(Items()), iter(int, 0)
        seen = [list(one) for one in used]
        unsupported()
        kinds = [type(one).__name__ for one in (*made, *used)]
        return x + 1, first, kinds, [list(one) for one in (*made, *used)], seen

    def stops(n):
        if n > 1:
            raise StopIteration
        return n

    def ends(x):
        return x + 1, list(map(stops, [0, 1, 2, 3])), list(filter(stops, [0, 1, 2, 3]))

    same(f, torch.ones(2))
    same(ends, torch.ones(2))


def test_texts_that_are_made_after_the_graph_are_iterated_as_they_will_be():
    def fn(x, n):
        text = str(n)
        return x + 1, list(itertools.product(text)), list(itertools.chain(text, "a")), list(itertools.permutations(text, 1))

    same(fn, X, 2.5, then=[(X, 0.5), (X, 3.25)])


class Doubled(str):
    def __iter__(self):
        return iter(str(self) * 2)


def test_the_tools_iterate_texts_with_an_iterator_of_their_own():
    def fn(x, text):
        return x + 1, list(itertools.islice(text, 3)), list(itertools.accumulate(text)), list(itertools.takewhile(bool, text))

    same(fn, X, Doubled("ab"))
    same(lambda x: (x + 1, list(itertools.starmap(pow, [(2, 3)])), list(itertools.groupby([1, 1], int))[0][0]), X)


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter([1, 2, 3]),
        lambda: iter((1, 2, 3)),
        lambda: iter(range(3)),
        lambda: iter({1: 2, 3: 4}),
        lambda: reversed([1, 2]),
    ],
)
@pytest.mark.parametrize("method", ["__length_hint__", "__next__", "__iter__"])
def test_a_method_of_the_class_called_with_an_iterator_from_outside(make, method):
    def fn(x, some):
        kind = type(some)
        try:
            found = getattr(kind, method)(some)
        except TypeError as error:
            found = str(error)
        return x + 1, found is some or found, next(some)

    assert_same(fn(torch.ones(2), make()), alternator.compile(fn, backend="eager")(torch.ones(2), make()))
