"""Classes: made inside captured code, and the library's class helpers."""

from __future__ import annotations

import _py_abc
import abc
import copy
import dataclasses
import enum
import functools
import typing

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.arange(4.0)


def test_class_in_a_function() -> None:
    def f(x, n):
        class A:
            k: int = 2
            table = [i * n for i in range(2)]

            def __init__(self, v):
                self.v = v

            def m(self):
                return self.v * self.k + n

            class Inner:
                z = 3

        class B(A):
            k = 5

            def m(self):
                return super().m() + __class__.k

        a = A(x)
        return (
            a.m(),
            B(x + 1).m(),
            A.table,
            A.Inner.z,
            A.__name__,
            A.__annotations__,
            B.__mro__[1] is A,
            A.__qualname__,
            A.__module__,
            isinstance(a, A),
            A.__doc__,
        )

    same(f, X, 3, graphs=1, breaks=0)


def test_metaclass() -> None:
    class Meta(type):
        def __new__(mcs, name, bases, space, **kw):
            space["added"] = kw.get("add", 1)
            return super().__new__(mcs, name, bases, space)

        def __init__(cls, name, bases, space, **kw):
            super().__init__(name, bases, space)
            cls.seen = name

        def __call__(cls, *args):
            made = super().__call__(*args)
            made.called = True
            return made

        def shout(cls):
            return cls.__name__.upper()

        @property
        def prop(cls):
            return 7

        def __len__(cls):
            return 3

        def __getitem__(cls, i):
            return i * 2

    class Outside(metaclass=Meta, add=4):
        def __init__(self, v=0):
            self.v = v

    def f(x):
        class A(metaclass=Meta, add=9):
            pass

        o = Outside(x)
        return (
            o.v + 1,
            o.called,
            Outside.added,
            Outside.seen,
            Outside.shout(),
            Outside.prop,
            len(Outside),
            Outside[4],
            A.added,
            A.seen,
            A().called,
        )

    same(f, X)


def test_metaclass_prepare() -> None:
    class Meta(type):
        @classmethod
        def __prepare__(mcs, name, bases, **kw):
            return {"from_prepare": 1}

    def f(x):
        class A(metaclass=Meta):
            b = from_prepare + 1

        return x + A.b, A.from_prepare

    same(f, X)


def test_init_subclass_and_set_name() -> None:
    class Base:
        registry: typing.ClassVar[list] = []

        def __init_subclass__(cls, /, tag=None, **kw):
            super().__init_subclass__(**kw)
            cls.tag = tag

    class Field:
        def __set_name__(self, owner, name):
            self.name = name
            self.owner = owner.__name__

        def __get__(self, obj, cls):
            return self if obj is None else (self.name, self.owner)

    def f(x):
        class A(Base, tag="t"):
            field = Field()

        return x + 1, A.tag, A().field, A.field.name

    same(f, X)


def test_slots_in_a_class_made_inside() -> None:
    def f(x):
        class S:
            __slots__ = ("a", "b")

            def __init__(self, a):
                self.a = a

        s = S(x + 1)
        try:
            s.c = 1
        except AttributeError as e:
            return s.a, str(e), hasattr(s, "b")

    same(f, X, graphs=1, breaks=0)


def test_instances_of_inner_classes_returned() -> None:
    def f(x):
        class A:
            def __init__(self, v):
                self.v = v

            def twice(self):
                return self.v * 2

        return A(x + 1)

    import alternator

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        made = compiled(X)
        assert torch.equal(made.twice(), (X + 1) * 2)


def test_class_decorator() -> None:
    def register(cls):
        cls.mark = cls.__name__
        return cls

    def f(x):
        @register
        class A:
            pass

        return x + 1, A.mark

    same(f, X)


def test_new_and_singletons() -> None:
    class Single:
        it = None

        def __new__(cls, *a):
            if cls.it is None:
                cls.it = super().__new__(cls)
            return cls.it

        def __init__(self, n):
            self.n = n

    class Other:
        def __new__(cls, n):
            return [n]

    def f(x):
        a = Single(1)
        b = Single(2)
        return x + a.n, a is b, Other(3)

    same(f, X)


def test_dataclass() -> None:
    @dataclasses.dataclass
    class P:
        a: int
        b: torch.Tensor
        c: list = dataclasses.field(default_factory=list)
        d: int = 4

        def total(self):
            return self.b * self.a + self.d

        def __post_init__(self):
            self.e = self.a + 1

    def f(x, p):
        p.c.append(1)
        p.a = 3
        q = P(1, x + 1)
        q.c.append(x)
        r = dataclasses.replace(q, a=9)
        return p.total(), q.total(), r.a, r.e, [f.name for f in dataclasses.fields(q)], dataclasses.is_dataclass(p), q.c is r.c, q

    same(f, X, P(2, X), graphs=1, breaks=0)


