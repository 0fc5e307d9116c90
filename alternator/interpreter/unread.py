"""Writes to outside containers that nobody has read: what they hold is not read for that.

The stand-in holds only what was written, until somebody reads (then it is filled below that, see ``semantics/containers.py``);
effects are the writes alone.  So a list or a dict that the program adds to in each call is captured once.
"""

from __future__ import annotations

import collections
import operator
import types
from typing import Any

import torch

from alternator.provenance.keys import any_asks, special
from alternator.provenance.source import worded
from alternator.provenance.world import MISSING, SCALARS


def grow(vm: Any, target: Any) -> bool:
    """Whether items can be appended to a list as it stands."""
    rec = vm.records.get(id(target))
    if rec is None or rec.filled or type(rec.obj) is not list:
        return False
    if rec.snapshot is None:
        rec.snapshot, rec.overlaid = [], True
    return True


def store(vm: Any, target: Any, key: Any) -> bool:
    """Whether an item can be put into a dict as it stands: only of what was there under this key something is known.

    That it is there, or not, decides on the order of the keys; what it was goes with the write, so its end must not show.
    """
    rec = vm.records.get(id(target))
    if rec is None or rec.filled or type(rec.obj) is not dict or type(key) not in SCALARS or rec.source.access not in _HELD:
        return False
    if rec.overlaid and rec.snapshot is None or rec.space is not None or any_asks(rec.obj):
        return False
    if not dict.__contains__(target, key):
        old = rec.source.child("dictitem", key)
        if not dict.__contains__(rec.obj, key):
            old.guard("ABSENT")
        else:
            kind = type(dict.__getitem__(rec.obj, key))
            if kind not in _PLAIN:
                return False
            old.guard("TYPE", kind)
    rec.snapshot, rec.overlaid = [], True
    vm.attr_memo.clear()
    return True


def length(vm: Any, rec: Any) -> Any:
    """How long it is: a constant, unless that was seen to vary."""
    measure = _LENGTHS[special(type(rec.obj), "__len__")]
    count = measure(rec.obj)
    if length_varies(vm, rec):
        count = vm.world.admit(count, rec.source.child("call", measure))
    else:
        rec.source.guard("LEN", count)
    more = measure(rec.standin) if rec.overlaid else 0
    return vm.symbolic(operator.add, count, more) if more else count


def length_varies(vm: Any, rec: Any) -> bool:
    """Whether the length was seen to differ from capture to capture."""
    measure = _LENGTHS[special(type(rec.obj), "__len__")]
    name = rec.source.child("call", measure).name  # under which it is admitted, if it varies
    varies: bool = vm.dynamic.varies(measure(rec.obj), name, rec.source.static)
    return varies


@worded("{}[-1]")
def last(items: Any) -> Any:
    """The last item of a list; MISSING if there is none."""
    return list.__getitem__(items, -1) if type(items) is list and items else MISSING


def has_length(rec: Any) -> bool:
    """Whether ``length`` tells: what a dict holds may have been there before it was written."""
    found = special(type(rec.obj), "__len__")
    return type(found) is types.WrapperDescriptorType and found in _LENGTHS and (not rec.overlaid or type(rec.obj) is list)


_LENGTHS: dict[Any, Any] = {kind.__len__: kind.__len__ for kind in (list, dict, set, collections.deque)}
for _measure in _LENGTHS:
    worded("len({})")(_measure)
_PLAIN = SCALARS | {torch.Tensor}
_HELD = frozenset({"local", "dictitem", "index", "cell"})
"""How a dict is reached that is nobody's namespace."""
