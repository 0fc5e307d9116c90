"""How an operation that fails on fakes fails in eager: many rules of fakes have other texts than the kernels."""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._pytree import tree_map

from alternator.tensors.graph import SYMBOLIC

_MOST = 1 << 20


def eager_error(fn: Callable[..., Any], args: Any, kwargs: Any, number: Callable[[Any], Any]) -> Exception | None:
    """What ``fn`` raises for tensors of zeros like the given fakes; None if it does not.

    ``number`` says what a symbolic scalar is (texts of errors show sizes).  Raises CannotBeTried where there is no such tensor.
    """
    real = tree_map(lambda value: _real(value, number), (args, kwargs))
    try:
        with unset_fake_temporarily(), torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            made = tree_map(lambda value: value.make() if type(value) is _Zeros else value, real)
            fn(*made[0], **made[1])
    except Exception as error:
        return error
    return None


class CannotBeTried(Exception):
    """A value that there is no stand-in for."""


class _Zeros:
    """A real tensor to be."""

    def __init__(self, fake: FakeTensor, number: Callable[[Any], Any]) -> None:
        if fake.layout is not torch.strided or fake.requires_grad and fake._is_view() or fake.is_conj() or fake.is_neg():
            raise CannotBeTried
        self.sizes = [int(number(size)) for size in fake.shape]
        self.strides = [int(number(stride)) for stride in fake.stride()]
        self.dtype, self.device = fake.dtype, fake.fake_device
        self.requires_grad, self.is_leaf = fake.requires_grad, fake.is_leaf
        extent = 1 + sum((size - 1) * stride for size, stride in zip(self.sizes, self.strides))
        if extent > _MOST:
            self.device = torch.device("meta")

    def make(self) -> torch.Tensor:
        made = torch.empty_strided(self.sizes, self.strides, dtype=self.dtype, device=self.device).zero_()
        if self.requires_grad:
            made.requires_grad_()
            return made if self.is_leaf else made * 1
        return made


def _real(value: Any, number: Callable[[Any], Any]) -> Any:
    if issubclass(type(value), FakeTensor):
        return _Zeros(value, number)
    if issubclass(type(value), torch.Tensor):
        raise CannotBeTried
    return number(value) if issubclass(type(value), SYMBOLIC) else value


def first_line(error: Exception) -> str:
    """What PyTorch says of an error, without the C++ frames that it may say it with."""
    return str(error).partition("\n")[0]
