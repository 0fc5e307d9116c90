"""Random objects under random guards, changed at random: what the tree remembers must never change its answer.

`explain` walks the whole tree without using anything remembered, so it tells what `check` must say.
"""

import collections
import gc
import random

import pytest
from native_helpers import Table


class Base:
    shared = 0


class Left(Base):
    pass


class Right(Base):
    shared = 1


ATTRIBUTES = ("a", "b", "c")
LEAVES = (0, 1, "x", None, len, (1, 2), 1.5)


class Fuzz:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.pool = []  # every mutable object that was made: they come back in other places
        self.dicts = []

    def value(self, depth):
        pick = self.rng.random()
        if depth == 0 or pick < 0.2:
            return self.rng.choice(LEAVES)
        if pick < 0.3 and self.pool:
            return self.rng.choice(self.pool)
        kind = self.rng.choice(["instance", "instance", "dict", "list", "tuple", "odict", "class", "function"])
        if kind == "tuple":
            return tuple(self.value(depth - 1) for _ in range(self.rng.randint(0, 3)))
        if kind == "instance":
            made = self.rng.choice([Left, Right])()
            for name in ATTRIBUTES:
                if self.rng.random() < 0.7:
                    setattr(made, name, self.value(depth - 1))
        elif kind == "class":
            made = type("Made", (self.rng.choice([Left, Right]),), {"a": self.value(depth - 1)})
        elif kind == "function":
            cell = self.value(depth - 1)
            made = lambda x=self.value(depth - 1): (x, cell)
        elif kind == "list":
            made = [self.value(depth - 1) for _ in range(self.rng.randint(0, 3))]
        else:
            made = (dict if kind == "dict" else collections.OrderedDict)()
            for name in ATTRIBUTES:
                if self.rng.random() < 0.7:
                    made[name] = self.value(depth - 1)
            self.dicts.append(made)
        self.pool.append(made)
        return made

    def guards(self, value):
        guards = []
        if self.rng.random() < 0.6:
            guards.append(("TYPE", type(value)))
        if self.rng.random() < 0.2:
            guards.append(("IS", value))
        if isinstance(value, (int, str, float)) or value is None:
            guards.append(("EQ", value))
        if isinstance(value, (list, tuple, dict)) and self.rng.random() < 0.4:
            guards.append(("LEN", len(value)))
        if isinstance(value, dict) and self.rng.random() < 0.4:
            guards.append(("KEYS", tuple(value)))
        if type(value) is not float and self.rng.random() < 0.05:
            guards.append(("PY", lambda v: type(v) is not float, "is no float"))
        return guards

    def grow(self, table, node, value, depth):
        """Guards below `node`, whose value is `value`."""

        def child(access, key, found, *more):
            self.grow(table, table.node(node, access, key, *self.guards(found), *more), found, depth - 1)

        if depth == 0:
            return
        if isinstance(value, (dict, list, tuple)):
            access = "dictitem" if isinstance(value, dict) else "index"
            items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
            for key, item in items:
                if self.rng.random() < 0.8:
                    child(access, key, item)
            if access == "dictitem":
                for name in ATTRIBUTES:
                    if name not in value:
                        table.node(node, access, name, ("ABSENT",))
        elif isinstance(value, Base):
            if self.rng.random() < 0.9:
                child("dict", None, value.__dict__)
            if self.rng.random() < 0.5:
                child("type", None, type(value))
            if self.rng.random() < 0.2:
                child("attr", "shared", value.shared)
        elif isinstance(value, type):
            child("typeattr", "shared", value.shared)
            for name in ("a", "b"):
                found = [c.__dict__[name] for c in value.__mro__ if name in c.__dict__]
                if found:
                    child("typeattr", name, found[0])
                else:
                    table.node(node, "typeattr", name, ("ABSENT",))
        elif callable(value) and hasattr(value, "__code__"):
            child("func", "code", value.__code__)
            child("func", "defaults", value.__defaults__)
            child("func", "closure", value.__closure__)
        elif type(value).__name__ == "cell":
            child("cell", None, value.cell_contents)

    def change(self):
        rng = self.rng
        target = rng.choice(self.pool)
        name = rng.choice(ATTRIBUTES)
        new = self.value(rng.randint(0, 2)) if rng.random() < 0.6 else rng.choice(self.pool)
        kind = rng.random()
        if isinstance(target, Base):
            if kind < 0.4:
                setattr(target, name, new)
            elif kind < 0.55:
                target.__dict__.pop(name, None)
            elif kind < 0.8:
                plain = [d for d in self.dicts if type(d) is dict]
                if plain:
                    old = target.__dict__
                    target.__dict__ = rng.choice(plain)
                    self.dicts.append(old)
            else:
                target.__class__ = rng.choice([Left, Right])
        elif isinstance(target, type):
            if kind < 0.5:
                target.a = new
            elif kind < 0.7:
                target.b = new
            elif kind < 0.8 and "b" in target.__dict__:
                del target.b
            else:
                Base.shared = rng.choice([0, 2])
                Left.unrelated = new if not isinstance(new, Base) else None
        elif isinstance(target, list):
            if kind < 0.5 and target:
                target[rng.randrange(len(target))] = new
            elif kind < 0.7:
                target.append(new)
            elif target:
                target.pop(0)
        elif isinstance(target, dict):
            if kind < 0.5:
                target[name] = new
            elif kind < 0.7:
                target.pop(name, None)
            elif kind < 0.8:
                saved = list(target.items())
                target.clear()
                target.update(reversed(saved))
            elif isinstance(target, collections.OrderedDict) and target:
                target.move_to_end(next(iter(target)))
        elif hasattr(target, "__code__"):
            if kind < 0.5:
                target.__defaults__ = (new,)
            else:
                target.__closure__[0].cell_contents = new
        if rng.random() < 0.02:  # let things die, so that their addresses come back
            self.pool = [p for p in self.pool if rng.random() < 0.8] or self.pool
            self.dicts = [d for d in self.dicts if rng.random() < 0.8]
            gc.collect(0)

    def snapshot(self):
        """A function that puts everything back, which keeps dict objects that did not change as they are."""
        undo = []
        for o in self.pool:
            if isinstance(o, Base):
                undo.append(lambda o=o, d=o.__dict__, c=type(o): (setattr(o, "__dict__", d), setattr(o, "__class__", c)))
                undo.append(lambda d=o.__dict__, saved=dict(o.__dict__): restore_dict(d, saved))
            elif isinstance(o, type):
                undo.append(lambda o=o, a=o.a: (setattr(o, "a", a), "b" in o.__dict__ and delattr(o, "b")))
            elif isinstance(o, list):
                undo.append(lambda o=o, saved=o[:]: o.__setitem__(slice(None), saved))
            elif isinstance(o, dict):
                undo.append(lambda o=o, saved=dict(o): restore_dict(o, saved))
            else:
                cell = o.__closure__[0]
                undo.append(lambda o=o, d=o.__defaults__: setattr(o, "__defaults__", d))
                undo.append(lambda cell=cell, found=cell.cell_contents: setattr(cell, "cell_contents", found))

        def back():
            Base.shared = 0
            for step in undo:
                step()

        return back


