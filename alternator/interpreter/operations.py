"""What operators do: fold over real objects, record tensor work, or run the user's special methods."""

from __future__ import annotations

import operator
import types
from typing import Any, Callable

import torch

from alternator.exc import Break, UserRaise
from alternator.interpreter import attributes, calls, masks, namespaces, overrides, subscripts, tensor_errors, tensor_ops, unread
from alternator.interpreter.generators import TracedGenerator, TracedIndexing
from alternator.interpreter.identity import TracedId, hashable, settled
from alternator.interpreter.links import passes_on
from alternator.interpreter.lookahead import Ahead
from alternator.interpreter.loops import Lazy
from alternator.interpreter.tables import DEEP, SHALLOW
from alternator.provenance.keys import has_special
from alternator.provenance.world import MISSING, SCALARS, is_heap, module_of, name_of
from alternator.tensors.graph import SYMBOLIC

NUMBERS = frozenset({int, float, bool, torch.SymInt, torch.SymFloat})
_NUMBER_CLASSES = (int, float, complex)

_SPECIAL: dict[Any, tuple[str, ...]] = {
    operator.add: ("__add__", "__radd__"),
    operator.sub: ("__sub__", "__rsub__"),
    operator.mul: ("__mul__", "__rmul__"),
    operator.truediv: ("__truediv__", "__rtruediv__"),
    operator.floordiv: ("__floordiv__", "__rfloordiv__"),
    operator.mod: ("__mod__", "__rmod__"),
    operator.pow: ("__pow__", "__rpow__"),
    operator.matmul: ("__matmul__", "__rmatmul__"),
    operator.and_: ("__and__", "__rand__"),
    operator.or_: ("__or__", "__ror__"),
    operator.xor: ("__xor__", "__rxor__"),
    operator.lshift: ("__lshift__", "__rlshift__"),
    operator.rshift: ("__rshift__", "__rrshift__"),
    operator.iadd: ("__iadd__", "__add__", "__radd__"),
    operator.isub: ("__isub__", "__sub__", "__rsub__"),
    operator.imul: ("__imul__", "__mul__", "__rmul__"),
    operator.itruediv: ("__itruediv__", "__truediv__", "__rtruediv__"),
    operator.ifloordiv: ("__ifloordiv__", "__floordiv__", "__rfloordiv__"),
    operator.imod: ("__imod__", "__mod__", "__rmod__"),
    operator.ipow: ("__ipow__", "__pow__", "__rpow__"),
    operator.imatmul: ("__imatmul__", "__matmul__", "__rmatmul__"),
    operator.iand: ("__iand__", "__and__", "__rand__"),
    operator.ior: ("__ior__", "__or__", "__ror__"),
    operator.ixor: ("__ixor__", "__xor__", "__rxor__"),
    operator.ilshift: ("__ilshift__", "__lshift__", "__rlshift__"),
    operator.irshift: ("__irshift__", "__rshift__", "__rrshift__"),
    operator.lt: ("__lt__", "__gt__"),
    operator.gt: ("__gt__", "__lt__"),
    operator.le: ("__le__", "__ge__"),
    operator.ge: ("__ge__", "__le__"),
    operator.eq: ("__eq__",),
    operator.ne: ("__ne__", "__eq__"),
    operator.neg: ("__neg__",),
    operator.pos: ("__pos__",),
    operator.invert: ("__invert__",),
}


def guard_special(vm: Any, fn: Callable[..., Any], value: Any) -> None:
    """Guard which special methods a class has that native code is about to look up."""
    kind = type(value)
    if is_heap(kind):
        for name in _SPECIAL.get(fn, ()):
            vm.world.class_attr(kind, name)


TEXT_OPERATIONS: list[Callable[[Any, Any, Any], Any]] = []
"""``rule(vm, text, values)`` of the ``%`` of strings (its rules on what can be shown are those of ``semantics``)."""


NUMPY_OPERATIONS: list[Callable[[Any, Any, Any, Any], Any]] = []
"""``rule(vm, fn, left, right)`` of operators where an operand is an object of NumPy's own."""

