"""The most common operators on ordinary fakes, without what PyTorch does for all others: keys, memos, decompositions in Python.

Where the rule of an operator is a kernel in C++, that is called.  Where it is a long way in Python, but obvious for dense tensors
of real numbers, it is written down here.  Whatever is not obvious (symbols, constants, other layouts, what may raise) goes the
usual way: each rule says None then.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from alternator.tensors.direct import creation, elementwise, shaped
from alternator.tensors.direct.ordinary import device_of
from alternator.tensors.memo import fake_around

aten = torch.ops.aten


def _by_kernel(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    device = device_of(mode, args)
    if device is None:
        return None
    try:
        with in_kernel_invocation_manager(mode):
            result = func(*args)
    except Exception:  # in whose words it fails is for the usual way to say
        return None
    if type(result) is torch.Tensor:
        return _fake(mode, result, device)
    if all(type(item) is torch.Tensor for item in result):
        return type(result)([_fake(mode, item, device) for item in result])
    return None


def _fake(mode: FakeTensorMode, result: torch.Tensor, device: torch.device) -> FakeTensor:
    with torch._C._DisableTorchDispatch():
        return fake_around(mode, result, device)


KERNELS = (
    *(aten.view.default, aten._unsafe_view.default, aten.transpose.int, aten.t.default, aten.permute.default),
    *(aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.expand.default, aten.slice.Tensor, aten.select.int),
    *(aten.split.Tensor, aten.split_with_sizes.default, aten.unbind.int, aten.detach.default, aten.alias.default),
    aten.embedding.default,
)

TAKES_KEYWORDS = frozenset(
    {
        *elementwise.UNARY,
        *creation.RULES,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
    }
)
"""Those of the others say nothing of what the result is like."""

RULES: dict[Any, Callable[[FakeTensorMode, Any, Any, Any], Any]] = {
    **dict.fromkeys(KERNELS, _by_kernel),
    **elementwise.RULES,
    **creation.RULES,
    **shaped.RULES,
}
"""operator -> ``rule(mode, operator, args, kwargs)``: the result; or None, and nothing has happened."""
