"""Fakes: what stands for an outside tensor, or an int that varies, while a frame is captured."""

from __future__ import annotations

import logging
from typing import Any, Callable, Sequence

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._guards import Source as TorchSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, StatefulSymbolicContext, SubclassSymbolicContext
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from alternator import utils
from alternator.provenance.source import Source
from alternator.tensors.environment import Environment
from alternator.tensors.memo import dense_fake
from alternator.tensors.watched import Watch

ATTRIBUTES = ("_dynamo_dynamic_indices", "_dynamo_weak_dynamic_indices", "_dynamo_static_indices", "_dynamo_unbacked_indices")


class SymbolSource(TorchSource):
    """Our source in the form that ``ShapeEnv`` wants."""

    def __init__(self, source: Source | None, text: str, suffix: str = "") -> None:
        self.ours = source
        self._text = text + suffix

    @property
    def _name_template(self) -> str:
        return self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymbolSource) and other._text == self._text


class Formulas:
    """Floats that are computed of others: symbols of their own, so that nothing is simplified across them.

    ``of`` maps a symbol to the function and its arguments (numbers and symbolic numbers).
    """

    def __init__(self) -> None:
        self.of: dict[Any, tuple[Any, tuple[Any, ...]]] = {}
        self.made: dict[Any, Any] = {}


