"""Alternator: a frame-level just-in-time compiler front-end for PyTorch.

>>> import alternator
>>> fast = alternator.compile(model)

Names are loaded when they are first used, so that a part of the package (``alternator.bytecode``, say) can be imported
without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from alternator.api import (
        OptimizedModule,
        compile,
        is_compiling,
        is_dynamo_supported,
        is_inductor_supported,
        optimize,
        optimize_assert,
        reset,
        reset_code,
        reset_code_caches,
        why_recompiled,
    )
    from alternator.backends.registry import list_backends, lookup_backend, register_backend
    from alternator.callback import on_compile_end, on_compile_start
    from alternator.decorators import (
        allow_c_slot,
        allow_in_graph,
        assume_constant_result,
        disable,
        disable_nested_graph_breaks,
        disallow_in_graph,
        dont_skip_tracing,
        error_on_graph_break,
        forbid_in_graph,
        graph_break,
        is_dynamo_disable_recursive,
        mark_dynamic,
        mark_static,
        mark_static_address,
        mark_unbacked,
        maybe_mark_dynamic,
        nonstrict_trace,
        override_cudagraphs,
        override_optimization_hint,
        patch_dynamo_config,
        run,
        set_stance,
        skip_frame,
        step_unsupported,
        substitute_in_graph,
    )
    from alternator.exporting import ExportResult, export
    from alternator.tools.explain import explain

_HOME = {
    "alternator.api": "OptimizedModule compile is_compiling is_dynamo_supported is_inductor_supported optimize optimize_assert "
    "reset reset_code reset_code_caches why_recompiled",
    "alternator.backends.registry": "list_backends lookup_backend register_backend",
    "alternator.callback": "on_compile_end on_compile_start",
    "alternator.decorators": "allow_c_slot allow_in_graph assume_constant_result disable disable_nested_graph_breaks "
    "disallow_in_graph dont_skip_tracing error_on_graph_break forbid_in_graph graph_break is_dynamo_disable_recursive "
    "mark_dynamic mark_static mark_static_address mark_unbacked maybe_mark_dynamic nonstrict_trace override_cudagraphs "
    "override_optimization_hint patch_dynamo_config run set_stance skip_frame step_unsupported substitute_in_graph",
    "alternator.exporting": "ExportResult export",
    "alternator.tools.explain": "explain",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}
_SUBMODULES = frozenset(
    "api backends breaks bytecode callback compiler config decorators exc exporting marks registry request runtime tools "
    "utils".split()
)

__all__ = ["__version__", "compiler", "config", "exc", "utils", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is not None:
        value = getattr(importlib.import_module(module), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"alternator.{name}")
    raise AttributeError(f"module 'alternator' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
