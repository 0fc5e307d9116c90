"""The gate between the outside world and the capture, and the ledger of what passed it.

Each outside object has one representative on the interpreter's stack, the *stand-in*: a tensor's fake, a fresh container
for an outside list or dict, the object itself for everything else.  ``World.admit`` is the only way in.
"""

from __future__ import annotations

import collections
import functools
import threading
import types
from typing import Any, Callable

import torch

from alternator._C import eval_frame, guards
from alternator.exc import Break
from alternator.provenance.source import Source, SourceTree

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>", "__slots__": ()})()
"""Stands for 'no such attribute, item or value'; also a deletion in a shadow."""

SCALARS: frozenset[type] = frozenset({int, float, bool, str, bytes, complex, type(None)})
"""Types of immutable values without parts: only the value matters, not which object it is."""

Admit = Callable[["World", Any, Source], Any]


class Outside:
    """What is known about one outside object.

    ``attrs`` is the shadow of its attributes (name -> new value or MISSING), ``filled`` says whether a container's
    stand-in holds the contents, ``snapshot`` what these were, ``inner`` the source that reads below it start from, ``space``
    the stand-in of the instance's ``__dict__`` once the program has it in hand and writes attributes too; ``overlaid`` says that
    ``partial``, what is known of a dict's single keys, holds such writes; or that the stand-in of a list holds
    what was appended to it before anybody read it.  ``disordered``: a set that has the members, but not their order.
    """

    __slots__ = (
        "obj",
        "standin",
        "source",
        "inner",
        "attrs",
        "filled",
        "snapshot",
        "partial",
        "state",
        "space",
        "overlaid",
        "disordered",
    )

    def __init__(self, obj: Any, standin: Any, source: Source, inner: Source | None = None, filled: bool = True) -> None:
        self.obj = obj
        self.standin = standin
        self.source = source
        self.inner = inner or source
        self.attrs: dict[str, Any] | None = None
        self.filled = filled
        self.snapshot: Any = None
        self.partial: dict[Any, Any] | None = None
        self.state: Any = None
        self.space: dict[str, Any] | None = None
        self.overlaid = False
        self.disordered = False

    def space_source(self) -> Source:
        """Where ``instance_space`` is."""
        return self.inner.child("attr", "__dict__") if issubclass(type(self.obj), threading.local) else self.inner.child("dict")


class Unread:
    """An outside value that the program has not looked at: it is not guarded, only passed on."""

    __slots__ = ("obj", "source")

    def __init__(self, obj: Any, source: Source) -> None:
        self.obj = obj
        self.source = source


class AdmitTable:
    """How objects of a type enter: exact type first, then the first base class that has a rule."""

    def __init__(self) -> None:
        self._rules: dict[type, Admit] = {}
        self._constants: set[type] = set()
        self.number: Admit | None = None

    def register(self, *kinds: type) -> Callable[[Admit], Admit]:
        """Decorator: the rule for these types and their subclasses."""

        def put(rule: Admit) -> Admit:
            for kind in kinds:
                if kind in self._rules:
                    raise KeyError(f"admission of {kind.__name__} is already registered")
                self._rules[kind] = rule
            return rule

        return put

    def constants(self, *kinds: type) -> None:
        """Immutable scalars: reading one from outside emits an equality guard, then it is a constant."""
        self._constants.update(kinds)

    def numbers(self, rule: Admit) -> Admit:
        """Decorator: the rule for ints and floats, which may vary from call to call."""
        self.number = rule
        return rule

    def is_constant(self, kind: type) -> bool:
        return kind in self._constants

    def find(self, kind: type) -> Admit:
        for base in kind.__mro__:
            rule = self._rules.get(base)
            if rule is not None:
                return rule
        raise KeyError(kind)


ADMIT = AdmitTable()
ADMIT.constants(*SCALARS, type(Ellipsis), type(NotImplemented), types.CodeType, range)


