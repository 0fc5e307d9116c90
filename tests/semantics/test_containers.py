"""Containers: made inside, from outside, changed, aliased, returned."""

from __future__ import annotations

import array
import collections
import contextlib
import io
import operator
import types

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.arange(4.0)


def test_list_methods() -> None:
    def f(x, l):
        y = x + 1
        l.insert(0, 5)
        l.extend([1, 2, 3])
        a = l.pop()
        b = l.pop(0)
        l.remove(2)
        l.reverse()
        i = l.index(1)
        c = l.count(1)
        m = [3, 1, 2]
        m.sort()
        m.sort(key=lambda v: -v)
        m.sort(reverse=True)
        n = m.copy()
        m.clear()
        l.append(y)
        return a, b, i, c, m, n, l[0:2], l + [1], l * 2, [1] == [1], [1, 2] < [1, 3], len(l), l[-1]

    same(f, X, [7, 8], graphs=1, breaks=0)


def test_tuple_methods() -> None:
    def f(x, t):
        return (
            t + (x,),
            t * 2,
            t.index(2),
            t.count(1),
            t[1:],
            (1, 2) < (1, 3),
            hash((1, 2)) == hash((1, 2)),
            len(t),
            t == (1, 2),
            x + 1,
        )

    same(f, X, (1, 2), graphs=1, breaks=0)


def test_dict_methods() -> None:
    def f(x, d):
        d["new"] = x + 1
        a = d.setdefault("a", 5)
        b = d.setdefault("s", 6)
        c = d.pop("b")
        e = d.pop("none", 7)
        last = d.popitem()
        d.update({"u": 1}, v=2)
        d |= {"w": 3}
        m = {**d, "m": 1} | {"n": 2}
        k = dict.fromkeys(["p", "q"], 0)
        del d["u"]
        copy = d.copy()
        mine = {"z": 1}
        mine.clear()
        return (
            a,
            b,
            c,
            e,
            last,
            m,
            k,
            copy,
            mine,
            list(d.keys()),
            list(d.values()),
            list(d.items()),
            "a" in d,
            len(d),
            d.get("a"),
            d.get("q", 1),
            list(reversed(d)),
            {1: 2} == {1: 2},
        )

    same(f, X, {"a": 1, "b": 2}, graphs=1, breaks=0)


def test_dict_views() -> None:
    def f(x, d):
        keys, values, items = d.keys(), d.values(), d.items()
        d["late"] = 3
        return (
            x + 1,
            list(keys),
            list(values),
            ("late", 3) in items,
            keys & {"a"},
            keys | {"q"},
            keys - {"a"},
            "late" in keys,
            len(items),
            sorted(keys),
            keys == {"a", "late"},
        )

    same(f, X, {"a": 1}, graphs=1, breaks=0)


def test_views_returned() -> None:
    def f(x, d):
        return {"a": x + 1}.keys(), list(d.items()), {"b": 2}.items()

    same(f, X, {"a": 1}, graphs=1, breaks=0)


def test_deque() -> None:
    def f(x, d):
        d.append(x + 1)
        d.appendleft(0)
        a = d.pop()
        b = d.popleft()
        d.rotate(1)
        d.extend([7, 8])
        d.extendleft([9])
        mine = collections.deque([1, 2, 3], maxlen=2)
        mine.append(4)
        d[0] = 5
        return a, b, mine, list(d), len(d), d[1], mine.maxlen, list(reversed(mine)), 4 in mine

    same(f, X, collections.deque([1, 2]), graphs=1, breaks=0)


def test_deque_with_maxlen_from_outside() -> None:
    def f(x, d):
        d.append(x)
        return x + d[0], d

    same(f, X, collections.deque([1, 2], maxlen=2), graphs=1, breaks=0)


def test_ordered_dict() -> None:
    def f(x, d):
        d["c"] = x + 1
        d.move_to_end("a")
        d.move_to_end("c", last=False)
        mine = collections.OrderedDict(a=1, b=2)
        mine.move_to_end("a")
        p = mine.popitem(last=False)
        return list(d), mine, p, d == collections.OrderedDict(d), next(reversed(mine))

    same(f, X, collections.OrderedDict(a=1, b=2), graphs=1, breaks=0)