class _OwnErrors(logging.Filter):
    """An operation that the program gets wrong raises while it is captured what it raises plainly; the traceback that torch
    writes to the log besides is about fakes, and says nothing to the program's user."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is None or not utils.is_capturing()


logging.getLogger(FakeTensorMode.__module__).addFilter(_OwnErrors())


class Fakes:
    """Makes the fakes of one capture: one fake mode and one shape environment."""

    def __init__(
        self,
        *,
        allow_scalar_outputs: bool = False,
        allow_dynamic_output_shapes: bool = False,
        assume_static: bool = True,
        duck_shape: bool = True,
    ) -> None:
        self.shape_env = Environment(
            scalars=allow_scalar_outputs,
            sizes=allow_dynamic_output_shapes,
            assume_static_by_default=assume_static,
            duck_shape=duck_shape,
        )
        self._modes: list[FakeTensorMode] = []
        self.mode = self.new_mode()
        self.watch = Watch(self.mode, self.shape_env)
        self.symbolic = False
        self.flags: dict[int, bool] = {}
        self._general: dict[int, tuple[Any, StatefulSymbolicContext | None]] = {}
        self.sources: dict[Any, tuple[Source, str, int]] = {}
        self.formulas = Formulas()
        self.constraints: Callable[[torch.Tensor], list[Any] | None] = lambda tensor: None
        self.inputs: list[tuple[torch.Tensor, torch.Tensor, SymbolSource, StatefulSymbolicContext]] = []
        """Tensors from outside with symbolic sizes, their fakes, and how ``ShapeEnv`` knows them."""
        self.must_vary: list[tuple[torch.Tensor, Source, int, Any]] = []

    def new_mode(self) -> FakeTensorMode:
        """One more fake mode of this capture, which knows the same symbols."""
        self._modes.append(FakeTensorMode(shape_env=self.shape_env, allow_non_fake_inputs=False))
        return self._modes[-1]

    def forget_outside(self) -> None:
        """The graph has been compiled: no weak references to what is outside stay, which programs count, and because of which
        ``swap_tensors`` would refuse.  The modes live as long as the fakes of the graph's nodes."""
        for mode in self._modes:
            describer = mode.fake_tensor_converter.meta_converter.describer
            describer.lookup_tensor.clear()
            describer.lookup_storage.clear()

    def of(self, tensor: torch.Tensor, source: Source, dims: Sequence[DimDynamic] | None) -> torch.Tensor:
        """A fake of ``tensor``; ``dims`` says per dimension how it varies, None is static."""
        if torch.is_inference_mode_enabled():  # which the program has entered: it is made outside
            with torch.inference_mode(False):
                return self.of(tensor, source, dims)
        if torch._C._functorch.get_dynamic_layer_stack_depth():  # inside of vmap or grad: it is made outside of them
            with temporarily_clear_interpreter_stack():
                return self.of(tensor, source, dims)
        if dims is None:
            if _is_plain(tensor):
                return self._plain(self.mode, tensor)
            fake = self.mode.from_tensor(tensor, static_shapes=True)
            self._general[id(fake)] = None, None
            return fake
        self.symbolic = True
        where = SymbolSource(source, source.name)
        held_to = self.constraints(tensor) or [None] * len(dims)
        context = StatefulSymbolicContext(dynamic_sizes=list(dims), constraint_sizes=held_to, tensor_source=where)  # type: ignore[arg-type]
        fake = self.mode.from_tensor(tensor, source=where, symbolic_context=context, static_shapes=False)
        self._general[id(fake)] = where, context
        self.inputs.append((tensor, fake, where, context))
        bounds = {entry.dim: entry for entry in getattr(tensor, "_dynamo_dynamic_range", ())}
        for i, dim in enumerate(dims):
            if dim is DimDynamic.DYNAMIC and held_to[i] is None:
                self.must_vary.append((fake, source, i, bounds.get(i)))
        return fake

    def of_wrapper(self, tensor: torch.Tensor, source: Source, dims_of: Callable[..., Any]) -> torch.Tensor:
        """A tensor that wraps others, around fakes; ``dims_of(tensor, name)`` says of each, inside too, how its sizes vary."""
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return self.of_wrapper(tensor, source, dims_of)
        found: list[Any] = []
        context = self._context(tensor, source, dims_of, found)
        if not found:
            return self.of(tensor, source, None)
        self.symbolic = True
        where = context.tensor_source
        fake = self.mode.from_tensor(tensor, source=where, symbolic_context=context, static_shapes=False)
        self._general[id(fake)] = where, context
        return fake

    def _context(self, tensor: Any, source: Source, dims_of: Callable[..., Any], found: list[Any]) -> StatefulSymbolicContext:
        dims = dims_of(tensor, source.name)
        found += [] if dims is None else [dims]
        sizes = dims or [DimDynamic.STATIC] * tensor.dim()
        where = SymbolSource(source, source.name)
        if not is_traceable_wrapper_subclass(tensor):
            return StatefulSymbolicContext(dynamic_sizes=sizes, tensor_source=where)
        inner = {
            name: self._context(getattr(tensor, name), source.child("attr", name), dims_of, found)
            for name in tensor.__tensor_flatten__()[0]
        }
        return SubclassSymbolicContext(dynamic_sizes=sizes, tensor_source=where, inner_contexts=inner)

    def is_plain(self, fake: torch.Tensor) -> bool:
        """The fake was made of a dense leaf with static sizes."""
        return id(fake) not in self._general

    def again(self, mode: FakeTensorMode, tensor: torch.Tensor, fake: torch.Tensor, alone: bool) -> torch.Tensor:
        """Another fake like ``fake`` was when the graph first used it, with the same symbols; ``alone``: it shares memory with no
        other.  ``flags``: what ``requires_grad`` of real tensors, by their id, is then, if it is not what it is now."""
        made = self._again(mode, tensor, fake, alone)
        return made.requires_grad_(self.flags[id(tensor)]) if id(tensor) in self.flags else made

    def _again(self, mode: FakeTensorMode, tensor: torch.Tensor, fake: torch.Tensor, alone: bool) -> torch.Tensor:
        if alone and self.is_plain(fake):
            return self._plain(mode, tensor)
        where, context = self._general.get(id(fake), (None, None))
        if context is None:
            return mode.from_tensor(tensor, static_shapes=True)
        return mode.from_tensor(tensor, source=where, symbolic_context=context, static_shapes=False)

    def _plain(self, mode: FakeTensorMode, tensor: torch.Tensor) -> torch.Tensor:
        """The common case (a dense leaf with static sizes) without the general converter's cost."""
        fake = dense_fake(mode, tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.requires_grad:
            fake.requires_grad_(True)
        if isinstance(tensor, torch.nn.Parameter):
            fake._is_param = True
        return fake

    def symint(self, value: int, source: Source, dim: DimDynamic = DimDynamic.DYNAMIC) -> Any:
        """A ``SymInt`` for an outside int that varies from call to call."""
        self.symbolic = True
        return self.shape_env.create_unspecified_symint_and_symbol(value, SymbolSource(source, source.name), dim)

    def symfloat(self, value: float, source: Source) -> Any:
        """A ``SymFloat`` for an outside float that varies from call to call."""
        where = SymbolSource(source, source.name)
        symbol = self.shape_env.create_unspecified_symbol(value, source=where, dynamic_dim=DimDynamic.DYNAMIC)
        return self.shape_env.create_symfloatnode(symbol, hint=value, source=where)

    def derived_float(self, value: float | None, where: SymbolSource) -> Any:
        """A ``SymFloat`` that is computed of others; None: nobody knows the value before the graph has run."""
        if value is None:
            with self.shape_env.ignore_fresh_unbacked_symbols():
                return self.shape_env.create_unbacked_symfloat()
        symbol = self.shape_env.create_unspecified_symbol(value, source=where, dynamic_dim=DimDynamic.DYNAMIC)
        return self.shape_env.create_symfloatnode(symbol, hint=value, source=where)

    def number(self, value: Any) -> Any:
        """What a symbolic number is in this capture; None if only the graph knows."""
        if not isinstance(value, (torch.SymInt, torch.SymFloat)):
            return value
        return value.node.hint if value.node.has_hint() else None


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.is_leaf
        and not tensor._is_view()
        and tensor.storage_offset() == 0
        and tensor.device.type in ("cpu", "cuda")
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not tensor.is_inference()
        and tensor.grad is None
        and not torch._is_functional_tensor(tensor)
        and not tensor.is_quantized
        and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )
