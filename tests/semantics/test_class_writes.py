"""Writes to classes from outside: none happens while tracing, whoever asks for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import same

import alternator


class Meta(type):
    def __setattr__(cls, name: str, value: Any) -> None:
        if name in getattr(cls, "fixed", ()):
            raise AttributeError(name)
        super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        if name in getattr(cls, "fixed", ()):
            raise AttributeError(f"cannot delete {name}")
        super().__delattr__(name)


def by_assignment(cls: Any) -> None:
    cls.scale = 3


def by_the_metaclass(cls: Any) -> None:
    Meta.__setattr__(cls, "scale", 3)


def by_type(cls: Any) -> None:
    type.__setattr__(cls, "scale", 3)


@pytest.mark.parametrize("write", [by_assignment, by_the_metaclass, by_type], ids=lambda fn: fn.__name__)
def test_a_class_is_written_when_the_captured_code_runs(write: Any) -> None:
    class Scaled(metaclass=Meta):
        scale = 2

    seen = []

    def backend(gm: Any, inputs: Any) -> Any:
        seen.append(Scaled.scale)
        return gm

    def fn(x: Any) -> Any:
        before = Scaled.scale
        write(Scaled)
        return x * before + Scaled.scale

    fast = alternator.compile(fn, backend=backend)
    assert fast(torch.ones(1)).item() == 5 and Scaled.scale == 3
    assert seen == [2]
    assert fast(torch.ones(1)).item() == 6


def test_the_metaclass_is_asked_about_writes_and_deletions() -> None:
    def fn(x: Any) -> Any:
        class Scaled(metaclass=Meta):
            fixed = ("kept",)
            kept = 1
            gone = 2

        said = []
        for change in (lambda: setattr(Scaled, "kept", 5), lambda: delattr(Scaled, "kept"), lambda: delattr(Scaled, "gone")):
            try:
                change()
            except AttributeError as error:
                said.append(str(error))
        return x + Scaled.kept, said, hasattr(Scaled, "gone")

    same(fn, torch.ones(1))


@pytest.mark.parametrize("args", [(), (int,), (int, "name", 1), (3, "name", 1)], ids=str)
def test_what_type_complains_about(args: Any) -> None:
    def fn(x: Any) -> Any:
        try:
            type.__setattr__(*args)
        except TypeError as error:
            return x + 1, str(error)
        return x

    same(fn, torch.ones(1))
