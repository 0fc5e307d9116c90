"""``copy.copy`` and ``copy.deepcopy``: done over stand-ins, so that nothing outside is read without a guard."""

from __future__ import annotations

import collections
import copy
import copyreg
import types
from typing import Any, Callable, cast

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator.exc import Break, UserRaise
from alternator.interpreter import attributes, calls, tensor_ops
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.identity import TracedId
from alternator.interpreter.pending import PendingText
from alternator.interpreter.tables import RULES
from alternator.provenance.world import ADMIT, MISSING, instance_space, is_heap
from alternator.semantics import parameters
from alternator.tensors.graph import SYMBOLIC
from alternator.tensors.sharing import memory_layout

_DISPATCH: dict[type, Any] = copy._deepcopy_dispatch  # type: ignore[attr-defined]
_ATOMIC = frozenset(kind for kind, fn in _DISPATCH.items() if fn is copy._deepcopy_atomic)  # type: ignore[attr-defined]
_HOOKS = ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")


@RULES.rule(copy.copy)
def rule_copy(vm: Any, args: Any, kwargs: Any) -> Any:
    value = args[0]
    kind = type(value)
    if issubclass(kind, TracedGenerator):
        if kind is not TracedGenerator:
            raise Break("GENERATOR_STATE", f"copy.copy() of a {attributes.type_of(vm, value).__name__}")
        raise vm.user_raise(TypeError("cannot pickle 'generator' object"))
    if kind in (list, dict, set):
        return kind(vm.fill_value(value))
    if kind in (collections.defaultdict, collections.deque, collections.OrderedDict):
        _check_bare(vm, value)
        return kind.copy(vm.fill_value(value))
    if kind in _ATOMIC or kind in (tuple, frozenset) or issubclass(kind, (*SYMBOLIC, PendingText)):
        return value
    hook = vm.world.class_attr(kind, "__copy__")
    if type(hook) is types.FunctionType or hook is collections.defaultdict.__copy__:
        return calls.call(vm, hook, (value,), {})
    if issubclass(type(value), torch.Tensor):
        raise Break("TENSOR_EFFECT", "copy.copy() of a tensor")
    if is_simple(vm, value):
        return copied(vm, value, None, lambda made: None, lambda item: item)
    _refuse_outside(vm, value)
    return calls.inline(vm, cast(types.FunctionType, copy.copy), args, kwargs)


@RULES.rule(copy.deepcopy)
def rule_deepcopy(vm: Any, args: Any, kwargs: Any) -> Any:
    memo = kwargs.get("memo", args[1] if len(args) > 1 else None)
    memos = vm.states.setdefault("memos", {})  # what the program finds in one of its own is more than what is kept here
    if memo is None:
        memo = {}
        memos[id(memo)] = memo
    elif id(memo) not in memos:
        raise Break("UNSUPPORTED_CALL", "copy.deepcopy() with a memo of its own")
    copier = _Copier(vm, memo)
    result = copier.copy(args[0])
    copier.keep_apart()
    return result


