"""Hooks on tensors that the graph computes: what they do to the gradient is a body in the graph.

The program runs such a hook in the backward pass, when captured code is long over, so only a hook is taken that nobody can tell
from its body: it does nothing but tensor work, and all that it reads is what it was at the registration.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any, Iterator

import torch
from torch._higher_order_ops.register_hook import register_hook_op
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.node import has_side_effect

from alternator.bytecode.decode import decode
from alternator.exc import Break, Restart
from alternator.interpreter import tensor_ops
from alternator.interpreter.attributes import show_as
from alternator.interpreter.tables import GETATTR, INSTANCE_CALLS, REBUILD
from alternator.provenance.world import MISSING, SCALARS, Unread, module_of
from alternator.semantics.autograd_function import NoGrad, Unstrided
from alternator.semantics.bodies import Body, run_body
from alternator.tensors.graph import SYMBOLIC, Recorder

has_side_effect(register_hook_op)  # no result of it need be used

_WHAT = "Tensor.register_hook() on what the graph computes"
HOOKS = "hooks on what the graph computes"
"""In the state of a capture: id of a tensor -> the handles of its hooks."""

_NOT_HERE = "handles of hooks that leave"
"""In the state of a frame: somebody else gets the handle of such a hook."""


class ComputedHandle:
    """Stands for the handle of a hook that is a node of the graph (None: a hook that does nothing)."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.node: torch.fx.Node | None = None
        self.of_fake: Any = None


show_as(ComputedHandle, torch.utils.hooks.RemovableHandle)


def register(vm: Any, tensor: torch.Tensor, hook: Any) -> ComputedHandle:
    """``tensor.register_hook(hook)``; raises Break where the hook cannot be a body in the graph."""
    if not _can_follow(vm, tensor):
        raise Break("TENSOR_HOOK", _WHAT)
    why = _reads_what_may_change(vm, hook, set())
    if why:
        raise Break("TENSOR_HOOK", f"{_WHAT}: in the backward pass it reads {why}")
    body, grad = _run(vm, tensor, hook)
    handle = ComputedHandle(tensor)
    result = body.result
    if result is None:
        return handle
    if type(result) is not FakeTensor or (result.dtype, result.device) != (grad.dtype, grad.device):
        raise Break("TENSOR_HOOK", f"{_WHAT}: it returns a {tensor_ops.type_of(vm, result).__name__} of another kind")
    if result.dim() != grad.dim() or any(vm.truth(a != b) for a, b in zip(result.shape, grad.shape)):
        raise Break("TENSOR_HOOK", f"{_WHAT}: it returns a gradient of another shape")
    _record(vm, handle, body, result)
    return handle


def _can_follow(vm: Any, tensor: torch.Tensor) -> bool:
    recorder = vm.recorder
    if type(recorder) is not Recorder or vm.overrides.active or torch._C._are_functorch_transforms_active():
        return False
    if type(tensor) is not FakeTensor or tensor.is_leaf or not recorder.knows(tensor) or vm.root_state.get(_NOT_HERE):
        return False
    return recorder.node_of(tensor).op != "placeholder"


def _run(vm: Any, tensor: torch.Tensor, hook: Any) -> tuple[Body, torch.Tensor]:
    """Interpret the hook for a gradient of which nobody knows how it lies in memory."""
    with torch.no_grad():
        grad = tensor_ops.execute(vm, torch.empty, (tensor.shape,), {"dtype": tensor.dtype, "device": tensor.device})
    vm.world.pins.append(grad)
    watch, checks = vm.fakes.watch, dict(vm.states.get("checks", {}))
    before, watch.draws = (watch.draws, watch.may_fail), False
    vm.states["unstrided"] = vm.recorder
    try:
        with NoGrad(vm):
            body = run_body(vm, _WHAT, hook, (grad,), formals=[grad], name="grad")
    except Unstrided:
        raise Break("TENSOR_HOOK", f"{_WHAT}: it asks how the gradient lies in memory") from None
    except Break as broken:
        if broken.code == "HOP_BODY":
            raise Break("TENSOR_HOOK", broken.detail) from None
        raise
    finally:
        vm.states["unstrided"] = None
        draws, (watch.draws, watch.may_fail) = watch.draws, before
        failing = len(checks) < len(vm.states.get("checks", {}))
        if failing:
            vm.states["checks"] = checks
    if draws or failing:
        raise Break("TENSOR_HOOK", f"{_WHAT}: it {'draws random numbers' if draws else 'checks what it is given'}")
    return body, grad


