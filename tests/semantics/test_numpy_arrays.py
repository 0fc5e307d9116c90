"""NumPy code: arrays are tensors, scalars are constants with a dtype, dtypes are NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import same

import alternator

X = torch.arange(4.0)


@pytest.mark.parametrize("dtype", [float, int, "float32", "int", np.float64, np.int32, np.uint8, np.dtype("float32")])
def test_dtypes_are_given_in_every_form(dtype) -> None:
    def f(n, dt):
        return np.arange(n, dtype=dt) + np.ones(n, dtype=dt), np.zeros(3).astype(dt)

    report = same(f, 5, dtype, fullgraph=True)
    assert len(report.graphs) == 1


def test_a_dtype_is_compared_and_returned() -> None:
    def f(a):
        b = a.astype(np.float32)
        return b + 1, b.dtype == np.float32, a.dtype == "float64", b.dtype

    same(f, np.ones(3), fullgraph=True, graphs=1)


def test_length_and_iteration_of_arrays_from_outside() -> None:
    def f(a):
        return a.sum() / len(a), [row * 2 for row in a]

    same(f, np.arange(6.0).reshape(3, 2), fullgraph=True, graphs=1)


def test_in_place_operators_write_into_arrays() -> None:
    def f(a):
        mask = np.zeros_like(a)
        mask += a > 1
        return mask

    same(f, np.arange(4.0), fullgraph=True, graphs=1)


def test_scalars_are_constants_of_their_type() -> None:
    def f(x, a, b):
        return x + (a % b), x * float(b), np.array([b, b]), b + 1, b > 2

    same(f, X, 4096, np.int64(8), fullgraph=True, graphs=1, then=[(X, 4097, np.int64(9)), (X, 4096, np.int32(8))], recompiles=2)


def test_a_scalar_beside_an_array_has_a_dtype() -> None:
    def f(a, s):
        return s * a, a + s, np.add(a, s), np.multiply(s, a)

    same(
        f,
        np.ones(3, dtype=np.float32),
        np.float64(2),
        fullgraph=True,
        graphs=1,
        then=[(np.ones(3, dtype=np.float32), np.float32(2))],
    )


def test_a_scalar_is_called_with_numbers_and_with_arrays() -> None:
    def f(x, n):
        return x * np.float32(n), np.int64(n), np.bool_(n)

    same(f, X, 3, fullgraph=True, graphs=1)


def test_read_only_arrays_are_not_captured_and_not_warned_about(recwarn) -> None:
    def f(x, a):
        return x + 1, a

    frozen = np.broadcast_to(np.arange(3), (2, 3))
    compiled = alternator.compile(f, backend="eager")
    assert compiled(X, frozen)[1] is frozen
    assert not [w for w in recwarn if "not writable" in str(w.message)]


def test_an_array_that_becomes_read_only_is_seen() -> None:
    def f(a):
        a += 1
        return a * 2

    compiled = alternator.compile(f, backend="eager")
    compiled(np.ones(3))
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        compiled(frozen)


def test_builtins_without_keywords_refuse_them() -> None:
    def f(x):
        try:
            isinstance(x, torch.Tensor, invalid=True)
        except TypeError as e:
            return x + 1, str(e)

    same(f, X, fullgraph=True, graphs=1)


def test_scalars_and_arrays_of_no_dimensions() -> None:
    def f(a, t):
        zero = np.zeros(())
        return a.sum(), np.mean(a), a[1], zero, zero + 1, t.numpy(), a[:1].squeeze(), np.array(2.5), a[:1].reshape(()).copy()

    same(f, np.arange(3.0), torch.tensor(2.0), fullgraph=True, graphs=1)


class Odd(torch.Tensor):
    """Cannot be captured."""


def test_what_cannot_be_looked_at_is_handed_on() -> None:
    def f(x, odd, frozen):
        y = x + 1
        other = odd
        pair = (y, frozen)
        twice = odd + 1
        return pair, twice * 2, other

    frozen = np.arange(3)
    frozen.flags.writeable = False
    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        (y, kept), twice, other = compiled(X, odd := X.as_subclass(Odd), frozen)
        assert kept is frozen and other is odd and type(twice) is Odd
        assert torch.equal(y, X + 1) and torch.equal(twice.as_subclass(torch.Tensor), (X + 1) * 2)


def test_functions_of_plain_numbers_give_scalars() -> None:
    def f(x, d):
        root = np.sqrt(d)
        x = x.clone()
        x *= root
        x += np.add(d, np.float32(0.5))
        return x * root, root, type(root).__name__, torch.exp(x * -np.log(2.0)), x.dtype

    same(f, torch.ones(3), 16, fullgraph=True, graphs=1)
    same(f, torch.ones(3, dtype=torch.float64), 2.0, fullgraph=True, graphs=1)


def test_numbers_of_numpy_as_bounds_of_slices() -> None:
    def f(x, low, high):
        first, last = np.clip(low, 0, 3), np.clip(high, 0, 4)
        y = x.clone()
        y[:, first:last] = x[:, first:last] * 2
        return y, x[0, first:last], last - first

    same(f, torch.arange(10.0).view(2, 5), np.int64(1), np.int64(3), then=[(torch.ones(2, 5), np.int64(0), np.int64(9))])


def test_functions_of_numbers_that_vary_give_what_numpy_gives() -> None:
    """Types, dtypes and the difference of scalars and arrays are NumPy's, however the numbers came about."""

    def f(x, n, p):
        low, root = np.clip(n, 0, 6), np.sqrt(p)
        made = low, root, np.where(n > 2, 1.0, 2.0), np.sum([1, n]), np.maximum(n, 3) * 1.5, low - n // 2, low * 0.5 + root, -root
        kinds = [type(one) for one in made], isinstance(root, float), isinstance(low, np.integer), isinstance(low, int)
        return x * root + low, made, kinds

    rest = [(torch.full((2,), 3.0), n, p) for n, p in ((5, 0.5), (9, 2.25), (-3, 7.0))]
    same(f, torch.ones(2), 4, 1.5, then=rest)


