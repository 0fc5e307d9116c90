"""Backends by name: ours, those that users register, and those that installed packages offer as entry points."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import Any, Callable, Iterable, Sequence

from alternator.exc import InvalidBackend
from alternator.registry import Table

ENTRY_POINTS = "torch_dynamo_backends"
"""The group that packages use to offer backends to PyTorch's compiler; ours is the same."""

OURS = {
    "eager": "eager",
    "eager_noexcept": "eager",
    "pre_dispatch_eager": "eager",
    "ts": "eager",
    "aot_eager": "aot",
    "aot_eager_default_partitioner": "aot",
    "aot_eager_decomp_partition": "aot",
    "inductor": "inductor",
    "print": "debugging",
    "eager_debug": "debugging",
    "relu_compile_error_TESTING_ONLY": "debugging",
    "relu_runtime_error_TESTING_ONLY": "debugging",
    "relu_accuracy_error_TESTING_ONLY": "debugging",
}
"""Name -> the module of this package that registers it, loaded when the name is first used: AOTAutograd takes a second."""

SHOWN = ("eager", "aot_eager", "inductor")
"""Those of ours that are neither for debugging nor experimental."""

BACKENDS: Table[str, Callable[..., Any]] = Table("backends")
_tags: dict[str, tuple[str, ...]] = {}
_default: str | Callable[..., Any] = "inductor"


def register_backend(
    compiler_fn: Callable[..., Any] | None = None, name: str | None = None, tags: Sequence[str] = ()
) -> Callable[..., Any]:
    """Give a backend a name, so that ``compile(..., backend=NAME)`` finds it; also a decorator.

    Backends with the tags ``debug`` or ``experimental`` are left out of :func:`list_backends` unless asked for.
    """
    if compiler_fn is None:
        return functools.partial(register_backend, name=name, tags=tags)
    if not callable(compiler_fn):
        raise TypeError(f"a backend is a callable (graph_module, example_inputs), not {compiler_fn!r}")
    name = name or getattr(compiler_fn, "__name__", None)
    if not name:
        raise ValueError("this backend has no __name__: give it one with register_backend(fn, name=...)")
    if BACKENDS.get(name) is not compiler_fn:
        BACKENDS.register(name, compiler_fn)
    _tags[name] = tuple(tags)
    return compiler_fn


register_debug_backend = functools.partial(register_backend, tags=("debug",))
register_experimental_backend = functools.partial(register_backend, tags=("experimental",))


def lookup_backend(compiler_fn: str | Callable[..., Any]) -> Callable[..., Any]:
    """The backend of a name; a callable is returned as it is."""
    if not isinstance(compiler_fn, str):
        if not callable(compiler_fn):
            raise TypeError(
                f"backend is a name ({', '.join(list_backends(None))}) or a callable (graph_module, example_inputs), "
                f"not {compiler_fn!r}"
            )
        return compiler_fn
    if compiler_fn not in BACKENDS and compiler_fn in OURS:
        importlib.import_module(f"alternator.backends.{OURS[compiler_fn]}")
    if compiler_fn not in BACKENDS:
        offered = _entry_points()
        if compiler_fn not in offered:
            raise InvalidBackend(compiler_fn, list_backends(None))
        register_backend(offered[compiler_fn].load(), name=compiler_fn)
    return BACKENDS[compiler_fn]


def list_backends(exclude_tags: Iterable[str] | None = ("debug", "experimental")) -> list[str]:
    """Names that ``compile(..., backend=NAME)`` takes; ``None`` lists all."""
    excluded = set(exclude_tags or ())
    names = {name for name in BACKENDS if name not in OURS and not excluded.intersection(_tags.get(name, ()))}
    ours = set(SHOWN) if "debug" in excluded else set(OURS)
    return sorted(names | ours | set(_entry_points()))


def set_default_backend(backend: str | Callable[..., Any] | None) -> None:
    """What ``compile`` uses where no backend is given; None: inductor."""
    global _default
    if backend is not None:
        lookup_backend(backend)
    _default = "inductor" if backend is None else backend


def get_default_backend() -> str | Callable[..., Any]:
    """What ``compile`` uses where no backend is given."""
    return _default


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
