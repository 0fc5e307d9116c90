"""Settings.

``alternator.config.NAME`` reads and writes one setting; :func:`patch` changes some for a while; :func:`snapshot` freezes
all of them.  An unknown name is refused, and the nearest valid one is named.  Names and defaults are those of
``torch._dynamo.config`` wherever the meaning exists here too.

A field marked ``semantic`` changes what a capture means, so compiled entries are told apart by it (:func:`cache_key`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import operator
import os
import sys
import types
from typing import Any, Callable, Iterator, Mapping


def _flag(name: str, default: bool = False) -> bool:
    text = os.environ.get(name)
    return default if text is None else text.strip().lower() not in ("", "0", "false", "no", "off")


def _semantic(default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"semantic": True})


def _semantic_set() -> Any:
    return dataclasses.field(default=frozenset(), metadata={"semantic": True})


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All settings at one moment: immutable and hashable."""

    # -- what is captured, and how --------------------------------------------------------------------------------
    assume_static_by_default: bool = _semantic(True)
    """Sizes are constants until they are seen to change; False: symbolic from the start."""
    automatic_dynamic_shapes: bool = _semantic(True)
    """A size or int that changed once becomes symbolic in the next capture."""
    automatic_dynamic_shapes_mark_as: str = _semantic("dynamic")
    """What a size becomes that was seen to change: "dynamic", "unbacked" or "oblivious"."""
    dynamic_shapes: bool = _semantic(True)
    """Kept for compatibility: shapes can always be dynamic."""
    specialize_int: bool = _semantic(False)
    """Python ints are always constants."""
    specialize_float: bool = _semantic(False)
    """Python floats are always constants."""
    allow_unspec_int_on_nn_module: bool = _semantic(False)
    """An int attribute of a module may become symbolic as well."""
    force_parameter_static_shapes: bool = _semantic(True)
    """Sizes of parameters are never symbolic."""
    force_nn_module_property_static_shapes: bool = _semantic(True)
    """Sizes of tensors that are plain attributes of modules are never symbolic."""
    allow_ignore_mark_dynamic: bool = _semantic(False)
    """A dimension marked dynamic that had to be specialised is no error."""
    capture_scalar_outputs: bool = _semantic(_flag("ALTERNATOR_CAPTURE_SCALAR_OUTPUTS"))
    """``item()`` gives an unbacked symbol instead of a break (as it does with ``fullgraph=True`` anyway)."""
    capture_dynamic_output_shape_ops: bool = _semantic(_flag("ALTERNATOR_CAPTURE_DYNAMIC_OUTPUT_SHAPE_OPS"))
    """Operations such as ``nonzero`` are captured with unbacked sizes instead of a break (with ``fullgraph=True`` anyway)."""
    capture_sparse_compute: bool = _semantic(True)
    """Sparse tensors may be in a graph."""
    only_allow_pt2_compliant_ops: bool = _semantic(False)
    """Custom operators go into a graph only with the tag ``torch.Tag.pt2_compliant_tag``; others are breaks."""
    prefer_deferred_runtime_asserts_over_guards: bool = _semantic(False)
    """Conditions on sizes become assertions in the graph where they can, instead of guards."""
    do_not_emit_runtime_asserts: bool = _semantic(False)
    """Leave assertions on unbacked symbols out of the graph."""
    rewrite_assert_with_torch_assert: bool = _semantic(True)
    """``assert tensor_condition`` becomes an assertion in the graph instead of a break."""
    guard_nn_modules: bool = _semantic(True)
    """Kept for compatibility: what is read of a module is always guarded."""
    inline_inbuilt_nn_modules: bool = _semantic(True)
    """Kept for compatibility: parameters are always inputs of the graph."""
    nested_graph_breaks: bool = _semantic(True)
    """A break inside an inlined function keeps the graphs of its callers; False: the break is at the call in the root."""
    skip_nnmodule_hook_guards: bool = _semantic(False)
    """Kept for compatibility; hooks of modules are always guarded."""
    traceable_tensor_subclasses: frozenset[type] = _semantic_set()
    """Tensor subclasses whose ``__torch_function__`` may be traced although they are not known."""
    nontraceable_tensor_subclasses: frozenset[type] = _semantic_set()
    """Tensor subclasses that must never be traced."""
    trace_numpy: bool = _semantic(True)
    """NumPy calls are captured as ``torch._numpy`` calls."""
    numpy_default_float: str = _semantic("float64")
    numpy_default_complex: str = _semantic("complex128")
    numpy_default_int: str = _semantic("int64")
    use_numpy_random_stream: bool = _semantic(False)
    """``torch._numpy`` draws from NumPy's random stream."""
    trace_autograd_ops: bool = _semantic(False)
    """``torch.autograd.grad`` and ``backward`` are captured."""
    allow_rnn: bool = _semantic(False)
    """The training of ``nn.LSTM`` on CPUs is captured too: backends on AOTAutograd fail there."""
    capture_profiler_record_function: bool = _semantic(False)
    """``torch.profiler.record_function`` stays in the graph; False: it is dropped."""
    capture_func_transforms: bool = _semantic(True)
    """``torch.func`` transforms are captured."""
    capture_autograd_function: bool = _semantic(True)
    """``torch.autograd.Function`` is captured."""
    enable_faithful_generator_behavior: bool = _semantic(True)
    """Kept for compatibility: generators are always run lazily."""
    enable_trace_contextlib: bool = _semantic(True)
    """Context managers made with ``contextlib`` are traced."""
    enable_trace_unittest: bool = _semantic(False)
    """Functions of ``unittest`` are traced."""
    enable_trace_load_build_class: bool = _semantic(True)
    """Classes made in the captured function are traced."""
    optimize_ddp: bool | str = _semantic(True)
    """How DistributedDataParallel is treated."""
    fake_tensor_cache_enabled: bool = _semantic(True)
    """Remember the results of fake operations."""
    fake_tensor_disable_inference_mode: bool = _semantic(True)
    """Fake tensors are made outside of inference mode."""
    compiled_autograd: bool = _semantic(False)
    """The backward pass is captured as a whole as well."""
    reorderable_logging_functions: frozenset[Callable[..., Any]] = _semantic_set()
    """Functions, such as ``print``, that may run after the graph instead of breaking it."""
    ignore_logging_functions: frozenset[Callable[..., Any]] = _semantic_set()
    """Logging functions that are left out of captured code."""
    ignore_logger_methods: frozenset[Callable[..., Any]] = _semantic_set()
    """An older name of ``ignore_logging_functions``."""
    install_free_tensors: bool = _semantic(False)
    """Tensors from closures and globals become attributes of the graph module instead of inputs."""
    replay_side_effects: bool = _semantic(True)
    """Writes to outside objects are replayed (export turns this off)."""
    recheck_guards: bool = _semantic(_flag("ALTERNATOR_RECHECK_GUARDS"))
    """For debugging: at each hit the guards are checked once more, in plain Python; :class:`alternator.exc.GuardMismatch` is
    raised where the two checks differ.  Entries keep what they guard alive then."""
    allow_empty_graphs: bool = _semantic(False)
    """A frame without tensor work is given to the backend as well."""

    # -- limits -----------------------------------------------------------------------------------------------------
    recompile_limit: int = 8
    """How many entries one code object may have: then the one that is used least goes for a new one, if that pays."""
    accumulated_recompile_limit: int = 256
    """How many entries one code object may ever have had."""
    idle_steps_limit: int = 20_000
    """So often loops may go round and functions be called without tensor work before the capture gives up, and the function
    that loops runs plainly; a hundred times as often where no break is allowed."""
    fail_on_recompile_limit_hit: bool = False
    """Raise :class:`alternator.exc.FailOnRecompileLimitHit` at the limit instead of running plainly."""
    skip_code_recursive_on_recompile_limit_hit: bool = True
    """At the limit, what the function calls is not compiled either."""
    error_on_recompile: bool = False
    """Raise :class:`alternator.exc.RecompileError` when a function that was compiled has to be compiled again."""
    minimum_call_count: int = 1
    """Compile a frame only when it is called the n-th time."""

    # -- what happens when something goes wrong -------------------------------------------------------------------------
    suppress_errors: bool = _flag("ALTERNATOR_SUPPRESS_ERRORS")
    """A backend that fails is reported once, and the function runs plainly."""
    raise_internal_errors: bool = _flag("ALTERNATOR_STRICT")
    """A bug in Alternator raises InternalError; False: it is reported once, and the function runs plainly."""
    report_guard_failures: bool = True
    """Keep the reasons of recompilations in ``utils.guard_failures``."""
    raise_on_ctx_manager_usage: bool = True
    """``with optimize(...)`` is an error."""
    raise_on_unsafe_aot_autograd: bool = False
    """Kept for compatibility."""
    error_on_nested_fx_trace: bool = True
    """A compiled function called while ``torch.fx`` traces is an error."""
    error_on_nested_jit_trace: bool = True
    """A compiled function called while ``torch.jit`` traces is an error."""
    force_compile_during_fx_trace: bool = False
    """Compile although ``torch.fx`` traces."""

    # -- reports --------------------------------------------------------------------------------------------------------
    log_breaks: bool = _flag("ALTERNATOR_LOG_BREAKS")
    """Write one line to standard error for each break, as it happens."""
    log_recompiles: bool = _flag("ALTERNATOR_LOG_RECOMPILES")
    """Write one line to standard error each time that a function is compiled again, with the reason."""
    verbose: bool = _flag("ALTERNATOR_VERBOSE")
    """Longer messages: internal stacks, every failing guard."""
    log_compilation_metrics: bool = True
    """Kept for compatibility."""
    debug_backend_override: str = os.environ.get("TORCH_COMPILE_OVERRIDE_BACKENDS", "")
    """Name of a backend that replaces the one given to ``compile``."""
    debug_disable_compile_counter: bool = False
    """For PyTorch's own test-suite: compile counters compare equal to anything."""
    cprofile: bool = False
    """Profile every capture."""
    verify_correctness: bool = False
    """Compare each result of a backend with the graph's own, once."""
    run_gc_after_compile: bool = False
    """Collect garbage after each capture."""

    # -- switches -------------------------------------------------------------------------------------------------------
    disable: bool = _flag("ALTERNATOR_DISABLE", _flag("TORCH_COMPILE_DISABLE"))
    """Compile nothing."""
    allow_capture_skipped_files: bool = False
    """Capture frames of files that are skipped by rule (for debugging)."""


