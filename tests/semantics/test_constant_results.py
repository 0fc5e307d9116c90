"""``assume_constant_result``: arguments that the program computes, and results that hold tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Recorder

import alternator
from alternator import exc


@alternator.assume_constant_result
def places(x: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(x)


@alternator.assume_constant_result
def as_it_is(x: Any) -> Any:
    return x


@alternator.assume_constant_result
def parts(x: torch.Tensor) -> Any:
    return [x.sum(), {"places": torch.nonzero(x), "count": int(x.count_nonzero())}]


ONES, ZEROS = torch.ones(1, 2), torch.zeros(1, 2)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_of_what_the_program_computes(backend: str) -> None:
    linear = torch.nn.Linear(2, 2)

    def fn(x: torch.Tensor) -> Any:
        y = linear(x).abs() + 1
        return places(y) + y.sum(), places(x)

    compiled = alternator.compile(fn, backend=backend, fullgraph=True)
    for _ in range(2):
        torch.testing.assert_close(compiled(ONES), fn(ONES))
    assert compiled(ZEROS)[1].tolist() == [[0, 0], [0, 1]]  # as it was when it was captured


def test_one_graph_for_all_calls() -> None:
    backend = Recorder()
    compiled = alternator.compile(lambda x: places(x) + 1, backend=backend)
    for _ in range(3):
        assert compiled(ONES).tolist() == [[1, 1], [1, 2]]
    assert backend.frame_count == 1


def test_an_input_that_is_returned_is_a_constant() -> None:
    x = ONES.clone()
    compiled = alternator.compile(lambda x: as_it_is(x) * 2 + x, backend="eager", fullgraph=True)
    assert compiled(x).tolist() == [[3, 3]]
    x.zero_()
    assert compiled(x).tolist() == [[2, 2]]


def test_the_program_may_decide_by_it() -> None:
    limit = torch.nn.Parameter(torch.tensor(0.3))
    compiled = alternator.compile(lambda x: x + 1 if as_it_is(limit) < 0.5 else x, backend="eager", fullgraph=True)
    assert compiled(ONES).tolist() == [[2, 2]]


def test_containers() -> None:
    compiled = alternator.compile(lambda x: parts(x + 1), backend="eager", fullgraph=True)
    first, second = compiled(ONES), compiled(ONES)
    assert first is not second and first[1] is not second[1]
    assert first[0].item() == 4 and first[1]["places"].tolist() == [[0, 0], [0, 1]] and first[1]["count"] == 2


def test_inputs_are_not_changed() -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return places(x) + x.sum()

    x = ZEROS.clone()
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    assert compiled(x).tolist() == [[2, 2], [2, 3]] and x.tolist() == [[1, 1]]


def test_sizes_and_state() -> None:
    @alternator.assume_constant_result
    def number(n: int) -> int:
        return n + 1

    def fn(x: torch.Tensor) -> Any:
        with torch.no_grad():
            y = x * 2
            return places(y), number(x.shape[0]), torch.is_grad_enabled()

    compiled = alternator.compile(fn, backend="eager", fullgraph=True, dynamic=True)
    given = torch.ones(3, requires_grad=True)
    assert compiled(given)[1:] == (4, False) and torch.is_grad_enabled()


def test_not_of_what_the_body_of_an_operator_computes() -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x: places(x + 1) * 1, lambda x: places(x) * 1, (x,))

    with pytest.raises(exc.Unsupported, match="in the body of an operator"):
        alternator.compile(fn, backend="eager", fullgraph=True)(ONES)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_what_the_program_does_to_it_is_for_one_call(backend: str) -> None:
    def writes(x: torch.Tensor) -> torch.Tensor:
        found = places(x)
        found[0].add_(1)
        return found + x.sum()

    def hands_out(x: torch.Tensor) -> Any:
        return places(x)[1:], x + 1

    for fn in (writes, hands_out):
        compiled = alternator.compile(fn, backend=backend, fullgraph=True)
        for _ in range(3):
            result = compiled(ONES)
            torch.testing.assert_close(result, fn(ONES))
            (result if fn is writes else result[0]).zero_()
