"""``isinstance()`` with runtime-checkable protocols: what an instance has decides, so it is read with guards."""

from __future__ import annotations

import _abc
import typing
from typing import Any, Callable

from alternator.exc import Break
from alternator.interpreter import attributes, calls
from alternator.semantics.registrations import rely_on_denial

_META: Any = typing._ProtocolMeta  # type: ignore[attr-defined]


def instance_check(vm: Any, cls: Any) -> Callable[[Any, Any], bool] | None:
    """How to ask a protocol about an object, or None: the class is none, or may not be asked."""
    if not issubclass(type(cls), _META) or not cls.__dict__.get("_is_protocol") or not cls._is_runtime_protocol:
        return None
    if type(cls) is not _META:
        raise Break("UNSUPPORTED_OPERATION", f"isinstance() with {cls.__name__}, a protocol of {type(cls).__module__}")
    return lambda _, obj: _has_all(vm, obj, cls)


def _has_all(vm: Any, obj: Any, cls: Any) -> bool:
    """A class that has all methods, or is registered, will always do; of any other the instance is asked, name by name."""
    kind = attributes.type_of(vm, obj)
    names = sorted(typing._get_protocol_attrs(cls))  # type: ignore[attr-defined]
    methods = {name for name in names if callable(getattr(cls, name, None))}
    if len(methods) == len(names) and vm.plain(issubclass, kind, cls) or cls in kind.__mro__:
        return True
    for name in names:
        if not calls.call(vm, hasattr, (obj, name), {}) or name in methods and vm.getattr(obj, name) is None:
            if _abc._get_dump(cls)[0]:  # its registry, which nobody may ask where it has more than methods
                raise Break(
                    "UNSUPPORTED_OPERATION", f"isinstance() with {cls.__name__}, a protocol that classes are registered with"
                )
            rely_on_denial(vm, kind, cls)
            return False
    return True
