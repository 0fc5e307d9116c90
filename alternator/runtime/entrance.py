"""What a call of a module comes to: its ``forward``, as long as nothing stands in between.

``nn.Module.__call__`` looks for hooks, and calls ``forward``.  The native side may go straight to ``forward`` while the
guards say that it would: the methods of the class are torch's own, nothing hides them, there are no hooks.  Where hooks stand
in between it goes to a frame that is nothing but the call, so that they are captured together with ``forward``.
"""

from __future__ import annotations

import collections
import types
import weakref
from typing import Any, Callable

import torch
from torch.nn.modules import module as torch_module
from torch.nn.modules.lazy import LazyModuleMixin

from alternator._C.guards import GuardTree
from alternator.provenance.source import Source, SourceTree
from alternator.runtime import skip, trampoline

_Module = torch.nn.Module
_CALL = _Module.__call__
_CALL_IMPL = _Module._call_impl
_CODES = (_CALL.__code__, _CALL_IMPL.__code__)

_HOOKS = ("_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_pre_hooks")
_FORWARD = frozenset({"_forward_hooks", "_forward_pre_hooks"})
_GLOBAL_HOOKS = tuple("_global" + name for name in _HOOKS)
_DICTS = (dict, collections.OrderedDict)
_METHODS = {"__call__": _CALL, "_call_impl": _CALL_IMPL, "__getattribute__": object.__getattribute__}


def entrance(mod: torch.nn.Module) -> Callable[[], Any]:
    """A function that makes the guards under which calling the module is calling its ``forward``, and that function.

    With hooks on the module it gives the guards under which there are some, a function with a frame for the whole call, and True.
    It returns None where something else stands in between now.
    """
    ref = weakref.ref(mod)

    def make() -> Any:
        found = ref()
        return _prelude(found) if found is not None else None

    return make


def _prelude(mod: torch.nn.Module) -> Any:
    cls = type(mod)
    forward = getattr(cls, "forward", None)
    space = mod.__dict__
    if type(forward) is not types.FunctionType or (_CALL.__code__, _CALL_IMPL.__code__) != _CODES or not _is_torchs_own():
        return None
    if any(type(space.get(name)) not in _DICTS for name in _HOOKS):
        return None
    tree = SourceTree()
    root = tree.object(mod)
    root.guard("TYPE", cls)
    kind = root.child("type")
    for name, method in _METHODS.items():
        kind.child("typeattr", name).guard("IS", method)
    for name in _HOOKS:
        kind.child("typeattr", name).guard("ABSENT")
    hooked = [name for name in _HOOKS if space[name]]
    if hooked:
        return _with_hooks(mod, tree, root, hooked)
    kind.child("typeattr", "forward").guard("IS", forward)
    kind.child("typeattr", "_compiled_call_impl").guard("IS", None)
    for name in ("forward", "_call_impl", "_compiled_call_impl"):
        root.attribute(name).guard("ABSENT")
    for name in _HOOKS:
        _no_hooks(root.attribute(name), space[name])
    for method in (_CALL, _CALL_IMPL):
        tree.object(method).child("func", "code").guard("IS", method.__code__)
    shared = tree.object(_CALL_IMPL).child("func", "globals")
    for name in _GLOBAL_HOOKS:
        if type(getattr(torch_module, name, None)) not in _DICTS:
            return None
        _no_hooks(shared.child("dictitem", name), getattr(torch_module, name))
    return _made(tree, forward)


def _made(tree: SourceTree, *what: Any) -> Any:
    try:
        return GuardTree(*tree.rows(), None, ()), *what
    except RuntimeError:  # something does stand in between
        return None


def _with_hooks(mod: torch.nn.Module, tree: SourceTree, root: Source, hooked: list[str]) -> Any:
    """Forward hooks, on this very module; others run plainly, and so do those that make a lazy module what it is."""
    if (
        isinstance(mod, LazyModuleMixin)
        or not set(hooked) <= _FORWARD
        or any(getattr(torch_module, name) for name in _GLOBAL_HOOKS)
    ):
        return None
    if skip.of_function(type(mod).forward) is not skip.Verdict.CAPTURE:
        return None
    for name in hooked:
        root.attribute(name).guard("TYPE", type(getattr(mod, name)))
        root.attribute(name).guard("LEN", len(getattr(mod, name)))
    return _made(tree, trampoline.calling(type(mod)), True)


def _no_hooks(source: Source, hooks: Any) -> None:
    source.guard("TYPE", type(hooks))
    source.guard("KEYS", ())


def _is_torchs_own() -> bool:
    """Other libraries replace these methods at times."""
    return all(code.co_filename == torch_module.__file__ for code in _CODES) and (
        [code.co_name for code in _CODES] == ["_wrapped_call_impl", "_call_impl"]
    )
