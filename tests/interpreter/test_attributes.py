"""Attribute access: lookup order, descriptors, the attribute protocol, effects on attributes."""

from __future__ import annotations

import copy
import functools
import operator
import threading
import types

import pytest
import torch
from helpers import Recorder, assert_same, same

import alternator

X = torch.arange(4.0)
SEEN: dict[str, object] = {}


class Plain:
    k = 2

    def __init__(self, n=1):
        self.n = n


def test_instance_before_class() -> None:
    def f(x, o):
        a = o.k
        o.k = 5
        b = o.k
        del o.k
        return x + a + b + o.k, Plain.k

    same(f, X, Plain(), graphs=1, breaks=0)


def test_property() -> None:
    class C:
        def __init__(self):
            self._v = 1

        @property
        def v(self):
            return self._v * 2

        @v.setter
        def v(self, value):
            self._v = value

        @v.deleter
        def v(self):
            self._v = -1

        @property
        def ro(self):
            return 3

    def f(x, o):
        a = o.v
        o.v = 10
        b = o.v
        del o.v
        mine = C()
        mine.v = x
        out = []
        for act in (lambda: setattr(o, "ro", 1), lambda: delattr(o, "ro"), lambda: o.nothing):
            try:
                act()
            except AttributeError as e:
                out.append(str(e))
        return x + a + b + o._v + o.ro, mine.v, out

    same(f, X, C(), graphs=1, breaks=0)


def test_property_that_raises_attribute_error_asks_getattr() -> None:
    class C:
        @property
        def p(self):
            raise AttributeError("inner")

        def __getattr__(self, name):
            return "fallback " + name

    def f(x, o):
        return x + 1, o.p, C().p, o.q, getattr(o, "r", 0)

    same(f, X, C(), graphs=1, breaks=0)


def test_descriptors() -> None:
    class Data:
        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, obj, cls):
            return "class" if obj is None else obj.__dict__.get(self.name, 0) + 1

        def __set__(self, obj, value):
            obj.__dict__[self.name] = value

        def __delete__(self, obj):
            del obj.__dict__[self.name]

    class NonData:
        def __get__(self, obj, cls):
            return (obj is None, cls.__name__)

    class C:
        d = Data()
        n = NonData()

    def f(x, o):
        a = o.d
        o.d = 5
        b = o.d
        n1 = o.n
        o.n = "own"
        mine = C()
        mine.d = 7
        c = mine.d
        del mine.d
        return x + a + b + c, n1, o.n, C.d, C.n, mine.d, C().n

    same(f, X, C(), graphs=1, breaks=0)


def test_getattr_and_getattribute() -> None:
    class G:
        def __init__(self):
            self.real = 1

        def __getattr__(self, name):
            if name.startswith("x"):
                return len(name)
            raise AttributeError(name)

    class H:
        def __init__(self):
            self.real = 1

        def __getattribute__(self, name):
            if name == "magic":
                return 42
            return object.__getattribute__(self, name)

    class I(H):
        def __getattribute__(self, name):
            return super().__getattribute__(name) if name != "z" else "z"

    def f(x, g, h):
        return (
            x + g.real + g.xyz,
            hasattr(g, "abc"),
            getattr(g, "abc", 0),
            h.magic,
            h.real,
            G().xx,
            I().z,
            I().magic,
            getattr(h, "none", None),
        )

    same(f, X, G(), H(), graphs=1, breaks=0)


def test_setattr_and_delattr() -> None:
    class C:
        def __init__(self):
            self.log = []
            self.a = 1

        def __setattr__(self, name, value):
            if name != "log":
                self.log.append(("set", name))
            super().__setattr__(name, value)

        def __delattr__(self, name):
            self.log.append(("del", name))
            object.__delattr__(self, name)

    def f(x, o):
        o.b = 2
        o.a += 5
        del o.b
        mine = C()
        mine.c = x
        return x + o.a, mine.log, mine.c

    same(f, X, C(), graphs=1, breaks=0)


def test_slots() -> None:
    class S:
        __slots__ = ("a", "b")

        def __init__(self, a):
            self.a = a

    class T(S):
        __slots__ = ("c",)

    def f(x, s):
        s.b = s.a + 1
        s.a = 10
        mine = T(x)
        mine.c = mine.a * 2
        out = []
        for act in (lambda: setattr(s, "zz", 1), lambda: mine.b):
            try:
                act()
            except AttributeError as e:
                out.append(str(e))
        del s.b
        return x + s.a, mine.c, mine, out, hasattr(s, "b")

    r = same(f, X, S(1), graphs=1, breaks=0)
    assert r.outcomes[0].args[1].a == 10


