"""Instances of subclasses of builtins that captured code makes leave it as what they are."""

import collections
import enum
import functools
import itertools

import pytest
import torch
from helpers import same


class Int(int):
    pass


class Float(float):
    __slots__ = ("note",)


class Complex(complex):
    pass


class Str(str):
    pass


class Bytes(bytes):
    pass


class ByteArray(bytearray):
    pass


class Frozen(frozenset):
    pass


class Deque(collections.deque):
    pass


class Counted(int):
    def __new__(cls, value):
        made = super().__new__(cls, value * 2)
        made.given = value
        return made


class Partial(functools.partial):
    pass


class Chain(itertools.chain):
    pass


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


MADE = {
    "int": lambda: Int(2**70),
    "float": lambda: Float(-0.0),
    "complex": lambda: Complex(1, -2),
    "str": lambda: Str("a"),
    "bytes": lambda: Bytes(b"a"),
    "bytearray": lambda: ByteArray(b"ab"),
    "frozenset": lambda: Frozen([1, 2]),
    "deque": lambda: Deque([1, 2], 3),
    "__new__": lambda: Counted(4),
    "partial": lambda: type(Partial(max, 1)),
    "member": lambda: max(Level),
}


@pytest.mark.parametrize("name", MADE)
def test_an_instance_keeps_its_class_its_value_and_its_attributes(name):
    make = MADE[name]

    def fn(x):
        made = make()
        if name not in ("float", "partial", "member"):
            made.mark = [x + 1, "mark"]
        return x * 2, made

    report = same(fn, torch.ones(2), fullgraph=True)
    assert type(report.outcomes[0].result[1]) is type(make())


def test_a_slot_of_a_subclass_is_set():
    def fn(x):
        made = Float(2.5)
        made.note = x + 1
        return made, made.note

    report = same(fn, torch.ones(2), fullgraph=True)
    assert report.outcomes[0].result[0].note is report.outcomes[0].result[1]


def test_what_cannot_be_made_again_is_a_break_and_not_its_base():
    def fn(x):
        return x + 1, Partial(max, 1), Chain([1], [2])

    report = same(fn, torch.ones(2), check_args=False, breaks=["UNREBUILDABLE_OUTPUT"])
    assert type(report.outcomes[0].result[1]) is Partial


def test_a_class_that_its_own_mro_refuses():
    """It is gone when the capture is over: nothing may be guarded of it."""

    class Refusing(type):
        def mro(cls):
            seen.append(cls.__name__)
            return [cls, dict, object]

    def f(x):
        try:

            class Refused(metaclass=Refusing):
                pass

        except TypeError as error:
            return x + 1, str(error)

    seen = []
    same(f, torch.arange(4.0))
    assert set(seen) == {"Refused"}
