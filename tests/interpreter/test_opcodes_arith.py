"""Operators, comparisons, subscripts."""

from __future__ import annotations

import operator

import torch
from helpers import same

X = torch.arange(6.0).reshape(2, 3)


def test_binary_operators_on_tensors() -> None:
    def f(x, y):
        return (
            x + y,
            x - y,
            x * y,
            x / (y + 1),
            x // (y + 1),
            x % (y + 1),
            x**2,
            x @ y.T,
            2 - x,
            2**x,
            1 / (x + 1),
            7 // (x + 1),
            7 % (x + 1),
        )

    same(f, X, X + 1, graphs=1, breaks=0)


def test_bit_operators_on_tensors() -> None:
    def f(a, b):
        return a & b, a | b, a ^ b, ~a, a << 1, a >> 1, 3 & a, -a, +a

    same(f, torch.arange(5), torch.arange(5) + 2, graphs=1, breaks=0)


def test_in_place_operators() -> None:
    def f(x, y):
        x += y
        x -= 1
        x *= 2
        x /= 3
        x **= 2
        y //= 2
        y %= 3
        return x + y

    same(f, X, X + 5, graphs=1, breaks=0)


def test_in_place_operators_on_lists_keep_identity() -> None:
    def f(x, outside):
        mine = [x]
        alias = mine
        mine += [x + 1]
        outside += [1]
        outside *= 2
        return mine is alias, alias, outside

    same(f, X, [5], graphs=1, breaks=0)


def test_python_numbers() -> None:
    def f(x, n, m):
        return (
            x + (n + m) * (n - m) // 2 - n % m + n**m + (n << 1) + (n >> 1) + (n & m) + (n | m) + (n ^ m) + -n + ~m + +n,
            n / m,
            divmod(n, m),
        )

    same(f, X, 7, 3, graphs=1, breaks=0, then=[(X, 9, 4)])


def test_comparisons_chain() -> None:
    def f(x, n):
        if 0 < n <= 5 != 4:
            return x + 1
        return x - 1

    same(f, X, 3, graphs=1, breaks=0, then=[(X, 9), (X, 0)])


def test_tensor_comparisons() -> None:
    def f(x, y):
        return x < y, x <= y, x == y, x != y, x > y, x >= y, x == None, x != "a"  # noqa: E711

    same(f, X, X.flip(0), graphs=1, breaks=0)


def test_user_operators() -> None:
    class V:
        def __init__(self, x):
            self.x = x

        def __add__(self, other):
            return V(self.x + (other.x if isinstance(other, V) else other))

        def __radd__(self, other):
            return V(other - self.x)

        def __iadd__(self, other):
            self.x = self.x + 10
            return self

        def __mul__(self, other):
            return NotImplemented

        def __rmul__(self, other):
            return "rmul"

        def __matmul__(self, other):
            return self.x @ other

        def __neg__(self):
            return V(-self.x)

        def __invert__(self):
            return "inv"

        def __getitem__(self, key):
            return self.x[key]

        def __divmod__(self, other):
            return "divmod", other

        def __pow__(self, n, mod=None):
            return self.x**n

        def __abs__(self):
            return "abs"

        def __round__(self, n=None):
            return "round", n

    def f(x):
        v = V(x)
        w = v + 1 + v
        u = 5 + v
        v += 3
        return w.x, u.x, v.x, 3 * v, v @ x.T, (-v).x, ~v, v[0], v[:, 1], divmod(v, 2), v**2, abs(v), round(v), round(v, 2)

    same(f, X, graphs=1, breaks=0)


def test_reflected_operator_of_a_subclass_goes_first() -> None:
    class A:
        def __add__(self, other):
            return "A"

        def __lt__(self, other):
            return "A<"

    class B(A):
        def __radd__(self, other):
            return "B"

        def __gt__(self, other):
            return "B>"

    def f(x):
        return x + 1, A() + B(), A() < B(), B() + A()

    same(f, X, graphs=1, breaks=0)


def test_unsupported_operands() -> None:
    def f(x):
        x = x + 1
        try:
            x + "a"
        except TypeError:
            x = x + 1
        try:
            1 + "a"
        except TypeError as e:
            return x, str(e)

    same(f, X, graphs=1, breaks=0)


def test_identity_and_membership() -> None:
    def f(x, y, l):
        z = x
        return z is x, x is y, x is not None, 3 in l, 9 not in l, l is l, x + 1

    same(f, X, X + 1, [1, 2, 3], graphs=1, breaks=0)


def test_not() -> None:
    def f(x, a, b):
        return x + 1 if not a and not b else x - 1

    same(f, X, [], {}, graphs=1, breaks=0, then=[(X, [1], {}), (X, [], {1: 2})])


def test_subscripts() -> None:
    def f(x, l, d, t):
        l[0] = x
        d["k"] = x + 1
        d[t] = l[-1]
        l[1:2] = [7, 8]
        del l[2]
        del d["gone"]
        return l[0] + 1, d["k"], t[::-1], l[::2], x[0, 1], x[..., 0], x[None], x[:, 1:], x[[0, 1]], x[torch.tensor([1, 0])]

    same(f, X, [1, 2, 3], {"gone": 1}, (1, 2), graphs=1, breaks=0)


def test_tensor_setitem() -> None:
    def f(x):
        y = x.clone()
        y[0] = 1
        y[:, 1] += 2
        y[y > 3] = 0
        x[1] = 9
        return y

    same(f, X, graphs=1, breaks=0)


def test_index_protocol() -> None:
    class I:
        def __index__(self):
            return 1

    def f(x):
        l = [10, 20, 30]
        i = I()
        return x + l[i], l[i:], x[i], list(range(i, 3)), hex(i), [0] * i

    same(f, X, graphs=1, breaks=0)


def test_key_error_and_index_error() -> None:
    def f(x, d, l):
        x = x + 1
        try:
            d["missing"]
        except KeyError as e:
            x = x + len(e.args)
        try:
            l[10]
        except IndexError as e:
            return x, str(e)

    same(f, X, {"a": 1}, [1], graphs=1, breaks=0)


def test_missing_hook() -> None:
    class D(dict):
        def __missing__(self, key):
            return key * 2

    def f(x, d):
        mine = D()
        return x + mine[2] + d[3], d.get(3), 3 in d

    same(f, X, D(a=1), graphs=1, breaks=0)


def test_the_product_of_matrices_in_place_makes_another_tensor() -> None:
    def f(x, w):
        y = x
        y @= w
        z = operator.imatmul(x, w)
        return x + 1, y, z, y is x

    same(f, X, torch.eye(3) * 2, graphs=1, fullgraph=True)


def test_conditions_on_sizes_are_one_of_two_objects() -> None:
    def f(x):
        large, small = x.shape[0] > 4, x.shape[0] <= 4
        return x + 1, large is True, large is not False, large is small, large is (x.shape[0] > 3), small is None

    same(f, torch.ones(3), then=[(torch.ones(4),), (torch.ones(5),), (torch.ones(6),)], fullgraph=True)