def test_slots_with_dict_and_defaults() -> None:
    class S:
        __slots__ = ("a", "__dict__")

    def f(x, s):
        s.a = x + 1
        s.free = 2
        return s.a, s.free, s.__dict__

    same(f, X, S(), graphs=1, breaks=0)


def test_class_attributes() -> None:
    class B:
        base = 1

    class C(B):
        own = [1]
        n = 0

    def f(x):
        C.n += 1
        C.own.append(2)
        C.new = 5
        o = C()
        return x + C.n + o.n + C.base, len(o.own), o.new

    import alternator

    compiled = alternator.compile(f, backend="eager")
    for i in range(1, 3):
        r = compiled(X)
        assert torch.equal(r[0], X + 2 * i + 1) and r[1:] == (1 + i, 5)
        assert C.n == i and C.own == [1] + [2] * i and C.new == 5


def test_dunder_dict() -> None:
    def f(x, o):
        o.__dict__["m"] = 3
        o.n = 4
        mine = Plain()
        mine.__dict__.update(q=x)
        return x + o.m + o.n, sorted(o.__dict__), mine.q, vars(mine)["n"], "n" in o.__dict__

    same(f, X, Plain(), graphs=1, breaks=0)


def test_order_of_what_is_deleted_and_set_again() -> None:
    def f(x, o, late):
        if not late:
            names = list(vars(o))
        del o.a
        o.c = 1
        o.a = x
        del o.c
        o.b, o.c = 2, 3
        return list(vars(o)), list(copy.copy(o).__dict__), late or names

    for late in (True, False):
        o = Plain()
        o.a, o.b = 1, 2
        same(f, X, o, late, graphs=None, breaks=0)


def test_dunder_class_and_type() -> None:
    def f(x, o):
        return (
            x + 1,
            o.__class__ is Plain,
            type(o) is Plain,
            type(o).__name__,
            o.__class__.__name__,
            type(x) is torch.Tensor,
            x.__class__ is torch.Tensor,
            isinstance(o, Plain),
            type(type(o)) is type,
            Plain.__mro__[-1] is object,
            Plain.__bases__,
        )

    same(f, X, Plain(), graphs=1, breaks=0)


def test_getattr_builtins() -> None:
    def f(x, o):
        setattr(o, "dyn", 3)
        names = ["n", "k", "dyn", "gone"]
        values = [getattr(o, n, None) for n in names]
        delattr(o, "dyn")
        return x + 1, values, hasattr(o, "dyn"), [hasattr(x, n) for n in ("shape", "relu", "nope")]

    same(f, X, Plain(), graphs=1, breaks=0)


def test_super() -> None:
    class A:
        v = 1

        def __init__(self, x):
            self.x = x

        def m(self, y):
            return y + self.v

        @classmethod
        def make(cls, x):
            return cls(x)

        @property
        def p(self):
            return self.x * 2

        @staticmethod
        def s(x):
            return x - 1

    class B(A):
        v = 2

        def __init__(self, x):
            super().__init__(x + 1)
            self.w = super().v

        def m(self, y):
            return super().m(y) * 2

        @classmethod
        def make(cls, x):
            return super().make(x * 2)

        @property
        def p(self):
            return super().p + 1

    class C(B):
        def m(self, y):
            return super(B, self).m(y) + super(C, self).m(y) + super().s(y)

        def has(self):
            return hasattr(super(), "m"), hasattr(super(), "nothing")

    def f(x, o):
        mine = C.make(x)
        return mine.m(x), mine.p, mine.w, o.m(x), o.p, mine.has()

    same(f, X, C(2), graphs=1, breaks=0)


def test_multiple_inheritance() -> None:
    class A:
        def m(self):
            return ["A"]

    class B(A):
        def m(self):
            return ["B"] + super().m()

    class C(A):
        def m(self):
            return ["C"] + super().m()

    class D(B, C):
        def m(self):
            return ["D"] + super().m()

    def f(x):
        return x + 1, D().m(), [c.__name__ for c in D.__mro__]

    same(f, X, graphs=1, breaks=0)


