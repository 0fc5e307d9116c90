"""Programs that the fuzzer found to differ, made small; each stands for a general rule."""

from __future__ import annotations

import collections
import contextlib
import gc
import itertools
import operator
from pathlib import Path

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(3.0)


def test_a_value_that_is_only_passed_on_keeps_its_own_name() -> None:
    def f(x, y):
        alternator.graph_break()
        y = y + 1
        alternator.graph_break()
        return [x, y]

    same(f, X, X * 2, then=[(X, X + 1)])
    one = X * 3
    compiled = alternator.compile(f, backend="eager")
    assert compiled(one, one)[0] is one
    other = X * 4
    assert compiled(other, one)[0] is other


FAILING = {
    "broadcast": lambda x: x + torch.zeros(2),
    "matmul": lambda x: x @ torch.ones(4, 2),
    "cat": lambda x: torch.cat([x, torch.ones(2, 2)]),
    "mean of ints": lambda x: x.long().mean(),
    "index": lambda x: x[9],
    "dim": lambda x: x.sum(4),
    "stack": lambda x: torch.stack([x, x[:1]]),
    "mask": lambda x: operator.setitem(torch.rand(7), x > 1, 1),
    "mask of more dimensions": lambda x: operator.setitem(x * 2, torch.ones(3, 3) > 0, 1),
    "in place": lambda x: x.long().add_(1.5),
    "in place, no rule": lambda x: x.long().mul_(1.5),
    "in place operator": lambda x: operator.imul(x > 0, 2),
    "operand": lambda x: x // "a",
    "reshape": lambda x: x.reshape(7),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("dynamic", [None, True])
def test_operations_fail_with_the_texts_of_eager(name: str, dynamic: bool | None) -> None:
    def f(x):
        try:
            return FAILING[name](x)
        except Exception as error:
            return x + 1, repr(error)

    same(f, X, dynamic=dynamic, then=[(torch.arange(5.0),)])


def test_how_large_tensors_and_leaves_fail() -> None:
    def f(x, weight):
        out = []
        for work in (lambda: weight.add_(1), lambda: x.expand(3000, 3000) + x[:2], lambda: weight * x[:2]):
            try:
                work()
            except RuntimeError as error:
                out.append(str(error))
        return x * 2, out

    same(f, X, torch.ones(3, requires_grad=True))


NUMBERS = {
    "str": lambda n: n + "a",
    "none": lambda n: n // None,
    "zero": lambda n: n // 0,
    "zero, remainder": lambda n: n % 0,
    "zero, division": lambda n: n / 0,
    "list": lambda n: n - [],
    "compare": lambda n: n < "a",
    "condition plus number": lambda n: (n > 2) + n,
    "minus condition": lambda n: -(n > 2) * n,
    "condition and number": lambda n: (n > 2) & n,
    "conditions": lambda n: (n > 2) & (n < 9) | (n == 4),
    "not": lambda n: ~(n > 2),
    "repeat": lambda n: [1] * n + n * [2] + list("ab" * n),
    "tuple": lambda n: (n, 1) < (n, 2),
    "complex": lambda n: n + 1j,
    "round": lambda n: (round(n / 2), round(n / 3, 1), round(n, -1)),
    "divmod": lambda n: (divmod(n, 3), divmod(-n, 3), divmod(n, -3)),
    "floor": lambda n: (n // -3, -n % 5, -n // 5, n % -5),
    "shift": lambda n: (n << 2, n >> 1, ~n),
    "power": lambda n: (n**2, n**-1, 2**n, n**0.5, (-n) ** 2),
    "bits": lambda n: (n & 3, n | 8, n ^ 5),
    "minimum": lambda n: (min(n, 3), max(n, n * 2, 4), max([n, 1])),
    "true": lambda n: (n / 2, n * 1.5, float(n), int(n / 2), bool(n)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_symbolic_numbers_are_numbers(name: str) -> None:
    def f(x, n):
        try:
            return x + 1, NUMBERS[name](n), NUMBERS[name](x.shape[0])
        except Exception as error:
            return x + 2, repr(error)

    same(f, X, 4, dynamic=True, then=[(torch.arange(5.0), 5), (torch.arange(8.0), 7), (X, -3)])


def test_a_break_below_the_handling_of_an_exception_does_not_disturb_guards() -> None:
    @contextlib.contextmanager
    def scope():
        try:
            yield
        finally:
            alternator.graph_break()

    def f(x, d):
        try:
            d["missing"]
        except KeyError as error:
            x = x + len(repr(error.__context__))
        with contextlib.suppress(KeyError), scope():
            d["missing"]
        alternator.graph_break()
        try:
            raise ValueError(1)
        except ValueError as error:
            return x * 2, repr(error), repr(error.__context__)

    same(f, X, {})


def test_conditions_on_rounded_sizes_are_guards() -> None:
    def f(x):
        return x * 2 if round(x.shape[0] / 2) > 3 else x + round(x.shape[0] / 4)

    same(f, torch.ones(4), dynamic=True, then=[(torch.ones(n),) for n in (5, 6, 7, 8, 9, 12)])


def test_two_sizes_meet_in_one_expression() -> None:
    def f(x, y):
        return x.sum() + max(x.shape[0], y.shape[0]) * y.sum(), x.new_zeros(max(x.shape[0], y.shape[0] + 2) // 2)

    same(f, torch.ones(4), torch.ones(7), dynamic=True, then=[(torch.ones(9), torch.ones(5))])


def test_a_tensor_made_of_a_tensor_has_memory_of_its_own() -> None:
    def f(x):
        y = torch.tensor(x)
        y.add_(1)
        return (
            y,
            torch.tensor(x, dtype=torch.float64),
            x.new(x.size()).shape,
            x.new(2, 3).shape,
            x.type(torch.HalfTensor),
            x.type(),
        )

    same(f, X)


def test_tensors_made_of_constants_are_known() -> None:
    def f(x):
        index = torch.as_tensor(2)
        return [x, x + 1, x + 2][index], index.item(), torch.tensor([1, 2]).tolist(), x if torch.tensor(True) else x + 5

    same(f, X)


def test_settings_that_are_read_are_guarded() -> None:
    def f(x):
        return x + 1 if torch.backends.cuda.matmul.allow_tf32 else x - 1

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for value in (False, True, False):
            torch.backends.cuda.matmul.allow_tf32 = value
            assert torch.equal(compiled(X), f(X))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_bools_have_no_difference() -> None:
    def f(x, n, log):
        log.append(1)
        return n - x, x - n

    for n in (True, torch.tensor([True, False, True]), 2):
        same(f, X, n, [], then=[(X > 1, True, []), (X > 1, X > 0, [])])


PARTIAL = {
    "floor": lambda n, m: n // (m - n),
    "remainder": lambda n, m: n % (m - n),
    "division": lambda n, m: n / (m - n),
    "divmod": lambda n, m: divmod(n, m - n),
    "shift": lambda n, m: (1 << (m - n), n >> (m - n)),
    "power": lambda n, m: (n ** (m - n), (m - n) ** -1, 2 ** (m - n)),
    "root": lambda n, m: (m - n) ** 0.5,
}


@pytest.mark.parametrize("name", PARTIAL)
def test_operations_that_are_not_defined_for_all_numbers_are_guarded(name: str) -> None:
    def f(x, n, m):
        try:
            PARTIAL[name](n, m)  # the result is not even used
        except Exception as error:
            return x + 2, repr(error)
        return x + 1, PARTIAL[name](n, m)

    same(f, X, 3, 7, dynamic=True, then=[(X, 4, 9), (X, 5, 5), (X, 9, 4), (X, 8, 9), (X, 3, 8)])


def test_what_is_repeated_is_not_looked_into() -> None:
    def f(x, l, fn):
        return [list(itertools.islice(itertools.repeat(what, 3), 4)) for what in (x, l, fn, x + 1, [l])], next(
            itertools.count(2, 3)
        )

    report = same(f, X, [1, 2], abs)
    assert report.outcomes[0].result[0][1][0] is report.outcomes[0].args[1]


def test_symbolic_numbers_as_keys() -> None:
    def f(x, n, d):
        return x + 1, d.get(n, 3), {n: 1}.get(n), {"a": n}.get(n, n), d.pop(n, 4), d.setdefault(n, n), n in d, {(n, 1)}

    same(f, X, 5, {5: 1}, dynamic=True, then=[(X, 6, {5: 1}), (X, 7, {7: 2})])


def test_an_error_in_called_back_code_keeps_its_context() -> None:
    def f(x, numbers):
        try:
            return x + 1, sorted(map(abs, numbers), key=lambda v: v.missing)
        except AttributeError as error:
            return x + 1, error.__suppress_context__, error.__context__, error.__cause__

    same(f, torch.ones(1), [2, 1], fullgraph=True)

    def leaves(x, numbers):
        alternator.graph_break()
        return x + 1, list(map(lambda v: v.missing, numbers))

    compiled = alternator.compile(leaves, backend="eager")
    with pytest.raises(AttributeError) as raised:
        compiled(torch.ones(1), [1])
    assert not raised.value.__suppress_context__


def test_c_code_that_wants_a_number_gets_the_number() -> None:
    def f(x, n):
        ordered = sorted([2, 3, 1], reverse=n > 4)
        return x + n, ordered, "a,b,c".split(",", n), [1, 2, 3].pop(-n + n)

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for n in (3, 4, 5, 6, 1):
        got, expected = compiled(torch.ones(1), n), f(torch.ones(1), n)
        assert got[1:] == expected[1:] and torch.equal(got[0], expected[0])


def test_c_code_that_orders_a_varying_number_and_a_bool() -> None:
    def f(x, n):
        found = [n, 2].count(True), True in [n], (n, 1) == (True, 1), {1: "one"}.get(n)
        return x + n, (-n, 1) < (True, 2), sorted([(n, "a"), (True, "b")]), found

    compiled = alternator.compile(f, backend="eager", dynamic=True)
    for n in (3, 4, -2, 1):
        got, expected = compiled(torch.ones(1), n), f(torch.ones(1), n)
        assert got[1:] == expected[1:] and torch.equal(got[0], expected[0])


def test_code_that_c_code_called_is_not_run_again() -> None:
    def f(x, n):
        seen = []

        def key(v):
            seen.append(v)
            return "a" + n if v > 1 else v

        try:
            sorted([1, 2, 3], key=key)
        except TypeError as error:
            return x + n, seen, str(error)

    compiled = alternator.compile(f, backend="eager", dynamic=True)
    for n in (3, 4):
        got, expected = compiled(torch.ones(1), n), f(torch.ones(1), n)
        assert got[1:] == expected[1:]


@pytest.mark.parametrize("make", [iter, reversed])
@pytest.mark.parametrize("again", [0, 1, 4])
def test_an_iterator_over_a_list_that_became_shorter(make, again) -> None:
    def f(x, items, it):
        own = make(items)
        next(it), next(own)
        del items[1:]
        alternator.graph_break()
        items.extend(range(again))
        return x + 1, list(own), list(it)

    def g(x, items):
        it = make(items)
        next(it), next(it)
        return f(x, items, it)

    same(f, X, [1, 2, 3], iter([1, 2, 3]))
    same(g, X, [1, 2, 3, 4])
    same(lambda x, items: f(x, items, itertools.chain([5], items)), X, [1, 2, 3])

    def taken(x, items, it):
        y = x + 1
        next(it)
        del items[1:]
        return y

    def outside(fn):
        items = [1, 2, 3, 4]
        it = make(items)
        next(it)
        fn(X, items, it)
        items.extend(range(again))
        return list(it)

    assert outside(alternator.compile(taken, backend="eager")) == outside(taken)


def test_methods_of_numbers() -> None:
    def f(x, n):
        alternator.graph_break((5).__sub__(n))
        return x + 1, (2).__add__, n.__mul__

    (_, add, mul), (_, add2, mul2) = alternator.compile(f, backend="eager")(X, 3), f(X, 3)
    assert add(1) == add2(1) and mul(2) == mul2(2)


def test_methods_of_numbers_with_numbers_that_vary() -> None:
    def f(x, n, v):
        return x + n, (1).__sub__(n), (2.5).__mul__(v), int.__add__(2, n), True.__and__(n), (1.5).__lt__(v), (3).__rpow__(n)

    same(f, X, 3, 1.5, dynamic=True, then=[(X, 4, 2.5), (X, 5, 3.5)])


def test_methods_of_numbers_that_vary_live_behind_a_break() -> None:
    def f(x, n, v):
        multiply, less = n.__mul__, v.__lt__
        alternator.graph_break()
        return x + n, multiply(2), less(2.0), n.__add__(abs(v) > 1)

    same(f, X, 3, 1.5, dynamic=True, then=[(X, 4, 2.5), (X, 5, 3.5)])


def test_views_show_what_is_done_to_their_dict_later() -> None:
    def f(x, table):
        own = {"a": 1}
        return x + 1, own, own.keys(), table.items(), table.values()

    for make in (dict, collections.OrderedDict):
        for fn in (f, alternator.compile(f, backend="eager")):
            table = make(b=2)
            _, own, keys, items, values = fn(X, table)
            own["c"] = table["d"] = 3
            assert list(keys) == ["a", "c"] and list(items) == [("b", 2), ("d", 3)]
            assert type(values) is type(table.values()) and list(values) == [2, 3]


def test_conditions_with_functions_that_have_no_native_form() -> None:
    def f(x, n, bag):
        bag.add(max(1, 1 + round((n * 2 + 11) / 2)))
        return x + 1, min(7, round(n / 2, 1)) == 1.5

    same(f, X, 2, {0}, dynamic=True, then=[(X, n, {1}) for n in (3, 4, 5)])


def test_c_code_that_hashes_numbers_that_vary() -> None:
    def f(x, n, v):
        counted = collections.Counter(zip("aba", (n, v, n)))
        return x + n, counted, set(map(lambda k: (k, n), "ab")), dict.fromkeys(iter([n, v, n]))

    same(f, X, 3, 1.5, dynamic=True, then=[(X, n, n + 0.5) for n in (4, 5)])


def test_c_code_that_calls_back_with_a_number_that_varies() -> None:
    def f(x, n, seen):
        found = list(itertools.takewhile(lambda v: seen.append(v) or v < 4, [n, n + 1, n + 2]))
        return x + n, len(found), sorted([n, -n], key=lambda v: seen.append(v) or v), list(map(lambda v: seen.append(v), [n]))

    def g(x, n, seen):
        f(x, n, seen)
        raise ValueError(n)

    same(f, X, 2, [], dynamic=True, then=[(X, n, [0]) for n in (3, 5)])
    same(g, X, 2, [], dynamic=True, then=[(X, n, [0]) for n in (3, 5)])


def test_writing_into_an_expanded_tensor() -> None:
    def f(x, how):
        y = x[:1].expand_as(x)
        print("before")
        try:
            if how == 0:
                y *= 2
            elif how == 1:
                torch.add(x, 1, out=y)
            elif how == 2:
                torch.nn.functional.relu(y, inplace=True)
            elif how == 3:
                y.copy_(x)
            else:
                y.fill_(3)
        finally:
            print("after")
        return x, y

    for how in range(5):
        same(f, torch.arange(3.0), how, breaks=0)


def test_methods_of_numbers_that_vary() -> None:
    def f(x, a, b):
        out = [(a + 1).__sub__(b), a.__radd__(b * 2), getattr(a, "__eq__")(b), a.real, type(a.__add__), a.__class__]
        for act in (lambda: int.__sub__(a, 1), lambda: a.name, lambda: (a * 2).append):
            try:
                out.append(act())
            except (TypeError, AttributeError) as error:
                out.append(str(error))
        return x + 1, out

    numbers = [(5, 1.5), (6, 2.5), (7, 3.5), (8, 2), (9, 3), (1.5, 2.5), (2.5, 3.5)]
    same(f, torch.ones(1), 4, 0.5, breaks=0, then=[(torch.ones(1), a, b) for a, b in numbers])
    same(f, torch.ones(1), 4, 2, breaks=0, then=[(torch.ones(1), a, b) for a, b in numbers[3:5]])


def test_not_implemented_as_a_condition_warns_each_time() -> None:
    def f(x, a, b):
        return x + 1 if a.__sub__(b) else x - 1

    compiled = alternator.compile(f, backend="eager")
    for fn in (f, compiled, compiled):
        with pytest.warns(DeprecationWarning, match="NotImplemented") as seen:
            assert fn(torch.ones(1), 1, 2.5).item() == 2
        assert [Path(row.filename).name for row in seen if row.category is DeprecationWarning] == [Path(__file__).name]


def test_what_an_operation_raises_knows_of_no_fakes() -> None:
    """Neither as its context, nor in a traceback that keeps the frame behind a break alive."""
    closed = []

    def generator():
        try:
            yield 1
        finally:
            closed.append(1)

    def f(x):
        feed = generator()
        next(feed)
        alternator.graph_break()
        with contextlib.nullcontext():
            return None + torch.zeros(3)

    gc.collect()
    gc.disable()
    try:
        compiled = alternator.compile(f, backend="eager")
        for n in range(1, 4):
            with pytest.raises(TypeError) as seen:
                compiled(torch.ones(2))
            assert seen.value.__context__ is None
            del seen
            assert len(closed) == n
    finally:
        gc.enable()
