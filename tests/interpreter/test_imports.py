"""Imports in captured code, and attributes of modules that are not in their namespace."""

from __future__ import annotations

import sys
import types
from typing import Any, Iterator

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.ones(2)
NAMES = ("_imported_one", "_imported_two", "_imported_two.sub")


@pytest.fixture
def modules() -> Iterator[list[types.ModuleType]]:
    made = [types.ModuleType(name) for name in NAMES]
    for module in made:
        module.value = 3  # type: ignore[attr-defined]
    made[1].sub, made[1].__path__ = made[2], []  # type: ignore[attr-defined]
    yield made
    for name in NAMES:
        sys.modules.pop(name, None)


def imports(x: Any) -> Any:
    try:
        import _imported_one as module  # type: ignore[import-not-found]
    except ImportError:
        return x - 1
    return x + module.value


def imports_from(x: Any) -> Any:
    try:
        from _imported_one import value  # type: ignore[import-not-found]
    except ImportError:
        return x - 1
    return x + value


def imports_below(x: Any) -> Any:
    try:
        import _imported_two.sub as module  # type: ignore[import-not-found]
    except ImportError:
        return x - 1
    return x + module.value


@pytest.mark.parametrize("fn", [imports, imports_from, imports_below], ids=lambda fn: fn.__name__)
def test_modules_come_and_go(fn: Any, modules: list[types.ModuleType]) -> None:
    """What stands in ``sys.modules`` when the code runs is what is imported, and what does not cannot be."""
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    other = types.ModuleType("_imported_one")
    other.value = 7  # type: ignore[attr-defined]
    seen = []
    for present in (modules, modules, modules[:2], [], modules, [other, *modules[1:]]):
        for name in NAMES:
            sys.modules.pop(name, None)
        sys.modules.update((module.__name__, module) for module in present)
        assert compiled(X).tolist() == fn(X).tolist()
        seen.append(compiled(X)[0].item())
    assert len(set(seen)) > 1


def test_an_import_that_nothing_changes_is_captured_once() -> None:
    def fn(x: Any) -> Any:
        import collections.abc
        from os import path

        return x + len(path.join("a", "b")), collections.abc.Sized

    entries: list[Any] = []
    with alternator.utils.listening_to_entries(entries.append):
        compiled = alternator.compile(fn, backend="eager", fullgraph=True)
        for _ in range(3):
            compiled(X)
            sys.modules["_imported_one"] = types.ModuleType("_imported_one")
            del sys.modules["_imported_one"]
    assert len(entries) == 1


class Odd(types.ModuleType):
    @property
    def raising(self) -> Any:
        raise RuntimeError("raising")


def test_attributes_of_modules_that_are_not_in_their_namespace() -> None:
    plain, odd = types.ModuleType("plain"), Odd("odd")
    odd.__getattr__ = "no function"  # type: ignore[assignment]

    def reads(x: Any) -> Any:
        plain.__init__("again", "doc")  # type: ignore[misc]
        return x + 1, plain.__name__, plain.__doc__

    def raises(x: Any, name: str) -> Any:
        try:
            return x, getattr(odd, name)
        except (RuntimeError, TypeError) as error:
            return x + 1, str(error)

    same(reads, X)
    same(raises, X, "raising")
    same(raises, X, "missing")


def test_annotations_of_a_module_are_made_when_they_are_read() -> None:
    def fn(x: Any) -> Any:
        module, seen = types.ModuleType("module"), []
        for i in range(4):
            seen.append("__annotations__" in module.__dict__)
            seen.append((module.__annotations__, "__annotations__" in module.__dict__))
            if i % 2:
                del module.__annotations__
            else:
                del module.__dict__["__annotations__"]
        return x + 1, seen

    compiled = alternator.compile(fn, backend="eager")
    for _ in range(3):
        assert_same(compiled(X), fn(X))
