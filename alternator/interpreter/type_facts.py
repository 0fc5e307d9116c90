"""What the interpreter looks up once per class."""

from __future__ import annotations

import types
from typing import Any

from alternator.provenance.world import MISSING


class TypeFacts:
    """What is looked up once per class: overridden attribute protocol, whether instances have a ``__dict__``."""

    __slots__ = ("getattribute", "getattr", "setattr", "delattr", "has_dict", "writer")

    def __init__(self, vm: Any, cls: type) -> None:
        attr = vm.world.class_attr
        found = attr(cls, "__getattribute__")
        self.getattribute = None if found is MISSING or type(found) in _C_METHODS else found
        found = attr(cls, "__getattr__")
        self.getattr = None if found is MISSING else found
        found = attr(cls, "__setattr__")
        self.setattr = found if _is_hook(found) else None
        self.writer = found if type(found) is types.WrapperDescriptorType else object.__setattr__
        found = attr(cls, "__delattr__")
        self.delattr = found if _is_hook(found) else None
        self.has_dict = cls.__dictoffset__ != 0


def _is_hook(found: Any) -> bool:
    """Whether what stands there for ``__setattr__`` or ``__delattr__`` is no method of this name of a type in C: a function, what
    somebody made of one, or a method that has another name (``__setattr__ = dict.__setitem__``)."""
    return type(found) not in _C_METHODS or found.__name__ not in ("__setattr__", "__delattr__")


_C_METHODS = (types.WrapperDescriptorType, types.MethodDescriptorType)


def facts(vm: Any, cls: type) -> TypeFacts:
    found = vm.type_facts.get(cls)
    if found is None:
        found = vm.type_facts[cls] = TypeFacts(vm, cls)
    return found
