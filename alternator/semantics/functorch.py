"""torch.func: vmap, grad, jvp and what is made of them.

Their Python code is interpreted like the user's.  What it does in C (enter a level, wrap a tensor for it, unwrap it) is done
for real on fakes and is a node of the graph, so that levels nest as they do in eager mode, and the graph does the same again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch._functorch.eager_transforms as transforms
import torch._functorch.predispatch as predispatch
import torch._functorch.pyfunctorch as pyfunctorch
import torch.autograd.forward_ad as forward_ad

from alternator.exc import Break
from alternator.interpreter.overrides import UNSEEN
from alternator.interpreter.tables import IN_GRAPH, RULES
from alternator.semantics.torch_functions import state_function

_functorch = torch._C._functorch
_autograd = torch._C._autograd


class TransformState:
    """What transforms change of the thread's state, as it was before the first one was entered."""

    def __init__(self) -> None:
        self.depth = _functorch.get_dynamic_layer_stack_depth()
        self.message = _autograd._saved_tensors_hooks_get_disabled_error_message()
        self.forward_grad = torch._C._is_fwd_grad_enabled()
        self.dual_levels: list[int] = []

    def facts(self) -> tuple[Any, ...]:
        return self.depth, self.message, self.forward_grad

    def is_open(self) -> bool:
        """A level has been entered and not left."""
        return bool(self.dual_levels) or TransformState().facts() != self.facts()

    def restore(self) -> None:
        """Leave every level that is still open: the capture ends here, whatever the program was doing."""
        if _functorch.get_dynamic_layer_stack_depth() > self.depth:
            _functorch.pop_dynamic_layer_stack_and_undo_to_depth(self.depth)
        while self.dual_levels:
            torch._C._exit_dual_level(level=self.dual_levels.pop())
        _set_hooks_message(self.message)
        torch._C._set_fwd_grad_enabled(self.forward_grad)


def _set_hooks_message(message: str | None) -> None:
    if message is None:
        _autograd._saved_tensors_hooks_enable()
    else:
        _autograd._saved_tensors_hooks_disable(message)


def _enter_world(vm: Any) -> TransformState:
    """The first use of a transform: remember the state, and guard that the graph is called in the same one."""
    state: TransformState | None = vm.states.get("transforms")
    if state is None:
        state = vm.states["transforms"] = TransformState()
        if state.depth:
            raise Break("FUNC_TRANSFORM", "a transform in a frame that is itself called by a transform")
        expected = state.facts()
        vm.world.tree.tail.append(("PY", (), lambda: TransformState().facts() == expected, "no torch.func transform is active"))
    return state


def restore(vm: Any) -> None:
    """The end of a capture: no level that it entered stays open."""
    state = vm.states.get("transforms")
    if state is not None:
        vm.states["transform_open"] = state.is_open()
        state.restore()


def check_closed(vm: Any) -> None:
    """A graph cannot end inside of a transform: its values are of no use outside."""
    if vm.states.get("transform_open"):
        raise Break("FUNC_TRANSFORM", "the graph would end inside of a transform")


def balanced(vm: Any, compiled: Any) -> Any:
    """A graph that enters levels leaves them when it raises, too."""
    if "transforms" not in vm.states:
        return compiled

    def run(*args: Any) -> Any:
        state = TransformState()
        try:
            return compiled(*args)
        except BaseException:
            state.restore()
            raise

    return run


# ---- entering and leaving levels: for real, and a node


def _changes_state(fn: Any, after: Any = None) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        state = _enter_world(vm)
        result = vm.plain(lambda: fn(*args, **kwargs))
        recorder = vm.recorder
        node = recorder.graph.create_node("call_function", fn, recorder.args(args), recorder.args(kwargs))
        recorder.annotate(node)
        node.meta["example_value"] = result
        vm.memo.paused = _functorch.get_dynamic_layer_stack_depth() > state.depth or bool(state.dual_levels)
        vm.ticks += 1
        if after is not None:
            after(state, result)
        return result

    RULES.put(fn, rule)


