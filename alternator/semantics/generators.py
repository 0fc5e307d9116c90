"""Generators: what a program may do with one that captured code made, and with one from outside."""

from __future__ import annotations

import inspect
import types
from typing import Any

from alternator._C.eval_frame import set_running, set_waiting
from alternator.codegen.effects import waiting_state
from alternator.exc import Break
from alternator.interpreter import attributes, generators
from alternator.interpreter.frame import NULL
from alternator.interpreter.generators import TracedFilter, TracedGenerator, TracedIndexing, TracedMap, TracedTee, TracedUntil
from alternator.interpreter.links import passes_on
from alternator.interpreter.outside_generators import OutsideGenerator
from alternator.interpreter.tables import GETATTR, REBUILD, RULES
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World

attributes.show_as(TracedGenerator, types.GeneratorType)
GETATTR.put(TracedGenerator, generators.load_attr)
for _traced, _kind in generators.ITERATORS.items():
    attributes.show_as(_traced, _kind)
    GETATTR.put(_traced, generators.load_iterator_attr)


@RULES.rule(TracedGenerator.__iter__)
def generator_iter(vm: Any, args: Any, kwargs: Any) -> Any:
    return args[0]


@RULES.rule(TracedGenerator.__next__)
@passes_on
def generator_next(vm: Any, args: Any, kwargs: Any) -> Any:
    return args[0].resume(None, None)


@RULES.rule(TracedGenerator.send)
@passes_on
def generator_send(vm: Any, args: Any, kwargs: Any) -> Any:
    return args[0].resume(args[1], None)


@RULES.rule(TracedGenerator.throw)
@passes_on
def generator_throw(vm: Any, args: Any, kwargs: Any) -> Any:
    return args[0].throw(*args[1:])


@RULES.rule(TracedGenerator.close)
def generator_close(vm: Any, args: Any, kwargs: Any) -> Any:
    return args[0].close()


@ADMIT.register(types.GeneratorType)
def admit_generator(world: World, obj: Any, source: Source) -> Any:
    """A generator from outside is read when it is advanced."""
    source.guard("TYPE", type(obj))
    standin = OutsideGenerator(world.vm, obj, source)
    rec = world.record(obj, source, standin)
    rec.snapshot = 0
    world.vm.outside_generators.append(rec)
    return standin


@ADMIT.register(types.CoroutineType, types.AsyncGeneratorType)
def admit_coroutine(world: World, obj: Any, source: Source) -> Any:
    """One from outside can be passed on, but not advanced."""
    source.guard("TYPE", type(obj))
    world.record(obj, source)
    return obj


def load_outside_attr(vm: Any, generator: OutsideGenerator, name: str) -> Any:
    """``generator.name`` of one from outside."""
    if name in ("__name__", "__qualname__", "gi_code"):
        value = getattr(generator.generator, name)
        return vm.world.admit(value, generator.source.child("attr", name))
    if name in ("gi_running", "gi_suspended") and not (generator.running or generator.finished or generator.moved()):
        return vm.world.admit(getattr(generator.generator, name), generator.source.child("attr", name))
    return generators.load_attr(vm, generator, name)


GETATTR.put(OutsideGenerator, load_outside_attr)
attributes.show_as(OutsideGenerator, types.GeneratorType)


def _exhausted() -> Any:
    return
    yield


def rebuild_generator(b: Any, value: TracedGenerator) -> str:
    """One that has not started is made anew by calling its function again; a started one is a generator that is made to wait in
    the same place."""
    frame = value.frame
    if value.finished:
        name = b.assign(f"{b.constant(_exhausted, 'exhausted')}()")
        b.emit(f"next({name}, None)")
        return name
    if value.interrupted:
        return _rebuild_running(b, value)
    if value.running or not issubclass(type(frame.func), types.FunctionType):
        raise Break("GENERATOR_STATE", "a generator that is running leaves the captured code")
    if frame.started:
        return _rebuild_suspended(b, value)
    code = frame.code
    count, only = code.co_argcount, code.co_kwonlyargcount
    names, slots = code.co_varnames, frame.locals
    if any(slots[i] is NULL for i in range(count + only)):
        raise Break("GENERATOR_STATE", "a generator without its arguments")
    words = [b.value(slots[i]) for i in range(count)]
    at = count + only
    if code.co_flags & inspect.CO_VARARGS:
        words += [b.value(item) for item in slots[at]]
        at += 1
    words += [f"{names[i]}={b.value(slots[i])}" for i in range(count, count + only)]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        words += [f"**{b.value(slots[at])}"]
    if ".0" in names[count : count + only]:
        raise Break("GENERATOR_STATE", "a generator with keyword arguments that have no names")
    return b.assign(f"{b.value(frame.func)}({', '.join(words)})")