OF_ARRAYS: dict[type, tuple[Callable[..., Any], Callable[..., Any]]] = {}
"""Type of captured arrays -> rules of their binary and unary operators."""


def binary(vm: Any, fn: Callable[..., Any], left: Any, right: Any) -> Any:
    """``left <op> right``; ``fn`` is the operator function, in-place ones included."""
    kind, other = type(left), type(right)
    if kind in SCALARS and other in SCALARS:
        return vm.plain(fn, left, right)
    if issubclass(type(left), torch.Tensor) or issubclass(type(right), torch.Tensor):
        return tensor_binary(vm, fn, left, right)
    if kind in OF_ARRAYS or other in OF_ARRAYS and not is_heap(kind):
        return OF_ARRAYS[kind if kind in OF_ARRAYS else other][0](vm, fn, left, right)
    if issubclass(type(left), SYMBOLIC) or issubclass(type(right), SYMBOLIC):
        if issubclass(type(left), torch.SymBool) or issubclass(type(right), torch.SymBool):
            left, right = _without_symbolic_bools(vm, fn, left, right)
            return binary(vm, fn, left, right) if not issubclass(type(left), torch.SymBool) else vm.symbolic(fn, left, right)
        if kind in NUMBERS and other in NUMBERS:
            if fn in _PARTIAL and not _PARTIAL[fn](vm, left, right):
                return vm.plain(fn, hashable(vm, left), hashable(vm, right))
            return vm.symbolic(fn, left, right)
        if kind is str and fn is operator.mod:
            return TEXT_OPERATIONS[0](vm, left, right)
        foreign = right if issubclass(type(left), SYMBOLIC) else left
        if not is_heap(type(foreign)) or issubclass(type(foreign), _NUMBER_CLASSES):  # it looks at the number itself
            left, right = hashable(vm, left), hashable(vm, right)
    if (kind is TracedId) is not (other is TracedId):
        left, right = settled(left), settled(right)
    if fn is operator.mod and issubclass(type(left), (str, bytes)):
        return TEXT_OPERATIONS[0](vm, left, right)
    attributes.check_readable(vm, left)
    attributes.check_readable(vm, right)
    if any(not is_heap(cls) and cls.__module__ == "numpy" for cls in (kind, other)):
        return NUMPY_OPERATIONS[0](vm, fn, left, right)
    vm.close(left, DEEP)
    vm.close(right, DEEP)
    guard_special(vm, fn, left)
    guard_special(vm, fn, right)
    vm.ticks += 1
    return vm.native(fn, (left, right))


def _divides(vm: Any, left: Any, right: Any) -> bool:
    return not issubclass(type(right), SYMBOLIC) or not vm.truth(vm.symbolic(operator.eq, right, 0))


def _shifts(vm: Any, left: Any, right: Any) -> bool:
    return not issubclass(type(right), SYMBOLIC) or vm.truth(vm.symbolic(operator.ge, right, 0))


def _raises(vm: Any, left: Any, right: Any) -> bool:
    """Powers are of one type and defined for natural exponents, and for positive bases; those of 1 and less are not too large."""
    if type(right) is int and right >= 0:
        return True
    if issubclass(type(right), SYMBOLIC):
        return type(left) is float and 0 < left <= 1 and vm.truth(vm.symbolic(operator.ge, right, 0))
    return vm.truth(vm.symbolic(operator.gt, left, 0))


_PARTIAL: dict[Any, Callable[[Any, Any, Any], bool]] = {
    **dict.fromkeys(
        (operator.floordiv, operator.mod, operator.truediv, operator.ifloordiv, operator.imod, operator.itruediv), _divides
    ),
    **dict.fromkeys((operator.lshift, operator.rshift, operator.ilshift, operator.irshift), _shifts),
    operator.pow: _raises,
    operator.ipow: _raises,
}
"""Operations on numbers that are not defined for all: whether a formula for other numbers may stand for this result (guarded)."""


