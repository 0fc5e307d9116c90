"""Texts of sizes are made after the graph; where the program looks into one, sizes are constants."""

from __future__ import annotations

import logging
import re
import warnings
from typing import Any

import pytest
import torch
from helpers import same

LOG = logging.getLogger("alternator.tests.sizes")


class Layers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer2, self.layer3 = torch.nn.Linear(2, 2), torch.nn.ReLU()


LAYERS = Layers()


def shown(x: torch.Tensor) -> Any:
    n, shape = x.shape[0], x.shape
    print(f"{n} of {shape}", n, shape, [n, shape], {"n": n})
    LOG.warning("%d rows, %s, %r", n, shape, n)
    f"{n}"
    if n > 100:
        raise ValueError(f"too long: {n}")
    return x + n


def given_back(x: torch.Tensor) -> Any:
    n = x.shape[0]
    text = f"{n}" + "" if False else f"{n:03d}|{n!r:>4}|{x.shape}"
    return x * 2, text, str(n), "%s %5d %x" % (x.shape, n, n), "{} {:>3}".format(x.shape, n + 1), repr([n]), [f"{n * 2}"]


@pytest.mark.parametrize("fn", [shown, given_back])
def test_sizes_that_are_only_shown_vary(fn: Any) -> None:
    same(fn, torch.ones(2, 3), then=[(torch.ones(3, 3),), (torch.ones(4, 3),)], dynamic=True, graphs=1, recompiles=0, breaks=0)


def warned(x: torch.Tensor) -> Any:
    warnings.warn(f"{x.shape[0]} rows", stacklevel=1)
    return x + 1


def raised(x: torch.Tensor) -> Any:
    try:
        raise ValueError(f"{x.shape[0]} rows")
    except ValueError as error:
        return x + 1, str(error), error.args


def left(x: torch.Tensor) -> Any:
    x.add_(1)
    raise ValueError(f"{x.shape[0]} rows")


LOOKS = [
    lambda n: getattr(LAYERS, f"layer{n}"),
    lambda n: hasattr(LAYERS, f"layer{n}"),
    lambda n: {"2": 1, "3": 2}[f"{n}"],
    lambda n: {"2": 1, "3": 2}.get(f"{n}"),
    lambda n: {f"{n}": n, "k": f"{n}"},
    lambda n: f"{n}" in ("2", "x"),
    lambda n: f"{n}" in {"2", "x"},
    lambda n: "2" in f"{n}",
    lambda n: f"{n}" == "2",
    lambda n: "2" == f"{n}",
    lambda n: f"{n}" < "3",
    lambda n: f"a{n}".split("a"),
    lambda n: f"a{n}".upper(),
    lambda n: ("a" + f"{n}", f"{n}" * 2, f"{n}" % ()),
    lambda n: len(f"{n}" * 2),
    lambda n: list(f"a{n}"),
    lambda n: f"a{n}"[1],
    lambda n: int(f"{n}") + float(f"{n}"),
    lambda n: sorted([f"{n}", "25", "1"]),
    lambda n: max(f"{n}", "25"),
    lambda n: sorted({f"{n}", "2"}),
    lambda n: dict(**{f"k{n}": 1}),
    lambda n: re.sub("a", "b", f"a{n}"),
    lambda n: hash(f"{n}") == hash("2"),
    lambda n: (isinstance(f"{n}", str), type(f"{n}") is str, bool(f"{n}")),
    lambda n: f"{n}" is None,
    lambda n: f"{f'{n}':>5}|{f'{n}'!r}",
    lambda n: "-".join([f"{n}", "a"]),
    lambda n: "-".join(f"{i}" for i in range(n)),
    lambda n: "a{}".format(f"{n}").replace("a", "b"),
    lambda n: torch.ones(2, dtype=getattr(torch, f"float{n * 0 + 32}")),
    lambda n: torch.einsum(f"i,i->i{'' if n else 'j'}", torch.ones(2), torch.ones(2)),
    lambda n: f"{n}".encode(),
    lambda n: 1 if f"{n}" else 2,
    lambda n: [c for c in f"{n}x"],
    lambda n: (lambda **kw: kw)(**{f"a{n}": n}),
    lambda n: type(f"K{n}", (), {}).__name__,
    lambda n: str.format("{}", f"{n}"),
    lambda n: format(f"{n}", ">4"),
    lambda n: f"{n}".__len__(),
    lambda n: "%s|%s" % (f"{n}", n),
    lambda n: [f"{n}", "2"].index("2"),
    lambda n: [f"{n}", "2"].count("2"),
    lambda n: (f"{n}",) == ("2",),
    lambda n: {"a": f"{n}"} == {"a": "2"},
    lambda n: ascii(f"{n}"),
]


@pytest.mark.parametrize("look", LOOKS)
def test_where_they_are_looked_into_they_are_constants(look: Any) -> None:
    def f(x: torch.Tensor) -> Any:
        found = look(x.shape[0])
        return x * 2, None if callable(found) else found

    same(f, torch.ones(2, 3), then=[(torch.ones(3, 3),), (torch.ones(2, 3),)], dynamic=True)


@pytest.mark.parametrize("fn", [warned, raised, left])
def test_sizes_in_warnings_and_exceptions(fn: Any) -> None:
    same(fn, torch.ones(2, 3), then=[(torch.ones(3, 3),), (torch.ones(4, 3),)], dynamic=True)
