"""What every random program finds defined: objects with special methods, generators, context managers, something global."""

import bisect  # noqa: F401
import collections
import contextlib
import copy  # noqa: F401
import dataclasses
import enum
import functools
import heapq  # noqa: F401
import itertools  # noqa: F401
import math  # noqa: F401
import operator  # noqa: F401
import random  # noqa: F401
import warnings  # noqa: F401

import torch

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

    @property
    def twice(self):
        return len(self.name) * 2

    @twice.setter
    def twice(self, value):
        self.name = "n" * (value % 5)

    @functools.cached_property
    def cached(self):
        return len(self.history)

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
    cached = 6
    twice = 7
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


class Doubling:
    """A data descriptor that remembers what it was set to."""

    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, obj, owner=None):
        return self if obj is None else getattr(obj, self.name, 0) * 2

    def __set__(self, obj, value):
        obj.__dict__[self.name] = value


class Counted(type):
    """A metaclass that is called for each object."""

    made = 0

    def __call__(cls, *args):
        obj = super().__call__(*args)
        cls.made += 1
        return obj


class Tall(Box, metaclass=Counted):
    """Reads, writes and deletes attributes in its own way."""

    def __setattr__(self, name, value):
        LOG.append(name) if name == "extra" else None
        super().__setattr__(name, value)

    def __getattribute__(self, name):
        return 4 if name == "four" else super().__getattribute__(name)

    def read(self, by):
        return self.four + by


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A dataclass that cannot be written to."""

    a: int = 1


class Rewriting:
    """Sets an attribute for the time of a block."""

    def __init__(self, obj, value):
        self.obj, self.value = obj, value

    def __enter__(self):
        self.saved = getattr(self.obj, "extra", None)
        self.obj.extra = self.value

    def __exit__(self, *error):
        self.obj.extra = self.saved
        del self.saved


class Net(torch.nn.Module):
    """A module with a parameter, a buffer, a counter and a hook."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("seen", torch.zeros(1))
        self.calls = 0
        self.register_forward_hook(lambda module, args, out: out + 1)

    def forward(self, x):
        self.calls += 1
        if self.training:
            self.seen.add_(1)
        return x * self.weight.detach() + self.seen


@functools.lru_cache
def memo(n):
    return n * 2


@functools.singledispatch
def shape_of(value):
    return 0


@shape_of.register
def _(value: torch.Tensor):
    return value.ndim


@shape_of.register(list)
def _(value):
    return len(value)


@functools.singledispatch
def dispatch(value):
    return 1


@dispatch.register(str)
def _(value):
    return len(value)
