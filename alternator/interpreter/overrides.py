"""Who overrides torch's functions: modes that the captured program enters, and subclasses of ``torch.Tensor``.

A tensor of a subclass without storage tricks stands on the stack as an ordinary fake, and ``tensor_ops.type_of`` knows its class;
one that wraps other tensors is a real instance of its class around fakes.  ``__torch_function__`` is interpreted either way.  An
operation that somebody overrides is first run natively under the machine's own mode, which is thus told by torch itself which
function and arguments an override is to see; functions of torch that are written in Python ask for themselves.
"""

from __future__ import annotations

import contextlib
import types
from typing import Any, Iterator, NamedTuple

import torch

from alternator.exc import Break
from alternator.interpreter import attributes, calls, tensor_ops, wrappers
from alternator.interpreter.tables import IN_GRAPH, IdentityTable
from alternator.provenance.world import MISSING, is_heap

NOT_SEEN: Any = object()
"""What ``intercept`` gives for a call that nobody overrides."""

ENABLED, NO_SUBCLASSES, ALL_OFF = 0, 1, 2
"""``Overrides.level``: whether overrides of subclasses, or all of them, are switched off for now."""

_PLAIN = frozenset(
    {torch.Tensor, torch.nn.Parameter, torch.nn.Buffer, torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer}
)
_MORE_METHODS = ("new", "new_ones", "new_zeros", "new_full", "new_empty", "new_empty_strided", "new_tensor")
"""Methods that can be overridden, and that torch does not list."""
_C_ATTRIBUTES = frozenset(name for name, raw in torch._C.TensorBase.__dict__.items() if type(raw) is types.GetSetDescriptorType)
_operations: dict[int, Any] = {}


class Made(NamedTuple):
    """A tensor that the program gave another class: what it shares memory and metadata with, and the class."""

    base: torch.Tensor
    kind: type


class Overrides:
    """The state of one capture.

    ``active`` says that there may be an override at all: nothing else is looked at on the path of an ordinary operation.
    """

    def __init__(self) -> None:
        self.modes: list[Any] = []  # those that the program has entered
        self.made: dict[int, Made] = {}
        self.classes: dict[type, bool] = {}
        self.inside: set[int] = set()  # tensors inside of wrappers from outside
        self.levels: list[int] = []
        self.active = False
        self.dispatched = 0
        self.level = ENABLED if torch._C._is_torch_function_enabled() else NO_SUBCLASSES
        if torch._C._is_torch_function_all_disabled():
            self.level = ALL_OFF

    def release(self) -> None:
        for table in (self.modes, self.made, self.classes, self.inside):
            table.clear()

    def push(self, mode: Any) -> None:
        self.modes.append(mode)
        self.active = True

    def overriding(self, vm: Any, kind: type) -> bool:
        """Whether instances of a class override torch's functions (guarded)."""
        found = self.classes.get(kind)
        if found is None:
            raw = MISSING if kind in _PLAIN else vm.world.class_attr(kind, "__torch_function__")
            inner = raw.__func__ if type(raw) is staticmethod else raw
            found = self.classes[kind] = raw is not MISSING and inner is not torch._C._disabled_torch_function_impl
        return found

    def overloaded(self, vm: Any, values: Any) -> list[tuple[Any, type]]:
        """The arguments whose classes override, subclasses first, one of each class."""
        found: list[tuple[Any, type]] = []
        if self.level == ENABLED:
            self._collect(vm, values, found)
        return found

    def _collect(self, vm: Any, values: Any, found: list[tuple[Any, type]]) -> None:
        for value in values:
            if type(value) in (list, tuple):
                self._collect(vm, value, found)
            if issubclass(type(value), torch.Tensor):
                kind = tensor_ops.type_of(vm, value)
            elif is_overloaded(vm, value):
                kind = type(value)
            else:
                continue
            if self.overriding(vm, kind) and all(kind is not other for _, other in found):
                at = next((i for i, (_, other) in enumerate(found) if issubclass(kind, other)), len(found))
                found.insert(at, (value, kind))

    def apply(self, vm: Any, values: Any) -> bool:
        """Whether an operation on these values is overridden."""
        if self.modes and self.level != ALL_OFF:
            return True
        return bool(self.overloaded(vm, values))

    @contextlib.contextmanager
    def off(self, level: int) -> Iterator[None]:
        """Without overrides of subclasses, or without any."""
        before, self.level = self.level, max(self.level, level)
        try:
            yield
        finally:
            self.level = before


def is_plain_class(kind: type) -> bool:
    """Whether it is one of torch's own classes of tensors, which override nothing."""
    return kind in _PLAIN


def is_overloaded(vm: Any, value: Any) -> bool:
    """Whether an object that is no tensor has a ``__torch_function__``: it is then asked as tensors of a subclass are."""
    kind = type(value)
    if not is_heap(kind) or issubclass(type(value), (torch.Tensor, type, torch.SymInt, torch.SymFloat, torch.SymBool)):
        return False
    found = vm.world.class_attr(kind, "__torch_function__") is not MISSING
    vm.overrides.active |= found
    return found


def without(compiled: Any, examples: list[Any]) -> Any:
    """A graph as it is called: what overrides do is in it, so it is given plain tensors; but for those that wrap others."""
    places = [
        i
        for i, value in enumerate(examples)
        if issubclass(type(value), torch.Tensor) and type(value) not in _PLAIN and not wrappers.is_wrapper(value)
    ]

    def run(*args: Any) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if places:
                plain = list(args)
                for i in places:
                    plain[i] = torch.Tensor.as_subclass(plain[i], torch.Tensor)
                return compiled(*plain)
            return compiled(*args)

    return run


