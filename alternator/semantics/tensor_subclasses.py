"""Subclasses of ``torch.Tensor``: how wrappers of tensors enter, and what makes, and switches, tensors of a subclass."""

from __future__ import annotations

import copy
import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.exc import Break
from alternator.interpreter import tensor_classes, tensor_ops, wrappers
from alternator.interpreter.overrides import ALL_OFF, NO_SUBCLASSES, dispatch, is_overloaded
from alternator.interpreter.tables import RULES
from alternator.interpreter.tensor_ops import METHODS
from alternator.provenance.source import Source
from alternator.provenance.world import World
from alternator.semantics.symbols import announce_symbols


def admit_wrapper(world: World, obj: Any, source: Source) -> Any:
    """An outside tensor that wraps others: an instance around fakes; what is inside is guarded, all the way down."""
    vm = world.vm
    fake = vm.fakes.of_wrapper(obj, source, lambda tensor, name: vm.dynamic.dims(tensor, name, source.static))
    if type(fake) is not type(obj):
        raise Break("TENSOR_SUBCLASS", f"{type(obj).__name__} at {source.name}")
    _guard_parts(vm, obj, fake, source)
    vm.overrides.active = True
    world.record(obj, source, fake)
    vm.recorder.tensor_input(fake, obj, source)
    return fake


def _guard_parts(vm: Any, obj: Any, fake: Any, source: Source) -> None:
    """Guard a wrapper that enters: its own shape, what it says of itself, the tensors inside."""
    announce_symbols(vm, fake, obj, source)
    kind = type(obj)
    vm.world.trusted(kind)
    for name in ("__torch_function__", "__torch_dispatch__", "__tensor_flatten__", "__tensor_unflatten__"):
        vm.world.class_attr(kind, name)
    names, context = obj.__tensor_flatten__()
    source.guard_predicate(_same_parts(kind, list(names), context), f"__tensor_flatten__() == {names}, {context!r}")
    for name in names:
        inner = getattr(obj, name)
        if id(inner) in vm.records:
            raise Break("TENSOR_SUBCLASS", f"a tensor that is inside of a {kind.__name__} and elsewhere")
        vm.overrides.inside.add(id(inner))
        vm.world.pins.append(inner)
        below = source.child("attr", name)
        below.guard("TYPE", type(inner))
        if wrappers.is_wrapper(inner):
            _guard_parts(vm, inner, getattr(fake, name), below)
        else:
            announce_symbols(vm, getattr(fake, name), inner, below)


def _same_parts(kind: Any, names: list[str], context: Any) -> Any:
    """A predicate: the wrapper has the same parts, and says the same of itself."""
    try:
        kept = copy.deepcopy(context)
    except Exception as error:
        raise Break("TENSOR_SUBCLASS", f"metadata of a {kind.__name__}, which cannot be copied: {error}") from None
    compare = getattr(kind, "__metadata_guard__", None) or (lambda one, other: one == other)
    if compare(kept, context) is not True:
        raise Break("TENSOR_SUBCLASS", f"metadata of a {kind.__name__}, which cannot be compared")

    def holds(value: Any) -> bool:
        have, now = value.__tensor_flatten__()
        return list(have) == names and bool(compare(kept, now))

    return holds


# ---- giving a tensor a class


@METHODS.rule(tensor_ops.class_attribute(torch.Tensor, "as_subclass"))
def as_subclass(vm: Any, args: Any, kwargs: Any) -> Any:
    return tensor_classes.give_class(vm, *args, *kwargs.values())


@RULES.rule(torch.Tensor._make_subclass)
def make_subclass(vm: Any, args: Any, kwargs: Any) -> Any:
    """A detached tensor of the class."""
    wanted = dict(zip(("cls", "data", "require_grad"), args), **kwargs)
    if wanted.pop("require_grad", False) or wanted.keys() != {"cls", "data"}:
        raise Break("TENSOR_SUBCLASS", "a leaf that wants a gradient, made while tracing")
    with vm.overrides.off(NO_SUBCLASSES):
        plain = vm.call(torch.Tensor.detach, (wanted["data"],))
    return tensor_classes.give_class(vm, plain, wanted["cls"])


_new: Any = torch.Tensor.__new__


