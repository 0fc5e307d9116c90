"""What every random program finds defined: objects with special methods, generators, context managers, something global."""

import collections  # noqa: F401
import contextlib
import copy  # noqa: F401
import dataclasses
import enum
import functools  # noqa: F401
import itertools  # noqa: F401
import operator  # noqa: F401

import torch  # noqa: F401

COUNTER = 0
LOG: list = []


class Box:
    """A plain object: most special methods, a property with an effect, attributes of several kinds."""

    scale = 2

    def __init__(self, value, name="box"):
        self.value = value
        self.name = name
        self.history = []

    def __add__(self, other):
        return Box(self.value + (other.value if isinstance(other, Box) else other), self.name)

    def __radd__(self, other):
        return Box(other + self.value, "r" + self.name)

    def __len__(self):
        return 1 + len(self.history)

    def __eq__(self, other):
        return isinstance(other, Box) and self.name == other.name

    def __hash__(self):
        return hash(self.name)

    def __lt__(self, other):
        return self.name < other.name

    def __repr__(self):
        return f"{type(self).__name__}({self.name})"

    def __contains__(self, item):
        self.history.append(item)
        return item in (1, 2)

    def __iter__(self):
        for item in self.history:
            yield item

    @property
    def doubled(self):
        self.history.append("doubled")
        return self.value * self.scale

    def bump(self, by=1):
        self.value = self.value + by
        return self

    @classmethod
    def make(cls, value):
        return cls(value, cls.__name__)


class Twin(Box):
    """Overrides what Box does, and answers for attributes that are not there."""

    scale = 3

    def bump(self, by=1):
        super().bump(by)
        self.name += "!"
        return self

    def __getattr__(self, name):
        if name.startswith("_") or name == "history":
            raise AttributeError(name)
        return len(name)

    def __bool__(self):
        return len(self.name) < 5


class Slotted:
    """No instance dict."""

    __slots__ = ("value", "name", "history")

    def __init__(self, value, name="slotted"):
        self.value, self.name, self.history = value, name, []

    bump = Box.bump
    doubled = 5
    scale = 1

    def __len__(self):
        return len(self.history)

    def __repr__(self):
        return f"Slotted({self.name})"

    def __lt__(self, other):
        return self.name < other.name


@dataclasses.dataclass(order=True)
class Point:
    """A dataclass."""

    a: int = 1
    b: int = 2

    def __call__(self, by):
        return self.a + by * self.b


Pair = collections.namedtuple("Pair", "left right")


class Color(enum.Enum):
    """An enum."""

    RED = 1
    BLUE = 2


@contextlib.contextmanager
def scope(log, name):
    log.append("+" + name)
    try:
        yield len(log)
    finally:
        log.append("-" + name)


class Guarded:
    """A context manager that may swallow what is raised inside."""

    def __init__(self, log, swallow):
        self.log, self.swallow = log, swallow

    def __enter__(self):
        self.log.append("in")
        return self

    def __exit__(self, kind, error, trace):
        self.log.append("out" if kind is None else kind.__name__)
        return self.swallow


def pairs(n):
    for i in range(n):
        got = yield i, i * i
        if got:
            return


def echo(log):
    """A coroutine that remembers what it is sent."""
    total = 0
    try:
        while total < 50:
            got = yield total
            total += 1 if got is None else got
            log.append(total)
    finally:
        log.append("closed")
    return total
