"""Sources: where outside values came from, as a tree that is also the table of guards.

Every node of the tree is one way to reach an outside value: a root (an argument, a global namespace, a closure cell, an
object held by identity) or an access below another node (an attribute, an item, a class attribute ...).  Guards are plain
tuples attached to the nodes.  Flattened in preorder the tree is what the native ``GuardTree`` checks, what ``explain``
prints, and what a recompile is explained with: one table for all.
"""

from __future__ import annotations

import enum
import types
from typing import Any, Callable, Iterator, TypeVar

from alternator._C.guards import call_words

_F = TypeVar("_F")
COUNTS: Any = "counts"
"""``Source.static`` of the numbers that a loop counts through."""
_HASHABLE = frozenset({str, int, bool, float, bytes, type(None)})


class Source:
    """One node: how a value is reached from its parent, and what must hold for it.

    ``access`` and ``key`` are those of docs/native.md.  Children are interned, so one path is one object.  ``static``
    says that numbers and sizes found here (below a module, or not below an argument) are constants until they are seen to
    change; below a module it is a weak reference to that; ``COUNTS`` is for numbers that a loop counts through.
    """

    __slots__ = ("tree", "parent", "access", "key", "children", "guards", "index", "wanted", "static", "owned", "_name")

    def __init__(self, tree: "SourceTree", parent: "Source | None", access: str, key: Any) -> None:
        self.tree = tree
        self.parent = parent
        self.access = access
        self.key = key
        self.children: dict[Any, Source] = {}
        self.guards: dict[str, tuple[Any, ...]] = {}
        self.index = -1
        self.wanted = False
        self.static: Any = parent.static if parent is not None else access != "local"
        self.owned: bool = parent.owned if parent is not None else False
        self._name: str | None = None

    def child(self, access: str, key: Any = None) -> "Source":
        """The node below this one; made at the first call."""
        handle = (access, key) if type(key) in _HASHABLE else (access, id(key), "id")
        node = self.children.get(handle)
        if node is None:
            node = self.children[handle] = Source(self.tree, self, access, key)
        return node

    def attribute(self, name: str) -> "Source":
        """The entry ``name`` of the instance's ``__dict__``."""
        return self.child("dict").child("dictitem", name)

    def guard(self, kind: str, *expected: Any) -> None:
        """Rely on a fact.  The first fact of a kind stays: it was true of the same value."""
        if kind not in self.guards:
            self.guards[kind] = (kind, *expected)

    def guard_predicate(self, fn: Any, text: str) -> None:
        """Rely on ``fn(value)`` being true; ``text`` says it to people."""
        self.guards.setdefault("PY:" + text, ("PY", fn, text))

    def want(self) -> "Source":
        """Generated code loads this value: keep the node even if nothing is guarded."""
        self.wanted = True
        return self

    def root(self) -> "Source":
        node = self
        while node.parent is not None:
            node = node.parent
        return node

    def call_it(self, name: str) -> None:
        """Give the node a name of its own."""
        self._name = name

    @property
    def name(self) -> str:
        """A readable expression, e.g. ``self.layers['0'].weight``."""
        text = self._name
        if text is None:
            parent = self.parent.name if self.parent is not None else ""
            text = self._name = _NAMES[self.access](parent, self.key)
        return text

    def __repr__(self) -> str:
        return f"<Source {self.name}>"


def _object_name(obj: Any) -> str:
    """The object's own name; one of a class of the program's is not asked for it."""
    if type(obj) is types.ModuleType:
        name = obj.__dict__.get("__name__")
    elif issubclass(type(obj), type):
        name = _QUALNAME(obj)
    else:
        name = getattr(obj, "__qualname__", None) if not type(obj).__flags__ & 0x200 else None
    return name if isinstance(name, str) else f"<{type(obj).__name__}>"


_QUALNAME: Any = type.__dict__["__qualname__"].__get__


def _item_name(parent: str, key: Any) -> str:
    if parent.endswith(".__dict__") and type(key) is str and key.isidentifier():
        return f"{parent[: -len('.__dict__')]}.{key}"
    if parent == "globals()" and type(key) is str:
        return key
    return f"{parent}[{_key_name(key)}]"


def _key_name(key: Any) -> str:
    """The same for a key as long as it lives.  Its ``__repr__`` may be the program's, and that of a tensor shows its values."""
    kind = type(key)
    if kind in _HASHABLE:
        return _literal(key)
    if issubclass(kind, tuple):
        parts = [_key_name(part) for part in tuple.__iter__(key)]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if issubclass(kind, (type, types.ModuleType)):
        return _object_name(key)
    if issubclass(kind, enum.Enum):
        member = object.__getattribute__(key, "__dict__").get("_name_")
        return f"{_QUALNAME(kind)}.{member}" if type(member) is str else f"<{_QUALNAME(kind)}>"
    return f"<{_QUALNAME(kind)} at {id(key):#x}>"


