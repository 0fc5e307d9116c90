"""``torch.Generator``: what one gives is drawn by generated code before the graph, in the program's order, each call anew.

A seed that the program sets goes with the next draw, or is set behind the graph.  A generator that the program makes is made in
front of the first draw.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch.utils._mode_utils import no_dispatch

from alternator.codegen.again import GENERATORS, Kind
from alternator.exc import Break
from alternator.interpreter import tensor_ops
from alternator.interpreter.tables import GETTERS, REBUILD, RULES
from alternator.interpreter.tensor_ops import DRAWING
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World
from alternator.tensors.graph import SYMBOLIC, Recorder

_Generator: Any = torch.Generator
_FACTORIES = frozenset({torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal})
"""What they give depends on their arguments and the generator alone."""
_SAMPLERS = frozenset("uniform_ normal_ exponential_ random_ bernoulli_ geometric_ cauchy_ log_normal_".split())
"""They fill a tensor with what depends on their arguments and the generator alone."""
_VALUES = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout})

GENERATORS[_Generator] = Kind(_Generator.get_state, _Generator.set_state)


def _is_default(generator: Any) -> bool:
    return generator is torch.default_generator or any(generator is one for one in torch.cuda.default_generators)


@ADMIT.register(_Generator)
def admit_generator(world: World, obj: Any, source: Source) -> Any:
    """Its device is guarded, and whether it is that which operations use that are given none."""
    source.guard("TYPE", type(obj))
    device, default = obj.device, _is_default(obj)
    source.guard_predicate(lambda one: one.device == device and _is_default(one) is default, f"is on {device}")
    world.vm.compared.add(_Generator)  # so that two of them are two
    world.record(obj, source)
    return obj


class _Stream:
    """What captured code knows of a generator: the seed that waits for the next draw; of one that it has made, its name."""

    def __init__(self, number: int) -> None:
        self.seed: _Seed | None = None
        self.name = f"generator{number}"
        self.drawn = False


class _Seed:
    """A seed that is set, unless a draw behind it has done so."""

    def __init__(self, generator: Any, value: int) -> None:
        self.generator, self.value, self.is_set = generator, value, False


def _stream(vm: Any, generator: Any) -> _Stream:
    if type(generator) is not _Generator or generator.device.type not in ("cpu", "cuda"):
        raise Break("RNG", f"numbers of a {type(generator).__name__}")
    if _is_default(generator) or type(vm.recorder) is not Recorder or vm.overrides.active or vm.outside_modes:
        raise Break("RNG", "numbers of such a generator")
    streams = vm.states.setdefault("generators", {})
    if id(generator) not in streams:
        streams[id(generator)] = _Stream(len(streams))
    return streams[id(generator)]  # type: ignore[no-any-return]


def _made(vm: Any, generator: Any, make: Callable[[Any], torch.Tensor], draw: Callable[[Any, str], str]) -> torch.Tensor:
    """An input of the graph: ``make(generator)`` gives an example, ``draw(builder, generator)`` says how it is drawn."""
    stream, rec = _stream(vm, generator), vm.records.get(id(generator))
    if torch.is_inference_mode_enabled() or vm.inference_mode:
        raise Break("RNG", "numbers of a generator in inference mode")
    if torch._C._functorch.get_dynamic_layer_stack_depth():
        raise Break("RNG", "numbers of a generator in a transform")
    with no_dispatch():  # a real one, in the midst of fakes, of another generator
        example = vm.plain(make, torch.Generator(generator.device))
    fake = vm.fakes.of(example, None, None)
    seed, first = stream.seed, not stream.drawn
    stream.seed, stream.drawn = None, True
    if seed is not None:
        seed.is_set = True

    def text(b: Any) -> str:
        name = b.load(rec.source) if rec is not None else stream.name
        if rec is None and first:
            name = f"({name} := {_new(b, generator)})"
        return draw(b, name if seed is None else f"{name}.manual_seed({seed.value})")

    vm.ticks += 1
    vm.recorder.made_input(fake, example, "drawn", text, None if rec is None else rec.source)
    return fake


def _new(b: Any, generator: Any) -> str:
    return f"{b.constant(_Generator, 'Generator')}({str(generator.device)!r})"


def _constant(value: Any) -> Any:
    if type(value) in (list, tuple, torch.Size):
        return tuple([_constant(item) for item in value])
    if type(value) not in _VALUES:
        what = "of a size that varies" if issubclass(type(value), SYMBOLIC) else f"with a {type(value).__name__}"
        raise Break("RNG", f"numbers of a generator {what}")
    return value


@DRAWING.rule(_Generator)
def rule_draw(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """``fn(*args, **kwargs)`` with ``generator=``"""
    generator, named = kwargs["generator"], {name: value for name, value in kwargs.items() if name != "generator"}
    if _is_default(generator):
        return tensor_ops.call(vm, fn, args, named)
    method = getattr(fn, "__name__", "") in _SAMPLERS and issubclass(type(args[0]), torch.Tensor)
    if not method and fn not in _FACTORIES or "out" in named:
        raise Break("RNG", f"{getattr(fn, '__name__', fn)}() with a generator")
    if method:
        return _fill(vm, fn, args, named, generator)
    if named.pop("requires_grad", False):
        made = rule_draw(vm, fn, args, {**named, "generator": generator})
        return tensor_ops.call_method(vm, "requires_grad_", None, (made,), {})
    given, named = _constant(args), {name: _constant(value) for name, value in named.items()}
    like = tensor_ops.execute(vm, fn, args, named)
    if not _is_dense(like):
        raise Break("RNG", f"{fn.__name__}() of such a tensor with a generator")
    named |= {"dtype": like.dtype, "device": like.device}
    if generator.device.type != like.device.type:
        raise Break("RNG", f"{fn.__name__}() with a generator of another device")
    return _made(vm, generator, lambda one: fn(*given, **named, generator=one), _call(fn, given, named))


def _call(fn: Any, given: Any, named: dict[str, Any]) -> Callable[[Any, str], str]:
    def draw(b: Any, generator: str) -> str:
        return f"{b.constant(_drawn, 'drawn')}({b.constant((fn, given, named), 'how')}, {generator})"

    return draw


def _drawn(how: tuple[Any, Any, dict[str, Any]], generator: Any) -> torch.Tensor:
    fn, given, named = how
    with torch._C.DisableTorchFunction():
        made: torch.Tensor = fn(*given, **named, generator=generator)
    return made


def _is_dense(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_nested and type(tensor) is tensor_ops.FakeTensor


def _fill(vm: Any, fn: Any, args: Any, named: dict[str, Any], generator: Any) -> Any:
    """A method that fills a tensor: with a copy of what it does to a new one."""
    tensor, given, named = args[0], _constant(args[1:]), {name: _constant(value) for name, value in named.items()}
    if not _is_dense(tensor) or any(issubclass(type(size), SYMBOLIC) for size in (*tensor.shape, *tensor.stride())):
        raise Break("RNG", f"{fn.__name__}() of such a tensor with a generator")
    if torch.is_grad_enabled() and tensor.requires_grad:  # which may be refused
        raise Break("RNG", f"{fn.__name__}() with a generator of what requires a gradient")
    if not tensor.is_contiguous() or tensor.device.type != generator.device.type:
        raise Break("RNG", f"{fn.__name__}() of such a tensor with a generator")
    shape, dtype, device = tuple(tensor.shape), tensor.dtype, tensor.device

    def fill(*given: Any, generator: Any, **named: Any) -> torch.Tensor:
        with torch.no_grad():
            made: torch.Tensor = fn(torch.empty(shape, dtype=dtype, device=device), *given, **named, generator=generator)
        return made

    made = _made(vm, generator, lambda one: fill(*given, **named, generator=one), _call(fill, given, named))
    return tensor_ops.call_method(vm, "copy_", torch.Tensor.copy_, (tensor, made), {})


# ---- methods


@RULES.rule(_Generator)
def rule_new(vm: Any, args: Any, kwargs: Any) -> Any:
    if any(type(value) not in (str, torch.device) for value in (*args, *kwargs.values())):
        raise Break("RNG", "such a call of torch.Generator()")
    return vm.plain(lambda: _Generator(*args, **kwargs))


@REBUILD.rule(_Generator)
def rebuild_generator(b: Any, generator: Any) -> str:
    """Made before the graph if it was used there."""
    stream = _stream(b.vm, generator)
    if not stream.drawn:
        b.emit(f"{stream.name} = {_new(b, generator)}")
    b.register(generator, stream.name)
    return stream.name


@RULES.rule(_Generator.manual_seed)
def rule_manual_seed(vm: Any, args: Any, kwargs: Any) -> Any:
    generator, given = args[0], args[1:]
    stream = _stream(vm, generator)
    if kwargs or len(given) != 1 or type(given[0]) is not int:
        raise Break("RNG", "manual_seed() of something else than a constant")
    seed = _Seed(generator, vm.plain(lambda: _Generator().manual_seed(*given).initial_seed()))
    if stream.seed is not None:
        stream.seed.is_set = True
    stream.seed = seed
    vm.ticks += 1
    vm.world.effects.append(("call", manual_seed, (seed,), {}))
    vm.states.setdefault("seeds", {})[id(generator)] = seed
    return generator


def manual_seed(seed: Any) -> None:
    """Mentioning the seed has set it."""


@REBUILD.rule(_Seed)
def rebuild_seed(b: Any, seed: _Seed) -> str:
    if not seed.is_set:
        b.emit(f"{b.value(seed.generator)}.manual_seed({seed.value})")
    return "None"


@RULES.rule(_Generator.initial_seed)
def rule_initial_seed(vm: Any, args: Any, kwargs: Any) -> Any:
    """A seed that captured code has set, or is guarded."""
    generator, seed = args[0], vm.states.get("seeds", {}).get(id(args[0]))
    rec = vm.records.get(id(generator))
    if len(args) > 1 or kwargs:
        vm.plain(lambda: _Generator.initial_seed(*args, **kwargs))
    if seed is not None:
        return seed.value
    if rec is None:
        return vm.plain(_Generator().initial_seed)
    source = rec.source.child("call", _Generator.initial_seed)
    source.guard("EQ", generator.initial_seed())
    return generator.initial_seed()


@RULES.rule(_Generator.get_state)
def rule_get_state(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) > 1 or kwargs:
        raise Break("RNG", "such a call of Generator.get_state()")
    return _made(vm, args[0], _Generator.get_state, lambda b, generator: f"{generator}.get_state()")


def _refuse(name: str) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break("RNG", f"Generator.{name}()")

    RULES.put(vars(_Generator)[name], rule)


for _name in ("set_state", "clone_state", "graphsafe_get_state", "graphsafe_set_state", "set_offset", "get_offset", "seed"):
    if _name in vars(_Generator):
        _refuse(_name)
for _name in ("__reduce__", "__setstate__"):
    _refuse(_name)


@GETTERS.rule(vars(_Generator)["device"])
def get_device(vm: Any, generator: Any) -> Any:
    """Guarded where it comes in."""
    return generator.device
