"""``json.dumps`` in captured code."""

import collections
import dataclasses
import enum
import json

import pytest
import torch
from helpers import same

X = torch.ones(2)


class Level(enum.IntEnum):
    LOW = 1


class Table(dict):
    pass


@dataclasses.dataclass
class Point:
    x: int = 1


class Encoder(json.JSONEncoder):
    def default(self, o):
        if isinstance(o, Point):
            return {"point": dataclasses.asdict(o)}
        return super().default(o)


VALUES = {
    "plain": {
        "a": [1, 2.5, -0.0, 1e300],
        "b": (None, True, False),
        "c": {},
        "d": [],
        "e": "é\n\"'",
        "f": {1: 2, None: 3, 1.5: 4},
    },
    "specials": [float("nan"), float("inf"), -float("inf")],
    "classes": [Level.LOW, Table(z=1, a=2), collections.OrderedDict(b=1, a=2), Point(3)],
    "no text": {"a": object()},
    "no key": {(1, 2): 3},
    "text": "text",
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"sort_keys": True, "separators": (",", ":")},
        {"indent": 2, "ensure_ascii": False},
        {"allow_nan": False, "skipkeys": True},
        {"cls": Encoder},
        {"default": str.__class__},
    ],
    ids=["default", "sorted", "indented", "strict", "class", "function"],
)
def test_texts_and_errors_are_those_of_json(name: str, how: dict) -> None:
    def f(x):
        try:
            return x + 1, json.dumps(VALUES[name], **how)
        except (TypeError, ValueError) as error:
            return x - 1, type(error).__name__, str(error)

    same(f, X, fullgraph=True, graphs=1)


def test_a_cycle_is_found() -> None:
    def f(x):
        cycle = [1]
        cycle.append({"again": cycle})
        try:
            json.dumps(cycle)
        except ValueError as error:
            return x + 1, str(error)

    same(f, X, fullgraph=True)


def test_sizes_in_a_text() -> None:
    def f(x):
        return x + 1, json.dumps({"shape": list(x.shape), "half": x.shape[0] / 2})

    report = same(f, X, then=[(torch.ones(3),), (torch.ones(5),)])
    assert report.compiled(torch.ones(7))[1] == '{"shape": [7], "half": 3.5}'