ALIASES = {
    "cache_size_limit": "recompile_limit",
    "accumulated_cache_size_limit": "accumulated_recompile_limit",
    "fail_on_cache_limit_hit": "fail_on_recompile_limit_hit",
    "skip_code_recursive_on_cache_limit_hit": "skip_code_recursive_on_recompile_limit_hit",
}
"""Older names of the same settings."""

FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(Snapshot)}
SEMANTIC: tuple[str, ...] = tuple(name for name, field in FIELDS.items() if field.metadata.get("semantic"))

_SCALARS = tuple(name for name in SEMANTIC if type(FIELDS[name].default) in (bool, int, str))
_OTHERS = tuple(name for name in SEMANTIC if name not in _SCALARS)
_sets = operator.itemgetter(*(name for name, field in FIELDS.items() if isinstance(field.default, frozenset)))
_scalars = operator.itemgetter(*_SCALARS)
_values: dict[str, Any] = {}
_listeners: list[Callable[[], None]] = []
_keys: dict[tuple[Any, ...], tuple[Any, ...]] = {}
_last_snapshot: tuple[Snapshot, tuple[Any, ...]] | None = None
"""The settings when they were last asked for, and those of them that are sets, while none has been put since."""


def _frozen(value: Any) -> Any:
    return frozenset(value) if isinstance(value, (set, frozenset, list, tuple, dict)) else value


