"""Builds guard tables by hand: `Table` grows a tree of nodes, `tree()` makes the native one."""

from alternator._C.guards import GuardTree


class Table:
    def __init__(self):
        self.rows = []
        self.tail = []

    def node(self, parent, access, key=None, *guards):
        self.rows.append((parent, access, key, tuple(guards)))
        return len(self.rows) - 1

    def local(self, index=0, *guards):
        return self.node(-1, "local", index, *guards)

    def tree(self, func=None, values=()):
        return GuardTree(self.rows, self.tail, func, list(values))


class Checked:
    """A tree with the arguments that it was made for."""

    def __init__(self, table, func=None, values=()):
        self.func, self.values = func, list(values)
        self.tree = table.tree(func, values)
        self.passes()

    def passes(self):
        assert self.tree.explain(self.func, self.values) is None
        for _ in range(6):  # the first ones after a change are slow
            assert self.tree.check(self.func, self.values) is True

    def fails(self, *words, node=None, position=None):
        why = self.tree.explain(self.func, self.values)
        assert why is not None
        for _ in range(4):
            assert self.tree.check(self.func, self.values) is False
        for word in words:
            assert word in why[2], why
        if node is not None:
            assert why[0] == node, why
        if position is not None:
            assert why[1] == position, why
        return why[2]


class Thing:
    pass


def instance_with(*guards, access="dictitem", value=1):
    """A Thing whose attribute x is guarded: (checked, thing)."""
    thing = Thing()
    thing.x = value
    table = Table()
    root = table.local(0, ("TYPE", Thing))
    table.node(table.node(root, "dict"), access, "x", *guards)
    return Checked(table, None, [thing]), thing


# ---- guards on values -----------------------------------------------------------------------------------------------