REBUILD.put(TracedGenerator, rebuild_generator)


def _new(b: Any, value: TracedGenerator) -> str:
    """A new generator of its function."""
    frame = value.frame
    closure = f"({b.values(frame.func.__closure__)},)" if frame.func.__closure__ else "None"
    space = b.load(b.vm.globals_source(frame.func))
    make, code = b.constant(types.FunctionType, "Function"), b.constant(frame.code, "code")
    function = b.assign(f"{make}({code}, {space}, {frame.func.__name__!r}, None, {closure})")
    b.emit(f"{function}.__qualname__ = {frame.func.__qualname__!r}")
    name = b.assign(f"{b.constant(_begun, 'begun')}({function})")
    b.register(value, name)
    return str(name)


def _rebuild_running(b: Any, value: TracedGenerator) -> str:
    """A break has cut its body in two: what is in its frame goes to the rest of it, but for the cells."""
    name, frame = _new(b, value), value.frame
    kinds = frame.decoded.localsplus_kinds
    cells = ", ".join(f"{i}: {b.value(frame.locals[i])}" for i, kind in enumerate(kinds) if kind != "local")
    b.emit(f"{b.constant(set_running, 'run')}({name}, {{{cells}}})")
    return name


def _rebuild_suspended(b: Any, value: TracedGenerator) -> str:
    name, frame = _new(b, value), value.frame
    variables = ", ".join(f"{i}: {b.value(item)}" for i, item in enumerate(frame.locals))
    b.emit(f"{b.constant(set_waiting, 'wait')}({name}, {waiting_state(b, frame, variables)})")
    return name


def _begun(fn: types.FunctionType) -> Any:
    """A generator of the function, whatever its arguments."""
    code = fn.__code__
    count = code.co_argcount
    return fn(*[None] * count, **dict.fromkeys(code.co_varnames[count : count + code.co_kwonlyargcount]))


@REBUILD.rule(*(traced for traced in generators.ITERATORS if traced is not TracedTee))
def rebuild_iterator(b: Any, value: TracedGenerator) -> str:
    """Whatever it has given so far: the function, and the iterators as they are now."""
    kind = type(value)
    if value.running:
        raise Break("GENERATOR_STATE", "an iterator that is running leaves the captured code")
    if value.finished:
        return b.assign(f"{b.constant(_ended, 'ended')}({b.constant(kind)})")
    first, second = value.frame.locals[:2]
    if kind is TracedIndexing:
        return b.assign(f"{b.constant(_from, 'from')}({b.value(first)}, {0 if second is NULL else b.value(second)})")
    if kind is TracedUntil:
        return b.assign(f"iter({b.values((first, second))})")
    iterators = second if kind is TracedMap else (second,)
    return b.assign(f"{b.constant(generators.ITERATORS[kind], 'kind')}({b.values((first, *iterators))})")


class _Empty:
    def __getitem__(self, index: int) -> Any:
        raise IndexError


_EMPTY: dict[Any, Any] = {
    TracedMap: lambda: map(str, ()),
    TracedFilter: lambda: filter(None, ()),
    TracedUntil: lambda: iter(lambda: None, None),
    TracedIndexing: lambda: iter(_Empty()),
}


def _ended(kind: type) -> Any:
    """An iterator that is exhausted."""
    made = _EMPTY[kind]()
    next(made, None)
    return made


def _from(obj: Any, index: int) -> Any:
    """An iterator over a sequence, before this item."""
    made = iter(obj)
    made.__setstate__(index)
    return made
