"""Tensors: how they enter, and the methods and attributes that are not simply a node of the graph."""

from __future__ import annotations

import copy
import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, UnsupportedFakeTensorException

from alternator._C.guards import history_is_stale
from alternator.exc import Break
from alternator.interpreter import flags, operations, tensor_classes, tensor_ops, wrappers
from alternator.interpreter.histories import READERS
from alternator.interpreter.tables import RULES
from alternator.interpreter.tensor_ops import ATTRIBUTES, METHODS, SET_ATTRIBUTES
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, MISSING, World
from alternator.semantics import nested_data
from alternator.semantics.computed_hooks import is_hooked
from alternator.semantics.symbols import announce_symbols
from alternator.semantics.tensor_subclasses import admit_wrapper
from alternator.tensors.from_data import FromData, numbers_from_data
from alternator.tensors.graph import SYMBOLIC, Recorder

PLAIN_TYPES = frozenset(
    {torch.Tensor, torch.nn.Parameter, torch.nn.Buffer, torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer}
)


@ADMIT.register(torch.Tensor)
def admit_tensor(world: World, obj: torch.Tensor, source: Source) -> Any:
    """An outside tensor: its fake, announced as a possible input of the graph."""
    source.guard("TYPE", type(obj))
    if type(obj) in PLAIN_TYPES:
        return _admit(world, obj, source)
    with torch._C.DisableTorchFunctionSubclass():
        return _admit(world, obj, source)


def _is_leaf(obj: torch.Tensor, source: Source) -> bool:
    if history_is_stale(obj):  # who asks for it makes it another one
        raise Break("TENSOR_EFFECT", f"{source.name} is a leaf, and a view of what was written to since")
    try:
        return obj.is_leaf
    except RuntimeError:  # one of several views of one operation, whose base was written to meanwhile
        raise Break("TENSOR_EFFECT", f"{source.name} is a view of which autograd tells no history any more") from None


def _admit(world: World, obj: torch.Tensor, source: Source) -> Any:
    vm = world.vm
    kind = type(obj)
    if isinstance(obj, (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)):
        raise Break("TENSOR_SUBCLASS", f"{kind.__name__} at {source.name}")
    if obj.layout is not torch.strided:
        raise Break("SPARSE", f"{obj.layout} tensor at {source.name}")
    if obj._base is not None and (obj._base.layout is not torch.strided or obj._base.is_nested):
        raise Break("SPARSE", f"part of a {'nested' if obj._base.is_nested else obj._base.layout} tensor at {source.name}")
    if obj.is_nested or torch._C._functorch.is_functorch_wrapped_tensor(obj) or torch._is_functional_tensor(obj):
        raise Break("TENSOR_SUBCLASS", f"a wrapped tensor at {source.name}")
    if id(obj) in vm.overrides.inside:
        raise Break("TENSOR_SUBCLASS", f"a tensor that is inside of another, and {source.name}")
    if kind not in PLAIN_TYPES and not (kind is FakeTensor and vm.request.options.export):
        if kind in vm.config.nontraceable_tensor_subclasses:
            raise Break("TENSOR_SUBCLASS", f"{kind.__name__}, which config.nontraceable_tensor_subclasses names")
        if wrappers.is_wrapper(obj):
            return admit_wrapper(world, obj, source)
        tensor_classes.check_class(vm, kind)
        vm.overrides.active = True
    grad = obj.grad if _is_leaf(obj, source) else None
    if grad is not None and (grad.dtype is not obj.dtype or grad.device != obj.device or grad.shape != obj.shape):
        raise Break("TENSOR_ATTRIBUTE", f"a tensor that was given other data than its gradient fits, {source.name}")
    dims = vm.dynamic.dims(obj, source.name, source.static)
    others = _others_in_memory(vm, obj)
    if any(fake.requires_grad is not real.requires_grad for real, fake in others):  # this one has it, too, by now
        raise Break("TENSOR_EFFECT", f"{source.name} shares memory with a tensor that was given a history before it is read")
    try:
        fake = vm.fakes.of(obj, source, dims)
    except UnsupportedFakeTensorException as error:
        raise Break("SPARSE", f"{error}, at {source.name}") from None
    except AssertionError as error:  # torch compares the fake with the tensor
        raise Break("TENSOR_EFFECT", f"{source.name} was given other data than what it is a view of ({error})") from None
    others.append((obj, fake))
    world.record(obj, source, fake)
    if dims is None:
        source.guard("TENSOR", obj, tuple(obj.shape), tuple(obj.stride()))
    else:
        announce_symbols(vm, fake, obj, source)
    if getattr(obj, "_dynamo_static_input_type", None) == "guarded":
        source.guard("IS", obj)
    vm.recorder.tensor_input(fake, obj, source)
    return fake


