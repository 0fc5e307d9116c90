"""Random programs that mix control flow, containers, objects, exceptions, closures, generators and tensor work.

``python tests/fuzzing/programs.py FIRST LAST`` runs the programs with these seeds plainly and captured and prints those that differ.
"""

from __future__ import annotations

import collections
import copy
import functools
import itertools
import linecache
import os
import random
import sys
import types
from typing import Any

import torch

import alternator

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from helpers import same  # noqa: E402


class Box:
    """An object of the program's, with most of what native code may call."""

    k = 1

    def __init__(self, n: int = 1) -> None:
        self.n = n
        self.l = [n]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.n == other.n

    def __hash__(self) -> int:
        return hash(self.n)

    def __lt__(self, other: Box) -> bool:
        return self.n < other.n

    def __add__(self, other: Any) -> Box:
        return Box(self.n + (other.n if isinstance(other, Box) else other))

    def __repr__(self) -> str:
        return f"Box({self.n})"

    def __len__(self) -> int:
        return self.n % 3

    def bump(self, by: int = 1) -> int:
        self.n += by
        return self.n


NUMBERS = (
    "i|j|len(l)|d.get('a', 0)|o.n|p.n|sum(v for v in l if isinstance(v, int))|len(d)|max([i, j])|(i or j)|(i and 2)|abs(j - i)|"
    "len(s)|o.k|len(q)|hash(o) % 5|int(bool(o))"
).split("|")
CONDITIONS = "l|d|o is p|o == p|'a' in d|i in l|not l|o in l|p|len(l) > 2|isinstance(o, Box)|q and i|3 in s".split("|")
KEYS = ("chr(97 + i % 3)", "i", "j % 3")
CHANGES = (
    "d.pop(chr(97 + i % 3), None)|d.setdefault(i, j)|d.update(z=i)|s.add(i)|s.discard(j)|q.append(i)|q.rotate(1)|o.bump(j)|"
    "l.reverse()|l.sort(key=str)|o.l.append(i)|p.l = o.l|l2 = l|l2 = list(l)|d2 = dict(d)|o, p = p, o|if l: l.pop()|if l: l.pop(0)"
).split("|")
VALUES = (
    "dict(d)|list(l)|copy.copy(l)|copy.deepcopy(o)|tuple(q)|sorted(s)|list(d.items())|list(zip(l, d))|list(enumerate(q))|"
    "list(map(h, range(2)))|[*l, *q]|{**d}|functools.reduce(lambda a, b: a + b, [i, j, 1])|list(itertools.chain(q, l))|"
    "collections.Counter(q)|o|(o, o, p)|[x]|l|types.SimpleNamespace(a=i)|[v * 2 for v in l if isinstance(v, int)]|"
    "[o is p, l is o.l, Box(i) == o, Box(i) in l, hash(p) == hash(o)]"
).split("|")
LOOPS = ("range(3)", "list(l)[:3]", "range(j % 3)", "sorted(s)[:2]", "(1, 2)")
RAISES = "raise ValueError(i)|d[99]|l[50]|i // (j - j)|pass|next(iter([]))".split("|")
ERRORS = ("ValueError", "KeyError", "IndexError", "ZeroDivisionError", "Exception")