def test_dataclass_helpers() -> None:
    @dataclasses.dataclass(frozen=True, order=True)
    class F:
        a: int
        b: int = 2
        c: int = dataclasses.field(default=3, compare=False, repr=False)

    @dataclasses.dataclass(slots=True, kw_only=True)
    class S:
        a: int = 1
        t: torch.Tensor | None = None

    @dataclasses.dataclass
    class N:
        f: F
        l: list

    def f(x, p):
        out = []
        try:
            p.a = 5
        except dataclasses.FrozenInstanceError as e:
            out.append(str(e))
        s = S(t=x + 1)
        s.a = 5
        n = N(F(1), [F(2), {"k": F(3)}])
        return (
            x + p.a, F(1) == F(1, 2, 9), F(1) < F(2), repr(F(1)), hash(F(1)) == hash(F(1)), {F(1): 5}[F(1)], dataclasses.asdict(n), dataclasses.astuple(F(1)), sorted([F(3), F(2)])[0].a, out, s, dataclasses.asdict(p),
        )  # fmt: skip

    same(f, X, F(1), graphs=1, breaks=0)


def test_dataclass_made_inside() -> None:
    def f(x):
        @dataclasses.dataclass
        class P:
            a: int
            b: int = 2

        p = P(1)
        return x + p.a + p.b

    same(f, X)


class Color(enum.Enum):
    RED = 1
    GREEN = "g"

    @property
    def nice(self):
        return self.name.lower()

    @classmethod
    def default(cls):
        return cls.RED


class Num(enum.IntEnum):
    ONE = 1
    TWO = 2


class Perm(enum.Flag):
    R = enum.auto()
    W = enum.auto()


class Text(str, enum.Enum):
    A = "a"
    B = "b"


def test_enum() -> None:
    def f(x, c):
        return (
            x + 1, c is Color.RED, c == Color.GREEN, c.name, c.value, Color(1), Color["GREEN"], [m.name for m in Color], len(Color), c.nice, Color.default(), isinstance(c, Color), c in Color, {Color.RED: 1}.get(c), str(c), repr(c),
            x + Num.TWO, Num(1) < Num.TWO, Num.ONE + 1, Text.A == "a", Text("b").value, f"{Num.ONE}", hash(c) == hash(Color.RED), Color.__members__["RED"], Text.A.upper(),
        )  # fmt: skip

    same(f, X, Color.RED, graphs=1, breaks=0, then=[(X, Color.GREEN)])


def test_enum_error_and_branch() -> None:
    def f(x, c):
        try:
            Color(99)
        except ValueError as e:
            text = str(e)
        if c is Color.RED:
            return x + 1, text
        match c:
            case Color.GREEN:
                return x + 2, text

    same(f, X, Color.RED, graphs=1, breaks=0, then=[(X, Color.GREEN)])


def test_flag() -> None:
    def f(x, p):
        return x + 1, Perm.R in p, p & Perm.W, Perm.R | Perm.W, bool(p & Perm.R), (p ^ Perm.R).value, ~Perm.R

    same(f, X, Perm.R | Perm.W, graphs=1, breaks=0, then=[(X, Perm.W)])


def test_abc() -> None:
    class Base(abc.ABC):
        @abc.abstractmethod
        def m(self, x): ...

        def n(self, x):
            return self.m(x) * 2

    class Impl(Base):
        def m(self, x):
            return x + 1

    def f(x):
        x = x + 1
        try:
            Base()
        except TypeError as e:
            text = str(e)
        i = Impl()
        return i.n(x), text, isinstance(i, Base)

    same(f, X, graphs=1, breaks=0)


def test_cached_property() -> None:
    class C:
        calls = 0

        def __init__(self, n):
            self.n = n

        @functools.cached_property
        def big(self):
            self.calls += 1
            return self.n * 2

    def f(x, o):
        mine = C(x)
        return x + o.big + o.big, o.calls, mine.big + mine.big, mine.calls, "big" in o.__dict__

    same(f, X, C(3), graphs=1, breaks=0)


def test_generic_classes() -> None:
    T = typing.TypeVar("T")

    class Box(typing.Generic[T]):
        def __init__(self, v: T):
            self.v = v

        def get(self) -> T:
            return self.v

    def f(x, b):
        return b.get() + Box[int](x).get(), isinstance(b, Box), Box(2).v, typing.cast(int, 3), list[int]([1]), dict[str, int](a=1)

    same(f, X, Box(2), graphs=1, breaks=0)


def test_protocol_classes() -> None:
    @typing.runtime_checkable
    class HasM(typing.Protocol):
        def m(self): ...

    class A:
        def m(self):
            return 1

    def f(x, a):
        return x + 1, isinstance(a, HasM), isinstance(3, HasM)

    same(f, X, A())