class _Copier:
    """One call of ``deepcopy``."""

    def __init__(self, vm: Any, memo: dict[Any, Any]) -> None:
        self.vm = vm
        self.memo = memo
        self.seen: dict[type, dict[int, Any]] = {}
        self.storages: set[int] = set()

    def copy(self, value: Any) -> Any:
        vm, kind = self.vm, type(value)
        if kind in _ATOMIC or ADMIT.is_constant(kind) or issubclass(kind, (type, *SYMBOLIC, PendingText)):
            return value
        known = dict.get(self.memo, self.address(value), MISSING)
        if known is not MISSING:
            return known
        rec = vm.records.get(id(value))
        if rec is not None:
            self.seen.setdefault(kind, {})[id(rec)] = rec  # a tuple that is its own copy is in no memo, and comes again
        vm.world.pins.append(value)
        method = _BY_TYPE.get(kind)
        if method is not None:
            vm.fill_value(value)
            return method(self, value)
        if type(value) is not FakeTensor:
            hook = vm.world.class_attr(kind, "__deepcopy__")
            if type(hook) is types.FunctionType and not issubclass(type(value), torch.Tensor):
                made = self.memo[self.address(value)] = calls.call(vm, hook, (value, self.memo), {})
                return made
        else:
            return self.parameter(value) if tensor_ops.type_of(vm, value) is torch.nn.Parameter else self.tensor(value)
        if issubclass(type(value), torch.nn.Module) and is_simple(vm, value, _MODULE_HOOKS):
            return self.module(value)
        if issubclass(type(value), (torch.Tensor, torch.nn.Module)):
            raise Break("TENSOR_EFFECT", f"copy.deepcopy() of a {kind.__name__}")
        if is_simple(vm, value):
            return copied(vm, value, self.memo, lambda made: self.memo.__setitem__(self.address(value), made), self.copy)
        _refuse_outside(vm, value)
        return calls.inline(vm, cast(types.FunctionType, copy.deepcopy), (value, self.memo), {})

    def address(self, value: Any) -> TracedId:
        """What the program gets from ``id()``: the memo may be its own."""
        rec = self.vm.records.get(id(value))
        return TracedId(id(value if rec is None else rec.obj), rec)

    def keep_apart(self) -> None:
        """Outside objects that were copied one by one must not turn out to be one object."""
        for found in [list(recs.values()) for recs in self.seen.values()]:
            if len(found) > 1:
                sources = tuple(rec.source.want() for rec in found)
                self.vm.world.tree.tail.append(("DISTINCT", sources))
                if issubclass(type(found[0].obj), torch.Tensor):  # copies of what shares memory share memory
                    if memory_layout(*(rec.obj for rec in found)) != []:
                        raise Break("TENSOR_EFFECT", "copy.deepcopy() of tensors that share memory")
                    self.vm.world.tree.tail.append(("UNSHARED", len(sources), sources))

    def tensor(self, value: Any) -> Any:
        """A plain tensor without gradient: its data, in memory of its own."""
        vm = self.vm
        rec = vm.records.get(id(value))
        storage = value.untyped_storage()._cdata
        bare = id(value) not in vm.spaces if rec is None else not (rec.attrs or vars(rec.obj))
        if tensor_ops.type_of(vm, value) is not torch.Tensor or value.requires_grad or storage in self.storages or not bare:
            raise Break("TENSOR_EFFECT", f"copy.deepcopy() of a {tensor_ops.type_of(vm, value).__name__}")
        if attributes.load(vm, value, "grad") is not None:
            raise Break("TENSOR_EFFECT", "copy.deepcopy() of a tensor with a gradient")
        if rec is not None:
            rec.source.guard_predicate(_is_bare, "no attributes of its own")
        self.storages.add(storage)
        made = self.memo[self.address(value)] = calls.call(vm, torch.clone, (value,), {})
        if made.stride() != value.stride():
            raise Break("TENSOR_EFFECT", "copy.deepcopy() of a tensor with gaps")
        return made

    def parameter(self, value: Any) -> Any:
        """What ``Parameter.__deepcopy__`` makes: a parameter over a copy of the data, without gradient and attributes."""
        vm = self.vm
        if value.untyped_storage()._cdata in self.storages:
            raise Break("TENSOR_EFFECT", "copy.deepcopy() of parameters that share memory")
        self.storages.add(value.untyped_storage()._cdata)
        made = parameters.copy_of(vm, value)
        if made is not None:
            self.memo[self.address(value)] = made
            return made
        data = calls.call(vm, torch.clone, (calls.call(vm, torch.Tensor.detach, (value,), {}),), {})
        made = self.memo[self.address(value)] = calls.call(vm, torch.nn.Parameter, (data, value.requires_grad), {})
        return made

    def module(self, value: Any) -> Any:
        """What ``Module.__getstate__`` and ``__setstate__`` say."""
        made = self.memo[self.address(value)] = self.vm.plain(object.__new__, type(value))
        state = state_of(self.vm, value)
        if not _MODULE_STATE <= state.keys():
            raise Break("TENSOR_EFFECT", f"copy.deepcopy() of a {type(value).__name__} without hooks")
        for name, item in state.items():
            if name != "_compiled_call_impl":
                made.__dict__[name] = self.copy(item)
        return made

    def ordered(self, value: Any) -> Any:
        _check_bare(self.vm, value)
        made = self.memo[self.address(value)] = collections.OrderedDict()
        for key, item in list(collections.OrderedDict.items(value)):
            self.vm.native(collections.OrderedDict.__setitem__, (made, self.copy(key), self.copy(item)))
        return made

    def defaulting(self, value: Any) -> Any:
        made = self.memo[self.address(value)] = collections.defaultdict(
            self.copy(attributes.load(self.vm, value, "default_factory"))
        )
        for key, item in list(value.items()):
            self.vm.native(dict.__setitem__, (made, self.copy(key), self.copy(item)))
        return made

    def deque(self, value: Any) -> Any:
        made = self.memo[self.address(value)] = collections.deque((), value.maxlen)
        for item in list(value):
            made.append(self.copy(item))
        return made

    def list(self, value: Any) -> Any:
        made: list[Any] = []
        self.memo[self.address(value)] = made
        for item in value:
            made.append(self.copy(item))
        return made

    def tuple(self, value: Any) -> Any:
        items = [self.copy(item) for item in value]
        if all(a is b for a, b in zip(items, value)):
            return value
        made = self.memo[self.address(value)] = tuple(items)
        return made

    def dict(self, value: Any) -> Any:
        made: dict[Any, Any] = {}
        self.memo[self.address(value)] = made
        for key, item in list(value.items()):
            self.vm.native(dict.__setitem__, (made, self.copy(key), self.copy(item)))
        return made

    def set(self, value: Any) -> Any:
        items = [self.copy(item) for item in value]
        made = self.memo[self.address(value)] = self.vm.native(type(value), (items,))
        return made

    def method(self, value: Any) -> Any:
        return types.MethodType(value.__func__, self.copy(value.__self__))


