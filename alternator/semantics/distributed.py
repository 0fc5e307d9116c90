"""``torch.distributed``: what is asked of process groups is guarded, and collectives are operators of the graph."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist

from alternator.exc import Break
from alternator.interpreter import attributes
from alternator.interpreter.tables import GETATTR, RULES

_QUESTIONS = "get_rank get_world_size get_backend get_process_group_ranks get_group_rank get_global_rank is_initialized"
_ATTRIBUTES = ("group_name", "group_desc")
_METHODS = ("rank", "size", "name")


def _holds(ask: Any, answer: Any) -> bool:
    """Whether the answer is the same now; a group that is gone may raise anything."""
    try:
        return bool(ask() == answer)
    except Exception:
        return False


def _asked(fn: Any) -> Any:
    """A question about a group of processes, by default about all: answered at once, and guarded."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        group, rest = (args[0], args[1:]) if args else (None, ())
        if not args and "group" in kwargs:
            group, kwargs = kwargs["group"], {key: value for key, value in kwargs.items() if key != "group"}
        if any(type(value) is not int for value in (*rest, *kwargs.values())):
            raise Break("UNSUPPORTED_CALL", f"torch.distributed.{fn.__name__}() of such arguments")
        given = () if fn is dist.is_initialized else (group,)
        shown = vm.plain(lambda: fn(*given, *rest, **kwargs))
        answer = copy.copy(shown)  # the program may write to a list of ranks
        rec = vm.records.get(id(group))
        if rec is not None:
            rec.source.guard_predicate(
                lambda value: _holds(lambda: fn(value, *rest, **kwargs), answer), f"{fn.__name__}() is {answer}"
            )
        elif group is None:
            same = lambda: _holds(lambda: fn(*given, *rest, **kwargs), answer)  # noqa: E731
            fact = ("PY", (), same, f"torch.distributed.{fn.__name__}() is {answer}")
            if vm.states.setdefault((fn, rest, tuple(kwargs)), fact) is fact:
                vm.world.tree.tail.append(fact)
        else:
            raise Break("UNSUPPORTED_CALL", f"torch.distributed.{fn.__name__}() of a {type(group).__name__}")
        return shown

    return rule


def _group_attr(vm: Any, group: Any, name: str) -> Any:
    """What a group of processes is called, and its place and size, which do not change; guarded all the same."""
    rec = vm.records.get(id(group))
    if rec is None or name not in _ATTRIBUTES and name not in _METHODS:
        return attributes.load_ordinary(vm, group, name)
    if name in _ATTRIBUTES:
        answer = vm.plain(getattr, group, name)
        rec.source.guard_predicate(lambda value: _holds(lambda: getattr(value, name), answer), f".{name} is {answer}")
        return answer

    def method() -> Any:
        return answer

    answer = vm.plain(getattr(group, name))
    rec.source.guard_predicate(lambda value: _holds(lambda: getattr(value, name)(), answer), f".{name}() is {answer}")
    return method


def _collective(fn: Any) -> Any:
    """A collective that writes into its arguments: torch's own functional form of it, and a copy."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        from torch.distributed._functional_collectives import traceable_collective_remaps

        if any(value is True for value in args) or kwargs.get("async_op"):
            raise Break("UNSUPPORTED_CALL", f"torch.distributed.{fn.__name__}(async_op=True)")
        values = [*args, *kwargs.values()]
        tensors = [one for value in values for one in (vm.close(value) if type(value) is list else [value])]
        if any(issubclass(type(value), torch.Tensor) and value.requires_grad for value in tensors):
            raise Break("UNSUPPORTED_CALL", f"torch.distributed.{fn.__name__}() of a tensor that requires a gradient")
        given = tuple([_by_name(value) for value in args])
        return vm.call(traceable_collective_remaps[fn], given, {key: _by_name(value) for key, value in kwargs.items()})

    return rule


def _by_name(value: Any) -> Any:
    """What the operators call a reduction."""
    if type(value) is not dist.ReduceOp.RedOpType:
        return value
    from torch.distributed._functional_collectives import REDUCE_OP_TO_STR

    if value not in REDUCE_OP_TO_STR:
        raise Break("UNSUPPORTED_CALL", f"a collective with {value}")
    return REDUCE_OP_TO_STR[value]


if dist.is_available():
    for _name in _QUESTIONS.split():
        RULES.put(getattr(dist, _name), _asked(getattr(dist, _name)))
    for _name in ("all_reduce", "all_gather_into_tensor", "reduce_scatter_tensor", "all_gather", "all_to_all_single"):
        RULES.put(getattr(dist, _name), _collective(getattr(dist, _name)))
    GETATTR.put(dist.ProcessGroup, _group_attr)