def _others_in_memory(vm: Any, tensor: torch.Tensor) -> list[tuple[torch.Tensor, Any]]:
    """The inputs so far in the same storage, with their fakes; to add to."""
    if tensor.layout is not torch.strided or type(tensor) is not torch.Tensor and type(tensor) is not torch.nn.Parameter:
        return []
    inputs: dict[int, list[tuple[torch.Tensor, Any]]] = vm.states.setdefault("inputs by storage", {})
    return inputs.setdefault(tensor.untyped_storage()._cdata, [])


# ---- methods with a rule of their own


def _raw(name: str) -> Any:
    return tensor_ops.class_attribute(torch.Tensor, name)


@METHODS.rule(_raw("is_inference"))
def rule_is_inference(vm: Any, args: Any, kwargs: Any) -> Any:
    """Fakes of what comes from outside, or is made in a frame that begins in inference mode, are none of it."""
    rec = vm.records.get(id(args[0]))
    if rec is not None:
        return rec.obj.is_inference()
    if vm.inference_mode:
        raise Break("MODE", "is_inference() of a tensor that is made in inference mode")
    return args[0].is_inference()


def _breaking(code: str) -> Any:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break(code, rule.__name__)

    return rule


def _register_breaks(code: str, *names: str) -> None:
    for name in names:
        rule = _breaking(code)
        rule.__name__ = f"Tensor.{name}"
        METHODS.put(_raw(name), rule)
        if type(_raw(name)) is types.FunctionType:
            RULES.put(_raw(name), rule)


_register_breaks("BACKWARD", "backward")
_register_breaks("TENSOR_DATA", "data_ptr", "__cuda_array_interface__", "storage", "untyped_storage")
_register_breaks("TENSOR_EFFECT", "share_memory_", "pin_memory", "set_", "retain_grad")


@METHODS.rule(_raw("item"))
def item(vm: Any, args: Any, kwargs: Any) -> Any:
    """``tensor.item()``: a value that only running the program can tell."""
    tensor = args[0]
    number = nested_data.numbers_of(vm, tensor)
    if type(number) in (int, torch.SymInt):
        return number
    if not vm.config.capture_scalar_outputs:
        known = tensor_ops.known_value(vm, tensor, torch.Tensor.item)
        if known is MISSING:
            known = flags.answer(vm, tensor, torch.Tensor.item)
        if known is not MISSING:
            return known
    if vm.request.captures_scalars:
        result = tensor_ops.execute(vm, tensor.item, (), {})
        vm.recorder.record("call_method", "item", (tensor,), {}, result)
        return result
    raise Break("DATA_DEPENDENT_VALUE", "Tensor.item()", brings=FromData(("", True)))


@METHODS.rule(_raw("tolist"))
def tolist(vm: Any, args: Any, kwargs: Any) -> Any:
    tensor = args[0]
    if (numbers := nested_data.numbers_of(vm, tensor)) is not None:
        return numbers
    known = tensor_ops.known_value(vm, tensor, torch.Tensor.tolist)
    if known is not MISSING:
        return known
    whole = not tensor.dtype.is_floating_point and not tensor.is_complex() and tensor.dtype is not torch.bool
    if not vm.config.capture_scalar_outputs and not (vm.request.captures_scalars and whole):
        raise Break("DATA_DEPENDENT_VALUE", "Tensor.tolist()", brings=numbers_from_data(tensor))
    if not tensor.dim():
        return tensor_ops.symbol_of(vm, tensor)
    return [tolist(vm, (row,), {}) for row in vm.call(torch.Tensor.unbind, (tensor,))]


for _name in ("__bool__", "__int__", "__float__", "__index__", "__complex__"):

    def _convert(vm: Any, args: Any, kwargs: Any, convert: Any = _name) -> Any:
        value = item(vm, args, kwargs)
        if convert == "__bool__":
            return vm.truth(value)
        return vm.symbolic(getattr(type(value), convert), value)

    METHODS.put(_raw(_name), _convert)


def _guard_offsets(vm: Any, tensor: torch.Tensor) -> bool:
    """Guard where the outside tensors begin whose memory ``tensor`` lies in; True if one begins inside of its storage."""
    storage, inside = tensor.untyped_storage()._cdata, False
    for fake in vm.recorder.all_values():
        rec = vm.records.get(id(fake))
        if rec is not None and issubclass(type(rec.obj), torch.Tensor) and fake.untyped_storage()._cdata == storage:
            where, offset = (rec.source.want(), "offset", -1), _offset_of(rec.obj)
            fact = ("SHAPE", (where,), (("in", 0), ("const", offset), "=="), f"{rec.source.name}.storage_offset() == {offset}")
            vm.world.tree.tail.append(fact)
            inside |= offset != 0
    return inside


