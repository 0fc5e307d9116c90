"""The tables that ``semantics`` fills and the interpreter looks things up in.

Keys are objects compared by identity: a callable, a type.  Each table refuses to be given the same key twice, so that a
rule stands in one place.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable


class IdentityTable:
    """A dict keyed by identity; keeps its keys alive."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._rows: dict[int, Any] = {}
        self._keys: list[Any] = []

    def put(self, key: Any, value: Any) -> None:
        if id(key) in self._rows:
            raise KeyError(f"{self.title}: {key!r} is already registered")
        self._rows[id(key)] = value
        self._keys.append(key)

    def replace(self, key: Any, value: Any) -> None:
        """Add a row, or change it: what users say about their functions goes before what we know."""
        if id(key) not in self._rows:
            self._keys.append(key)
        self._rows[id(key)] = value

    def remove(self, key: Any) -> Any:
        """Take a row out; what it held, or None."""
        return self._rows.pop(id(key), None)

    def get(self, key: Any, default: Any = None) -> Any:
        return self._rows.get(id(key), default)

    def __contains__(self, key: Any) -> bool:
        return id(key) in self._rows

    def keys(self) -> Iterable[Any]:
        return iter(self._keys)

    def rule(self, *keys: Any) -> Callable[[Any], Any]:
        """Decorator: register the function for each key."""

        def put(fn: Any) -> Any:
            for key in keys:
                self.put(key, fn)
            return fn

        return put


RULES = IdentityTable("call rules")
"""callable -> ``rule(vm, args, kwargs)``: calling it means running the rule."""

INSTANCE_CALLS = IdentityTable("instance call rules")
"""type -> ``rule(vm, obj, args, kwargs)``: calling an instance of exactly this type."""

PURE = IdentityTable("pure native callables")
"""native callable -> depth that it reads of its arguments (one of the READS constants)."""

PURE_TYPES = IdentityTable("types whose native methods are pure")
"""type -> depth that its native methods read of their arguments."""

UNKNOWN_AS: dict[Any, str] = {}
"""class or name of a module in C -> the break code of its functions that nobody knows; ``UNKNOWN_C_FUNCTION`` for the others."""

GETATTR = IdentityTable("attribute reads by type")
"""type -> ``rule(vm, obj, name)``: reading an attribute of an instance of exactly this type."""

READABLE = IdentityTable("C types that native code may read from outside")
"""C type -> True: what native code reads of an outside instance is guarded when it enters, or never changes; or ``rule(rec)``,
which guards it now."""

SETATTR = IdentityTable("attribute writes by type")
"""type -> ``rule(vm, obj, name, value)``; value MISSING deletes."""

DESCRIPTORS = IdentityTable("descriptors with a rule of their own")
"""type of a raw class attribute -> ``rule(vm, raw, obj, cls)``: what reading it through an instance gives."""

GETTERS = IdentityTable("C getters with a rule")
"""raw getset or member descriptor -> ``rule(vm, obj)``: what reading it through an instance gives."""

OBJECT_GETATTR = IdentityTable("__getattr__ functions with a rule")
"""a class's ``__getattr__`` function -> ``rule(vm, obj, name)`` that does the same faster."""

REBUILD = IdentityTable("rebuilding values")
"""type -> ``rule(builder, value)``: the expression that makes the value anew in generated code."""

NAMED = IdentityTable("methods that stand for others while they are traced")
"""function -> the name of the method that its owner has when it leaves."""

SUBCLASSES = IdentityTable("rebuilding instances of subclasses")
"""class -> ``rule(builder, value)``: the same for instances of its subclasses, where these are not made as its own are."""

CODES = IdentityTable("functions by their code")
"""code object -> ``rule(vm, fn, args, kwargs)``: for every function that a decorator makes with this code."""

MARKS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {}
"""attribute that a decorator sets on a Python function -> ``rule(vm, fn, args, kwargs)``: calling such a function."""

IN_GRAPH = IdentityTable("torch functions that are one node")
"""callable -> True."""

NOTHING, SHALLOW, DEEP = 0, 1, 2
"""What a native callable reads of its arguments: nothing but identity, the outermost containers, everything below."""