def _without_symbolic_bools(vm: Any, fn: Callable[..., Any], left: Any, right: Any) -> tuple[Any, Any]:
    """Conditions joined by ``&``, ``|`` stay what they are; elsewhere a symbolic bool is decided."""
    joined = fn in (operator.and_, operator.or_, operator.xor)
    if joined and issubclass(type(left), torch.SymBool) and issubclass(type(right), (bool, torch.SymBool)):
        return left, right
    return tuple([vm.truth(value) if issubclass(type(value), torch.SymBool) else value for value in (left, right)])  # type: ignore[return-value]


def tensor_binary(vm: Any, fn: Callable[..., Any], left: Any, right: Any) -> Any:
    if not issubclass(type(left), torch.Tensor):
        fn = NOT_IN_PLACE.get(fn, fn)
    tensor_ops.guard_operator(vm, _SPECIAL.get(fn, ()), left, right)
    if vm.overrides.active:
        result = overrides.own_operator(vm, _SPECIAL.get(fn, ()), (left, right))
        if result is not overrides.NOT_SEEN:
            return result
    if fn is operator.imatmul:  # what tensors have no method for makes another one
        fn = operator.matmul
    foreign = right if issubclass(type(left), torch.Tensor) else left
    kind = type(foreign)
    if kind in tensor_ops.NUMBERS_BESIDE:
        number = tensor_ops.NUMBERS_BESIDE[kind](vm, foreign, fn, left if foreign is right else None, right)
        return tensor_binary(vm, fn, left, number) if foreign is right else tensor_binary(vm, fn, number, right)
    if is_heap(kind) and not issubclass(type(foreign), (torch.Tensor, *SYMBOLIC)) and module_of(kind) != "torch":
        tensor_ops.refuse_asked(vm, kind)
        if issubclass(type(foreign), (list, tuple, dict, str)) or fn in _COMPARE_IDENTITY:
            return vm.native(fn, (left, right))
        special = _SPECIAL.get(fn, ())
        if any(type(vm.world.class_attr(kind, name)) is types.FunctionType for name in special):
            return vm.native(fn, (left, right))
    if foreign is None or kind in (str, dict, list, tuple, type) and fn in _COMPARE_IDENTITY:
        return tensor_ops.execute(vm, fn, (left, right), {})
    vm.close(foreign)
    if vm.overrides.active and vm.overrides.apply(vm, (left, right)):
        return overrides.seen_natively(vm, fn, (left, right))
    if fn in _DIFFERENCES and (kind is bool or torch.bool in (getattr(left, "dtype", None), getattr(right, "dtype", None))):
        tensor_errors.try_in_eager(vm, fn, (left, right), {})
    elif fn in NOT_IN_PLACE:
        tensor_errors.try_written(vm, fn, (left, right), {})
    result = tensor_ops.execute(vm, fn, (left, right), {})
    return tensor_ops.record(vm, "call_function", fn, (left, right), {}, result)


NOT_IN_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
    operator.imatmul: operator.matmul,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
    operator.ilshift: operator.lshift,
    operator.irshift: operator.rshift,
}
_DIFFERENCES = (operator.sub, operator.isub)
"""Not of bools: kernels say so, fakes do not."""
_COMPARE_IDENTITY = (operator.eq, operator.ne)


def unary(vm: Any, fn: Callable[..., Any], value: Any) -> Any:
    if type(value) in SCALARS:
        return vm.plain(fn, value)
    if issubclass(type(value), torch.Tensor):
        tensor_ops.guard_operator(vm, _SPECIAL.get(fn, ()), value)
        if vm.overrides.active:
            result = overrides.own_operator(vm, _SPECIAL.get(fn, ()), (value,))
            if result is not overrides.NOT_SEEN:
                return result
            if vm.overrides.apply(vm, (value,)):
                return overrides.seen_natively(vm, fn, (value,))
        return tensor_ops.call(vm, fn, (value,), {})
    if issubclass(type(value), torch.SymBool):
        return fn(vm.truth(value))
    if issubclass(type(value), SYMBOLIC):
        return vm.symbolic(fn, value)
    if type(value) in OF_ARRAYS:
        return OF_ARRAYS[type(value)][1](vm, fn, value)
    guard_special(vm, fn, value)
    attributes.check_readable(vm, value)
    return vm.native(fn, (value,))


