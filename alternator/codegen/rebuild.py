"""How values that were made while tracing are made anew: the rows of the REBUILD table for builtin types."""

from __future__ import annotations

import collections
import enum
import functools
import inspect
import re
import sys
import types
from typing import Any, cast

import torch

from alternator._C import build
from alternator.codegen.builder import Builder
from alternator.exc import Break
from alternator.interpreter.attributes import native_base
from alternator.interpreter.calls import face_of
from alternator.interpreter.frame import NULL
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.identity import descriptor_of
from alternator.interpreter.namespaces import holder_of
from alternator.interpreter.tables import NAMED, REBUILD, SUBCLASSES
from alternator.provenance import iterators, storage
from alternator.provenance.keys import any_asks, asks, hash_of, put
from alternator.provenance.sets import arrangement, is_value, items_of
from alternator.provenance.world import MISSING, Unread, class_space, instance_space, is_heap, module_of, mro_of
from alternator.tensors.graph import SYMBOLIC

_new_object = object.__new__
_PLAIN_KEYS = (str, int, bool, type(None))


def _constant(b: Builder, value: Any) -> str:
    return b.constant(value)


for _kind in (
    float,
    complex,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    types.CodeType,
    type(Ellipsis),
    type(NotImplemented),
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    torch._ops.OpOverload,
    torch._ops.OpOverloadPacket,
    type(MISSING),
    range,
    re.Pattern,
):
    REBUILD.put(_kind, _constant)


@REBUILD.rule(types.BuiltinFunctionType, types.MethodWrapperType, type(re.compile("").sub))
def rebuild_builtin(b: Builder, value: Any) -> str:
    """A builtin function is itself; a builtin method is read again from what its owner is outside of the capture."""
    owner = value.__self__
    if owner is None or issubclass(type(owner), (types.ModuleType, type)) or module_of(type(owner)) == "pybind11_builtins":
        return b.constant(value)  # (to pybind11 the owner is what it knows about the function)
    if is_heap(type(owner)) and not issubclass(type(owner), torch.Tensor):  # the class may have another one of the name
        raw = descriptor_of(value, owner)
        if raw is None:
            raise Break("UNREBUILDABLE_OUTPUT", f"the method {value.__name__} of a {type(owner).__name__}")
        owned = b.value(owner)
        return b.assign(f"{_of_class(b, raw)}.__get__({owned}, type({owned}))")
    return b.assign(f"({b.value(owner)}).{value.__name__}")


@REBUILD.rule(type(NULL))
def null(b: Builder, value: Any) -> str:
    return b.constant(value, "NULL")


@REBUILD.rule(torch.Size)
def torch_size(b: Builder, value: Any) -> str:
    items = b.values(value)
    return b.assign(f"{b.constant(torch.Size, 'Size')}(({items}{',' if len(value) == 1 else ''}))")


def _mentions(text: str, name: str) -> bool:
    return name in text and name in _WORDS.findall(text)


_WORDS = re.compile(r"\w+")  # compiled once: the cache of ``re`` is something that programs read


def _of_value(base: Any) -> None:
    """An instance of a subclass of an immutable builtin: made of its value as the builtin sees it, then given its attributes."""

    def rule(b: Builder, value: Any) -> str:
        if issubclass(type(value), enum.Enum):
            return _member(b, value)
        plain = base(base.__iter__(value)) if base is frozenset else base(*base.__getnewargs__(value))
        name = b.assign(f"{b.constant(base.__new__, 'new')}({b.value(type(value))}, {b.value(plain)})")
        if base is frozenset and all(map(is_value, plain)):
            arrange(b, name, set(plain), value)
        _attributes(b, value, name)
        return name

    SUBCLASSES.put(base, rule)


for _kind in (int, float, complex, str, bytes, frozenset):
    _of_value(_kind)


@SUBCLASSES.rule(bytearray)
def _bytearray_instance(b: Builder, value: Any) -> str:
    name = b.assign(f"bytearray.__new__({b.value(type(value))})")
    b.register(value, name)
    b.emit(f"bytearray.__init__({name}, {bytes(memoryview(value))!r})")
    _attributes(b, value, name)
    return name