def _thawed(value: Any) -> Any:
    """A set-valued setting is kept as a mutable set, so that ``config.NAME.add(...)`` works."""
    return set(value) if isinstance(value, frozenset) else value


_values.update((name, _thawed(field.default)) for name, field in FIELDS.items())
globals().update(_values)  # found as any name of a module is: they are read often


def _resolve(name: str) -> str:
    name = ALIASES.get(name, name)
    if name in FIELDS:
        return name
    near = difflib.get_close_matches(name, [*FIELDS, *ALIASES], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else f"; the settings are {', '.join(sorted(FIELDS))}"
    raise AttributeError(f"alternator.config has no setting {name!r}{hint}")


def _check(name: str, value: Any) -> Any:
    """Refuse a value of another kind than the default's, before it can do harm elsewhere."""
    default = FIELDS[name].default
    if isinstance(default, frozenset):
        if not isinstance(value, (set, frozenset, list, tuple, dict)):
            raise TypeError(f"alternator.config.{name} is a set, not {value!r}")
        return value if isinstance(value, set) else set(value)
    if type(default) is bool and name != "optimize_ddp" and not isinstance(value, (bool, int)):
        raise TypeError(f"alternator.config.{name} is True or False, not {value!r}")
    if type(default) is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"alternator.config.{name} is an int, not {value!r}")
    if type(default) is str and not isinstance(value, str):
        raise TypeError(f"alternator.config.{name} is a string, not {value!r}")
    return value


def get(name: str) -> Any:
    """The value of a setting."""
    return _values[_resolve(name)]


def put(name: str, value: Any) -> None:
    """Change a setting."""
    global _last_snapshot
    name = _resolve(name)
    _values[name] = globals()[name] = _check(name, value)
    _last_snapshot = None
    if FIELDS[name].metadata.get("semantic") or name == "disable":
        for listener in _listeners:
            listener()


