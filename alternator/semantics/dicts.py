"""``dict()`` and the methods of dicts that have rules."""

from __future__ import annotations

import collections
from typing import Any

from alternator.interpreter import operations
from alternator.interpreter.collecting import collect
from alternator.interpreter.identity import hashable
from alternator.interpreter.opcodes.build import is_taken_whole, mapping_items, put_item
from alternator.interpreter.tables import RULES, SHALLOW
from alternator.provenance.world import MISSING, is_heap


@RULES.rule(dict)
def rule_dict(vm: Any, args: Any, kwargs: Any) -> Any:
    made: dict[Any, Any] = {}
    update_dict(vm, made, args, kwargs)
    return made


def update_dict(vm: Any, target: Any, args: Any, kwargs: Any) -> None:
    if len(args) > 1:
        raise vm.user_raise(TypeError(f"dict expected at most 1 argument, got {len(args)}"))
    if args:
        source = args[0]
        if is_taken_whole(vm, source):  # C code sees when a key's __eq__ changes it meanwhile
            vm.native(dict.update, (target, vm.close(source, SHALLOW)))
        elif _has_keys(vm, source):
            for key, value in mapping_items(vm, source):
                put_item(vm, target, key, value)
        else:
            for at, pair in enumerate(operations.unpack(vm, source)):
                put_item(vm, target, *_pair(vm, at, pair))
    dict.update(target, kwargs)


def _has_keys(vm: Any, source: Any) -> bool:
    """It is asked for the method before it is asked for it to call it."""
    if is_heap(type(source)):
        return vm.call(getattr, (source, "keys", MISSING)) is not MISSING
    return hasattr(type(source), "keys")


def _pair(vm: Any, at: int, value: Any) -> tuple[Any, Any]:
    found = tuple(collect(vm, value))
    if len(found) != 2:
        raise vm.user_raise(ValueError(f"dictionary update sequence element #{at} has length {len(found)}; 2 is required"))
    return found


@RULES.rule(dict.update)
def rule_dict_update(vm: Any, args: Any, kwargs: Any) -> Any:
    operations.writable(vm, args[0])
    vm.ticks += 1
    if issubclass(type(args[0]), collections.OrderedDict):
        merged: dict[Any, Any] = {}
        update_dict(vm, merged, args[1:], kwargs)
        for key, value in merged.items():
            operations.setitem(vm, args[0], key, value)
        return
    update_dict(vm, args[0], args[1:], kwargs)


@RULES.rule(dict.get)
def rule_dict_get(vm: Any, args: Any, kwargs: Any) -> Any:
    default = args[2] if len(args) > 2 else None
    rec = vm.records.get(id(args[0]))
    if rec is not None and not rec.filled and rec.partial is not None:
        value = operations.read_key(vm, rec, args[1])
        return default if value is MISSING else value
    vm.close(args[1])
    return vm.native(dict.get, (vm.fill_value(args[0]), hashable(vm, args[1]), default))
