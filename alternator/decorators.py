"""Marks that programs and libraries put on functions and tensors, and calls that steer the capture from inside."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import Any, Callable, Iterable, NamedTuple

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from alternator import config, marks, utils
from alternator._C import eval_frame
from alternator.backends.registry import lookup_backend
from alternator.exc import IncorrectUsage
from alternator.marks import graph_break, skip_frame, step_unsupported
from alternator.runtime import stance as stances
from alternator.runtime import traced
from alternator.runtime.contexts import DisableContext, RunOnlyContext, disable_frame_only

# ---- what runs compiled


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None, wrapping: bool = True) -> Any:
    """Keep a function, method, module or class out of compiled code; also a decorator.

    ``recursive=False`` keeps only the function's own frame out: what it calls is still compiled.
    """
    if recursive:
        context = DisableContext(reason, wrapping)
        return context if fn is None else context(fn)
    if fn is None:
        return functools.partial(disable_frame_only, reason=reason)
    return disable_frame_only(fn, reason)


def run(fn: Any = None) -> Any:
    """Run with what is compiled already, and compile nothing more."""
    context = RunOnlyContext()
    return context if fn is None else context(fn)


@traced.forbid
class set_stance(contextlib.ContextDecorator):
    """Change what all compiled functions do, for good, for a ``with`` block or for a decorated function.

    ``default``; ``force_eager``: run plainly; ``eager_on_recompile``: run plainly what no entry fits;
    ``fail_on_recompile``: that is an error; ``eager_then_compile``: run plainly once, then compile.
    ``force_backend`` replaces the backend of everything that is compiled.
    """

    _dynamo_forbidden = True

    def __init__(
        self,
        stance: str = "default",
        *,
        skip_guard_eval_unsafe: bool = False,
        force_backend: str | Callable[..., Any] | None = None,
    ) -> None:
        if stance not in stances.STANCES:
            raise RuntimeError(f"invalid torch.compile stance {stance!r}; the stances are {', '.join(stances.STANCES)}")
        if force_backend is not None and stance != "default":
            raise RuntimeError("non-default stance cannot have force_backend set")
        if callable(eval_frame.get_eval_frame()):
            raise RuntimeError("attempted to set_stance in a torch.compile region")
        backend = None if force_backend is None else lookup_backend(force_backend)
        name = force_backend if isinstance(force_backend, str) else getattr(force_backend, "__name__", "custom")
        self.stance = stances.Stance(stance, backend, name, skip_guard_eval_unsafe)
        self._before = [stances.set_current(self.stance)]

    def __call__(self, fn: Any) -> Any:
        stances.set_current(self._before[0])  # a decorator changes the stance only while the function runs
        chosen = self.stance

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            if callable(eval_frame.get_eval_frame()):
                raise RuntimeError("attempted to set_stance in a torch.compile region")
            before = stances.set_current(chosen)
            try:
                return fn(*args, **kwargs)
            finally:
                stances.set_current(before)

        wrapper: Any = call
        wrapper._dynamo_forbidden = True
        return wrapper

    def __enter__(self) -> None:
        stances.set_current(self.stance)

    def __exit__(self, *exc_info: object) -> None:
        stances.set_current(self._before[0])


# ---- what a call of a function means in captured code


def allow_in_graph(fn: Any) -> Any:
    """A call of the function becomes one node of the graph, and the function is not looked into."""
    if isinstance(fn, (list, tuple)):
        return [allow_in_graph(one) for one in fn]
    _needs_callable("allow_in_graph", fn)
    marks.DISALLOWED.discard(fn)
    marks.IN_GRAPH.add(fn)
    traced.put_in_graph(fn)
    return fn


def disallow_in_graph(fn: Any) -> Any:
    """A call of the function breaks the graph, and the function runs plainly."""
    if isinstance(fn, (list, tuple)):
        return [disallow_in_graph(one) for one in fn]
    _needs_callable("disallow_in_graph", fn)
    if not (fn in marks.IN_GRAPH or _is_of_torch(fn)):
        raise IncorrectUsage(
            "disallow_in_graph is for functions that would be nodes of the graph: torch's own, and those registered with "
            f"allow_in_graph. {fn!r} is neither; use alternator.disable to keep it out"
        )
    marks.IN_GRAPH.discard(fn)
    marks.DISALLOWED.add(fn)
    traced.keep_out_of_graph(fn)
    return fn


def forbid_in_graph(fn: Any) -> Any:
    """A call of the function in captured code is an error."""
    if isinstance(fn, (list, tuple)):
        return [forbid_in_graph(one) for one in fn]
    _needs_callable("forbid_in_graph", fn)
    fn._dynamo_forbidden = True
    return fn


def assume_constant_result(fn: Any) -> Any:
    """The function is called once, when it is captured, and its result is a constant from then on."""
    fn._dynamo_marked_constant = True
    return fn


def nonstrict_trace(traceable_fn: Callable[..., Any]) -> Callable[..., Any]:
    """A call of the function becomes one node of the graph, which AOTAutograd looks into.

    Arguments and results are trees of tensors and constants, as ``torch.utils._pytree`` knows them.
    """
    _needs_callable("nonstrict_trace", traceable_fn)

    @functools.wraps(traceable_fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return traceable_fn(*args, **kwargs)

    traced.put_trees_in_graph(wrapped)
    return wrapped


def dont_skip_tracing(fn: Any = None) -> Any:
    """Trace the function although its file is skipped by rule."""
    if fn is None:
        return dont_skip_tracing
    marks.TRACED.add(getattr(fn, "__func__", fn))
    return fn


_substituted: dict[int, Any] = {}


def substitute_in_graph(
    original_fn: Callable[..., Any],
    *,
    can_constant_fold_through: bool = False,
    skip_signature_check: bool = False,
    is_embedded_type: bool = False,
) -> Callable[[Any], Any]:
    """Decorator: this function, in plain Python, is traced wherever the program calls ``original_fn``."""
    _needs_callable("substitute_in_graph", original_fn)

    def register(traceable_fn: Any) -> Any:
        if not inspect.isfunction(traceable_fn):
            raise TypeError(f"the substitute of {original_fn!r} must be a Python function, not {traceable_fn!r}")
        if id(original_fn) in _substituted:
            raise ValueError(f"{original_fn!r} has a substitute already")
        if not skip_signature_check:
            _same_signature(original_fn, traceable_fn)

        @functools.wraps(traceable_fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return original_fn(*args, **kwargs)

        _substituted[id(original_fn)] = original_fn
        traced.trace_instead(original_fn, traceable_fn)
        traced.trace_instead(wrapped, traceable_fn)
        wrapped.__torch_dynamo_original__ = original_fn  # type: ignore[attr-defined]
        wrapped.__torch_dynamo_polyfill__ = traceable_fn  # type: ignore[attr-defined]
        wrapped.__torch_dynamo_can_constant_fold_through__ = can_constant_fold_through  # type: ignore[attr-defined]
        return wrapped

    return register


def _same_signature(original: Callable[..., Any], substitute: Callable[..., Any]) -> None:
    try:
        wanted = inspect.signature(original)
    except (TypeError, ValueError):
        return
    given = inspect.signature(substitute)

    def shape(signature: inspect.Signature) -> list[Any]:
        star = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
        return [
            ("" if parameter.kind in star else parameter.name, parameter.default is not inspect.Parameter.empty)
            for parameter in signature.parameters.values()
        ]

    if shape(wanted) != shape(given):
        raise TypeError(
            f"Signature mismatch between {original!r} {wanted} and its substitute {substitute!r} {given}; "
            "skip_signature_check=True skips this check"
        )


def allow_c_slot(tp: type, *, tp_hash: bool = True, tp_richcompare: bool = True) -> type:
    """Hashing and comparing instances of this C type has no effect and always gives the same result."""
    if not isinstance(tp, type):
        raise TypeError(f"allow_c_slot takes a type, not {tp!r}")
    if tp_hash or tp_richcompare:
        marks.PURE_SLOTS.add(tp)
    return tp


def is_dynamo_disable_recursive(method: Callable[..., Any]) -> bool | None:
    """True or False if the callable was marked with ``disable``: whether recursively; None if it was not."""
    return getattr(method, "_torchdynamo_disable_recursive", None)


def _needs_callable(what: str, fn: Any) -> None:
    if not callable(fn):
        raise TypeError(f"{what} takes a callable, or a list of them, not {fn!r}")


def _is_of_torch(fn: Any) -> bool:
    module = getattr(fn, "__module__", None)
    if module is None:  # methods of tensors and builtins have no module
        owner = getattr(fn, "__objclass__", None) or getattr(fn, "__self__", None)
        module = getattr(owner, "__module__", None) or getattr(owner, "__name__", None) or type(owner).__module__
    return isinstance(module, str) and module.split(".")[0] in ("torch", "_operator", "operator", "builtins", "math")


# ---- calls that steer the capture


class error_on_graph_break(contextlib.ContextDecorator):
    """While code inside of this is captured, a break is an error (or, with False, is none again)."""

    def __init__(self, error_on_graph_break: bool) -> None:
        self.value = error_on_graph_break
        self._before: list[bool | None] = []

    def __enter__(self) -> None:
        self._before.append(utils.set_error_on_graph_break(self.value))

    def __exit__(self, *exc_info: object) -> None:
        utils.set_error_on_graph_break(self._before.pop())


def patch_dynamo_config(arg1: Any = None, arg2: Any = None, **kwargs: Any) -> Any:
    """``config.patch`` that may be used in captured code."""
    return config.patch(dict(arg1) if isinstance(arg1, tuple) else arg1, arg2, **kwargs)


def disable_nested_graph_breaks(fn: Any = None) -> Any:
    """A break inside a function that this function calls breaks this function at the call."""
    patch = config.patch(nested_graph_breaks=False)
    return patch if fn is None else patch(fn)


class override_cudagraphs(contextlib.ContextDecorator):
    """Kept for compatibility: CUDA graphs are the backend's affair."""

    def __init__(self, fwd: bool | None = None, bwd: bool | None = None) -> None:
        self.fwd = fwd
        self.bwd = bwd

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass


