"""(what is around the break) x (kind of effect before and after it) x (depth): equal to plain Python, with as many graphs
as there are breaks and one.

Each program is written out as source: effects, a break, effects, in a construct, below ``depth`` functions with a
construct of their own.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import textwrap
from typing import Any

import pytest
import torch
from helpers import Recorder, assert_same

import alternator

GENERATOR = "def gen(x):\n    global COUNTER\n    {body}\n    yield x\n"
MANAGER = "@contextlib.contextmanager\ndef manager(x):\n    global COUNTER\n"
STEP = "def step(x):\n    global COUNTER\n    {body}\n    return x\n"
CONSTRUCTS = {
    "straight": "{body}",
    "if": "if x.shape[0] == 3:\n    {body}\nelse:\n    x = x - 1",
    "for": "for i in range(4):\n    x = x + i\n    {body}",
    "for else": "for i in (1, 2):\n    {body}\n    if i == 2:\n        continue\n    x = x * 2\nelse:\n    x = x + 1",
    "while": "n = 0\nwhile n < 3:\n    {body}\n    n += 1\nx = x + n",
    "try": "try:\n    {body}\nexcept KeyError:\n    x = x - 1\nx = x + 3",
    "try that raises": "try:\n    {body}\n    raise KeyError('k')\nexcept KeyError as error:\n    x = x + len(error.args)",
    "except": "try:\n    raise KeyError('k')\nexcept KeyError as error:\n    {body}\n    x = x + len(error.args)",
    "finally": "try:\n    x = x + 1\nfinally:\n    {body}",
    "around a finally": "try:\n    {body}\nfinally:\n    x = x.cos()\n    s.log.append('finally')",
    "grad mode": "with torch.no_grad():\n    {body}\n    s.log.append(torch.is_grad_enabled())",
    "manager": "with Manager(s) as m:\n    {body}\n    x = x + m",
    "manager that swallows": "with Manager(s) as m:\n    {body}\n    raise ValueError('swallowed')\nx = x + 1",
    "generator's manager": "with noting(s) as m:\n    {body}\n    x = x + m",
    "generator's manager that swallows": "with noting(s) as m:\n    {body}\n    raise ValueError('swallowed')\nx = x + 1",
    "loop over a generator": "for y in numbers(x):\n    x = x + y\n    {body}",
    "generator half consumed": "g = numbers(x)\nx = x + next(g)\n{body}\nx = x + next(g) + len(list(g))",
    "generator from outside": "g = s.numbers\nx = x + next(g)\n{body}\nx = x + next(g)",
    "iterator from outside": "for i, y in s.pairs:\n    x = x + y + i\n    {body}\n    if i == 1:\n        break",
    "lambda": "x = (lambda v: tick(s, v))(x)\n{body}",
    "comprehension": "xs = [tick(s, x + i) for i in range(3)]\n{body}\nx = x + xs[0] + xs[2]",
    "constructor": "x = Made(s, x).value\n{body}",
    "property": "x = Reads(s, x).value\n{body}",
    "item": "x = Reads(s, x)[2]\n{body}",
    "body of a generator": GENERATOR + "for y in gen(x):\n    x = x + y",
    "body of a generator advanced by hand": GENERATOR + "g = gen(x)\nx = x + next(g)\nx = x * len(list(g))",
    "body of a delegate": GENERATOR + "def outer(x):\n    x = x.sin()\n    yield from gen(x)\n    yield x.cos()\n"
    "for y in outer(x):\n    x = x + y",
    "body of a generator that is sent to": "def gen(x):\n    global COUNTER\n    x = x * (yield x)\n    {body}\n    yield x\n"
    "g = gen(x)\nx = x + next(g)\nx = x + g.send(3)",
    "body of a manager": MANAGER + "    {body}\n    yield x\nwith manager(x) as y:\n    x = x + y",
    "body of a manager, behind": MANAGER + "    try:\n        yield x\n    finally:\n        {body}\n"
    "with manager(x) as y:\n    x = x + y\nx = x + 1",
    "body of a manager that swallows": MANAGER + "    try:\n        yield x\n    except KeyError as error:\n        {body}\n"
    "with manager(x) as y:\n    x = x + y\n    raise KeyError('k')\nx = x + 1",
    "generator expression": STEP + "for y in (step(x + i) for i in range(2)):\n    x = x + y",
    "body of a comprehension": STEP + "xs = [step(x + i) for i in range(2)]\nx = x + xs[0] * xs[1]",
    "generator consumed": "for y in list(numbers(x)):\n    x = x + y\n{body}",
    "nested function": "def inner(v):\n    nonlocal x\n    x = x + v\n    alternator.graph_break()\n    x = x * v\n    return v\nx = x + inner(2)\n{body}",
}

EFFECTS = {
    "nothing": "x = x * 2",
    "attribute": "s.count = s.count + 1\nx = x + s.count",
    "list": "s.log.append(s.count)\nx = x + len(s.log)",
    "dict": "s.table[s.count] = x\ns.table['last'] = s.count\nx = x + len(s.table)",
    "global": "global COUNTER\nCOUNTER = COUNTER + 1\nx = x + COUNTER",
    "cell": "cell_bump()\nx = x + cell_read()",
    "in place": "s.buffer.add_(x.detach())\nx = x + s.buffer",
    "print": "print('at', s.count)\nx = x.sin()",
    "grad": "LEAF.grad = x.detach() * 2\nx = x + LEAF.grad",
    "set": "s.seen.add(s.count)\nx = x + len(s.seen)",
    "class": "State.made = State.made + 1\nx = x + State.made",
    "delete": "s.extra = 1\ndel s.extra\nx = x + hasattr(s, 'extra')",
    "new object": "s.other = State()\ns.other.count = 5\nx = x + s.other.count",
}

HEAD = """
import contextlib
import torch, alternator

