"""Numbers of Python's ``random`` and NumPy's: drawn by generated code before the graph, in the program's order, each call anew.

To the program such a number is one that only running it can tell: it can be computed with, not branched on.
"""

from __future__ import annotations

import random
import types
from typing import Any, Callable, Iterator

import numpy
import torch
import torch._numpy as tnp
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._mode_utils import no_dispatch

from alternator.exc import Break
from alternator.interpreter import calls, tensor_ops
from alternator.interpreter.identity import hashable
from alternator.interpreter.tables import DESCRIPTORS, INSTANCE_CALLS, RULES
from alternator.provenance.source import Source
from alternator.semantics.numpy_scalars import no_scalar
from alternator.tensors.graph import Recorder


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

        return _number(vm, name, example, draw, rec.source)

    RULES.put(fn, rule)


def _made(vm: Any, name: str, make: Callable[[], torch.Tensor], draw: Callable[[Any], str], generator: Source) -> Any:
    """An input of the graph that generated code draws of a generator; ``make`` gives an example of it."""
    if type(vm.recorder) is not Recorder:
        raise Break("RNG", f"{name}() in the body of an operator, which may run it again")
    vm.ticks += 1
    with no_dispatch():  # a real one, in the midst of fakes
        real = make()
    fake = vm.fakes.of(real, None, None)
    vm.recorder.made_input(fake, real, name, draw, generator)
    return fake


def _number(vm: Any, name: str, example: Any, draw: Callable[[Any], str], generator: Source) -> Any:
    recorded = vm.recorder.calls
    number = tensor_ops.symbol_of(vm, _made(vm, name, lambda: _as_tensor(example), draw, generator))
    vm.weigh(vm.recorder.calls - recorded)
    return number


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


_DISTRIBUTIONS = frozenset(
    "beta binomial chisquare exponential f gamma geometric gumbel integers laplace logistic lognormal normal pareto permutation "
    "poisson power rand randint randn random random_sample rayleigh standard_cauchy standard_exponential standard_gamma "
    "standard_normal standard_t triangular uniform vonmises wald weibull zipf".split()
)
"""What they give has a dtype and a shape that follow from constant arguments."""
_ANOTHER = {numpy.random.RandomState: numpy.random.RandomState, numpy.random.Generator: numpy.random.default_rng}


@INSTANCE_CALLS.rule(_CYTHON)
def _draw_of_numpy(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    """Arrays and numbers that NumPy draws; an example is drawn of a generator of our own: the program's does not move now."""
    if "random" not in (obj.__module__ or ""):
        raise Break("UNKNOWN_C_FUNCTION", f"{obj.__qualname__}()")
    owner, name = args[0] if args else None, obj.__name__
    rec, method = vm.records.get(id(owner)), vm.records.get(id(obj))
    if name not in _DISTRIBUTIONS or type(owner) not in _ANOTHER or rec is None or not vm.config.trace_numpy:
        raise Break("RNG", f"{obj.__qualname__}()")
    given, named = [_constant(vm, a) for a in args[1:]], {key: _constant(vm, value) for key, value in kwargs.items()}
    rec.source.guard("TYPE", type(owner))
    if method is not None:
        method.source.guard("IS", obj)
    try:
        example = obj(_ANOTHER[type(owner)](0), *given, **named)
    except Exception as error:
        raise vm.user_raise(error) from None
    is_array = type(example) is numpy.ndarray and example.dtype.kind in "biufc"
    if not is_array and type(example) not in (int, float):
        raise Break("RNG", f"{obj.__qualname__}() that gives a {type(example).__name__}")

    def draw(builder: Any) -> str:
        words = [builder.constant(value, "given") for value in given]
        words += [f"{key}={builder.constant(value, key)}" for key, value in named.items()]
        make = builder.constant(torch.from_numpy if is_array else _as_tensor, "drawn")
        return f"{make}({builder.load(rec.source)}.{name}({', '.join(words)}))"

    if not is_array:
        return _number(vm, name, example, draw, rec.source)
    return no_scalar(vm, tnp.ndarray(_made(vm, name, lambda: torch.from_numpy(example), draw, rec.source)))


def _constant(vm: Any, value: Any) -> Any:
    if type(value) in (list, tuple):
        return tuple([_constant(vm, item) for item in vm.close(value)])
    if issubclass(type(value), (torch.SymInt, torch.SymFloat)) and not free_unbacked_symbols(value):
        value = hashable(vm, value)
    if type(value) not in (int, float, bool, str, type(None), numpy.dtype) and not (type(value) is type and value in _DTYPES):
        raise Break("RNG", f"numbers of NumPy drawn with a {type(value).__name__}")
    return value


_DTYPES = (int, float, bool, numpy.float32, numpy.float64, numpy.int32, numpy.int64, numpy.uint8)


@DESCRIPTORS.rule(_CYTHON)
def _bound(vm: Any, raw: Any, obj: Any, cls: type) -> Any:
    """A method: the break is the call, not the look at it."""
    vm.world.trusted(raw)
    return raw if obj is None else types.MethodType(raw, obj)