def _literal(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # an int of very many digits
        return f"<{type(value).__name__}>"


def worded(text: str) -> Callable[[_F], _F]:
    """How people are told what the function reads, for ``child("call", function)``: ``{}`` is what it is called with."""

    def register(fn: _F) -> _F:
        call_words[fn] = text
        return fn

    return register


def _call_name(parent: str, fn: Any) -> str:
    words = call_words.get(fn) or call_words.get(type(fn))
    return f"{getattr(fn, '__name__', fn)}({parent})" if words is None else words.replace("{}", parent, 1)


_NAMES = {
    "local": lambda p, k: k[1] if issubclass(type(k), tuple) else f"locals[{k}]",
    "globals": lambda p, k: "globals()",
    "closure": lambda p, k: f"closure[{k}]",
    "object": lambda p, k: _object_name(k),
    "dict": lambda p, k: f"{p}.__dict__",
    "dictitem": _item_name,
    "attr": lambda p, k: f"{p}.{k}",
    "index": lambda p, k: f"{p}[{k}]",
    "type": lambda p, k: f"type({p})",
    "typeattr": lambda p, k: f"{p}.{k}",
    "cell": lambda p, k: p,
    "func": lambda p, k: f"{p}.__{k}__",
    "method": lambda p, k: f"{p}.__{k}__",
    "call": _call_name,
    "generator": lambda p, k: f"{k}({p})",
    "slot": lambda p, k: f"{p}.gi_frame[{k}]",
    "dictkey": lambda p, k: f"list({p})[{k}]",
}


class SourceTree:
    """All sources of one capture, and the facts that relate several of them (the tail)."""

    def __init__(self) -> None:
        self.roots: dict[Any, Source] = {}
        self.tail: list[tuple[Any, ...]] = []
        self._pins: list[Any] = []
        self._aliases: set[tuple[int, int]] = set()
        self._order: list[Source] = []

    def _root(self, access: str, handle: Any, key: Any) -> Source:
        node = self.roots.get((access, handle))
        if node is None:
            node = self.roots[(access, handle)] = Source(self, None, access, key)
            self._pins.append(key)
        return node

    def local(self, index: int, name: str) -> Source:
        return self._root("local", index, (index, name))

    def globals(self) -> Source:
        return self._root("globals", None, None)

    def closure(self, index: int, name: str) -> Source:
        """The cell of a free variable; its contents have the variable's name."""
        node = self._root("closure", index, index)
        node._name = name
        return node

    def object(self, obj: Any) -> Source:
        """An object that is held by identity, wherever it was reached."""
        return self._root("object", id(obj), obj)

    def alias(self, first: Source, second: Source) -> None:
        """Two paths led to one object: they must do so again."""
        pair = (id(first), id(second))
        if first is not second and pair not in self._aliases:
            self._aliases.add(pair)
            first.want()
            second.want()
            self.tail.append(("ALIAS", first, second))

    def release(self) -> None:
        """The table has been made: let go of the objects that it names.  Sources keep their names."""
        waiting = list(self.roots.values())
        for node in waiting:
            waiting += node.children.values()
            if node.access == "object" or type(node.key) not in _HASHABLE:
                node._name, node.key = node.name, None
            node.children, node.guards = {}, {}
        for table in (self.roots, self.tail, self._pins, self._order):
            table.clear()

    def flatten(self) -> list[Source]:
        """The nodes that are guarded or wanted, parents first; sets their ``index``."""
        order: list[Source] = []

        def visit(node: Source) -> bool:
            at = len(order)
            order.append(node)
            keep = node.wanted or bool(node.guards)
            for child in node.children.values():
                keep |= visit(child)
            if not keep:
                del order[at:]
                node.index = -1
            return keep

        for root in self.roots.values():
            visit(root)
        for i, node in enumerate(order):
            node.index = i
        return order

    def rows(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """The table for the native ``GuardTree``: (nodes, tail)."""
        nodes = []
        self._order = self.flatten()
        for node in self._order:
            key = node.key[0] if node.access == "local" else node.key
            parent = -1 if node.parent is None else node.parent.index
            nodes.append((parent, node.access, key, tuple(node.guards.values())))
        return nodes, [_resolve(fact) for fact in self.tail]

    def texts(self) -> Iterator[str]:
        """Every guard as a line for people."""
        self._order = self.flatten()
        return self.texts_for_later()()

    def texts_for_later(self) -> Callable[[], Iterator[str]]:
        """What ``texts`` gives of the table that ``rows`` has made, when somebody asks; holds none of the program's objects."""
        seen: dict[int, _Text] = {}
        guards = [(node, [_kept(guard, seen) for guard in node.guards.values()]) for node in self._order if node.guards]
        tail = [_kept(fact, seen) for fact in self.tail]

        def texts() -> Iterator[str]:
            for node, facts in guards:
                for kind, *expected in facts:
                    yield f"{node.name}: {kind} {', '.join(map(_short, expected))}".rstrip()
            for fact in tail:
                yield " ".join(map(_short, fact))

        return texts


def _resolve(fact: Any) -> Any:
    if type(fact) is Source:
        return fact.index
    if type(fact) in (tuple, list):
        return type(fact)(_resolve(part) for part in fact)
    return fact


_LONG = 1000
"""Texts longer than this are not shown whole: it would take longer than to capture the rest."""


class _Text(str):
    """The text of an object, in the place of the object."""

    __slots__ = ()


def _kept(fact: tuple[Any, ...], seen: dict[int, _Text]) -> tuple[Any, ...]:
    """The fact with the texts of its objects; ``seen``: those made before, by the ids of what is alive meanwhile."""
    for part in fact:
        if type(part) not in _HASHABLE and type(part) is not Source:
            return tuple([part if type(part) in _HASHABLE or type(part) is Source else _text(part, seen) for part in fact])
    return fact


def _text(part: Any, seen: dict[int, _Text]) -> _Text:
    text = seen.get(id(part))
    if text is None:
        text = seen[id(part)] = _Text(_short(part))
    return text


def _short(value: Any) -> str:
    if type(value) is Source:
        return value.name
    if type(value) is _Text:
        return str(value)
    if type(value) in _HASHABLE:
        if type(value) in (str, bytes) and len(value) > _LONG:
            return f"{value[:_LONG]!r}... ({len(value)} long)"
        return _literal(value)
    if type(value) is tuple:
        return "(" + ", ".join(map(_short, value)) + ")"
    return _object_name(value)