def test_attribute_of_module() -> None:
    mod = types.ModuleType("mine")
    mod.v = 3

    def f(x):
        return x + mod.v, hasattr(mod, "w"), getattr(mod, "w", 9), mod.__name__

    same(f, X, graphs=1, breaks=0)


def test_attribute_errors_carry_name_and_object() -> None:
    def f(x, o):
        x = x + 1
        try:
            o.missing
        except AttributeError as e:
            return x, str(e), e.name, e.obj is o

    same(f, X, Plain(), graphs=1, breaks=0)


def test_simple_namespace() -> None:
    def f(x, ns):
        ns.b = ns.a + 1
        mine = types.SimpleNamespace(q=x, r=2)
        mine.r += 1
        return x + ns.b, mine.q * mine.r, mine

    same(f, X, types.SimpleNamespace(a=1), graphs=1, breaks=0)


def test_write_then_read_through_alias() -> None:
    def f(x, o, same_o):
        o.n = 7
        same_o.m = o.n + 1
        return x + same_o.n + o.m

    p = Plain()
    same(f, X, p, p, graphs=1, breaks=0, then=[(X, Plain(), Plain())])


def test_tensor_stored_in_attribute() -> None:
    def f(x, o):
        o.t = x + 1
        o.l = [o.t, x]
        return o.t * 2

    same(f, X, Plain(), graphs=1, breaks=0)


def test_method_identity() -> None:
    def f(x, o):
        m = o.__init__
        return x + 1, o.__init__ is m, o.__init__ == m, m.__self__ is o, m.__func__ is Plain.__init__

    same(f, X, Plain(), graphs=1, breaks=0)


class Hook:
    """A callable that is no function."""

    calls = 0

    def __call__(self, *args):
        Hook.calls += 1
        self.last = args[1:]


class Hooked:
    __set__ = Hook()
    __delete__ = functools.partial(operator.setitem, SEEN, "deleted")
    __get__ = staticmethod(lambda *args: len(args))


class OwnProperty(property):
    pass


class WithHooks:
    a = Hooked()

    @OwnProperty
    def b(self):
        return self.c

    @b.setter
    def b(self, value):
        SEEN["set"] = self.c = value


def test_setters_of_descriptors_that_are_no_functions() -> None:
    def f(x, o):
        own = WithHooks()
        for one in (own, o):
            one.a = x
            one.b = x + 1
            del one.a
        return Hook.calls, Hooked.__set__.last, own.b, o.b

    SEEN.clear()
    compiled = alternator.compile(f, backend="eager")
    for number in range(1, 5):
        o, fn = WithHooks(), f if number % 2 else compiled
        assert str(fn(X, o)) == str((2 * number, (X,), X + 1, X + 1))
        assert torch.equal(SEEN["set"], X + 1) and SEEN["deleted"] is o and vars(o).keys() == {"c"}


class PerThread(threading.local):
    shared = 1

    def __init__(self, start=3) -> None:
        self.number = start


LOCAL, PLAIN_LOCAL = PerThread(5), threading.local()


def use_locals(x):
    LOCAL.number += 1
    LOCAL.shared = LOCAL.shared + 1
    PLAIN_LOCAL.number = getattr(PLAIN_LOCAL, "number", 0) + 1
    LOCAL.__dict__["item"] = PLAIN_LOCAL.number
    return x * LOCAL.number + PLAIN_LOCAL.number, hasattr(LOCAL, "nothing"), sorted(vars(LOCAL))


def test_what_each_thread_has_of_a_local() -> None:
    recorder = Recorder()
    compiled = alternator.compile(use_locals, backend=recorder, fullgraph=True)
    seen = []

    def run() -> None:
        for fn in (use_locals, compiled, compiled, use_locals):
            result = fn(X)
            seen.append((str(result), dict(LOCAL.__dict__), dict(PLAIN_LOCAL.__dict__)))

    for _ in range(2):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert seen[:4] == seen[4:] and [state["number"] for _, _, state in seen[:4]] == [1, 2, 3, 4]
    assert [state["number"] for _, state, _ in seen[:4]] == [6, 7, 8, 9] and recorder.frame_count
    assert vars(LOCAL) == {"number": 5} and not vars(PLAIN_LOCAL)


class Noted(property):
    """A property that says more of itself."""

    def __init__(self, fn, note=""):
        super().__init__(fn)
        self.note = note

    def __call__(self, fn):
        return Noted(fn, self.note)