def _record(vm: Any, handle: ComputedHandle, body: Body, result: torch.Tensor) -> None:
    tensor, recorder, inner = handle.tensor, vm.recorder, body.recorder
    answer = inner.node_of(result)
    given = inner.arguments()
    used = [node.meta["example_value"] for node in given]
    module = inner.close(answer, result)
    inner.hide(_WHAT)
    place = recorder.attribute("hook_body", module)
    node = recorder.graph.call_function(register_hook_op, (recorder.node_of(tensor), place, *given))
    node.meta["example_value"] = tensor
    recorder.calls += 1
    recorder.annotate(node)
    recorder.bind(tensor, node)
    handle.node = node
    handle.of_fake = tensor.register_hook(lambda grad: module(grad, *used))  # for torch.autograd.grad() behind it
    vm.states.setdefault(HOOKS, {}).setdefault(id(tensor), []).append(handle)
    vm.ticks += 1


# ---- what a hook reads


def _reads_what_may_change(vm: Any, value: Any, seen: set[int]) -> str:
    """What a hook could find to be another one when it runs, in words; "" if there is no such thing."""
    if type(value) is Unread:
        value = value.obj
    kind = type(value)
    if kind in SCALARS or kind in _NEVER_CHANGE or issubclass(kind, (*SYMBOLIC, torch.Tensor)) or id(value) in seen:
        return ""
    seen.add(id(value))
    if kind is tuple:
        return _first(vm, value, seen)
    if kind is functools.partial:
        return _first(vm, (value.func, *value.args, *value.keywords.values()), seen)
    if kind is types.ModuleType or issubclass(kind, type):
        name = value.__name__ if kind is types.ModuleType else module_of(value)
        return "" if name.split(".")[0] in _LIBRARIES else f"attributes of {name}"
    if kind is not types.FunctionType:
        return f"a {kind.__name__}"
    if (value.__module__ or "").split(".")[0] in _LIBRARIES:
        return ""
    return (
        _first(vm, (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()), seen)
        or _globals(vm, value, value.__code__, seen)
        or _cells(vm, value, seen)
    )


_NEVER_CHANGE = frozenset(
    {
        types.BuiltinFunctionType,
        types.MethodDescriptorType,
        torch.dtype,
        torch.device,
        torch.Size,
        torch.layout,
        torch.memory_format,
    }
)
_LIBRARIES = frozenset({"torch", "math", "operator", "builtins", "functools"})


_NAMED = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)


def _first(vm: Any, values: Any, seen: set[int]) -> str:
    return next(filter(None, (_reads_what_may_change(vm, value, seen) for value in values)), "")


def _globals(vm: Any, fn: types.FunctionType, code: types.CodeType, seen: set[int]) -> str:
    space = fn.__globals__
    for one in _nested(code):
        for instr in decode(one).instrs:
            if instr.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                value = dict.get(space, instr.argval, MISSING)
                why = "" if value is MISSING else _reads_what_may_change(vm, value, seen)
                if type(value) in SCALARS or issubclass(type(value), torch.Tensor):
                    why = "a number" if type(value) in SCALARS else "a tensor"
                if why:
                    return f"the global {instr.argval} ({why})"
    return ""


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for const in code.co_consts:
        if type(const) is types.CodeType:
            yield from _nested(const)


