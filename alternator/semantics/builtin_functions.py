"""Rules of Python's builtin functions."""

from __future__ import annotations

import abc
import operator
import types
from typing import Any

import torch

from alternator.exc import Break, UserRaise
from alternator.interpreter import assertions, attributes, calls, floats, operations, rests, tensor_ops, unread
from alternator.interpreter.collecting import ask_length, collect
from alternator.interpreter.generators import TracedFilter, TracedGenerator, TracedMap, TracedUntil
from alternator.interpreter.identity import hashable
from alternator.interpreter.links import finishes
from alternator.interpreter.pending import PendingText
from alternator.interpreter.tables import DEEP, PURE, PURE_TYPES, RULES, SHALLOW
from alternator.interpreter.type_facts import facts
from alternator.provenance.keys import has_special
from alternator.provenance.world import MISSING, is_heap
from alternator.semantics.protocols import instance_check
from alternator.semantics.registrations import rely_on_denial
from alternator.tensors.graph import SYMBOLIC

_fn: Any
for _fn in (chr, ord, str.maketrans, bytes.maketrans, bytearray.maketrans):
    PURE.put(_fn, DEEP)


def _consuming(fn: Any) -> None:
    """all, any, sorted: their iterable is read by the interpreter first, lazily where that can be seen."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        return calls.run_pure(vm, fn, DEEP, (collect(vm, args[0]), *args[1:]), kwargs)

    RULES.put(fn, rule)


_consuming(sorted)


def _quantifier(fn: Any, stop: bool) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        iterator = operations.iterate(vm, args[0])
        while True:
            item = operations.advance(vm, iterator)
            if item is MISSING:
                return not stop
            if vm.truth(item) is stop:
                return stop

    RULES.put(fn, rule)


_quantifier(any, True)
_quantifier(all, False)

for _kind in (
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    bool,
    range,
    slice,
    enumerate,
    zip,
    map,
    filter,
    reversed,
    type(None),
    object,
    type(iter([])),
    type(iter(())),
    type(iter({})),
    type(iter({}.values())),
    type(iter({}.items())),
    type(iter(range(0))),
    type(iter("")),
    type({}.keys()),
    type({}.values()),
    type({}.items()),
    type(iter(set())),
):
    PURE_TYPES.put(_kind, DEEP if _kind not in (enumerate, zip, reversed) else SHALLOW)


def _symbolic_or_tensor(args: Any) -> bool:
    return any(issubclass(type(a), (torch.Tensor, *SYMBOLIC)) for a in args)


def _numeric(fn: Any) -> Any:
    """abs, round, ...: of tensors a node, of symbolic scalars an expression, else native."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(type(a), torch.Tensor) for a in args):
            tensor_ops.guard_operator(vm, (f"__{fn.__name__}__",), *args)
            return tensor_ops.call(vm, fn, args, kwargs)
        if any(issubclass(type(a), SYMBOLIC) for a in args):
            if len(args) == 1 or fn is pow and len(args) == 2:
                return operations.unary(vm, fn, args[0]) if len(args) == 1 else operations.binary(vm, operator.pow, *args)
            if fn is round and type(args[0]) is torch.SymFloat and type(args[1]) is int and args[1] >= 0:
                return floats.rounded(vm, *args)
            return vm.plain(fn, *[hashable(vm, a) for a in args])
        return calls.run_pure(vm, fn, DEEP, args, kwargs)

    return rule


for _fn in (abs, round, pow):
    RULES.put(_fn, _numeric(_fn))


@RULES.rule(divmod)
def rule_divmod(vm: Any, args: Any, kwargs: Any) -> Any:
    if any(issubclass(type(a), torch.Tensor) for a in args):
        return tensor_ops.call(vm, divmod, args, kwargs)
    if len(args) == 2 and _symbolic_or_tensor(args):
        return operations.binary(vm, operator.floordiv, *args), operations.binary(vm, operator.mod, *args)
    return calls.run_pure(vm, divmod, DEEP, args, kwargs)


# ---- types and classes


