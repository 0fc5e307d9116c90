"""Steps of PyTorch's optimizers: their state is made before they are captured, and numbers in it are as exact as Python's.

While something is being compiled these functions read no values of tensors, but compute with the tensors.  Python's numbers have
64 bits, so that is what these tensors are given: ``1 - beta2 ** step`` of 32 bits is wrong in its fourth digit.
"""

from __future__ import annotations

import collections
import functools
from typing import Any, Callable

import torch
from torch.optim import _adafactor, asgd, optimizer, radam

from alternator.exc import Break, Restart
from alternator.interpreter import calls
from alternator.interpreter.tables import RULES
from alternator.provenance.changes import has_changed

# ---- state is made for real


def _makes_state(fn: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        """The first step would be another graph than all that follow: instead, state is made for real, and the capture begins
        anew."""
        owner = args[0]
        lists = len(args) - 2
        if type(owner) in _OPTIMIZERS and not kwargs and all(type(given) is list for given in args[2:]) and _can_begin(vm, owner):
            tried = vm.root_state.setdefault("initialized", set())
            if id(owner) not in tried:  # by another one that lived there: then its first step is captured as it is
                tried.add(id(owner))
                raise Restart(functools.partial(_make_state, fn, owner, lists))
        return calls.inline(vm, fn, args, kwargs)

    RULES.put(fn, rule)


def _can_begin(vm: Any, owner: Any) -> bool:
    """State is missing; the program certainly comes here; and what state is made of is now as it will be then."""
    space = object.__getattribute__(owner, "__dict__")
    groups, state = space.get("param_groups"), space.get("state")
    if vm.records.get(id(owner)) is None or type(groups) is not list or type(state) is not collections.defaultdict:
        return False
    parameters = [p for group in groups for p in group["params"]]
    if any(type(p) not in (torch.nn.Parameter, torch.Tensor) for p in parameters):
        return False
    if all(p.grad is None or state.get(p) for p in parameters):
        return False
    if vm.fakes.watch.may_fail or vm.states.keys() & {"checks", "expected"}:
        return False
    for effect in vm.world.effects:
        if (
            effect[0] == "call"
            or effect[0] == "attr"
            and (effect[1].obj is owner and effect[2] in space or _is_tensor(effect[1]))
        ):
            return False
    seen = [vm.records.get(id(one)) for one in (groups, state, *groups, *(group["params"] for group in groups))]
    return not any(rec is not None and has_changed(rec) for rec in seen)


def _is_tensor(rec: Any) -> bool:
    return issubclass(type(rec.obj), torch.Tensor)


def _make_state(fn: Callable[..., Any], owner: Any, lists: int) -> None:
    """Whatever it raises, it raises again where the program comes there."""
    with torch.no_grad():
        try:
            for group in owner.param_groups:
                fn(owner, group, *([] for _ in range(lists)))
        except Exception:
            return


def _init_group_of(cls: Any) -> Any:
    found = cls._init_group
    return getattr(found, "_torchdynamo_orig_callable", found)  # the in-tree front-end puts a mark on it


_OPTIMIZERS = frozenset(
    cls
    for cls in vars(torch.optim).values()
    if isinstance(cls, type) and hasattr(cls, "_init_group") and cls is not torch.optim.SGD
)
"""Those that make their state in front of their first step, all of it.  Classes of the program's may do something else."""

for _fn in {_init_group_of(_cls) for _cls in _OPTIMIZERS}:
    _makes_state(_fn)


# ---- gradients are dropped


def _dropping_gradients(fn: Any, polyfill: Any, otherwise: Any) -> None:
    """Whether there is a gradient is not asked, and so not relied on: what comes before would be captured twice, for the first
    step and for all others.  Gradients that are kept, and set to zero, are ``otherwise``."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        flags = (*args[1:], *kwargs.values())
        if len(args) and flags in ((), (True,)) and kwargs.keys() <= {"set_to_none"} and all(flag is True for flag in flags):
            return calls.call(vm, polyfill, (args[0],), {})
        return otherwise(vm, args, kwargs)

    RULES.put(fn, rule)


def _without_gradients(owner: Any) -> None:
    """Polyfill."""
    for group in owner.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _module_without_gradients(module: Any) -> None:
    """Polyfill.  (A replica of ``DataParallel`` has no parameters, and warns; those are not compiled.)"""
    for parameter in module.parameters():
        parameter.grad = None


def _disabled(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("TORCH_DISABLED", "Optimizer.zero_grad")


def _inlined(vm: Any, args: Any, kwargs: Any) -> Any:
    return calls.inline(vm, torch.nn.Module.zero_grad, args, kwargs)


_dropping_gradients(optimizer.Optimizer.zero_grad, _without_gradients, _disabled)
_dropping_gradients(torch.nn.Module.zero_grad, _module_without_gradients, _inlined)

# ---- numbers


@RULES.rule(optimizer._get_value)
def get_value(vm: Any, args: Any, kwargs: Any) -> Any:
    """What the program would have as a number, as a tensor."""
    value = args[0]
    if not issubclass(type(value), torch.Tensor) or not value.dtype.is_floating_point:
        return value
    if value.requires_grad:
        value = vm.call(torch.Tensor.detach, (value,))
    return vm.call(torch.Tensor.to, (value, torch.float64))


_WIDE = (torch.float32, torch.float64)
"""Where a number in a tensor is not rounded in front of an operation more than one of Python's is."""


def _computing_numbers(first: int, *functions: Callable[..., Any]) -> None:
    """Functions that branch on numbers in tensors, those in the lists from ``first`` on, unless they are told not to: these are
    given tensors of 64 bits."""

    def rule(vm: Any, args: Any, kwargs: Any, fn: Any) -> Any:
        exact = all(parameter.dtype in _WIDE for parameter in vm.close(args[0]))
        if not exact or kwargs.get("capturable") is not False:
            return calls.inline(vm, fn, args, kwargs)
        return calls.call(vm, _with_numbers_in_tensors, (fn, args[:first], args[first:], kwargs), {})

    for fn in functions:
        RULES.put(fn, functools.partial(rule, fn=fn))


def _with_numbers_in_tensors(step: Any, lists: Any, numbers: Any, options: Any) -> None:
    """Polyfill."""
    wide = [[number.to(torch.float64) for number in one] for one in numbers]
    step(*lists, *wide, **{**options, "capturable": True})
    for one, results in zip(numbers, wide):
        for number, result in zip(one, results):
            number.copy_(result)


_computing_numbers(4, radam._single_tensor_radam, radam._multi_tensor_radam)
_computing_numbers(3, asgd._single_tensor_asgd, asgd._multi_tensor_asgd)


def _reading_numbers(*functions: Callable[..., Any]) -> None:
    """Functions that read a number of each tensor, to decide on it in Python: they run plainly, and are not cut into pieces of a
    few operations each."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break("DATA_DEPENDENT_VALUE", "the step of an optimizer that reads norms of its parameters")

    for fn in functions:
        RULES.put(fn, rule)


_reading_numbers(_adafactor._single_tensor_adafactor, _adafactor._multi_tensor_adafactor)


def _fused(vm: Any, args: Any, kwargs: Any) -> Any:
    raise Break("UNSUPPORTED_CALL", "the fused step of an optimizer, which AOTAutograd does not take")


for _name in dir(torch._C._VariableFunctions):
    if _name.startswith("_fused_ad") or _name == "_fused_sgd_":
        RULES.put(getattr(torch._C._VariableFunctions, _name), _fused)
