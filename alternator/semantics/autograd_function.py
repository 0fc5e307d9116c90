"""torch.autograd.Function: forward and backward become subgraphs of one operator that AOTAutograd knows how to differentiate.

``forward`` is interpreted once with the real arguments; ``backward`` is interpreted with fakes for the gradients.  What the
backward needs of the forward (saved tensors, tensors kept on the context) is returned by the forward's graph besides its
results, and is an input of the backward's.
"""

from __future__ import annotations

import inspect
import operator
import types
from typing import Any

import torch
from torch._C._functorch import TransformType
from torch._functorch.autograd_function import autograd_function_apply
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch._subclasses.fake_tensor import FakeTensor

from alternator.exc import Break
from alternator.interpreter import attributes, binding, overrides, tensor_ops
from alternator.interpreter.tables import GETATTR, REBUILD, RULES
from alternator.provenance.world import MISSING
from alternator.semantics.bodies import Body, run_body

Function = torch.autograd.Function


class TracedContext(torch.autograd.function.FunctionCtx):
    """What stands for ``ctx`` in captured code; its methods are those of torch, in Python."""

    to_save: tuple[Any, ...] = ()
    dirty_tensors: tuple[Any, ...] = ()
    non_differentiable: tuple[Any, ...] = ()
    materialize_grads = True

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        return self.to_save


def _context_attr(vm: Any, ctx: TracedContext, name: str) -> Any:
    value = attributes.lookup(vm, ctx, name)
    if value is MISSING:
        if hasattr(torch._C._FunctionBase, name):
            raise Break("AUTOGRAD_FUNCTION", f"ctx.{name}")
        raise vm.user_raise(AttributeError(f"'{type(ctx).__name__}' object has no attribute '{name}'", name=name, obj=ctx))
    return value


GETATTR.put(TracedContext, _context_attr)


@REBUILD.rule(TracedContext)
def rebuild_context(builder: Any, value: Any) -> str:
    raise Break("AUTOGRAD_FUNCTION", "ctx outlives the call")


# ---- apply


@RULES.rule(Function.__dict__["apply"].__func__)
def rule_apply(vm: Any, args: Any, kwargs: Any) -> Any:
    """``Function.apply``"""
    cls, *given = args
    setup = vm.getattr(cls, "setup_context")
    forward = vm.getattr(cls, "forward")
    separate = setup is not torch.autograd.function._SingleLevelFunction.setup_context
    if torch._C._are_functorch_transforms_active():
        _check_transforms(vm, cls, given, separate)
    if kwargs or separate:
        given = _positional(vm, forward, given, kwargs, separate)
    _check_classes(vm, given)
    ctx = TracedContext()
    vm.world.pins.append(ctx)
    ctx.needs_input_grad = tuple(issubclass(type(a), torch.Tensor) and a.requires_grad for a in given)  # type: ignore[attr-defined]
    run = (_forward_and_setup, (forward, setup, ctx, tuple(given))) if separate else (forward, (ctx, *given))
    if torch.is_grad_enabled() and any(ctx.needs_input_grad):  # type: ignore[attr-defined]
        return Application(vm, cls, ctx, given).record(*run)
    return _without_grad(vm, given, ctx, *run)


def _check_classes(vm: Any, tensors: Any) -> None:
    """The operator gives new tensors, which would have lost the class that the program gave one."""
    for value in tensors if vm.overrides.active else ():
        if type(value) is FakeTensor and not overrides.is_plain_class(tensor_ops.type_of(vm, value)):
            raise Break("TENSOR_SUBCLASS", f"autograd.Function with a {tensor_ops.type_of(vm, value).__name__}")


def _check_transforms(vm: Any, cls: type, given: list[Any], separate: bool) -> None:
    """Under one ``grad`` the operator does what the function does; under ``vmap`` its forward can be inlined, if it says so.

    The operator keeps what it saves outside of autograd, so nothing around may differentiate its backward.
    """
    if not separate:
        text = (
            "In order to use an autograd.Function with functorch transforms "
            "(vmap, grad, jvp, jacrev, ...), it must override the setup_context "
            "staticmethod. For more details, please see "
            "https://pytorch.org/docs/main/notes/extending.func.html"
        )
        raise vm.user_raise(RuntimeError(text))
    kinds = [level.key() for level in retrieve_all_functorch_interpreters()]
    batched = set(kinds) == {TransformType.Vmap} and vm.truth(vm.getattr(cls, "generate_vmap_rule"))
    if not batched and kinds != [TransformType.Grad] or any(_differentiated_outside(a) for a in given):
        raise Break("FUNC_TRANSFORM", f"autograd.Function {cls.__name__} under this combination of transforms")