class World:
    """The ledger of one capture: records of outside objects by identity, the log of writes, and the source tree."""

    def __init__(self) -> None:
        self.tree = SourceTree()
        self.records: dict[int, Outside] = {}
        self.effects: list[tuple[Any, ...]] = []
        self.told_apart: list[Outside] = []  # tensors of which the program has asked whether they are the same
        self.written_spaces: dict[int, Outside] = {}  # by the id of its __dict__: an object that got another attribute
        self.vm: Any = None
        self._rules: dict[type, Admit] = {}
        self._class_attrs: dict[tuple[int, str], Any] = {}
        self._classes: dict[int, type] = {}  # whose ids these are
        self._fills: dict[int, Outside] = {}
        self.pins: list[Any] = []
        self._made: set[int] = set()
        self.opaque: dict[type, str] = {}  # types of values that nobody may look into yet, and what to call them

    def release(self) -> None:
        """The capture is over: let go of the user's objects."""
        for rec in self.records.values():
            rec.state = rec.snapshot = rec.attrs = rec.partial = rec.space = None
        tables = (self.records, self.effects, self.told_apart, self.written_spaces, self._class_attrs, self._fills, self.pins)
        for table in tables:
            table.clear()
        self.vm = None
        self.tree.release()

    # ---- coming in

    def admit(self, obj: Any, source: Source) -> Any:
        """The stand-in of an outside object that was read from ``source``; emits the guard."""
        kind = type(obj)
        rec = self.records.get(id(obj))
        if rec is not None:
            if rec.source is not source:
                rec.source.owned |= source.owned
                self._second_path(rec, source)
            return rec.standin
        rule = self._rules.get(kind)
        if rule is None:
            if ADMIT.is_constant(kind):
                rule = ADMIT.number if kind in (int, float) and ADMIT.number is not None else _constant
            else:
                rule = ADMIT.find(kind)
            self._rules[kind] = rule
        return rule(self, obj, source)

    def _second_path(self, rec: Outside, source: Source) -> None:
        if "IS" in rec.source.guards:
            source.guard("IS", rec.obj)
        else:
            self.tree.alias(rec.source, source)

    def record(
        self, obj: Any, source: Source, standin: Any = MISSING, inner: Source | None = None, filled: bool = True
    ) -> Outside:
        """Enter an object into the ledger (which keeps it and its stand-in alive: ids are not reused)."""
        rec = Outside(obj, obj if standin is MISSING else standin, source, inner, filled)
        self.records[id(obj)] = rec
        if rec.standin is not obj:
            self.records[id(rec.standin)] = rec
        return rec

    def by_identity(self, obj: Any, source: Source) -> Any:
        """Admit something that is itself: a class, a module, a function.  What is read below it is read from it."""
        source.guard("IS", obj)
        self.record(obj, source, inner=self.tree.object(obj))
        return obj

    def trusted(self, obj: Any) -> Outside:
        """The record of an object that was reached through something immutable that is guarded by identity."""
        rec = self.records.get(id(obj))
        if rec is None:
            if ADMIT.is_constant(type(obj)) or id(obj) in self._made:  # its identity says nothing, or it is the program's own
                return Outside(obj, obj, _NOWHERE)
            source = self.tree.object(obj)
            rec = self.record(obj, source, inner=source)
        return rec

    def note_made(self, obj: Any) -> None:
        """A class, or a function or descriptor in it, that the program made: nothing about it is guarded."""
        if id(obj) not in self._made and id(obj) not in self.records:
            self._made.add(id(obj))
            self.pins.append(obj)
            if type(obj) in (staticmethod, classmethod):
                self.note_made(obj.__func__)
            elif type(obj) is property:
                for part in (obj.fget, obj.fset, obj.fdel):
                    if part is not None:
                        self.note_made(part)

    def is_made(self, obj: Any) -> bool:
        return id(obj) in self._made

    # ---- classes

    def rely_on_bases(self, cls: type) -> None:
        """The program has asked what a class is derived from, which ``__bases__`` may be assigned to change."""
        mro = mro_of(cls)
        if not is_heap(cls) or self.is_made(cls) or mro is None:  # it is being made, or gets other bases, around this frame
            return
        source = self.tree.object(cls).child("attr", "__mro__")
        if not source.guards:
            source.guard("LEN", len(mro))
            for at, base in enumerate(mro[1:], 1):
                source.child("index", at).guard("IS", base)

    def class_attr(self, cls: type, name: str) -> Any:
        """The raw class attribute that the MRO gives (a descriptor is not called), or MISSING; guarded.

        Static types cannot change and need no guard.
        """
        handle = (id(cls), name)
        found = self._class_attrs.get(handle, self)
        if found is not self:
            return found
        if type(cls) is type and cls in self.opaque:
            raise Break("DATA_DEPENDENT_VALUE", self.opaque[cls])
        raw = MISSING
        for base in mro_of(cls) or made_ready(cls):
            namespace = class_space(base)
            if name in namespace:
                raw = namespace[name]
                break
            rec = self.records.get(id(base))
            if rec is not None and rec.attrs is not None and name in rec.attrs:
                return rec.attrs[name]
        if type(raw) not in _UNDERSTOOD and name[:2] == "__" and name not in _ASKED_BY_US and is_foreign(type(raw)):
            raise Break("UNKNOWN_C_FUNCTION", f"{name_of(cls)}.{name}, which is a {name_of(type(raw))}")
        if id(cls) in self._made:
            self._bases_of_made(cls, name)
            return raw
        if is_heap(cls):
            source = self.tree.object(cls).child("typeattr", name)
            if raw is MISSING:
                source.guard("ABSENT")
            elif type(raw) is types.BuiltinFunctionType and not _is_free(raw):
                raw = self.admit(raw, source)  # a method bound to some object, which is read with guards, and never written to
            elif type(raw) in _DESCRIPTORS or not ADMIT.is_constant(type(raw)) and hasattr(type(raw), "__get__"):
                if id(raw) not in self.records:
                    self.by_identity(raw, source)
                else:
                    source.guard("IS", raw)
        self._class_attrs[handle] = raw
        self._classes[id(cls)] = cls
        return raw

    def _bases_of_made(self, cls: type, name: str) -> None:
        """Guard what the outside bases of a class that the program made contribute to the lookup of a name."""
        for base in mro_of(cls) or made_ready(cls):
            if id(base) not in self._made:
                self.class_attr(base, name)
            if name in class_space(base):
                return

    def write_class_attr(self, cls: type, rec: "Outside", name: str, value: Any) -> None:
        """Shadow a class attribute; subclasses see it too."""
        if any(owner is cls for _, owner in self.vm.states.get("namespaces", {}).values()):
            raise Break("UNSUPPORTED_ATTRIBUTE", "a write to a class whose __dict__ is being looked at")
        self.write_attr(rec, name, value, "class")
        self.forget_class_attr(cls, name)

    def forget_class_attr(self, cls: type, name: str) -> None:
        """The class attribute was written: look it up anew, in subclasses too."""
        for seen in [
            s for s in self._class_attrs if s[1] == name and any(base is cls for base in mro_of(self._classes[s[0]]) or ())
        ]:
            del self._class_attrs[seen]

    def class_value(self, cls: type, name: str, raw: Any) -> Any:
        """A plain class attribute, as a value that was read."""
        for base in mro_of(cls) or made_ready(cls):
            rec = self.records.get(id(base))
            if rec is not None and rec.attrs is not None and name in rec.attrs:
                return rec.attrs[name]
            if name in class_space(base):
                break
        if id(cls) in self._made:
            owner = next((base for base in mro_of(cls) if name in class_space(base)), cls)
            return raw if id(owner) in self._made else self.class_value(owner, name, raw)
        if is_heap(cls):
            return self.admit(raw, self.tree.object(cls).child("typeattr", name))
        return raw

    # ---- writes

    def write_attr(self, rec: Outside, name: str, value: Any, how: str = "attr") -> None:
        """Shadow an attribute write (MISSING deletes); replayed after the graph, in order."""
        if rec.attrs is None:
            rec.attrs = {}
        rec.attrs[name] = value
        self.effects.append((how, rec, name, value))


