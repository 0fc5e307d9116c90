"""Calls: rule, graph node, inlined Python function, native code, or break - in that order."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.bytecode.assemble import origin_of
from alternator.exc import Break, UserRaise
from alternator.interpreter import attributes, binding, overrides, rests, tensor_classes, tensor_ops
from alternator.interpreter.formulas import SHOWS_SYMBOL
from alternator.interpreter.frame import Frame
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.identity import TracedId, hashable, known
from alternator.interpreter.links import finishes, passes_on
from alternator.interpreter.outside_generators import watch_generators
from alternator.interpreter.tables import (
    CODES,
    DEEP,
    IN_GRAPH,
    INSTANCE_CALLS,
    MARKS,
    NOTHING,
    PURE,
    PURE_TYPES,
    RULES,
    SHALLOW,
    UNKNOWN_AS,
)
from alternator.provenance.keys import has_special
from alternator.provenance.world import MISSING, Unread, class_space, is_heap, module_of, mro_of, name_of
from alternator.tensors.graph import SYMBOLIC

_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = inspect.CO_GENERATOR, inspect.CO_COROUTINE, inspect.CO_ASYNC_GENERATOR
_VARARGS, _VARKEYWORDS = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS
MAX_DEPTH = 900


@passes_on
def call(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``fn(*args, **kwargs)``"""
    if vm.overrides.active:
        result = overrides.intercept(vm, fn, args, kwargs)
        if result is not overrides.NOT_SEEN:
            return result
    rule = RULES.get(fn)
    if rule is not None:
        if kwargs and type(fn) is types.BuiltinFunctionType and _takes_no_keywords(fn):
            raise vm.user_raise(TypeError(f"{fn.__name__}() takes no keyword arguments"))
        return rule(vm, args, kwargs)
    kind = type(fn)
    if kind is types.FunctionType:
        return call_function(vm, fn, args, kwargs)
    if kind is types.MethodType:
        func, owner = fn.__func__, fn.__self__
        rec = vm.records.get(id(fn))
        if rec is not None:
            func = vm.world.admit(func, rec.source.child("method", "func"))
            owner = vm.world.admit(owner, rec.source.child("method", "self"))
        return call(vm, func, (owner, *args), kwargs)
    if kind in _NATIVE:
        return call_native(vm, fn, kind, args, kwargs)
    rule = INSTANCE_CALLS.get(kind)
    if rule is not None:
        return rule(vm, fn, args, kwargs)
    if fn in IN_GRAPH:
        return tensor_ops.call(vm, fn, args, kwargs)
    if issubclass(type(fn), type):
        return instantiate(vm, fn, args, kwargs)
    return call_instance(vm, fn, args, kwargs)


@functools.lru_cache(None)
def _takes_no_keywords(fn: Any) -> bool:
    if fn.__module__ != "builtins":
        return False
    try:
        found = inspect.signature(fn).parameters.values()
    except ValueError:
        return False
    return all(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in found)


