"""Sets: their methods, and sets from outside whose members are no constants."""

import torch
from helpers import same

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
