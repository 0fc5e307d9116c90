"""Classes that change after the capture: what the program looked up in them is guarded, absence included."""

from __future__ import annotations

import collections
import operator
import types
from typing import Any, Callable

import pytest
import torch
from helpers import assert_same

import alternator

X = torch.ones(2)


def _classes() -> types.SimpleNamespace:
    class Meta(type):
        pass

    class Base(metaclass=Meta):
        def value(self) -> int:
            return 1

    class Other:
        def value(self) -> int:
            return 50

    class Middle(Base):
        pass

    class Thing(Middle):
        def __init__(self) -> None:
            self.number = 3
            self.items = [1, 2]

    class Descriptor:
        def __get__(self, obj: Any, cls: Any = None) -> int:
            return 6

    class Callee:
        def __call__(self) -> int:
            return 4

    Thing.descriptor = Descriptor()
    Thing.callee = Callee()
    return types.SimpleNamespace(
        Meta=Meta, Base=Base, Other=Other, Middle=Middle, Thing=Thing, Descriptor=Descriptor, Callee=Callee
    )


Program = Callable[[Any, Any, Any], Any]
CASES: dict[str, tuple[Program, Callable[[Any], Any]]] = {
    "__getattr__ added": (lambda x, o, c: x + getattr(o, "late", 0), lambda c: setattr(c.Base, "__getattr__", lambda s, n: 9)),
    "__getattribute__ added": (
        lambda x, o, c: x + o.number,
        lambda c: setattr(c.Thing, "__getattribute__", lambda s, n: 9 if n == "number" else object.__getattribute__(s, n)),
    ),
    "property over an attribute": (lambda x, o, c: x + o.number, lambda c: setattr(c.Base, "number", property(lambda s: 9))),
    "method overridden below": (lambda x, o, c: x + o.value(), lambda c: setattr(c.Thing, "value", lambda s: 9)),
    "method overridden in between": (lambda x, o, c: x + o.value(), lambda c: setattr(c.Middle, "value", lambda s: 9)),
    "method replaced": (lambda x, o, c: x + o.value(), lambda c: setattr(c.Base, "value", lambda s: 9)),
    "method's code": (lambda x, o, c: x + o.value(), lambda c: setattr(c.Base.value, "__code__", (lambda self: 9).__code__)),
    "method became static": (lambda x, o, c: x + o.value(), lambda c: setattr(c.Base, "value", staticmethod(lambda: 9))),
    "bases": (lambda x, o, c: x + o.value(), lambda c: setattr(c.Middle, "__bases__", (c.New,))),
    "__bool__ added": (lambda x, o, c: x + (1 if o else 2), lambda c: setattr(c.Base, "__bool__", lambda s: False)),
    "__len__ added": (lambda x, o, c: x + (1 if o else 2), lambda c: setattr(c.Base, "__len__", lambda s: 0)),
    "__eq__ added": (lambda x, o, c: x + (o == 3), lambda c: setattr(c.Thing, "__eq__", lambda s, other: True)),
    "__call__ replaced": (lambda x, o, c: x + o.callee(), lambda c: setattr(c.Callee, "__call__", lambda s: 9)),
    "__get__ replaced": (lambda x, o, c: x + o.descriptor, lambda c: setattr(c.Descriptor, "__get__", lambda s, o, k=None: 9)),
    "descriptor became a data descriptor": (
        lambda x, o, c: x + o.__dict__.setdefault("descriptor", 2) * 0 + o.descriptor,
        lambda c: setattr(c.Descriptor, "__set__", lambda s, o, v: None),
    ),
    "__iter__ added": (
        lambda x, o, c: x + (sum(o) if hasattr(o, "__iter__") else 1),
        lambda c: setattr(c.Base, "__iter__", lambda s: iter([4, 5])),
    ),
    "__init__ replaced": (lambda x, o, c: x + c().number, lambda c: setattr(c.Thing, "__init__", lambda s: setattr(s, "number", 9))),
    "__new__ added": (
        lambda x, o, c: x + c().number,
        lambda c: [setattr(c.Thing, "__new__", staticmethod(lambda cls: types.SimpleNamespace(number=9)))],
    ),
    "__setattr__ added": (
        lambda x, o, c: (setattr(o, "number", 5), x + o.number)[1],
        lambda c: setattr(c.Base, "__setattr__", lambda s, n, v: object.__setattr__(s, n, v + 4)),
    ),
    "metaclass's __call__": (lambda x, o, c: x + c().number, lambda c: setattr(c.Meta, "__call__", lambda k: types.SimpleNamespace(number=9))),
    "metaclass's attribute": (lambda x, o, c: x + getattr(c, "late", 0), lambda c: setattr(c.Meta, "late", 9)),
    "metaclass's __instancecheck__": (
        lambda x, o, c: x + isinstance(3, c),
        lambda c: setattr(c.Meta, "__instancecheck__", lambda k, o: True),
    ),
    "class attribute added": (lambda x, o, c: x + getattr(c, "late", 0), lambda c: setattr(c.Base, "late", 9)),
    "class attribute deleted": (lambda x, o, c: x + hasattr(c, "descriptor"), lambda c: delattr(c.Thing, "descriptor")),
    "class of the instance": (lambda x, o, c: x + o.value(), None),
    "__slots__-like deletion": (lambda x, o, c: x + hasattr(o, "number"), None),
    "class's name": (lambda x, o, c: x + len(c.__name__), lambda c: setattr(c.Thing, "__name__", "Longer")),
    "class's documentation": (lambda x, o, c: x + (c.__doc__ is None), lambda c: setattr(c.Thing, "__doc__", "text")),
    "subclass relation": (lambda x, o, c: x + issubclass(c, c.__mro__[1]), lambda c: setattr(c.Middle, "__bases__", (c.New,))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_classes_that_change(name: str) -> None:
    program, change = CASES[name]
    c = _classes()
    c.New = type("New", (c.Base,), {"value": lambda self: 9})
    thing, twin = c.Thing(), c.Thing()
    fn = types.FunctionType(program.__code__, program.__globals__, "program")
    compiled = alternator.compile(fn, backend="eager")

    def agrees() -> None:
        for _ in range(2):
            found, expected = _outcome(compiled, thing, c), _outcome(fn, twin, c)
            assert found == expected and vars(thing) == vars(twin)

    agrees()
    if change is not None:
        change(c)
    elif name == "class of the instance":
        thing.__class__ = twin.__class__ = c.New
    else:
        del thing.number, twin.number
    agrees()


def _outcome(fn: Any, thing: Any, c: Any) -> Any:
    try:
        return fn(X, thing, c.Thing).tolist()
    except Exception as error:
        return type(error), str(error)


class First:
    number = 2


class Second:
    number = 3


class Derived(First):
    pass


class Failure(Exception):
    pass


class Other(Exception):
    pass


class Raised(Failure):
    pass


def of_a_class(x):
    return x * (2 if issubclass(Derived, (int, First)) else 3)


def of_what_is_made(x):
    return x * (2 if isinstance(Derived(), First) else 3)


DERIVED = Derived()


def of_an_outside_object(x):
    return x * (2 if isinstance(DERIVED, First) else 3)


def of_a_pattern(x):
    match DERIVED:
        case First():
            return x * 2
    return x * 3


def of_a_handler(x):
    try:
        raise Raised
    except Failure:
        return x * 2
    except Other:
        return x * 3


def of_a_group(x):
    try:
        raise ExceptionGroup("", [Raised()])
    except* Failure:
        x = x * 2
    except* Other:
        x = x * 3
    return x


def of_super(x):
    return x * super(Derived, DERIVED).number


def of_super_of_the_class(x):
    return x * super(Derived, Derived).number


def of_the_order(x):
    return x * Derived.mro()[1].number


def of_subclasses(x):
    return x * (2 if Derived in First.__subclasses__() else 3)


BASES = [of_a_class, of_what_is_made, of_an_outside_object, of_a_pattern, of_a_handler, of_a_group]
BASES += [of_super, of_super_of_the_class, of_the_order, of_subclasses]


@pytest.mark.parametrize("fn", BASES)
def test_bases_that_are_assigned(fn):
    x = torch.ones(1)
    compiled = alternator.compile(fn, backend="eager")
    try:
        for _ in range(3):
            assert compiled(x).item() == fn(x).item() == 2
        Derived.__bases__, Raised.__bases__ = (Second,), (Other,)
        for _ in range(3):
            assert compiled(x).item() == fn(x).item() == 3
    finally:
        Derived.__bases__, Raised.__bases__ = (First,), (Failure,)
    assert compiled(x).item() == 2


OPERATORS = {
    "__add__": lambda x: x + 1,
    "__radd__": lambda x: 1 + x,
    "__mul__": lambda x: x * x,
    "__matmul__": lambda x: x @ x,
    "__neg__": lambda x: -x,
    "__lt__": lambda x: x < 2,
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("cls", [torch.Tensor, torch.nn.Parameter])
def test_operators_of_tensors_that_are_replaced(cls, name):
    fn = OPERATORS[name]
    x = torch.ones(2)
    x = torch.nn.Parameter(x) if cls is torch.nn.Parameter else x
    compiled = alternator.compile(fn, backend="aot_eager")
    for _ in range(3):
        assert torch.equal(compiled(x), fn(x))
    own = vars(cls).get(name)
    setattr(cls, name, lambda *args: torch.full((1,), 100.0))
    try:
        for _ in range(2):
            assert compiled(x).item() == 100
    finally:
        delattr(cls, name) if own is None else setattr(cls, name, own)
    assert torch.equal(compiled(x), fn(x))


SPECIAL = {
    "__bool__": (lambda x: x * 2 if torch.tensor(False) else x * 3, lambda self: True),
    "__len__": (lambda x: x * len(x), lambda self: 7),
    "__iter__": (lambda x: [row * 2 for row in x], lambda self: iter([torch.ones(1)])),
    "__contains__": (lambda x: x * (3 in torch.tensor([3])), lambda self, item: False),
    "__getitem__": (lambda x: x[0] * 2, lambda self, key: torch.full((1,), 7.0)),
    "__setitem__": (lambda x: operator.setitem(y := x.clone(), 0, 5) or y, lambda self, key, value: None),
    "__int__": (lambda x: x * int(torch.tensor(3)), lambda self: 7),
    "__float__": (lambda x: x * float(torch.tensor(3)), lambda self: 7.0),
    "__index__": (lambda x: x * [1, 2, 3][torch.tensor(2)], lambda self: 0),
    "__abs__": (lambda x: abs(x), lambda self: torch.full((1,), 7.0)),
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("early", [False, True])
def test_special_methods_of_tensors_that_are_replaced(name, early):
    fn, other = SPECIAL[name]
    x = -torch.ones(2)
    compiled = alternator.compile(lambda x: fn(x), backend="aot_eager")
    own = vars(torch.Tensor).get(name)
    expected = fn(x)
    if not early:
        assert_same(compiled(x), expected)
    setattr(torch.Tensor, name, other)
    try:
        changed, captured = fn(x), compiled(x)
    finally:
        delattr(torch.Tensor, name) if own is None else setattr(torch.Tensor, name, own)
    assert_same(captured, changed)
    assert_same(compiled(x), expected)


class OwnDict(dict):
    pass


class OwnOrder(collections.OrderedDict):
    pass


class OwnDefaults(collections.defaultdict):
    def __init__(self, *args, **kwargs):
        super().__init__(int, *args, **kwargs)


ASKED_BY_NATIVE_CODE = [
    ("keys", lambda self: ["b"], collections.OrderedDict),
    ("__getitem__", lambda self, key: 9, collections.OrderedDict),
    ("__getitem__", lambda self, key: 9, "{a}".format_map),
    ("__setitem__", lambda self, key, value: None, lambda held: type(held).fromkeys("ab")),
    ("__iter__", lambda self: iter("b"), lambda held: dict.copy(held)),
    ("__init__", lambda self, *args: None, lambda held: held.copy()),
    ("__init__", lambda self, *args: None, lambda held: held | {"c": 3}),
    ("items", lambda self: [("c", 3)], repr),
    ("__len__", lambda self: 7, len),
    ("__contains__", lambda self, key: False, lambda held: held.setdefault("a", 4)),
]


@pytest.mark.parametrize("name, other, use", ASKED_BY_NATIVE_CODE)
@pytest.mark.parametrize("cls", [OwnDict, OwnOrder, OwnDefaults])
def test_methods_that_native_code_of_containers_asks_for(cls, name, other, use):
    def fn(x, held):
        return x * 2, _run(use, held)

    held, own = cls(a=1, b=2), vars(cls).get(name)
    compiled = alternator.compile(fn, backend="eager")
    expected = fn(X, cls(held))
    for _ in range(2):
        assert_same(compiled(X, cls(held)), expected)
    changed_here, changed_there = cls(held), cls(held)
    setattr(cls, name, other)
    try:
        here, there = fn(X, changed_here), compiled(X, changed_there)
    finally:
        delattr(cls, name) if own is None else setattr(cls, name, own)
    assert_same(there, here)
    assert_same(compiled(X, cls(held)), expected)


def _run(use, held):
    try:
        return use(held)
    except TypeError as error:
        return str(error)