_BY_TYPE: dict[type, Any] = {
    list: _Copier.list,
    tuple: _Copier.tuple,
    dict: _Copier.dict,
    collections.OrderedDict: _Copier.ordered,
    collections.defaultdict: _Copier.defaulting,
    collections.deque: _Copier.deque,
    set: _Copier.set,
    frozenset: _Copier.set,
    types.MethodType: _Copier.method,
}


def _check_bare(vm: Any, value: Any) -> None:
    """A copy of an OrderedDict has its attributes as well."""
    if type(value) is not collections.OrderedDict:
        return
    rec = vm.records.get(id(value))
    if vars(value if rec is None else rec.obj) or rec is not None and rec.attrs:
        raise Break("UNSUPPORTED_OPERATION", "a copy of an OrderedDict with attributes")
    if rec is not None:
        rec.source.guard_predicate(_is_bare, "no attributes of its own")


def _is_bare(value: Any) -> bool:
    """It has no attributes of its own; most tensors do not even have a ``__dict__`` for them yet."""
    return not vars(value)


_MODULE_HOOKS = {name: vars(torch.nn.Module)[name] for name in ("__getstate__", "__setstate__")}
_MODULE_STATE = vars(torch.nn.Module()).keys()


def is_simple(vm: Any, value: Any, hooks: Any = types.MappingProxyType({})) -> bool:
    """An instance of a user's class that is nothing but its ``__dict__``, and is copied as all are but for ``hooks``."""
    kind = type(value)
    if not is_heap(kind) or attributes.native_base(kind) is not object or kind in copyreg.dispatch_table:
        return False
    if any(type(raw) is types.MemberDescriptorType for base in kind.__mro__ for raw in base.__dict__.values()):
        return False
    if hooks and is_asked(vm, kind):
        return False
    found = {name: vm.world.class_attr(kind, name) for name in _HOOKS}
    said = {name: one for name, one in found.items() if type(one) is types.FunctionType}
    return kind.__dictoffset__ != 0 and said == hooks


def is_asked(vm: Any, kind: type) -> bool:
    """Whether code of the class says what its instances have."""
    if type(vm.world.class_attr(kind, "__getattribute__")) is types.FunctionType:
        return True
    return vm.world.class_attr(kind, "__getattr__") not in (MISSING, torch.nn.Module.__getattr__)


def copied(vm: Any, value: Any, memo: dict[Any, Any] | None, put: Callable[[Any], Any], each: Callable[[Any], Any]) -> Any:
    """A copy of what is simple, with what ``each`` gives for its attributes; ``put`` is told of it before.

    A class that says itself what its instances have is asked what ``copy`` asks, in the same order."""
    kind = type(value)
    asks = is_asked(vm, kind)
    if asks:
        for name in (*(["__deepcopy__"] if memo is not None else []), "__reduce_ex__", "__reduce__", "__getstate__"):
            _must_say(vm, value, name, vars(object).get(name, MISSING))
    state = state_of(vm, value)
    made = vm.plain(object.__new__, kind)
    put(made)
    items = {name: each(item) for name, item in state.items()}
    if asks and items:
        _must_say(vm, made, "__setstate__", MISSING)
        if attributes.load(vm, made, "__dict__") is not space_of(made):
            raise Break("UNSUPPORTED_OPERATION", f"a copy of a {kind.__name__}, which has a __dict__ of its own making")
    space_of(made).update(items)
    return made


def _must_say(vm: Any, value: Any, name: str, expected: Any) -> None:
    """An instance has what all objects have there."""
    try:
        found = attributes.load(vm, value, name)
    except UserRaise as raised:
        if expected is MISSING and issubclass(type(raised.exc), AttributeError):
            return
        raise
    if type(found) is not types.BuiltinMethodType or found.__self__ is not value or found.__name__ != name:
        raise Break("UNSUPPORTED_OPERATION", f"a copy of a {type(value).__name__} with a {name} of its own")


