"""Functions and methods as objects: their parts, what binding one to an object gives, their signatures."""

from __future__ import annotations

import inspect
import types
from typing import Any

from alternator.exc import Break
from alternator.interpreter import attributes, binding, calls
from alternator.interpreter.namespaces import keep_space
from alternator.interpreter.tables import DEEP, GETATTR, PURE_TYPES, RULES
from alternator.provenance.world import ADMIT, MISSING, instance_space


@RULES.rule(types.FunctionType.__get__)
def rule_function_get(vm: Any, args: Any, kwargs: Any) -> Any:
    fn, obj = args[0], args[1]
    return fn if obj is None else types.MethodType(fn, obj)


@RULES.rule(property.__get__, classmethod.__get__, staticmethod.__get__)
def rule_descriptor_get(vm: Any, args: Any, kwargs: Any) -> Any:
    raw, obj = args[0], args[1]
    kind = args[2] if len(args) > 2 else attributes.type_of(vm, obj)
    if type(raw) is property:
        return raw if obj is None else calls.call(vm, attributes.vm_trusted(vm, raw.fget), (obj,), {})
    return attributes.bind(vm, raw, obj, kind, "")


@RULES.rule(types.MethodType)
def rule_method(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(types.MethodType, *args)


def _method_attr(vm: Any, obj: Any, name: str) -> Any:
    rec = vm.records.get(id(obj))
    if name in ("__self__", "__func__"):
        value = getattr(obj, name)
        return value if rec is None else vm.world.admit(value, rec.source.child("method", name.strip("_")))
    raw = vm.world.class_attr(types.MethodType, name) if name != "__doc__" else MISSING
    if raw is not MISSING:  # what methods have themselves; the rest is the function's
        return types.MethodType if name == "__class__" else attributes.bind(vm, raw, obj, types.MethodType, name)
    func = obj.__func__
    if rec is not None:
        func = vm.world.admit(func, rec.source.child("method", "func"))
    return attributes.load(vm, func, name)


GETATTR.put(types.MethodType, _method_attr)
_FUNCTION_PARTS = {
    "__code__": "code",
    "__defaults__": "defaults",
    "__kwdefaults__": "kwdefaults",
    "__closure__": "closure",
    "__globals__": "globals",
}


def _function_attr(vm: Any, obj: Any, name: str) -> Any:
    rec = vm.records.get(id(obj))
    if rec is not None and rec.attrs is not None and name in rec.attrs:
        if rec.attrs[name] is MISSING:
            raise vm.user_raise(AttributeError(f"'function' object has no attribute '{name}'", name=name, obj=obj))
        return rec.attrs[name]
    if name in _FUNCTION_PARTS:
        value = getattr(obj, name)
        if name == "__globals__":
            return vm.world.admit(value, vm.globals_source(obj))
        if rec is None:
            return value
        return vm.world.admit(value, rec.inner.child("func", _FUNCTION_PARTS[name]))
    if name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__builtins__", "__type_params__"):
        value = vm.plain(getattr, obj, name)
        return value if rec is None else vm.world.admit(value, rec.inner.child("attr", name))
    if name == "__dict__":
        return keep_space(vm, obj, obj.__dict__) if rec is None else attributes.instance_dict(vm, obj, rec)
    value = attributes.instance_value(vm, obj, rec, name)
    if value is not MISSING:
        return value
    if not hasattr(types.FunctionType, name):
        raise vm.user_raise(AttributeError(f"'function' object has no attribute '{name}'", name=name, obj=obj))
    return vm.plain(getattr, obj, name)


GETATTR.put(types.FunctionType, _function_attr)


@RULES.rule(inspect.signature)
def rule_signature(vm: Any, args: Any, kwargs: Any) -> Any:
    fn = args[0]
    target = fn.__func__ if type(fn) is types.MethodType else fn
    rec = vm.records.get(id(target))
    if rec is not None and rec.source.root().access == "local":
        rec.source.guard("IS", rec.obj)
    if rec is not None and type(target) is types.FunctionType:
        _guard_defaults(vm, target, rec)
    if rec is None and not issubclass(type(target), (type, types.FunctionType)):
        for part in (instance_space(target) or {}).values():  # it may look like a function
            vm.close(part)
    return vm.plain(lambda: inspect.signature(*args, **kwargs))


def _guard_defaults(vm: Any, fn: types.FunctionType, rec: Any) -> None:
    """A signature shows them as they are."""
    place, table = rec.inner.child("func", "defaults"), rec.inner.child("func", "kwdefaults")
    binding.count_defaults(vm, fn)
    shown = [(value, place.child("index", at)) for at, value in enumerate(fn.__defaults__ or ())]
    if fn.__kwdefaults__:
        shown += [(value, table.child("dictitem", name)) for name, value in fn.__kwdefaults__.items()]
        table.guard("LEN", len(fn.__kwdefaults__))
    elif fn.__kwdefaults__ is None:
        vm.world.admit(None, table)
    for value, source in shown:
        if ADMIT.is_constant(type(value)):
            source.guard("EQ", value)
        elif vm.world.admit(value, source) is not value:
            raise Break(
                "UNSUPPORTED_CALL", f"the signature of {fn.__qualname__}(), a default of which is a {type(value).__name__}"
            )


PURE_TYPES.put(inspect.Signature, DEEP)