@passes_on
def call_instance(vm: Any, obj: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An object whose class defines ``__call__``."""
    found = vm.world.class_attr(type(obj), "__call__")
    if found is MISSING:
        raise vm.user_raise(TypeError(f"'{type(obj).__name__}' object is not callable"))
    if type(found) is types.FunctionType:
        return call(vm, found, (obj, *args), kwargs)
    if type(found) is types.BuiltinFunctionType:  # does not bind
        return call(vm, found, args, kwargs)
    if type(found) is not types.WrapperDescriptorType:
        return call(vm, attributes.bind(vm, found, obj, type(obj), "__call__"), args, kwargs)
    depth = PURE_TYPES.get(type(obj))
    if depth is not None:
        attributes.check_readable(vm, obj)
        vm.close_all(args, kwargs, depth)
        return vm.native(obj, args, kwargs)
    raise Break("UNKNOWN_C_FUNCTION", f"call of a {type(obj).__name__} object")


def is_of_c(found: Any) -> bool:
    """What a class has for a special method is C code that is known to do what a type of Python's own does, or there is none."""
    return found is MISSING or found is None or type(found) in _OF_C


_OF_C = (types.WrapperDescriptorType, types.MethodDescriptorType, types.BuiltinFunctionType)


@passes_on
def call_method(vm: Any, found: Any, obj: Any, name: str, *args: Any) -> Any:
    """A special method that was found in the class: a function, or what somebody has made of one."""
    if type(found) is types.FunctionType:
        return call(vm, found, (obj, *args), {})
    return call(vm, attributes.bind(vm, found, obj, type(obj), name), args, {})


# ---- Python functions


@passes_on
def call_function(vm: Any, fn: types.FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Inline a Python function, unless it is a graph operation or not to be traced."""
    if fn in IN_GRAPH:
        return tensor_ops.call(vm, fn, args, kwargs)
    rule = CODES.get(fn.__code__)
    if rule is not None:
        return rule(vm, fn, args, kwargs)
    marks = fn.__dict__
    if marks:
        for name in MARKS.keys() & marks.keys():
            if marks[name]:
                return MARKS[name](vm, fn, args, kwargs)
    return inline(vm, fn, args, kwargs)


def enter(vm: Any, fn: types.FunctionType) -> None:
    """Guard what makes an outside function what it is."""
    if id(fn) in vm.entered:
        return
    vm.entered.add(id(fn))
    rec = vm.records.get(id(fn))
    if rec is not None:
        rec.inner.child("func", "code").guard("IS", fn.__code__)
        vm.inlined.add(fn.__code__)


@passes_on
def inline(vm: Any, fn: types.FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    enter(vm, fn)
    return execute(vm, fn, binding.bind_arguments(vm, fn, args, kwargs))


def run_bound(vm: Any, fn: types.FunctionType, values: list[Any]) -> Any:
    """A Python function that native code calls, its arguments already bound."""
    if values:
        owner = values[0]
        kind = owner if issubclass(type(owner), type) else type(owner)
        if is_heap(kind) and vm.world.class_attr(kind, fn.__name__) is fn and id(fn) not in vm.records:
            attributes.vm_trusted(vm, fn)
    if fn in IN_GRAPH or RULES.get(fn) is not None or fn.__dict__:
        code = fn.__code__
        count = code.co_argcount
        if not code.co_flags & (_VARARGS | _VARKEYWORDS) and not code.co_kwonlyargcount:
            return call(vm, fn, tuple(binding.seen_defaults(vm, fn, list(values))[:count]), {})
    enter(vm, fn)
    return execute(vm, fn, binding.seen_defaults(vm, fn, list(values)))


@passes_on
def execute(vm: Any, fn: types.FunctionType, slots: list[Any]) -> Any:
    code = fn.__code__
    flags = code.co_flags
    frame = Frame(vm, fn, slots, vm.frame)
    if flags & _GENERATOR:
        return TracedGenerator(vm, frame)
    if flags & (_COROUTINE | _ASYNC_GENERATOR):
        raise _made_plainly(vm, fn)
    if vm.depth >= MAX_DEPTH:
        raise Break("RECURSION", fn.__qualname__)
    if slots and type(slots[0]) is Unread and origin_of(code) is not None:  # whose arguments are nobody else's
        watch_generators(frame)
    vm.step()
    vm.depth += 1
    vm.ticks += 1
    try:
        with vm.places.calling(vm.frame):
            return frame.run() if not vm.careful else frame.run_carefully()
    finally:
        vm.depth -= 1


def _made_plainly(vm: Any, fn: types.FunctionType) -> Break:
    """The call of a coroutine function, which may be asked to note down where that was: then all frames have to be there."""
    if sys.get_coroutine_origin_tracking_depth():
        return Break("FRAME_INTROSPECTION", "the origin of a coroutine")
    if "coroutine origins" not in vm.states:
        vm.states["coroutine origins"] = True
        vm.world.tree.tail.append(("PY", (), _no_origins, "sys.get_coroutine_origin_tracking_depth() == 0"))
    return Break("ASYNC", fn.__qualname__)


def _no_origins() -> bool:
    return not sys.get_coroutine_origin_tracking_depth()


def name_for_errors(fn: Any) -> str:
    """How CPython names a callable in errors about star arguments."""
    name = getattr(fn, "__qualname__", None)
    if not issubclass(type(name), str):
        return str(fn) if type(fn).__repr__ is object.__repr__ else type(fn).__name__
    module = getattr(fn, "__module__", None)
    return f"{module}.{name}()" if issubclass(type(module), str) and module != "builtins" else f"{name}()"


# ---- native functions and methods

_NATIVE = {
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    type(re.compile("").sub),  # builtin_method: one that knows the class that defines it
}
_BOUND = {types.BuiltinFunctionType, types.MethodWrapperType, type(re.compile("").sub)}


def call_native(vm: Any, fn: Any, kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if kind in _BOUND:
        owner = fn.__self__
        if owner is not None and type(owner) is not types.ModuleType:
            return call_native_method(vm, fn, owner, args, kwargs)
        depth = PURE.get(fn)
        if depth is not None:
            return run_pure(vm, fn, depth, args, kwargs)
        if fn in IN_GRAPH:
            return tensor_ops.call(vm, fn, args, kwargs)
        raise _unknown(fn)
    if (
        args
        and issubclass(type(args[0]), torch.Tensor)
        and issubclass(torch.Tensor, fn.__objclass__)
        and fn.__objclass__ is not object
    ):
        return tensor_ops.call_method(vm, fn.__name__, fn, args, kwargs)
    if not args:
        return vm.plain(lambda: fn(**kwargs))
    if fn in IN_GRAPH:
        return tensor_ops.call(vm, fn, args, kwargs)
    if issubclass(type(args[0]), torch.Tensor) and fn.__objclass__ is object:
        return call_native_method(vm, fn.__get__(args[0]), args[0], args[1:], kwargs)
    owner = args[0]
    if issubclass(type(owner), SYMBOLIC):
        rule = RULES.get(getattr(type(owner), fn.__name__, None))
        if rule is not None:
            return rule(vm, args, kwargs)
        owner = hashable(vm, owner)
    if kind is not types.ClassMethodDescriptorType and not issubclass(type(owner), fn.__objclass__):
        rec = vm.records.get(id(owner))
        if rec is not None and issubclass(type(rec.obj), fn.__objclass__):  # what stands for it is of another class
            if vm.world.class_attr(type(rec.obj), fn.__name__) is not fn:
                raise _unknown(fn)
            return call(vm, attributes.load(vm, owner, fn.__name__), args[1:], kwargs)
        vm.plain(lambda: fn(owner))  # which says what is wrong in other words than __get__ does
    bound = vm.plain(fn.__get__, owner, type(owner))
    return call_native_method(vm, bound, owner, args[1:], kwargs)


def call_native_method(vm: Any, fn: Any, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A builtin method that is bound to ``owner``."""
    if issubclass(type(owner), torch.Tensor):
        return tensor_ops.call_method(vm, fn.__name__, fn, (owner, *args), kwargs)
    base, descriptor = native_descriptor(fn, owner)
    rule = RULES.get(descriptor)
    if rule is not None:
        return rule(vm, (owner, *args), kwargs)
    if fn in IN_GRAPH or PURE.get(fn) is not None:
        return tensor_ops.call(vm, fn, args, kwargs) if fn in IN_GRAPH else run_pure(vm, fn, PURE.get(fn), args, kwargs)
    depth = PURE_TYPES.get(base)
    if depth is None:
        raise _unknown(fn)
    if base in _OF_NUMBERS:
        args = tuple([hashable(vm, arg) if issubclass(type(arg), SYMBOLIC) else arg for arg in args])
    close = vm.close_members if fn.__name__ in _OF_MEMBERS else vm.close
    close(owner, max(depth, SHALLOW))
    if id(owner) in vm.records:
        vm.attr_memo.clear()
        attributes.check_readable(vm, owner, base)
    if fn.__name__ in _ONLY_KEEP:
        return vm.native(fn, args, kwargs or None)
    if fn.__name__ not in _ONLY_MOVE:
        vm.compare(*args)
        if args and issubclass(type(owner), (dict, set, frozenset)):
            args = (hashable(vm, args[0]), *args[1:])
            if issubclass(type(owner), (set, frozenset)) and fn.__name__ not in _OF_MEMBERS:
                args = tuple([[hashable(vm, item) for item in arg] if type(arg) in _SEQUENCES else arg for arg in args])
                if fn.__name__ == "update" and any(has_special(type(arg), "__next__") for arg in args):
                    return _update(vm, owner, args)
    return run_pure(vm, fn, depth, args, kwargs)


def _update(vm: Any, owner: Any, args: tuple[Any, ...]) -> None:
    """``set.update`` of iterators that may give symbolic numbers: item by item, as it does."""
    for arg in args:
        if not has_special(type(arg), "__next__"):
            run_pure(vm, owner.update, SHALLOW, (arg,), {})
            continue
        while (item := vm.native(next, (arg, _SEQUENCES))) is not _SEQUENCES:
            run_pure(vm, owner.add, SHALLOW, (hashable(vm, item),), {})


_SEQUENCES = (list, tuple, torch.Size)
_OF_MEMBERS = frozenset({"add", "remove", "discard", "__contains__"})
"""Methods of sets that take one member."""


_OF_NUMBERS = frozenset({int, float, bool, complex})
"""Their methods answer NotImplemented to what is no number of Python's."""
_ONLY_KEEP = frozenset({"append", "appendleft"})
"""Methods of containers that do not even look at their argument."""
_ONLY_MOVE = frozenset({"insert", "extend", "extendleft", "copy", "sort", "reverse", "values", "items", "keys"})
"""Methods of containers that neither compare nor hash their arguments."""


def native_descriptor(fn: Any, owner: Any) -> tuple[type, Any]:
    """The class that a bound builtin method came from, and the descriptor there: the identity that rules are written for."""
    name = fn.__name__
    classes = mro_of(owner) or () if issubclass(type(owner), type) else ()  # None while metaclass.mro() runs
    for base in (*classes, *mro_of(type(owner))):
        found = class_space(base).get(name)
        if found is None or type(getattr(found, "__func__", found)) is types.FunctionType:
            continue
        if type(found) not in _OF_INSTANCES:
            return base, found
        if (
            all(base is not one for one in classes) and found.__name__ == name
        ):  # a class may hold one of another class, under another name too
            return found.__objclass__, found
    return type(owner), fn


_OF_INSTANCES = {types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType}


def run_pure(vm: Any, fn: Any, depth: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a native function that has no effects besides its arguments and results."""
    if TracedId in map(type, args) and type(fn) is types.BuiltinFunctionType and type(fn.__self__) is types.ModuleType:
        args = tuple(known(_native_name(fn), *args))
    if depth != NOTHING:
        vm.close_all(args, kwargs, depth)
    if kwargs and kwargs.get("key") is not None:
        kwargs = {**kwargs, "key": as_python(kwargs["key"])}
    before, retried = vm.mark(), vm.retried
    try:
        vm.retried = fn
        return vm.native(fn, args, kwargs or None)
    except UserRaise as raised:
        if type(raised.exc) is not TypeError or not SHOWS_SYMBOL.search(str(raised.exc)):
            raise
        if vm.mark() != before:  # it has called the program, which must not happen twice
            raise Break("DATA_DEPENDENT_VALUE", _native_name(fn)) from None
    finally:
        vm.retried = retried
    # C code that takes no symbolic number for a number: it gets the number
    args = tuple([hashable(vm, a) if issubclass(type(a), SYMBOLIC) else a for a in args])
    return vm.native(fn, args, {k: hashable(vm, v) if issubclass(type(v), SYMBOLIC) else v for k, v in kwargs.items()} or None)


def as_python(fn: Any) -> Any:
    """A callable that native code is going to call, as a Python function: which is interpreted, so that rules are followed."""
    if type(fn) is types.FunctionType and RULES.get(fn) is None and fn not in IN_GRAPH:
        return fn

    def call_from_native(*args: Any) -> Any:
        return fn(*args)

    _FACES.add(call_from_native.__code__)
    return call_from_native


_FACES: set[types.CodeType] = set()
"""The code of the functions that ``as_python`` makes (always the same)."""


def face_of(fn: types.FunctionType) -> Any:
    """What ``as_python`` was given where it made this function, or None."""
    return fn.__closure__[0].cell_contents if fn.__code__ in _FACES and fn.__closure__ else None


def _unknown(fn: Any) -> Break:
    owner = getattr(fn, "__self__", None)
    where = getattr(fn, "__objclass__", None) or type(owner)
    classes = where.__mro__ if where is not types.ModuleType else ()
    code = next(
        (UNKNOWN_AS[key] for key in (getattr(fn, "__module__", None), *classes) if key in UNKNOWN_AS), "UNKNOWN_C_FUNCTION"
    )
    return Break(code, _native_name(fn))


def _native_name(fn: Any) -> str:
    owner = getattr(fn, "__self__", None)
    where = getattr(fn, "__module__", None) or (
        type(owner).__name__ if owner is not None else getattr(getattr(fn, "__objclass__", None), "__name__", "")
    )
    return f"{where}.{getattr(fn, '__name__', fn)}"


# ---- classes


@passes_on
def instantiate(vm: Any, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``cls(*args, **kwargs)``"""
    meta = type(cls)
    if meta is not type:
        hook = vm.world.class_attr(meta, "__call__")
        if type(hook) is types.FunctionType:
            return call(vm, hook, (cls, *args), kwargs)
        if type(hook) is not types.WrapperDescriptorType:  # type's own, or some C code's; ``TypedDict`` says ``__call__ = dict``
            return call(vm, attributes.bind(vm, hook, cls, meta, "__call__"), args, kwargs)
    return construct(vm, cls, args, kwargs)


@passes_on
def construct(vm: Any, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``type.__call__``: ``__new__``, then ``__init__``."""
    if is_heap(cls):
        vm.world.trusted(cls)
        no_finalizer(vm, cls)
    if issubclass(cls, torch.Tensor):
        return tensor_classes.construct(vm, cls, args, kwargs)
    new = vm.world.class_attr(cls, "__new__")
    init = vm.world.class_attr(cls, "__init__")
    if type(new) is staticmethod:
        new = attributes.vm_trusted(vm, new.__func__)
    if type(new) is types.BuiltinFunctionType and is_heap(cls) and _is_borrowed(cls, new):
        raise Break("UNKNOWN_C_FUNCTION", f"__new__ of {cls.__qualname__}, which is that of another class")
    if type(new) is types.FunctionType:
        obj = _user_new(vm, cls, new, args, kwargs)
        if not issubclass(attributes.type_of(vm, obj), cls):
            return obj
    else:
        obj = native_new(vm, cls, new, init, args, kwargs)
    if type(init) is types.FunctionType:
        return _user_init(vm, obj, init, args, kwargs)
    if init is not object.__init__ and type(new) is not types.BuiltinFunctionType or init is not object.__init__:
        native_init(vm, cls, obj, init, args, kwargs)
    return obj


def _is_borrowed(cls: type, new: Any) -> bool:
    """A class says ``__new__ = other.__new__``: CPython may call neither that nor what is inherited."""
    if not issubclass(cls, new.__self__):
        return True
    owners = [base for base in mro_of(cls) if class_space(base).get("__new__") is new]
    return is_heap(owners[0]) and new.__self__ is not owners[0] if owners else False


def _user_new(vm: Any, cls: type, new: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return call(vm, new, (cls, *args), kwargs)


@finishes(lambda space: (rests.of_init, (space["obj"],)))
def _user_init(vm: Any, obj: Any, init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = call(vm, init, (obj, *args), kwargs)
    if result is not None:
        raise vm.user_raise(TypeError(f"__init__() should return None, not '{type(result).__name__}'"))
    return obj


def no_finalizer(vm: Any, cls: type) -> None:
    """An object that is made while tracing dies with the capture: its ``__del__`` would run then, and once too often."""
    if vm.world.class_attr(cls, "__del__") is not MISSING:
        raise Break("FINALIZER", name_of(cls))


def _native_base(cls: type) -> type:
    """The builtin class that an instance of ``cls`` is in memory."""
    for base in mro_of(cls):
        if not is_heap(base):
            return base
        if type(class_space(base).get("__new__")) is types.BuiltinFunctionType:
            return base
    return object


def native_new(vm: Any, cls: type, new: Any, init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if new is type.__new__:
        return RULES.get(new)(vm, (cls, *args), kwargs)
    if new is object.__new__:
        if (args or kwargs) and init is object.__init__:
            raise vm.user_raise(TypeError(f"{name_of(cls)}() takes no arguments"))
        return vm.plain(object.__new__, cls)
    base = getattr(new, "__self__", None)
    depth = PURE_TYPES.get(base)
    if depth is None:
        if isinstance(base, type) and issubclass(base, BaseException):
            return vm.plain(lambda: new(cls, *args, **kwargs))
        raise Break("UNKNOWN_C_FUNCTION", f"construction of {module_of(cls)}.{name_of(cls)}")
    if base in (list, dict, set):
        return vm.plain(new, cls)
    vm.close_all(args, kwargs, DEEP)
    return vm.native(new, (cls, *args), kwargs or None)


def native_init(vm: Any, cls: type, obj: Any, init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    base = getattr(init, "__objclass__", None)
    rule = RULES.get(init)
    if rule is not None:
        rule(vm, (obj, *args), kwargs)
        return
    if base is None or PURE_TYPES.get(base) is None and not issubclass(base, BaseException):
        raise Break("UNKNOWN_C_FUNCTION", f"construction of {cls.__module__}.{cls.__qualname__}")
    vm.close_all(args, kwargs, SHALLOW)
    vm.native(init, (obj, *args), kwargs or None)


@INSTANCE_CALLS.rule(functools.partial)
@passes_on
def _call_partial(vm: Any, obj: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    func, first, given = obj.func, obj.args, obj.keywords
    rec = vm.records.get(id(obj))
    if rec is not None:
        func = vm.world.admit(func, rec.source.child("attr", "func"))
        first = vm.world.admit(first, rec.source.child("attr", "args"))
        given = vm.fill_value(vm.world.admit(given, rec.source.child("attr", "keywords")))
    return call(vm, func, (*first, *args), {**given, **kwargs})


__all__ = ["FakeTensor", "call", "construct", "execute", "inline", "instantiate", "run_bound"]