class Renamed(Noted):
    fget = None


class WithNoted:
    scale = 3.0

    @Noted
    def doubled(self):
        return self.scale * 2

    @Renamed
    def tripled(self):
        return self.scale * 3

    @Noted
    def missing(self):
        raise AttributeError("none of this name")

    nothing = Noted(None)


def test_properties_of_subclasses_of_property():
    owner = WithNoted()

    def fn(x):
        found = [getattr(owner, "missing", None), hasattr(owner, "nothing"), type(WithNoted.doubled).__name__]
        return x * owner.doubled + owner.tripled, found

    same(fn, torch.randn(3))
    same(lambda x: x * owner.doubled, torch.randn(3), graphs=1, breaks=0)

    def writes(x):
        try:
            owner.doubled = 1
        except AttributeError as error:
            return x + 1, type(error)

    same(writes, torch.randn(3))


def test_methods_of_tensors_that_are_replaced_or_added_are_seen(monkeypatch):
    def fn(x):
        return x.mul(3), x.newly() if hasattr(x, "newly") else 0, x.t

    compiled = alternator.compile(fn, backend="aot_eager")
    x = torch.ones(2)
    assert_same(fn(x)[:2], compiled(x)[:2])
    monkeypatch.setattr(torch.Tensor, "mul", torch.Tensor.sub)
    assert_same(fn(x)[:2], compiled(x)[:2])
    monkeypatch.setattr(torch.Tensor, "newly", lambda self: self + 5, raising=False)
    assert_same(fn(x)[:2], compiled(x)[:2])
    monkeypatch.undo()
    assert_same(fn(x)[:2], compiled(x)[:2])