def override_optimization_hint(x: Any, val: int) -> None:
    """Tell the backend a likely value of an unbacked symbol; does nothing for a plain int."""
    if not isinstance(val, int):
        raise TypeError(f"the hint is an int, not {val!r}")
    if isinstance(x, int):
        return
    if not isinstance(x, torch.SymInt):
        raise TypeError(f"override_optimization_hint takes a torch.SymInt or an int, not {x!r}")
    node = x.node
    if not node.expr.is_Symbol or not node.shape_env.is_unbacked_symint(node.expr):
        raise ValueError(f"a hint is for one unbacked symbol, not for {node.expr}")
    node.shape_env.var_to_hint_override[node.expr] = val


# ---- sizes of tensors


class DimRange(NamedTuple):
    """Bounds that ``mark_dynamic`` gives a dimension."""

    dim: int
    min: int | None
    max: int | None


def _each_index(t: Any, index: Any) -> Iterable[int]:
    """The dimensions of a tensor that a mark is for, counted from the front."""
    if not isinstance(t, torch.Tensor):
        raise TypeError(f"dimensions are marked on a tensor, not on {t!r}")
    dims = index if isinstance(index, (list, tuple)) else (index,)
    for dim in dims:
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise TypeError(f"a dimension is an int, or a list of ints, not {index!r}")
        if not -t.dim() <= dim < t.dim():
            raise IndexError(f"the tensor has {t.dim()} dimensions: {dim} is none of {-t.dim()} to {t.dim() - 1}")
    return [dim % t.dim() for dim in dims]


