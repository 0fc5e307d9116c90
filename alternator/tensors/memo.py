"""Remembered results of fake operations: a network repeats its layers, so it repeats their operations on equal shapes.

Only what was seen to be fresh is remembered: one tensor, no view, sharing no memory with an argument, no argument changed
in place, no gradient.  Whether an operation does that depends on what is in the key, so it will do so again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorConfig, FakeTensorMode

_CONSTANTS = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format})
_SYMBOLIC = frozenset({torch.SymInt, torch.SymFloat})
_NO_KEY = object()


def dense_fake(mode: FakeTensorMode, shape: Any, stride: Any, dtype: torch.dtype, device: torch.device) -> FakeTensor:
    """A fresh fake, without the detour through the dispatcher that an active fake mode would take."""
    with torch._C._DisableTorchDispatch():
        return fake_around(mode, torch.empty_strided(shape, stride, dtype=dtype, device="meta"), device)


def fake_around(mode: FakeTensorMode, meta: torch.Tensor, device: torch.device) -> FakeTensor:
    """The fake that has a tensor of the meta device for its body; to be called where nothing is dispatched.

    All that ``FakeTensor`` writes into a new instance is the same for all of a device, and takes it three times as long as
    all the rest.  So it is asked once, and copied.
    """
    known: dict[torch.device, dict[str, Any]] = vars(mode).setdefault("_alternator_bodies", {})
    body = known.get(device)
    if body is None:
        first = FakeTensor(mode, meta, device)
        if not FakeTensorConfig.debug:
            known[device] = {name: value for name, value in vars(first).items() if name != "fake_mode"}
        return first
    made: FakeTensor = torch.Tensor._make_subclass(
        FakeTensor, meta, False, dispatch_device=True, device_for_backend_keys=body["_fake_device"]
    )
    if mode._allow_unsafe_data_ptr_access:
        torch._C._set_warn_deprecated_on_mutable_data_ptr(made)
    else:
        torch._C._set_throw_on_mutable_data_ptr(made)
    rest = vars(made)
    rest.update(body)
    rest["fake_mode"] = mode
    return made


class FakeMemo:
    """Results of one capture; ``forget`` when global state changes."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = mode
        self._rows: dict[Any, tuple[Any, ...] | None] = {}
        self.hits = 0
        self.paused = False

    def forget(self) -> None:
        """Global state that operations depend on was switched."""
        self._rows.clear()

    def run(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``fn(*args, **kwargs)`` on fakes."""
        if self.paused:  # inside of a torch.func transform, results are wrapped for it
            return fn(*args, **kwargs)
        try:
            key = (id(fn), torch.is_grad_enabled(), _key(args), _key(tuple(kwargs.items())) if kwargs else None)
            row: Any = self._rows.get(key, _NO_KEY)
        except TypeError:  # an argument that we do not know
            return fn(*args, **kwargs)
        if row is None:
            return fn(*args, **kwargs)
        if row is not _NO_KEY:
            self.hits += 1
            return dense_fake(self.mode, *row)
        before = _versions(args)
        result = fn(*args, **kwargs)
        self._rows[key] = _row(result, args, kwargs, before)
        return result


def _key(values: Any) -> Any:
    parts: list[Any] = []
    for value in values:
        kind = type(value)
        if kind is FakeTensor:
            if value.layout is not torch.strided or value.constant is not None:
                raise TypeError
            sizes = (*value.shape, *value.stride(), value.storage_offset())
            parts.append((_numbers(sizes), value.dtype, value.device, value.requires_grad, value.is_conj(), value.is_neg()))
        elif kind in _CONSTANTS:
            parts.append((kind, value))
        elif kind is tuple or kind is list:
            parts.append((kind, _key(value)))
        elif kind is torch.Size:
            parts.append((kind, _numbers(value)))
        elif kind in _SYMBOLIC:
            parts.append((kind, value.node.expr))
        else:
            raise TypeError
    return tuple(parts)


def _numbers(values: Any) -> tuple[Any, ...]:
    """Sizes as something to compare: symbolic ones by their expression (what was assumed of it stays guarded)."""
    return tuple([v if type(v) is int else v.node.expr for v in values])


def _tensors(values: Any) -> list[FakeTensor]:
    found = []
    for value in values:
        if issubclass(type(value), FakeTensor):
            found.append(value)
        elif type(value) in (tuple, list):
            found += _tensors(value)
    return found


def _versions(args: Any) -> list[int] | None:
    """None: there are inference tensors, which have none, or will be."""
    tensors = _tensors(args)
    if torch.is_inference_mode_enabled() or any(tensor.is_inference() for tensor in tensors):
        return None
    return [tensor._version for tensor in tensors]


def _row(result: Any, args: Any, kwargs: Any, before: Any) -> tuple[Any, ...] | None:
    inputs = _tensors(args)
    if (
        type(result) is not FakeTensor
        or result.requires_grad
        or result._is_view()
        or before is None
        or result.constant is not None
    ):
        return None
    if result.layout is not torch.strided or result.is_conj() or result.is_neg() or result.storage_offset():
        return None
    if [t._version for t in inputs] != before:
        return None
    storage = result.untyped_storage()._cdata
    for tensor in inputs + _tensors(kwargs.values()):
        if tensor is result or tensor.untyped_storage()._cdata == storage:
            return None
    if "out" in kwargs:
        return None
    return result.shape, result.stride(), result.dtype, result.device
