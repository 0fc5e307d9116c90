"""Python's builtin functions, also where they call the user's special methods."""

from __future__ import annotations

import enum
import math
import operator
from typing import Any

import pytest
import torch
from helpers import same

X = torch.arange(4.0)


def test_numbers() -> None:
    def f(x, n, z):
        return (
            abs(-n), round(z, 1), round(2.5), pow(n, 2), pow(n, 2, 5), divmod(n, 2), int("12"), int("ff", 16), int(2.9), float("1.5"), float(n), complex(1, 2), bool(n),
            hex(n), oct(n), bin(n), chr(97), ord("b"), min(n, 2), max([1, n]), min([3, 1], key=lambda v: -v), max([], default=4), sum([1, 2], n), sum([[1], [2]], []),
            n.bit_length(), z.is_integer(), z.as_integer_ratio(), (3).to_bytes(2, "big"), int.from_bytes(b"ab", "big"), float.fromhex("0x1p3"), 7 // 2, -7 // 2, -7 % 3, 2**-1,
            x + n,
        )  # fmt: skip

    same(f, X, 3, 2.25, graphs=1, breaks=0)


def test_math_and_operator() -> None:
    def f(x, n):
        return (
            math.sqrt(n), math.floor(2.7), math.ceil(2.1), math.prod([1, 2, n]), math.gcd(12, n), math.log(n), math.pi, math.isclose(1.0, 1.0), math.factorial(n), math.comb(5, n), math.inf, math.isnan(math.nan),
            operator.add(n, 1), operator.itemgetter(1)([1, 2]), operator.attrgetter("imag")(n), operator.methodcaller("bit_length")(n), operator.mul(x, 2), operator.getitem([1, 2], 0), operator.contains([1], 1),
            operator.itemgetter(0, 1)((x, 2)), operator.index(n), operator.not_(n), operator.truth(n), operator.eq(n, 3), operator.neg(x), operator.attrgetter("shape")(x),
        )  # fmt: skip

    same(f, X, 3, graphs=1, breaks=0)


def test_operator_in_place() -> None:
    def f(x, l):
        l2 = operator.iadd(l, [1])
        operator.setitem(l, 0, 9)
        operator.delitem(l, 1)
        y = operator.iadd(x.clone(), 1)
        return l2 is l, y, operator.concat([1], [2])

    same(f, X, [5, 6], graphs=1, breaks=0)


def test_iteration() -> None:
    def f(x, l, d):
        return (
            list(enumerate(l, 1)), list(zip(l, d, strict=False)), list(map(lambda a, b: a + b, l, l)), list(filter(None, l)), list(filter(lambda v: v > 1, l)), list(reversed(l)), sorted(l, reverse=True),
            sorted(d), sorted(d.items(), key=lambda kv: -kv[1]), any(l), all(l), list(range(3)), tuple(l), set(l), frozenset(l), dict(zip("ab", l)), dict([("a", 1)], b=2), list(d), next(iter(l)), next(iter([]), 5),
            [a for a, b in zip(l, l)], len(d), sum(v for v in l), x + 1, list(map(str, l)), list(map(len, ["a", "bb"])),
        )  # fmt: skip

    same(f, X, [2, 0, 1], {"b": 2, "a": 1}, graphs=1, breaks=0)


def test_zip_strict() -> None:
    def f(x, l):
        x = x + 1
        try:
            list(zip(l, [1], strict=True))
        except ValueError as e:
            return x, str(e)

    same(f, X, [1, 2], graphs=1, breaks=0)


def test_type_checks() -> None:
    class A:
        pass

    class B(A):
        pass

    def f(x, o, n):
        return (
            isinstance(o, A), isinstance(o, (int, B)), isinstance(n, int | str), isinstance(x, torch.Tensor), isinstance(x, torch.nn.Parameter), issubclass(B, A), issubclass(bool, int), type(o) is B, type(n) is int,
            callable(o), callable(f), callable(A), isinstance(None, type(None)), isinstance([], list), isinstance(True, int), isinstance(A, type), type(x) is torch.Tensor, isinstance(n, float), type(o).__name__, type([]) == list,
            x + 1,
        )  # fmt: skip

    same(f, X, B(), 3, graphs=1, breaks=0)


def test_abstract_classes() -> None:
    import collections.abc as abc
    import numbers

    class It:
        def __iter__(self):
            return iter([])

    class M(abc.Mapping):
        def __init__(self, d):
            self.d = d

        def __getitem__(self, k):
            return self.d[k]

        def __len__(self):
            return len(self.d)

        def __iter__(self):
            return iter(self.d)

    def f(x):
        m = M({"a": 1, "b": x})
        return (
            isinstance([], abc.Sequence), isinstance({}, abc.Mapping), isinstance(It(), abc.Iterable), isinstance(3, numbers.Number), isinstance("s", abc.Hashable), isinstance(x, abc.Iterable), issubclass(dict, abc.MutableMapping),
            m.get("a"), m.get("z", 5), "a" in m, list(m.keys()), list(m.items())[0], {**m}["b"] + 1, dict(m), isinstance(m, abc.Mapping), isinstance((i for i in []), abc.Iterator), list(m.values())[0],
        )  # fmt: skip

    same(f, X, graphs=1, breaks=0)


def test_instancecheck_hook() -> None:
    class Meta(type):
        def __instancecheck__(cls, obj):
            return obj == 5

        def __subclasscheck__(cls, sub):
            return sub is int

    class A(metaclass=Meta):
        pass

    def f(x):
        return isinstance(5, A), isinstance(6, A), issubclass(int, A), issubclass(str, A), x + 1

    same(f, X, graphs=1, breaks=0)


class Ord:
    def __init__(self, n):
        self.n = n

    def __lt__(self, other):
        return self.n < other.n

    def __eq__(self, other):
        return self.n == getattr(other, "n", None)

    def __hash__(self):
        return hash(self.n)

    def __repr__(self):
        return f"Ord({self.n})"

    def __add__(self, other):
        return Ord(self.n + getattr(other, "n", other))

    def __radd__(self, other):
        return Ord(other + self.n)

    def __int__(self):
        return int(self.n)

    def __float__(self):
        return float(self.n)

    def __bool__(self):
        return self.n > 1

    def __len__(self):
        return 7

    def __contains__(self, item):
        return item == self.n

    def __round__(self, digits=None):
        return ("round", digits)

    def __abs__(self):
        return 11

    def __format__(self, spec):
        return f"{self.n}:{spec}"

    def __call__(self, *args):
        return args

    def __complex__(self):
        return complex(self.n)

    def __reversed__(self):
        return iter([self.n])

    def __floor__(self):
        return 4

    def __trunc__(self):
        return 5

    def __dir__(self):
        return ["a"]


def test_user_methods_called_by_native_code() -> None:
    def f(x, o):
        l = [Ord(3), Ord(1), o]
        return (
            [i.n for i in sorted(l)], max(l).n, min(l).n, sum(l).n, [i.n for i in sorted(l, key=lambda i: -i.n)], Ord(1) in l, l.index(o), l.count(Ord(1)), Ord(1) == Ord(1), l == [Ord(3), Ord(1), Ord(o.n)], {Ord(1): 2}[Ord(1)],
            len({Ord(1), Ord(1)}), int(o), float(o), bool(o), len(o), 2 in o, round(o), round(o, 3), abs(o), f"{o:>3}", str(o), repr(l), format(o, "q"), o(1, 2), complex(o), list(reversed(o)), math.floor(o),
            "%s %r" % (o, o), "{!r:}".format(o), any([Ord(0), o]), all([o]), [1] if o else [2], not o, o and 1, hash(o), x + o.n, (Ord(1), 1) < (Ord(2), 0), max(l, key=lambda i: -i.n).n, list(filter(None, [Ord(0), Ord(9)]))[0].n,
        )  # fmt: skip

    same(f, X, Ord(2), graphs=1, breaks=0, then=[(X, Ord(0))])


def test_special_methods_that_compute_tensors() -> None:
    class V:
        def __init__(self, t):
            self.t = t

        def __add__(self, o):
            return V(self.t + o.t)

        def __radd__(self, o):
            return self

        def __lt__(self, o):
            self.t = self.t + 1
            return id(self) < 0

        def __getitem__(self, i):
            return self.t[i]

        def __len__(self):
            return self.t.shape[0]

        def __iter__(self):
            return iter(self.t)

        def __call__(self, y):
            return self.t * y

    def f(x):
        vs = [V(x), V(x + 1)]
        sorted(vs)
        return sum(vs).t, [v.t for v in vs], list(map(vs[0], [1, 2])), len(vs[0]), [e + 1 for e in vs[0]], list(zip(vs[0], vs[1]))

    same(f, X, graphs=1, breaks=0)