_HOLDERS = (tuple, slice, frozenset)
"""Types of keys that may hold others, whose ``__hash__``, ``__eq__`` or ``__index__`` is code of the program."""
_WHOLE = frozenset({torch.int8, torch.int16, torch.int32, torch.int64})


@passes_on
def getitem(vm: Any, obj: Any, key: Any) -> Any:
    """``obj[key]``"""
    if issubclass(type(obj), torch.Tensor) and tensor_ops.has_own(vm, obj, "__getitem__"):
        if vm.overrides.active and vm.overrides.apply(vm, (obj, key)):
            return overrides.seen_natively(vm, operator.getitem, (obj, tensor_key(vm, key)))
        if vm.tensor_subscripts and _is_place(key):
            return tensor_ops.index(vm, obj, key)
        if issubclass(type(key), torch.Tensor) and key.dtype in _WHOLE and not key.dim() and obj.dim():
            if tensor_ops.known_value(vm, key, torch.Tensor.item) is MISSING:
                return tensor_ops.select_row(vm, obj, key)
        obj, key = subscripts.select_numbers(vm, obj, key)
        if key is MISSING:
            return obj
        return tensor_ops.call(vm, operator.getitem, (obj, tensor_key(vm, key)), {})
    kind = type(obj)
    rec = vm.records.get(id(obj))
    found = vm.world.class_attr(kind, "__getitem__")
    if rec is not None and not rec.filled and rec.partial is not None and calls.is_of_c(found):
        if not has_special(kind, "__missing__"):
            value = read_key(vm, rec, key)
            if value is MISSING:
                raise vm.user_raise(KeyError(key))
            return value
        key = hashable(vm, key)
        if type(key) in _PLAIN_KEYS and (value := read_key(vm, rec, key)) is not MISSING:
            return value  # any other one would be asked for its hash, and asked again below
    if type(key) is int and rec is not None and not rec.filled and found is list.__getitem__:
        value = read_index(vm, rec, key)
        if value is not MISSING:
            return value
    if kind in (list, tuple, dict, str):
        if rec is not None:
            vm.fill(rec)
        if issubclass(type(key), torch.Tensor):
            if kind is not dict and tensor_ops.has_own(vm, key, "__index__"):
                key = calls.call(vm, torch.Tensor.item, (key,), {})
        elif issubclass(type(key), SYMBOLIC) or kind is dict:
            key = hashable(vm, key)
        if is_heap(type(key)) or type(key) in _HOLDERS:
            vm.compare(key)
            vm.world.class_attr(type(key), "__index__")
            return vm.native(operator.getitem, (obj, key))
        return vm.plain(operator.getitem, obj, key)
    if not calls.is_of_c(found):
        return calls.call_method(vm, found, obj, "__getitem__", key)
    if issubclass(type(obj), type):
        hook = vm.world.class_attr(type(obj), "__getitem__")
        if type(hook) is types.FunctionType:
            return calls.call(vm, hook, (obj, key), {})
        if hook is MISSING:
            made = vm.world.class_attr(obj, "__class_getitem__")
            if made is MISSING and obj is not type:
                raise vm.user_raise(TypeError(f"type '{name_of(obj)}' is not subscriptable"))
            if type(getattr(made, "__func__", made)) is types.FunctionType:
                return calls.call(vm, attributes.bind(vm, made, None, obj, "__class_getitem__"), (key,), {})
        return subscribed(vm, obj, key)
    vm.close(obj, SHALLOW)
    vm.close(key, DEEP)
    attributes.check_readable(vm, obj)
    return vm.native(operator.getitem, (obj, key))


def subscribed(vm: Any, obj: Any, key: Any) -> Any:
    """``obj[key]`` of a class or an expression of types; how it was made is kept: so it is made again, of the same parts."""
    made = vm.plain(operator.getitem, obj, key)
    vm.states.setdefault(("subscript", id(made)), (made, obj, key))  # of equal ones the first made what is cached
    return made