def _offset_of(tensor: torch.Tensor) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.storage_offset()


@METHODS.rule(_raw("storage_offset"))
def storage_offset(vm: Any, args: Any, kwargs: Any) -> Any:
    """``tensor.storage_offset()``: guards on tensors say nothing of it, unless it is asked for."""
    _guard_offsets(vm, args[0])
    return args[0].storage_offset()


_register_breaks("TENSOR_EFFECT", "as_strided_")


@METHODS.rule(_raw("as_strided"))
def as_strided(vm: Any, args: Any, kwargs: Any) -> Any:
    """Counts from the beginning of the storage, where Inductor counts from the beginning of the graph's input."""
    if _guard_offsets(vm, args[0]):
        raise Break("TENSOR_ATTRIBUTE", "as_strided of an outside tensor that begins inside of its storage")
    return tensor_ops.record_method(vm, "as_strided", args, kwargs)


@RULES.rule(torch.as_strided)
def torch_as_strided(vm: Any, args: Any, kwargs: Any) -> Any:
    """The same as a function."""
    given = [args[0] if args else kwargs.get("input")]
    if issubclass(type(given[0]), torch.Tensor) and _guard_offsets(vm, given[0]):
        raise Break("TENSOR_ATTRIBUTE", "as_strided of an outside tensor that begins inside of its storage")
    return tensor_ops.call(vm, torch.as_strided, args, kwargs)


