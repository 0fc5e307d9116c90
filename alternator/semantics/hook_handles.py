"""Handles of hooks: numbers that count up with each hook of the process, which no captured code may rely on.

``RemovableHandle`` gives each handle the next number, under which the hook lies in its dict.  While tracing, a stand-in is the
number; generated code takes the real ones, in order.  So code that registers hooks and removes them again is captured once.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch.utils.hooks import RemovableHandle

from alternator.exc import Break
from alternator.interpreter import attributes
from alternator.interpreter.tables import REBUILD, RULES

_FIRST = 1 << 62


def _shown(self: Any, *args: Any) -> Any:
    """Whatever would tell which number it is."""
    raise Break("UNSUPPORTED_OPERATION", "the number of a hook's handle is looked at")


RULES.put(_shown, lambda vm, args, kwargs: _shown(*args))


class HookNumber(int):
    """Stands for the number of a handle: a key like any int, and no more."""

    __repr__ = __str__ = __format__ = __index__ = __int__ = __float__ = __bool__ = _shown
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __rmod__ = __floordiv__ = __truediv__ = _shown
    __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __abs__ = __and__ = __or__ = __xor__ = _shown


attributes.show_as(HookNumber, int)


def _begin(handle: Any, hooks_dict: Any, *, extra_dict: Any = None) -> None:
    """Polyfill for ``RemovableHandle.__init__``: interpreted."""
    handle.hooks_dict_ref = weakref.ref(hooks_dict)
    handle.id = _next_number()
    handle.extra_dict_ref = ()
    if isinstance(extra_dict, dict):
        handle.extra_dict_ref = (weakref.ref(extra_dict),)
    elif isinstance(extra_dict, list):
        handle.extra_dict_ref = tuple(weakref.ref(d) for d in extra_dict)


@RULES.rule(RemovableHandle.__init__)
def _init(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.call(_begin, args, kwargs)


def _next_number() -> int:
    """What ``RemovableHandle`` takes for the next handle."""
    number = RemovableHandle.next_id
    RemovableHandle.next_id += 1
    return number


@RULES.rule(_next_number)
def _number(vm: Any, args: Any, kwargs: Any) -> HookNumber:
    waiting = vm.states.setdefault("numbers of hooks", [])
    count = vm.states["count of hooks"] = vm.states.get("count of hooks", 0) + 1
    number = HookNumber(_FIRST + count)
    waiting.append(number)
    vm.world.effects.append(("call", _keep, (number,), {}))
    vm.ticks += 1
    return number


def _keep(number: int) -> None:
    """Mentioning the number has taken it."""


@REBUILD.rule(HookNumber)
def rebuild_number(b: Any, value: HookNumber) -> str:
    """Takes the number, and those that come before it."""
    waiting = b.vm.states["numbers of hooks"]
    name = ""
    while not name:
        number = waiting.pop(0)
        made = b.assign(f"{b.constant(_next_number, 'next_number')}()", "i")
        b.register(number, made)
        name = made if number is value else ""
    return name
