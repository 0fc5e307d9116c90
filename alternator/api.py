"""The public functions that compile, and that look at or drop what was compiled."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from typing import Any, Callable, Mapping

import torch

from alternator import config
from alternator.backends.inductor import InductorBackend
from alternator.backends.registry import get_default_backend, lookup_backend
from alternator.runtime import traced
from alternator.runtime.contexts import Context, OptimizeContext
from alternator.runtime.convert import Options, why_recompiled
from alternator.runtime.module import OptimizedModule
from alternator.runtime.reset import code_of, reset, reset_code, reset_code_caches

log = logging.getLogger("alternator")


class _NullContext(Context):
    """Wraps nothing: ``disable=True``."""

    def __call__(self, target: Any) -> Any:
        return target

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class _WithOptions:
    """A backend with the ``mode`` and ``options`` of ``compile``; equal ones share compiled entries."""

    backend: Callable[..., Any]
    mode: str | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def __name__(self) -> str:
        return name_of_backend(self.backend)

    def __call__(self, gm: torch.fx.GraphModule, example_inputs: Any) -> Any:
        kwargs: dict[str, Any] = {}
        if self.mode is not None and self.mode != "default":
            kwargs["mode"] = self.mode
        if self.options:
            kwargs["options"] = dict(self.options)
        return self.backend(gm, example_inputs, **kwargs)


def name_of_backend(backend: str | Callable[..., Any]) -> str:
    """What messages call a backend."""
    if isinstance(backend, str):
        return backend
    return getattr(backend, "__name__", None) or type(backend).__name__


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] | None = None,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    disable: bool = False,
    recompile_limit: int | None = None,
    isolate_recompiles: bool = False,
    shapes_spec: Any = None,
) -> Any:
    """Make a function, a method, a module or a class run compiled; also a decorator.

    Args:
        model: what to compile.  Without it, a decorator is returned.
        fullgraph: everything must be one graph; what breaks it raises :class:`alternator.exc.Unsupported`.
        dynamic: True: sizes are symbolic from the start; False: never; None: those that are seen to change.
        backend: a name (see :func:`alternator.list_backends`) or a callable ``(graph_module, example_inputs)``.
        mode: for Inductor: "default", "reduce-overhead", "max-autotune" or "max-autotune-no-cudagraphs".
        options: for Inductor: settings by name (``torch._inductor.list_options()``); not together with ``mode``.
        name: for messages.
        disable: return ``model`` as it is.
        recompile_limit: in place of ``config.recompile_limit``.
        isolate_recompiles: don't share compiled entries with other calls of ``compile``.
        shapes_spec: not supported yet.
    """
    _check_flag("fullgraph", fullgraph)
    _check_flag("disable", disable)
    _check_dynamic(dynamic)
    _check_settings(mode, options, recompile_limit)
    if model is not None and not callable(model):
        raise TypeError(f"compile() takes a function, a method, a module or another callable, not {model!r}")
    chosen = get_default_backend() if backend is None else backend
    chosen = config.debug_backend_override or chosen
    guard_filter_fn = None
    if options:
        options = dict(options)
        guard_filter_fn = options.pop("guard_filter_fn", None)
        if guard_filter_fn is not None:
            log.warning("guard_filter_fn is ignored: guards are cheap here, and leaving some out would be unsound")
    _check_shapes_spec(shapes_spec)
    compiler = _with_settings(chosen, mode, options, dynamic, name)  # checked even if nothing is compiled
    if _is_off(disable):
        return model if model is not None else (lambda fn: fn)
    context = OptimizeContext(
        Options(
            backend=compiler,
            backend_name=name_of_backend(chosen),
            fullgraph=fullgraph,
            dynamic=dynamic,
            guard_filter_fn=guard_filter_fn,
            recompile_limit=recompile_limit,
            isolate_recompiles=isolate_recompiles,
            name=name,
            shapes_spec=shapes_spec,
        )
    )
    return context if model is None else context(model)


def _check_settings(mode: Any, options: Any, recompile_limit: Any) -> None:
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and not isinstance(mode, str):
        raise TypeError(f"mode is a string, such as 'default' or 'max-autotune', not {mode!r}")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"options is a dict of the backend's settings, not {options!r}")
    if recompile_limit is not None and (isinstance(recompile_limit, bool) or not isinstance(recompile_limit, int)):
        raise TypeError(f"recompile_limit is an int or None, not {recompile_limit!r}")


def _with_settings(
    backend: str | Callable[..., Any], mode: str | None, options: Mapping[str, Any] | None, dynamic: bool | None, name: str | None
) -> Callable[..., Any]:
    if backend == "inductor":
        return InductorBackend(mode, options, dynamic, name)
    compiler = lookup_backend(backend)
    if (mode is None or mode == "default") and not options:
        return compiler
    return _WithOptions(compiler, mode, tuple((options or {}).items()))


traced.compiles_while_tracing(compile, compile)
traced.compiles_while_tracing(torch.compile, compile)


def _is_off(disable: bool) -> bool:
    return disable or config.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1"


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {value!r}")


def _check_shapes_spec(value: Any) -> None:
    if value is not None:
        raise NotImplementedError("shapes_spec is not supported yet: mark dimensions with alternator.mark_dynamic")


def _check_dynamic(value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"dynamic is True, False or None (sizes that change become dynamic), not {value!r}")


def optimize(
    backend: str | Callable[..., Any] = "inductor",
    *,
    nopython: bool = False,
    error_on_graph_break: bool | None = None,
    guard_export_fn: Callable[[Any], None] | None = None,
    guard_fail_fn: Callable[[Any], None] | None = None,
    guard_filter_fn: Callable[[Any], Any] | None = None,
    disable: bool = False,
    dynamic: bool | None = None,
    package: Any = None,
    recompile_limit: int | None = None,
    isolate_recompiles: bool = False,
    shapes_spec: Any = None,
    rebuild_ctx: Any = None,
) -> Context:
    """What :func:`compile` is made of: ``optimize(backend)(fn)``.

    ``nopython`` is ``fullgraph``.  With ``error_on_graph_break`` calls run as under :func:`alternator.error_on_graph_break`: a
    break is an error, but where the program switches that off again; and a function that cannot be captured at all runs plainly.
    """
    _check_flag("nopython", nopython)
    if error_on_graph_break is not None:
        _check_flag("error_on_graph_break", error_on_graph_break)
    _check_dynamic(dynamic)
    _check_shapes_spec(shapes_spec)
    compiler = _with_settings(config.debug_backend_override or backend, None, None, dynamic, None)
    if _is_off(disable):
        return _NullContext()
    return OptimizeContext(
        Options(
            backend=compiler,
            backend_name=name_of_backend(backend),
            fullgraph=nopython,
            error_on_graph_break=error_on_graph_break,
            dynamic=dynamic,
            guard_fail_fn=guard_fail_fn,
            guard_export_fn=guard_export_fn,
            guard_filter_fn=guard_filter_fn,
            recompile_limit=recompile_limit,
            isolate_recompiles=isolate_recompiles,
            shapes_spec=shapes_spec,
        )
    )


def optimize_assert(backend: str | Callable[..., Any], **kwargs: Any) -> Context:
    """:func:`optimize` where a break is an error."""
    kwargs.pop("hooks", None)
    kwargs.pop("export", None)
    return optimize(backend, nopython=True, **kwargs)


# ---- questions


_is_compiling = torch.compiler.is_compiling


@traced.is_constant(True)
def is_compiling() -> bool:
    """True in captured code: a program can take another path there."""
    return _is_compiling()


def is_dynamo_supported() -> bool:
    """Whether functions can be compiled with this Python."""
    return (3, 11) <= sys.version_info[:2] <= (3, 14)


def is_inductor_supported() -> bool:
    """Whether the Inductor backend can be used here."""
    if not is_dynamo_supported():
        return False
    try:
        import torch._inductor.compile_fx  # noqa: F401
    except ImportError:
        return False
    return True


__all__ = [
    "OptimizedModule",
    "code_of",
    "compile",
    "is_compiling",
    "is_dynamo_supported",
    "is_inductor_supported",
    "name_of_backend",
    "optimize",
    "optimize_assert",
    "reset",
    "reset_code",
    "reset_code_caches",
    "why_recompiled",
]
