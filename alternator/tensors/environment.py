"""The shape environment of a capture: may operations have results whose numbers, or sizes, only the data says?

PyTorch remembers for the whole process what operations on fakes gave, and takes nothing of what it remembers under one answer to
that for true under another.  So the first capture without breaks would begin with nothing.  Here the answer is no part of what
results are remembered by.  In exchange nothing is remembered that was made by asking for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import Any, Iterator

import sympy
from torch._guards import SLoc, TracingContext
from torch._subclasses.fake_tensor import FakeTensorMode, disable_fake_tensor_cache
from torch.fx.experimental.symbolic_shapes import ShapeEnv, ShapeEnvSettings
from torch.utils._sympy.value_ranges import bound_sympy
from torch.utils._traceback import format_frame


class _Settings(ShapeEnvSettings):
    """There is one of all that are alike, so they are compared and hashed as objects: they are part of every key.  None equals
    those of other environments, which remember what was made by asking."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


_SETTINGS: dict[tuple[Any, ...], _Settings] = {}
"""The one object for each combination that was used so far."""


_torch_log = logging.getLogger(ShapeEnv.__module__)


class Environment(ShapeEnv):
    """A ``ShapeEnv`` that knows how often it was asked what it allows, and where the program is."""

    def __init__(self, *, scalars: bool, sizes: bool, **settings: Any) -> None:
        super().__init__(**settings)
        values = dataclasses.astuple(self.settings)
        self.settings: ShapeEnvSettings = _SETTINGS.setdefault(values, _Settings(*values))
        self._scalars, self._sizes = scalars, sizes
        self.asked = 0

    @property
    def allow_scalar_outputs(self) -> bool:
        self.asked += 1
        return self._scalars

    @property
    def allow_dynamic_output_shape_ops(self) -> bool:
        self.asked += 1
        return self._sizes

    def _get_stack_summary(self, is_debug: bool = False, framework_loc: str | None = None) -> tuple[SLoc, str]:
        """The place that made a symbol.  Torch looks for it on Python's stack, where our own frames are, too, and imports its
        compilers, which takes half a second, for a list of files that are no places of the program's."""
        if is_debug or _torch_log.isEnabledFor(logging.INFO):
            return super()._get_stack_summary(is_debug, framework_loc)
        where = TracingContext.extract_stack()
        return SLoc(framework_loc, format_frame(where[-1], line=True) if where else None), ""

    def _maybe_guard_rel(self, expr: Any) -> None:
        """What a condition says of single symbols.  Torch divides both sides by factors, which may be zero: from a * b == 4 * a
        it learns that b is 4."""
        if not any(map(self._may_be_zero, expr.atoms(sympy.Mul))):
            super()._maybe_guard_rel(expr)

    def _may_be_zero(self, product: sympy.Mul) -> bool:
        """Whether a factor may be, of several that are no constants."""
        factors = [factor for factor in product.args if factor.free_symbols]
        return len(factors) > 1 and any(0 in bound_sympy(factor, self.var_to_range) for factor in factors)

    @contextlib.contextmanager
    def sizes_allowed(self, mode: FakeTensorMode) -> Iterator[None]:
        """Allow sizes that only the data says, in between."""
        before, self._sizes = self._sizes, True
        try:
            with disable_fake_tensor_cache(mode):
                yield
        finally:
            self._sizes = before


def newest_result() -> Any:
    """What ``forget_results`` takes: where in the order of all that is remembered we are."""
    return next(reversed(FakeTensorMode.cache), None)


def forget_results(since: Any) -> None:
    """Forget the results that have been remembered since then."""
    cache = FakeTensorMode.cache
    while cache and next(reversed(cache)) is not since:  # if that is gone itself: all of them
        cache.popitem()
