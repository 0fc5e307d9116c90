"""Locks from outside: taking one is a break, since what it protects must be read behind that; giving it back is an effect.

So the piece that begins where a lock was taken checks its guards, runs its graph and does its effects under the lock, and what
the program does afterwards is part of it: then the lock is held a little longer.  Nobody can tell, as long as nothing in
the graph waits for somebody else: with operators of torch alone it does not.
"""

from __future__ import annotations

import _thread
import re
import types
from typing import Any

import torch

from alternator.exc import Break, Restart
from alternator.interpreter.tables import RULES

_Lock, _RLock = _thread.LockType, _thread.RLock
_AT_ITS_PLACE = "locks are given back at their place"
_RELEASED = "locks given back"
_NAMES = {
    "take": ("acquire", "acquire_lock", "__enter__"),
    "give back": ("release", "release_lock", "__exit__"),
    "look": ("locked", "locked_lock", "_recursion_count", "_release_save", "_acquire_restore", "_at_fork_reinit"),
}


def depth_of(lock: Any) -> int:
    """How often a lock can be given back by this thread now."""
    if type(lock) is _Lock:
        return int(lock.locked())
    if not lock._is_owned():
        return 0
    found = re.search(r"count=(\d+)", repr(lock))
    return int(found[1]) if found is not None else 0


class _Holds:
    """Whether a lock can be given back so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, lock: Any) -> bool:
        return depth_of(lock) >= self.times


def _taking(method: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if id(args[0]) in vm.records:
            raise Break("THREAD", f"{method.__name__}() of a lock")
        return vm.plain(lambda: method(*args, **kwargs))

    RULES.put(method, rule)


def _giving_back(method: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        lock = args[0]
        rec = vm.records.get(id(lock))
        if rec is None:
            return vm.plain(lambda: method(*args, **kwargs))
        released = vm.states.setdefault(_RELEASED, {})
        times = released.get(id(lock), 0) + 1
        wrong = kwargs or len(args) > 1 and method.__name__ != "__exit__"
        if wrong or vm.root_state.get(_AT_ITS_PLACE) or depth_of(rec.obj) < times:
            raise Break("THREAD", f"{method.__name__}() of a lock")
        released[id(lock)] = times
        rec.source.guard("TYPE", type(lock))
        rec.source.guard_predicate(_Holds(times), f"held {times} times")
        vm.compared.add(type(lock))  # so that two of them are two
        vm.ticks += 1
        vm.world.effects.append(("call", type(lock).release, (lock,), {}))
        return None

    RULES.put(method, rule)


for _kind in (_Lock, _RLock):
    for _name in (*_NAMES["take"], *_NAMES["look"]):
        if _name in vars(_kind):
            _taking(vars(_kind)[_name])
    for _name in _NAMES["give back"]:
        if _name in vars(_kind):
            _giving_back(vars(_kind)[_name])


@RULES.rule(_RLock._is_owned)  # type: ignore[attr-defined]
def rule_is_owned(vm: Any, args: Any, kwargs: Any) -> Any:
    """What a condition asks before it notifies anybody."""
    rec = vm.records.get(id(args[0]))
    if rec is None:
        return vm.plain(lambda: _RLock._is_owned(*args, **kwargs))  # type: ignore[attr-defined]
    times = vm.states.get(_RELEASED, {}).get(id(args[0]), 0) + 1
    if depth_of(rec.obj) < times:
        raise Break("THREAD", "_is_owned() of a lock that is not held")
    rec.source.guard("TYPE", _RLock)
    rec.source.guard_predicate(_Holds(times), f"held {times} times")
    return True


def check_released(vm: Any, graph: torch.fx.Graph, can_run_again: bool) -> None:
    """Locks that are given back behind the graph are so whatever it raises, and it waits for nobody; else the capture begins
    anew, and ends where the program gives one back."""
    if vm.states.get(_RELEASED) and not (can_run_again and all(map(_waits_for_nobody, graph.nodes))):
        raise Restart(lambda: vm.root_state.__setitem__(_AT_ITS_PLACE, True))


def _waits_for_nobody(node: torch.fx.Node) -> bool:
    """An operation of torch, which runs no code of anybody else's."""
    if node.op != "call_function":
        return node.op != "call_module"
    target: Any = node.target
    if issubclass(type(target), (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return str(target).startswith(("aten.", "prims."))
    if type(target) in (types.MethodDescriptorType, types.WrapperDescriptorType):
        return True
    if type(target) not in (types.FunctionType, types.BuiltinFunctionType):
        return False
    module = target.__module__
    return module is None or module.split(".")[0] in _TRUSTED and not module.startswith(_ELSEWHERE)


_TRUSTED = frozenset({"torch", "alternator", "_operator", "operator", "math", "builtins"})
_ELSEWHERE = ("torch.distributed", "torch._higher_order_ops", "torch.utils", "torch.library")
