"""Numbers of Python's ``random``: drawn by generated code before the graph, in the program's order, for each call anew.

To the program such a number is one that only running it can tell: it can be computed with, not branched on.
"""

from __future__ import annotations

import random
import types
from typing import Any, Iterator

import numpy
import torch
from torch.utils._mode_utils import no_dispatch

from alternator.exc import Break
from alternator.interpreter import calls, tensor_ops
from alternator.interpreter.identity import hashable
from alternator.interpreter.tables import DESCRIPTORS, INSTANCE_CALLS, RULES


def _as_tensor(value: Any) -> torch.Tensor:
    """The number as an input of the graph."""
    return torch.tensor([value], dtype=torch.float64 if type(value) is float else torch.int64)


def _called_by(fn: Any) -> Iterator[tuple[str, Any]]:
    """The methods of ``Random`` that a method calls."""
    for name in fn.__code__.co_names if type(fn) is types.FunctionType else ():
        called = getattr(random.Random, name, None)
        if type(called) in (types.FunctionType, types.MethodDescriptorType):
            yield name, called
            yield from _called_by(called)


def _are_theirs(vm: Any, methods: dict[str, Any]) -> bool:
    """Whether the program has put none of its own in place of these methods; guarded."""
    return all(vm.world.class_attr(random.Random, name) is fn for name, fn in methods.items())


def _drawing(name: str, example: Any) -> None:
    fn = getattr(random.Random, name)
    called = dict(_called_by(fn))

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if not _are_theirs(vm, called):
            return calls.inline(vm, fn, args, kwargs)
        owner, given = args[0], [hashable(vm, a) for a in args[1:]]
        named = {key: hashable(vm, value) for key, value in kwargs.items()}
        rec = vm.records.get(id(owner))
        numbers = all(type(a) in (int, float) for a in (*given, *named.values()))
        if rec is None or type(owner) is not random.Random or not numbers:
            raise Break("RNG", f"random.{name}()")
        rec.source.guard("TYPE", random.Random)
        _check(vm, fn, given, named)
        if type(example) is int and any(abs(a) >= 2**62 for a in (*given, *named.values())):
            raise Break("RNG", f"random.{name}() of ints that no tensor holds")

        def draw(builder: Any) -> str:
            words = ", ".join([*map(builder.value, given), *(f"{key}={builder.value(value)}" for key, value in named.items())])
            return f"{builder.constant(_as_tensor, 'number')}({builder.load(rec.source)}.{name}({words}))"

        vm.ticks += 1
        recorded = vm.recorder.calls
        with no_dispatch():  # a real one, in the midst of fakes
            real = _as_tensor(example)
        fake = vm.fakes.of(real, None, None)
        vm.recorder.made_input(fake, real, name, draw)
        number = tensor_ops.symbol_of(vm, fake)
        vm.weigh(vm.recorder.calls - recorded)
        return number

    RULES.put(fn, rule)


def _check(vm: Any, fn: Any, given: Any, named: Any) -> None:
    """Arguments that it refuses are refused now (with a generator of our own: the program's does not move while tracing)."""
    try:
        fn(random.Random(0), *given, **named)
    except Exception as error:
        raise vm.user_raise(error) from None


for _name in ("random", "uniform", "gauss", "normalvariate", "expovariate", "betavariate", "triangular", "lognormvariate"):
    _drawing(_name, 0.5)
for _name in ("randint", "randrange"):
    _drawing(_name, 1)


def _chosen(name: str) -> None:
    """What it gives decides on what follows, or is not a number: one break, and not one for each draw inside of it."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break("RNG", f"random.{name}()")

    RULES.put(getattr(random.Random, name), rule)


for _name in ("choice", "choices", "sample", "shuffle", "seed"):
    _chosen(_name)


_CYTHON = type(numpy.random.Generator.__dict__["uniform"])
"""NumPy's own functions that draw, and those of its generators."""


@INSTANCE_CALLS.rule(_CYTHON)
def _draw_of_numpy(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    raise Break("RNG" if "random" in (obj.__module__ or "") else "UNKNOWN_C_FUNCTION", f"{obj.__qualname__}()")


@DESCRIPTORS.rule(_CYTHON)
def _bound(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    """A method: the break is the call, not the look at it."""
    vm.world.trusted(raw)
    return raw if obj is None else types.MethodType(raw, obj)
