"""What the data decides of an operation's result: sizes, numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any, Iterator

import torch

from alternator.tensors.fake import Fakes

Row = tuple[str, "frozenset[int] | bool"]


class FromData:
    """What stands for the result of the operation: for each tensor in it its place and the dimensions that vary, for each
    number True."""

    def __init__(self, *found: Row) -> None:
        self.found = found


def numbers_from_data(tensor: torch.Tensor) -> FromData:
    """What ``tensor.tolist()`` gives; nothing for long ones."""
    sizes = [size if type(size) is int else MAX_NUMBERS + 1 for size in tensor.shape]
    if math.prod(sizes) > MAX_NUMBERS:
        return FromData()
    return FromData(*(("".join(f"[{i}]" for i in place), True) for place in itertools.product(*map(range, sizes))))


MAX_NUMBERS = 32


def sizes_from_data(fakes: Fakes, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FromData | None:
    """Run an operation that fakes refuse once more, with symbols for what the data decides, which nobody keeps."""
    env = fakes.shape_env
    asserts = dict(env.deferred_runtime_asserts)
    try:
        with env.sizes_allowed(fakes.mode), env.ignore_fresh_unbacked_symbols():
            return FromData(*_tensors(fn(*args, **kwargs), ""))
    except Exception:  # it is only to save a capture: whatever is wrong, the continuation will find out what varies
        return None
    finally:
        env.deferred_runtime_asserts.clear()
        env.deferred_runtime_asserts.update(asserts)


def symbolic_dims(tensor: torch.Tensor) -> frozenset[int]:
    """The dimensions whose sizes are not constants."""
    sizes = enumerate(tensor.shape) if tensor.layout is torch.strided else ()
    return frozenset(i for i, size in sizes if type(size) is not int and not size.node.is_constant())


def _tensors(result: Any, path: str) -> Iterator[Row]:
    if isinstance(result, torch.Tensor):
        yield path, symbolic_dims(result)
    elif isinstance(result, (tuple, list)):
        for number, item in enumerate(result):
            yield from _tensors(item, f"{path}[{number}]")
