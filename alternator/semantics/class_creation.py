"""Classes that captured code makes: the ``class`` statement, ``type(...)``, and making them again in generated code."""

from __future__ import annotations

import _abc
import abc
import builtins
import collections
import dataclasses
import enum
import types
from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.interpreter.frame import NULL, Frame
from alternator.interpreter.machine import OWN_CODES
from alternator.interpreter.tables import DEEP, NOTHING, REBUILD, RULES, SUBCLASSES
from alternator.provenance.world import ADMIT, MISSING
from alternator.semantics import enums
from alternator.semantics.registrations import rely_on_denial

_MARK = "__alternator_made__"


class _Marker:
    """The first entry of the namespace of a class in the making: is told of the class before any code of the program is."""

    def __init__(self, world: Any) -> None:
        self.world = world

    def __set_name__(self, owner: type, name: str) -> None:
        self.world.note_made(owner)


OWN_CODES.add(_Marker.__set_name__.__code__)


@RULES.rule(builtins.__build_class__)
def build_class(vm: Any, args: Any, kwargs: Any) -> Any:
    """A ``class`` statement: the body is interpreted, then the metaclass is called."""
    body, name, *given = args
    kwargs = dict(kwargs)
    meta = kwargs.pop("metaclass", None)
    bases = tuple(given)
    if any(not issubclass(type(base), type) for base in bases):
        bases = vm.call(types.resolve_bases, (bases,))
    if meta is None:
        meta = attributes.type_of(vm, bases[0]) if bases else type
    if issubclass(type(meta), type):
        meta = vm.plain(types._calculate_meta, meta, bases)  # type: ignore[attr-defined]
    space: Any = {}
    if issubclass(type(meta), type) and issubclass(meta, enum.EnumMeta):
        space = enums.Body(vm, meta, name, bases, kwargs)
    elif issubclass(type(meta), type) and vm.world.class_attr(meta, "__prepare__") is not type.__dict__["__prepare__"]:
        space = vm.call(vm.getattr(meta, "__prepare__"), (name, bases), kwargs)
    if type(space) not in (dict, enums.Body) or id(space) in vm.records:
        raise Break("CLASS_CREATION", f"class {name}: a namespace of its own")
    frame = Frame(
        vm, body, [NULL] * len(body.__code__.co_varnames + body.__code__.co_cellvars + body.__code__.co_freevars), vm.frame
    )
    vm.states[id(frame)] = space
    vm.ticks += 1
    calls.enter(vm, body)
    frame.run()
    del vm.states[id(frame)]
    if bases != tuple(given):
        space["__orig_bases__"] = tuple(given)
    if type(space) is enums.Body:
        return enums.build(vm, meta, name, bases, space, kwargs)
    return vm.call(meta, (name, bases, space), kwargs)


@RULES.rule(type.__new__)
def type_new(vm: Any, args: Any, kwargs: Any) -> Any:
    """The one place where a class comes into being; ``__set_name__`` and ``__init_subclass__`` are interpreted."""
    if len(args) != 4:
        return vm.plain(lambda: type.__new__(*args, **kwargs))
    meta, name, bases, space = args
    if issubclass(meta, enum.EnumMeta):
        raise Break("CLASS_CREATION", f"enumeration {name}")
    if any(issubclass(base, torch.Tensor) for base in bases):
        raise Break("TENSOR_SUBCLASS", f"class {name}")
    if meta is not type and vm.world.class_attr(meta, "mro") is not type.__dict__["mro"]:  # asked before the class is known
        raise Break("CLASS_CREATION", f"class {name}: an mro() of its own")
    space = vm.fill_value(space)
    for value in space.values():
        vm.world.note_made(value)
    vm.ticks += 1
    space = {_MARK: _Marker(vm.world), **space}
    if "__module__" not in space and "__name__" in vm.frame.globals:  # CPython looks at the frame that is at work, which is ours
        space["__module__"] = vm.load_global(vm.frame.func, "__name__")
    made = vm.native(type.__new__, (meta, name, bases, space), kwargs or None)
    type.__delattr__(made, _MARK)
    vm.world.note_made(made)
    return made


@RULES.rule(type.__init__)
def type_init(vm: Any, args: Any, kwargs: Any) -> Any:
    return None


@RULES.rule(type.__call__)
def type_call(vm: Any, args: Any, kwargs: Any) -> Any:
    return calls.construct(vm, args[0], args[1:], kwargs)


@RULES.rule(type.__dict__["__prepare__"])
def type_prepare(vm: Any, args: Any, kwargs: Any) -> Any:
    return {}


