"""Sees which operations on fakes write into their arguments or draw random numbers.

A graph that does neither to anything outside can be given up in its middle: what it has done so far cannot be told.
"""

from __future__ import annotations

import weakref
from typing import Any, Iterable

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

_PURE: set[Any] = set()
"""Operators that were looked at, and never do either, whatever they are called with."""
_OWN = frozenset({"aten", "prims", "prim"})
_MOVING = frozenset({"running_mean", "running_var"})


class Watch:
    """What a fake mode dispatches through: knows the storages that were written into, and whether something else was done that
    shows outside.  (A subclass of the mode would not do: higher order operators have rules for the very class.)"""

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = weakref.ref(mode)
        self.written: set[int] = set()
        self.shows = False
        vars(mode)["dispatch"] = self

    def __call__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every operator that fakes come to."""
        if func not in _PURE:
            self._look_at(func, args, kwargs or {})
        mode = self.mode()
        assert mode is not None  # it is dispatching
        return FakeTensorMode.dispatch(mode, func, types, args, kwargs or {})

    def leaves_alone(self, inputs: Iterable[torch.Tensor]) -> bool:
        """Nothing was done to these tensors, and nothing else can be seen outside."""
        return not self.shows and all(fake.untyped_storage()._cdata not in self.written for fake in inputs)

    def _look_at(self, func: Any, args: Any, kwargs: Any) -> None:
        schema = getattr(func, "_schema", None)
        if schema is None or func.namespace not in _OWN:
            self.shows = True
            return
        names = [argument.name for argument in schema.arguments]
        given = dict(zip(names, args)) | kwargs
        seeded = torch.Tag.nondeterministic_seeded in func.tags
        moving = not _MOVING.isdisjoint(names)
        if seeded and given.get("dropout_p", 1.0) != 0.0:
            self.shows = True
        if moving and (
            given.get("training", given.get("train", True)) is not False
        ):  # not all of their schemas say that they write
            self.shows = True
        if schema.is_mutable:
            for argument in schema.arguments:
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._write(given.get(argument.name))
        elif not seeded and not moving:
            _PURE.add(func)

    def _write(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            self.written.add(value.untyped_storage()._cdata)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._write(item)