def test_copy_and_deepcopy() -> None:
    class C:
        def __init__(self, n, t):
            self.n = n
            self.t = t
            self.l = [1, [2]]

        def __eq__(self, other):
            return self.n == other.n

        __hash__ = None

    class D:
        def __copy__(self):
            return "copied"

        def __deepcopy__(self, memo):
            return "deep"

    def f(x, l, d):
        mine = C(1, x)
        a = copy.copy(mine)
        b = copy.deepcopy([1, {"k": [2]}])
        c = copy.copy(l)
        c.append(5)
        e = copy.deepcopy(d)
        e["k"].append(3)
        return (
            a.t + 1,
            a is mine,
            a.l is mine.l,
            b,
            c,
            l,
            e,
            d,
            copy.copy(D()),
            copy.deepcopy([D()]),
            copy.copy((1,)),
            copy.copy({1, 2}),
        )

    same(f, X, [1], {"k": [1]}, graphs=1, breaks=0)


def test_deepcopy_of_an_object() -> None:
    class C:
        def __init__(self):
            self.l = [1, [2]]
            self.me = self

    def f(x, o):
        c = copy.deepcopy(o)
        c.l.append(3)
        return x + 1, c.me is c, c.l, o.l

    same(f, X, C())


def test_class_attribute_of_every_kind_written() -> None:
    class A:
        n = 1

    class B(A):
        pass

    def f(x):
        A.n = A.n + 1
        b = B.n
        B.n = 10
        del B.n
        return x + A.n + b + B.n

    import alternator

    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X), X + 6)
    assert A.n == 2 and "n" not in B.__dict__
    assert torch.equal(compiled(X), X + 9)


def test_method_replaced_on_the_class() -> None:
    class A:
        def m(self, x):
            return x + 1

    def f(x, a):
        return a.m(x)

    import alternator

    compiled = alternator.compile(f, backend="eager")
    a = A()
    assert torch.equal(compiled(X, a), X + 1)
    A.m = lambda self, x: x + 2
    assert torch.equal(compiled(X, a), X + 2)
    a.m = lambda x: x + 3
    assert torch.equal(compiled(X, a), X + 3)
    del a.m
    assert torch.equal(compiled(X, a), X + 2)


def test_assignment_to_dunder_class() -> None:
    class A:
        n = 1

    class B:
        n = 2

    def f(x, o):
        o.__class__ = B
        mine = A()
        mine.__class__ = B
        return x + o.n + mine.n

    same(f, X, A())


def test_function_assigned_to_a_class() -> None:
    class A:
        pass

    def f(x):
        A.m = lambda self: 5
        return x + A().m()

    import alternator

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        assert torch.equal(compiled(X), X + 5)
    assert A().m() == 5


@pytest.mark.parametrize("kind", [int, float, str, list, dict, set, tuple, bytes, complex, frozenset])
def test_subclass_of_a_builtin(kind) -> None:
    class S(kind):
        tag = "t"

        def extra(self):
            return len(repr(kind(self)))

    def f(x, s):
        mine = S()
        return x + 1, mine.tag, mine.extra(), s.extra(), isinstance(s, kind), type(s).__name__, s == mine, bool(mine)

    same(f, X, S(), breaks=0)


class _Base:
    size = 4

    def scale(self, x):
        return x * self.size


class _Child(_Base):
    extra = 1


def test_the_namespace_of_a_class():
    def f(x, a):
        kind = type(a)
        found = [name for base in kind.__mro__[:-1] for name in base.__dict__ if not name.startswith("_")]
        own = "size" in kind.__dict__, kind.__dict__.get("extra", 0), sorted(name for name in vars(kind) if name[0] != "_")
        try:
            kind.__dict__["size"] = 5
        except TypeError as error:
            text = type(error)
        scale = kind.__mro__[-2].__dict__["scale"]
        return scale(a, x) + own[1], found, own, text, kind.__dict__ is kind.__dict__

    same(f, torch.ones(2), _Base(), fullgraph=True)
    same(f, torch.ones(2), _Child(), fullgraph=True)


def test_the_namespace_of_a_class_is_guarded_and_may_leave():
    class Changing:
        n = 1

    def f(x):
        return x + len([name for name in Changing.__dict__ if name[0] != "_"]) + Changing.__dict__["n"], Changing.__dict__

    compiled = alternator.compile(f, backend="eager")
    for step in range(3):
        if step == 1:
            Changing.n = 7
        if step == 2:
            Changing.later = 0
        made, view = compiled(torch.ones(2))
        torch.testing.assert_close(made, f(torch.ones(2))[0])
    Changing.after = 1
    assert view["after"] == 1