def test_sorting_is_stable_and_raises_through() -> None:
    class Bad:
        def __lt__(self, other):
            raise KeyError("in lt")

    def f(x):
        x = x + 1
        try:
            sorted([Bad(), Bad()])
        except KeyError as e:
            return x, str(e), sorted([(1, "b"), (0, "z"), (1, "a")], key=lambda t: t[0])

    same(f, X, graphs=1, breaks=0)


def test_getattr_family_and_vars() -> None:
    class C:
        a = 1

        def __init__(self):
            self.b = 2

    def f(x, o):
        return x + 1, getattr(o, "a"), getattr(o, "zz", None), hasattr(o, "b"), vars(o), vars(C())["b"]

    same(f, X, C(), graphs=1, breaks=0)


def test_id_and_is() -> None:
    def f(x, o):
        a = [1]
        seen = {id(a): 1, id(x): 2}
        return x + 1, id(a) in seen, id(x) in seen, id(a) == id([2, 3]), id(x) == id(x), a is not o

    same(f, X, [1], breaks=0)


def test_print_is_deferred_in_order() -> None:
    def f(x, n):
        print("start", n)
        y = x + 1
        print("y is", y.shape, end="!\n")
        print(n, "a", sep="-")
        return y

    same(f, X, 3, graphs=1, breaks=0)


def test_print_of_a_tensor() -> None:
    def f(x):
        y = x + 1
        print("value", y)
        print(f"{len(y)} items")
        return y * 2

    same(f, X)


def test_print_of_things_that_change() -> None:
    def f(x, l):
        mine = [1]
        print(mine, l)
        mine.append(2)
        l.append(3)
        print(mine, l)
        return x + 1

    same(f, X, [0])


def test_print_of_objects() -> None:
    class C:
        n = 1

        def __repr__(self):
            return f"C({self.n})"

    def f(x, o):
        print(o, [o], {"k": o})
        o.n = 2
        print(o)
        return x + o.n

    same(f, X, C())


def test_locals_globals_and_dir() -> None:
    def f(x, n):
        y = n + 1
        names = sorted(locals())
        return x + locals()["y"], names, "torch" in globals()

    same(f, X, 3)


def test_exec_and_eval() -> None:
    def f(x):
        y = x + 1
        n = eval("1 + 2")
        scope = {}
        exec("a = 5", scope)
        return y + n + scope["a"]

    same(f, X)


def test_input_objects_compared_natively() -> None:
    def f(x, a, b):
        return x + 1, a == b, a != b, a in [b], [a] == [b], {"k": a} == {"k": b}, (a,) == (b,)

    same(f, X, Ord(1), Ord(1), graphs=1, breaks=0, then=[(X, Ord(1), Ord(2))])


def test_slices_and_iter_objects() -> None:
    def f(x):
        it = iter([1, 2, 3])
        a = next(it)
        z = zip([1, 2], [3, 4])
        next(z)
        e = enumerate("abc")
        next(e)
        m = map(lambda v: v + 1, [1, 2, 3])
        next(m)
        return x + a, list(it), list(z), list(e), list(m)

    same(f, X, graphs=1, breaks=0)


def test_iterators_returned() -> None:
    def f(x):
        it = iter([1, x + 1, 3])
        next(it)
        e = enumerate("ab", 5)
        return it, e, zip([1], "a"), reversed([1, 2]), iter(range(3)), range(4)

    import alternator

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        plain, made = f(X), compiled(X)
        assert [type(a) for a in plain] == [type(a) for a in made]
        for a, b in list(zip(plain, made))[1:]:
            assert list(a) == list(b)
        assert torch.equal(next(made[0]), X + 1) and list(made[0]) == [3]


def test_map_and_filter_are_what_they_are() -> None:
    def f(x):
        m = map(lambda v: v + 1, [x, x * 2])
        k = filter(None, [0, 3, 4])
        first = next(k)
        return type(m) is map, isinstance(k, filter), m, k, first, x + 1, map(int, ["1"]), hasattr(m, "send")

    import alternator

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        plain, made = f(X), compiled(X)
        assert made[:2] == (True, True) and made[4] == 3 and made[7] is False
        assert type(made[2]) is map and type(made[3]) is filter
        assert [t.tolist() for t in made[2]] == [t.tolist() for t in plain[2]]
        assert list(made[3]) == list(plain[3]) == [4] and list(made[6]) == [1]