def test_default_dict() -> None:
    def f(x, d):
        d["a"].append(x + 1)
        d["new"].append(2)
        mine = collections.defaultdict(int)
        mine["n"] += 1
        lam = collections.defaultdict(lambda: x * 2)
        y = lam["q"]
        nested = collections.defaultdict(lambda: collections.defaultdict(list))
        nested["a"]["b"].append(1)
        return mine, y, list(lam), {k: dict(v) for k, v in nested.items()}, d.get("none"), "none" in d

    same(f, X, collections.defaultdict(list, a=[1]), graphs=1, breaks=0)


def test_counter() -> None:
    def f(x, c):
        c["a"] += 1
        mine = collections.Counter("abca")
        mine.update("zz")
        mine.subtract("a")
        return (
            x + c["a"],
            mine,
            mine.most_common(2),
            mine["nothing"],
            sorted(mine.elements()),
            mine + collections.Counter(a=5),
            mine - collections.Counter("b"),
            mine.total(),
        )

    same(f, X, collections.Counter("aab"), graphs=1, breaks=0)


def test_chain_map_and_user_containers() -> None:
    def f(x):
        m = collections.ChainMap({"a": 1}, {"a": 2, "b": x})
        m["c"] = 3
        u = collections.UserDict(a=1)
        u["b"] = x + 1
        l = collections.UserList([1, 2])
        l.append(3)
        return m["a"], m["b"] + 1, m.maps, dict(m.new_child({"z": 1})), u["b"], "a" in u, len(u), list(l), l[0]

    same(f, X, graphs=1, breaks=0)


def test_named_tuple() -> None:
    P = collections.namedtuple("P", "a b", defaults=[5])

    def f(x, p):
        q = P(x + 1)
        r = q._replace(b=x)
        a, b = p
        return (
            q,
            r.b,
            p.a + a,
            p[1],
            P._fields,
            p._asdict(),
            p == (1, 2),
            P._make([1, 2]),
            isinstance(p, tuple),
            len(p),
            p._field_defaults,
        )

    same(f, X, P(1, 2), graphs=1, breaks=0, check_args=False)


def test_typed_named_tuple() -> None:
    import typing

    class P(typing.NamedTuple):
        a: int
        b: torch.Tensor
        c: int = 3

        def total(self):
            return self.b * self.a + self.c

        @property
        def twice(self):
            return self.a * 2

    def f(x, p):
        return p.total(), P(1, x).total(), p.twice, P(4, x + 1)

    same(f, X, P(2, X), graphs=1, breaks=0)


def test_subclasses_of_containers() -> None:
    class L(list):
        def append(self, v):
            super().append(v * 2)

        def total(self):
            return sum(self)

    class D(dict):
        def __getitem__(self, k):
            return super().__getitem__(k) + 1

        def __setitem__(self, k, v):
            super().__setitem__(k, v * 10)

    class S(set):
        tag = "s"

    class T(tuple):
        def __new__(cls, *items):
            return super().__new__(cls, items)

        def first(self):
            return self[0]

    def f(x, l, d):
        l.append(3)
        mine = L([1])
        mine.append(x)
        mine.extra = 5
        d["k"] = 2
        e = D(a=1)
        e["b"] = x
        return (
            l.total(),
            mine[1],
            mine,
            d["k"],
            d,
            e["a"],
            e["b"],
            S([1]).tag,
            T(x, 2).first(),
            T(1, 2),
            len(L()),
            [*mine],
            dict(e),
            {**d},
        )

    same(f, X, L([1, 2]), D(z=1), graphs=1, breaks=0)


def test_aliases_inside_the_arguments() -> None:
    def f(x, a, b):
        a.append(x + 1)
        b.append(2)
        return len(a), a is b, a

    l = [1]
    same(f, X, l, l, graphs=1, breaks=0, then=[(X, [1], [1])])


def test_containers_are_returned_by_identity() -> None:
    def f(x, l, d):
        d["l"] = l
        fresh = [x + 1]
        return l, d, fresh, fresh, {"again": fresh}

    l = [1]
    r = same(f, X, l, {}, graphs=1, breaks=0)
    out = r.outcomes[0]
    assert out.result[0] is out.args[1] and out.result[1] is out.args[2] and out.result[2] is out.result[3]