def _is_place(key: Any) -> bool:
    items = key if type(key) is tuple else (key,)
    return all(issubclass(type(item), torch.Tensor) or type(item) is int for item in items) and any(
        issubclass(type(item), torch.Tensor) for item in items
    )


def tensor_key(vm: Any, key: Any) -> Any:
    """The subscript of a tensor, with objects of the user's replaced by the numbers that they stand for."""
    kind = type(key)
    if kind is tuple or kind is list:
        vm.close(key)
        if any(is_heap(type(item)) or type(item) in (tuple, list) for item in key):
            return kind([tensor_key(vm, item) for item in key])
        return key
    if (
        is_heap(kind)
        and not issubclass(type(key), (torch.Tensor, *SYMBOLIC))
        and vm.world.class_attr(kind, "__index__") is not MISSING
    ):
        if vm.world.class_attr(kind, "__getitem__") is not MISSING:
            raise Break("UNSUPPORTED_OPERATION", f"a {kind.__name__}, which may be a number or a sequence, as a subscript")
        return vm.native(operator.index, (key,))
    vm.close(key)
    return key


def read_key(vm: Any, rec: Any, key: Any) -> Any:
    """One key of an outside dict that was not read as a whole: guard that key only.  MISSING: not there (guarded too)."""
    key = hashable(vm, key)
    if type(key) not in _PLAIN_KEYS:
        key = settled(key)
        return vm.native(dict.get, (vm.fill(rec), key, MISSING))
    if rec.overlaid and key in rec.standin:
        return rec.standin[key]
    handle = (type(key), key)
    value = rec.partial.get(handle, vm)
    if value is vm:
        source = rec.source.child("dictitem", key)
        if dict.__contains__(rec.obj, key):
            value = vm.world.admit(dict.__getitem__(rec.obj, key), source)
        else:
            source.guard("ABSENT")
            value = MISSING
        rec.partial[handle] = value
    return value


def read_index(vm: Any, rec: Any, index: int) -> Any:
    """One item of an outside list that was not read as a whole: guard that item only.  MISSING: out of range."""
    count = list.__len__(rec.obj)
    if rec.overlaid:  # what was appended counts, too: read as a whole
        appended = list.__len__(rec.standin)
        return list.__getitem__(rec.standin, index) if -appended <= index < 0 else MISSING
    if index == -1 and count and unread.length_varies(vm, rec):
        return vm.world.admit(list.__getitem__(rec.obj, index), rec.source.child("call", unread.last))
    if index < 0:
        rec.source.guard("LEN", count)
        index += count
    if not 0 <= index < count:
        return MISSING
    return vm.world.admit(list.__getitem__(rec.obj, index), rec.source.child("index", index))


_PLAIN_KEYS = frozenset({str, int, bool, float, bytes, type(None)})


@passes_on
def setitem(vm: Any, obj: Any, key: Any, value: Any) -> None:
    """``obj[key] = value``"""
    if type(obj) is dict and type(key) is str and key == namespaces.BUILTINS:
        raise namespaces.builtins_are_replaced()
    vm.ticks += 1
    if issubclass(type(obj), torch.Tensor) and tensor_ops.has_own(vm, obj, "__setitem__"):
        if vm.overrides.active and vm.overrides.apply(vm, (obj, key, value)):
            overrides.seen_natively(vm, operator.setitem, (obj, tensor_key(vm, key), value))
            return
        if issubclass(type(key), torch.Tensor) and not _fits(vm, key, obj):
            tensor_errors.try_in_eager(vm, operator.setitem, (obj, key, value), {})
        if issubclass(type(value), torch.Tensor):
            masks.note_assignment(vm, key, value)
        obj, key = subscripts.select_numbers(vm, obj, key)
        tensor_ops.call(vm, operator.setitem, (obj, Ellipsis if key is MISSING else tensor_key(vm, key), value), {})
        return
    found = vm.world.class_attr(type(obj), "__setitem__")
    if not calls.is_of_c(found):
        calls.call_method(vm, found, obj, "__setitem__", key, value)
        return
    if issubclass(type(key), SYMBOLIC) or issubclass(type(obj), dict):
        key = hashable(vm, key)
    if type(obj) is dict and unread.store(vm, obj, key):
        dict.__setitem__(obj, key, value)
        return
    writable(vm, obj)
    if type(obj) in (list, dict) and not is_heap(type(key)) and type(key) not in _HOLDERS:
        vm.plain(operator.setitem, obj, key, value)
        return
    vm.close(key)
    if type(key) is slice:  # the items of the value are what is put in
        vm.close(value, SHALLOW)
        attributes.check_readable(vm, value)
    vm.native(operator.setitem, (obj, key, value))