def _differentiated_outside(value: Any) -> bool:
    """A tensor below the innermost level requires a gradient."""
    while issubclass(type(value), torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(value):
        value = torch._C._functorch.get_unwrapped(value)
        if value.requires_grad:
            return True
    return False


def _positional(vm: Any, forward: Any, given: list[Any], kwargs: dict[str, Any], separate: bool) -> list[Any]:
    """All arguments by position; where the context is set up separately, defaults are filled in too."""
    func = forward.__func__ if issubclass(type(forward), types.MethodType) else forward
    if type(func) is not types.FunctionType:
        raise Break("AUTOGRAD_FUNCTION", f"forward is a {type(func).__name__}")
    first = (not separate) + issubclass(type(forward), types.MethodType)
    names = list(inspect.signature(func).parameters.values())[first:]
    values = list(given)
    rest = dict(kwargs)
    for at, parameter in enumerate(names[len(given) :], len(given) + first):
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            raise Break("AUTOGRAD_FUNCTION", "forward with keyword-only arguments")
        if parameter.kind is parameter.VAR_POSITIONAL:
            break
        if parameter.name in rest:
            values.append(rest.pop(parameter.name))
        elif separate and parameter.default is not parameter.empty:
            values.append(binding.default_of(vm, func, at - func.__code__.co_argcount + binding.count_defaults(vm, func)))
        elif rest or separate:
            raise Break("AUTOGRAD_FUNCTION", f"forward is called without its argument {parameter.name}")
        else:
            break
    if rest:
        raise Break("AUTOGRAD_FUNCTION", f"forward has no argument {next(iter(rest))}")
    return values


def _forward_and_setup(forward: Any, setup_context: Any, ctx: Any, args: Any) -> Any:
    """Polyfill: interpreted."""
    output = forward(*args)
    setup_context(ctx, args, output)
    return output


def _backward_of_list(backward: Any, ctx: Any, *grads: Any) -> Any:
    """Polyfill for ``boxed_grads_call``: interpreted."""
    return backward(ctx, list(grads))


# ---- no gradient asked for: only the forward matters


def _without_grad(vm: Any, given: list[Any], ctx: TracedContext, fn: Any, args: tuple[Any, ...]) -> Any:
    """Inline the forward; it never builds an autograd graph, whatever it uses."""
    graph = vm.recorder.graph
    if torch.is_grad_enabled():
        count = len(graph.nodes)
        vm.call(torch._C._set_grad_enabled, (False,))
        try:
            output = vm.call(fn, args)
        finally:
            vm.call(torch._C._set_grad_enabled, (True,))
        nodes = list(graph.nodes)[count:]
        if not any(_requires_grad(a) for node in nodes for a in node.all_input_nodes):
            for node in (n for n in nodes if n.target is torch._C._set_grad_enabled):
                graph.erase_node(node)
    else:
        output = vm.call(fn, args)
    items = output if issubclass(type(output), tuple) else (output,)
    made = tuple(_fresh_output(vm, item, given, ctx) for item in items)
    return made if issubclass(type(output), tuple) else made[0]


def _requires_grad(node: torch.fx.Node) -> bool:
    value = node.meta.get("example_value")
    return issubclass(type(value), torch.Tensor) and value.requires_grad


def _fresh_output(vm: Any, item: Any, given: list[Any], ctx: TracedContext) -> Any:
    if not issubclass(type(item), torch.Tensor):
        return item
    _check_classes(vm, (item,))
    if any(item is a for a in given) and not any(item is d for d in ctx.dirty_tensors):
        return tensor_ops.call_method(vm, "view_as", item.view_as, (item, item), {})
    if item.requires_grad:
        raise Break("AUTOGRAD_FUNCTION", "forward returns a tensor that is not its own")
    return item


# ---- with gradients: one operator


class Unstrided(BaseException):
    """The backward asked how a gradient lies in memory, which nobody knows before it runs."""


class Application:
    """One application of a Function that takes part in differentiation."""

    def __init__(self, vm: Any, cls: type, ctx: TracedContext, given: list[Any]) -> None:
        self.vm, self.cls, self.ctx, self.given = vm, cls, ctx, given
        self.what = f"autograd.Function {cls.__name__}"

    def record(self, fn: Any, args: tuple[Any, ...]) -> Any:
        forward = self.forward(fn, args)
        single = not issubclass(type(forward.result), tuple)
        items = [forward.result] if single else list(forward.result)
        items = [self._own_output(forward, item) for item in items]
        outputs = [item for item in items if issubclass(type(item), torch.Tensor)]
        if not outputs or len({id(o) for o in outputs}) != len(outputs):
            raise Break("AUTOGRAD_FUNCTION", f"{self.cls.__name__}: forward returns no tensor, or one tensor twice")
        backward, grads, contiguous = self.backward(forward, items)
        results = self.apply(forward, backward, grads, contiguous, outputs)
        made = iter(results)
        answer = tuple(next(made) if issubclass(type(item), torch.Tensor) else item for item in items)
        return answer[0] if single else answer

    def forward(self, fn: Any, args: tuple[Any, ...]) -> Body:
        vm = self.vm
        with NoGrad(vm):
            body = run_body(vm, self.what, fn, args, effects=True, mutation=True)
        for value in self.given:
            if issubclass(type(value), torch.Tensor):
                body.recorder.lift(value)
        dirty = self.ctx.dirty_tensors
        if any(not any(t is d for d in dirty) for t in body.recorder.mutated()):
            raise Break("AUTOGRAD_FUNCTION", f"{self.cls.__name__}: forward changes a tensor in place without ctx.mark_dirty")
        if dirty:
            self._check_dirty(body)
        return body

    def _check_dirty(self, body: Body) -> None:
        results = body.result if issubclass(type(body.result), tuple) else (body.result,)
        for tensor in self.ctx.dirty_tensors:
            if not any(tensor is r for r in results):
                raise Break("AUTOGRAD_FUNCTION", f"{self.cls.__name__}: a tensor that is marked dirty is not returned")
            if self.vm.recorder.node_of(tensor).op == "placeholder":
                raise Break("AUTOGRAD_FUNCTION", f"{self.cls.__name__}: an input of the graph is marked dirty")

    def _own_output(self, body: Body, item: Any) -> Any:
        """A result as autograd makes it: an argument that is returned is returned as a view of itself."""
        if not issubclass(type(item), torch.Tensor) or any(item is d for d in self.ctx.dirty_tensors) or body.recorder.owns(item):
            return item
        if not any(item is a for a in self.given):
            raise Break(
                "AUTOGRAD_FUNCTION", f"{self.cls.__name__}: forward returns a tensor that is neither an argument nor its own"
            )
        vm, outer = self.vm, self.vm.recorder
        vm.recorder = body.recorder
        try:
            with NoGrad(vm):
                return tensor_ops.call_method(vm, "view_as", item.view_as, (item, item), {})
        finally:
            vm.recorder = outer

    def backward(self, forward: Body, items: list[Any]) -> tuple[Body, list[Any], bool]:
        """Interpret the backward; again with gradients made contiguous if it looks at how they lie in memory."""
        fn = self._backward_function()
        for contiguous in (False, True):
            grads = [self._gradient(item) if issubclass(type(item), torch.Tensor) else None for item in items]
            vm, outer = self.vm, self.vm.recorder
            frame, handled, depth = vm.frame, vm.handled, vm.depth
            vm.recorder = forward.recorder
            vm.states["unstrided"] = None if contiguous else forward.recorder
            try:
                with NoGrad(vm):
                    body = run_body(
                        vm,
                        f"{self.what}, backward",
                        *self._boxed(fn, (self.ctx, *grads)),
                        formals=[g for g in grads if g is not None],
                        ignore=self.ctx,
                        name="grad",
                    )
                return body, grads, contiguous
            except Unstrided:
                vm.frame, vm.handled, vm.depth, vm.broken = frame, handled, depth, None
            finally:
                vm.recorder = outer
                vm.states["unstrided"] = None
        raise AssertionError("unreachable")

    def _boxed(self, fn: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        if self.vm.truth(self.vm.getattr(self.cls, "boxed_grads_call")):
            return _backward_of_list, (fn, *args)
        return fn, args

    def _backward_function(self) -> Any:
        vm = self.vm
        backward, vjp = vm.getattr(self.cls, "backward"), vm.getattr(self.cls, "vjp")
        if vjp is not torch.autograd.function._SingleLevelFunction.vjp:
            if backward is not torch.autograd.function._SingleLevelFunction.backward:
                raise Break("AUTOGRAD_FUNCTION", f"{self.cls.__name__} defines both backward and vjp")
            return vjp
        return backward

    def _gradient(self, output: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            grad = tensor_ops.execute(self.vm, torch.empty, (output.shape,), {"dtype": output.dtype, "device": output.device})
        self.vm.world.pins.append(grad)
        return grad

    # ---- the operator

    def apply(self, forward: Body, backward: Body, grads: list[Any], contiguous: bool, outputs: list[torch.Tensor]) -> list[Any]:
        vm = self.vm
        inner, outer = forward.recorder, vm.recorder
        answers = self._gradients_by_input(backward)
        saved = backward.recorder.arguments()
        if contiguous:
            _make_contiguous(backward.recorder.graph, len([g for g in grads if g is not None]))
        places = [node for node in inner.graph.nodes if node.op == "placeholder"]
        backward_module = backward.recorder.close(tuple(answers.get(node) for node in places), ())
        forward_module = inner.close((tuple(inner.node_of(o) for o in outputs), tuple(saved)), ())
        _check_classes(vm, outputs)
        options = self._options(outputs, saved, inner)
        examples = tuple(node.meta["example_value"] for node in places)
        with torch.enable_grad():
            results = tensor_ops.execute(vm, autograd_function_apply, (forward_module, backward_module, *examples), options)
        modules = outer.attribute("fwd_body", forward_module), outer.attribute("bwd_body", backward_module)
        self._hide(forward, backward)
        node = outer.graph.create_node("call_function", autograd_function_apply, (*modules, *inner.arguments()), options)
        node.meta["example_value"] = results
        outer.calls += 1
        outer.annotate(node)
        for at, (_, result) in enumerate(zip(outputs, results)):
            made = outer.graph.call_function(operator.getitem, (node, at))
            made.meta["example_value"] = result
            outer.bind(result, made)
        return list(results)

    def _hide(self, forward: Body, backward: Body) -> None:
        backward.recorder.hide(f"{self.what}, backward")
        forward.recorder.hide(self.what)

    def _gradients_by_input(self, backward: Body) -> dict[torch.fx.Node, Any]:
        """placeholder of the forward's graph -> node of the backward's graph that computes its gradient."""
        result = backward.result
        items = list(result) if issubclass(type(result), tuple) else [result]
        if len(items) < len(self.given) or any(item is not None for item in items[len(self.given) :]):
            raise Break(
                "AUTOGRAD_FUNCTION",
                f"{self.cls.__name__}: backward returns {len(items)} gradients for {len(self.given)} arguments",
            )
        recorder = backward.recorder
        found: dict[torch.fx.Node, Any] = {}
        for value, grad in zip(self.given, items):
            if grad is None:
                continue
            if not issubclass(type(value), torch.Tensor) or not issubclass(type(grad), torch.Tensor):
                raise Break(
                    "AUTOGRAD_FUNCTION",
                    f"{self.cls.__name__}: backward returns a {type(grad).__name__} for a {type(value).__name__}",
                )
            place = recorder.parent.node_of(value)
            node = recorder.node_of(grad)
            if place in found:  # one tensor given twice: its gradients add up
                node = recorder.graph.call_function(operator.add, (found[place], node))
            found[place] = node
        return found

    def _options(self, outputs: list[torch.Tensor], saved: list[torch.fx.Node], inner: Any) -> dict[str, Any]:
        ctx = self.ctx
        kept = [inner.node_of(t) for t in ctx.to_save if issubclass(type(t), torch.Tensor)]
        views = {id(o): o for o in outputs}
        plain = [o for o in ctx.non_differentiable if issubclass(type(o), torch.Tensor)]
        if any(id(o) not in views for o in plain):
            raise Break(
                "AUTOGRAD_FUNCTION",
                f"{self.cls.__name__}: a tensor that is marked non-differentiable is not returned, or is an argument",
            )
        options: dict[str, Any] = {
            "non_differentiable_idx": [i for i, o in enumerate(outputs) if any(o is p for p in plain)],
            "saved_for_backward_idx": [i for i, node in enumerate(saved) if node in kept],
        }
        dirty = [i for i, o in enumerate(outputs) if any(o is d for d in ctx.dirty_tensors)]
        if dirty:
            options["dirty_idx"] = dirty
        return options


def _make_contiguous(graph: torch.fx.Graph, count: int) -> None:
    """The first ``count`` inputs are made contiguous before anything uses them."""
    places = [node for node in graph.nodes if node.op == "placeholder"]
    after = next(node for node in graph.nodes if node.op != "placeholder")
    for place in places[:count]:
        with graph.inserting_before(after):
            made = graph.call_method("contiguous", (place,))
        made.meta["example_value"] = place.meta["example_value"]
        place.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)


class NoGrad:
    """Forward and backward of a Function run without recording for autograd: no node says so, the engine does it."""

    def __init__(self, vm: Any) -> None:
        self.vm = vm

    def __enter__(self) -> None:
        self.before = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        self.vm.memo.forget()

    def __exit__(self, *_: Any) -> None:
        torch._C._set_grad_enabled(self.before)
        self.vm.memo.forget()


def _asks_for_strides(name: str) -> None:
    raw = tensor_ops.class_attribute(torch.Tensor, name)

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        forward = vm.states.get("unstrided")
        if forward is not None and not forward.knows(args[0]):
            raise Unstrided
        result = tensor_ops.execute(vm, raw, args, kwargs)
        if name != "contiguous":
            return result
        return tensor_ops.record(vm, "call_method", name, args, kwargs, result)

    tensor_ops.METHODS.put(raw, rule)


for _name in ("is_contiguous", "stride", "contiguous"):
    _asks_for_strides(_name)

__all__ = ["Application", "TracedContext"]
