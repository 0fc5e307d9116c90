"""What a program sees of its own frame: namespaces, ``super()``; and code that is made at run time."""

from __future__ import annotations

import builtins
import types
from typing import Any

from alternator.exc import Break, UserRaise
from alternator.interpreter import attributes, calls
from alternator.interpreter.frame import NULL
from alternator.interpreter.tables import GETTERS, RULES
from alternator.interpreter.type_facts import facts
from alternator.provenance.world import MISSING, Unread, class_space, is_heap


@RULES.rule(globals)
def rule_globals(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.world.admit(vm.frame.globals, vm.globals_source(vm.frame.func))


@RULES.rule(dir)
def rule_dir(vm: Any, args: Any, kwargs: Any) -> Any:
    if not args:
        return sorted(rule_locals(vm, args, kwargs))
    kind = type(args[0])
    found = vm.world.class_attr(kind, "__dir__")
    if type(found) is types.FunctionType:
        return calls.call(vm, sorted, (calls.call(vm, found, args, {}),), {})
    if id(args[0]) in vm.records or is_heap(kind) and not vm.world.is_made(kind):
        raise Break("FRAME_INTROSPECTION", f"all names of a {kind.__name__}")
    return vm.plain(dir, *args)


@RULES.rule(locals)
def rule_locals(vm: Any, args: Any, kwargs: Any) -> Any:
    frame = vm.frame
    found = {}
    for name, value in zip(frame.decoded.localsplus_names, frame.locals):
        if type(value) is Unread:
            value = vm.world.admit(value.obj, value.source)
        if value is not NULL and type(value) is not types.CellType:
            found[name] = value
    if any(type(v) is types.CellType for v in frame.locals):
        raise Break("FRAME_INTROSPECTION", "locals() in a function with cells")
    return found


def _refuse(code: str, *functions: Any) -> None:
    for fn in functions:

        def rule(vm: Any, args: Any, kwargs: Any, name: str = fn.__name__) -> Any:
            raise Break(code, f"{name}()")

        RULES.put(fn, rule)


_refuse("EXEC", exec, eval, compile)
_refuse("IO", open, input)
_refuse("BREAKPOINT", builtins.breakpoint)


@RULES.rule(super)
def rule_super(vm: Any, args: Any, kwargs: Any) -> Any:
    if args:
        return _super(vm, args[0], args[1] if len(args) > 1 else None)
    frame = vm.frame
    if not frame.code.co_argcount:
        raise vm.user_raise(RuntimeError("super(): no arguments"))
    if "__class__" not in frame.code.co_freevars:
        raise vm.user_raise(RuntimeError("super(): __class__ cell not found"))
    owner = frame.locals[0]
    if type(owner) is types.CellType and frame.code.co_varnames[0] in frame.code.co_cellvars:
        owner = vm.load_cell(owner, frame.code.co_varnames[0], False)
    elif type(owner) is Unread:
        owner = frame.locals[0] = vm.world.admit(owner.obj, owner.source)
    if owner is NULL:
        raise vm.user_raise(RuntimeError("super(): arg[0] deleted"))
    at = frame.decoded.localsplus_names.index("__class__")
    try:
        cls = vm.load_cell(frame.locals[at], "__class__", True)
    except UserRaise:
        raise vm.user_raise(RuntimeError("super(): empty __class__ cell")) from None
    if not issubclass(type(cls), type):
        raise vm.user_raise(RuntimeError(f"super(): __class__ is not a type ({type(cls).__name__})"))
    return _super(vm, cls, owner)


def _super(vm: Any, cls: Any, obj: Any) -> Any:
    if not issubclass(type(cls), type):
        raise vm.user_raise(TypeError(f"super() argument 1 must be a type, not {type(cls).__name__}"))
    for one in (attributes.type_of(vm, obj), obj):
        if issubclass(type(one), type):
            vm.world.rely_on_bases(one)
    if obj is not None and not (issubclass(type(obj), type) and issubclass(obj, cls)):
        if not issubclass(attributes.type_of(vm, obj), cls):
            if facts(vm, type(obj)).getattribute is not None or issubclass(type(obj), super):
                raise Break("UNSUPPORTED_ATTRIBUTE", f"super() of a {type(obj).__name__} that says it is something else")
            raise vm.user_raise(TypeError("super(type, obj): obj must be an instance or subtype of type"))
    return Super(cls, obj)


class Super:
    """``super(cls, obj)`` in captured code."""

    def __init__(self, cls: type, obj: Any) -> None:
        self.cls = cls
        self.obj = obj


def super_getattr(vm: Any, proxy: Super, name: str) -> Any:
    obj = proxy.obj
    start = obj if issubclass(type(obj), type) and issubclass(obj, proxy.cls) else attributes.type_of(vm, obj)
    mro = start.__mro__
    if mro is None or proxy.cls not in mro:  # None while metaclass.mro() runs
        raise Break("UNSUPPORTED_ATTRIBUTE", f"super() of {start.__name__}, whose bases have changed")
    for base in mro[mro.index(proxy.cls) + 1 :]:
        if name in class_space(base):
            raw = class_space(base)[name]
            vm.world.class_attr(base, name)
            if is_heap(base) and hasattr(type(raw), "__get__"):
                attributes.vm_trusted(vm, raw)
            if start is obj:
                return _super_class_attr(vm, raw, obj, base, name)
            if not hasattr(type(raw), "__get__"):
                return vm.world.class_value(base, name, raw)
            if type(raw) is property:
                return calls.call(vm, attributes.vm_trusted(vm, raw.fget), (obj,), {})
            if name == "__class__":
                return attributes.type_of(vm, obj)
            return attributes.bind(vm, raw, obj, start, name)
        vm.world.class_attr(base, name)
    raise vm.user_raise(AttributeError(f"'super' object has no attribute '{name}'"))


def _super_class_attr(vm: Any, raw: Any, cls: type, base: type, name: str) -> Any:
    kind = type(raw)
    if kind is classmethod:
        return attributes.bind_class(vm, raw, cls)
    if kind is staticmethod:
        return raw.__func__
    if kind is types.FunctionType:
        return raw
    return vm.plain(raw.__get__, None, cls) if hasattr(kind, "__get__") else vm.world.class_value(base, name, raw)


attributes.GETATTR.put(Super, super_getattr)


def _cell_contents(vm: Any, cell: types.CellType) -> Any:
    rec = vm.records.get(id(cell))
    if rec is not None and (rec.attrs is None or "cell_contents" not in rec.attrs):
        source = rec.source.child("cell")
        try:
            return vm.world.admit(cell.cell_contents, source)
        except ValueError as error:
            source.guard("UNSET")
            raise vm.user_raise(error) from None
    value = vm.plain(lambda: cell.cell_contents) if rec is None else rec.attrs["cell_contents"]
    if value is MISSING:
        raise vm.user_raise(ValueError("Cell is empty"))
    if type(value) is Unread:
        value = cell.cell_contents = vm.world.admit(value.obj, value.source)
    return value


GETTERS.put(types.CellType.__dict__["cell_contents"], _cell_contents)
