"""What ``object``, ``super`` and ``type`` complain about, and classes with unusual names in their bodies."""

import abc
import collections
import collections.abc
import enum
import os
import sys
import types
import typing

import torch
from helpers import same

import alternator

X = torch.ones(2)


class Plain:
    pass


class WithInit:
    def __init__(self, value=0):
        super().__init__()
        self.value = value


def raised(call):
    try:
        call()
    except (TypeError, RuntimeError) as error:
        return type(error).__name__, str(error)
    return None


def test_excess_arguments_of_object():
    def fn(x):
        return x + 1, [
            raised(lambda: Plain(1)),
            raised(lambda: Plain.__new__(Plain, 1)),
            raised(lambda: Plain().__init__(1)),
            raised(lambda: object.__init__(WithInit(), 1)),
            raised(lambda: object.__new__(WithInit, 1)),
            raised(lambda: object.__new__(int)),
            raised(lambda: WithInit(1).value),
        ]

    same(fn, X, fullgraph=True)


def test_super_of_what_it_does_not_fit():
    class Base:
        def meth(self):
            return super().__repr__

        def late(self):
            del self
            return super()

    def fn(x):
        def nothing():
            return super()

        return x + 1, [
            raised(lambda: Base.meth(Plain())),
            raised(lambda: super(Base, 3)),
            raised(lambda: super(3, Base)),
            raised(lambda: Base().late()),
            raised(nothing),
        ]

    same(fn, X, fullgraph=True)


def test_the_recursion_limit_is_the_program_s():
    def fn(x):
        return x + 1, sys.getrecursionlimit()

    same(fn, X, fullgraph=True)
    compiled = alternator.compile(fn, backend="eager")
    limit = sys.getrecursionlimit()
    compiled(X)
    sys.setrecursionlimit(limit + 7)
    try:
        assert compiled(X)[1] == limit + 7
    finally:
        sys.setrecursionlimit(limit)


def test_a_class_whose_body_defines_what_type_has_a_descriptor_for():
    def fn(x):
        class Named:
            __slots__ = ()

            @property
            def __name__(self):
                return "mine"

            @property
            def __bases__(self):
                return ()

        return x + 1, Named().__name__, Named, Named.__name__

    made = same(fn, X, fullgraph=True).outcomes[0].result[2]
    assert made.__name__ == "Named" and made().__name__ == "mine" and made().__bases__ == ()


def test_an_enumeration_that_allocates_its_members_itself():
    def fn(x):
        class Some(enum.Enum):
            def __new__(cls, value):
                return object.__new__(cls)

            ONE = 1
            TWO = 2

        return x + Some.TWO.value, Some.ONE.value, Some.ONE is Some.TWO

    result = alternator.compile(fn, backend="eager")(X)
    assert result[0][0] == 3 and result[1:] == (1, False)


def test_a_class_that_implements_an_abstract_one_can_be_instantiated_outside():
    def fn(x):
        class Base(abc.ABC):
            @abc.abstractmethod
            def meth(self): ...

        class Concrete(Base):
            def meth(self):
                return 3

        return x + 1, Concrete, Base

    made, base = same(fn, X, fullgraph=True).outcomes[0].result[1:]
    assert made().meth() == 3 and base.__abstractmethods__ == {"meth"}


def test_tuples_of_c_with_named_fields():
    def fn(x, stat):
        newer = sys.version_info >= (3, 8)
        first, *rest = sys.version_info
        return x + newer + first + stat.st_size, sys.version_info.major, rest[0], sys.version_info[:2], stat.st_mtime_ns

    here, other = os.stat(__file__), os.stat(os.path.dirname(__file__))
    same(fn, X, here, then=[(X, other)], fullgraph=True, recompiles=1)


class LikeAClass:
    __bases__ = (int,)


def test_an_object_with_bases_counts_as_a_class():
    def fn(x, one):
        return x + 1, issubclass(one, int), raised(lambda: issubclass(3, int))

    same(fn, X, LikeAClass(), breaks=["UNSUPPORTED_TYPE"])


