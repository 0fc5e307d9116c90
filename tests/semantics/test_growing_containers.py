"""Lists and dicts that the program adds to in each call: only what is read of them is relied on."""

import collections
import gc
import weakref

import pytest
import torch
from helpers import same

import alternator

X = torch.ones(2)


def _lists(*lengths):
    return [(X, [torch.full((2,), float(i)) for i in range(n)]) for n in lengths]


@pytest.mark.parametrize(
    "body",
    [
        "h.append(x)",
        "h.extend([x, x + 1])",
        "h.append(x); x = h[-1] * 2",
        "h.extend((x, x + 1)); x = h[-2] + h[-1]",
        "x = x * len(h); h.append(x)",
        "h.append(x); x = x * len(h)",
        "x = h[-1] if h else x; h.append(x)",
        "h.append(f'step {len(h)}')",
        "h.append(len(h)); h.append(len(h))",
    ],
)
def test_a_list_that_grows_is_not_captured_for_each_length(body):
    space = {}
    exec(f"def fn(x, h):\n    {body}\n    return x + 1\n", space)
    report = same(space["fn"], *_lists(3)[0], then=_lists(4, 5, 6, 2, 9, 7), graphs=1, breaks=0)
    assert report.recompiles <= 1


@pytest.mark.parametrize(
    "body",
    [
        "h.append(x); h.pop(); x = x + len(h)",
        "h.extend(h)",
        "h.append(x); x = x + sum(h)",
        "x = x + h[-1]; h.clear(); h.append(x)",
        "h.append(x); del h[-1]; h.append(h[-1])",
        "h.append(x); h[0] = x + 1; x = x + h[-1]",
        "h.append(x); h.reverse()",
        "x = x + len(h) * 2; x = x + sum(h); h.append(x)",
        "h.append(x); x = x + h[-9] if len(h) > 9 else x",
        "x = x + (h[-1] is h[len(h) - 1])",
    ],
)
def test_a_list_that_is_read_as_well(body):
    space = {}
    exec(f"def fn(x, h):\n    {body}\n    return x + 1, len(h)\n", space)
    same(space["fn"], *_lists(3)[0], then=_lists(4, 5, 6, 2, 9, 1, 1, 4))


def test_the_last_item_is_what_it_is_in_each_call():
    def fn(x, h):
        return x * 2, h[-1], h[-1] is h[0]

    shared = torch.zeros(2)
    lists = [[1, 2], [1, 2, 3], ["a", "b", 2.5, "c"], [X], [shared, 3, shared], [None] * 4, [[1]], [(1, 2)] * 5, [X, X + 1]]
    same(fn, X, lists[0], then=[(X, one) for one in lists[1:]])


DICTS = [{}, {"a": 1.5}, {"b": X, "a": 2}, {"a": "t", "b": [1]}, {"c": X, "d": 2, "a": X}, {"b": None, "a": None}]


@pytest.mark.parametrize(
    "body",
    [
        "d['a'] = x",
        "d['b'] = x; d['a'] = x + 1; d['b'] = x + 2",
        "d['a'] = x; x = x + d['a']",
        "d['a'] = x; y = 'b' in d, 'a' in d, len(d)",
        "d['a'] = x; y = list(d), list(d.values())",
        "d['a'] = x; y = d.pop('a'); d['a'] = 3",
        "d['a'] = x; del d['a']",
        "d['a'] = x; d.update(b=x, e=4); y = dict(d)",
        "y = d.get('a'); d['a'] = x; y = y, d.get('a'), d.get('b', 7)",
        "d['b'] = x; d.setdefault('a', 5); d.setdefault('f', 6)",
        "d['a'] = x; y = {**d}; d.clear(); d['a'] = y",
        "d[1] = x; d[True] = x + 1; d[1.0] = x + 2; y = d[1]",
        "d['a'] = x; y = bool(d), d == {'a': 1}, d.copy()['a'] is x",
        "d['a'] = d['b'] = [x]; d['a'].append(1)",
    ],
)
def test_a_dict_that_is_written_before_it_is_read(body):
    space = {}
    exec(f"def fn(x, d):\n    x = x * 2\n    y = None\n    {body}\n    return x, y, list(d)\n", space)
    unread = {}
    exec(f"def fn(x, d):\n    x = x * 2\n    y = None\n    {body}\n    return x, y\n", unread)
    for made in (space, unread):
        same(made["fn"], X, {"b": 1.5}, then=[(X, dict(one)) for one in (*DICTS, {1: "n"}, {True: "n", 1.5: 2})])


def test_other_keys_are_not_read():
    def fn(x, log):
        log["loss"] = x.sum()
        log["n"] = 3
        return x + 1

    then = [(X, {"loss": X, "n": 9, f"k{i}": object()}) for i in range(5)]
    report = same(fn, X, {"loss": X, "n": 7, "other": 2.5}, then=then, graphs=1, breaks=0)
    assert report.recompiles == 0


def test_two_names_of_one_dict():
    def fn(x, one, other):
        one["a"] = x
        other["a"] = x + 1
        return one["a"], other["a"], len(one)

    both = {}
    same(fn, X, {}, {}, then=[(X, both, both), (X, {}, {"a": 1}), (X, both, both)])


def test_what_goes_with_the_write_is_told_of_its_end():
    told = []

    class Thing:
        pass

    def fn(x, d):
        d["a"] = x
        return x + 1, len(told)

    def calls(run):
        told.clear()
        seen = []
        for value in (1, Thing(), X, Thing(), [Thing()]):
            d = {"a": value}
            for one in gc.get_referents(d) if type(value) is Thing else value if type(value) is list else ():
                if type(one) is Thing:
                    weakref.finalize(one, told.append, 1)
            del value
            one = None
            seen.append(run(X, d)[1])
        return seen, len(told)

    assert calls(alternator.compile(fn, backend="eager")) == calls(fn)


def test_keys_that_ask_and_dicts_of_classes_of_their_own():
    class Key:
        def __init__(self, text):
            self.text = text

        def __hash__(self):
            return hash(self.text)

        def __eq__(self, other):
            print("asked")
            return self.text == getattr(other, "text", other)

    def fn(x, d):
        d["a"] = x
        return x + 1, d["a"]

    def run(call):
        results = []
        for d in (
            {},
            {Key("a"): 1},
            {Key("b"): 2},
            collections.OrderedDict(a=1),
            collections.defaultdict(list),
            collections.Counter("ab"),
        ):
            results.append((call(X, d)[1].tolist(), [getattr(key, "text", key) for key in d]))
        return results

    assert run(alternator.compile(fn, backend="eager")) == run(fn)


def test_what_a_list_is_extended_with_sees_it_grow():
    def fn(x, h):
        own = [x]
        own.extend(len(own) for _ in range(3))
        h.extend(len(h) for _ in range(2))
        try:
            own.extend(1 // (3 - v) for v in range(5))
        except ZeroDivisionError:
            own.append("left")
        return x + 1, own[1:], h

    same(fn, *_lists(2)[0], then=_lists(1, 3, 4))


def test_a_deque_that_is_only_measured_is_not_read() -> None:
    def fn(x, queue):
        return x * len(queue) if queue else x

    queues = [collections.deque(items, maxlen=5) for items in ([2, 1], ["a", 3], [None, X])]
    same(fn, X, collections.deque([1, 2], maxlen=5), then=[(X, queue) for queue in queues], recompiles=0, fullgraph=True)
    queues = [collections.deque(range(n), maxlen=5) for n in (3, 0, 1, 5)]
    same(fn, X, collections.deque([1, 2], maxlen=5), then=[(X, queue) for queue in queues], fullgraph=True)
