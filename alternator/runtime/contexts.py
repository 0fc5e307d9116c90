"""What a callable is wrapped in: compile it, run only what is compiled already, or compile nothing below it."""

from __future__ import annotations

import copyreg
import functools
import inspect
import sys
import types
from typing import Any, Callable

import torch

from alternator import config, marks
from alternator._C import eval_frame
from alternator.runtime import skip, trampoline
from alternator.runtime.convert import Options, make_callback
from alternator.runtime.entrance import entrance
from alternator.runtime.module import OptimizedModule, original_of
from alternator.runtime.skip import Verdict

_WRAPPER_NAMES = ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__type_params__")


def _mark(fn: Any) -> None:
    """Remember that it was given to ``compile``; its code, as weak references to a function show."""
    if type(fn) is types.MethodType:
        fn = fn.__func__
    if type(fn) is types.FunctionType:
        marks.COMPILED.add(fn.__code__)


class Context:
    """Wraps callables so that they run under one callback; may be entered, too, if the settings allow that."""

    callback: Any = None

    def __init__(self) -> None:
        self._before: list[Any] = []

    # -- wrapping -------------------------------------------------------------------------------------------------------

    def __call__(self, target: Any) -> Any:
        """A function, method, module, class or other callable, wrapped."""
        target = original_of(target)
        if isinstance(target, torch.nn.Module):
            return self.wrap_module(target)
        if inspect.isclass(target):
            return self.wrap_class(target)
        if not callable(target):
            raise TypeError(f"a function, a method, a module or another callable can be compiled, not {target!r}")
        return self.wrap_function(target)

    def wrap_module(self, mod: torch.nn.Module) -> OptimizedModule:
        """The module's stand-in."""
        if isinstance(mod, torch.jit.ScriptModule):
            raise RuntimeError(
                "a torch.jit.script module is compiled already, and cannot be looked into: compile the original module"
            )
        wrapped = OptimizedModule(mod, self)
        wrapped._torchdynamo_orig_callable = forward = mod.forward
        _mark(forward)
        return wrapped

    def wrap_call(self, mod: torch.nn.Module) -> Any:
        """What calling the module's stand-in calls."""
        target = self.target_of_module(mod)
        return eval_frame.CompiledFunction(target, self.callback, mod, entrance(mod) if target is mod else None)

    def wrap_class(self, cls: type) -> type:
        """A class: calling its instances is wrapped; the class itself is returned."""
        if issubclass(cls, torch.nn.Module):
            setattr(cls, "_call_impl", self.wrap_function(getattr(cls, "_call_impl")))
        elif "__call__" in dir(cls) and isinstance(inspect.getattr_static(cls, "__call__"), types.FunctionType):
            setattr(cls, "__call__", self.wrap_function(getattr(cls, "__call__")))
        return cls

    def wrap_function(self, fn: Callable[..., Any]) -> Any:
        """Any other callable."""
        _mark(fn)
        if type(fn) is types.MethodType and isinstance(fn.__self__, torch.nn.Module):
            _mark(fn.__self__.forward)
        return _finish(eval_frame.CompiledFunction(self.target(fn), self.callback, fn), fn, self)

    def target(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """What is really called; a context may put something around ``fn``."""
        return fn

    def target_of_module(self, mod: torch.nn.Module) -> Callable[..., Any]:
        """The same for a module: ``entrance`` says what its call comes to."""
        return mod

    def get_compiler_config(self) -> Any:
        """Settings of the backend, where it has some."""
        return None

    # -- with ---------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> None:
        if config.raise_on_ctx_manager_usage:
            raise RuntimeError(
                f"{type(self).__name__} is used as a context manager. What runs in a with block cannot be told from the rest "
                "of the frame: put the code into a function and wrap that, or set "
                "alternator.config.raise_on_ctx_manager_usage = False to have everything compiled that is called inside"
            )
        self._before.append(eval_frame.set_eval_frame(self.callback))

    def __exit__(self, *exc_info: object) -> None:
        eval_frame.set_eval_frame(self._before.pop())


class OptimizeContext(Context):
    """Compile."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.callback = make_callback(options)

    def target(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """A callable without a frame that would be captured gets one."""
        if self.options.error_on_graph_break is not None:
            return trampoline.where_breaks_are_errors(fn, self.options.error_on_graph_break)
        kind = trampoline.kind_without_capture(fn)
        if kind is not None and self.options.fullgraph:
            return trampoline.refusing(fn, *kind)
        if _is_captured(fn):
            return fn
        if not trampoline.has_own_frame(fn) and not hasattr(fn, "__call__"):
            raise TypeError(f"{fn!r} is not callable")
        return trampoline.with_frame(fn)

    def target_of_module(self, mod: torch.nn.Module) -> Callable[..., Any]:
        """Where the rules would have ``forward`` run plainly, the call as a whole is the frame that is captured."""
        if self.options.error_on_graph_break is not None:
            return trampoline.where_breaks_are_errors(mod, self.options.error_on_graph_break)
        return mod if _is_captured(mod.forward) else trampoline.with_frame(mod)

    def get_compiler_config(self) -> Any:
        """Settings of the backend, where it has some."""
        getter = getattr(self.options.backend, "get_compiler_config", None)
        return getter() if getter is not None else None

    def __reduce__(self) -> Any:
        return OptimizeContext, (self.options,)


class RunOnlyContext(Context):
    """Use what is compiled already, and compile nothing more."""

    callback = False

    def __reduce__(self) -> Any:
        return RunOnlyContext, ()


class DisableContext(Context):
    """Run plainly, and everything below as well."""

    callback = None

    def __init__(self, msg: str | None = None, wrapping: bool = True) -> None:
        super().__init__()
        self.msg = msg
        self.wrapping = wrapping

    def wrap_class(self, cls: type) -> type:
        """Making instances and calling them."""
        for name in ("__init__", "__call__"):
            member = inspect.getattr_static(cls, name, None)
            if isinstance(member, types.FunctionType) and not (name == "__call__" and issubclass(cls, torch.nn.Module)):
                setattr(cls, name, self.wrap_function(member))
        if issubclass(cls, torch.nn.Module):
            for name in ("_call_impl", "forward"):  # captured code goes straight to forward, plain code through the hooks
                setattr(cls, name, self.wrap_function(getattr(cls, name)))
        return cls

    def wrap_module(self, mod: torch.nn.Module) -> OptimizedModule:
        """A module that is never compiled."""
        wrapped = super().wrap_module(mod)
        wrapped._torchdynamo_disable = True
        wrapped._torchdynamo_disable_msg = self.msg
        return wrapped

    def wrap_function(self, fn: Callable[..., Any]) -> Any:
        """A function that is never compiled."""
        wrapped = super().wrap_function(fn)
        wrapped._torchdynamo_disable = True
        wrapped._torchdynamo_disable_msg = self.msg
        wrapped._torchdynamo_disable_recursive = True
        return wrapped

    def __enter__(self) -> None:
        self._before.append(eval_frame.set_eval_frame(None))

    def __reduce__(self) -> Any:
        return DisableContext, (self.msg, self.wrapping)


def disable_frame_only(fn: Callable[..., Any], reason: str | None = None) -> Callable[..., Any]:
    """Run this function's own frame plainly; what it calls is still compiled."""
    fn = original_of(fn)
    if isinstance(fn, torch.nn.Module):
        eval_frame.skip_code(fn.forward.__func__.__code__)
        return fn

    @functools.wraps(fn)
    def run_plainly(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    inner = fn.__func__ if isinstance(fn, types.MethodType) else fn
    if isinstance(inner, types.FunctionType):
        eval_frame.skip_code(inner.__code__)
    wrapper: Any = run_plainly
    wrapper._torchdynamo_disable = True
    wrapper._torchdynamo_disable_msg = reason
    wrapper._torchdynamo_disable_recursive = False
    wrapper._torchdynamo_orig_callable = fn
    wrapper._torchdynamo_wrapper_id = id(wrapper)
    return wrapper


def _finish(wrapped: Any, fn: Callable[..., Any], context: Context) -> Any:
    """Give a wrapper the attributes of what it wraps."""
    for name in _WRAPPER_NAMES:
        try:
            setattr(wrapped, name, getattr(fn, name))
        except (AttributeError, TypeError):
            continue
    wrapped.__dict__.update(getattr(fn, "__dict__", {}))
    wrapped.__wrapped__ = fn
    wrapped._torchdynamo_orig_callable = fn
    wrapped._torchdynamo_wrapper_id = id(wrapped)
    wrapped._torchdynamo_inline = fn
    wrapped._torchdynamo_context = context
    wrapped.get_compiler_config = context.get_compiler_config
    return wrapped


def _reduce(wrapped: Any) -> Any:
    """For pickle and copy: a decorated global function goes by its name, anything else is wrapped anew."""
    module, name = sys.modules.get(wrapped.__module__), wrapped.__qualname__
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is wrapped:
        return name
    return _rewrap, (wrapped._torchdynamo_orig_callable, wrapped._torchdynamo_context)


def _rewrap(fn: Callable[..., Any], context: Context) -> Any:
    return context.wrap_function(fn)


copyreg.pickle(eval_frame.CompiledFunction, _reduce)


def _is_captured(fn: Callable[..., Any]) -> bool:
    """Whether calling it runs a frame that the rules let us capture."""
    function: Any = fn.__func__ if isinstance(fn, types.MethodType) else fn
    if not isinstance(function, types.FunctionType):
        call = getattr(type(fn), "__call__", None)
        return isinstance(call, types.FunctionType) and skip.of_function(call) is Verdict.CAPTURE
    if marks.is_disabled(function):
        return True
    return skip.of_function(function) is Verdict.CAPTURE
