"""nn.Module: attribute lookup, calls without hooks, containers."""

from __future__ import annotations

import copy
import functools
import types
import weakref
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.nn.modules import module as torch_module
from torch.nn.modules.lazy import LazyModuleMixin

from alternator.exc import Break, Restart
from alternator.interpreter import attributes, calls, global_names, operations
from alternator.interpreter.links import passes_on
from alternator.interpreter.tables import DEEP, OBJECT_GETATTR, RULES
from alternator.provenance.source import Source, worded
from alternator.provenance.world import ADMIT, MISSING, Outside, World

Module = torch.nn.Module
_SPACES = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_pre_hooks")
_GLOBAL_HOOKS = ("_global_backward_hooks", "_global_backward_pre_hooks", "_global_forward_hooks", "_global_forward_pre_hooks")


@ADMIT.register(Module)
def admit_module(world: World, obj: Any, source: Source) -> Any:
    """A module: its own numbers (until they are seen to change) and the sizes of its tensors are taken as constants."""
    source.guard("TYPE", type(obj))
    source.static, source.owned = weakref.ref(obj), True
    world.record(obj, source)
    return obj


@OBJECT_GETATTR.rule(Module.__getattr__)
def module_getattr(vm: Any, module: Any, name: str) -> Any:
    """``Module.__getattr__``: parameters, buffers, submodules."""
    rec: Outside | None = vm.records.get(id(module))
    for space in _SPACES:
        table = attributes.instance_value(vm, module, rec, space)
        if table is MISSING:
            continue
        value = _read(vm, table, name)
        if value is not MISSING:
            inner = vm.records.get(id(table))
            if rec is not None and (inner is None or not inner.filled or inner.snapshot is not None):
                vm.module_reads.setdefault(id(module), []).append(name)
            return value
    raise vm.user_raise(AttributeError(f"'{type(module).__name__}' object has no attribute '{name}'", name=name, obj=module))


def _read(vm: Any, table: Any, name: str) -> Any:
    rec = vm.records.get(id(table))
    if rec is not None and not rec.filled:
        return operations.read_key(vm, rec, name)
    return table.get(name, MISSING)


def _empty(vm: Any, table: Any) -> bool:
    return not vm.truth(vm.length(table))


def without_hooks(vm: Any, module: Any) -> bool:
    """No hook of the module, and no global one: guarded, so that one added later is seen."""
    rec = vm.records.get(id(module))
    for name in _HOOKS:
        table = attributes.instance_value(vm, module, rec, name)
        if table is MISSING or not _empty(vm, table):
            return False
    return _global_hooks_empty(vm)


def _global_hooks_empty(vm: Any) -> bool:
    done: bool | None = vm.states.get("global_hooks")
    if done is None:
        vm.world.trusted(torch_module)
        done = all(_empty(vm, global_names.load_attribute(vm, torch_module, name)) for name in _GLOBAL_HOOKS)
        vm.states["global_hooks"] = done
    return done


def _forward_of(vm: Any, module: Any) -> Any:
    """``module.forward`` where there are no hooks, else MISSING."""
    return attributes.load(vm, module, "forward") if without_hooks(vm, module) else MISSING


def _has_plain_hooks(vm: Any, module: Any) -> bool:
    """An outside module has forward hooks, and no others; and the program has not changed them.

    Their keys are numbers that count all hooks there are, and say nothing else: modules with the same hooks are the same.
    """
    rec = vm.records.get(id(module))
    if rec is None or rec.attrs is not None or not _global_hooks_empty(vm):
        return False
    for name in ("_backward_hooks", "_backward_pre_hooks", *_HOOK_OPTIONS):
        table = attributes.instance_value(vm, module, rec, name)
        if table is MISSING or not _empty(vm, table):
            return False
    return all(_hook_table(vm, module, name) is not None for name in ("_forward_pre_hooks", "_forward_hooks"))


def _hook_table(vm: Any, module: Any, name: str) -> Outside | None:
    table: Outside | None = vm.records.get(id(attributes.instance_value(vm, module, vm.records.get(id(module)), name)))
    return table if table is not None and not table.filled else None


def _hooks_of(module: Any, name: str) -> Any:
    """The hooks of a module in their order (interpreted: read by position)."""
    return list(getattr(module, name).values())


@RULES.rule(_hooks_of)
def read_hooks(vm: Any, args: Any, kwargs: Any) -> list[Any]:
    table = _hook_table(vm, *args)
    if table is None:
        raise Break("UNSUPPORTED_EFFECT", "hooks of a module that change while it runs")
    hooks = _in_order(table.obj)
    source = table.source.child("call", _in_order)
    source.guard("LEN", len(hooks))
    return [vm.world.admit(hook, source.child("index", i)) for i, hook in enumerate(hooks)]


_HOOK_OPTIONS = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


@worded("(the order of {})")
def _in_order(table: Any) -> tuple[Any, ...]:
    return tuple(table.values())


def _call_with_hooks(module: Any, args: Any, kwargs: Any) -> Any:
    """Polyfill: what calling a module does."""
    for hook in _hooks_of(module, "_forward_pre_hooks"):
        changed = hook(module, args)
        if changed is not None:
            args = changed if issubclass(type(changed), tuple) else (changed,)
    result = module.forward(*args, **kwargs)
    for hook in _hooks_of(module, "_forward_hooks"):
        changed = hook(module, args, result)
        if changed is not None:
            result = changed
    return result


