"""Attribute access: CPython's lookup algorithm, with guards on what it reads and shadows for what it writes."""

from __future__ import annotations

import collections
import threading
import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.exc import Break, UserRaise
from alternator.interpreter import calls, global_names, rests, tensor_ops
from alternator.interpreter.links import finishes, passes_on
from alternator.interpreter.namespaces import keep_space, namespace
from alternator.interpreter.tables import DESCRIPTORS, GETATTR, GETTERS, OBJECT_GETATTR, READABLE, SETATTR
from alternator.interpreter.tracebacks import say_of_what
from alternator.interpreter.type_facts import TypeFacts, facts
from alternator.provenance.world import MISSING, Outside, class_space, flags_of, instance_space, is_foreign, is_heap

_DATA_SETTERS = (types.GetSetDescriptorType, types.MemberDescriptorType)


@passes_on
def load(vm: Any, obj: Any, name: str) -> Any:
    """``obj.name``"""
    value = vm.attr_memo.get((id(obj), name), MISSING)
    if value is not MISSING:
        return value
    try:
        return _load(vm, obj, name)
    except UserRaise as raised:
        say_of_what(vm, raised.exc, obj, name)
        raise


@passes_on
def _load(vm: Any, obj: Any, name: str) -> Any:
    kind = type(obj)
    rule = GETATTR.get(kind)
    if rule is not None:
        return rule(vm, obj, name)
    if issubclass(kind, torch.Tensor):  # isinstance() would ask a __class__ of the program's
        return tensor_ops.load_attr(vm, obj, name)
    if issubclass(kind, type):
        return load_class(vm, obj, name)
    if issubclass(kind, types.ModuleType) and facts(vm, kind).getattribute is None:
        return global_names.load_attribute(vm, obj, name)
    return load_ordinary(vm, obj, name)


@passes_on
def load_ordinary(vm: Any, obj: Any, name: str) -> Any:
    """An attribute of an instance whose type has no rule of its own."""
    known = facts(vm, type(obj))
    value = _ordinary(vm, obj, name, known)
    return value if value is not MISSING else load_missing(vm, obj, name, known)


@finishes(lambda space: space["known"].getattr and (rests.of_load, (space["obj"], space["name"], space["known"].getattr)))
def _ordinary(vm: Any, obj: Any, name: str, known: TypeFacts) -> Any:
    """The lookup without ``__getattr__``: MISSING where that is to be asked."""
    try:
        if known.getattribute is not None:
            return calls.call_method(vm, known.getattribute, obj, "__getattribute__", name)
        return lookup(vm, obj, name)
    except UserRaise as raised:
        if known.getattr is None or not issubclass(type(raised.exc), AttributeError):
            raise
        return MISSING


@passes_on
def load_missing(vm: Any, obj: Any, name: str, known: TypeFacts) -> Any:
    """The ordinary lookup found nothing: ``__getattr__``, or AttributeError."""
    if known.getattr is not None:
        rule = OBJECT_GETATTR.get(known.getattr)
        if rule is not None:
            return rule(vm, obj, name)
        return calls.call_method(vm, known.getattr, obj, "__getattr__", name)
    raise vm.user_raise(AttributeError(f"'{type(obj).__name__}' object has no attribute '{name}'", name=name, obj=obj))


@passes_on
def lookup(vm: Any, obj: Any, name: str) -> Any:
    """``object.__getattribute__`` without the final error: the value, or MISSING."""
    kind = type(obj)
    rec: Outside | None = vm.records.get(id(obj))
    if rec is not None and kind in _VISIBLE:  # it stands for something of another type, and its state is its own
        rec = None
    raw = vm.world.class_attr(kind, name)
    if raw is not MISSING:
        raw_kind = type(raw)
        if raw_kind is property:
            if raw.fget is None:
                raise vm.user_raise(AttributeError(f"property '{name}' of '{kind.__qualname__}' object has no getter"))
            return calls.call(vm, vm_trusted(vm, raw.fget), (obj,), {})
        if raw_kind in _DATA_SETTERS:
            rule = GETTERS.get(raw)
            return _native_member(vm, obj, rec, raw, name) if rule is None else rule(vm, obj)
        if raw_kind is not types.FunctionType and _is_data_descriptor(vm, raw_kind):
            return _through_descriptor(vm, raw, obj, kind)
    value = instance_value(vm, obj, rec, name)
    if value is not MISSING:
        return value
    if raw is MISSING:
        return MISSING
    return bind(vm, raw, obj, kind, name)