mro_of: Any = type.__dict__["__mro__"].__get__
flags_of: Any = type.__dict__["__flags__"].__get__
name_of: Any = type.__dict__["__name__"].__get__
class_space: Any = type.__dict__["__dict__"].__get__
"""What a metaclass of the program cannot hide."""
module_space: Any = vars(types.ModuleType)["__dict__"].__get__
"""The namespace of a module, whatever its class makes of ``__dict__``."""
_MODULE: Any = type.__dict__["__module__"].__get__


_HEAPTYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE


def is_heap(cls: type) -> bool:
    """Whether a class was made by a ``class`` statement, or by C code in the same way: its attributes may be replaced."""
    return bool(flags_of(cls) & _HEAPTYPE)


def made_ready(cls: type) -> tuple[type, ...]:
    """The MRO of a class of CPython's that nobody has asked for an attribute yet, which gives it one; () for half a class."""
    return type.__getattribute__(cls, "__mro__") or ()


def instance_space(obj: Any) -> dict[str, Any] | None:
    """The dict of an instance, whatever its class makes of ``__dict__``; None if it has none.  Of a ``threading.local``: the one
    that the thread at hand has of it."""
    if issubclass(type(obj), threading.local):
        space: dict[str, Any] = _LOCAL_GET(obj, "__dict__")
        return space
    if issubclass(type(obj), type):
        return class_space(obj)  # type: ignore[no-any-return]
    return guards.instance_dict(obj)