@SUBCLASSES.rule(collections.deque)
def _deque_instance(b: Builder, value: Any) -> str:
    deque = b.constant(collections.deque, "deque")
    name = b.assign(f"{deque}.__new__({b.value(type(value))})")
    b.register(value, name)
    b.emit(f"{deque}.__init__({name}, (), {storage.deque_limit(value)!r})")
    items = storage.items(value)
    if items:
        b.emit(f"{deque}.extend({name}, ({b.values(items)},))")
    _attributes(b, value, name)
    return name


@REBUILD.rule(bytearray)
def rebuild_bytearray(b: Builder, value: Any) -> str:
    return b.assign(f"bytearray({bytes(value)!r})")


@SUBCLASSES.rule(enum.Enum)
def _member(b: Builder, value: Any) -> str:
    """A member of an enumeration from outside is itself."""
    kind = type(value)
    known: Any = vars(kind).get("_member_map_", {})
    if b.vm.world.is_made(kind) or known.get(vars(value).get("_name_")) is not value:
        raise Break("UNREBUILDABLE_OUTPUT", f"an instance of {kind.__name__}, which was made while tracing")
    return b.constant(value, "member")


@REBUILD.rule(list)
def rebuild_list(b: Builder, value: Any) -> str:
    name = b.assign("[]")
    b.register(value, name)
    if value:
        at = b.lines.index(f"{name} = []")
        count = len(b.lines)
        items = b.values(value)
        if len(b.lines) == count and not _mentions(items, name):
            b.lines[at] = f"{name} = [{items}]"
        else:
            b.emit(f"{name}.extend(({items},))")
    return name


@SUBCLASSES.rule(tuple)
@REBUILD.rule(tuple)
def rebuild_tuple(b: Builder, value: Any) -> str:
    kind = type(value)
    held = storage.items(value)
    items = b.values(held) + ("," if len(held) == 1 else "")
    if kind is tuple:
        return b.assign(f"({items})")
    if module_of(kind) == "torch.return_types":
        return b.assign(f"{b.constant(kind, 'cls')}(({items}))")
    name = b.assign(f"tuple.__new__({b.value(kind)}, ({items}))")
    _attributes(b, value, name)
    return name


@REBUILD.rule(dict)
def rebuild_dict(b: Builder, value: Any) -> str:
    holder = holder_of(b.vm, value)
    if holder is not None:
        return b.assign(f"{b.constant(instance_space, 'space')}({b.value(holder)})")
    name = b.assign("{}")
    b.register(value, name)
    if any_asks(value):
        _put_all(b, name, value)
    elif value:
        at = b.lines.index(f"{name} = {{}}")
        count = len(b.lines)
        items = ", ".join(f"{b.value(k)}: {b.value(v)}" for k, v in value.items())
        if len(b.lines) == count and not _mentions(items, name):
            b.lines[at] = f"{name} = {{{items}}}"
        else:
            b.emit(f"{name}.update({{{items}}})")
    return name


def _put_all(b: Builder, name: str, table: Any) -> None:
    """Put the contents into a table whose keys are not to be asked once more for what they told the program."""
    keys, values, hashes = build.contents(table)
    for key, value, known in zip(keys, values or keys, hashes):
        put_unasked(b, name, table, key, value, known)
    if issubclass(type(table), (set, frozenset)):
        _lay_out(b, name, table)


def put_unasked(b: Builder, name: str, table: Any, key: Any, value: Any, known: int) -> None:
    """Put what the table has there while it is traced, with this hash, into the one of that name."""
    if issubclass(type(table), collections.OrderedDict) and asks(key) and not is_heap(type(key)):
        raise Break("UNSUPPORTED_EFFECT", "a tuple of objects with a __hash__ of their own in an OrderedDict")
    b.emit(f"{b.constant(put, 'put')}({name}, {b.value(key)}, {b.value(value)}, {hash_of(b.vm, key, known)!r})")


@REBUILD.rule(set)
def rebuild_set(b: Builder, value: Any) -> str:
    name = b.assign("set()")
    b.register(value, name)
    if any_asks(value):
        _put_all(b, name, value)
    elif value:
        b.emit(f"{name}.update(({b.values(value)},))")
        _lay_out(b, name, value)
    return name


def _lay_out(b: Builder, name: str, value: Any) -> None:
    """The set that is made of the members in their order is to have the table of the one that the program made: it decides on
    what order others come in that are added, or are made of it."""
    items = items_of(value)
    if all(map(is_value, items)):
        arrange(b, name, set(items), value)


