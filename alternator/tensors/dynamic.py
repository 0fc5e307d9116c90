"""Which sizes and ints vary: what the user marked, what an earlier capture saw differ, what ``dynamic=`` says."""

from __future__ import annotations

import math
from typing import Any, Callable, Protocol

import torch
from torch.fx.experimental.symbolic_shapes import DimDynamic

from alternator.provenance.source import COUNTS

MARKS = (
    "_dynamo_unbacked_indices",
    "_dynamo_strict_unbacked_indices",
    "_dynamo_dynamic_indices",
    "_dynamo_weak_dynamic_indices",
    "_dynamo_static_indices",
)


class Shapes(Protocol):
    """Says of single tensors how their sizes vary, in place of what was seen of them, and within which bounds."""

    def dims(self, tensor: torch.Tensor) -> list[DimDynamic | None] | None:
        """None: nothing was said of the tensor, or of the dimension."""

    def constraints(self, tensor: torch.Tensor) -> list[Any] | None:
        """Per dimension what ``ShapeEnv`` is to hold the program to."""


class DynamicPolicy:
    """Decides per outside tensor and int what is symbolic; remembers what was seen in ``state`` (kept per code object).

    ``state`` maps ``(kind, name of the source)`` to the sizes or the number; a dimension that differs between two captures is
    remembered as None and is symbolic from then on.  What holds a tensor now and a number then is symbolic at once, and so is
    what is ``("expected", name)`` to vary (``codegen/varying.py``).
    """

    def __init__(
        self,
        state: dict[Any, Any],
        dynamic: bool | None,
        automatic: bool,
        assume_static: bool,
        config: Any,
    ) -> None:
        self.state = state
        self.dynamic = dynamic
        self.automatic = automatic
        self.all_dynamic = dynamic is True or not assume_static
        self.specialize_int = config.specialize_int
        self.specialize_float = config.specialize_float
        self.static_parameters = config.force_parameter_static_shapes
        self.chosen: Callable[[torch.Tensor], list[DimDynamic | None] | None] = lambda tensor: None
        """What was said of a tensor for this capture alone; None for a dimension: as without it."""
        self.when_changed = DimDynamic.UNBACKED if config.automatic_dynamic_shapes_mark_as == "unbacked" else DimDynamic.DUCK

    def dims(self, tensor: torch.Tensor, name: str, fixed: Any = False) -> list[DimDynamic] | None:
        """How each dimension varies; None if all are static.

        ``fixed``: they are static until they were seen to change in the same place (see ``varies``); those of parameters are for
        good, unless the user marked them.
        """
        chosen = self.chosen(tensor)
        if chosen is not None:
            others = DimDynamic.DUCK if self.all_dynamic else DimDynamic.STATIC
            found = [others if dim is None else dim for dim in chosen]
            return found if any(dim is not DimDynamic.STATIC for dim in found) else None
        marks = [getattr(tensor, mark, None) or () for mark in MARKS]
        marked = any(marks[:-1])
        if not marked and isinstance(tensor, torch.nn.Parameter) and (fixed or self.static_parameters):
            return None
        sizes = tuple(tensor.shape)
        changed = self._changed_in_place(name, sizes, fixed) if fixed else self._changed(name, sizes)
        if not (self.all_dynamic and not fixed or marked or changed):
            return None
        dims = [self._dim(i, marks, changed) for i in range(len(sizes))]
        return dims if any(d is not DimDynamic.STATIC for d in dims) else None

    def _dim(self, i: int, marks: list[Any], changed: frozenset[int]) -> DimDynamic:
        unbacked, strictly_unbacked, dynamic, weak, static = marks
        if i in unbacked or i in strictly_unbacked:
            return DimDynamic.UNBACKED
        if i in dynamic:
            return DimDynamic.DYNAMIC
        if i in static:
            return DimDynamic.STATIC
        if i in changed:
            return self.when_changed
        return DimDynamic.DUCK if i in weak or self.all_dynamic else DimDynamic.STATIC

    def _changed(self, name: str, sizes: tuple[int, ...]) -> frozenset[int]:
        if not self.automatic or self.dynamic is False:
            return frozenset()
        key = ("tensor", name)
        seen = self.state.get(key)
        if seen is None and ("int", name) in self.state:
            seen = (None,) * len(sizes)
        expected = self.state.get(("expected", name))
        if seen is None and type(expected) is frozenset:
            seen = tuple(None if i in expected else size for i, size in enumerate(sizes))
        if seen is None or len(seen) != len(sizes):
            self.state[key] = sizes
            return frozenset()
        merged = self.state[key] = tuple(a if a == b else None for a, b in zip(seen, sizes))
        return frozenset(i for i, size in enumerate(merged) if size is None)

    def _changed_in_place(self, name: str, sizes: tuple[int, ...], place: Any) -> frozenset[int]:
        if not self.automatic or self.dynamic is False:
            return frozenset()
        key = ("tensor", name, "fixed")
        seen, where = self.state.setdefault(key, (sizes, place))
        if len(seen) != len(sizes) or where is not place and None not in seen:
            self.state[key] = sizes, place
            return frozenset()
        merged = tuple(a if a == b else None for a, b in zip(seen, sizes))
        self.state[key] = merged, place
        return frozenset(i for i, size in enumerate(merged) if size is None)

    def varies(self, value: int | float, name: str, fixed: Any = False) -> bool:
        """Whether an outside int (or float) is symbolic.

        ``fixed``: it is taken for a constant (a number of a module, say) until it was seen to change in the same place: below
        the same object, if ``fixed`` is a reference to one.  0 and 1 are often switches: also with ``dynamic=True`` they are
        constants until they were seen to change.
        """
        if self.specialize_int if type(value) is int else self.specialize_float or not math.isfinite(value):
            return False
        if fixed is COUNTS or self.state.get(("expected", name)) is True:
            return self.automatic and self.dynamic is not False
        if fixed:
            return self._was_changed((type(value).__name__, name, "fixed"), value, fixed)
        if self.all_dynamic and type(value) is int and value not in (0, 1):
            return True
        if not self.automatic or self.dynamic is False:
            return False
        key = (type(value).__name__, name)
        seen = self.state.get(key, self)
        if seen is self and ("tensor", name) not in self.state:
            self.state[key] = value
            return False
        if seen is None or seen != value:
            self.state[key] = None
            return True
        return False

    def _was_changed(self, key: tuple[str, str, str], value: int | float, place: Any) -> bool:
        if not self.automatic or self.dynamic is False:
            return False
        before, where = self.state.setdefault(key, (value, place))
        if where is not place and before is not None:  # another object's
            self.state[key] = value, place
            return False
        if before is None or before != value:
            self.state[key] = None, place
            return True
        return False