_LOCAL_GET: Any = threading.local.__getattribute__


def module_of(cls: type) -> str:
    """The name of a class's module, whatever its metaclass, or the class, makes of ``__module__``."""
    try:
        name = _MODULE(cls)
    except AttributeError:
        return ""
    return name if type(name) is str else ""


_NOWHERE = SourceTree().object(None)


def _constant(world: World, obj: Any, source: Source) -> Any:
    source.guard("EQ", obj)
    return obj


def _is_free(fn: Any) -> bool:
    """A function in C of a module or a class."""
    return fn.__self__ is None or issubclass(type(fn.__self__), (types.ModuleType, type))


def is_foreign(kind: type) -> bool:
    """Methods of this type are C code of a library: where native code calls such a special method, nobody sees what it reads."""
    get = getattr(kind, "__get__", None)
    return type(get) is types.WrapperDescriptorType and kind not in _UNDERSTOOD and not issubclass(kind, property)


_DESCRIPTORS = frozenset(
    {
        types.FunctionType,
        property,
        classmethod,
        staticmethod,
        types.MemberDescriptorType,
        types.GetSetDescriptorType,
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        types.ClassMethodDescriptorType,
        types.BuiltinFunctionType,
    }
)
_UNDERSTOOD = _DESCRIPTORS | {
    types.MethodType,
    type(functools.lru_cache(len)),
    type(collections.namedtuple("_P", "x").__dict__["x"]),
    type(vars(torch._C.Graph)["nodes"]),  # of pybind11's classes: a function in C
    eval_frame.CompiledFunction,
    type(None),
    bool,
    int,
    str,
}
"""Types of class attributes for which somebody else knows what to do."""
_ASKED_BY_US = frozenset(
    {"__getattribute__", "__getattr__", "__setattr__", "__delattr__", "__get__", "__set__", "__delete__", "__call__"}
)
"""Special methods that the interpreter calls by itself, whatever they are; native code does not."""