def test_nested_mutation() -> None:
    def f(x, d):
        d["a"]["b"][0].append(x + 1)
        d["a"]["c"] = d["a"]["b"]
        d["self"] = d["a"]
        return d["a"]["b"][0][-1]

    same(f, X, {"a": {"b": [[1]]}}, graphs=1, breaks=0)


def test_cycles() -> None:
    class N:
        pass

    def f(x, n):
        n.me = n
        a, b = N(), N()
        a.b, b.a = b, a
        a.t = x + 1
        n.a = a
        l = [1]
        l.append(l)
        return a, l

    same(f, X, N(), graphs=1, breaks=0)


def test_tensors_in_containers() -> None:
    def f(x, l, d):
        y = l[0] + d["t"]
        l[0] = y
        d["t"], d["u"] = y * 2, x
        return [t + 1 for t in l], {k: v.sum() for k, v in d.items()}

    same(f, X, [X, X + 1], {"t": X}, graphs=1, breaks=0)


def test_swaps_and_moves() -> None:
    def f(x, l, d):
        l[0], l[-1] = l[-1], l[0]
        l.sort(key=lambda v: -v)
        d["b"] = d.pop("a")
        return x + l[0]

    same(f, X, [1, 2, 3], {"a": 1, "c": 2}, graphs=1, breaks=0)


def test_only_what_is_read_is_guarded() -> None:
    def f(x, d):
        return x + d["a"]

    same(f, X, {"a": 1, "b": 2}, then=[(X, {"a": 1, "b": 3}), (X, {"a": 1})], recompiles=0)


def test_length_only() -> None:
    def f(x, l):
        return x + len(l)

    same(f, X, [1, 2], then=[(X, [3, 4])], recompiles=0)


def test_user_keys() -> None:
    class K:
        def __init__(self, n):
            self.n = n

        def __hash__(self):
            return self.n % 2

        def __eq__(self, other):
            return isinstance(other, K) and self.n == other.n

    def f(x):
        d = {K(1): 1, K(2): 2, K(1): 3}
        s = {K(1), K(1), K(3)}
        d[K(3)] = 4
        return (
            x + len(d),
            d[K(1)],
            K(2) in d,
            K(9) in d,
            d.get(K(3)),
            len(s),
            K(3) in s,
            [K(1), K(2)].index(K(2)),
            K(1) == K(1),
            K(1) != K(2),
            d.pop(K(1)),
            [K(1)] == [K(1)],
            (K(1), 2) == (K(1), 2),
        )

    same(f, X, graphs=1, breaks=0)


def test_outside_dict_with_object_keys() -> None:
    class K:
        pass

    k = K()

    def f(x, d):
        return x + d[k], K() in d, len(d), [type(i).__name__ for i in d]

    import alternator

    compiled = alternator.compile(f, backend="eager")
    for n in (1, 2):
        assert torch.equal(compiled(X, {k: n})[0], X + n)


def test_bytes_strings_ranges_slices() -> None:
    def f(x, s, b):
        r = range(1, 10, 3)
        sl = slice(1, None, 2)
        return (
            s.upper(), s.split(","), s.replace("a", "b"), s.strip(), s.startswith("a"), s.find("c"), s.join(["1", "2"]), s.encode(), s.zfill(9), s.partition(","),
            b.decode(), b[0], b + b"z", b.hex(), bytes([1, 2]), bytearray(b"ab"), r[1], len(r), 4 in r, list(r), r.start, r.step, r == range(1, 11, 3),
            [1, 2, 3, 4][sl], sl.start, sl.indices(4), s * 2, s[1:], s < "b", ord("a"), s.format(1), s.isdigit(), s.casefold(), x + 1,
        )  # fmt: skip

    same(f, X, "a,c", b"xy", graphs=1, breaks=0)


def test_iteration_over_an_outside_dict_while_writing_values() -> None:
    def f(x, d):
        for k in d:
            d[k] = d[k] + 1
        for k, v in list(d.items()):
            if v > 2:
                del d[k]
        return x + len(d)

    same(f, X, {"a": 1, "b": 2}, graphs=1, breaks=0)


