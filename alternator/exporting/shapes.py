"""``dynamic_shapes``: which sizes of the arguments vary, within which bounds, and whether the program keeps to that."""

from __future__ import annotations

import inspect
from typing import Any, Iterator, Mapping, NamedTuple

import sympy
import torch
import torch.utils._pytree as pytree
from torch.export import Dim
from torch.export.dynamic_shapes import _DerivedDim, _DimHint, _DimHintType, _StaticDim
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError, DimDynamic, EqualityConstraint, StrictMinMaxConstraint
from torch.utils._sympy.solve import try_solve
from torch.utils._sympy.value_ranges import ValueRanges

from alternator.backends.interop import size_source
from alternator.exc import ConstraintViolation, UserError, UserErrorType
from alternator.tensors.fake import Fakes, SymbolSource
from alternator.tensors.shape_guards import check_marked

_HINTS = {_DimHintType.AUTO: DimDynamic.DUCK, _DimHintType.DYNAMIC: DimDynamic.DYNAMIC, _DimHintType.STATIC: DimDynamic.STATIC}


class Named(NamedTuple):
    """One size of an argument that a ``Dim`` was given for."""

    tensor: torch.Tensor
    axis: int
    dim: Any


class ArgumentShapes:
    """What the user said of the sizes of the arguments (``alternator.tensors.dynamic.Shapes``).

    Args:
        arguments: the arguments by the names of the function's parameters.
        spec: ``dynamic_shapes``: per argument, by name or in order, which sizes vary.
    """

    def __init__(self, arguments: Mapping[str, Any], spec: Any) -> None:
        self.spec = spec
        self.named: list[Named] = []
        self._of: dict[int, dict[int, Any]] = {}
        if not spec:
            return
        if isinstance(spec, Mapping):
            unknown = [name for name in spec if name not in arguments]
            if unknown:
                raise _refused(f"there is no argument {unknown[0]!r} (there are {', '.join(arguments)})")
            rows = [(name, value, spec.get(name)) for name, value in arguments.items()]
        elif isinstance(spec, (tuple, list)):
            if len(spec) != len(arguments):
                raise _refused(f"it has {len(spec)} entries for {len(arguments)} arguments ({', '.join(arguments)})")
            rows = [(name, value, entry) for (name, value), entry in zip(arguments.items(), spec)]
        else:
            raise _refused(f"a dict or a tuple is expected, not a {type(spec).__name__}")
        for name, value, entry in rows:
            for tensor, sizes, where in _pairs(value, entry, name):
                self._note(tensor, sizes, where)

    def _note(self, tensor: torch.Tensor, sizes: Any, where: str) -> None:
        items = sizes.items() if isinstance(sizes, Mapping) else enumerate(sizes)
        rows = self._of.setdefault(id(tensor), {})
        for axis, dim in items:
            if not isinstance(axis, int) or not -tensor.dim() <= axis < tensor.dim():
                raise _refused(f"{where} has no dimension {axis!r} (it has {tensor.dim()})")
            if not isinstance(dim, (int, Dim, _DimHint, type(None))):
                raise _refused(f"{where}, dimension {axis}: {dim!r} is no torch.export.Dim, int or None")
            axis %= tensor.dim()
            size = int(tensor.shape[axis])
            if isinstance(dim, (int, _StaticDim)):
                wanted = dim if isinstance(dim, int) else dim.value  # type: ignore[attr-defined]
                if wanted != size:
                    raise ConstraintViolation(
                        f"Static shape constraint of {wanted} does not match input size of {size}, for {where}"
                    )
                dim = None
            elif isinstance(dim, Dim):
                if not isinstance(dim, _DerivedDim) and not dim.min <= size <= dim.max:
                    raise ConstraintViolation(
                        f"Constraints violated ({dim.__name__})! Dimension {axis} of {where} is {size}, which is not in the "
                        f"range from {dim.min} to {dim.max} that {dim.__name__} was given"
                    )
                self.named.append(Named(tensor, axis, dim))
            if rows.get(axis) is None:
                rows[axis] = dim

    # ---- what the capture asks

    def dims(self, tensor: torch.Tensor) -> list[DimDynamic | None] | None:
        rows = self._of.get(id(tensor))
        if not rows:
            return None
        found: list[DimDynamic | None] = [None] * tensor.dim()
        for axis, dim in rows.items():
            found[axis] = (
                DimDynamic.STATIC if dim is None else _HINTS[dim.type] if isinstance(dim, _DimHint) else DimDynamic.DYNAMIC
            )
        return found

    def constraints(self, tensor: torch.Tensor) -> list[Any] | None:
        rows = self._of.get(id(tensor))
        return rows and [_range(rows.get(axis)) for axis in range(tensor.dim())]  # type: ignore[return-value]

    # ---- afterwards

    def check(self, fakes: Fakes, signature: inspect.Signature, solve: bool = True) -> None:
        """Raise where the program relied on more than what was said: a constant, a narrower range, a relation between sizes."""
        check_marked(fakes)
        if not self.named:
            return
        env = fakes.shape_env
        places = {id(tensor): where for tensor, _, where, _ in fakes.inputs}
        used = [(row, size_source(places[id(row.tensor)], row.axis)) for row in self.named if id(row.tensor) in places]
        for row, source in used:
            env.source_name_to_debug_name[source.name] = row.dim.__name__
        error: ConstraintViolationError | None = None
        equalities = self._equalities(fakes, used, places)
        try:
            env.produce_guards_verbose(
                [fake for _, fake, _, _ in fakes.inputs],  # type: ignore[misc]
                [where for _, _, where, _ in fakes.inputs],
                input_contexts=[context for _, _, _, context in fakes.inputs],  # type: ignore[arg-type]
                equalities_inputs=equalities,
                ignore_static=False,
                langs=("python",),
            )
        except ConstraintViolationError as violated:
            error = violated
        text = ""
        known = env.dim_constraints
        if known is not None and solve:
            known.solve()
            forced = known.forced_specializations()
            if error is not None or forced:
                text = known.prettify_results(signature, self.spec, error, forced)
                error = error or ConstraintViolationError("Constraints violated!")
        if error is not None:
            raise ConstraintViolation(f"{error}{text}")

    def _equalities(self, fakes: Fakes, used: list[tuple[Named, Any]], places: dict[int, Any]) -> EqualityConstraint:
        """Sizes that were given the same ``Dim`` may be equal, and those of derived ones what is derived."""
        first: dict[str, Any] = {}
        pairs = [(source, first.setdefault(row.dim.__name__, source)) for row, source in used]
        derived, phantoms = [], {}
        for row, source in used:
            if isinstance(row.dim, _DerivedDim):
                root: Any = row.dim.root  # type: ignore[attr-defined]
                if root.__name__ not in first and root.__name__ not in phantoms:
                    phantoms[root.__name__] = _phantom(fakes, row, root)
                derived.append((source, first.get(root.__name__) or phantoms[root.__name__], row.dim.fn))  # type: ignore[attr-defined]
        hints = [
            size_source(where, axis)
            for tensor, _, where, _ in fakes.inputs
            for axis, dim in self._of.get(id(tensor), {}).items()
            if isinstance(dim, _DimHint)
        ]
        return EqualityConstraint(
            source_pairs=pairs,
            derived_equalities=derived,
            phantom_symbols=list(phantoms.values()),
            relaxed_sources=set(hints),
            warn_only=False,
        )