def test_text_of_numbers_that_vary() -> None:
    def f(x, i):
        e = ValueError(i, "a")
        return (
            x + i,
            repr(e),
            str(ValueError(i)),
            str([i, (i,)]),
            repr({"k": i}),
            f"{i:03d} {i + 1}",
            "%d %s" % (i, [i]),
            "{} {a}".format(i, a=i),
        )

    same(f, X, 3, graphs=1, breaks=0, then=[(X, 4), (X, 5)])


def test_instances_of_classes_that_stand_for_kinds_of_tensors():
    kinds = (torch.FloatTensor, torch.DoubleTensor, torch.cuda.FloatTensor, torch.sparse.FloatTensor, torch.autograd.Variable)

    def fn(x):
        return [isinstance(one, kind) for one in (x, x.double(), 3, None) for kind in kinds], x * 2

    same(fn, torch.ones(2), then=[(torch.nn.Parameter(torch.ones(2)),), (torch.ones(2, dtype=torch.int64),)], fullgraph=True)


class OwnParameter(torch.nn.Parameter):
    pass


def test_instances_of_a_class_of_parameters():
    def fn(x):
        return isinstance(x, OwnParameter), isinstance(x, torch.nn.Parameter), isinstance(x, torch.nn.Buffer), x * 2

    given = [torch.nn.Parameter(torch.ones(2)), OwnParameter(torch.ones(2)), torch.nn.Buffer(torch.ones(2))]
    same(fn, torch.ones(2), then=[(one,) for one in given], fullgraph=True)


class Reduction(str, enum.Enum):
    SUM = "sum"
    MEAN = "mean"


class Word(str):
    pass


class Odd(str):
    def __hash__(self):
        return 1


class Held:
    def __init__(self):
        self.scale = 2.0


def test_names_of_attributes_that_are_instances_of_subclasses_of_str() -> None:
    def f(x, how, held):
        found = hasattr(x, how), hasattr(held, Word("nothing")), getattr(held, Word("scale"))
        held.other = object.__getattribute__(held, Word("scale"))
        delattr(held, Word("scale"))
        return found, getattr(x, how)(), getattr(torch, how)(x)

    def stores(x, held):
        setattr(held, Word("made"), x + 1)
        return [type(key) for key in vars(held)]

    same(f, X, Reduction.SUM, Held(), then=[(X, Reduction.MEAN, Held()), (X, Word("mean"), Held())], fullgraph=True)
    same(stores, X, Held())
    same(lambda x: (x + 1, getattr(x, Odd("shape"), None)), X)


class Shape(list):
    pass


def test_instances_of_subclasses_of_list_are_arguments_of_operations() -> None:
    def f(x, shape):
        return torch.nn.functional.pad(x, Shape([1, 2])), x.reshape(shape), torch.cat(Shape([x, x])), torch.tensor(Shape([1, 2]))

    same(f, torch.ones(4), Shape([2, 2]), then=[(torch.ones(4), Shape([4, 1]))], graphs=1, fullgraph=True)


@pytest.mark.parametrize(
    "refused",
    [
        lambda n: sorted([[1], n]),
        lambda n: min([1], n),
        lambda n: ([1], 2) < (n, 2),
        lambda n: max(n, "a"),
        lambda n: [n] > [None],
        lambda n: n in "abc",
        lambda n: "".join([n]),
        lambda n: {**n},
        lambda n: [*n],
        lambda n: len(n),
        lambda n: n[0],
        lambda n: [1, 2][:n:"a"],
        lambda n: round("a", n),
        lambda n: bytes([n, "a"]),
        lambda n: sum(["a"], n),
    ],
)
def test_errors_say_the_types_that_the_program_sees(refused: Any) -> None:
    def fn(x: Any, n: Any) -> Any:
        try:
            return x + 1, refused(n)
        except TypeError as error:
            return x + n, str(error)

    same(fn, torch.ones(2), 3, then=[(torch.ones(2), 4), (torch.ones(2), 5)])
