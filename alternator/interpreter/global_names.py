"""Global names: what functions find in their namespace, which modules show as attributes, and programs have in hand as a dict.

Writes by name and to a module are kept beside the namespace (``shadow_globals``).  Once the program has asked for the dict
itself, that has a stand-in like any other: then names and attributes are read from it, and written to it.
"""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from alternator.exc import Break, Restart, UserRaise
from alternator.interpreter import attributes, calls, operations
from alternator.interpreter.tables import RULES
from alternator.provenance.source import Source
from alternator.provenance.world import MISSING, module_space


def source_of(vm: Any, func: types.FunctionType) -> Source:
    """The source of a function's global namespace."""
    space = func.__globals__
    source: Source | None = vm.global_sources.get(id(space))
    if source is None:
        if space is vm.root_globals:
            source = vm.world.tree.globals()
        else:
            module = sys.modules.get(space.get("__name__", ""))
            if module is not None and vars(module) is space:
                source = vm.world.tree.object(module).child("dict")
            else:
                rec = vm.records.get(id(func))
                source = (rec.inner if rec is not None else vm.world.tree.object(func)).child("func", "globals")
        vm.global_sources[id(space)] = source
    return source


def in_hand(vm: Any, space: dict[str, Any]) -> dict[str, Any] | None:
    """What stands for a namespace that the program has asked for; None: it has not."""
    rec = vm.records.get(id(space))
    return None if rec is None else rec.standin


def look_up(vm: Any, standin: dict[str, Any], name: str) -> Any:
    """A name in it, or MISSING."""
    return RULES.get(dict.get)(vm, (standin, name, MISSING), {})


def put(vm: Any, standin: dict[str, Any], name: str, value: Any) -> None:
    """Write a name there (MISSING: delete it)."""
    if value is MISSING:
        operations.delitem(vm, standin, name)
    else:
        operations.setitem(vm, standin, name, value)


def load(vm: Any, func: types.FunctionType, name: str) -> Any:
    """``LOAD_GLOBAL``"""
    space = func.__globals__
    rec = vm.records.get(id(space))
    if rec is not None:
        value = look_up(vm, rec.standin, name)
        return _builtin(vm, func, name) if value is MISSING else value
    handle = (id(space), name)
    value = vm._globals_memo.get(handle, MISSING)
    if value is not MISSING:
        return value
    shadow = vm.shadow_globals.get(id(space))
    if shadow is not None and name in shadow:
        value = shadow[name]
        if value is not MISSING:
            return value
    source = source_of(vm, func).child("dictitem", name)
    if name in space and (shadow is None or name not in shadow):
        value = vm.world.admit(space[name], source)
    else:
        if shadow is None or name not in shadow:
            source.guard("ABSENT")
        value = _builtin(vm, func, name)
    vm._globals_memo[handle] = value
    return value


def _builtin(vm: Any, func: types.FunctionType, name: str) -> Any:
    found: Any = func.__builtins__  # type: ignore[attr-defined]
    if name not in found:
        raise vm.user_raise(NameError(f"name '{name}' is not defined", name=name))
    owner = vm.world.tree.object(builtins).child("dict") if found is vars(builtins) else vm.world.tree.object(found)
    return vm.world.admit(found[name], owner.child("dictitem", name))


def load_or(vm: Any, func: types.FunctionType, name: str, default: Any) -> Any:
    """A builtin that an opcode looks up by name."""
    try:
        return load(vm, func, name)
    except UserRaise:
        return default


def store(vm: Any, func: types.FunctionType, name: str, value: Any) -> None:
    """``STORE_GLOBAL``, ``DELETE_GLOBAL``"""
    space = func.__globals__
    standin = in_hand(vm, space)
    if standin is not None:
        put(vm, standin, name, value)
        return
    vm._globals_memo.pop((id(space), name), None)
    vm.shadow_globals.setdefault(id(space), {})[name] = value
    vm.world.effects.append(("global", space, source_of(vm, func), name, value))


# ---- as attributes of modules