def operations() -> dict[int, Any]:
    """Every function that can be overridden, by identity."""
    if not _operations:
        for functions in torch.overrides.get_overridable_functions().values():
            _operations.update((id(fn), fn) for fn in functions)
        for name in _MORE_METHODS:
            fn = getattr(torch.Tensor, name)
            _operations[id(fn)] = fn
    return _operations


UNSEEN = IdentityTable("functions on tensors that no override sees")


def intercept(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a call as an override has it, or NOT_SEEN."""
    if fn in UNSEEN:
        return NOT_SEEN
    known = operations()
    bound = getattr(fn, "__self__", None)
    values = (*args, *kwargs.values())
    if id(fn) not in known and fn not in IN_GRAPH:
        if not issubclass(type(bound), torch.Tensor) or id(getattr(torch.Tensor, fn.__name__, None)) not in known:
            return NOT_SEEN
        values = (bound, *values)
    if not vm.overrides.apply(vm, values):
        return NOT_SEEN
    if type(fn) is types.FunctionType:  # it asks by itself whether it is overridden
        return calls.inline(vm, fn, args, kwargs)
    for value in (*args, *kwargs.values()):
        vm.close(value)
    return seen_natively(vm, fn, args, kwargs)


def seen_natively(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    """Run an operation natively, so that torch itself calls the machine's mode, which hands it on to who overrides it."""
    before = vm.overrides.dispatched
    result = vm.native(fn, args, kwargs or None)
    if vm.overrides.dispatched == before:
        raise Break("MODE", f"{getattr(fn, '__name__', fn)}, which overrides do not see")
    return result


def read_attribute(vm: Any, raw: Any, tensor: torch.Tensor) -> Any:
    """An attribute of torch.Tensor, of a tensor for which somebody overrides the reading of it."""
    if type(raw) is property:
        getter: Any = raw.fget
        return calls.inline(vm, getter, (tensor,), {})
    return dispatch(vm, raw.__get__, (tensor,), None, 1)


def refuse(vm: Any, what: str, *values: Any) -> None:
    """Something that overrides see in a way that is not modelled."""
    if vm.overrides.active and vm.overrides.apply(vm, values):
        raise Break("MODE", f"{what} that {_name(vm, values)} overrides")


def _name(vm: Any, values: Any) -> str:
    modes = vm.overrides.modes
    return type(modes[-1]).__name__ if modes else vm.overrides.overloaded(vm, values)[0][1].__name__


def dispatch(vm: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None, plain: int = 0) -> Any:
    """Have the mode that was entered last handle an operation, or else the classes of the arguments; what a mode does itself is
    seen by those below it.  ``kwargs`` None: it was called without; ``plain``: of so many plain tensors modes get the type.
    """
    state: Overrides = vm.overrides
    state.dispatched += 1
    found = state.overloaded(vm, (*args, *(kwargs or {}).values()))
    handed = (func, tuple([kind for _, kind in found]) or (torch.Tensor,) * plain, args) + (() if kwargs is None else (kwargs,))
    result = NotImplemented
    if state.modes and state.level != ALL_OFF:
        mode = state.modes.pop()
        try:
            result = vm.call(vm.getattr(mode, "__torch_function__"), handed)
        finally:
            state.modes.append(mode)
    elif not found:
        return tensor_ops.from_native(vm, func, args, kwargs or {})
    for _, kind in found:
        if result is not NotImplemented:
            break
        result = vm.call(vm.getattr(kind, "__torch_function__"), handed)
    if result is NotImplemented:
        raise Break("MODE", f"all overrides of {getattr(func, '__name__', func)} returned NotImplemented")
    return result


def own_operator(vm: Any, names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """The result of an operator that a subclass defines in Python, or NOT_SEEN; ``names`` as in ``operations._SPECIAL``."""
    for number, name in enumerate(names):
        reflected = number == len(names) - 1 and len(values) == 2
        owner, *others = reversed(values) if reflected else values
        if not issubclass(type(owner), torch.Tensor):
            continue
        kind = tensor_ops.type_of(vm, owner)
        if kind in _PLAIN or not issubclass(kind, torch.Tensor):
            continue
        found = vm.world.class_attr(kind, name)
        if type(found) is types.FunctionType and found is not getattr(torch.Tensor, name, None):
            result = vm.call(found, (owner, *others))
            if result is not NotImplemented:
                return result
    return NOT_SEEN


def load_attribute(vm: Any, tensor: torch.Tensor, name: str) -> Any:
    """``tensor.name`` where a subclass defines it, or somebody overrides the reading of it; or NOT_SEEN."""
    kind = tensor_ops.type_of(vm, tensor)
    raw = tensor_ops.class_attribute(torch.Tensor, name)
    if kind not in _PLAIN:
        own = vm.world.class_attr(kind, name)
        if own is not raw or raw is MISSING:
            return _defined_by_class(vm, tensor, kind, own, name)
    if (name in _C_ATTRIBUTES or type(raw) is property) and vm.overrides.apply(vm, (tensor,)):
        return read_attribute(vm, raw, tensor)
    return NOT_SEEN


def _defined_by_class(vm: Any, tensor: torch.Tensor, kind: type, own: Any, name: str) -> Any:
    inner = wrappers.part(vm, tensor, name)
    if inner is not MISSING:
        return inner
    if type(own) is property:
        return calls.call(vm, attributes.vm_trusted(vm, own.fget), (tensor,), {})
    value = tensor_ops.own_attribute(vm, tensor, name)
    if value is not MISSING:
        return value
    if own is not MISSING:
        return attributes.bind(vm, own, tensor, kind, name)
    fallback = vm.world.class_attr(kind, "__getattr__")
    return NOT_SEEN if fallback is MISSING else vm.call(fallback, (tensor, name))