def test_scalars_are_numbers_beside_tensors() -> None:
    def f(x, y, a):
        s, k = a.mean(), a.argmax()
        z = x.clone()
        z[0] = s
        return x * s, s * x, y + k, torch.full((2,), s), (x * s).dtype, s + 1, z, F.dropout(x, s * 0)

    x, y = torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.int64)
    same(f, x, y, np.array([0.5, 2.5, 1.0]), then=[(x, y, np.array([5.0, 2.5, 1.0]))])


def test_scalars_are_never_written_to() -> None:
    def f(a):
        s = t = a.sum()
        s += 1
        t *= 2
        array = b = np.zeros(())
        b += 1
        return s, t, array

    same(f, np.arange(3.0), fullgraph=True, graphs=1)


def test_what_only_numpy_can_do_with_its_scalars_breaks() -> None:
    def f(x, a):
        s, k = a.sum(), a.argmax()
        shown = f"{s:.2f} {k}", repr(s), str(k), "%s" % s, round(s, 1), hash(s), {k: 1}, s.is_integer(), s.hex(), a.tobytes()
        cast = a.astype(np.float32, copy=False)
        try:
            a.nothing
        except AttributeError as error:
            return x + 1, shown, cast, str(error), hasattr(a, "tensor"), hasattr(s, "tensor")

    same(f, torch.ones(2), np.array([1.0, 2.5]))


def test_where_torch_fails_numpy_may_not() -> None:
    def f(a, b):
        try:
            c = a @ b
        except ValueError as error:
            c = type(error)
        return c, -a, np.concatenate([a, a], dtype=np.float32)

    same(f, np.ones((2, 3)), np.ones((2, 2)))