@RULES.rule(_new)
def tensor_new(vm: Any, args: Any, kwargs: Any) -> Any:
    """``Tensor.__new__(cls, tensor)``: the same memory as an instance of the class."""
    if len(args) != 2 or kwargs or not issubclass(type(args[1]), torch.Tensor):
        raise Break("TENSOR_SUBCLASS", f"construction of {args[0].__name__} of data or of a size" if args else "Tensor.__new__")
    return tensor_classes.give_class(vm, args[1], args[0])


# ---- __torch_function__


@RULES.rule(torch.Tensor.__torch_function__.__func__)
def default_torch_function(vm: Any, args: Any, kwargs: Any) -> Any:
    """What subclasses inherit: the operation itself, and its results of the class."""
    cls, func, kinds, values, named = _torch_function_arguments(*args, **kwargs)
    if not all(issubclass(cls, kind) for kind in kinds):
        return NotImplemented
    with vm.overrides.off(NO_SUBCLASSES):
        result = vm.call(func, tuple(values), dict(named or {}))
        return result if _keeps_class(func) else _convert(vm, result, cls)


def _torch_function_arguments(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> tuple[Any, ...]:
    return cls, func, types, args, kwargs


_STORED = tuple(getattr(torch.Tensor, name) for name in ("_base", "grad", "_grad"))


def _keeps_class(func: Any) -> bool:
    """It reads a tensor that is stored, rather than making one."""
    return type(func) is types.MethodWrapperType and any(func.__self__ is stored for stored in _STORED)


def _convert(vm: Any, result: Any, cls: type) -> Any:
    if cls is torch.Tensor:
        return result
    if issubclass(type(result), torch.Tensor):
        return result if issubclass(tensor_ops.type_of(vm, result), cls) else tensor_classes.give_class(vm, result, cls)
    kind = type(result)
    if kind in (list, tuple):
        return kind([_convert(vm, item, cls) for item in result])
    if kind.__module__ == "torch.return_types":
        return vm.plain(kind, [_convert(vm, item, cls) for item in result])
    if issubclass(type(result), (list, tuple)) and kind is not torch.Size:
        raise Break("TENSOR_SUBCLASS", f"a {kind.__name__} of tensors that are to be a {cls.__name__}")
    return result


@RULES.rule(torch.overrides.handle_torch_function)
def handle_torch_function(vm: Any, args: Any, kwargs: Any) -> Any:
    """What functions of torch that are written in Python call where they are overridden."""
    return dispatch(vm, args[0], args[2:], kwargs)


@RULES.rule(torch.overrides.has_torch_function)
def has_torch_function(vm: Any, args: Any, kwargs: Any) -> bool:
    return has_torch_function_variadic(vm, args[0], {})


@RULES.rule(torch.overrides.has_torch_function_unary, torch.overrides.has_torch_function_variadic)
def has_torch_function_variadic(vm: Any, args: Any, kwargs: Any) -> bool:
    active = vm.overrides.active or any(is_overloaded(vm, value) for value in args if type(value) is not FakeTensor)
    return bool(active and vm.overrides.apply(vm, args))


# ---- switching it off

_SWITCHES: Any = {torch._C.DisableTorchFunctionSubclass: NO_SUBCLASSES, torch._C.DisableTorchFunction: ALL_OFF}


def _switch(kind: Any, level: int) -> None:
    def make(vm: Any, args: Any, kwargs: Any) -> Any:
        return vm.plain(kind)

    def enter(vm: Any, args: Any, kwargs: Any) -> None:
        vm.ticks += 1
        vm.overrides.levels.append(vm.overrides.level)
        vm.overrides.level = max(vm.overrides.level, level)

    def leave(vm: Any, args: Any, kwargs: Any) -> None:
        if not vm.overrides.levels:
            raise Break("MODE", "leaving a context without __torch_function__ that was entered outside")
        vm.ticks += 1
        vm.overrides.level = vm.overrides.levels.pop()

    RULES.put(kind, make)
    RULES.put(kind.__enter__, enter)
    RULES.put(kind.__exit__, leave)


for _kind, _level in _SWITCHES.items():
    _switch(_kind, _level)


@RULES.rule(torch._C._is_torch_function_enabled)
def is_torch_function_enabled(vm: Any, args: Any, kwargs: Any) -> bool:
    return bool(vm.overrides.level == 0)


@RULES.rule(torch._C._is_torch_function_all_disabled)
def is_torch_function_all_disabled(vm: Any, args: Any, kwargs: Any) -> bool:
    return bool(vm.overrides.level == ALL_OFF)