for _fn in (
    predispatch._vmap_increment_nesting,
    predispatch._vmap_decrement_nesting,
    predispatch._jvp_increment_nesting,
    predispatch._jvp_decrement_nesting,
    _functorch._grad_increment_nesting,
    _functorch._grad_decrement_nesting,
    _functorch.set_inplace_requires_grad_allowed,
    _autograd._saved_tensors_hooks_disable,
    _autograd._saved_tensors_hooks_enable,
    torch._C._set_fwd_grad_enabled,
):
    _changes_state(_fn)
_changes_state(predispatch._enter_dual_level, lambda state, level: state.dual_levels.append(level))
_changes_state(predispatch._exit_dual_level, lambda state, _: state.dual_levels.pop())


def _refuses(*functions: Any) -> None:
    for fn in functions:

        def rule(vm: Any, args: Any, kwargs: Any, name: str = fn.__name__) -> Any:
            raise Break("FUNC_TRANSFORM", name)

        RULES.put(fn, rule)


_refuses(
    transforms.functionalize,
    transforms.linearize,
    _functorch._func_increment_nesting,
    _functorch._func_decrement_nesting,
    _functorch._wrap_functional_tensor,
    _functorch._unwrap_functional_tensor,
    _functorch.push_dynamic_layer_stack,
    _functorch.pop_dynamic_layer_stack,
    pyfunctorch.retrieve_current_functorch_interpreter,
)


# ---- wrapping and unwrapping: operations on tensors

for _fn in (
    predispatch._add_batch_dim,
    predispatch._remove_batch_dim,
    predispatch._unwrap_for_grad,
    predispatch._make_dual,
    predispatch._unpack_dual,
    _functorch._wrap_for_grad,
    _functorch._unwrap_for_grad,
    _functorch._add_batch_dim,
    _functorch._remove_batch_dim,
    _functorch._unwrap_batched,
    transforms._autograd_grad,
    transforms._set_tensor_requires_grad,
):
    if _fn not in IN_GRAPH:
        IN_GRAPH.put(_fn, True)
    if _fn not in (transforms._autograd_grad, transforms._set_tensor_requires_grad):
        UNSEEN.put(_fn, True)


# ---- questions about levels


def _asks_state(*functions: Any) -> None:
    """Functions that read what is guarded as a whole."""
    for fn in functions:

        def rule(vm: Any, args: Any, kwargs: Any, fn: Any = fn) -> Any:
            _enter_world(vm)
            return vm.plain(lambda: fn(*args, **kwargs))

        if fn not in RULES:
            RULES.put(fn, rule)


_asks_state(
    _functorch.current_level,
    _functorch.get_inplace_requires_grad_allowed,
    _functorch.get_dynamic_layer_stack_depth,
    _autograd._saved_tensors_hooks_get_disabled_error_message,
    torch._C._is_fwd_grad_enabled,
    torch._C._are_functorch_transforms_active,
)
state_function(
    _functorch.is_batchedtensor,
    _functorch.is_gradtrackingtensor,
    _functorch.is_functorch_wrapped_tensor,
    _functorch.maybe_get_level,
    _functorch.maybe_get_bdim,
)


@RULES.rule(predispatch.lazy_load_decompositions)
def lazy_load_decompositions(vm: Any, args: Any, kwargs: Any) -> Any:
    """Registers what batching needs, once per process: nothing that a program could see."""
    return vm.plain(predispatch.lazy_load_decompositions)


@RULES.rule(forward_ad._maybe_load_decompositions)
def maybe_load_decompositions(vm: Any, args: Any, kwargs: Any) -> Any:
    """The same for forward derivatives."""
    return vm.plain(forward_ad._maybe_load_decompositions)


__all__ = ["check_closed", "restore"]
