"""Jumps, loops and pattern matching."""

from __future__ import annotations

from typing import Any

from alternator.interpreter import attributes, loops, operations, rests
from alternator.interpreter.links import finishes
from alternator.interpreter.lookahead import Ahead
from alternator.interpreter.opcode_table import op
from alternator.provenance.keys import has_special
from alternator.provenance.world import MISSING


@op("JUMP_FORWARD", "JUMP_BACKWARD_NO_INTERRUPT")
def jump(f: Any, i: Any) -> None:
    f.pc = i.target


@op("JUMP_BACKWARD")
def jump_backward(f: Any, i: Any) -> None:
    f.vm.step()
    f.pc = i.target


def _counted(handler: Any) -> Any:
    """The handler of a jump that closes a loop."""

    def jump_and_count(f: Any, i: Any) -> None:
        f.vm.step()
        handler(f, i)

    return jump_and_count


@op("POP_JUMP_FORWARD_IF_FALSE")
def pop_jump_if_false(f: Any, i: Any) -> None:
    if not f.vm.truth(f.stack.pop()):
        f.pc = i.target


@op("POP_JUMP_FORWARD_IF_TRUE")
def pop_jump_if_true(f: Any, i: Any) -> None:
    if f.vm.truth(f.stack.pop()):
        f.pc = i.target


@op("POP_JUMP_FORWARD_IF_NONE")
def pop_jump_if_none(f: Any, i: Any) -> None:
    if f.stack.pop() is None:
        f.pc = i.target


@op("POP_JUMP_FORWARD_IF_NOT_NONE")
def pop_jump_if_not_none(f: Any, i: Any) -> None:
    if f.stack.pop() is not None:
        f.pc = i.target


op("POP_JUMP_BACKWARD_IF_FALSE")(_counted(pop_jump_if_false))
op("POP_JUMP_BACKWARD_IF_TRUE")(_counted(pop_jump_if_true))
op("POP_JUMP_BACKWARD_IF_NONE")(_counted(pop_jump_if_none))
op("POP_JUMP_BACKWARD_IF_NOT_NONE")(_counted(pop_jump_if_not_none))


@op("JUMP_IF_TRUE_OR_POP")
def jump_if_true_or_pop(f: Any, i: Any) -> None:
    if f.vm.truth(f.stack[-1]):
        f.pc = i.target
    else:
        f.stack.pop()


@op("JUMP_IF_FALSE_OR_POP")
def jump_if_false_or_pop(f: Any, i: Any) -> None:
    if f.vm.truth(f.stack[-1]):
        f.stack.pop()
    else:
        f.pc = i.target


@op("GET_ITER")
def get_iter(f: Any, i: Any) -> None:
    obj, vm = f.stack[-1], f.vm
    kind = type(obj)
    made = loops.over(vm, obj)
    if made is not None:
        f.stack[-1] = made
        return
    if not has_special(kind, "__iter__") and not has_special(kind, "__getitem__"):
        raise vm.user_raise(TypeError(f"'{kind.__name__}' object is not iterable"))
    f.stack[-1] = operations.iterate(vm, obj)


@op("FOR_ITER")
@finishes(lambda space: (rests.of_loop, ()))
def for_iter(f: Any, i: Any) -> None:
    iterator = f.stack[-1]
    if issubclass(type(iterator), Ahead) and f.instrs[f.pc].opname == "STORE_FAST":
        value = iterator.take_unread()  # nothing is guarded if the loop's variable is not read
    else:
        value = operations.advance(f.vm, iterator)
    if value is MISSING:
        f.stack.pop()
        f.pc = i.target
    else:
        f.stack.append(value)


@op("GET_LEN")
def get_len(f: Any, i: Any) -> None:
    f.stack.append(f.vm.length(f.stack[-1]))


_SEQUENCE, _MAPPING = 1 << 5, 1 << 6
"""What patterns go by: flags of classes, of which the first base that has one decides."""


@op("MATCH_SEQUENCE")
def match_sequence(f: Any, i: Any) -> None:
    f.stack.append(bool(type(f.stack[-1]).__flags__ & _SEQUENCE))


@op("MATCH_MAPPING")
def match_mapping(f: Any, i: Any) -> None:
    f.stack.append(bool(type(f.stack[-1]).__flags__ & _MAPPING))


@op("MATCH_KEYS")
def match_keys(f: Any, i: Any) -> None:
    keys, subject, vm = f.stack[-1], f.stack[-2], f.vm
    values = []
    seen: set[Any] = set()
    get = vm.getattr(subject, "get") if keys else None
    for key in keys:
        if vm.native(set.__contains__, (seen, key)):
            raise vm.user_raise(ValueError(f"mapping pattern checks duplicate key ({vm.call(repr, (key,))})"))
        vm.native(set.add, (seen, key))
        value = vm.call(get, (key, MISSING))
        if value is MISSING:
            f.stack.append(None)
            return
        values.append(value)
    f.stack.append(tuple(values))


@op("MATCH_CLASS")
def match_class(f: Any, i: Any) -> None:
    names, cls, subject = f.stack.pop(), f.stack.pop(), f.stack.pop()
    vm, count = f.vm, i.arg
    if not vm.truth(vm.call(isinstance, (subject, cls))):
        f.stack.append(None)
        return
    values: list[Any] = []
    if count and cls.__flags__ & _MATCH_SELF and vm.world.class_attr(cls, "__match_args__") is MISSING:
        if count > 1:
            raise vm.user_raise(TypeError(f"{cls.__name__}() accepts 1 positional sub-pattern ({count} given)"))
        values.append(subject)
    elif count:
        names = (*_positional(vm, cls, count), *names)
    f.stack.append(_attributes(vm, subject, cls, names, values))


_MATCH_SELF = 1 << 22
"""The flag of ``int``, ``list`` ... and of the classes that are made of them."""


def _positional(vm: Any, cls: type, count: int) -> Any:
    names = vm.getattr(cls, "__match_args__") if vm.world.class_attr(cls, "__match_args__") is not MISSING else ()
    if type(names) is not tuple:
        kind = attributes.type_of(vm, names).__name__
        raise vm.user_raise(TypeError(f"{cls.__name__}.__match_args__ must be a tuple (got {kind})"))
    if len(names) < count:
        plural = "s" if len(names) != 1 else ""
        raise vm.user_raise(TypeError(f"{cls.__name__}() accepts {len(names)} positional sub-pattern{plural} ({count} given)"))
    return names[:count]


def _attributes(vm: Any, subject: Any, cls: type, names: Any, values: list[Any]) -> Any:
    """The values behind those that there are; None, no match, if the subject has not all of the attributes."""
    for at, name in enumerate(names):
        if type(name) is not str:
            kind = attributes.type_of(vm, name).__name__
            raise vm.user_raise(TypeError(f"__match_args__ elements must be strings (got {kind})"))
        if name in names[:at]:
            raise vm.user_raise(TypeError(f"{cls.__name__}() got multiple sub-patterns for attribute {name!r}"))
        found = vm.call(getattr, (subject, name, MISSING))
        if found is MISSING:
            return None
        values.append(found)
    return tuple(values)