@RULES.rule(type)
def rule_type(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 1 and not kwargs:
        return attributes.type_of(vm, args[0])
    if len(args) != 3 or type(args[1]) is not tuple:
        return vm.plain(lambda: type(*args, **kwargs))
    meta = vm.plain(types._calculate_meta, type, args[1])  # type: ignore[attr-defined]
    return calls.construct(vm, meta, args, kwargs) if meta is type else calls.call(vm, meta, args, kwargs)


@RULES.rule(isinstance)
def rule_isinstance(vm: Any, args: Any, kwargs: Any) -> Any:
    obj, classes = args
    kind = attributes.type_of(vm, obj)
    if kind is not classes:  # it is a class of its own whatever its bases are
        vm.world.rely_on_bases(kind)
    return _check_class(vm, obj, kind, classes)


def _flat(vm: Any, classes: Any, depth: int = 0) -> list[Any]:
    if depth > 100:  # the program may mean to reach the limit on recursion, which is another one here
        raise Break("RECURSION", "tuples of classes in tuples of classes")
    if type(classes) is tuple:
        return [c for item in classes for c in _flat(vm, item, depth + 1)]
    if issubclass(type(classes), types.UnionType):
        return [c for item in classes.__args__ for c in _flat(vm, item)]
    return [classes]


def _check_class(vm: Any, obj: Any, kind: type, classes: Any) -> bool:
    for cls in _flat(vm, classes):
        if not issubclass(type(cls), type):
            hook = vm.world.class_attr(type(cls), "__instancecheck__")
            if hook is MISSING:
                if is_heap(type(cls)):  # it may have __bases__, and count as a class
                    raise Break("UNSUPPORTED_OPERATION", f"isinstance() of a {type(cls).__name__}")
                raise vm.user_raise(TypeError("isinstance() arg 2 must be a type, a tuple of types, or a union"))
            if vm.truth(
                calls.call(vm, hook, (cls, obj), {}) if type(hook) is types.FunctionType else vm.plain(isinstance, obj, cls)
            ):
                return True
            continue
        if cls is torch.nn.Parameter or cls is torch.nn.Buffer:
            if issubclass(type(obj), torch.Tensor):
                if not issubclass(kind, cls) and id(obj) in vm.records:  # an attribute says it of a tensor of another class
                    tensor_ops.own_attribute(vm, obj, "_is_param" if cls is torch.nn.Parameter else "_is_buffer")
                if isinstance(_real(vm, obj), cls):
                    return True
            continue
        hook = _hook_of(vm, cls, "__instancecheck__")
        if hook is not None:
            if vm.truth(hook(cls, obj)):
                return True
            continue
        if kind is type(obj) and kind is not cls and _is_abstract(vm, cls) and _overrides_class(vm, kind):
            seen = vm.getattr(obj, "__class__")  # is asked for once, and first
            if any(issubclass(type(one), type) and vm.plain(issubclass, one, cls) for one in (seen, kind)):
                return True
            rely_on_denial(vm, kind, cls)
            continue
        if issubclass(kind, cls) if type(cls) is type else vm.plain(_virtual, cls, obj, kind):
            return True
        if type(cls) is not type:
            rely_on_denial(vm, kind, cls)
        if cls is type(obj) and cls in attributes.KNOWN:
            return True
        if kind is type(obj) and _overrides_class(vm, kind):
            seen = vm.getattr(obj, "__class__")
            if issubclass(type(seen), type) and issubclass(seen, cls):
                return True
    return False


_LIBRARIES = frozenset(
    {"abc", "_collections_abc", "typing", "typing_extensions", "enum", "torch", "numbers", "collections", "io"}
)


def _hook_of(vm: Any, cls: type, name: str) -> Any:
    """How to ask a class whose checks are code of the program, or None: what the libraries define only looks at types."""
    meta = type(cls)
    if meta is type:
        return None
    if name == "__instancecheck__" and (check := instance_check(vm, cls)) is not None:
        return check
    hook = vm.world.class_attr(meta, name)
    if type(hook) is types.FunctionType and hook.__module__.partition(".")[0] not in _LIBRARIES:
        return lambda *args: calls.call(vm, hook, args, {})
    hook = vm.world.class_attr(cls, "__subclasshook__")
    if type(hook) is classmethod and (hook.__func__.__module__ or "").partition(".")[0] not in _LIBRARIES:
        asked = isinstance if name == "__instancecheck__" else issubclass
        return lambda _, obj: vm.native(asked, (obj, cls))
    return None


def _is_abstract(vm: Any, cls: type) -> bool:
    return type(cls) is not type and vm.world.class_attr(type(cls), "__instancecheck__") is abc.ABCMeta.__instancecheck__


def _overrides_class(vm: Any, kind: type) -> bool:
    """Whether ``__class__`` of an instance is what code of the program says."""
    return vm.world.class_attr(kind, "__class__") is not _CLASS or facts(vm, kind).getattribute is not None


_CLASS: Any = object.__dict__["__class__"]


def _virtual(cls: type, obj: Any, kind: type) -> bool:
    """Classes whose metaclass answers (abstract base classes): asked about the type."""
    if issubclass(type(obj), torch.Tensor):
        if type(cls) is type(torch.FloatTensor):  # such a class has no instances: it stands for a dtype and a device
            return obj.type() == f"{cls.__module__}.{cls.__name__}"
        return issubclass(kind, cls) or cls is torch.autograd.Variable
    if kind is types.GeneratorType:
        return issubclass(kind, cls)
    if kind is not type(obj):
        return issubclass(kind, cls)
    return isinstance(obj, cls)


def _real(vm: Any, obj: Any) -> Any:
    rec = vm.records.get(id(obj))
    return rec.obj if rec is not None else obj


@RULES.rule(issubclass)
def rule_issubclass(vm: Any, args: Any, kwargs: Any) -> Any:
    cls, classes = args
    if not issubclass(type(cls), type):
        if is_heap(type(cls)):  # it may have __bases__, and count as a class
            raise Break("UNSUPPORTED_TYPE", f"issubclass() of a {type(cls).__name__}")
        raise vm.user_raise(TypeError("issubclass() arg 1 must be a class"))
    vm.world.rely_on_bases(cls)
    for one in _flat(vm, classes):
        if not issubclass(type(one), type):  # an alias or special form of typing, an object with __bases__
            check = vm.world.class_attr(type(one), "__subclasscheck__")
            if type(check) is types.FunctionType:
                if vm.truth(calls.call(vm, check, (one, cls), {})):
                    return True
                continue
            if is_heap(type(one)):
                raise Break("UNSUPPORTED_TYPE", f"issubclass() with a {type(one).__name__}")
        hook = _hook_of(vm, one, "__subclasscheck__") if issubclass(type(one), type) else None
        if vm.truth(hook(one, cls)) if hook is not None else vm.plain(issubclass, cls, one):
            return True
        if hook is None:
            rely_on_denial(vm, cls, one)
    return False


@RULES.rule(callable)
def rule_callable(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.world.class_attr(type(args[0]), "__call__") is not MISSING


# ---- attributes


@RULES.rule(getattr)
def rule_getattr(vm: Any, args: Any, kwargs: Any) -> Any:
    name = _name(vm, args[1])
    try:
        return attributes.load(vm, args[0], name)
    except UserRaise as raised:
        if len(args) > 2 and issubclass(type(raised.exc), AttributeError):
            return args[2]
        raise


def _name(vm: Any, name: Any, kept: bool = False) -> Any:
    """The name of an attribute; a member of an enumeration of texts is one too. One that is ``kept`` becomes a key itself."""
    kind = type(name)
    if kind is str:
        return name
    if not issubclass(kind, str):
        raise vm.user_raise(TypeError(f"attribute name must be string, not {attributes.type_of(vm, name).__name__!r}"))
    if kind is PendingText:
        return name
    if kept or any(vm.world.class_attr(kind, asked) is not getattr(str, asked) for asked in ("__hash__", "__eq__")):
        raise Break("UNSUPPORTED_CALL", f"an attribute's name that is a {kind.__name__}")
    return str.__str__(name)


@RULES.rule(hasattr)
def rule_hasattr(vm: Any, args: Any, kwargs: Any) -> Any:
    name = _name(vm, args[1])
    try:
        attributes.load(vm, args[0], name)
    except UserRaise as raised:
        if issubclass(type(raised.exc), AttributeError):
            return False
        raise
    return True


@RULES.rule(setattr)
def rule_setattr(vm: Any, args: Any, kwargs: Any) -> Any:
    attributes.store(vm, args[0], _name(vm, args[1], kept=True), args[2])


@RULES.rule(delattr)
def rule_delattr(vm: Any, args: Any, kwargs: Any) -> Any:
    attributes.store(vm, args[0], _name(vm, args[1]), MISSING)


@RULES.rule(object.__setattr__)
def rule_object_setattr(vm: Any, args: Any, kwargs: Any) -> Any:
    obj, name, value = args[0], _name(vm, args[1], kept=True), args[2]
    if issubclass(type(obj), torch.Tensor):
        attributes.store(vm, obj, name, value)
        return
    attributes.store_default(vm, obj, name, value)


@RULES.rule(object.__delattr__)
def rule_object_delattr(vm: Any, args: Any, kwargs: Any) -> Any:
    attributes.store_default(vm, args[0], _name(vm, args[1]), MISSING)


@RULES.rule(object.__getattribute__)
def rule_object_getattribute(vm: Any, args: Any, kwargs: Any) -> Any:
    obj, name = args[0], _name(vm, args[1])
    value = attributes.lookup(vm, obj, name)
    if value is MISSING:
        raise vm.user_raise(AttributeError(f"'{type(obj).__name__}' object has no attribute '{name}'", name=name, obj=obj))
    return value


@RULES.rule(vars)
def rule_vars(vm: Any, args: Any, kwargs: Any) -> Any:
    if not args:
        raise Break("FRAME_INTROSPECTION", "vars() without an argument")
    return attributes.load(vm, args[0], "__dict__")


# ---- iteration


@RULES.rule(type.mro)
def rule_mro(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 1 and issubclass(type(args[0]), type):
        vm.world.rely_on_bases(args[0])
    return vm.plain(lambda: type.mro(*args, **kwargs))


@RULES.rule(type.__subclasses__)
def rule_subclasses(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("UNSUPPORTED_CALL", "__subclasses__(), which other code adds to")


@RULES.rule(len)
def rule_len(vm: Any, args: Any, kwargs: Any) -> Any:
    kind = type(args[0])
    if not has_special(kind, "__len__"):
        raise vm.user_raise(TypeError(f"object of type '{kind.__name__}' has no len()"))
    return vm.length(args[0])


@RULES.rule(iter)
def rule_iter(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 1:
        kind = type(args[0])
        if not has_special(kind, "__iter__") and not has_special(kind, "__getitem__"):
            raise vm.user_raise(TypeError(f"'{kind.__name__}' object is not iterable"))
        return operations.iterate(vm, args[0])
    made = calls.call(vm, _iterate_until, args, kwargs)
    made.__class__ = TracedUntil
    return made


def _iterate_until(fn: Any, sentinel: Any) -> Any:
    """Polyfill of ``iter(callable, sentinel)``."""
    while True:
        try:
            value = fn()
        except StopIteration:
            return
        if value == sentinel:
            return
        yield value


@RULES.rule(next)
@finishes(lambda space: (rests.of_next, (space["args"][1],)) if len(space["args"]) > 1 else None)
def rule_next(vm: Any, args: Any, kwargs: Any) -> Any:
    iterator = args[0]
    if issubclass(type(iterator), TracedGenerator):
        try:
            return iterator.resume(None, None)
        except UserRaise as raised:
            if issubclass(type(raised.exc), StopIteration) and len(args) > 1:
                return args[1]
            raise
    value = operations.advance(vm, iterator)
    if value is MISSING:
        if len(args) > 1:
            return args[1]
        raise vm.user_raise(StopIteration())
    return value


def _over_iterables(kind: type, first: int) -> None:
    """zip, enumerate, map, filter: native iterators over iterators that the interpreter made."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        last = 1 if kind is enumerate else len(args)
        wrapped = tuple(operations.iterate(vm, a) if first <= at < last else a for at, a in enumerate(args))
        if kind is map or kind is filter:
            if kind is map and len(args) < 2 or kind is filter and len(args) != 2 or kwargs:
                return vm.plain(lambda: kind(*args, **kwargs))
            made = calls.call(vm, _POLYFILLS[kind], wrapped, kwargs)
            made.__class__ = TracedMap if kind is map else TracedFilter
            return made
        return vm.native(kind, wrapped, kwargs or None)

    RULES.put(kind, rule)


def _map(fn: Any, *iterators: Any) -> Any:
    while True:
        values = []
        for iterator in iterators:
            try:
                values.append(next(iterator))
            except StopIteration:
                return
        try:
            result = fn(*values)
        except StopIteration:
            return
        yield result


def _filter(fn: Any, iterator: Any) -> Any:
    for value in iterator:
        try:
            wanted = value if fn is None else fn(value)
        except StopIteration:
            return
        if wanted:
            yield value


_POLYFILLS = {map: _map, filter: _filter}
_over_iterables(zip, 0)
_over_iterables(enumerate, 0)
_over_iterables(map, 1)
_over_iterables(filter, 1)


@RULES.rule(reversed)
def rule_reversed(vm: Any, args: Any, kwargs: Any) -> Any:
    obj = args[0]
    found = vm.world.class_attr(type(obj), "__reversed__")
    if type(found) is types.FunctionType:
        return calls.call(vm, found, (obj,), {})
    vm.close(obj, SHALLOW)
    if type(vm.world.class_attr(type(obj), "__getitem__")) is types.FunctionType:
        count = vm.length(obj)
        return iter([operations.getitem(vm, obj, i) for i in range(count - 1, -1, -1)])
    return vm.native(reversed, (obj,))


# ---- conversions


def _collect(kind: type) -> Any:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if kwargs or len(args) > 1:
            return vm.plain(lambda: kind(*args, **kwargs))
        if not args:
            return kind()
        if (
            not issubclass(type(args[0]), torch.Tensor)
            and not has_special(type(args[0]), "__iter__")
            and not has_special(type(args[0]), "__getitem__")
        ):
            raise vm.user_raise(TypeError(f"'{type(args[0]).__name__}' object is not iterable"))
        if kind in (set, frozenset):
            return vm.native(kind, (operations.members_for_set(vm, args[0]),))
        items = collect(vm, args[0])
        if kind is list:
            return items
        return args[0] if type(args[0]) is tuple else tuple(items)

    return rule


for _kind in (list, tuple, set, frozenset):
    RULES.put(_kind, _collect(_kind))


@RULES.rule(list.extend)
def rule_list_extend(vm: Any, args: Any, kwargs: Any) -> Any:
    target, items = args
    vm.ticks += 1
    if items is target or not unread.grow(vm, target):
        operations.writable(vm, target)
    if type(items) in (list, tuple):
        list.extend(target, operations.unpack(vm, items))
        return
    iterator = operations.iterate(vm, items)  # what gives the items sees the list grow
    ask_length(vm, items)
    while (item := operations.advance(vm, iterator)) is not MISSING:
        operations.append(vm, target, item)


@RULES.rule(bool)
def rule_bool(vm: Any, args: Any, kwargs: Any) -> Any:
    if args and assertions.is_unbacked(args[0]):  # it is one already
        return args[0]
    return vm.truth(args[0]) if args else False


def _number(kind: type, special: tuple[str, ...]) -> Any:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            value = args[0]
            if issubclass(type(value), torch.Tensor) and tensor_ops.has_own(vm, value, special[0]):
                return calls.call(vm, kind, (tensor_ops.call_method(vm, "item", value.item, (value,), {}),), {})
            if issubclass(type(value), torch.SymInt) and kind is int:
                return value
            if issubclass(type(value), torch.SymFloat) and kind is float:
                return value
            if issubclass(type(value), SYMBOLIC):
                if kind is float:
                    return vm.symbolic(torch.sym_float, value)
                if kind is int:
                    return vm.symbolic(torch.sym_int, value)
            for name in special:
                found = vm.world.class_attr(type(value), name)
                if type(found) is types.FunctionType:
                    return calls.call(vm, kind, (calls.call(vm, found, (value,), {}),), {})
        vm.close_all(args, kwargs, DEEP)
        return vm.native(kind, args, kwargs or None)

    return rule


RULES.put(int, _number(int, ("__int__", "__index__", "__trunc__")))
RULES.put(float, _number(float, ("__float__", "__index__")))
