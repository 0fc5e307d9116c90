"""Text of values: ``str``, ``repr``, ``format``, ``%``. A tensor's is made after the graph; that of an address is a break."""

from __future__ import annotations

import enum
import operator
import re
import types
from typing import Any

import torch

from alternator.exc import Break
from alternator.interpreter import attributes, calls, operations, pending
from alternator.interpreter.identity import TracedId
from alternator.interpreter.pending import PendingText, Shown, ShownNumber, ShownSizes
from alternator.interpreter.tables import DEEP, REBUILD, RULES
from alternator.provenance import storage
from alternator.provenance.world import SCALARS
from alternator.tensors.graph import SYMBOLIC

_PLAIN = SCALARS | frozenset(
    {
        type(Ellipsis),
        type(NotImplemented),
        type,
        range,
        slice,
        bytearray,
        types.ModuleType,
    }
    | {torch.dtype, torch.device, torch.layout, torch.memory_format, types.GenericAlias, types.UnionType}
    | {torch._C.FunctionSchema, torch._C.Argument}
)
_CONTAINERS = (list, tuple, set, frozenset, dict)


def check_shown(vm: Any, value: Any, depth: int = 0) -> Any:
    """The value, with symbolic numbers replaced by what they are, if its text can be made while tracing."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is torch.Size:
        return torch.Size([vm.symbolic(int, size) if issubclass(type(size), SYMBOLIC) else size for size in value])
    if issubclass(type(value), SYMBOLIC):
        return vm.symbolic(bool if kind is torch.SymBool else int if kind is torch.SymInt else float, value)
    if issubclass(type(value), torch.Tensor):
        raise Break("DATA_DEPENDENT_VALUE", "the text of a tensor")
    if kind is TracedId:
        raise Break("IDENTITY", "the text of an address")
    if kind in attributes.KNOWN:
        raise Break("DATA_DEPENDENT_VALUE", "the text of an array")
    if issubclass(type(value), (type, enum.Enum)) or depth > 20:
        return value
    found = [vm.world.class_attr(kind, name) for name in ("__repr__", "__str__", "__format__")]
    if any(type(one) is types.FunctionType for one in found[:2]):
        return value  # its own code says what is shown: interpreted
    if issubclass(type(value), BaseException):
        changed = _check_items(vm, storage.exception_args(value), depth)
        if changed is not None and id(value) not in vm.records:
            storage.set_exception_args(value, tuple(changed))
        return value
    vm.fill_value(value)
    if issubclass(type(value), dict):
        changed = _check_items(vm, list(dict.items(value)), depth)
        return value if changed is None or kind is not dict else dict(changed)
    if issubclass(type(value), _CONTAINERS):
        changed = _check_items(vm, storage.items(value), depth)
        return value if changed is None or kind not in (list, tuple) else kind(changed)
    if (found[0] is object.__repr__ or kind in _WITH_ADDRESS) and not _address_is_known(vm, id(value)):
        raise Break("IDENTITY", f"the address of a {kind.__name__} in its text")
    attributes.check_readable(vm, value)
    return value


def _address_is_known(vm: Any, address: int) -> bool:
    """Whether the object there is one from outside that is relied on by its identity; something that hangs on a namespace, a
    class or the like is from now on."""
    rec = vm.records.get(address)
    if rec is None or rec.standin is not rec.obj or rec.source.root().access == "local":
        return rec is not None and rec.standin is rec.obj and "IS" in rec.source.guards
    if "IS" not in rec.source.guards and rec.source.guards:
        rec.source.guard("IS", rec.obj)
    return True


_ADDRESS = re.compile(r"\bat 0x([0-9a-f]{4,})")


def made_text(vm: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Text that native code makes: no address may be in it, however deep, that is another one in the next call."""
    result = calls.run_pure(vm, fn, DEEP, args, kwargs)
    if type(result) is str and "at 0x" in result:
        given = " ".join([arg for arg in (*args, *kwargs.values()) if type(arg) is str])
        for digits in _ADDRESS.findall(result):
            if digits not in given and not _address_is_known(vm, int(digits, 16)):
                raise Break("IDENTITY", "an address in a text")
    return result


_WITH_ADDRESS = frozenset(
    {types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType, types.CellType, types.FrameType}
)


def _check_items(vm: Any, items: Any, depth: int) -> list[Any] | None:
    """The items, if one of them had to be replaced."""
    shown = [check_shown(vm, item, depth + 1) for item in items]
    return shown if any(a is not b for a, b in zip(shown, items)) else None


def _with_value(fn: Any) -> None:
    """A function whose first argument is what is shown."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if len(args) > 1 and fn is str:
            return calls.run_pure(vm, fn, DEEP, args, kwargs)
        if args and not kwargs and pending.is_pending(vm, args[0]):
            if type(args[0]) is PendingText and fn not in (repr, ascii) and args[1:] in ((), ("",)):
                return args[0]
            return pending.text(vm, fn, args)
        return made_text(vm, fn, (*(check_shown(vm, a) for a in args[:1]), *args[1:]), kwargs)

    RULES.put(fn, rule)


for _fn in (str, repr, ascii, format):
    _with_value(_fn)


@RULES.rule(str.format)
def rule_str_format(vm: Any, args: Any, kwargs: Any) -> Any:
    if any(pending.is_pending(vm, value) for value in (*args, *kwargs.values())):
        return pending.text(vm, str.format, args, kwargs)
    shown = [check_shown(vm, value) for value in args]
    return made_text(vm, str.format, tuple(shown), {name: check_shown(vm, value) for name, value in kwargs.items()})


def percent(vm: Any, left: Any, right: Any) -> Any:
    """``text % values``"""
    if pending.is_pending(vm, right):
        return pending.text(vm, operator.mod, (left, right))
    return made_text(vm, operator.mod, (left, check_shown(vm, right)), {})


operations.TEXT_OPERATIONS.append(percent)


@RULES.rule(object.__str__)
def rule_object_str(vm: Any, args: Any, kwargs: Any) -> Any:
    return calls.call(vm, repr, args, kwargs)


@RULES.rule(object.__repr__)
def rule_object_repr(vm: Any, args: Any, kwargs: Any) -> Any:
    if _address_is_known(vm, id(args[0])):
        return vm.plain(object.__repr__, *args)
    raise Break("IDENTITY", f"the address of a {type(args[0]).__name__} in its text")


@REBUILD.rule(PendingText)
def rebuild_text(b: Any, value: PendingText) -> str:
    words = [b.value(arg) for arg in value.args] + [f"**{{{name!r}: {b.value(arg)}}}" for name, arg in value.kwargs.items()]
    return str(b.assign(f"{b.constant(value.fn, 'text')}({', '.join(words)})"))


@REBUILD.rule(Shown, ShownNumber, ShownSizes)
def rebuild_shown(b: Any, value: Any) -> str:
    return str(b.value(value.value()))


attributes.show_as(PendingText, str)