@RULES.rule(_abc._abc_init)
def abc_init(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(_abc._abc_init, *args)


@RULES.rule(_abc._abc_instancecheck)
def abc_instancecheck(vm: Any, args: Any, kwargs: Any) -> Any:
    return _checked(vm, _abc._abc_instancecheck, args, kwargs, lambda: attributes.type_of(vm, args[1]))


@RULES.rule(_abc._abc_subclasscheck)
def abc_subclasscheck(vm: Any, args: Any, kwargs: Any) -> Any:
    return _checked(vm, _abc._abc_subclasscheck, args, kwargs, lambda: args[1])


def _checked(vm: Any, fn: Any, args: Any, kwargs: Any, kind: Any) -> Any:
    answer = calls.run_pure(vm, fn, NOTHING, args, kwargs)
    if answer is False:
        rely_on_denial(vm, kind(), args[0])
    return answer


@RULES.rule(_abc._abc_register)
def abc_register(vm: Any, args: Any, kwargs: Any) -> Any:
    if not vm.world.is_made(args[0]):
        raise Break("UNSUPPORTED_EFFECT", f"registration with the outside class {args[0].__name__}")
    return vm.plain(_abc._abc_register, *args)


@RULES.rule(collections.namedtuple)
def make_namedtuple(vm: Any, args: Any, kwargs: Any) -> Any:
    """A class of constants: made natively, in the module of the caller."""
    vm.close_all(args, kwargs, DEEP)
    if kwargs.get("module") is None:
        kwargs = {**kwargs, "module": vm.load_global_or(vm.frame.func, "__name__", "__main__")}
    made: Any = vm.plain(lambda: collections.namedtuple(*args, **kwargs))  # type: ignore[misc]
    vm.ticks += 1
    space = made.__new__.__globals__
    vm.shadow_globals[id(space)] = dict(space)  # its own: nothing of it is from outside
    vm.world.note_made(made)
    for value in vars(made).values():
        if not ADMIT.is_constant(type(value)):
            vm.world.note_made(value)
    return made


_Field: Any = type(vars(collections.namedtuple("_Field", "x"))["x"])
REBUILD.put(_Field, lambda b, value: b.constant(value, "field"))  # immutable: a position and a docstring


@RULES.rule(dataclasses._process_class)  # type: ignore[attr-defined]
def process_class(vm: Any, args: Any, kwargs: Any) -> Any:
    """``@dataclass`` of a class that the program made: its methods are made natively."""
    cls = args[0]
    if not vm.world.is_made(cls):
        raise Break("CLASS_CREATION", f"dataclass() of the outside class {cls.__name__}")
    for base in cls.__mro__[1:]:
        vm.world.class_attr(base, "__dataclass_fields__")
        vm.world.class_attr(base, "__dataclass_params__")
    result = vm.plain(lambda: dataclasses._process_class(*args, **kwargs))  # type: ignore[attr-defined]
    vm.world.note_made(result)
    for name, value in vars(result).items():
        vm.world.note_made(value)
        vm.world.forget_class_attr(result, name)
    vm.type_facts.pop(result, None)
    return result


# ---- making them again


_AT_ONCE = frozenset({"__module__", "__qualname__", "__slots__", "__doc__"})


_OWN = types.GetSetDescriptorType


def _is_taken(meta: type, key: str) -> bool:
    """Whether setting this attribute of a class means something else to the metaclass than an entry of the class's namespace."""
    return any(hasattr(type(base.__dict__[key]), "__set__") for base in meta.__mro__ if key in base.__dict__)


_GIVEN = frozenset({"__dict__", "__weakref__", "__abstractmethods__", "_abc_impl"})


@SUBCLASSES.rule(type)
@REBUILD.rule(type)
def rebuild_class(b: Any, value: Any) -> str:
    """An outside class is itself; one that the program made is a new one in every call, so it is made again."""
    if not b.vm.world.is_made(value):
        return b.constant(value, "cls")
    meta = type(value)
    hooks = [base for base in value.__mro__[1:] if "__init_subclass__" in base.__dict__ and base is not object]
    if meta not in (type, abc.ABCMeta) or hooks:
        raise Break("UNREBUILDABLE_OUTPUT", f"class {value.__name__}, which a metaclass or __init_subclass__ took part in")
    space = dict(value.__dict__)
    space = {key: item for key, item in space.items() if key not in _GIVEN or key == "__dict__" and type(item) is not _OWN}
    first = {key: space.pop(key) for key in list(space) if key in _AT_ONCE or _is_taken(meta, key)}
    first["__qualname__"] = value.__qualname__
    slots = {raw for raw in space if type(space[raw]) is types.MemberDescriptorType}
    words = ", ".join(f"{key!r}: {b.value(item)}" for key, item in first.items())
    bases = f"({b.values(value.__bases__)},)"
    name = b.assign(f"{b.constant(meta, 'meta')}({value.__name__!r}, {bases}, {{{words}}})")
    b.register(value, name)
    put = b.constant(type.__setattr__, "set_class")
    for key, item in space.items():
        if key not in slots:
            b.emit(f"{put}({name}, {key!r}, {b.value(item)})")
    if issubclass(type(value), abc.ABCMeta):  # its methods were not there yet when it was made
        b.emit(f"{b.constant(abc.update_abstractmethods, 'update')}({name})")
    return name


@REBUILD.rule(property)
def rebuild_property(b: Any, value: Any) -> str:
    if type(value) is not property:
        raise Break("UNREBUILDABLE_OUTPUT", f"a {type(value).__qualname__}")
    return b.assign(f"property({b.values((value.fget, value.fset, value.fdel, value.__doc__))})")


@REBUILD.rule(staticmethod, classmethod)
def rebuild_wrapper(b: Any, value: Any) -> str:
    if type(value) not in (staticmethod, classmethod):
        raise Break("UNREBUILDABLE_OUTPUT", f"a {type(value).__qualname__}")
    name = b.assign(f"{type(value).__name__}({b.value(value.__func__)})")
    b.register(value, name)
    found, given = vars(value), vars(type(value)(value.__func__))
    if [*map(id, found.values())] != [*map(id, given.values())] or [*found] != [*given]:
        b.emit(f"{name}.__dict__.clear()")
        b.emit(f"{name}.__dict__.update({b.value(dict(found))})")
    return name


__all__ = ["MISSING"]
