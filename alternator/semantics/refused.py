"""Functions in C that we know, and know not to be traceable: the reason is said in their own words."""

from __future__ import annotations

import _thread
import _tracemalloc
import gc
import io
import mmap
import os
import select
import socket
import sys
import time
import tracemalloc
import types
import weakref
from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter.tables import RULES, UNKNOWN_AS
from alternator.tensors.from_data import FromData


def _refuse(code: str, name: str, fn: Any, **info: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        raise Break(code, name, **info)

    if fn not in RULES:
        RULES.put(fn, rule)


for _name in ("time", "perf_counter", "monotonic", "process_time", "thread_time"):
    _refuse("TIME", f"time.{_name}()", getattr(time, _name), brings=FromData(("", True)))
    _refuse("TIME", f"time.{_name}_ns()", getattr(time, f"{_name}_ns"), brings=FromData(("", True)))
for _name in ("sleep", "localtime", "gmtime", "strftime", "ctime"):
    _refuse("TIME", f"time.{_name}()", getattr(time, _name))

# files, sockets, processes and the like: what they give is there, and what they do is done, at the time of the call
UNKNOWN_AS.update(dict.fromkeys(("posix", "_socket", "_ssl", "select", "_posixsubprocess", "fcntl", "termios", "_sqlite3"), "IO"))
UNKNOWN_AS.update(dict.fromkeys((io.IOBase.__base__, mmap.mmap, socket.socket, type(select.poll()), os.DirEntry), "IO"))
UNKNOWN_AS.update(dict.fromkeys((io.BytesIO, io.StringIO), "UNKNOWN_C_FUNCTION"))  # files in memory

_COUNTING: tuple[Any, ...] = (gc.get_objects, gc.get_count, sys.getallocatedblocks, weakref.getweakrefcount, weakref.getweakrefs)
_COUNTING += (_tracemalloc.get_traced_memory, _tracemalloc._get_traces, sys.getrefcount)
for _fn in _COUNTING:  # what is captured from then on would count: guards refer weakly to what they know
    _refuse("UNKNOWN_C_FUNCTION", f"{_fn.__module__}.{_fn.__name__}()", _fn, plainly="all")

_MODULES = {module.__name__: module for module in (gc, sys, weakref, tracemalloc)}
_BY_NAME: dict[str, Any] = {fn.__name__: fn for fn in _COUNTING} | {"take_snapshot": tracemalloc.take_snapshot}


def counts_objects(code: types.CodeType, namespace: dict[str, Any]) -> bool:
    """Whether code with these globals names a function that counts what the process holds.

    Where such code runs plainly, for whatever reason, nothing that it calls may be captured in between.
    """
    for name in code.co_names:
        fn = _BY_NAME.get(name)
        if fn is None:
            continue
        modules = [namespace.get(other, _MODULES.get(other)) for other in code.co_names]  # it may import them by itself
        spaces = [namespace, *[vars(module) for module in modules if type(module) is types.ModuleType]]
        if any(space.get(name) is fn for space in spaces):
            return True
    return False


_refuse("THREAD", "starting a thread", _thread.start_new_thread)
for _name in ("quantize_per_tensor", "quantize_per_tensor_dynamic", "quantize_per_channel", "_empty_affine_quantized"):
    _refuse("SPARSE", f"{_name}(), whose fake result is no quantized tensor", getattr(torch, _name))