def vm_trusted(vm: Any, obj: Any) -> Any:
    """A function that hangs immutably on something guarded by identity."""
    vm.world.trusted(obj)
    return obj


def instance_value(vm: Any, obj: Any, rec: Outside | None, name: str) -> Any:
    """What the instance's own ``__dict__`` holds under ``name``, or MISSING; guarded, shadows first."""
    if rec is None:
        space = instance_space(obj)
        if space is None:
            return MISSING
        inner = vm.records.get(id(space))
        if inner is not None:
            return MISSING
        return space.get(name, MISSING)
    space = instance_space(rec.obj)
    if rec.space is None and id(space) in vm.records:  # the program has it from elsewhere
        instance_dict(vm, obj, rec)
    if rec.attrs is not None and name in rec.attrs:
        return rec.attrs[name]
    if rec.space is not None and _record_of_space(vm, rec).filled:
        return dict.get(rec.space, name, MISSING)
    if space is None:
        return MISSING
    source = rec.space_source().child("dictitem", name)
    value = space.get(name, MISSING)
    if value is MISSING:
        source.guard("ABSENT")
        return MISSING
    value = vm.world.admit(value, source)
    if rec.space is None:
        vm.attr_memo[(id(obj), name)] = value
    return value


def native_base(cls: type) -> type:
    """The first class of the MRO that is written in C."""
    for base in cls.__mro__:
        if not is_heap(base) or any(type(raw) in _C_METHODS and raw.__objclass__ is base for raw in class_space(base).values()):
            return base
    return object


_C_METHODS = {types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType}


def check_readable(vm: Any, obj: Any, base: type | None = None) -> None:
    """Native code is about to look into ``obj``: not into an outside object whose state in C is neither known nor guarded."""
    rec = vm.records.get(id(obj))
    if rec is None or rec.standin is not rec.obj or issubclass(type(obj), (type, types.ModuleType)):
        return
    if "IS" in rec.source.guards and rec.inner is not rec.source:  # it is what it is, and was not only compared with others
        return
    kind = native_base(type(obj)) if base is None else base
    readable = READABLE.get(kind)
    if callable(readable):
        readable(rec)
    elif kind is not object and readable is None and not _is_plain_exception(kind):
        raise Break("UNSUPPORTED_OPERATION", f"native code that reads an outside {type(obj).__name__}")


def _is_plain_exception(kind: type) -> bool:
    """Its arguments (and what a group holds), which were guarded when it entered, are all that native code reads."""
    shown = (BaseException.__str__, KeyError.__str__, BaseExceptionGroup.__str__)
    return issubclass(kind, BaseException) and kind.__str__ in shown


def bind(vm: Any, raw: Any, obj: Any, kind: type, name: str) -> Any:
    """A class attribute read through an instance."""
    raw_kind = type(raw)
    if raw_kind is types.FunctionType:
        return types.MethodType(raw, obj)
    if raw_kind is staticmethod:
        return vm_trusted(vm, raw.__func__) if type(raw.__func__) is types.FunctionType else raw.__func__
    if raw_kind is classmethod:
        return bind_class(vm, raw, kind)
    if vm.world.class_attr(raw_kind, "__get__") is not MISSING:
        return _through_descriptor(vm, raw, obj, kind)
    return vm.world.class_value(kind, name, raw)


def bind_class(vm: Any, raw: Any, cls: type) -> Any:
    """What a classmethod of a class is: the callable, bound by its own ``__get__`` where it has one."""
    inner = vm_trusted(vm, raw.__func__)
    kind = type(inner)
    if kind is types.FunctionType or vm.world.class_attr(kind, "__get__") is MISSING:
        return vm.plain(types.MethodType, inner, cls)
    if kind is property:
        return calls.call(vm, vm_trusted(vm, inner.fget), (cls,), {})
    return bind(vm, inner, cls, cls, "")