COUNTER = 0
LEAF = torch.ones(3, requires_grad=True)

class State:
    made = 0
    def __init__(self):
        self.count = 1
        self.log = []
        self.table = {}
        self.seen = set()
        self.buffer = torch.zeros(3)
        self.numbers = endless(self)
        self.pairs = enumerate(endless(self))

class Manager:
    def __init__(self, s):
        self.s = s
    def __enter__(self):
        self.s.log.append("enter")
        return 2
    def __exit__(self, kind, value, trace):
        self.s.log.append(str(kind))
        return kind is ValueError

def tick(s, x):
    s.count += 1
    alternator.graph_break()
    s.count += 1
    return x * 2

class Made:
    def __init__(self, s, x):
        self.value = tick(s, x)

class Reads:
    def __init__(self, s, x):
        self.s, self.x = s, x
    @property
    def value(self):
        return tick(self.s, self.x)
    def __getitem__(self, k):
        return tick(self.s, self.x) * k

@contextlib.contextmanager
def noting(s):
    s.log.append("in")
    try:
        with torch.no_grad():
            yield 3
    except ValueError as error:
        s.log.append(str(error))
    finally:
        s.log.append(torch.is_grad_enabled())

def endless(s):
    n = 0
    while True:
        n += 1
        s.log.append(n)
        yield n

def numbers(x):
    yield x
    yield x * 2

def make_cell():
    held = 0
    def bump():
        nonlocal held
        held += 1
    def read():
        return held
    return bump, read