def _cells(vm: Any, fn: types.FunctionType, seen: set[int]) -> str:
    closure = fn.__closure__ or ()
    for at, name in enumerate(fn.__code__.co_freevars):
        try:
            value = closure[at].cell_contents
        except ValueError:
            return f"the variable {name}, which is not bound yet"
        held_by_hook_alone = sys.getrefcount(closure[at]) == 2  # the closure, and the argument
        of_program = vm.records.get(id(closure[at])) is None
        if type(value) not in _NAMED and not (of_program and (held_by_hook_alone or _stays(vm, name, closure[at]))):
            return f"the variable {name}, which may be assigned to"
        why = _reads_what_may_change(vm, value, seen)
        if why:
            return f"{name} ({why})"
    return ""


def _stays(vm: Any, name: str, cell: types.CellType) -> bool:
    """The variable belongs to a function that is at work, and nothing behind this place assigns to it."""
    frame = vm.frame
    while frame is not None:
        if any(slot is cell for slot in frame.locals):
            return not _may_be_assigned(frame, name)
        frame = frame.parent
    return False


def _may_be_assigned(frame: Any, name: str) -> bool:
    writes = [i.index for i in frame.instrs if i.opname in _WRITES and i.argval == name]
    if any(at > frame.at for at in writes):
        return True
    jumps = [i.target for i in frame.instrs if i.target is not None and i.index >= frame.at]
    if any(target <= at for target in jumps for at in writes):
        return True
    inner = (one for one in _nested(frame.code) if one is not frame.code and name in one.co_freevars)
    return any(i.opname in _WRITES and i.argval == name for one in inner for i in decode(one).instrs)


_WRITES = frozenset({"STORE_DEREF", "DELETE_DEREF"})


# ---- handles


def _handle_attr(vm: Any, handle: ComputedHandle, name: str) -> Any:
    if name == "remove":
        return _Remove(handle)
    raise Break("TENSOR_HOOK", f"{name} of the handle of a hook")


GETATTR.put(ComputedHandle, _handle_attr)


class _Remove:
    """``handle.remove``, about to be called."""

    def __init__(self, handle: ComputedHandle) -> None:
        self.handle = handle


@INSTANCE_CALLS.rule(_Remove)
def _remove(vm: Any, bound: _Remove, args: Any, kwargs: Any) -> None:
    """As if it had never been registered, where no gradient has passed by yet."""
    handle, recorder = bound.handle, vm.recorder
    node = handle.node
    if node is None:
        return
    if type(recorder) is not Recorder or any(one.target is torch.autograd.grad for one in recorder.graph.nodes):
        raise Break("TENSOR_HOOK", "a hook on what the graph computes that is removed behind gradients")
    before, place = node.args[0], node.args[1]
    node.replace_all_uses_with(before)
    if recorder.node_of(handle.tensor) is node:
        recorder.bind(handle.tensor, before)
    recorder.graph.erase_node(node)
    recorder.graph.erase_node(place)
    del recorder.attributes[place.target]
    recorder.calls -= 1
    handle.of_fake.remove()
    handle.node = None
    vm.states[HOOKS][id(handle.tensor)].remove(handle)
    vm.ticks += 1


@REBUILD.rule(ComputedHandle)
def rebuild_handle(b: Any, value: ComputedHandle) -> str:
    """Only plain Python can give it away."""
    raise Restart(lambda: b.vm.root_state.__setitem__(_NOT_HERE, True))


@REBUILD.rule(_Remove)
def rebuild_remove(b: Any, value: _Remove) -> str:
    raise Restart(lambda: b.vm.root_state.__setitem__(_NOT_HERE, True))


def is_hooked(vm: Any, tensor: torch.Tensor) -> bool:
    """The program has registered such a hook on the tensor."""
    return bool(vm.states.get(HOOKS, {}).get(id(tensor)))


def bodies(vm: Any) -> set[str]:
    """The names of the hooks' bodies in the graph."""
    handles = (handle for handles in vm.states.get(HOOKS, {}).values() for handle in handles)
    return {str(handle.node.args[1].target) for handle in handles}


__all__ = ["ComputedHandle", "bodies", "is_hooked", "register"]