def _is_data_descriptor(vm: Any, kind: type) -> bool:
    has = vm.world.class_attr
    if has(kind, "__get__") is MISSING:
        return False
    return has(kind, "__set__") is not MISSING or has(kind, "__delete__") is not MISSING


_property: Any = property


@passes_on
def _through_descriptor(vm: Any, raw: Any, obj: Any, kind: type) -> Any:
    rule = DESCRIPTORS.get(type(raw))
    if rule is not None:
        return rule(vm, raw, obj, kind)
    getter = vm.world.class_attr(type(raw), "__get__")
    if type(getter) is types.FunctionType:
        vm.world.trusted(raw)
        return calls.call(vm, getter, (raw, obj, kind), {})
    if type(raw) in _NATIVE_METHODS:
        return vm.plain(raw.__get__, obj, kind)
    if getter is _property.__get__ and _property.fget.__get__(raw) is not None:  # of a subclass that adds to it
        vm.world.trusted(raw)
        return calls.call(vm, vm_trusted(vm, _property.fget.__get__(raw)), (obj,), {})
    raise Break("UNSUPPORTED_ATTRIBUTE", f"descriptor of type {type(raw).__name__}")


_NATIVE_METHODS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    type(collections.namedtuple("_P", "x").__dict__["x"]),
    type(vars(torch._C.Graph)["nodes"]),  # of pybind11's classes: a function in C, bound like one in Python
)


def _native_member(vm: Any, obj: Any, rec: Outside | None, raw: Any, name: str) -> Any:
    """A slot or a C getter."""
    if name == "__class__":
        if raw is not object.__dict__["__class__"]:  # of a proxy in C
            raise Break("UNSUPPORTED_ATTRIBUTE", f"__class__ of a {type(obj).__name__}, which C code makes up")
        return type_of(vm, obj)
    if rec is None:
        value = vm.plain(raw.__get__, obj, type(obj))
        return keep_space(vm, obj, value) if name == "__dict__" and type(value) is dict else value
    if rec.attrs is not None and name in rec.attrs:
        value = rec.attrs[name]
        if value is MISSING:
            raise vm.user_raise(AttributeError(f"'{type(obj).__name__}' object has no attribute '{name}'", name=name, obj=obj))
        return value
    if name == "__dict__":
        return instance_dict(vm, obj, rec)
    source = rec.inner.child("attr", name)
    try:
        value = raw.__get__(rec.obj, type(rec.obj))
    except AttributeError as error:
        source.guard("ABSENT")
        raise vm.user_raise(error) from None
    except Exception as error:  # a released memoryview: whether it raises is not guarded
        raise Break("UNSUPPORTED_ATTRIBUTE", f"{name} of a {type(obj).__name__}, which raises {type(error).__name__}") from None
    return vm.world.admit(value, source)


def instance_dict(vm: Any, obj: Any, rec: Outside) -> Any:
    """``obj.__dict__`` of an outside object, as a dict to read from (its writes are written to the object's shadow)."""
    if rec.space is None:
        rec.space = vm.world.admit(instance_space(rec.obj), rec.space_source())
        vm.attr_memo.clear()
        inner = _record_of_space(vm, rec)
        if inner.filled:
            _write_through(vm, rec)
            return rec.space
        fill = inner.state

        def fill_and_write(vm: Any, inner: Outside) -> None:
            fill(vm, inner)
            _write_through(vm, rec)

        inner.state = fill_and_write
        for name, value in (rec.attrs or {}).items():
            _show(vm, rec, name, value)
    return rec.space


def _record_of_space(vm: Any, rec: Outside) -> Outside:
    """The record of its ``__dict__``, which is read by now if the program has written to it."""
    inner: Outside = vm.records[id(rec.space)]
    if inner.snapshot is not None and not inner.filled:
        vm.fill(inner)
    return inner


def _show(vm: Any, rec: Outside, name: str, value: Any) -> None:
    """An attribute was written: reading its key from the ``__dict__``, which was not read as a whole, gives it."""
    if type(vm.world.class_attr(type(rec.obj), name)) not in _DATA_SETTERS:
        inner = vm.records[id(rec.space)]
        inner.partial[str, name] = value
        inner.overlaid = True


