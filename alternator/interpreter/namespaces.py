"""What a class has itself, and an object that the program makes: ``__dict__``. And namespaces whose builtins are replaced."""

from __future__ import annotations

import types
from typing import Any

from alternator.exc import Break
from alternator.provenance.world import class_space, instance_space, is_heap


def namespace(vm: Any, cls: type, value: Any) -> Any:
    """A view to look at, like ``value``, which is the real one; its names and values are guarded (builtin classes stay)."""
    made = value
    if is_heap(cls):
        rec = vm.records.get(id(cls))
        if rec is not None and rec.attrs:
            raise Break("UNSUPPORTED_ATTRIBUTE", "__dict__ of a class that was written to")
        names = tuple(value)
        vm.world.tree.object(cls).guard_predicate(lambda kind: tuple(class_space(kind)) == names, "names in it")
        items = {name: vm.world.class_value(cls, name, vm.world.class_attr(cls, name)) for name in names}
        made = types.MappingProxyType(items)
    vm.states.setdefault("namespaces", {})[id(made)] = made, cls
    return made


def owner_of(vm: Any, view: Any) -> type | None:
    """The class whose namespace this is; None: it is another dict's view."""
    found = vm.states.get("namespaces", {}).get(id(view))
    return None if found is None else found[1]


def keep_space(vm: Any, obj: Any, space: Any) -> Any:
    """The ``__dict__`` of an object that the program has made, and now has in hand: generated code takes it from that object."""
    vm.states.setdefault("spaces", {})[id(space)] = space, obj
    return space


def holder_of(vm: Any, space: Any) -> Any:
    """The object that was made with this ``__dict__``, or None."""
    found = vm.states.get("spaces", {}).get(id(space))
    return found[1] if found is not None and instance_space(found[1]) is space else None


BUILTINS = "__builtins__"


def builtins_are_replaced() -> Break:
    """Functions that are made of a namespace take its builtins from there, and so would all pieces of its code."""
    return Break("UNSUPPORTED_EFFECT", "a namespace that gets other builtins", plainly=True)


def has_other_builtins(func: types.FunctionType) -> bool:
    """Whether functions that are made of its namespace would find other builtins than it does."""
    found: Any = func.__globals__.get(BUILTINS)
    own = func.__builtins__  # type: ignore[attr-defined]
    return found is not None and found is not own and getattr(found, "__dict__", None) is not own
