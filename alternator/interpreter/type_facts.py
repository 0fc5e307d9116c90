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
        self.getattribute = found if type(found) is types.FunctionType else None
        found = attr(cls, "__getattr__")
        self.getattr = None if found is MISSING else found
        found = attr(cls, "__setattr__")
        self.setattr = found if type(found) is types.FunctionType else None
        self.writer = found if type(found) is types.WrapperDescriptorType else object.__setattr__
        found = attr(cls, "__delattr__")
        self.delattr = found if type(found) is types.FunctionType else None
        self.has_dict = cls.__dictoffset__ != 0


def facts(vm: Any, cls: type) -> TypeFacts:
    found = vm.type_facts.get(cls)
    if found is None:
        found = vm.type_facts[cls] = TypeFacts(vm, cls)
    return found