def test_an_array_and_the_tensors_made_of_it_share_nothing_but_memory() -> None:
    def f(x):
        x = x + 1
        a = x.numpy()
        y, z = torch.from_numpy(a), torch.as_tensor(a)
        y.tag = 1
        z.add_(1)
        return y is x, z is x, y is torch.from_numpy(a), z is torch.asarray(a), hasattr(x, "tag"), x, y, z, a

    same(f, torch.ones(3), graphs=1)


@pytest.mark.parametrize("grad", [False, True])
def test_an_array_over_an_argument(grad: bool) -> None:
    def f(x):
        return x.numpy(force=True)

    def g(x, n):
        a = x.detach().numpy()
        a += n
        return torch.from_numpy(a).requires_grad_(not x.requires_grad), a

    same(f, torch.ones(3, requires_grad=grad), graphs=1)
    same(g, torch.ones(3, requires_grad=grad), 2.0)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32, np.float64])
def test_scalars_that_vary_take_one_graph_more(kind: type) -> None:
    def f(x, n):
        return x * n, n - x, x / n, 3 / (x + 7) ** n, n, n + 1, x.add(n), isinstance(n, float), type(n).__name__

    graphs = []
    compiled = alternator.compile(f, backend=lambda gm, _: graphs.append(gm) or gm.forward)
    for number in (2, 3, 4, 5, 6):
        for x in (X, X.double(), X.long(), X[0], X.clone().requires_grad_()):
            found, expected = compiled(x, kind(number)), f(x, kind(number))
            assert found[7:] == expected[7:]
            for one, other in zip(found[:7], expected[:7]):
                assert type(one) is type(other) and getattr(one, "dtype", None) == getattr(other, "dtype", None)
                np.testing.assert_allclose(torch.as_tensor(one).detach(), torch.as_tensor(other).detach(), rtol=1e-6)
    assert len(graphs) <= 2 * 5


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_scalars_that_the_program_looks_at_are_constants(backend: str) -> None:
    def f(x, n):
        y = x * n
        return (y + 1 if n > 3 else y - 1), list(range(n)), {n: 1}, f"{n}", x.repeat(n)

    compiled = alternator.compile(f, backend=backend)
    for number in (2, 3, 4, 5, 3):
        assert repr(compiled(X, np.int64(number))) == repr(f(X, np.int64(number)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functions_of_tensors_give_what_numpy_makes_of_them() -> None:
    def f(x):
        return (
            np.arccos(x),
            np.sum(x),
            np.abs([x[1], 2.0]),
            np.squeeze(x),
            np.array(x),
            np.atleast_1d(x, 2),
            np.linalg.eigh(np.eye(2)),
        )

    def g(x, fn):
        try:
            return x + 1, fn(x)
        except TypeError as error:
            return str(error)

    same(f, X / 4)
    for fn in (lambda x: np.all(), lambda x: np.sum(x.numpy(), wrong=1), lambda x: np.eye("a"), lambda x: np.dot(2, None)):
        same(g, X, fn)


def resized(a):
    a += 1
    return np.concatenate([a, a]).reshape(2, -1), a.shape[0], len(a), torch.from_numpy(a) * 2, np.zeros_like(a), a[: len(a) // 2]


def outcome(fn: Any, a: Any) -> Any:
    """What it gives, or raises: torch has no tensors over some arrays."""
    try:
        return fn(a)
    except ValueError as error:
        return str(error)


def test_arrays_that_no_tensor_can_be_over() -> None:
    def f(a):
        return a.sum(), a.dtype, a.strides

    compiled = alternator.compile(f, backend="eager")
    for a in (np.ones(4), np.ones(5), np.ones(4, dtype=">f8"), np.ones(8)[::-1], np.ones(3)):
        assert compiled(a) == f(a)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dynamic", [None, True])
def test_arrays_of_other_sizes_share_a_version(backend: str, dynamic: Any) -> None:
    alternator.reset()
    graphs: list[Any] = []

    def counting(gm: Any, inputs: Any) -> Any:
        graphs.append(gm)
        return alternator.backends.registry.lookup_backend(backend)(gm, inputs)

    compiled = alternator.compile(resized, backend=counting, dynamic=dynamic)
    for size in (4, 5, 6, 7, 12):
        given = [np.linspace(-1, 1, size) for _ in range(2)]
        assert repr(compiled(given[0])) == repr(resized(given[1]))
        np.testing.assert_array_equal(*given)
    assert len(graphs) == (1 if dynamic else 2)
    for other in (np.ones((2, 3)), np.ones(4, dtype=np.float32), np.ones(8)[::2], np.ones(4, dtype=np.int32), np.ones(8)[::-1]):
        given = [np.ones_like(other), np.ones_like(other)] if other.strides[0] > 0 else [np.ones(8)[::-1] for _ in range(2)]
        assert repr(outcome(compiled, given[0])) == repr(outcome(resized, given[1]))
    with pytest.raises(ValueError):
        compiled(np.broadcast_to(np.ones(1), (4,)))


def test_arrays_over_one_buffer_are_seen_to_be() -> None:
    def f(a, b):
        a += 1
        return b * 2

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        for start in (4, 2, 0):
            ours, theirs = np.ones(8), np.ones(8)
            np.testing.assert_array_equal(compiled(ours[:4], ours[start : start + 4]), f(theirs[:4], theirs[start : start + 4]))
            np.testing.assert_array_equal(ours, theirs)


def test_methods_of_arrays_that_break_are_those_of_numpy() -> None:
    def f(a):
        return (a + 1).tolist(), a.tolist(), a.item(1), a[a > 0].tolist(), a.sum().item() + 1

    def g(a):
        method = a.tolist
        alternator.graph_break()
        return method(), method.__name__

    for fn in (f, g):
        compiled = alternator.compile(fn, backend="eager")
        for size in (3, 4, 5):
            assert compiled(np.arange(size) - 1.0) == fn(np.arange(size) - 1.0)


WHAT_TORCH_DOES_OTHERWISE = {
    "squeeze": lambda a, b: a.squeeze(0),
    "squeeze of a function": lambda a, b: np.squeeze(b, 1),
    "item": lambda a, b: type(a.item(1)),
    "quotients": lambda a, b: (1 / b, b / True, b / b.dtype.type(2)),
    "numbers that do not fit": lambda a, b: (b < -1, b.clip(-1, 2), np.less(b, 300)),
    "rounding": lambda a, b: (b.round(-1), np.around(b, -1), np.round(a, 1)),
    "types of sums": lambda a, b: (b.sum(1), b.cumsum(0), b.all(1)),
    "shapes": lambda a, b: (np.ascontiguousarray(5), a == b[:, :1]),
    "fix": lambda a, b: np.fix(a),
    "conjugates": lambda a, b: np.fft.ifft(a[0] * 0 + 1).real,
    "products of bools": lambda a, b: (np.tensordot(b > 2, b > 3), (b > 2) @ (b > 3).T),
    "complex numbers": lambda a, b: (np.rint(a + 1j), (a + 1j).std()),
    "lists": lambda a, b: (a.tolist(), a.mean().item()),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", ["uint8", "int64"])
@pytest.mark.parametrize("name", WHAT_TORCH_DOES_OTHERWISE)
def test_arrays_are_what_numpy_makes_of_them(name: str, kind: str) -> None:
    look = WHAT_TORCH_DOES_OTHERWISE[name]

    def f(x, a, b):
        try:
            return x + 1, look(a, b)
        except (ValueError, OverflowError) as error:
            return x + 2, str(error)

    same(f, X, np.arange(1.0, 7.0).reshape(2, 3) / 4, np.arange(1, 7).reshape(2, 3).astype(kind))


def test_how_many_bytes_it_has() -> None:
    def f(x):
        array = x.numpy()
        return (
            x + 1,
            array.nbytes,
            array.T.nbytes,
            np.broadcast_to(array, (3, array.shape[0])).nbytes,
            x.nbytes,
            x.double().nbytes,
        )

    same(f, torch.ones(4), then=[(torch.ones(5),), (torch.ones(6),)], recompiles=1, fullgraph=True)