def _fits(vm: Any, key: torch.Tensor, obj: torch.Tensor) -> bool:
    """A mask has the sizes of what it selects from, which fakes do not look at."""
    if key.dtype is not torch.bool:
        return True
    return key.dim() <= obj.dim() and all(vm.truth(binary(vm, operator.eq, a, b)) for a, b in zip(key.shape, obj.shape))


@passes_on
def delitem(vm: Any, obj: Any, key: Any) -> None:
    """``del obj[key]``"""
    vm.ticks += 1
    found = vm.world.class_attr(type(obj), "__delitem__")
    if not calls.is_of_c(found):
        calls.call_method(vm, found, obj, "__delitem__", key)
        return
    writable(vm, obj)
    vm.native(operator.delitem, (obj, hashable(vm, key)))


def writable(vm: Any, obj: Any) -> None:
    """Native code is about to change ``obj``: it must be the program's own, or a filled stand-in."""
    vm.close(obj, SHALLOW)
    rec = vm.records.get(id(obj))
    if rec is not None:
        vm.attr_memo.clear()
    if rec is not None and rec.standin is rec.obj:
        raise Break("UNSUPPORTED_EFFECT", f"native change of an outside {type(obj).__name__}")


def append(vm: Any, target: list[Any], value: Any) -> None:
    """``target.append(value)``; what an outside list holds already is not read for it."""
    vm.ticks += 1
    if not unread.grow(vm, target):
        writable(vm, target)
    list.append(target, value)


def contains(vm: Any, container: Any, item: Any) -> Any:
    """``item in container``; a ``SymBool`` where only the graph can tell."""
    rec = vm.records.get(id(container))
    kind = type(container)
    if issubclass(type(container), torch.Tensor) and tensor_ops.has_own(vm, container, "__contains__"):
        result = calls.call(vm, torch.Tensor.__contains__, (container, item), {})
        return result if issubclass(type(result), torch.SymBool) else vm.truth(result)
    if rec is not None and not rec.filled and rec.partial is not None and type(item) in _ASKED:
        found = vm.world.class_attr(kind, "__contains__")
        if calls.is_of_c(found):
            return read_key(vm, rec, item) is not MISSING
    found = vm.world.class_attr(kind, "__contains__")
    if not calls.is_of_c(found):
        return vm.truth(calls.call_method(vm, found, container, "__contains__", item))
    if issubclass(type(container), type):
        hook = vm.world.class_attr(type(container), "__contains__")
        if type(hook) is types.FunctionType:
            return vm.truth(calls.call(vm, hook, (container, item), {}))
    if found is MISSING and not has_special(kind, "__iter__") and not has_special(kind, "__getitem__"):
        raise vm.user_raise(TypeError(f"argument of type '{kind.__name__}' is not iterable"))
    vm.close_members(container, DEEP)
    item = hashable(vm, item) if issubclass(type(container), (dict, set, frozenset, *_VIEWS)) else vm.close(item, DEEP)
    item = settled(item) if rec is not None else item
    attributes.check_readable(vm, container)
    attributes.check_readable(vm, item)
    if issubclass(type(item), torch.Tensor) and issubclass(type(container), (list, tuple)):
        return _contains_tensor(vm, container, item)
    return vm.native(operator.contains, (container, item))


_ASKED = _PLAIN_KEYS | {*SYMBOLIC}
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.items()))


