"""Views of dicts that come from outside by themselves: what they show is guarded, and they go on showing what is written."""

from __future__ import annotations

import collections

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.arange(4.0)
KINDS = [dict, collections.OrderedDict, collections.Counter, type("Own", (dict,), {"keys": None})]


def table():
    return {"a": X + 1, "b": X + 2, "c": X + 3}


class Holder:
    def __init__(self, kind=dict, items=None) -> None:
        base = collections.OrderedDict if issubclass(kind, collections.OrderedDict) else dict
        self.table = kind(items if items is not None else {"a": 1.0, "b": 2.0})
        self.keys, self.values, self.items = base.keys(self.table), base.values(self.table), base.items(self.table)


@pytest.mark.parametrize("kind", KINDS)
def test_views_are_read(kind) -> None:
    def f(x, holder):
        for key, value in holder.items:
            x = x + value * len(key)
        found = [*holder.keys], sum(holder.values), "a" in holder.keys, ("a", 1.0) in holder.items, 2.0 in holder.values
        return x, found, len(holder.items), list(reversed(holder.keys)), holder.keys & {"a"}, holder.keys - {"a"}

    same(f, X, Holder(kind), then=[(X, Holder(kind, {"a": 3.0})), (X, Holder(kind, {}))], fullgraph=True, graphs=1)


def test_views_show_what_is_written() -> None:
    def f(x, holder):
        holder.table["new"] = 3.0
        del holder.table["a"]
        seen = list(holder.keys), sum(holder.values)
        holder.table["a"] = 5.0
        return x + sum(holder.values), seen, dict(holder.items)

    same(f, X, Holder(), then=[(X, Holder())], fullgraph=True)


def test_views_and_their_dict_are_handed_in() -> None:
    def f(x, keys, owner):
        before = len(keys)
        owner["z"] = x
        return x + before, len(keys), sorted(keys), keys is owner.keys()

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for apart in (False, True, False):
        results = []
        for run in (f, compiled):
            owner = table()
            keys = (table() if apart else owner).keys()
            results.append((run(X, keys, owner), owner, list(keys)))
        assert_same(*results)


def test_a_view_is_handed_on_as_itself() -> None:
    def f(x, values):
        return x + sum(values), values

    values = table().values()
    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for _ in range(2):
        y, found = compiled(X, values)
        assert found is values and torch.equal(y, f(X, values)[0])


def test_values_are_guarded() -> None:
    def f(x, holder):
        return x + sum(holder.values) + len(holder.keys)

    holders = [Holder(), Holder()]
    compiled = alternator.compile(f, backend="eager")
    for change in (None, ("a", 7.0), ("c", 1.0), None):
        for holder in holders:
            if change is not None:
                holder.table[change[0]] = change[1]
        assert_same(f(X, holders[0]), compiled(X, holders[1]))


def test_a_view_that_lives_across_a_break() -> None:
    def f(x, owner):
        keys, items = owner.keys(), owner.items()
        x = x + len(keys)
        alternator.graph_break()
        owner["d"] = x
        alternator.graph_break()
        return x + len(keys), list(keys), [value.sum() for _, value in items]

    same(f, X, table(), breaks=2)