def test_comparison_of_containers_with_tensors() -> None:
    def f(x, l):
        y = x + 1
        return y, [x] == [x], x in [x], [1, x] == [2, x]

    same(f, X, [1], graphs=1, breaks=0)


def test_numbers_that_vary_as_keys() -> None:
    def f(x, i, s, d):
        s.add(i)
        s.discard(i + 1)
        d[i] = i
        e = {i: 1, (i, 2): 3}
        return (
            x + i,
            i in s,
            i in d,
            d.get(i),
            e[i],
            {i, 1},
            e[(i, 2)],
            dict([(i, 2)]),
            hash(i),
            {v: v for v in (i,)},
            s | {i},
            d.pop(i),
            (i, 2) in e,
            {i}.union([i + 1]),
            frozenset((i,)),
            i in [i],
        )

    same(f, X, 3, {1}, {5: 6}, graphs=1, breaks=0, then=[(X, 4, {1}, {5: 6}), (X, 6, {1}, {5: 6})])


def test_comparisons_of_numbers_that_vary_as_values() -> None:
    def f(x, i, j):
        return x + i, i > j, abs(i - j) - 1 > abs(i - j), (i == j, i != i), [i < 7]

    same(f, X, 3, 2, graphs=1, breaks=0, then=[(X, 4, 6), (X, 9, 2)])


def test_a_dict_is_copied_in_the_order_of_its_own_iteration():
    class Reversed(dict):
        def keys(self):
            return reversed(list(dict.keys(self)))

        __iter__ = keys

    def fn(x):
        moved = collections.OrderedDict([("a", 1), ("b", 2)])
        moved.move_to_end("a")
        other = Reversed([("a", 1), ("b", 2)])
        return x + 1, dict(moved), {**moved}, dict(other), {"z": 0, **other}

    same(fn, torch.ones(2), fullgraph=True)


def test_containers_nested_deeper_than_native_code_may_follow():
    def fn(x):
        deep = []
        for _ in range(5000):
            deep = [deep]
        try:
            return x, len(repr(deep))
        except RecursionError:
            return x + 1, None

    same(fn, torch.ones(2))


def test_an_index_counts_what_was_appended_to_an_unread_list():
    def fn(x, items):
        items.append(x + 1)
        return items[-1], items[0], len(items), items[2]

    same(fn, torch.ones(2), [1, 2], fullgraph=True)


def test_a_slice_is_assigned_what_an_unread_container_holds():
    def fn(x, items, others, table):
        target = [0, 1, 2]
        target[:] = items
        target[1:2] = (item * 2 for item in others)
        target[len(target) :] = table
        table_of_lists = collections.UserList(items)
        items[:0] = others
        return x + len(target), target, table_of_lists.data

    same(fn, torch.ones(2), [4, 5, 6], [7, 8], {"a": 1}, fullgraph=True)


def test_an_iterator_over_a_list_that_grew_keeps_its_place():
    import alternator

    @alternator.disable
    def opaque(value):
        return value

    def fn(x, items):
        items.append(1)
        items.append(2)
        seen = []
        for item in items:
            seen.append(opaque(item))
        backwards = reversed(items)
        next(backwards)
        return x + 1, seen, backwards, iter(items)

    same(fn, torch.ones(2), [])


def test_a_dict_that_a_key_changes_while_it_is_merged() -> None:
    def f(x):
        class Key:
            def __hash__(self):
                return 0

            def __eq__(self, other):
                source.clear()
                return False

        source = dict.fromkeys(range(1, 40))
        source[Key()] = 0
        target = {Key(): 0, 1: 1}
        try:
            target.update(source)
        except RuntimeError as error:
            return x + 1, str(error), len(target), len(source)
        return x + 2

    same(f, torch.ones(2))


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_a_read_only_view_shows_what_becomes_of_its_dict(kind):
    def fn(x, pair):
        table, view = pair
        table["c"] = table.get("c", 0) + 1
        return x + view["a"], dict(view), len(view)

    def pair(**items):
        items = kind(items)
        return [items, types.MappingProxyType(items)]

    compiled = alternator.compile(fn, backend="eager")
    ours, theirs = pair(a=1), pair(a=1)
    for change in ({}, {"a": 2}, {"b": 3}):
        ours[0].update(change), theirs[0].update(change)
        assert_same(fn(torch.ones(2), theirs), compiled(torch.ones(2), ours))