"""

CALLERS = {
    "call": "x = x + f{inner}(s, x)",
    "with": "with torch.no_grad():\n    x = x + f{inner}(s, x)\nx = x + torch.is_grad_enabled()",
    "try": "try:\n    x = f{inner}(s, x)\nfinally:\n    x = x + 1",
    "method": "x = Holder().run(lambda v: f{inner}(s, v), x)",
}


def _fill(template: str, body: str) -> str:
    lines = []
    for line in template.split("\n"):
        if line.strip() == "{body}":
            lines.append(textwrap.indent(body, line[: -len("{body}")]))
        else:
            lines.append(line)
    return "\n".join(lines)


def program(construct: str, before: str, after: str, depth: int, caller: str) -> str:
    """The source of one cell: ``run(x)`` gives all that can be seen."""
    first, second = EFFECTS[before], EFFECTS[after]
    declared = "global COUNTER\n" if "global" in (before, after) else ""
    first, second = first.replace("global COUNTER\n", ""), second.replace("global COUNTER\n", "")
    body = f"{first}\nalternator.graph_break()\n{second}"
    text = HEAD + "\nclass Holder:\n    def run(self, fn, x):\n        y = fn(x)\n        return y + 1\n"
    text += f"\ndef f0(s, x):\n{textwrap.indent(declared + _fill(CONSTRUCTS[construct], body), '    ')}\n    return x\n"
    for number in range(1, depth + 1):
        text += f"\ndef f{number}(s, x):\n    x = x + {number}\n"
        text += textwrap.indent(CALLERS[caller].format(inner=number - 1), "    ") + "\n    return x.sin()\n"
    text += f"\ncell_bump, cell_read = make_cell()\n\ndef run(x):\n    s = State()\n    y = f{depth}(s, x)\n"
    text += "    return y, s, LEAF.grad, COUNTER, State.made, cell_read(), torch.is_grad_enabled()\n"
    return text


def load(source: str, name: str) -> Any:
    file = f"<{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    space: dict[str, Any] = {"__name__": "matrix"}
    exec(compile(source, file, "exec"), space)
    return space


def check(construct: str, before: str, after: str, depth: int, caller: str) -> Any:
    """Plain in one copy of the program, captured in another one: two calls each, since the state goes on."""
    alternator.reset()
    source = program(construct, before, after, depth, caller)
    plain, captured = load(source, "plain"), load(source, "captured")
    backend = Recorder()
    compiled = alternator.compile(captured["run"], backend=backend)
    counts = []
    for number in range(2):
        x = torch.arange(3.0) + number
        outs = []
        for fn in (plain["run"], compiled):
            text = io.StringIO()
            with contextlib.redirect_stdout(text):
                outs.append((fn(x), text.getvalue()))
        (one, printed), (other, shown) = outs
        where = f"{construct}, {before}, {after}, {depth}, {caller}, call {number}"
        assert printed == shown, where
        for a, b in zip(one, other):
            if type(a).__name__ == "State":
                a, b = vars(a), vars(b)
                for one in (a, b):
                    one["numbers"], one["pairs"] = next(one["numbers"]), next(one["pairs"])
                a["other"], b["other"] = (vars(o["other"]) if "other" in o else None for o in (a, b))
            assert_same(a, b, where)
        counts.append(len(backend.graphs))
    return counts


@pytest.mark.parametrize("construct", CONSTRUCTS)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_matrix(construct: str, depth: int) -> None:
    names = list(EFFECTS)
    callers = list(CALLERS)
    for number, before in enumerate(names):
        check(construct, before, names[(number * 5 + depth) % len(names)], depth, callers[(number + depth) % len(callers)])


GRAPHS = {
    "for": 4,  # four iterations: what is left of the range varies from the third on
    "for else": 3,
    "while": 4,
    "except": None,  # the handler runs plainly
    "loop over a generator": 3,
    "iterator from outside": 3,
    "lambda": 3,
    "comprehension": 5,
    "constructor": 3,
    "property": 3,
    "item": 3,
    "nested function": 3,
    "generator expression": 3,
    "body of a comprehension": 3,
}
"""Where it is not one break and two graphs."""


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_each_break_makes_one_more_graph_at_any_depth(construct: str) -> None:
    counts = {depth: check(construct, "attribute", "list", depth, "call")[0] for depth in range(4)}
    expected = GRAPHS.get(construct, 2)
    if expected is not None:
        assert counts == dict.fromkeys(range(4), expected)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("effect", EFFECTS)
def test_one_break_makes_two_graphs(effect: str, caller: str) -> None:
    assert check("straight", effect, effect, 2, caller)[0] == 2
