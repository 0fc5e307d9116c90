"""Which sizes and ints vary: what the user marked, what an earlier capture saw differ, what ``dynamic=`` says."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import DimDynamic


class DynamicPolicy:
    """Decides per outside tensor and int what is symbolic; remembers what was seen in ``state`` (kept per code object).

    ``state`` maps a source's name to ``("tensor", sizes)`` or ``("int", value)``; a dimension that differs between two captures
    is remembered as None and is symbolic from then on.
    """

    def __init__(
        self,
        state: dict[str, Any],
        dynamic: bool | None,
        automatic: bool,
        assume_static: bool = True,
        specialize_int: bool = False,
        specialize_float: bool = False,
    ) -> None:
        self.state = state
        self.dynamic = dynamic
        self.automatic = automatic
        self.all_dynamic = dynamic is True or not assume_static
        self.specialize_int = specialize_int
        self.specialize_float = specialize_float

    def dims(self, tensor: torch.Tensor, name: str, fixed: bool = False) -> list[DimDynamic] | None:
        """How each dimension varies; None if all are static.  ``fixed``: only what the user marked varies."""
        marked = getattr(tensor, "_dynamo_dynamic_indices", None) or ()
        weak = getattr(tensor, "_dynamo_weak_dynamic_indices", None) or ()
        static = getattr(tensor, "_dynamo_static_indices", None) or ()
        if (fixed or isinstance(tensor, torch.nn.Parameter)) and not marked and not weak:
            return None
        sizes = tuple(tensor.shape)
        changed = self._changed(name, sizes)
        if not (self.all_dynamic or marked or weak or changed):
            return None
        dims = []
        for i in range(len(sizes)):
            if i in marked:
                dims.append(DimDynamic.DYNAMIC)
            elif i in static:
                dims.append(DimDynamic.STATIC)
            elif i in weak or i in changed or self.all_dynamic:
                dims.append(DimDynamic.DUCK)
            else:
                dims.append(DimDynamic.STATIC)
        return dims if any(d is not DimDynamic.STATIC for d in dims) else None

    def _changed(self, name: str, sizes: tuple[int, ...]) -> frozenset[int]:
        if not self.automatic or self.dynamic is False:
            return frozenset()
        seen = self.state.get(name)
        if seen is None or seen[0] != "tensor" or len(seen[1]) != len(sizes):
            self.state[name] = ("tensor", sizes)
            return frozenset()
        merged = tuple(a if a == b else None for a, b in zip(seen[1], sizes))
        self.state[name] = ("tensor", merged)
        return frozenset(i for i, size in enumerate(merged) if size is None)

    def varies(self, value: int | float, name: str) -> bool:
        """Whether an outside int (or float) is symbolic."""
        if self.specialize_int if type(value) is int else self.specialize_float:
            return False
        if type(value) is int and value in (0, 1):
            return False
        if self.all_dynamic and type(value) is int:
            return True
        if not self.automatic or self.dynamic is False:
            return False
        seen = self.state.get(name)
        if seen is None or seen[0] != type(value).__name__:
            self.state[name] = (type(value).__name__, value)
            return False
        if seen[1] is None or seen[1] != value:
            self.state[name] = (seen[0], None)
            return True
        return False
