"""What a class has itself: ``cls.__dict__``."""

from __future__ import annotations

import types
from typing import Any

from alternator.exc import Break
from alternator.provenance.world import class_space


def namespace(vm: Any, cls: type, value: Any) -> Any:
    """A view to look at, like ``value``, which is the real one; its names and values are guarded (builtin classes stay)."""
    made = value
    if cls.__flags__ & 0x200:
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