def restore_dict(d, saved):
    if list(d) != list(saved):
        d.clear()
    for key, value in saved.items():
        if key not in d or d[key] is not value:
            d[key] = value


@pytest.mark.parametrize("seed", range(40))
def test_what_is_remembered_never_changes_the_answer(seed):
    run(seed)


def run(seed):
    fuzz = Fuzz(seed)
    try:
        roots = [fuzz.value(4) for _ in range(3)]
        table = Table()
        for i, value in enumerate(roots):
            fuzz.grow(table, table.local(i, *fuzz.guards(value)), value, 5)
        tree = table.tree(None, roots)
        if seed % 2:
            table = None  # it keeps alive what the tree only knows
        answers = collections.Counter()
        back = fuzz.snapshot()
        first = roots[:]
        for _ in range(150):
            if not fuzz.pool:
                break
            if back and fuzz.rng.random() < 0.5:
                back()
                roots[:] = first
            else:
                for _ in range(fuzz.rng.randint(1, 3)):
                    fuzz.change()
                if fuzz.rng.random() < 0.1:
                    roots[fuzz.rng.randrange(3)] = fuzz.rng.choice(fuzz.pool)
            if fuzz.rng.random() < 0.005:
                back = first = None  # from here on, things die
            for _ in range(2):
                expected = tree.explain(None, roots) is None
                found = tree.check(None, roots)
                if tree.dead:
                    return
                assert found == expected
                answers[found] += 1
                if found and table:
                    new = table.tree(None, roots).values(None, roots)
                    assert all(a is b for a, b in zip(tree.values(None, roots), new, strict=True))
        return answers
    finally:
        Base.shared = 0
        Left.unrelated = None
