"""Sets from outside whose members are no constants."""

import torch
from helpers import same


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