def _on_inner_tensors(mark: Callable[..., None], t: Any, *args: Any, **kwargs: Any) -> None:
    """A wrapper subclass passes the mark on to what it wraps, where that has as many dimensions."""
    names, _ = t.__tensor_flatten__()
    for name in names:
        inner = getattr(t, name)
        if isinstance(inner, torch.Tensor) and inner.dim() == t.dim():
            mark(inner, *args, **kwargs)


def _set_of(t: Any, name: str, default: Callable[[], Any] = set) -> Any:
    if not hasattr(t, name):
        setattr(t, name, default())
    return getattr(t, name)


@forbid_in_graph
def mark_dynamic(
    t: Any,
    index: int | list[int] | tuple[int, ...],
    *,
    hint_override: int | None = None,
    min: int | None = None,
    max: int | None = None,
    specialize_on: list[Any] | None = None,
) -> None:
    """This size of this tensor varies; that it has to be a constant after all is an error."""
    if is_traceable_wrapper_subclass(t):
        _on_inner_tensors(mark_dynamic, t, index, min=min, max=max)
    for dim in _each_index(t, index):
        _set_of(t, "_dynamo_dynamic_indices").add(dim)
        _set_of(t, "_dynamo_dynamic_range").add(DimRange(dim, min, max))
        if hint_override:
            _set_of(t, "_dynamo_hint_overrides", dict)[dim] = hint_override
        _set_of(t, "_specialize_on", dict)[dim] = list(specialize_on or ())
        t._has_dynamo_dim_marking = True


