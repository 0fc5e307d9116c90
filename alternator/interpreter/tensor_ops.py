"""Operations on tensors: run on fakes, recorded as nodes of the graph."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import operator
import types
from typing import Any, Iterator

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    unset_fake_temporarily,
)

from alternator.exc import Break, InternalError, Restart, SkipFrame, UserRaise
from alternator.interpreter import assertions, expectations, flags, overrides, tensor_errors, wrappers
from alternator.interpreter.identity import with_truths
from alternator.interpreter.tables import RULES, IdentityTable
from alternator.interpreter.tensor_errors import touches_tensor
from alternator.provenance.world import MISSING, is_heap, module_of
from alternator.tensors.graph import SYMBOLIC

METHODS = IdentityTable("tensor methods with a rule")
"""raw attribute of torch.Tensor -> ``rule(vm, args, kwargs)``."""

ATTRIBUTES: dict[str, Any] = {}
"""name -> ``rule(vm, tensor)`` for attributes of tensors that are neither metadata nor graph operations."""

SET_ATTRIBUTES: dict[str, Any] = {}
"""name -> ``rule(vm, tensor, value)`` for attributes of tensors that may be written."""

NUMBERS_BESIDE: dict[type, Any] = {}
"""type -> ``rule(vm, value)``: the number that a value of this type is beside tensors and in calls of torch's functions; with
the operator, and the left operand (None if that is the value) and the right one, maybe a tensor that gives the same there."""

DRAWING = IdentityTable("generators of random numbers")
"""type of what is given as ``generator`` -> ``rule(vm, fn, args, kwargs)``: an operation that draws of it."""

_METADATA = frozenset(
    "dtype device layout ndim requires_grad is_cuda is_cpu is_meta is_mps is_xpu is_sparse is_sparse_csr "
    "is_quantized is_nested is_mkldnn itemsize names is_ipu is_vulkan is_maia is_xla is_mtia".split()
)
_GRAPH_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag", "data"})
_METADATA_METHODS = frozenset(
    {
        "size",
        "stride",
        "dim",
        "ndimension",
        "numel",
        "nelement",
        "element_size",
        "storage_offset",
        "is_contiguous",
        "is_floating_point",
        "is_complex",
        "is_conj",
        "is_neg",
        "is_inference",
        "is_signed",
        "get_device",
        "is_shared",
        "type",
        "has_names",
        "is_distributed",
        "__len__",
        "is_same_size",
        "is_nonzero_metadata",
    }
)
_OURS = (Break, InternalError, SkipFrame, UserRaise)


def execute(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on fakes."""
    if vm.overrides.active:  # who overrides it has been asked
        with torch._C.DisableTorchFunctionSubclass():
            return _execute(vm, fn, args, kwargs)
    return _execute(vm, fn, args, kwargs)