def arrange(b: Builder, name: str, members: Any, like: Any) -> None:
    """Give a set, which will be like ``members``, the table of ``like``."""
    if (places := arrangement(members, like)) is not None:
        b.emit(f"{b.constant(build.arrange_set, 'arrange')}({name}, {places!r})")


@REBUILD.rule(frozenset)
def rebuild_frozenset(b: Builder, value: Any) -> str:
    if not value:
        return b.assign("frozenset()")
    if any_asks(value):
        members = b.assign("set()")
        _put_all(b, members, value)
        return b.assign(f"frozenset({members})")
    name = b.assign(f"frozenset(({b.values(value)},))")
    _lay_out(b, name, value)
    return name


@REBUILD.rule(collections.deque)
def rebuild_deque(b: Builder, value: Any) -> str:
    name = b.assign(f"{b.constant(collections.deque, 'deque')}((), {value.maxlen!r})")
    b.register(value, name)
    if value:
        b.emit(f"{name}.extend(({b.values(value)},))")
    return name


def _container_instance(b: Builder, value: Any, base: type) -> str:
    """An instance of a subclass of a builtin container."""
    kind = type(value)
    allocator: Any = None
    if issubclass(type(value), collections.defaultdict):
        table = b.constant(collections.defaultdict, "defaultdict")
        factory = b.value(storage.default_factory(value))
        name = b.assign(f"{table}.__new__({b.value(kind)})")
        b.emit(f"{table}.__init__({name}, {factory})")
    else:
        allocator = next(c for c in mro_of(kind) if c in (collections.OrderedDict, list, dict, set))
        name = b.assign(f"{b.constant(allocator, 'base')}.__new__({b.value(kind)})")
    b.register(value, name)
    if allocator is collections.OrderedDict and storage.length(value) and _ordered(b, value, name):
        return name
    if base is not list and any_asks(value):
        _put_all(b, name, value)
    elif base is dict:
        ordered = issubclass(type(value), collections.OrderedDict)
        setter = b.constant(collections.OrderedDict.__setitem__ if ordered else dict.__setitem__, "put")
        for key, item in iterators.dict_items(value):
            b.emit(f"{setter}({name}, {b.value(key)}, {b.value(item)})")
    elif held := storage.items(value):
        method = "extend" if base is list else "update"
        b.emit(f"{base.__name__}.{method}({name}, ({b.values(held)},))")
        if base is set:
            _lay_out(b, name, value)
    _attributes(b, value, name)
    return name


for _kind in (list, dict, set):
    SUBCLASSES.put(_kind, functools.partial(_container_instance, base=cast(type, _kind)))


def _ordered(b: Builder, value: Any, name: str) -> bool:
    """A subclass of OrderedDict in one statement, if its contents do not speak of it."""
    at = next(i for i, line in enumerate(b.lines) if line.startswith(f"{name} = "))
    pairs = list(iterators.dict_items(value))
    if not all(type(key) in _PLAIN_KEYS for key, _ in pairs):
        return False
    items = "{" + ", ".join(f"{b.value(key)}: {b.value(item)}" for key, item in pairs) + "}"
    attributes = _attribute_dict(b, value) or "{}"
    if _named_since(b, at, items + attributes, name):
        return False
    b.lines.pop(at)
    b.emit(f"{name} = {b.constant(build.ordered, 'ordered')}({b.value(type(value))}, {items}, {attributes})")
    _slots(b, value, name)
    return True


def _attributes(b: Builder, value: Any, name: str) -> None:
    """The instance's own attributes: its ``__dict__`` and slots."""
    if instance_space(value) is value:  # a dict with its items for attributes
        b.emit(f"{b.constant(object.__setattr__, 'set')}({name}, '__dict__', {name})")
    elif attributes := _attribute_dict(b, value):
        b.emit(f"{b.space(type(value), name)}.update({attributes})")
    _slots(b, value, name)


def _attribute_dict(b: Builder, value: Any) -> str:
    """The text of the instance's ``__dict__``; "" where it has none, or an empty one."""
    space = instance_space(value)
    if space is value or type(space) is not dict and space is not None:
        raise Break("UNREBUILDABLE_OUTPUT", "an object whose __dict__ is a dict of a class of its own")
    if not space:
        return ""
    return "{" + ", ".join(f"{repr(k) if type(k) is str else b.value(k)}: {b.value(v)}" for k, v in space.items()) + "}"


