"""Functions in C that we know, and know not to be traceable: the reason is said in their own words."""

from __future__ import annotations

import _thread
import gc
import sys
import time
import weakref
from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter.tables import INSTANCE_CALLS, RULES


def _refuse(code: str, name: str, fn: Any, **info: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break(code, name, **info)

    if fn not in RULES:
        RULES.put(fn, rule)


for _name in ("time", "perf_counter", "monotonic", "process_time", "thread_time"):
    _refuse("TIME", f"time.{_name}()", getattr(time, _name))
    _refuse("TIME", f"time.{_name}_ns()", getattr(time, f"{_name}_ns"))
for _name in ("sleep", "localtime", "gmtime", "strftime", "ctime"):
    _refuse("TIME", f"time.{_name}()", getattr(time, _name))

_COUNTING = (gc.get_objects, gc.get_count, sys.getallocatedblocks, weakref.getweakrefcount, weakref.getweakrefs)
for _fn in _COUNTING:  # what is captured from then on would count: guards refer weakly to what they know
    _refuse("UNKNOWN_C_FUNCTION", f"{_fn.__module__}.{_fn.__name__}()", _fn, plainly="all")

_refuse("THREAD", "starting a thread", _thread.start_new_thread)


def _refuse_outside(code: str, name: str, method: Any) -> None:
    """A method of objects that captured code may make and use, but not reach out to."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if id(args[0]) in vm.records:
            raise Break(code, name)
        return vm.plain(lambda: method(*args, **kwargs))

    RULES.put(method, rule)


for _lock in (_thread.LockType, _thread.RLock):
    for _name in ("acquire", "release", "__enter__", "__exit__", "locked"):
        if _name in vars(_lock):
            _refuse_outside("THREAD", f"{_name}() of a lock", vars(_lock)[_name])


@INSTANCE_CALLS.rule(torch.jit.ScriptFunction)
def call_script_function(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    raise Break("JIT", obj.name)