class Items(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__
    __delattr__ = dict.__delitem__

    def __deepcopy__(self, memo):
        return Items(self)


def test_methods_of_builtins_that_write_attributes() -> None:
    def of(x, d):
        d.t = x * 2
        d.n = d.a + 1
        del d.a
        return d.t + d["n"], list(d)

    def fresh(x):
        return of(x, Items(a=1))

    same(of, X, Items(a=1), then=[(X, Items(b=0, a=2))], graphs=1, fullgraph=True)
    same(fresh, X, graphs=1, fullgraph=True)
    same(lambda x, d: of(x, d), X, Items(b=1), fullgraph=True)  # the key is missing


def test_a_getter_in_c_that_raises() -> None:
    """Only AttributeError means that there is no such attribute; the view of the next call may not be released."""

    def fn(x, view):
        try:
            return x + 1, view.nbytes
        except ValueError as error:
            return x - 1, str(error)

    released, other = memoryview(b"abc"), memoryview(b"abc")
    released.release()
    compiled = alternator.compile(fn, backend="eager")
    for view in (released, other, released, other):
        assert_same(compiled(X, view), fn(X, view))


GRAPH_IN_C = torch._C.Graph()


def test_a_method_of_a_pybind11_class_is_bound_like_one_in_python() -> None:
    def fn(x):
        y = x * 2
        bound = GRAPH_IN_C.inputs
        return y.sin(), type(bound).__name__, bound.__self__ is GRAPH_IN_C, bound.__name__

    same(fn, X, graphs=1, breaks=0)


def test_a_call_of_a_method_of_a_pybind11_class_is_one_break() -> None:
    def fn(x):
        y = x * 2
        count = len([*GRAPH_IN_C.inputs()])
        bound = GRAPH_IN_C.inputs
        alternator.graph_break()
        return y + count, bound == GRAPH_IN_C.inputs

    codes = [reason.code for reason in same(fn, X).breaks]
    assert codes.count("UNKNOWN_C_FUNCTION") == 1 and "UNSUPPORTED_ATTRIBUTE" not in codes


class OnlySlots:
    __slots__ = ("value",)
    shared = 7

    def method(self):
        pass


class HasSpace:
    shared = 7


@pytest.mark.parametrize("kind", [OnlySlots, HasSpace])
@pytest.mark.parametrize("name", ["value", "shared", "method", "nothing"])
@pytest.mark.parametrize("change", [lambda o, name: setattr(o, name, 1), delattr])
@pytest.mark.parametrize("inside", [False, True])
def test_what_an_object_without_a_dict_refuses_meets_the_handlers(kind, name, change, inside):
    def fn(x, o):
        o = kind() if inside else o
        y = x + 1
        try:
            change(o, name)
        except AttributeError as error:
            return y * 2, str(error), error.name
        return y, getattr(o, name, "gone")

    compiled = alternator.compile(fn, backend="eager")
    for _ in range(2):
        assert repr(compiled(torch.ones(2), kind())) == repr(fn(torch.ones(2), kind()))


def _counting(base, made):
    """A class whose special methods are made of functions in some way."""

    class Odd(base):
        def __init__(self) -> None:
            object.__setattr__(self, "k", 5)

        def size(self):
            return self.k

        def has(self, item):
            return item == "step"

        def item(self, key):
            return self.k * 2

        def put(self, name, value):
            object.__setattr__(self, name, value * 2)

        def put_item(self, key, value):
            object.__setattr__(self, "k", value * 3)

        def drop_item(self, key):
            object.__setattr__(self, "k", 11)

        def drop(self, name):
            object.__setattr__(self, "k", 12)

        def other(self, name):
            return name

        __len__, __contains__, __getitem__ = made(size), made(has), made(item)
        __setattr__, __setitem__, __delitem__, __delattr__ = made(put), made(put_item), made(drop_item), made(drop)
        __getattr__ = made(other)

    return Odd


def _written(x, make):
    o = make()
    seen = [len(o), "step" in o, o["q"], o.nothing]
    o.k = 3
    seen.append(o.k)
    o["a"] = 4
    seen.append(o.k)
    del o["a"]
    seen.append(o.k)
    del o.nothing
    return x + 1, seen, o.k


def _read(x, o):
    seen = [len(o), "step" in o, o["q"], o.nothing]
    o.k = 3
    seen.append(o.k)
    o["a"] = 4
    seen.append(o.k)
    return x + 1, seen


MADE_OF = {
    "compiled": lambda fn: alternator.compile(fn, backend="eager"),
    "partialmethod": functools.partialmethod,
    "instance": lambda fn: Bound(fn),
    "function": lambda fn: fn,
}


class Bound:
    def __init__(self, fn):
        self.fn = fn

    def __get__(self, obj, kind):
        return types.MethodType(self.fn, obj)


@pytest.mark.parametrize("base", (object, dict, list))
@pytest.mark.parametrize("made", MADE_OF)
def test_special_methods_that_are_no_functions(base, made) -> None:
    Odd = _counting(base, MADE_OF[made])
    compiled = alternator.compile(_written, backend="eager")
    for _ in range(2):
        assert_same(_written(X, Odd), compiled(X, Odd))
    compiled = alternator.compile(_read, backend="eager")
    for _ in range(2):
        one, other = Odd(), Odd()
        assert_same(_read(X, one), compiled(X, other))
        assert one.k == other.k == 12


def test_class_attributes_whose_descriptor_is_of_c_break() -> None:
    lazily = type("lazily", (classmethod,), {})

    class Some:
        k = 2

        @lazily
        def make(cls, x):
            return x * cls.k

    same(lambda x: Some.make(x) + 1, X)


@pytest.mark.parametrize(
    "use",
    (
        lambda x, o: [0, 1, 2, 3][o] + x,
        lambda x, o: len(range(o)) + x,
        lambda x, o: operator.index(o) + x,
        lambda x, o: len([1, 2, 3][:o]) + x,
        lambda x, o: x[o] + x[:o].sum(),
        lambda x, o: len([0] * o) + x,
    ),
)
def test_methods_that_native_code_finds_are_guarded(use) -> None:
    class Number:
        def __index__(self):
            return 1

    def check():
        outcomes = []
        for fn in (use, compiled):
            try:
                outcomes.append(fn(X, Number()))
            except (TypeError, IndexError) as error:
                outcomes.append(type(error))
        assert_same(*outcomes)

    compiled = alternator.compile(use, backend="eager")
    check()
    first = Number.__index__
    Number.__index__ = lambda self: 2  # type: ignore[method-assign]
    check()
    second = Number.__index__
    for method in (first, second, None, second):
        if method is None:
            del Number.__index__
        else:
            Number.__index__ = method  # type: ignore[method-assign]
        check()


def test_a_class_that_c_code_makes_up() -> None:
    class Odd(Exception):
        __class__ = BaseException.__dict__["__cause__"]  # type: ignore[assignment]

    same(lambda x, o: (x + 1, o.__class__ is Odd, o.__class__ is None, isinstance(o, int)), X, Odd())