class Writer:
    """Writes one program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, options: Any) -> str:
        return self.random.choice(options)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def number(self, depth: int = 2) -> str:
        kind = self.random.random()
        if not depth or kind < 0.45:
            return self.pick([*NUMBERS, str(self.random.randint(-2, 4))])
        if kind < 0.7:
            return f"({self.number(depth - 1)} {self.pick('+-*')} {self.number(depth - 1)})"
        if kind < 0.8:
            return f"({self.number(depth - 1)} if {self.condition(depth - 1)} else {self.number(depth - 1)})"
        if kind < 0.9:
            return f"min({self.number(depth - 1)}, {self.number(depth - 1)})"
        return f"h({self.number(depth - 1)})"

    def condition(self, depth: int = 1) -> str:
        if self.chance(0.5):
            return f"{self.number(depth)} {self.pick(['<', '>', '==', '!=', '<='])} {self.number(depth)}"
        return self.pick(CONDITIONS)

    def block(self, depth: int) -> list[str]:
        return ["    " + line for _ in range(self.random.randint(1, 3)) for line in self.statement(depth)]

    def statement(self, depth: int) -> list[str]:
        compound = [self.branch, self.loop, self.handler]
        simple = [
            self.tensor_work,
            self.tensor_work,
            self.write,
            self.write,
            self.change,
            self.output,
            self.closure,
            self.generator,
            self.match,
        ]
        return self.pick(compound if depth and self.chance(0.25) else simple)(depth)  # type: ignore[operator]

    def branch(self, depth: int) -> list[str]:
        other = ["else:", *self.block(depth - 1)] if self.chance(0.5) else []
        return [f"if {self.condition()}:", *self.block(depth - 1), *other]

    def loop(self, depth: int) -> list[str]:
        leave = [f"    if {self.condition()}: {self.pick(['break', 'continue'])}"] if self.chance(0.4) else []
        return [f"for i in {self.pick(LOOPS)}:", "    if not isinstance(i, int): continue", *self.block(depth - 1), *leave]

    def handler(self, depth: int) -> list[str]:
        last = ["finally:", *self.block(depth - 1)] if self.chance(0.4) else []
        caught = [f"except {self.pick(ERRORS)} as err:", "    out.append(repr(err))", *self.block(depth - 1)]
        return ["try:", *self.block(depth - 1), "    " + self.pick(RAISES), *caught, *last]

    def tensor_work(self, depth: int) -> list[str]:
        return [
            self.pick(
                ["x = torch.sin(x)", f"x = x {self.pick('+-*')} {self.number()}", f"x = x + 1 if {self.condition()} else x * 2"]
            )
        ]

    def write(self, depth: int) -> list[str]:
        target = self.pick(["i", "j", f"d[{self.pick(KEYS)}]", f"{self.pick('op')}.n"])
        lists = [
            f"{self.pick('op')}.{self.pick('lm')} = [{self.number()}, x]",
            f"l.extend([{self.number()}, {self.number()}])",
            f"l.append({self.number()})",
        ]
        return [self.pick([f"{target} = {self.number()}", f"{target} = {self.number()}", *lists])]

    def change(self, depth: int) -> list[str]:
        return [self.pick(CHANGES)]

    def output(self, depth: int) -> list[str]:
        shown = f"({self.condition()}, str({self.number()}), f'{{i}}{{o}}')"
        ordered = f"sorted([Box({self.number()}), Box({self.number()})])[0].n"
        return [f"out.append({self.pick([*VALUES, shown, ordered, self.number()])})"]

    def closure(self, depth: int) -> list[str]:
        return [
            f"def g(a, b={self.number()}):",
            "    nonlocal j",
            "    j += 1",
            "    return a + b + j",
            f"x = x + g({self.number()})",
        ]

    def generator(self, depth: int) -> list[str]:
        body = ["def gen(n):", "    for t in range(n % 4):", "        got = yield t + j", "    return n"]
        return [*body, f"out.append([x * 0 + t for t in gen({self.number()})])"]

    def match(self, depth: int) -> list[str]:
        cases = [
            "case 0: x = x + 1",
            "case [a, *rest]: x = x + len(rest)",
            "case (a, b) if a == b: x = x - a",
            "case {'a': a}: out.append(a)",
            "case _: x = x * 2",
        ]
        return [f"match {self.pick(['i', 'l', '(i, j)', 'd'])}:", *("    " + case for case in cases)]

    def program(self) -> str:
        body = ["out = []", "def h(v): return v + 1 if isinstance(v, int) else 0"]
        for _ in range(self.random.randint(3, 8)):
            body += self.statement(2)
            if self.chance(0.02):
                body.append("alternator.graph_break()")
        body += ["def read(): return j", "return x + i, out, l, j, read()"]
        return "def f(x, l, d, o, p, s, q, i, j):\n" + "".join(f"    {line}\n" for line in body)


def arguments() -> list[tuple[Any, ...]]:
    """Three sets of arguments: other values, other lengths, one object by two names."""
    box = Box(2)
    deque = collections.deque
    return [
        (torch.arange(3.0), [1, 2], {"a": 1}, Box(1), Box(2), {1, 3}, deque([1]), 1, 2),
        (torch.arange(3.0), [], {}, box, box, set(), deque(), 0, 3),
        (torch.arange(3.0), [3, 1], {"a": 2, "c": 5}, Box(1), Box(1), {2}, deque([4, 5]), 2, 2),
    ]


def run(seed: int) -> Any:
    """Compare one program's plain and captured runs; raises AssertionError where they differ."""
    source, name = Writer(seed).program(), f"<program {seed}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    scope = {
        "torch": torch,
        "alternator": alternator,
        "Box": Box,
        "copy": copy,
        "collections": collections,
        "functools": functools,
        "itertools": itertools,
        "types": types,
    }
    exec(compile(source, name, "exec"), scope)
    first, *rest = arguments()
    return same(scope["f"], *first, then=rest)


def main() -> None:
    alternator.config.raise_internal_errors = True
    first, last = int(sys.argv[1]), int(sys.argv[2])
    failed = 0
    for seed in range(first, last):
        try:
            run(seed)
        except Exception as error:  # noqa: BLE001 - reported
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:400]}\n{Writer(seed).program()}")
    print(f"{last - first - failed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