def _write_through(vm: Any, rec: Outside) -> None:
    """From now on attribute writes go to the stand-in of the instance's ``__dict__``, so that both show the same."""
    space: Any = rec.space
    attrs = rec.attrs or {}
    slots = {n: v for n, v in attrs.items() if type(vm.world.class_attr(type(rec.obj), n)) in _DATA_SETTERS}
    for effect in vm.world.effects:  # in their order: what is deleted and set again becomes the last key
        if effect[1] is rec and effect[2] not in slots:
            _put(space, effect[2], effect[3])
    rec.attrs = slots or None
    vm.world.effects[:] = [e for e in vm.world.effects if e[1] is not rec or e[2] in slots]


def _put(space: dict[str, Any], name: str, value: Any) -> None:
    if value is MISSING:
        space.pop(name, None)
    else:
        space[name] = value


def load_class(vm: Any, cls: type, name: str) -> Any:
    """``Class.name``"""
    rec = vm.records.get(id(cls))
    if rec is not None and rec.attrs is not None and name in rec.attrs:
        value = rec.attrs[name]
        if value is not MISSING:
            return value if type(value) not in (staticmethod, classmethod) else bind(vm, value, None, cls, name)
    meta = type(cls)
    if meta is not type:
        getter = vm.world.class_attr(meta, "__getattribute__")
        if type(getter) is types.FunctionType:
            return calls.call(vm, getter, (cls, name), {})
        raw_meta = vm.world.class_attr(meta, name)
        if raw_meta is not MISSING and _is_data_descriptor(vm, type(raw_meta)) and type(raw_meta) is property:
            return calls.call(vm, vm_trusted(vm, raw_meta.fget), (cls,), {})
    else:
        raw_meta = vm.world.class_attr(type, name) if name not in ("__doc__", "__module__") else MISSING
    if name in _TYPE_GETTERS:
        return _type_getter(vm, cls, name)
    raw = vm.world.class_attr(cls, name)
    if raw is MISSING:
        if raw_meta is not MISSING:
            return bind(vm, raw_meta, cls, meta, name)
        fallback = vm.world.class_attr(meta, "__getattr__")
        if fallback is not MISSING:
            return calls.call(vm, fallback, (cls, name), {})
        raise vm.user_raise(AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'", name=name, obj=cls))
    raw_kind = type(raw)
    if raw_kind is types.FunctionType or raw_kind is property:
        return raw
    if raw_kind is staticmethod:
        inner = raw.__func__
        return vm_trusted(vm, inner) if type(inner) is types.FunctionType else inner
    if raw_kind is classmethod:
        return bind_class(vm, raw, cls)
    if raw_kind in _NATIVE_METHODS or raw_kind in _DATA_SETTERS:
        return vm.plain(raw.__get__, None, cls)
    getter = vm.world.class_attr(raw_kind, "__get__")
    if type(getter) is types.FunctionType:
        vm.world.trusted(raw)
        return calls.call(vm, getter, (raw, None, cls), {})
    if is_foreign(raw_kind):
        raise Break("UNSUPPORTED_ATTRIBUTE", f"descriptor of type {raw_kind.__name__}")
    return vm.world.class_value(cls, name, raw)


_TYPE_GETTERS = frozenset(
    {
        "__name__",
        "__qualname__",
        "__module__",
        "__mro__",
        "__bases__",
        "__dict__",
        "__doc__",
        "__annotations__",
        "__base__",
        "__abstractmethods__",
        "__flags__",
    }
)


def _type_getter(vm: Any, cls: type, name: str) -> Any:
    """What ``type`` computes about a class: guarded through the attribute on the class itself."""
    try:
        value = getattr(cls, name)
    except AttributeError as error:
        raise vm.user_raise(error) from None
    if name == "__mro__" and value is None:
        raise Break("UNSUPPORTED_ATTRIBUTE", "the bases of a class that is being made")
    if vm.world.is_made(cls):
        return value
    if name == "__dict__":
        return namespace(vm, cls, value)
    if is_heap(cls):
        return vm.world.admit(value, vm.world.tree.object(cls).child("attr", name))
    return value


def type_of(vm: Any, obj: Any) -> type:
    """``type(obj)`` as the user's program sees it."""
    kind = type(obj)
    if kind is FakeTensor:
        kind = tensor_ops.type_of(vm, obj)
    elif kind in _VISIBLE:
        shown = _VISIBLE[kind]
        kind = shown if isinstance(shown, type) else shown(vm, obj)
    if is_heap(kind):
        vm.world.trusted(kind)
    return kind


_VISIBLE: dict[type, Any] = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}


