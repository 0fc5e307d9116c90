"""A namespace is one, whether the program reaches it by name, as a dict, or as attributes of its module."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from helpers import same

import alternator

G, H = 1, 1
THIS = sys.modules[__name__]


def reader(x: Any) -> Any:
    return x + G


def by_dict_then_name(x: Any) -> Any:
    globals()["G"] = 5
    return x + G


def between_two_reads(x: Any) -> Any:
    space, before = globals(), x + G
    space["G"] += 1
    return before, x + G, space["G"]


def by_name_then_dict(x: Any) -> Any:
    global G
    space = globals()
    G = 9
    return x + space["G"]


def by_name_before_the_dict(x: Any) -> Any:
    global G
    G = 9
    return x + globals()["G"]


def new_and_deleted(x: Any) -> Any:
    space = globals()
    space["NEW"] = 3
    y = x + NEW  # type: ignore[name-defined] # noqa: F821
    del space["NEW"]
    try:
        return y, NEW  # type: ignore[name-defined] # noqa: F821
    except NameError as error:
        return y, str(error)


def by_the_module(x: Any) -> Any:
    THIS.G = 4  # type: ignore[attr-defined]
    before = x + G
    vars(THIS)["G"] = 6
    between = x + G
    THIS.__dict__["G"] += 2
    return before, between, x + G, THIS.G, globals()["G"]  # type: ignore[attr-defined]


def module_behind_the_dict(x: Any) -> Any:
    space = vars(THIS)
    space["G"] = 6
    before = THIS.G  # type: ignore[attr-defined]
    THIS.G = 7  # type: ignore[attr-defined]
    after = space["G"], x + G
    del THIS.G  # type: ignore[attr-defined]
    found = hasattr(THIS, "G"), "G" in space
    THIS.G = 1  # type: ignore[attr-defined]
    return before, after, found, THIS.G  # type: ignore[attr-defined]


def of_a_function(x: Any) -> Any:
    reader.__globals__["G"] = 7
    before = reader(x)
    reader.__globals__.update(G=8)
    between = reader(x)
    globals().pop("G")
    try:
        after = reader(x)
    except NameError as error:
        after = str(error)
    globals().setdefault("G", 3)
    return before, between, after, reader(x)


def by_a_nested_function(x: Any) -> Any:
    space = globals()

    def write() -> None:
        global H
        H += 1

    write()
    return x + space["H"], H


def handed_over(x: Any) -> Any:
    def write(space: Any) -> None:
        space["G"], space["H"] = space["H"], 5

    before = x + G
    write(globals())
    return before, x + G * H


PROGRAMS = [
    by_dict_then_name,
    between_two_reads,
    by_name_then_dict,
    by_name_before_the_dict,
    new_and_deleted,
    by_the_module,
    module_behind_the_dict,
    of_a_function,
    by_a_nested_function,
    handed_over,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda fn: fn.__name__)
def test_all_ways_lead_to_one_namespace(program: Any) -> None:
    same(program, torch.ones(2), then=[(torch.zeros(2),)], namespace=["G", "H"])


def own_space(x: Any) -> Any:
    space = {"G": 5}
    made = types.FunctionType(reader.__code__, space)
    before = made(x)
    space["G"] = 7
    made.__globals__["H"] = 2
    return before, made(x), space["H"]


def test_a_namespace_that_the_program_makes() -> None:
    same(own_space, torch.ones(2))


def test_getattr_of_a_module_is_called_as_often_as_the_program_calls_it():
    """PEP 562; warnings, counts and answers that depend on what is there by then are the program's."""
    module = types.ModuleType("with_a_getattr")
    exec(
        "import warnings\n"
        "asked, table = [], {'a': 2.0}\n"
        "def __getattr__(name):\n"
        "    asked.append(name)\n"
        "    if name in table:\n"
        "        return table[name]\n"
        "    raise AttributeError(f'nothing known of {name}')\n",
        vars(module),
    )

    def fn(x):
        return x * module.a, getattr(module, "b", 5.0), hasattr(module, "c")

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    for number in range(1, 4):
        module.asked.clear()
        expected = fn(torch.ones(2))
        heard = list(module.asked)
        module.asked.clear()
        found = compiled(torch.ones(2))
        assert torch.equal(found[0], expected[0]) and found[1:] == expected[1:]
        assert module.asked == heard == ["a", "b", "c"]
        module.table["a"] = number * 3.0
        module.table["bc"[number % 2]] = number * 4.0
    module.a = 7.0
    assert torch.equal(compiled(torch.ones(2))[0], torch.full((2,), 7.0))

    has = alternator.compile(lambda x: (x + 1, hasattr(module, "d")), backend="eager", fullgraph=True)
    assert has(torch.ones(2))[1] is False
    module.d = 1
    assert has(torch.ones(2))[1] is True


def test_a_module_that_loads_others_when_they_are_asked_for(tmp_path, monkeypatch):
    package = tmp_path / "loads_lazily_for_a_test"
    package.mkdir()
    (package / "part.py").write_text("SCALE = 3.0\n")
    (package / "__init__.py").write_text(
        "import importlib\n"
        "def __getattr__(name):\n"
        "    if name == 'part':\n"
        "        return importlib.import_module('loads_lazily_for_a_test.part')\n"
        "    raise AttributeError(name)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("loads_lazily_for_a_test")

    def fn(x):
        return x * module.part.SCALE

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 3.0))
    module.part.SCALE = 4.0
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 4.0))