def _slots(b: Builder, value: Any, name: str) -> None:
    for base in mro_of(type(value)):
        for raw in class_space(base).values():
            if type(raw) is types.MemberDescriptorType and is_heap(base):
                try:
                    item = raw.__get__(value)
                except AttributeError:
                    continue
                b.emit(f"{_of_class(b, raw)}.__set__({name}, {b.value(item)})")


def _of_class(b: Builder, raw: Any) -> str:
    """A descriptor in C of a class in Python, which may be made anew, and lives no longer for what was made of it."""
    cls, name = raw.__objclass__, raw.__name__
    rec = b.vm.records.get(id(cls))
    written = rec is not None and rec.attrs is not None and name in rec.attrs
    if not is_heap(cls) or class_space(cls).get(name) is not raw or written:
        return b.constant(raw)
    if b.vm.world.is_made(cls):
        owner = b.value(cls)
    else:
        source = b.vm.world.tree.object(cls)
        source.child("typeattr", name).guard("IS", raw)
        owner = b.load(source if rec is None else rec.source)
    return f"{b.constant(class_space, 'space')}({owner})[{name!r}]"


@REBUILD.rule(types.ModuleType)
def rebuild_module(b: Builder, value: Any) -> str:
    if sys.modules.get(value.__name__) is not value:
        raise Break("UNREBUILDABLE_OUTPUT", f"the module {value.__name__}, which was made while tracing")
    return b.constant(value)


@REBUILD.rule(types.SimpleNamespace)
def rebuild_namespace(b: Builder, value: Any) -> str:
    if type(value) is not types.SimpleNamespace:
        raise Break("UNREBUILDABLE_OUTPUT", f"a {type(value).__qualname__}")
    name = b.assign(f"{b.constant(types.SimpleNamespace, 'Namespace')}()")
    b.register(value, name)
    _attributes(b, value, name)
    return name


@REBUILD.rule(torch.finfo, torch.iinfo)
def rebuild_limits(b: Builder, value: Any) -> str:
    return b.assign(f"{b.constant(type(value))}({b.value(getattr(torch, value.dtype))})")


@REBUILD.rule(slice)
def rebuild_slice(b: Builder, value: Any) -> str:
    return b.assign(f"slice({b.value(value.start)}, {b.value(value.stop)}, {b.value(value.step)})")


@REBUILD.rule(types.MethodType)
def rebuild_method(b: Builder, value: Any) -> str:
    name = NAMED.get(value.__func__) if type(value.__func__) is types.FunctionType else None
    if name is not None:
        return b.assign(f"({b.value(value.__self__)}).{name}")
    if issubclass(type(value.__self__), TracedGenerator):  # outside of the capture it is a generator
        return b.assign(f"{b.value(value.__self__)}.{value.__func__.__name__}")
    if issubclass(type(value.__self__), SYMBOLIC):  # no method that a number has (semantics/numbers.py)
        raise Break("UNREBUILDABLE_OUTPUT", f"a method of a {type(value.__self__).__name__}")
    return b.assign(f"{b.constant(types.MethodType, 'Method')}({b.value(value.__func__)}, {b.value(value.__self__)})")


@REBUILD.rule(types.CellType)
def rebuild_cell(b: Builder, value: Any) -> str:
    name = b.assign(f"{b.constant(types.CellType, 'Cell')}()")
    b.register(value, name)
    try:
        contents = value.cell_contents
    except ValueError:
        return name
    b.emit(f"{name}.cell_contents = {b.value(contents)}")
    return name