def show_as(kind: type, visible: Any, known: bool = False) -> None:
    """``type(x)`` of an instance of ``kind`` is ``visible``, or what that says as ``visible(vm, x)``, to the user's program.

    ``known``: interpreted library code asks ``isinstance(x, kind)`` too, and is told the truth.
    """
    _VISIBLE[kind] = visible
    if known:
        KNOWN.add(kind)


_NOT_AS_EFFECTS = frozenset({"__class__", "__dict__"})
KNOWN: set[type] = set()
"""Classes behind a visible type that library code knows by name."""


# ---- writes


@passes_on
def store(vm: Any, obj: Any, name: str, value: Any) -> None:
    """``obj.name = value`` (MISSING: ``del obj.name``)"""
    vm.attr_memo.pop((id(obj), name), None)
    kind = type(obj)
    rule = SETATTR.get(kind)
    if rule is not None:
        rule(vm, obj, name, value)
        return
    if issubclass(type(obj), torch.Tensor):
        tensor_ops.store_attr(vm, obj, name, value)
        return
    if issubclass(kind, types.ModuleType) and facts(vm, kind).setattr is facts(vm, kind).delattr is None:
        global_names.store_attribute(vm, obj, name, value)
        return
    if issubclass(type(obj), type):
        store_class(vm, obj, name, value)
        return
    known = facts(vm, kind)
    override = known.setattr if value is not MISSING else known.delattr
    if override is not None:
        what = (name, value) if value is not MISSING else (name,)
        calls.call_method(vm, override, obj, "__setattr__" if value is not MISSING else "__delattr__", *what)
        return
    store_default(vm, obj, name, value)


@passes_on
def store_default(vm: Any, obj: Any, name: str, value: Any) -> None:
    """``object.__setattr__`` / ``object.__delattr__``"""
    vm.attr_memo.pop((id(obj), name), None)
    vm.ticks += 1
    kind = type(obj)
    raw = vm.world.class_attr(kind, name)
    if raw is not MISSING:
        raw_kind = type(raw)
        if raw_kind is property:
            setter = raw.fset if value is not MISSING else raw.fdel
            if setter is None:
                what = "setter" if value is not MISSING else "deleter"
                raise vm.user_raise(AttributeError(f"property '{name}' of '{kind.__qualname__}' object has no {what}"))
            calls.call(vm, vm_trusted(vm, setter), (obj, value) if value is not MISSING else (obj,), {})
            return
        how = "__set__" if value is not MISSING else "__delete__"
        hook = vm.world.class_attr(raw_kind, how)
        if hook is not MISSING and raw_kind not in _DATA_SETTERS:
            _store_through(vm, raw, hook, how, (obj, value) if value is not MISSING else (obj,))
            return
    rec = vm.records.get(id(obj))
    if rec is None:
        if value is MISSING:
            vm.plain(object.__delattr__, obj, name)
            return
        if name == "__dict__" and id(value) in vm.records:
            raise Break("UNSUPPORTED_EFFECT", "an outside dict as __dict__")
        vm.plain(facts(vm, kind).writer, obj, name, value)
        if name == "__dict__":
            keep_space(vm, obj, value)
        return
    if facts(vm, kind).writer not in _KNOWN_WRITERS:
        raise Break("UNSUPPORTED_EFFECT", f"assignment to an attribute of a {kind.__name__}, which C code does in its own way")
    if name in _NOT_AS_EFFECTS or kind is types.FunctionType and name in ("__code__", "__defaults__", "__kwdefaults__"):
        raise Break("UNSUPPORTED_EFFECT", f"assignment to {name}")
    space = instance_space(rec.obj)
    _check_it_can_be(vm, obj, rec, name, value, raw)
    vm.attr_memo.pop((id(obj), name), None)
    if rec.space is None:
        if id(space) in vm.records:
            instance_dict(vm, obj, rec)
        else:
            vm.world.written_spaces[id(space)] = rec
    if rec.space is not None and type(raw) not in _DATA_SETTERS and _record_of_space(vm, rec).filled:
        _write_through(vm, rec)
        assert rec.space is not None
        _put(rec.space, name, value)
        return
    vm.world.write_attr(rec, name, value)
    if rec.space is not None:
        _show(vm, rec, name, value)


