"""Symbols of outside tensors: where the sizes of a fake come from, and the guard of the tensor with them left open."""

from __future__ import annotations

from typing import Any

import sympy
import torch

from alternator.provenance.source import Source


def announce_symbols(vm: Any, fake: torch.Tensor, real: torch.Tensor, source: Source) -> None:
    """Guard a tensor, and say where each symbol of its sizes, strides and offset can be read."""
    sizes: list[int | None] = []
    strides: list[int | None] = []
    offsets: list[int | None] = []
    for kind, values, out in (
        ("size", fake.shape, sizes),
        ("stride", fake.stride(), strides),
        ("offset", (fake.storage_offset(),), offsets),
    ):
        for dim, value in enumerate(values):
            dim = -1 if kind == "offset" else dim
            if issubclass(type(value), torch.SymInt) and not value.node.is_constant():
                out.append(None)
                expr = value.node.expr
                vm.fakes.sources.setdefault(("check", source, kind, dim), (expr, source, dim))
                if isinstance(expr, sympy.Symbol):
                    vm.recorder.symbol_input(expr, source, kind, dim, value)
                    vm.fakes.sources.setdefault(expr, (source, kind, dim))
            else:
                out.append(int(value))
    source.guard("TENSOR", real, tuple(sizes), tuple(strides))