def _phantom(fakes: Fakes, row: Named, root: Any) -> sympy.Symbol:
    """A symbol for a ``Dim`` that is no size of an argument, but that another one is derived from."""
    symbol = sympy.Symbol(root.__name__, integer=True)
    size = int(row.tensor.shape[row.axis])
    solution = try_solve(sympy.Eq(row.dim.fn(symbol), size), symbol)
    if solution is None:
        raise ConstraintViolation(f"size {size} of dimension {row.axis} is not of the form {row.dim.fn(symbol)}")
    where = SymbolSource(None, root.__name__)
    made: Any = fakes.shape_env.create_symbol(int(solution[1]), where, DimDynamic.DYNAMIC, _range(root))
    return made


def _range(dim: Any) -> StrictMinMaxConstraint | None:
    if not isinstance(dim, Dim):
        return None
    return StrictMinMaxConstraint(warn_only=False, vr=ValueRanges(lower=dim.min, upper=dim.max))  # type: ignore[attr-defined]


def _pairs(value: Any, spec: Any, where: str) -> Iterator[tuple[torch.Tensor, Any, str]]:
    """Each tensor of an argument that something was said of, with that."""
    if isinstance(value, torch.Tensor):
        if spec is None:
            spec = dict.fromkeys(range(value.dim()))
        if not isinstance(spec, (Mapping, tuple, list)):
            raise _refused(f"{where} is a tensor, and needs a dict or a tuple of its dimensions, not {spec!r}")
        if not isinstance(spec, Mapping) and len(spec) != value.dim():
            raise _refused(f"{where} has {value.dim()} dimensions, not {len(spec)}")
        yield value, spec, where
        return
    children = _children(value)
    if children is None or spec is None:
        if spec is not None and not isinstance(spec, _DimHint):
            raise _refused(f"{where} is a {type(value).__name__}, which has no sizes")
        for leaf in pytree.tree_leaves(value):
            if isinstance(leaf, torch.Tensor):
                yield from _pairs(leaf, None, where)
        return
    if isinstance(spec, Mapping):
        if not isinstance(value, Mapping) or set(spec) != set(value):
            raise _refused(f"{where} and its entry have different keys")
        for key, item in value.items():
            yield from _pairs(item, spec[key], f"{where}[{key!r}]")
        return
    if not isinstance(spec, (tuple, list)) or len(spec) != len(children):
        raise _refused(f"{where} has {len(children)} parts, its entry another number")
    for i, (item, entry) in enumerate(zip(children, spec)):
        yield from _pairs(item, entry, f"{where}[{i}]")


def _children(value: Any) -> list[Any] | None:
    """The parts of a container that pytree knows; None for a leaf."""
    leaves = pytree.tree_leaves(value, is_leaf=lambda node: node is not value)
    return None if len(leaves) == 1 and leaves[0] is value else leaves


def _refused(text: str) -> UserError:
    return UserError(UserErrorType.INVALID_INPUT, f"dynamic_shapes does not fit the arguments: {text}")