@passes_on
def _check_it_can_be(vm: Any, obj: Any, rec: Outside, name: str, value: Any, raw: Any) -> None:
    """Raise what writing an attribute of an outside object raises: when effects are replayed is too late for handlers."""
    kind = type(obj)
    if instance_space(rec.obj) is None and type(raw) not in _DATA_SETTERS:
        text = f"has no attribute '{name}'" if raw is MISSING else f"attribute '{name}' is read-only"
        raise vm.user_raise(AttributeError(f"'{kind.__name__}' object {text}"))
    if value is MISSING and instance_value(vm, obj, rec, name) is MISSING and type(raw) not in _DATA_SETTERS:
        raise vm.user_raise(AttributeError(f"'{kind.__name__}' object has no attribute '{name}'"))
    if value is MISSING and type(raw) is types.MemberDescriptorType:
        try:
            lookup(vm, obj, name)
        except UserRaise:
            raise vm.user_raise(AttributeError(name)) from None


@passes_on
def _store_through(vm: Any, raw: Any, hook: Any, how: str, args: tuple[Any, ...]) -> None:
    """Call ``__set__`` or ``__delete__`` of a descriptor, whatever stands there."""
    if type(hook) is types.WrapperDescriptorType:  # C code, which may call the program
        raise Break("UNSUPPORTED_ATTRIBUTE", f"assignment through a descriptor of type {type(raw).__name__}")
    vm.world.trusted(raw)
    if type(hook) is types.FunctionType:
        calls.call(vm, hook, (raw, *args), {})
    else:
        calls.call(vm, bind(vm, hook, raw, type(raw), how), args, {})


_KNOWN_WRITERS = (
    object.__setattr__,
    BaseException.__setattr__,
    types.SimpleNamespace.__setattr__,
    threading.local.__setattr__,
)
"""Writers in C that generated code goes through."""


_IMMUTABLE = 1 << 8


def store_class(vm: Any, cls: type, name: str, value: Any) -> None:
    """``cls.name = value``, or ``del`` for MISSING; the metaclass may have a method for it."""
    asked = "__delattr__" if value is MISSING else "__setattr__"
    hook = vm.world.class_attr(type(cls), asked)
    if type(hook) is types.FunctionType:
        calls.call(vm, hook, (cls, name) if value is MISSING else (cls, name, value), {})
    else:
        write_class(vm, cls, name, value)


def write_class(vm: Any, cls: type, name: str, value: Any) -> None:
    """``type.__setattr__`` / ``type.__delattr__``: into the class, or its shadow."""
    if flags_of(cls) & _IMMUTABLE:
        vm.plain(type.__setattr__, cls, name, None)  # refuses it
    if name == "__bases__" and not (vm.world.is_made(cls) and type(cls) is type and not type.__subclasses__(cls)):
        raise Break("UNSUPPORTED_ATTRIBUTE", f"the bases of {cls.__name__} are changed")
    rec = vm.records.get(id(cls))
    if rec is None and not vm.world.is_made(cls):
        vm.world.trusted(cls)
        rec = vm.records.get(id(cls))
    if rec is None:
        if value is MISSING:
            vm.plain(type.__delattr__, cls, name)
        else:
            vm.world.note_made(value) if hasattr(type(value), "__get__") else None
            vm.plain(type.__setattr__, cls, name, value)
        vm.type_facts.clear()
        return
    if (
        issubclass(type(value), (types.FunctionType, property, classmethod, staticmethod))
        or name.startswith("__")
        or value is MISSING
    ):
        raise Break("UNSUPPORTED_EFFECT", f"assignment to {cls.__name__}.{name}")
    vm.world.write_class_attr(cls, rec, name, value)


__all__ = ["MISSING", "UserRaise", "bind", "facts", "instance_value", "load", "lookup", "store", "store_default", "type_of"]