def test_a_class_is_written_behind_a_look_at_its_namespace():
    class Changing:
        n = 1

    def f(x):
        view = Changing.__dict__
        Changing.later = 2
        return x + view["later"], "later" in view, len(view)

    expected = f(torch.ones(2))
    del Changing.later
    made = alternator.compile(f, backend="eager")(torch.ones(2))
    torch.testing.assert_close(made[0], expected[0])
    assert made[1:] == expected[1:]


def by_isinstance(value, base):
    return isinstance(value, base)


def by_issubclass(value, base):
    return issubclass(type(value), (int, base))


def by_method(value, base):
    return base.__instancecheck__(value)


def by_pattern(value, base):
    match value:
        case [1]:
            return False
        case base():
            return True
    return False


@pytest.mark.parametrize("asks", [by_isinstance, by_issubclass, by_method, by_pattern], ids=lambda fn: fn.__name__)
def test_a_class_that_is_registered_after_it_was_denied(asks):
    """The next call is told so, through a registered base too; other registrations compile nothing again."""

    class Base(abc.ABC):
        pass

    class Below(Base):
        pass

    class Thing:
        pass

    def fn(x, value):
        return x + 1 if asks(value, Base) else x - 1

    entries = []
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    with alternator.utils.listening_to_entries(entries.append):
        for registering in (
            lambda: None,
            lambda: Base.register(bytes),
            lambda: None,
            lambda: Below.register(Thing),
            lambda: None,
        ):
            registering()
            assert_same(compiled(X, Thing()), fn(X, Thing()))
    assert len(entries) == 2


@pytest.mark.parametrize("recheck", [False, True])
def test_a_registration_that_changes_no_answer_costs_one_question(recheck):
    asked = []

    class Base(abc.ABC):
        pass

    class Meta(type(Base)):
        def __subclasscheck__(cls, kind):
            asked.append(kind)
            return super().__subclasscheck__(kind)

    Meta.__subclasscheck__.__module__ = "abc"  # as a library's own: not interpreted

    class Other(metaclass=Meta):
        pass

    class Thing:
        pass

    def fn(x, value):
        return x + 1 if issubclass(type(value), Other) else x - 1

    entries = []
    with alternator.config.patch(recheck_guards=recheck):
        compiled = alternator.compile(fn, backend="eager", fullgraph=True)
        with alternator.utils.listening_to_entries(entries.append):
            for _ in range(3):
                for call in range(4):
                    asked.clear()
                    assert_same(compiled(X, Thing()), fn(X, Thing()))
                    if call and not recheck:
                        assert len(asked) == 1  # by plain Python
                Base.register(type("Unrelated", (), {}))
            assert len(entries) == 1
            Other.register(Thing)
            assert_same(compiled(X, Thing()), fn(X, Thing()))
            assert len(entries) == 2


def test_abstract_base_classes_in_plain_python_have_a_count_of_their_own():
    class Base(metaclass=_py_abc.ABCMeta):
        pass

    class Thing:
        pass

    def fn(x, value):
        return x + 1 if isinstance(value, Base) else x - 1

    compiled = alternator.compile(fn, backend="eager")
    for registering in (lambda: None, lambda: Base.register(bytes), lambda: Base.register(Thing), lambda: None):
        registering()
        assert_same(compiled(X, Thing()), fn(X, Thing()))


def has_width():
    @typing.runtime_checkable
    class HasWidth(typing.Protocol):
        width: int

    return HasWidth


def has_area():
    @typing.runtime_checkable
    class HasArea(typing.Protocol):
        def area(self) -> int: ...

    return HasArea


@pytest.mark.parametrize("make", [has_width, has_area])
def test_what_an_instance_has_decides_on_a_protocol(make):
    protocol = make()

    class Thing:
        pass

    class Slotted:
        __slots__ = ("width", "area")

    def fn(x, thing):
        return x + 1 if isinstance(thing, protocol) else x - 1

    def give(owner):
        owner.width, owner.area = 3, lambda *_: 3

    def take(owner):
        del owner.width, owner.area

    compiled = alternator.compile(fn, backend="eager")
    for kind in (Thing, Slotted):
        thing = kind()
        for change in (lambda: None, lambda: give(thing), lambda: setattr(thing, "area", None), lambda: take(thing)):
            change()
            assert_same(compiled(X, thing), fn(X, thing))
    thing = Thing()
    for change in (lambda: None, lambda: give(Thing), lambda: take(Thing), lambda: protocol.register(Thing)):
        change()
        assert_same(compiled(X, thing), fn(X, thing))


def test_values_of_builtin_types_and_tensors_keep_protocols():
    protocol = has_area()

    def fn(x, n):
        kinds = typing.SupportsInt, typing.SupportsFloat, typing.SupportsIndex, protocol
        return x + n, [isinstance(value, kind) for value in (n, 2.5, "text", x, [n]) for kind in kinds]

    same(fn, X, 3, then=[(X, 5), (X, 6)], fullgraph=True)