def space_of(value: Any) -> dict[str, Any]:
    """The ``__dict__`` of an instance that has one."""
    return cast("dict[str, Any]", instance_space(value))


def state_of(vm: Any, value: Any) -> dict[str, Any]:
    """The instance's attributes, read with guards."""
    if id(value) not in vm.records:
        return dict(space_of(value))
    return dict(vm.fill_value(attributes.lookup(vm, value, "__dict__")))


def _refuse_outside(vm: Any, value: Any) -> None:
    if (
        id(value) in vm.records and _reduction(vm, value) is None or type(value) in tensor_ops.DRAWING
    ):  # what is drawn of those is drawn later
        raise Break("UNSUPPORTED_OPERATION", f"a copy of an outside {type(value).__name__}")


def _reduction(vm: Any, value: Any) -> Any:
    """What says in Python how an object of a subclass of a container is taken apart, or None."""
    kind = type(value)
    base = attributes.native_base(kind)
    if not is_heap(kind) or base not in _REDUCTIONS or kind in copyreg.dispatch_table or is_asked(vm, kind):
        return None
    if any(type(raw) is types.MemberDescriptorType for one in kind.__mro__ if is_heap(one) for raw in one.__dict__.values()):
        return None
    if type(vm.world.class_attr(kind, "__dict__")) is not (types.GetSetDescriptorType if kind.__dictoffset__ else type(MISSING)):
        return None
    found = {name: vm.world.class_attr(kind, name) for name in _HOOKS}
    if any(type(found[name]) is types.FunctionType for name in ("__reduce_ex__", "__reduce__")):
        return found["__reduce__"] if found["__reduce_ex__"] is object.__reduce_ex__ else None
    ordinary = found["__getstate__"] is object.__getstate__ and found["__getnewargs__"] is found["__getnewargs_ex__"] is MISSING
    expected = (object.__reduce_ex__, _REDUCTIONS[base][0])
    return _REDUCTIONS[base][1] if ordinary and (found["__reduce_ex__"], found["__reduce__"]) == expected else None


def _of_new(obj: Any) -> Any:
    """Polyfill of ``object.__reduce_ex__(4)`` of lists and dicts."""
    cls = type(obj)
    items = iter(obj) if issubclass(type(obj), list) else None
    pairs = iter(obj.items()) if issubclass(type(obj), dict) else None
    return copyreg.__newobj__, (cls,), getattr(obj, "__dict__", None) or None, items, pairs  # type: ignore[attr-defined]


def _of_ordered(obj: Any) -> Any:
    """Polyfill of ``OrderedDict.__reduce__``."""
    return type(obj), (), obj.__dict__ or None, None, iter(obj.items())


def _of_set(obj: Any) -> Any:
    """Polyfill of ``set.__reduce__``."""
    return type(obj), (list(obj),), getattr(obj, "__dict__", None) or None


_REDUCTIONS: dict[type, tuple[Any, Any]] = {
    list: (object.__reduce__, _of_new),
    dict: (object.__reduce__, _of_new),
    collections.OrderedDict: (collections.OrderedDict.__reduce__, _of_ordered),
    set: (set.__reduce__, _of_set),
}


@RULES.rule(object.__reduce_ex__)
def rule_reduce_ex(vm: Any, args: Any, kwargs: Any) -> Any:
    """Native code that takes an object apart: a container by its twin in Python."""
    _refuse_outside(vm, args[0])
    hook = vm.world.class_attr(type(args[0]), "__reduce__")
    if type(hook) is not types.FunctionType and len(args) == 2 and type(args[1]) is int and args[1] >= 2:
        hook = _reduction(vm, args[0])
    if type(hook) is types.FunctionType:
        return calls.call(vm, hook, args[:1], {})
    if id(args[0]) in vm.records:
        raise Break("UNSUPPORTED_OPERATION", f"such a call of __reduce_ex__() of an outside {type(args[0]).__name__}")
    return vm.native(object.__reduce_ex__, args)


def _of_instances(fn: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        _refuse_outside(vm, args[0])
        if id(args[0]) in vm.records:
            raise Break("UNSUPPORTED_OPERATION", f"{fn.__name__}() of an outside {type(args[0]).__name__}")
        return vm.native(fn, args)

    RULES.put(fn, rule)


_of_instances(object.__reduce__)
_of_instances(object.__getstate__)
