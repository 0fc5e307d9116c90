"""``assert tensor_condition`` and ``torch._check``: in the graph where that cannot be told from plain Python.

PYTEST_DONT_REWRITE: the assertions in captured functions are what is tested."""

from __future__ import annotations

import traceback
import warnings

import pytest
import torch
from helpers import same

import alternator
from alternator import config

X = torch.ones(3)
seen: list[int] = []


def test_a_failed_assertion_is_an_assertion_error() -> None:
    def f(x):
        y = x + 1
        assert y.sum() > 0, "negative"
        assert (y < 5).all()
        return y * 2

    same(f, X, fullgraph=True, graphs=1, then=[(-9 * X,), (9 * X,), (X,)])


def test_each_form_of_assertion() -> None:
    def f(x):
        assert not x.sum() > 100
        assert x.sum() > 0 and x.max() < 50, "both"
        assert x.numel() == 3 and x.sum()
        return x + 1

    same(f, X, fullgraph=True, graphs=1, then=[(-X,), (99 * X,), (X - 1,)])


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_backends_keep_assertions(backend) -> None:
    def f(x):
        assert x.sum() > 0, "negative"
        return x * 2

    compiled = alternator.compile(f, backend=backend, fullgraph=True)
    assert torch.equal(compiled(X), X * 2)
    with pytest.raises(AssertionError, match="^negative$") as raised:
        compiled(-X)
    last = traceback.extract_tb(raised.value.__traceback__)[-1]
    assert (last.filename, last.name) == (__file__, "f") and "assert x.sum()" in str(last.line)


def test_effects_before_an_assertion_have_happened() -> None:
    def f(x, items):
        items.append(x + 1)
        assert x.sum() > 0, "negative"
        items.append(x + 2)
        return x * 2

    same(f, X, [], fullgraph=True, then=[(-X, [])])


@pytest.mark.parametrize(
    "before",
    [
        lambda x, box: box.__setattr__("value", 1),
        lambda x, box: x.add_(1),
        lambda x, box: print("so far"),
        lambda x, box: x.detach().add_(1),
        lambda x, box: seen.append(1),
        lambda x, box: x.data.add_(1),
    ],
)
def test_each_kind_of_effect_before_an_assertion(before) -> None:
    def f(x, box):
        before(x, box)
        assert x.sum() > 0
        x.add_(5)
        return x * 2

    same(f, X, Box(), then=[(-9 * X, Box())])


class Box:
    """Something from outside."""


def test_a_handler_that_may_catch_it() -> None:
    def f(x):
        try:
            assert x.sum() > 0, "negative"
            y = x + 1
        except AssertionError as e:
            y = x - 1
            return y, str(e)
        return y, None

    same(f, X, then=[(-X,)])


def test_state_of_torch_is_as_it_was() -> None:
    def f(x):
        with torch.no_grad():
            assert x.sum() > 0
            y = x + 1
        return y

    def fails(x):
        torch.set_grad_enabled(False)
        assert x.sum() > 0
        torch.set_grad_enabled(True)
        return x + 1

    same(f, X, then=[(-X,)])
    compiled = alternator.compile(fails, backend="eager")
    compiled(X)
    try:
        with pytest.raises(AssertionError):
            compiled(-X)
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


def test_messages_that_are_made() -> None:
    def f(x):
        assert x.sum() > 0, f"negative: {x.shape} {x.sum()}"
        return x * 2

    same(f, X, fullgraph=True, then=[(-X,)])


@config.patch(capture_scalar_outputs=True)
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_checks_of_numbers_that_only_the_graph_knows(backend) -> None:
    def f(x, n):
        z = n.item()
        torch._check(z == 3, lambda: "not three")
        return x + z

    def g(x, n):
        z = n.item()
        assert z > 2
        return x + z if z > 1 else x - z  # known from here on

    for fn, error in ((f, RuntimeError), (g, AssertionError)):
        alternator.reset()
        compiled = alternator.compile(fn, backend=backend, fullgraph=True)
        assert torch.equal(compiled(X, torch.tensor(3)), X + 3)
        with pytest.raises(error):
            compiled(X, torch.tensor(1))


def test_output_that_waits_is_there_when_an_assertion_fails() -> None:
    def f(x):
        print("so far", x.shape[0])
        assert x.sum() > 0, "negative"
        print("good")
        return x * 2

    same(f, X, fullgraph=True, graphs=1, then=[(-X,), (X,)])

    def shown(x):
        print(x)
        assert x.sum() > 0, "negative"
        return x * 2

    same(shown, X, fullgraph=True, then=[(-X,)])


def test_a_warning_that_waits_is_there_when_an_assertion_fails() -> None:
    def f(x):
        warnings.warn("so far", RuntimeWarning)
        assert x.sum() > 0, "negative"
        return x * 2

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    with pytest.warns(RuntimeWarning, match="so far"):
        compiled(X)
    with pytest.warns(RuntimeWarning, match="so far"), pytest.raises(AssertionError, match="^negative$"):
        compiled(-X)


@config.patch(capture_scalar_outputs=True)
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_which_of_several_checks_failed(backend) -> None:
    def f(x, n):
        z = n.item()
        assert z > 2, "too small"
        assert z < 9, "too large"
        torch._check(z != 5, lambda: "five")
        return x[z - 3] + z

    compiled = alternator.compile(f, backend=backend, fullgraph=True)
    assert torch.equal(compiled(X, torch.tensor(4)), X[1] + 4)
    for number, kind, text in ((1, AssertionError, "too small"), (9, AssertionError, "too large"), (5, RuntimeError, "five")):
        with pytest.raises(kind, match=text):
            compiled(X, torch.tensor(number))
    if backend == "eager":  # Inductor does not look at the index
        with pytest.raises(IndexError):
            compiled(X, torch.tensor(8))


@config.patch(capture_scalar_outputs=True)
def test_a_warning_at_a_place_of_the_program_waits_for_checks_of_numbers() -> None:
    def f(n):
        z = n.item()
        warnings.warn("so far", RuntimeWarning)
        torch._check(z >= 2, lambda: "too small")
        return torch.zeros(z)

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for _ in range(2):
        for number in (3, 1):
            with warnings.catch_warnings(record=True) as shown:
                warnings.simplefilter("always")
                if number == 3:
                    assert compiled(torch.tensor(3)).shape == (3,)
                else:
                    with pytest.raises(RuntimeError, match="too small"):
                        compiled(torch.tensor(1))
            (warning,) = [w for w in shown if w.category is RuntimeWarning]
            assert warning.filename == __file__ and warning.lineno == f.__code__.co_firstlineno + 2


@config.patch(rewrite_assert_with_torch_assert=False)
def test_by_option_an_assertion_breaks() -> None:
    def f(x):
        assert x.sum() > 0
        return x * 2

    same(f, X, breaks=["DATA_DEPENDENT_BRANCH"], then=[(-X,)])
