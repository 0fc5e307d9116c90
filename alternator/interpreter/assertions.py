"""``assert tensor_condition`` and checks of unbacked symbols: assertions in the graph instead of breaks.

An assertion that fails leaves the captured function in the middle of the graph, when nothing of what generated code does after
the graph has happened.  So it is put there only while there is nothing to do: no effect so far, nothing outside changed in
place, torch's state as it was, no handler that could catch the exception.  Anywhere else the branch is a break.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from alternator.interpreter import tensor_ops
from alternator.provenance.changes import has_changed, records
from alternator.provenance.world import Unread
from alternator.tensors.subgraph import changes_unseen

BRANCHES = {"POP_JUMP_FORWARD_IF_TRUE": True, "POP_JUMP_FORWARD_IF_FALSE": False}
"""Opcode -> the value with which it jumps."""


def passing_value(vm: Any, condition: Any) -> bool | None:
    """The truth value with which the program goes on, where the branch in progress is an assertion; it is in the graph now.

    None: it is no assertion, or cannot be one of the graph.
    """
    frame = vm.frame
    if frame is None or not vm.config.rewrite_assert_with_torch_assert:
        return None
    instr = frame.instrs[frame.at]
    jumps_if = BRANCHES.get(instr.opname)
    if jumps_if is None:
        return None
    for passing, failing in ((jumps_if, frame.at + 1), (not jumps_if, instr.target)):
        args = _message(frame.instrs, failing)
        if args is not None and check(vm, condition, AssertionError, args, passing):
            return passing
    return None


def _message(instrs: Any, at: int) -> tuple[Any, ...] | None:
    """The arguments of the AssertionError that is raised there, if they are constants."""
    names = [instr.opname for instr in instrs[at : at + 5]]
    if names[:2] == ["LOAD_ASSERTION_ERROR", "RAISE_VARARGS"]:
        return ()
    if names == ["LOAD_ASSERTION_ERROR", "LOAD_CONST", "PRECALL", "CALL", "RAISE_VARARGS"]:
        return (instrs[at + 1].argval,)
    return None


def check(vm: Any, condition: Any, error: type[Exception], args: tuple[Any, ...], passing: bool = True) -> bool:
    """Put into the graph that ``error(*args)`` is raised unless ``condition`` has the passing value; False: not possible."""
    if issubclass(type(condition), torch.Tensor) and condition.numel() != 1 or not _can_leave(vm):
        return False
    if (waiting := _waiting_calls(vm)) is None:
        return False
    frame = vm.frame
    checks = vm.states.setdefault("checks", {})
    text = f"{args[0] if args else 'assertion failed'} [check {len(checks)}, {frame.code.co_filename}:{frame.line()}]"
    checks[text] = error, args, frame.code, frame.line(), waiting
    if issubclass(type(condition), torch.Tensor):
        if not passing:
            condition = tensor_ops.call(vm, torch.logical_not, (condition,), {})
        tensor_ops.call(vm, torch._assert_async, (condition, text), {})
        return True
    if not passing:
        condition = torch.sym_not(condition)
    vm.recorder.record("call_function", torch.ops.aten._assert_scalar.default, (condition, text), {}, None)
    vm.symbolic(torch._check, condition)
    return True


def is_unbacked(condition: Any) -> bool:
    """Only the run of the graph can tell."""
    return issubclass(type(condition), torch.SymBool) and bool(free_unbacked_symbols(condition))


def nothing_waits(vm: Any) -> bool:
    """All that the program has done so far is done: nothing is left for generated code to do after the graph."""
    return not vm.world.effects and _nothing_is_written(vm)


def _can_leave(vm: Any) -> bool:
    """An exception may leave the captured function here, in the middle of the graph."""
    if vm.generators or not _nothing_is_written(vm):
        return False
    frame = vm.frame
    while frame is not None:
        if frame.decoded.exception_entry(frame.at) is not None:
            return False
        frame = frame.parent
    return True


def _waiting_calls(vm: Any) -> list[Any] | None:
    """The calls that generated code makes after the graph so far, if there is nothing else that it does, and nothing that the
    graph computes goes into them."""
    calls = []
    for kind, *call in vm.world.effects:
        if kind != "call" or len(call) != 3:
            return None
        fn, args, kwargs = call
        spaces = {name: space for name, value in kwargs.items() if (space := _module_of(value)) is not None}
        rest = {name: value for name, value in kwargs.items() if name not in spaces}
        if not all(type(a) in _CONSTANTS for a in (*args, *rest.values())):
            return None
        calls.append((functools.partial(_with_globals_of, fn, spaces) if spaces else fn, args, rest))
    return calls


def _module_of(value: Any) -> str | None:
    """The name of the module whose globals these are: a compiled version must not keep them alive."""
    if type(value) is not Unread or type(value.obj) is not dict:
        return None
    name = value.obj.get("__name__")
    module = sys.modules.get(name) if type(name) is str else None
    return name if module is not None and vars(module) is value.obj else None


def _with_globals_of(fn: Any, modules: dict[str, str], /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs, **{name: vars(sys.modules[module]) for name, module in modules.items()})


_CONSTANTS = frozenset({str, int, float, bool, type(None), type})


def _nothing_is_written(vm: Any) -> bool:
    if vm.changed_state:
        return False
    if any(entry.example is not None and vm.recorder.changed_in_place(entry) for entry in vm.recorder.inputs):
        return False
    if any(changes_unseen(node) for node in vm.recorder.graph.nodes):
        return False
    return not any(has_changed(rec) for rec in records(vm))