def load_attribute(vm: Any, module: types.ModuleType, name: str) -> Any:
    """``module.name``"""
    rec = vm.world.trusted(module)
    if rec.attrs is not None and name in rec.attrs:
        value = rec.attrs[name]
        if value is not MISSING:
            return value
    space = module_space(module)
    known: Any = vm.shadow_globals.get(id(space), ())
    standin = in_hand(vm, space)
    if standin is not None and (name in space or name in standin):
        known = {name: look_up(vm, standin, name)}
    if name in known:
        value = known[name]
        if value is not MISSING:
            return value
        if name == "__annotations__":
            raise _annotations_are_made()
        if "__getattr__" in space:
            raise Break("UNSUPPORTED_ATTRIBUTE", f"{name} of {module.__name__}, which was deleted")
        error = AttributeError(f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module)
        raise vm.user_raise(error)
    if name not in space:
        if name == "__dict__":
            if type(vm.world.class_attr(type(module), name)) is property:
                raise Break("UNSUPPORTED_ATTRIBUTE", f"__dict__ of a {type(module).__name__}")
            return vm.world.admit(space, vm.world.tree.object(module).child("dict"))
        if name == "__annotations__":
            raise _annotations_are_made()
        raw = vm.world.class_attr(type(module), name)
        if type(raw) is types.WrapperDescriptorType:
            return attributes.bind(vm, raw, module, type(module), name)
        fallback = space.get("__getattr__")
        if type(fallback) is types.FunctionType and str(space.get("__name__")).partition(".")[0] not in _LOAD_LAZILY:
            return _ask(vm, module, name)
        try:
            getattr(module, name)  # lazy modules put the attribute into their namespace
        except AttributeError as error:
            vm.world.tree.object(module).child("dict").child("dictitem", name).guard("ABSENT")
            raise vm.user_raise(error) from None
        except Exception as error:
            raise Break("UNSUPPORTED_ATTRIBUTE", f"{name} of {module.__name__}, which raises {type(error).__name__}") from None
        if name not in space:
            return vm.world.admit(getattr(module, name), vm.world.tree.object(module).child("attr", name))
    value = vm.world.admit(space[name], vm.world.tree.object(module).child("dict").child("dictitem", name))
    vm.attr_memo[(id(module), name)] = value
    return value


def _ask(vm: Any, module: types.ModuleType, name: str) -> Any:
    """What the module's ``__getattr__`` gives.  If it loads a module first, and does nothing else, that is done at once."""
    effects, key = len(vm.world.effects), ("loaded", module.__name__, name)
    found = vm.world.tree.object(module).child("dict").child("dictitem", name)
    try:
        value = calls.call(vm, load_attribute(vm, module, "__getattr__"), (name,), {})
    except Break:
        if len(vm.world.effects) != effects or key in vm.root_state or not _is_importing(vm.broken):
            raise
        vm.root_state[key] = True
        try:
            vm.plain(getattr, module, name)
        except Exception as error:
            raise Break("UNSUPPORTED_ATTRIBUTE", f"{name} of {module.__name__}, which raises {type(error).__name__}") from None
        raise Restart(lambda: None) from None
    except UserRaise:
        found.guard("ABSENT")
        raise
    found.guard("ABSENT")
    return value


def _is_importing(frame: Any) -> bool:
    while frame is not None:
        if frame.globals.get("__name__") in ("importlib", "importlib._bootstrap"):
            return True
        frame = frame.parent
    return False


_LOAD_LAZILY = frozenset({"torch", "numpy", "scipy", "alternator"})
"""Packages whose modules have a ``__getattr__`` that loads others and changes nothing else: it is asked while tracing."""


def _annotations_are_made() -> Break:
    return Break("UNSUPPORTED_ATTRIBUTE", "__annotations__ of a module that has none yet: reading them makes them")


def store_attribute(vm: Any, module: types.ModuleType, name: str, value: Any) -> None:
    """``module.name = value`` (MISSING: ``del module.name``)"""
    if module is builtins:
        raise Break("UNSUPPORTED_EFFECT", f"a change of {name} of the builtins, which all code uses")
    rec, space = vm.world.trusted(module), module_space(module)
    standin = in_hand(vm, space)
    if standin is not None:
        put(vm, standin, name, value)
        return
    vm._globals_memo.pop((id(space), name), None)
    vm.shadow_globals.setdefault(id(space), {})[name] = value
    vm.world.write_attr(rec, name, value)