@METHODS.rule(_raw("__len__"))
def tensor_len(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.length(args[0])


@METHODS.rule(_raw("__iter__"))
def tensor_iter(vm: Any, args: Any, kwargs: Any) -> Any:
    return operations.iterate(vm, args[0])


@METHODS.rule(_raw("__format__"))
def tensor_format(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("DATA_DEPENDENT_VALUE", "formatting a tensor")


@METHODS.rule(_raw("__repr__"))
def tensor_repr(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("DATA_DEPENDENT_VALUE", "printing a tensor")


@METHODS.rule(_raw("__hash__"))
def tensor_hash(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("IDENTITY", "the hash of a tensor")


@METHODS.rule(_raw("__array__"))
def tensor_numpy(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("NUMPY", "Tensor.numpy()")


@METHODS.rule(_raw("resize_"), _raw("resize_as_"))
def resize_(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("TENSOR_EFFECT", "Tensor.resize_()")


@METHODS.rule(_raw("new"))
def tensor_new(vm: Any, args: Any, kwargs: Any) -> Any:
    """``x.new(2, 3)`` and ``x.new(size)``; of data it is not traced."""
    sizes = args[1] if len(args) == 2 and issubclass(type(args[1]), torch.Size) else args[1:]
    if kwargs or any(not issubclass(type(size), (int, torch.SymInt)) for size in sizes):
        raise Break("TENSOR_EFFECT", "Tensor.new() of data")
    return tensor_ops.record_method(vm, "new_empty", (args[0], tuple(sizes) or (0,)), {})


@METHODS.rule(_raw("new_tensor"))
def new_tensor(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 2:
        like = {"dtype": args[0].dtype, "device": args[0].device}
        like |= {name: value for name, value in kwargs.items() if name not in like or value is not None}
        made = nested_data.of_numbers(vm, torch.tensor, args[1], like)
        if made is not None:
            return made
    return tensor_ops.record_method(vm, "new_tensor", args, kwargs)


@METHODS.rule(_raw("type"))
def tensor_type(vm: Any, args: Any, kwargs: Any) -> Any:
    """Without arguments the name of the type, else a conversion."""
    if len(args) == 1 and not kwargs:
        return tensor_ops.execute(vm, torch.Tensor.type, args, kwargs)
    named = [f"{kind.__module__}.{kind.__name__}" if type(kind) is type(torch.HalfTensor) else kind for kind in args[1:]]
    return tensor_ops.record_method(vm, "type", (args[0], *named), kwargs)  # such a type has no text in a graph


@METHODS.rule(_raw("__deepcopy__"))
def tensor_deepcopy(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.call(copy.deepcopy, args, kwargs)


def _scaled(name: str, combine: Any) -> None:
    """addcdiv, addcmul with a tensor as ``value``, which an optimizer that is being compiled passes: taken apart."""
    inplace = name.endswith("_")

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if not isinstance(kwargs.get("value"), torch.Tensor) or len(args) != 3:
            return tensor_ops.record_method(vm, name, args, kwargs)
        tensors = args
        wide = not all(one.dtype in (torch.bfloat16, torch.float16) for one in args)
        if not wide:  # as kernels do: rounded once
            tensors = [tensor_ops.record_method(vm, "float", (one,), {}) for one in args]
        term = vm.graph_call(combine, (vm.graph_call(torch.mul, (tensors[1], kwargs["value"]), {}), tensors[2]), {})
        if wide:
            return tensor_ops.record_method(vm, "add_" if inplace else "add", (args[0], term), {})
        result = tensor_ops.record_method(vm, "add", (tensors[0], term), {})
        if inplace:
            return tensor_ops.record_method(vm, "copy_", (args[0], result), {})
        return tensor_ops.record_method(vm, "to", (result, args[0].dtype), {})

    METHODS.put(_raw(name), rule)


for _name, _combine in (("addcdiv_", torch.div), ("addcdiv", torch.div), ("addcmul_", torch.mul), ("addcmul", torch.mul)):
    _scaled(_name, _combine)


# ---- attributes


def _grad(vm: Any, tensor: torch.Tensor) -> Any:
    rec = vm.records.get(id(tensor))
    if rec is None:
        if tensor.grad is None:
            return None
        raise Break("TENSOR_ATTRIBUTE", "grad")
    if rec.attrs is not None and "grad" in rec.attrs:
        return rec.attrs["grad"]
    return vm.world.admit(READERS["grad"](rec.obj), stored(vm, rec, "grad"))


ATTRIBUTES["grad"] = _grad


def stored(vm: Any, rec: Any, name: str) -> Source:
    """Where a guard reads an attribute of a tensor: without running overrides of its class."""
    if type(rec.obj) in PLAIN_TYPES:
        return rec.source.child("attr", name)  # type: ignore[no-any-return]
    return rec.source.child("call", READERS[name])  # type: ignore[no-any-return]


def _class(vm: Any, tensor: torch.Tensor) -> Any:
    return tensor_ops.type_of(vm, tensor)


ATTRIBUTES["__class__"] = _class


def _nbytes(vm: Any, tensor: torch.Tensor) -> Any:
    """The property itself refuses symbolic sizes."""
    if tensor.layout is not torch.strided:
        return tensor_ops.execute(vm, getattr, (tensor, "nbytes"), {})
    return tensor.numel() * tensor.element_size()


ATTRIBUTES["nbytes"] = _nbytes


def _backward_hooks(vm: Any, tensor: torch.Tensor) -> Any:
    rec = vm.records.get(id(tensor))
    if "hooks" in vm.states or is_hooked(vm, tensor):
        raise Break("TENSOR_HOOK", "_backward_hooks after a hook was registered")
    if rec is None or READERS["_backward_hooks"](rec.obj) is None:
        if rec is not None:
            stored(vm, rec, "_backward_hooks").guard("EQ", None)
        return None
    raise Break("TENSOR_ATTRIBUTE", "_backward_hooks")


ATTRIBUTES["_backward_hooks"] = _backward_hooks


def _set_grad(vm: Any, tensor: torch.Tensor, value: Any) -> None:
    rec = vm.records.get(id(tensor))
    if rec is None:
        raise Break("TENSOR_ATTRIBUTE", "assignment to grad")
    vm.world.write_attr(rec, "grad", value)


SET_ATTRIBUTES["grad"] = _set_grad


def _set_data(vm: Any, tensor: torch.Tensor, value: Any) -> None:
    """``tensor.data = value`` of an outside tensor: done behind the graph, which must not use the tensor any more."""
    rec = vm.records.get(id(tensor))
    if rec is None or type(rec.obj) not in (torch.Tensor, torch.nn.Parameter) or not _fits(vm, tensor, value):
        raise Break("TENSOR_ATTRIBUTE", "assignment to data")
    vm.recorder.refuse(tensor, "a tensor that is used after an assignment to its data")
    vm.world.write_attr(rec, "data", value)


def _fits(vm: Any, tensor: torch.Tensor, value: Any) -> bool:
    """Nothing but memory changes, in the graph of the frame itself."""
    if (
        type(vm.recorder) is not Recorder
        or vm.overrides.active
        or type(value) is not FakeTensor
        or type(tensor) is not FakeTensor
    ):
        return False
    places = [(*one.shape, *one.stride(), one.storage_offset()) for one in (tensor, value)]
    static = all(type(number) is int for place in places for number in place)
    alike = tensor.dtype is value.dtype and tensor.device == value.device and tensor.dim() == value.dim()
    return static and alike and places[0][:-1] == places[1][:-1] and not torch._C._are_functorch_transforms_active()


SET_ATTRIBUTES["data"] = _set_data

__all__ = ["SYMBOLIC"]