def _is_torchs(vm: Any, module: Any, name: str, method: Any) -> bool:
    """Neither the class nor the module itself has another method of this name."""
    if vm.world.class_attr(type(module), name) is not method:
        return False
    return attributes.instance_value(vm, module, vm.records.get(id(module)), name) is MISSING


@RULES.rule(Module._wrapped_call_impl)
@passes_on
def module_call(vm: Any, args: Any, kwargs: Any) -> Any:
    """Calling a module: to PyTorch's ``_call_impl``, unless the module has another one, or has been compiled."""
    compiled = attributes.load(vm, args[0], "_compiled_call_impl")
    if compiled is not None:
        return calls.call(vm, compiled, args[1:], kwargs)
    if not _is_torchs(vm, args[0], "_call_impl", Module._call_impl):
        return calls.call(vm, attributes.load(vm, args[0], "_call_impl"), args[1:], kwargs)
    return module_call_impl(vm, args, kwargs)


@RULES.rule(Module._call_impl)
@passes_on
def module_call_impl(vm: Any, args: Any, kwargs: Any) -> Any:
    """Straight to ``forward`` where there are no hooks, else as PyTorch's own code does it."""
    module = args[0]
    forward = _forward_of(vm, module)
    if forward is MISSING:
        if _has_plain_hooks(vm, module):
            return calls.call(vm, _call_with_hooks, (module, args[1:], kwargs), {})
        return calls.inline(vm, Module._call_impl, args, kwargs)
    rec = vm.records.get(id(module))
    name = rec.source.name if rec is not None else type(module).__name__
    vm.module_stack[name] = (name, type(module))
    try:
        return calls.call(vm, forward, args[1:], kwargs)
    finally:
        vm.module_stack.pop(name, None)


def _unmade_buffers(module: torch.nn.Module) -> dict[int, Any]:
    """Copies of what ``deepcopy`` cannot copy, in the form that it takes them."""
    unmade = [b for b in module.buffers() if isinstance(b, torch.nn.UninitializedBuffer)]
    return {id(b): torch.nn.UninitializedBuffer(device=b.device, dtype=b.dtype) for b in unmade}


def _has_values(tensor: torch.Tensor) -> bool:
    """Not a fake, nor an ordinary tensor that was given the data of one."""
    try:
        tensor.detach().reshape(-1)[:1].tolist()
    except Exception:
        return False
    return not isinstance(tensor, FakeTensor)


@RULES.rule(LazyModuleMixin._infer_parameters)
def infer_parameters(vm: Any, args: Any, kwargs: Any) -> Any:
    """The first call of a lazy module makes its parameters: that happens for real, and the capture begins anew.

    A copy shows first whether the shapes are all that it takes, or the values of what it is given are needed as well.
    """
    module = args[1]
    if vm.records.get(id(module)) is None or vm.records[id(module)].attrs:
        return calls.inline(vm, LazyModuleMixin._infer_parameters, args, kwargs)
    vm.close_all(args, kwargs, DEEP)
    try:
        with unset_fake_temporarily():
            trial = copy.deepcopy(module, _unmade_buffers(module))
            LazyModuleMixin._infer_parameters(trial, trial, *args[2:], **kwargs)
            real = all(map(_has_values, (*trial.parameters(), *trial.buffers())))
    except Exception as error:
        raise Break("UNSUPPORTED_CALL", f"parameters of a lazy {type(module).__name__}: {error}") from None
    if not real:
        raise Break("UNSUPPORTED_CALL", f"parameters of a lazy {type(module).__name__} that are computed from its input")
    raise Restart(functools.partial(LazyModuleMixin._infer_parameters, *args, **kwargs))


@RULES.rule(Module.__setattr__)
def module_setattr(vm: Any, args: Any, kwargs: Any) -> Any:
    """Plain values go to the instance; tensors and modules as PyTorch's own code does it."""
    module, name, value = args
    rec = vm.records.get(id(module))
    plain = not issubclass(type(value), (torch.Tensor, Module))
    if plain:
        for space in _SPACES:
            table = attributes.instance_value(vm, module, rec, space)
            if table is not MISSING and _read(vm, table, name) is not MISSING:
                plain = False
                break
    if plain:
        attributes.store_default(vm, module, name, value)
        return None
    return _set_registered(vm, module, rec, name, value)


def _set_registered(vm: Any, module: Any, rec: Any, name: str, value: Any) -> Any:
    buffers = attributes.instance_value(vm, module, rec, "_buffers")
    if (
        issubclass(type(value), torch.Tensor)
        and not getattr(value, "_is_param", False)
        and buffers is not MISSING
        and _read(vm, buffers, name) is not MISSING
    ):
        operations.setitem(vm, buffers, name, value)
        vm.attr_memo.pop((id(module), name), None)
        return None
    return calls.inline(vm, Module.__setattr__, (module, name, value), {})


@RULES.rule(Module.train)
def module_train(vm: Any, args: Any, kwargs: Any) -> Any:
    return calls.inline(vm, Module.train, args, kwargs)


__all__ = ["types"]