class Counting:
    """A key whose hash and comparison are code of the program, and change things."""

    def __init__(self, table, number):
        self.table, self.number, self.asked = table, number, 0

    def __hash__(self):
        self.asked += 1
        return 7

    def __eq__(self, other):
        if self.table is not None:
            self.table.clear()
            self.table = None
        return self is other


def test_dicts_from_outside_whose_keys_compare_by_code_of_the_program() -> None:
    def f(table, key):
        return key in table, len(table), [k.number for k in table]

    def arguments(clears):
        table = {}
        for number in range(3):
            table[Counting(None, number)] = number
        return table, Counting(table if clears else None, 9)

    for clears in (False, True):
        plain, captured = arguments(clears), arguments(clears)
        assert alternator.compile(f, backend="eager")(*captured) == f(*plain)
        assert len(captured[0]) == len(plain[0])


class Sequence(list):
    __slots__ = ("value",)

    def __hash__(self):
        return self.value


def test_keys_are_containers_with_a_hash_of_their_own() -> None:
    key = Sequence([1, 2])
    key.value = 5
    table = {key: 1}

    def f(x):
        return x + table[key], len(table), list(table.values())

    same(f, torch.ones(2))


def test_empty_cells() -> None:
    def outer():
        def inner():
            return later

        cell = inner.__closure__[0]
        try:
            cell.cell_contents
        except ValueError as error:
            seen = str(error)
        later = 3
        return seen, cell.cell_contents, inner()

    same(outer)
    cell = types.CellType()

    def reads(x):
        try:
            return cell.cell_contents + x
        except ValueError as error:
            return str(error)

    same(reads, 1)


class Index:
    def __init__(self, number=0):
        self.number = number

    def __index__(self):
        return self.number

    def __hash__(self):
        return self.number

    def __eq__(self, other):
        return self.number == other.number


def test_special_methods_behind_subscripts_see_what_was_written() -> None:
    outside = [0, 10, 20, 30, 40]

    def slices(index):
        fresh = [1, 2, 3, 4]
        seen = []
        for index.number in (2, 1, -1):
            seen += [
                outside[index:4],
                fresh[index:],
                outside[slice(None, index)],
                fresh[index],
                "abcd"[index:],
                (5, 6, 7)[:index],
            ]
            outside[index:index] = []
        del fresh[index:]
        fresh[:index] = [9]
        return seen, fresh, range(9)[index:], b"abc"[index:]

    def keys(index):
        table = {Index(1): "one", Index(2): "two", (Index(3), 0): "three"}
        seen = []
        for index.number in (2, 1):
            seen += [table[index], table.get(index), index in table]
        index.number = 3
        return seen, table[index, 0], table.get((index, 0)), (index, 0) in table

    same(slices, Index())
    same(keys, Index())


def test_patterns_go_by_the_flags_of_classes() -> None:
    def f():
        class Both(collections.UserDict, collections.abc.Sequence):
            pass

        class Other(list, collections.abc.Mapping):
            pass

        found = []
        for subject in (Both(), Other(), {}, (), "", b"", range(2), iter(()), collections.deque(), types.MappingProxyType({})):
            match subject:
                case [*_]:
                    found.append("sequence")
                case {}:
                    found.append("mapping")
                case _:
                    found.append("neither")
        return found

    same(f)


class HidesMro(type):
    __mro__ = None

    def __instancecheck__(cls, obj):
        raise KeyError(obj)


class Hidden(metaclass=HidesMro):
    pass


class Protocol(typing.Protocol):
    def method(self): ...


def test_what_cannot_be_asked_for_its_instances_and_subclasses() -> None:
    kinds = [typing.List[int], typing.Any, typing.Union[int, str], Protocol, typing.TypeVar("T"), Hidden, 5, list[int], int | str]

    def f(x):
        seen = []
        for kind in kinds:
            for asks, value in ((issubclass, int), (isinstance, x)):
                try:
                    seen.append(asks(value, kind))
                except Exception as error:
                    seen.append((type(error), str(error)))
        return seen

    def creates(x):
        seen = []
        for args in ((), ("a",), (1, 2), ("a", 1, {})):
            for make in (type, type.__new__):
                try:
                    seen.append(make(*args))
                except TypeError as error:
                    seen.append(str(error))
        return seen

    same(f, 1)
    same(creates, 1)
