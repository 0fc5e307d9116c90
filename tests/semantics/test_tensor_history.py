"""What autograd knows of an outside tensor is guarded where the program, or an operation, depends on it, and nowhere else."""

from __future__ import annotations

import copy
from typing import Any, Callable

import pytest
import torch

import alternator
from tests.helpers import Recorder, same


def leaf() -> torch.Tensor:
    return torch.ones(3, requires_grad=True)


def computed() -> torch.Tensor:
    return leaf() + 0


def plain() -> torch.Tensor:
    return torch.ones(3)


def without_gradients(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return make()


def retaining() -> torch.Tensor:
    x = computed()
    x.retain_grad()
    return x


KINDS: dict[str, Callable[[], torch.Tensor]] = {
    "leaf": leaf,
    "computed": computed,
    "retaining": retaining,
    "view of a leaf": lambda: leaf()[:],
    "view of what is computed": lambda: computed()[:],
    "second of two views": lambda: torch.ones(2, 3, requires_grad=True).unbind()[1],
    "second of two views of what is computed": lambda: (torch.ones(2, 3, requires_grad=True) + 0).unbind()[1],
    "view made without gradients": lambda: without_gradients(lambda: computed()[:]),
    "no gradients": plain,
    "view without gradients": lambda: plain()[:],
    "written": lambda: plain().add_(0).add_(0),
}


def _handled(write: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    def read(x: torch.Tensor) -> Any:
        try:
            write(x)
        except RuntimeError as error:
            return x * 7, str(error).partition(".")[0]
        return x * 2

    return read


def _deeply_copied(x: torch.Tensor) -> Any:
    copy.deepcopy(x)


def _changed(x: torch.Tensor) -> Any:
    x += torch.ones(3, requires_grad=True)


def _part_changed(x: torch.Tensor) -> Any:
    x[1:].mul_(2)


READS: dict[str, Callable[[torch.Tensor], Any]] = {
    "is_leaf": lambda x: x * 2 if x.is_leaf else x * 3,
    "grad_fn": lambda x: x * 2 if x.grad_fn is None else x * 3,
    "_base": lambda x: x * 2 if x._base is None else x * 3,
    "_is_view": lambda x: x * 2 if x._is_view() else x * 3,
    "output_nr": lambda x: (x * x.output_nr, x.output_nr),
    "retains_grad": lambda x: x * 2 if x.retains_grad else x * 3,
    "_version": lambda x: (x * x._version, x._version),
    "name": lambda x: x * 2 if x.name is None else x * 3,
    "is_pinned": lambda x: x * 2 if x.is_pinned() else x * 3,
    "writing": _handled(lambda x: x.add_(1)),
    "writing what has gradients": _handled(_changed),
    "writing into a part": _handled(_part_changed),
    "flag": _handled(lambda x: x.requires_grad_(False)),
    "flag set": _handled(lambda x: x.requires_grad_(True)),
    "detach_": _handled(lambda x: x.detach_()),
    "deepcopy": _handled(_deeply_copied),
}


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_guarded(name: str) -> None:
    """Each kind of tensor comes after each other one."""
    read = READS[name]
    for first in KINDS.values():
        alternator.reset()
        captured = alternator.compile(read, backend="eager")
        for kind, make in [("the first", first), *KINDS.items(), ("the first again", first)]:
            wanted, got = read(make()), captured(make())
            _check(got, wanted, f"{name} of {kind}")


def _check(got: Any, wanted: Any, where: str) -> None:
    if isinstance(wanted, tuple):
        assert len(got) == len(wanted), where
        for one, other in zip(got, wanted):
            _check(one, other, where)
    elif isinstance(wanted, torch.Tensor):
        assert torch.equal(got, wanted) and got.requires_grad is wanted.requires_grad, (where, got, wanted)
    else:
        assert got == wanted, where


def test_what_is_not_read_is_not_guarded() -> None:
    recorder = Recorder()
    alternator.reset()
    captured = alternator.compile(lambda x: x * 2 if x.requires_grad else x, backend=recorder)
    for make in (leaf, computed, retaining, KINDS["view of a leaf"], KINDS["second of two views"]):
        captured(make())
    assert recorder.frame_count == 1
    updated = Recorder()

    @torch.no_grad()
    def step(x: torch.Tensor) -> None:
        x.add_(1)

    captured = alternator.compile(step, backend=updated)
    for make in (leaf, computed):  # autograd does not look on
        captured(make())
    assert updated.frame_count == 1


def test_the_base_of_a_view_is_that_very_tensor() -> None:
    def outside(x: torch.Tensor, y: torch.Tensor) -> Any:
        return (x * 2 if x._base is y else x * 3), x._base is not None and x._base.shape

    base = torch.arange(4.0)
    captured = alternator.compile(outside, backend="eager", fullgraph=True)
    for x, y in ((base[1:], base), (base[1:], torch.arange(4.0)), (base[2:], base), (base, base)):
        _check(captured(x, y), outside(x, y), "base")

    def written(x: torch.Tensor) -> Any:
        base = x._base
        assert base is not None
        base.add_(1)
        return x * 2, base

    for backend in ("eager", "aot_eager"):
        one, other = torch.arange(4.0), torch.arange(4.0)
        captured = alternator.compile(written, backend=backend, fullgraph=True)
        for _ in range(2):
            wanted, got = written(one[1:]), captured(other[1:])
            _check(got, wanted, backend)
            assert got[1] is other and torch.equal(one, other)

    def made(x: torch.Tensor) -> Any:
        y = x + 1
        z = y[1:]
        return z._base is y, z.view(-1)._base is y, y._base is None, x[1:]._base is x, z._base

    same(made, torch.arange(4.0), graphs=1, breaks=0)


def test_counts_of_writes_vary_like_other_numbers() -> None:
    recorder = Recorder()
    alternator.reset()
    fn = READS["_version"]
    captured = alternator.compile(fn, backend=recorder, fullgraph=True)
    x = plain()
    for _ in range(6):
        _check(captured(x), fn(x), "_version")
        x.add_(0)
    assert recorder.frame_count == 2


def test_whether_two_tensors_are_the_same_memory_is_asked_plainly() -> None:
    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.is_set_to(y) else x * 3

    a = plain()
    captured = alternator.compile(f, backend="eager")
    for one in (a, plain(), a.detach(), a[1:]):
        assert torch.equal(captured(a, one), f(a, one))


def test_nobody_asks_a_leaf_whose_base_was_written_to_for_its_history() -> None:
    """Torch makes it another tensor, one that is no leaf, when somebody does."""

    def fn(x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> None:
        x.copy_(y.relu())
        alternator.graph_break()
        y[mask] = 1

    def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = torch.ones(3)
        y = x[:]
        y.requires_grad_()
        return x, y, torch.tensor([True, False])

    compiled = alternator.compile(fn, backend="eager")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            fn(*given())
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            compiled(*given())


def test_parts_of_a_flat_parameter_are_captured() -> None:
    def fn(part: torch.Tensor) -> torch.Tensor:
        return part * 2

    flat = torch.ones(4)
    part = flat[:2].requires_grad_()
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    for _ in range(2):
        with torch.no_grad():
            flat.add_(1)
        assert torch.equal(compiled(part), fn(part))
