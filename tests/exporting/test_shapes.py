"""``alternator.export``: sizes of arguments, and what ``dynamic_shapes`` says of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exported import exported
from torch.export import Dim

import alternator
from alternator.exc import ConstraintViolation, UserError, UserErrorType

both = pytest.mark.parametrize("aten", [False, True])


@both
def test_sizes_vary(aten: bool) -> None:
    def fn(x: Any, y: Any) -> Any:
        return x.reshape(x.shape[0] * x.shape[1]) + y.shape[0], x.shape[1] + 1, x.shape, x[: x.shape[0] - 2]

    exported(fn, torch.randn(4, 4), torch.randn(4), again=(torch.randn(5, 6), torch.randn(7)), aten_graph=aten)


def test_equal_sizes_are_told_apart() -> None:
    gm = exported(lambda x: (x.shape[0], x.shape[1], x + 1), torch.randn(4, 4), again=(torch.randn(5, 6),))
    assert gm(torch.ones(2, 9))[:2] == (2, 9)


def test_sizes_are_constants_if_asked() -> None:
    def fn(x: Any) -> Any:
        return x + x.shape[0]

    for options in ({"assume_static_by_default": True}, {"tracing_mode": "real"}):
        gm, _ = alternator.export(fn, **options)(torch.zeros(4))
        assert gm(torch.zeros(5)).tolist() == [4.0] * 5


def test_a_size_that_may_vary_and_is_a_constant() -> None:
    def fn(x: Any) -> Any:
        return x.sin() if x.shape[0] == 3 else x.cos()

    exported(fn, torch.ones(3))
    with pytest.raises(
        ConstraintViolation, match=r"(?s)Constraints violated \(n\).*specialized it to be a constant.*n = 3"
    ) as raised:
        alternator.export(fn, dynamic_shapes=({0: Dim("n")},))(torch.ones(3))
    assert raised.value.error_type is UserErrorType.CONSTRAINT_VIOLATION
    assert isinstance(raised.value, torch.fx.experimental.symbolic_shapes.ConstraintViolationError)
    marked = torch.ones(3)
    alternator.mark_dynamic(marked, 0)
    with pytest.raises(ConstraintViolation, match="was marked as dynamic, but the program needs it to be 3"):
        alternator.export(fn)(marked)


def test_ranges() -> None:
    n = Dim("n", min=5, max=8)
    alternator.export(lambda x: x.sin() if x.shape[0] > 3 else x.cos(), dynamic_shapes={"x": {0: n}})(torch.ones(6))
    with pytest.raises(ConstraintViolation, match="Not all values of n"):
        alternator.export(lambda x: x.sin() if x.shape[0] > 5 else x.cos(), dynamic_shapes={"x": {0: n}})(torch.ones(6))
    with pytest.raises(ConstraintViolation, match="is 9, which is not in the range from 5 to 8"):
        alternator.export(lambda x: x.sin(), dynamic_shapes={"x": {0: n}})(torch.ones(9))
    with pytest.raises(ConstraintViolation, match="1"):
        alternator.export(lambda x: x * 2 if x.shape[0] != 1 else x, dynamic_shapes=({0: Dim("m")},))(torch.ones(1, 2))


def test_relations_between_sizes() -> None:
    def fn(a: Any, b: Any) -> Any:
        return a.sin() if a.shape[0] == b.shape[1] else a.cos()

    n, m = Dim("n"), Dim("m")
    args = torch.ones(3, 4), torch.ones(4, 3)
    alternator.export(fn, dynamic_shapes=({0: n}, {1: n}))(*args)
    with pytest.raises(ConstraintViolation, match="must always be equal"):
        alternator.export(fn, dynamic_shapes=({0: n}, {1: m}))(*args)
    gm, _ = alternator.export(lambda a, b: a + b[1:], dynamic_shapes=({0: n}, {0: n + 1}))(torch.ones(3), torch.ones(4))
    assert gm(torch.ones(6), torch.ones(7)).tolist() == [2.0] * 6


def test_shapes_of_containers() -> None:
    n = Dim("n")

    def fn(pair: Any, named: Any) -> Any:
        return pair[0] + named["a"], pair[1]

    args = (torch.ones(3), 7), {"a": torch.ones(3), "b": torch.ones(2)}
    spec = {"pair": ({0: n}, None), "named": {"a": (n,), "b": None}}
    gm, _ = alternator.export(fn, dynamic_shapes=spec)(*args)
    assert gm((torch.ones(5), 7), {"a": torch.ones(5), "b": torch.ones(2)})[0].tolist() == [2.0] * 5


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"y": {0: Dim("n")}}, "there is no argument 'y'"),
        (({0: Dim("n")}, None), "2 entries for 1 arguments"),
        (({3: Dim("n")},), "no dimension 3"),
        (({0: "n"},), "no torch.export.Dim"),
        ((5,), "needs a dict or a tuple"),
        (((None,),), "has 2 dimensions, not 1"),
    ],
)
def test_shapes_that_do_not_fit(spec: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        alternator.export(lambda x: x + 1, dynamic_shapes=spec)(torch.ones(3, 4))


def test_arguments_are_left_unmarked() -> None:
    x = torch.ones(3)
    alternator.export(lambda x: x + 1, dynamic_shapes=({0: Dim("n")},))(x)
    assert not vars(x)


def test_hints_and_derived_shapes() -> None:
    def fn(x: Any, y: Any) -> Any:
        return x + 1, y * 2

    for hint in (Dim.AUTO, Dim.DYNAMIC):
        gm, _ = alternator.export(fn, dynamic_shapes={"x": {0: hint}, "y": None})(torch.ones(3), torch.ones(2))
        assert gm(torch.ones(5), torch.ones(2))[0].tolist() == [2.0] * 5
    with pytest.raises(ConstraintViolation, match="needs it to be 3"):
        alternator.export(lambda x: x + torch.ones(3), dynamic_shapes=({0: Dim.DYNAMIC},))(torch.ones(3))
    n = Dim("n", min=1, max=20)
    gm, _ = alternator.export(fn, dynamic_shapes=({0: 2 * n}, {0: 2 * n + 1}))(torch.ones(6), torch.ones(7))
    assert gm(torch.ones(8), torch.ones(9))[1].tolist() == [2.0] * 9
