"""Dropping what was compiled."""

from __future__ import annotations

import sys
import types
from typing import Any, Callable

import torch

from alternator import utils
from alternator.callback import callback_handler
from alternator.runtime import convert, skip
from alternator.runtime.convert import code_of


def reset() -> None:
    """Drop everything that was compiled, and what was learned: as in a fresh process (files that backends keep stay)."""
    with convert.compile_lock:
        reset_code_caches()
        utils.reset_statistics()
        utils.compile_times.clear()
        callback_handler.clear()
        skip.forget()
        _reset_of_torch()


def reset_code_caches() -> None:
    """Drop the compiled entries of all code objects."""
    convert.forget()


def reset_code(code: types.CodeType | Callable[..., Any]) -> None:
    """Drop the compiled entries of one function."""
    convert.forget(code_of(code))


def _reset_of_torch() -> None:
    """State that torch keeps per process about captured programs."""
    torch._C._autograd._saved_tensors_hooks_set_tracing(False)
    if "torch._higher_order_ops.triton_kernel_wrap" in sys.modules:
        sys.modules["torch._higher_order_ops.triton_kernel_wrap"].kernel_side_table.reset_table()
    if torch.cuda.is_available():
        from torch._inductor.cudagraph_trees import reset_cudagraph_trees

        reset_cudagraph_trees()
