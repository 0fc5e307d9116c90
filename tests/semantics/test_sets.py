"""Sets: their methods, and sets from outside whose members are no constants."""

import torch
from helpers import same

import alternator

X = torch.arange(4.0)


class Member:
    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return hash(self.value)

    def __eq__(self, other):
        return isinstance(other, Member) and other.value == self.value


ONE, TWO = Member(1), Member(2)
MEMBERS = {ONE, TWO}
FROZEN = frozenset([ONE, (1, "a")])


def test_members_are_found_by_their_own_equality():
    def fn(x):
        return x + (Member(1) in MEMBERS) + (Member(3) in MEMBERS) + (Member(1) in FROZEN) + sum(m.value for m in MEMBERS)

    same(fn, torch.ones(2), fullgraph=True)


def test_a_member_that_is_another_one_is_captured_again():
    def fn(x, members):
        return x + sum(member.value for member in members)

    same(fn, torch.ones(2), {Member(1)}, then=[(torch.ones(2), {Member(5)}), (torch.ones(2), set())])


def test_what_is_added_and_taken_away_is_replayed():
    def fn(x, members):
        members.add(Member(3))
        members.add(Member(1))
        members.discard(Member(2))
        return x + len(members)

    same(fn, torch.ones(2), {Member(1), Member(2)}, fullgraph=True)


def test_tuples_are_members_by_value():
    def fn(x, pairs):
        return x + ((1, (2, "b")) in pairs) + len(pairs)

    same(fn, torch.ones(2), {(1, (2, "b")), (3, 4), frozenset([5])}, fullgraph=True, recompiles=0)


def test_set_methods() -> None:
    def f(x, s):
        s.add(3)
        s.discard(1)
        s.discard(99)
        s |= {4}
        s -= {2}
        t = s | {5}, s & {3}, s ^ {3, 9}, s - {3}
        mine = {1, 2}
        mine.update([3], (4,))
        mine.remove(1)
        mine.intersection_update({2, 3})
        return (
            t,
            mine,
            3 in s,
            len(s),
            s.issubset({3, 4, 5}),
            s >= {3},
            s.isdisjoint({7}),
            frozenset([1, 2]) | {3},
            {1} == {1},
            sorted(s),
            s.copy(),
            x + 1,
        )

    same(f, X, {1, 2}, graphs=1, breaks=0)


def test_set_with_tensors_and_objects() -> None:
    class K:
        pass

    def f(x):
        a, b = K(), K()
        s = {a, b, a}
        y = x + 1
        t = {y, x, y}
        return len(s), a in s, K() in s, len(t), y in t, y

    same(f, X, graphs=1, breaks=0)


def test_frozenset_and_set_from_outside() -> None:
    def f(x, s, z):
        return x + len(s), 1 in s, s | {9}, sorted(z), z - {1}

    same(f, X, frozenset([1, 2]), {1, 5}, graphs=1, breaks=0, then=[(X, frozenset([7]), {1, 5})])


class Named(frozenset):
    pass


def wide(*members):
    """A set whose table has more slots than it needs."""
    made = set(range(100))
    for one in range(100):
        made.discard(one)
    made.update(members)
    return made


def popped():
    made = {0, 1, 8}
    made.pop()
    made.add(0)
    return made


def orders(s):
    """What tells one table from another: the order, the order with more members, the order of sets that are made of it."""
    more = set() | s | {12, 19, 24}
    made = frozenset(s), set(more), set(dict.fromkeys(s)), set(list(more)), {*more}, s - {0}, s & more
    return list(s), list(more), [list(one) for one in made], [more.pop(), more.pop()], list(more)


CASES = [
    lambda: {0, 8},
    lambda: {8, 0},
    lambda: wide(0, 8),
    lambda: wide(8, 0),
    lambda: {0},
    lambda: wide(0),
    lambda: {0, 1, 8},
    popped,
    set,
    wide,
    lambda: {1.5, "a", None, (1, 2)},
]


