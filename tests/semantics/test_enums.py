"""Enumerations and named tuples that captured code makes, and class checks that are code of the program."""

import abc
import collections
import enum
import typing
import warnings

import torch
from helpers import same

import alternator

X = torch.ones(2)


def test_members_methods_aliases_and_mixins():
    def fn(x):
        class Colour(enum.Enum):
            RED = 1
            BLUE = 2
            CRIMSON = 1

            @property
            def twice(self):
                return self.value * 2

            @classmethod
            def first(cls):
                return cls.RED

        class Size(int, enum.Enum):
            SMALL = 1
            LARGE = 2

        class Access(enum.Flag):
            READ = enum.auto()
            WRITE = enum.auto()
            BOTH = READ | WRITE

        class Word(enum.StrEnum):
            ONE = enum.auto()

            def __str__(self):
                return "word " + self.value

        return (
            x + Colour.BLUE.twice + Size.LARGE,
            Colour.CRIMSON is Colour.RED,
            [c.name for c in Colour],
            Colour(2).name,
            Colour["RED"].value,
            Colour.first().name,
            len(Colour),
            repr(Colour.RED),
            Access.READ in Access.BOTH,
            Access.BOTH.value,
            str(Word.ONE),
            Word.ONE == "one",
            {Size.SMALL: 1}[Size(1)],
        )

    same(fn, X, fullgraph=True)


def test_the_functional_way_and_errors():
    def fn(x):
        made = enum.Enum("made", "A B")
        try:

            class Twice(enum.Enum):
                A = 1
                A = 2  # noqa: PIE794

        except TypeError as error:
            return x + made.B.value, str(error), made.A.name

    same(fn, X, fullgraph=True)


def test_hooks_of_an_enumeration_are_not_run_unseen():
    def fn(x):
        seen = []

        class Planet(enum.Enum):
            EARTH = 3

            def __init__(self, number):
                seen.append(number)
                self.number = number

        return x + Planet.EARTH.number, seen

    assert alternator.compile(fn, backend="eager")(X)[1] == [3]

    class Lenient(enum.Enum):
        A = 1

        @classmethod
        def _missing_(cls, value):
            return cls.A

    def missing(x):
        return x + Lenient(7).value

    same(missing, X)


def test_named_tuples():
    def fn(x):
        point = collections.namedtuple("point", "a b", defaults=[3])

        class Typed(typing.NamedTuple):
            a: int
            b: int = 2

            def total(self):
                return self.a + self.b

        class Sub(collections.namedtuple("Sub", "a b")):
            __slots__ = ()

            def __new__(cls, a, b=5):
                return super().__new__(cls, a, b)

        one = point(x)
        try:
            point()
        except TypeError as error:
            text = str(error)
        return one.a + one.b, one._replace(b=1).b, point._fields, repr(point(1, 2)), text, Typed(1).total(), Sub(x), one

    same(fn, X, fullgraph=True)


class Meta(type):
    def __instancecheck__(cls, value):
        return value == cls.wanted

    def __subclasscheck__(cls, value):
        return value is int


class Odd(metaclass=Meta):
    wanted = 3


class Hooked(abc.ABC):
    @classmethod
    def __subclasshook__(cls, value):
        return hasattr(value, "marked")


class Marked:
    marked = 1


def test_class_checks_that_are_code_of_the_program_are_followed():
    def fn(x):
        return (
            x + isinstance(3, Odd) + isinstance(4, (Odd, str)),
            issubclass(int, Odd),
            issubclass(str, (Odd, bytes)),
            isinstance(Marked(), Hooked),
            isinstance(3, Hooked),
            issubclass(Marked, Hooked),
        )

    same(fn, X, fullgraph=True)
    Odd.wanted = 4
    try:
        same(fn, X, fullgraph=True)
    finally:
        Odd.wanted = 3


def test_what_a_class_check_reads_is_guarded():
    def fn(x):
        return x + isinstance(3, Odd)

    compiled = alternator.compile(fn, backend="eager")
    assert compiled(X)[0] == 2
    Odd.wanted = 4
    try:
        assert compiled(X)[0] == 1
    finally:
        Odd.wanted = 3


class Level(enum.Enum):
    LOW = 1


def test_a_warning_that_the_library_gives_is_given_for_the_program() -> None:
    def fn(x):
        try:
            found = 1 in Level
        except TypeError:
            found = None
        return x + 1, found, Level.LOW in Level

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        same(fn, X)
    assert {warning.filename for warning in seen if "__contains__" in str(warning.message)} == {__file__}