@forbid_in_graph
def maybe_mark_dynamic(t: Any, index: int | list[int] | tuple[int, ...]) -> None:
    """This size of this tensor varies; it may become a constant if the program needs that."""
    if is_traceable_wrapper_subclass(t):
        _on_inner_tensors(maybe_mark_dynamic, t, index)
    for dim in _each_index(t, index):
        _set_of(t, "_dynamo_weak_dynamic_indices").add(dim)
        t._has_dynamo_dim_marking = True


@forbid_in_graph
def mark_unbacked(
    t: Any,
    index: int | list[int] | tuple[int, ...],
    hint_override: int | None = None,
    strict: bool = False,
    specialize_on: list[Any] | None = None,
    shape_id: str | None = None,
    min: int | None = None,
    max: int | None = None,
) -> None:
    """Nothing may be assumed about this size of this tensor, not even that it is not 0 or 1."""
    if is_traceable_wrapper_subclass(t):
        raise NotImplementedError("mark_unbacked does not take wrapper subclasses: mark the inner tensors")
    for dim in _each_index(t, index):
        t._has_dynamo_dim_marking = True
        if strict:
            _set_of(t, "_dynamo_strict_unbacked_indices").add(dim)
            continue
        _set_of(t, "_dynamo_unbacked_indices").add(dim)
        _set_of(t, "_specialize_on", dict)[dim] = list(specialize_on or ())
        hints = _set_of(t, "_dynamo_hint_overrides", dict)
        if hint_override:
            hints[dim] = hint_override
        if min is not None or max is not None:
            _set_of(t, "_dynamo_unbacked_bounds", dict)[dim] = (min, max)
        if shape_id is not None:
            _set_of(t, "_dynamo_shape_ids", dict)[dim] = shape_id


def mark_static(t: Any, index: int | list[int] | tuple[int, ...] | None = None) -> Any:
    """This size of this tensor (all of them without ``index``) is a constant; for a module class: its int attributes are."""
    if isinstance(t, type) and issubclass(t, torch.nn.Module):
        setattr(t, "_dynamo_marked_static", True)
        return t
    if not isinstance(t, torch.Tensor):
        raise TypeError(f"mark_static expects a tensor/nn.Module class but received {type(t)}")
    if torch.compiler.is_compiling():
        for dim in range(t.dim()) if index is None else _each_index(t, index):
            traced.as_constant(t.size(dim))
        return None
    if is_traceable_wrapper_subclass(t):
        _on_inner_tensors(mark_static, t, index)
    for dim in range(t.dim()) if index is None else _each_index(t, index):
        _set_of(t, "_dynamo_static_indices").add(dim)
        t._has_dynamo_dim_marking = True
    return None


def mark_static_address(t: Any, guard: bool = False) -> None:
    """The memory of this tensor stays where it is; with ``guard`` that is checked."""
    if not isinstance(t, torch.Tensor):
        raise TypeError(f"mark_static_address expects a tensor but received {type(t)}")
    t._dynamo_static_input_type = "guarded" if guard else "unguarded"  # type: ignore[attr-defined]


__all__ = [
    "allow_c_slot",
    "allow_in_graph",
    "assume_constant_result",
    "disable",
    "disable_nested_graph_breaks",
    "disallow_in_graph",
    "dont_skip_tracing",
    "error_on_graph_break",
    "forbid_in_graph",
    "graph_break",
    "is_dynamo_disable_recursive",
    "mark_dynamic",
    "mark_static",
    "mark_static_address",
    "mark_unbacked",
    "maybe_mark_dynamic",
    "nonstrict_trace",
    "override_cudagraphs",
    "override_optimization_hint",
    "patch_dynamo_config",
    "run",
    "set_stance",
    "skip_frame",
    "step_unsupported",
    "substitute_in_graph",
]