def test_the_order_of_sets_follows_from_how_they_came_about():
    def fn(x, s):
        before = orders(s)
        if type(s) is set:
            s.add(12)
            s.add(19)
            s.discard(8)
        return x + 1, before, orders(s), s.pop() if type(s) is set and len(s) > 2 else s

    for kind in (set, frozenset):
        compiled = alternator.compile(fn, backend="eager", fullgraph=True)
        with alternator.config.patch(recompile_limit=2 * len(CASES)):
            for make in (*CASES, *CASES):
                plain, captured = [make() if kind is set else kind(make()) for _ in range(2)]
                assert repr(compiled(X, captured)[1:]) == repr(fn(X, plain)[1:])
                assert orders(captured) == orders(plain)


def test_sets_that_the_program_makes_have_the_order_of_plain_python():
    def fn(x):
        made = {*range(100)}
        for one in range(100):
            made.discard(one)
        made.update((12, 19))
        taken = {0, 1, 2}
        taken.pop()
        taken.add(0)
        return x + 1, made, taken, frozenset(made) - {3}, Named(made)

    plain, captured = fn(X), alternator.compile(fn, backend="eager", fullgraph=True)(X)
    for one, other in zip(plain[1:], captured[1:]):
        assert orders(one) == orders(other) and type(one) is type(other)


def test_members_of_another_type_and_order_are_captured_again():
    def fn(x, keys):
        return x + 1, [type(part) for key in keys for part in key], [part for key in keys for part in key]

    tuples = [(1,), (True,), (1.0,), (0.0,), (-0.0,)]
    small, other = frozenset([0, 8]), frozenset([8, 0])
    for values in (tuples, [small, other]):
        for make in (lambda key: {key}, lambda key: frozenset([key]), lambda key: {key: 1}, lambda key: {key: 1, (int, 2): 2}):
            alternator.reset()
            compiled = alternator.compile(fn, backend="eager", fullgraph=True)
            for value in values:
                assert repr(compiled(X, make(value))[1:]) == repr(fn(X, make(value))[1:])


def test_sets_of_parameters_and_modules_live_across_breaks() -> None:
    """What ``parameters()`` and ``modules()`` have seen already is a set, and the loop goes on behind the break."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 2))
    net.append(net[1])

    def of_parameters(x):
        seen = []
        for name, parameter in net.named_parameters():
            alternator.graph_break()
            seen.append((name, (parameter * x).sum()))
        return seen

    def of_modules(x):
        seen = []
        for name, module in net.named_modules():
            alternator.graph_break()
            seen.append((name, x + len(name)))
        return seen

    for fn in (of_parameters, of_modules):
        report = same(fn, torch.ones(1))
        assert {reason.code for reason in report.breaks} == {"GRAPH_BREAK_CALL"}


def test_members_of_sets_of_tensors_from_outside() -> None:
    tensors = [torch.full((2,), float(i)) for i in range(20)]
    chosen = set(tensors[3:])

    def f(x):
        found = [i for i, tensor in enumerate(tensors) if tensor in chosen]
        chosen.discard(tensors[3])
        chosen.add(tensors[0])
        return x + len(chosen), found

    def ordered(x):
        return [(one * x).sum() for one in chosen]

    for fn in (f, ordered):
        states = []
        for run in (fn, alternator.compile(fn, backend="eager")):
            chosen.clear()
            chosen.update(tensors[3:])
            states.append((run(torch.ones(2)), len(chosen), tensors[3] in chosen, tensors[0] in chosen, run(torch.ones(2))))
        torch.testing.assert_close(*states)


def test_an_empty_set_that_had_one_member_at_a_time():
    """What is left of them in the table tells nothing: no new version for each call."""
    busy = set()

    def f(x, key):
        busy.add(key)
        try:
            return x + (key in busy) + len(busy)
        finally:
            busy.discard(key)

    same(f, torch.ones(2), 3, graphs=1, then=[(torch.ones(2), 3), (torch.ones(2), 3)])
    assert busy == set()