def snapshot() -> Snapshot:
    """All settings as they are now."""
    global _last_snapshot
    sets = _sets(_values)  # which may have been changed in place
    if _last_snapshot is None or _last_snapshot[1] != sets:
        made = Snapshot(**{name: _frozen(value) for name, value in _values.items()})
        _last_snapshot = made, tuple(map(_frozen, sets))
    return _last_snapshot[0]


def restore(saved: Snapshot | Mapping[str, Any]) -> None:
    """Set everything that a snapshot (or a dict of settings) says."""
    items = saved.items() if isinstance(saved, Mapping) else ((name, getattr(saved, name)) for name in FIELDS)
    for name, value in items:
        put(name, _thawed(value))


def cache_key() -> tuple[Any, ...]:
    """The settings that a compiled entry depends on; equal settings give the identical object."""
    key = (_scalars(_values), tuple(_frozen(_values[name]) for name in _OTHERS))
    return _keys.setdefault(key, key)


def on_change(listener: Callable[[], None]) -> None:
    """Have ``listener()`` called after each change of a semantic setting."""
    _listeners.append(listener)


class _Patch(contextlib.ContextDecorator):
    """Changes settings while it is entered; may be entered again, also recursively."""

    def __init__(self, changes: Mapping[str, Any]) -> None:
        self.changes = {_resolve(name): value for name, value in changes.items()}
        for name, value in self.changes.items():
            _check(name, value)
        self._saved: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self._saved.append({name: _values[name] for name in self.changes})
        for name, value in self.changes.items():
            put(name, value)

    def __exit__(self, *exc_info: object) -> None:
        for name, value in self._saved.pop().items():
            put(name, value)

    def __call__(self, target: Any) -> Any:
        if isinstance(target, type):
            return self._patch_class(target)
        if inspect.iscoroutinefunction(target):

            @functools.wraps(target)
            async def run(*args: Any, **kwargs: Any) -> Any:
                with _Patch(self.changes):
                    return await target(*args, **kwargs)

            return run
        return super().__call__(target)

    def _recreate_cm(self) -> _Patch:
        return _Patch(self.changes)

    def _patch_class(self, cls: type) -> type:
        """Patch what a class does: a test case between its set-up and tear-down, any other class in its methods."""
        set_up, tear_down = getattr(cls, "setUpClass", None), getattr(cls, "tearDownClass", None)
        if set_up is None or tear_down is None:
            for name, member in list(vars(cls).items()):
                if isinstance(member, types.FunctionType) and not name.startswith("__"):
                    setattr(cls, name, self(member))
            return cls
        patch_of_class = self

        @classmethod  # type: ignore[misc]
        def setUpClass(cls: Any) -> None:
            patch_of_class.__enter__()
            try:
                set_up.__func__(cls)
            except BaseException:
                patch_of_class.__exit__()
                raise

        @classmethod  # type: ignore[misc]
        def tearDownClass(cls: Any) -> None:
            try:
                tear_down.__func__(cls)
            finally:
                patch_of_class.__exit__()

        setattr(cls, "setUpClass", setUpClass)
        setattr(cls, "tearDownClass", tearDownClass)
        return cls


def patch(arg: str | Mapping[str, Any] | None = None, value: Any = None, /, **changes: Any) -> _Patch:
    """Change settings for a while: ``patch(name=value)``, ``patch("name", value)`` or ``patch({"name": value})``.

    The result is a context manager and a decorator for functions and for classes.
    """
    if isinstance(arg, str):
        changes = {arg: value, **changes}
    elif arg is not None:
        changes = {**arg, **changes}
    if not changes:
        raise TypeError("config.patch needs at least one setting, for example patch(recompile_limit=4)")
    return _Patch(changes)


def save_config() -> Snapshot:
    """An older name of :func:`snapshot`."""
    return snapshot()


def load_config(saved: Snapshot | Mapping[str, Any]) -> None:
    """An older name of :func:`restore`."""
    restore(saved)


def to_dict() -> dict[str, Any]:
    """All settings by name."""
    return dict(_values)


class _ConfigModule(types.ModuleType):
    """Attributes of this module are the settings."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _values[_resolve(name)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in FIELDS and (name.startswith("_") or name in self.__dict__):
            super().__setattr__(name, value)
        else:
            put(name, value)

    def __delattr__(self, name: str) -> None:
        """Back to the default: ``mock.patch`` deletes what it had set."""
        if name.startswith("_"):
            super().__delattr__(name)
        else:
            name = _resolve(name)
            put(name, _thawed(FIELDS[name].default))

    def __dir__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(sorted({*self.__dict__, *FIELDS, *ALIASES}))


def __getattr__(name: str) -> Any:  # for type checkers; _ConfigModule answers at run time
    raise AttributeError(name)


del __getattr__
sys.modules[__name__].__class__ = _ConfigModule