@pytest.mark.parametrize("made", [lambda: bytearray(b"ab"), lambda: array.array("i", [1, 2])])
@pytest.mark.parametrize(
    "look", [lambda b: len(b), lambda b: bool(b), lambda b: (id(b) == id(b), len(b)), lambda b: 1 if b else 2]
)
def test_how_much_an_outside_buffer_holds_is_looked_up_at_each_call(made, look):
    def fn(x, buffer):
        return x + 1, look(buffer)

    compiled = alternator.compile(fn, backend="eager")
    ours, theirs = made(), made()
    for change in ("append", "pop", "pop", "pop", "append"):
        assert_same(fn(torch.ones(2), theirs), compiled(torch.ones(2), ours))
        for buffer in (ours, theirs):
            getattr(buffer, change)(*[7] * (change == "append"))
    assert list(ours) == list(theirs)


def test_length_hints():
    class Hinting:
        def __length_hint__(self):
            return 4

    def fn(x, left):
        some = iter([1, 2, 3])
        next(some)
        hints = operator.length_hint(some), operator.length_hint([1, 2]), operator.length_hint(3, 7)
        return x + hints[0], hints, operator.length_hint(Hinting()), next(left), operator.length_hint(left)

    compiled = alternator.compile(fn, backend="eager")
    ours, theirs = iter([1, 2, 3, 4]), iter([1, 2, 3, 4])
    for _ in range(3):
        assert_same(fn(torch.ones(2), theirs), compiled(torch.ones(2), ours))


class Shy(list):
    @property
    def __class__(self):
        print("asked")
        return list


def test_nobody_asks_a_changed_container_for_its_class_but_the_program():
    box = Shy([1])

    def fn(x):
        box.append(2)
        if len(box) > 9:
            return isinstance(box, Shy)
        return x + len(box)

    compiled = alternator.compile(fn, backend="eager")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        compiled(torch.ones(2))
    assert (list.__len__(box), out.getvalue()) == (2, "")


class Padded(collections.deque):
    """Overrides what native code of a deque does not ask."""

    def append(self, item):
        super().append(item)
        super().append(0)

    def __len__(self):
        return super().__len__() + 100

    def __repr__(self):
        return "Padded(" + ", ".join(map(repr, self)) + ")"


def test_subclasses_of_deque_are_what_they_are():
    def fn(x, queue):
        y = x + len(queue)
        queue.append(7)
        return y, type(queue), isinstance(queue, Padded), repr(queue), list(queue), queue.maxlen

    same(fn, X, Padded([1, 2], maxlen=5), graphs=1, breaks=0, then=[(X, Padded([1, 2], maxlen=3)), (X, collections.deque([1]))])


class Disguised(dict):
    """Says that it is a list."""

    @property
    def __class__(self):
        return list


def test_a_dict_that_says_it_is_a_list_is_written_as_a_dict():
    def fn(x, d):
        d["b"] = x + 1
        return x * 2, isinstance(d, list), isinstance(d, dict), d.__class__

    d = Disguised(a=1)
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    assert compiled(X, d)[1:] == (True, True, list)
    assert list(d) == ["a", "b"]
    assert_same(d["b"], X + 1, "written")


class MadeBy(collections.defaultdict):
    def __init__(self, *args):
        print("made")
        super().__init__(*args)

    def __setattr__(self, name, value):
        print("set", name)
        super().__setattr__(name, value)


def test_defaultdicts_of_a_class_are_rebuilt_without_its_methods():
    def fn(x):
        d = MadeBy(list)
        d["k"].append(x + 1)
        return d

    same(fn, X, graphs=1, breaks=0)


class LoudDict(dict):
    def __setitem__(self, key, value):
        print("set", key)
        super().__setitem__(key, value)


def test_update_of_a_dict_does_not_set_items():
    def fn(x, d):
        d.update({"z": 1}, y=2)
        d.update([("w", 3)])
        return x + 1, dict(d)

    same(fn, X, LoudDict(a=1), graphs=1, breaks=0)