def _by_rules(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """With the rules in Python of operators made of others: C++ takes symbolic sizes for constants there, or looks at data."""
    with enable_python_dispatcher():
        return vm.memo.run(fn, args, kwargs)


def _execute(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        try:
            result = vm.memo.run(fn, args, kwargs) if not vm.fakes.symbolic else _by_rules(vm, fn, args, kwargs)
        except DataDependentOutputException:
            if vm.fakes.symbolic:
                raise
            result = _by_rules(vm, fn, args, kwargs)
    except _OURS:
        raise
    except Exception as error:
        raise tensor_errors.classify(vm, fn, error, args, kwargs) from None
    if vm.fakes.watch.overlapping:
        vm.fakes.watch.overlapping = False
        tensor_errors.try_in_eager(vm, fn, args, kwargs)
    return result


def _prepare(vm: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Close the arguments of an operation; False if one is an object that overrides it."""
    for value in args:
        if type(value) is not FakeTensor and not _check(vm, value):
            return False
    for value in kwargs.values():
        if type(value) is not FakeTensor and not _check(vm, value):
            return False
    return True


def _overridden(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    numbers, named = _with_numbers(vm, args), _with_numbers(vm, kwargs)
    if numbers is not args or named is not kwargs:
        return call(vm, fn, numbers, named)
    result = overrides.intercept(vm, fn, args, kwargs)
    if result is overrides.NOT_SEEN:
        raise Break("UNSUPPORTED_CALL", f"an object with a __torch_function__ passed to {getattr(fn, '__name__', fn)}")
    return result


def _with_numbers(vm: Any, given: Any) -> Any:
    """The arguments with numbers for what stands for them (``given`` itself if there are none)."""
    kind = type(given)
    if kind in NUMBERS_BESIDE:
        return NUMBERS_BESIDE[kind](vm, given)
    if kind not in (list, tuple, dict):
        return given
    items = list(given.values()) if kind is dict else given
    made = [_with_numbers(vm, item) for item in items]
    if all(new is old for new, old in zip(made, items)):
        return given
    return dict(zip(given, made)) if kind is dict else kind(made)


_SCALARS = frozenset(
    {
        int,
        float,
        bool,
        str,
        type(None),
        torch.dtype,
        torch.device,
        complex,
        torch.Size,
        slice,
        type(Ellipsis),
        torch.layout,
        torch.memory_format,
    }
)


def _check(vm: Any, value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if is_heap(kind) and not issubclass(kind, torch.Tensor):
        refuse_asked(vm, kind)
    vm.close(value)
    if kind in (list, tuple):
        for item in value:
            if type(item) is not FakeTensor and not _check(vm, item):
                return False
    elif kind is types.FunctionType or kind is types.MethodType:
        raise Break("UNSUPPORTED_CALL", "a Python function passed to a graph operation")
    elif kind in DRAWING:
        raise Break("RNG", f"a {kind.__name__} passed to such an operation")
    elif kind in NUMBERS_BESIDE:
        return False
    elif is_heap(kind) and not issubclass(type(value), _IN_GRAPH) and module_of(kind).split(".")[0] not in ("torch", "numpy"):
        if overrides.is_overloaded(vm, value):
            return False
        if not _is_frozen_dataclass(kind):
            raise Break("UNSUPPORTED_CALL", f"a {kind.__name__} passed to a graph operation")
    return True


def refuse_asked(vm: Any, kind: type) -> None:
    """Torch asks what it is given for its ``__class__``: of fakes other times than in eager, and again for the words of eager."""
    shown, get, missing, override = (vm.world.class_attr(kind, name) for name in _ASKED)
    quiet = type(shown) is types.GetSetDescriptorType and type(get) is types.WrapperDescriptorType
    if not quiet or missing is not MISSING and override is MISSING:
        raise Break(
            "UNSUPPORTED_CALL", f"a {kind.__name__}, which says what its class or attributes are, passed to a graph operation"
        )


_ASKED = ("__class__", "__getattribute__", "__getattr__", "__torch_function__")
_IN_GRAPH = (torch.Tensor, tuple, list, dict, int, float, str, enum.Enum, type, types.ModuleType)


def _is_frozen_dataclass(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def call(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A torch function (or an operator with a tensor operand) as one node."""
    if vm.config.only_allow_pt2_compliant_ops and issubclass(type(fn), _OPERATORS):
        _check_compliant(fn, args, kwargs)
    if kwargs and (drawing := DRAWING.get(type(kwargs.get("generator")))) is not None:
        return drawing(vm, fn, args, kwargs)
    if not _prepare(vm, args, kwargs):
        return _overridden(vm, fn, args, kwargs)
    if kwargs and kwargs.get("requires_grad") and not touches_tensor(args, kwargs):
        made = call(vm, fn, args, {**kwargs, "requires_grad": False})
        return call_method(vm, "requires_grad_", None, (made,), {})
    if kwargs and fn in _DRAWN and kwargs.get("generator", fn) is None:  # that overload takes no symbolic sizes
        kwargs = {name: value for name, value in kwargs.items() if name != "generator"}
    try:
        result = execute(vm, fn, args, kwargs)
    except Break as broken:
        if (settled := with_truths(vm, broken, args, kwargs)) is None:
            raise
        return call(vm, fn, *settled)
    if not _is_tensor_work(result) and not touches_tensor(args, kwargs):
        return result
    return record(vm, "call_function", fn, args, kwargs, result)


_DRAWN = frozenset({torch.rand, torch.randn, torch.randint})
_OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket)


def _check_compliant(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """By option, only operators go into the graph whose authors say that compilers can handle them."""
    if issubclass(type(fn), torch._ops.OpOverloadPacket):
        try:
            found = torch._C._jit_resolve_packet(fn._qualified_op_name, *args, **kwargs)
        except RuntimeError as error:
            raise Break("NOT_COMPLIANT", f"failed to find the overload of {fn}: {error}") from None
        fn = getattr(fn, found)
    if torch.Tag.pt2_compliant_tag not in fn.tags:
        raise Break("NOT_COMPLIANT", str(fn))


def record(vm: Any, op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    if not _acceptable(result):
        raise Break("UNSUPPORTED_OPERATION", f"{getattr(target, '__name__', target)} gives a {type(result).__name__}")
    vm.recorder.record(op, target, args, kwargs, result)
    return result


def _acceptable(result: Any) -> bool:
    kind = type(result)
    if kind is FakeTensor or result is None or kind in _SCALARS or issubclass(type(result), (torch.Tensor, *SYMBOLIC)):
        return True
    if kind in (tuple, list) or issubclass(type(result), tuple):
        return all(_acceptable(item) for item in result)
    return False


def _is_tensor_work(result: Any) -> bool:
    if issubclass(type(result), torch.Tensor):
        return True
    if issubclass(type(result), (tuple, list)):
        return any(_is_tensor_work(item) for item in result)
    return result is None or type(result) is dict and any(_is_tensor_work(item) for item in result.values())


def call_method(vm: Any, name: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A method of a tensor (``args[0]`` is the tensor)."""
    raw = class_attribute(type(args[0]), name)
    rule = METHODS.get(raw)
    if rule is not None:
        return rule(vm, args, kwargs)
    owner = args[0]
    if name in _METADATA_METHODS:
        return execute(vm, getattr(owner, name), args[1:], kwargs)
    return record_method(vm, name, args, kwargs)


def record_method(vm: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A method of a tensor as one node."""
    if vm.overrides.active and name in _RESHAPING:
        raise Break("TENSOR_SUBCLASS", f"{name}, where tensors have been given another class")
    if kwargs and (drawing := DRAWING.get(type(kwargs.get("generator")))) is not None:
        return drawing(vm, _unbound(name), args, kwargs)
    if not _prepare(vm, args[1:], kwargs):
        return _overridden(vm, _unbound(name), args, kwargs)
    if name[-1] == "_" != name[-2]:
        tensor_errors.try_written(vm, _unbound(name), args, kwargs)
    try:
        result = execute(vm, _unbound(name), args, kwargs)
    except Break as broken:
        if (settled := with_truths(vm, broken, args, kwargs)) is None:
            raise
        return record_method(vm, name, *settled)
    if result is NotImplemented:
        return result
    return record(vm, "call_method", name, args, kwargs, result)


_RESHAPING = frozenset(
    {"t_", "transpose_", "swapaxes_", "swapdims_", "unsqueeze_", "squeeze_", "resize_", "resize_as_", "as_strided_", "set_"}
)
"""They change the shape of one of two tensors over the same memory that the graph takes for one."""


def _unbound(name: str) -> Any:
    fn = _UNBOUND.get(name)
    if fn is None:
        fn = _UNBOUND[name] = getattr(torch.Tensor, name)
    return fn


_UNBOUND: dict[str, Any] = {}


def guard_operator(vm: Any, names: tuple[str, ...], *values: Any) -> None:
    """Guard the special methods that tensors have for an operator: the graph has what they do now."""
    known = vm.states.setdefault("operators of tensors", set())
    for value in values:
        if issubclass(type(value), torch.Tensor) and (handle := (type_of(vm, value), names)) not in known:
            known.add(handle)
            for name in names:
                raw = vm.world.class_attr(handle[0], name)
                if handle[0] is torch.nn.Parameter and raw is not class_attribute(torch.Tensor, name):  # fakes are none
                    raise Break("TENSOR_ATTRIBUTE", f"{name} of parameters, which the program has replaced")


def has_own(vm: Any, tensor: torch.Tensor, name: str) -> bool:
    """That a special method is torch's own, from now on guarded: captured code does in its place what that does."""
    guard_operator(vm, (name,), tensor)
    if class_attribute(type_of(vm, tensor), name) is not _SPECIAL[name]:
        raise Break("TENSOR_ATTRIBUTE", f"{name} of tensors, which the program has replaced")
    return True


def class_attribute(cls: type, name: str) -> Any:
    for base in torch.Tensor.__mro__ if issubclass(cls, FakeTensor) else cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


def load_attr(vm: Any, tensor: torch.Tensor, name: str) -> Any:
    """``tensor.name``"""
    if vm.overrides.active:
        value = overrides.load_attribute(vm, tensor, name)
        if value is not overrides.NOT_SEEN:
            return value
    if name == "shape":
        return tensor.shape
    if name in _METADATA:
        return execute(vm, getattr, (tensor, name), {})
    rec = vm.records.get(id(tensor))
    rule = ATTRIBUTES.get(name)
    if rule is not None and (rec is None or rec.attrs is None or name not in rec.attrs):
        return rule(vm, tensor)
    if name in _GRAPH_ATTRIBUTES:
        result = execute(vm, getattr, (tensor, name), {})
        return record(vm, "call_function", getattr, (tensor, name), {}, result)
    value = own_attribute(vm, tensor, name)
    if value is not MISSING:
        return value
    kind = type_of(vm, tensor)
    raw = class_attribute(kind, name)
    in_class = vm.world.tree.object(torch.Tensor if issubclass(kind, FakeTensor) else kind).child("typeattr", name)
    if raw is MISSING:
        in_class.guard("ABSENT")
        raise vm.user_raise(AttributeError(f"'{kind.__name__}' object has no attribute '{name}'"))
    in_class.guard("IS", raw)
    if type(raw) is types.FunctionType:
        return types.MethodType(raw, tensor)
    if type(raw) in (types.GetSetDescriptorType, property):
        raise Break("TENSOR_ATTRIBUTE", name)
    if type(raw) in (types.MethodDescriptorType, types.WrapperDescriptorType):  # fakes have some methods of their own
        return raw.__get__(tensor)
    if vm.world.class_attr(type(raw), "__get__") is MISSING:
        return vm.world.admit(raw, in_class)
    return execute(vm, getattr, (tensor, name), {})


def own_attribute(vm: Any, tensor: torch.Tensor, name: str) -> Any:
    """What the ``__dict__`` of a tensor holds, or MISSING; guarded, writes of the program first."""
    rec = vm.records.get(id(tensor))
    if rec is None:
        return vm.spaces.get(id(tensor), {}).get(name, MISSING)
    if rec.attrs is not None and name in rec.attrs:
        value = rec.attrs[name]
        if value is MISSING:
            raise vm.user_raise(AttributeError(f"'{type_of(vm, tensor).__name__}' object has no attribute '{name}'"))
        return value
    space = rec.obj.__dict__ if hasattr(rec.obj, "__dict__") else {}
    if id(space) in vm.records:  # the program has it in hand
        return RULES.get(dict.get)(vm, (vm.records[id(space)].standin, name, MISSING), {})
    source = rec.source.child("dict").child("dictitem", name)
    if name in space:
        return vm.world.admit(space[name], source)
    source.guard("ABSENT")
    return MISSING


def store_attr(vm: Any, tensor: torch.Tensor, name: str, value: Any) -> None:
    """``tensor.name = value`` (MISSING: ``del tensor.name``)"""
    rule = SET_ATTRIBUTES.get(name)
    if rule is not None:
        overrides.refuse(vm, f"{name} written, which", tensor)
        rule(vm, tensor, value)
        return
    raw = class_attribute(torch.Tensor, name)
    if vm.overrides.active and raw is MISSING:
        own = vm.world.class_attr(type_of(vm, tensor), name)
        if type(own) is property and value is not MISSING and own.fset is not None:
            vm.world.trusted(own.fset)
            vm.call(own.fset, (tensor, value))
            return
        if own is not MISSING and hasattr(type(own), "__set__") or wrappers.part(vm, tensor, name) is not MISSING:
            raise Break("TENSOR_ATTRIBUTE", f"assignment to {name}")
    if raw is not MISSING:
        raise Break("TENSOR_ATTRIBUTE", f"assignment to {name}")
    rec = vm.records.get(id(tensor))
    if rec is not None:
        if value is MISSING and own_attribute(vm, tensor, name) is MISSING:
            raise vm.user_raise(AttributeError(f"'{type_of(vm, tensor).__name__}' object has no attribute '{name}'"))
        space = getattr(rec.obj, "__dict__", None)
        if id(space) in vm.records:
            raise Break("TENSOR_ATTRIBUTE", f"assignment to {name} of a tensor whose __dict__ is being looked at")
        vm.world.written_spaces[id(space)] = rec
        vm.world.write_attr(rec, name, value)
        return
    vm.ticks += 1
    space = vm.spaces.setdefault(id(tensor), {})
    if value is not MISSING:
        space[name] = value
    elif space.pop(name, MISSING) is MISSING:
        raise vm.user_raise(AttributeError(f"'{type_of(vm, tensor).__name__}' object has no attribute '{name}'"))


def type_of(vm: Any, tensor: torch.Tensor) -> type:
    """The class of a tensor as the program sees it."""
    rec = vm.records.get(id(tensor))
    if rec is not None:
        return type(rec.obj)
    made = vm.overrides.made.get(id(tensor))
    if made is not None:
        return made.kind  # type: ignore[no-any-return]
    if type(tensor) is not FakeTensor and not isinstance(tensor, FakeTensor):
        return type(tensor)
    return torch.nn.Parameter if getattr(tensor, "_is_param", False) else torch.Tensor


def symbol_of(vm: Any, tensor: torch.Tensor) -> Any:
    """The item of a tensor as a symbol of the graph, whatever the settings say."""
    with _scalars_allowed(vm):
        result = execute(vm, tensor.item, (), {})
    vm.recorder.record("call_method", "item", (tensor,), {}, result)
    return result


def select_row(vm: Any, tensor: torch.Tensor, index: torch.Tensor) -> Any:
    """``tensor[index]`` with an index that only running the program can tell: a view of the row that it names."""
    with _scalars_allowed(vm), enable_python_dispatcher():  # where select knows symbols without a value
        return call(vm, torch.select, (tensor, 0, symbol_of(vm, index)), {})


def rows(vm: Any, tensor: torch.Tensor) -> Any:
    """What iterating gives: an operation for each row that is used, but one for all where autograd can tell the difference."""
    if tensor.requires_grad or type(tensor) is not FakeTensor or vm.root_state.get(ROWS):
        return call_method(vm, "unbind", tensor.unbind, (tensor, 0), {})
    made = execute(vm, torch.unbind, (tensor, 0), {})
    vm.states.setdefault(ROWS, []).append(tensor)
    for index, row in enumerate(made):
        vm.recorder.record("call_function", operator.getitem, (tensor, index), {}, row)
    return made


def check_rows(vm: Any) -> None:
    """Rows of what has got a history since cannot be told from others by autograd: it must be one operation after all."""
    if any(tensor.requires_grad for tensor in vm.states.get(ROWS, ())):
        raise Restart(lambda: vm.root_state.__setitem__(ROWS, True))


ROWS = "rows of tensors"
"""Key of a capture's state: the tensors that were gone over row by row; of a code's: True if it takes one operation."""


def index(vm: Any, tensor: torch.Tensor, key: Any) -> Any:
    """``tensor[key]`` with tensors as subscripts that are never read as numbers."""
    items = key if type(key) is tuple else (key,)
    places = [item if issubclass(type(item), torch.Tensor) else execute(vm, torch.tensor, (item,), {}) for item in items]
    result = execute(vm, torch.ops.aten.index.Tensor, (tensor, places), {})
    return record(vm, "call_function", operator.getitem, (tensor, key), {}, result)


@contextlib.contextmanager
def _scalars_allowed(vm: Any) -> Iterator[None]:
    mode = vm.fakes.mode
    before, mode.allow_scalar_outputs = mode.allow_scalar_outputs, True
    try:
        yield
    finally:
        mode.allow_scalar_outputs = before


_SPECIAL = {
    name: class_attribute(torch.Tensor, name)
    for name in "__bool__ __int__ __float__ __index__ __len__ __iter__ __contains__ __getitem__ __setitem__".split()
}


def known_value(vm: Any, tensor: torch.Tensor, read: Any) -> Any:
    """``read(tensor)`` of a tensor that the program made of constants, or MISSING."""
    constant = getattr(tensor, "constant", None)
    if constant is None or vm.records.get(id(tensor)) is not None:
        return MISSING
    with unset_fake_temporarily():
        return vm.plain(read, constant)


def truth(vm: Any, tensor: torch.Tensor) -> bool:
    if vm.overrides.active and vm.overrides.apply(vm, (tensor,)):
        return vm.truth(overrides.dispatch(vm, torch.Tensor.__bool__, (tensor,), None))
    has_own(vm, tensor, "__bool__")
    known = known_value(vm, tensor, torch.Tensor.__bool__)
    if known is not MISSING:
        return bool(known)
    value = assertions.passing_value(vm, tensor)
    if value is None and (known := flags.answer(vm, tensor, torch.Tensor.__bool__)) is not MISSING:
        return bool(known)
    if value is None:
        value = expectations.expected_value(vm, tensor)
    if value is None:
        raise Break("DATA_DEPENDENT_BRANCH", "the truth value of a tensor")
    return value


def from_native(vm: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A tensor operation that native code performed: as if the user's program had."""
    name = getattr(func, "__name__", "")
    if name == "__get__" and getattr(func, "__self__", None) is not None:
        return load_attr(vm, args[0], func.__self__.__name__)
    if (
        issubclass(type(func), (types.MethodDescriptorType, types.WrapperDescriptorType))
        and args
        and issubclass(type(args[0]), torch.Tensor)
    ):
        return call_method(vm, name, func, args, kwargs)
    if type(func) is types.FunctionType and func.__qualname__.startswith("Tensor."):
        return vm.call(func, args, kwargs)
    return call(vm, func, args, kwargs)