@REBUILD.rule(types.FunctionType)
def rebuild_function(b: Builder, value: Any) -> str:
    """A function that the program made (an outside one has a source)."""
    face = face_of(value)
    if face is not None:  # made for native code to call while tracing
        return b.value(face)
    source = b.vm.global_sources.get(id(value.__globals__))
    space = b.load(source) if source is not None else b.constant(value.__globals__, "globals")
    closure = "None"
    if value.__closure__:
        closure = f"({b.values(value.__closure__)},)"
    defaults = b.value(value.__defaults__) if value.__defaults__ is not None else "None"
    parts = f"{b.constant(value.__code__, 'code')}, {space}, {value.__name__!r}, {defaults}, {closure}"
    name = b.assign(f"{b.constant(types.FunctionType, 'Function')}({parts})")
    b.register(value, name)
    if value.__qualname__ != value.__code__.co_qualname:
        b.emit(f"{name}.__qualname__ = {value.__qualname__!r}")
    doc = next((const for const in value.__code__.co_consts[:1] if type(const) is str), None)
    for part, usual in (("__module__", value.__globals__.get("__name__")), ("__doc__", doc)):
        if getattr(value, part) is not usual:
            b.emit(f"{name}.{part} = {b.value(getattr(value, part))}")
    for part in ("__kwdefaults__", "__annotations__"):  # a stand-in that nobody has read looks empty
        if getattr(value, part) or id(getattr(value, part)) in b.vm.records:
            b.emit(f"{name}.{part} = {b.value(getattr(value, part))}")
    if value.__dict__:
        b.emit(f"{name}.__dict__.update({b.value(dict(value.__dict__))})")
    return name


@REBUILD.rule(functools.partial)
def rebuild_partial(b: Builder, value: Any) -> str:
    made = b.constant(functools.partial, "partial")
    if not value.keywords and not value.__dict__:
        return b.assign(f"{made}({b.value(value.func)}, *{b.value(value.args)})")
    name = b.assign(f"{made}({b.value(value.func)})")
    b.register(value, name)
    # it keeps the dict of keywords itself
    b.emit(f"{name}.__setstate__(({b.value(value.func)}, {b.value(value.args)}, {b.value(value.keywords)}, None))")
    if attributes := _attribute_dict(b, value):
        b.emit(f"{name}.__dict__.update({attributes})")
    return name


@SUBCLASSES.rule(object)
@REBUILD.rule(object)
def rebuild_instance(b: Builder, value: Any) -> str:
    """An instance of a user's class: allocated without ``__init__``, then given its attributes."""
    kind = type(value)
    if (
        not is_heap(kind)
        or module_of(kind).startswith("alternator.")
        and module_of(kind) != "alternator.decorators"  # the program's objects
        or kind.__new__ is not object.__new__
        and type(kind.__new__) is types.BuiltinFunctionType
    ):
        raise Break("UNREBUILDABLE_OUTPUT", f"a {module_of(kind)}.{kind.__qualname__}")
    if native_base(kind) is not object:
        raise Break("UNREBUILDABLE_OUTPUT", f"a {module_of(kind)}.{kind.__qualname__}")
    made = f"{b.constant(_new_object, 'new_object')}({b.value(kind)})"
    name = b.assign(made)
    b.register(value, name)
    at = b.lines.index(f"{name} = {made}")
    attributes = _attribute_dict(b, value)
    if attributes and _is_plain(kind) and not _named_since(b, at, attributes, name):
        b.lines.pop(at)
        whole = f"{b.constant(build.instance, 'instance')}({b.value(kind)}, {attributes})"
        b.emit(f"{name} = {_copied(b, value) or whole}")
    elif attributes:
        b.emit(f"{b.space(type(value), name)}.update({attributes})")
    _slots(b, value, name)
    return name


def _copied(b: Builder, value: Any) -> str:
    """An instance with the same constants among its attributes each time: a copy of them; "" where few are constants."""
    fixed, varying = {}, {}
    for name, item in object.__getattribute__(value, "__dict__").items():
        text = b.value(item)
        constant = b.known_constant(item, text)
        fixed[name] = item if constant else None
        if not constant:
            varying[name] = text
    if len(fixed) - len(varying) < 2 or any(type(name) is not str for name in fixed):
        return ""
    names = tuple(name for name in fixed if name in varying)
    given = [b.value(type(value)), *map(varying.__getitem__, names)]
    return f"{b.constant(build.Mold(fixed, names), 'mold')}({', '.join(given)})"


def _is_plain(kind: type) -> bool:
    """Instances are what object's own allocation makes, with a ``__dict__``."""
    return bool(kind.__dictoffset__) and not inspect.isabstract(kind)


def _named_since(b: Builder, at: int, text: str, name: str) -> bool:
    """Whether anything that was written after line ``at``, or the text, speaks of that name."""
    return _mentions(text, name) or any(_mentions(line, name) for line in b.lines[at + 1 :])


__all__ = ["Unread"]