def _contains_tensor(vm: Any, container: Any, item: Any) -> bool:
    for other in container:
        if other is item or vm.truth(binary(vm, operator.eq, other, item)):
            return True
    return False


def iterate(vm: Any, obj: Any) -> Any:
    """``iter(obj)``"""
    kind = type(obj)
    if issubclass(kind, (TracedGenerator, Ahead, Lazy)):
        return obj
    if issubclass(type(obj), torch.Tensor) and tensor_ops.has_own(vm, obj, "__iter__"):
        if vm.overrides.active and vm.overrides.apply(vm, (obj,)):
            return iterate(vm, calls.inline(vm, torch.Tensor.__iter__, (obj,), {}))
        if obj.dim() == 0:
            raise vm.user_raise(TypeError("iteration over a 0-d tensor"))
        return iter(tensor_ops.rows(vm, obj))
    if issubclass(type(obj), type):
        found = vm.world.class_attr(type(obj), "__iter__")
    else:
        found = vm.world.class_attr(kind, "__iter__")
    if type(found) is types.FunctionType:
        return calls.call(vm, found, (obj,), {})
    vm.close(obj, SHALLOW)
    if found is MISSING and type(vm.world.class_attr(kind, "__getitem__")) is types.FunctionType:
        made = calls.call(vm, _iterate_by_index, (obj,), {})
        made.__class__ = TracedIndexing
        return made
    attributes.check_readable(vm, obj)
    return vm.native(iter, (obj,))


def _iterate_by_index(obj: Any) -> Any:
    """Polyfill: the old sequence protocol."""
    i = 0
    while True:
        try:
            value = obj[i]
        except (IndexError, StopIteration):
            return
        i += 1
        yield value


@passes_on
def advance(vm: Any, iterator: Any) -> Any:
    """``next(iterator)``; MISSING when it is exhausted, which who marks a function above this one as passing on must know."""
    kind = type(iterator)
    try:
        if issubclass(kind, TracedGenerator):
            return iterator.resume(None, None)
        if issubclass(kind, (Ahead, Lazy)):
            return iterator.take()
        if kind in _SIMPLE_ITERATORS:
            vm.ticks += 1
            rec = vm.records.get(id(iterator))
            if rec is not None and rec.standin is rec.obj:
                raise Break("OUTSIDE_ITERATOR", kind.__name__)
            return vm.plain(next, iterator, MISSING)
        found = vm.world.class_attr(kind, "__next__")
        if type(found) is types.FunctionType:
            return calls.call(vm, found, (iterator,), {})
        if found is MISSING:
            raise vm.user_raise(TypeError(f"'{kind.__name__}' object is not an iterator"))
        vm.ticks += 1
        rec = vm.records.get(id(iterator))
        if rec is not None and rec.standin is rec.obj:
            raise Break("OUTSIDE_ITERATOR", kind.__name__)
        return vm.native(next, (iterator, MISSING))
    except UserRaise as raised:
        if issubclass(type(raised.exc), StopIteration):
            return MISSING
        raise


_SIMPLE_ITERATORS = frozenset(
    {
        type(iter([])),
        type(iter(())),
        type(iter(range(0))),
        type(iter("")),
        type(iter({})),
        type(iter({}.values())),
        type(iter({}.items())),
    }
)


def unpack(vm: Any, value: Any) -> list[Any]:
    """All items of an iterable, as the interpreter needs them."""
    kind = type(value)
    if kind in (list, tuple):
        vm.close(value, SHALLOW)
        return list(value)
    return taken(vm, iterate(vm, value))


def taken(vm: Any, iterator: Any) -> list[Any]:
    """All that an iterator gives."""
    items: list[Any] = []
    while True:
        item = advance(vm, iterator)
        if item is MISSING:
            return items
        items.append(item)


def members_for_set(vm: Any, value: Any) -> Any:
    """An iterable as the C code that makes sets is to have it: sets and dicts, which it takes whole (the order of the new set
    follows from that), as they are; else a list of the items."""
    if issubclass(type(value), (set, frozenset)) or type(value) is dict:
        return vm.fill_value(value)
    return [hashable(vm, item) for item in unpack(vm, value)]
