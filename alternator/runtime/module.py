"""The compiled module: a stand-in that is the original in every respect but that calling it runs compiled code.

It owns nothing: attributes, parameters, hooks, ``state_dict`` and the training flag are read from and written to the
original.  So there is one set of keys, one set of parameters, and nothing to keep in step.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any, Callable, Iterator

import torch

from alternator._C import eval_frame

_get = object.__getattribute__
_put = object.__setattr__

PREFIX = "_orig_mod."
"""Checkpoints saved from in-tree compiled modules have it in their keys."""


class OptimizedModule(eval_frame.ModuleCall, torch.nn.Module):
    """What ``compile(module)`` returns.  A call goes to ``_compiled_call``, natively."""

    __slots__ = ("_orig_mod", "dynamo_ctx", "_compiled_forward", "_own")

    _orig_mod: torch.nn.Module
    dynamo_ctx: Any

    def __init__(self, mod: torch.nn.Module, dynamo_ctx: Any) -> None:
        # torch.nn.Module.__init__ is not called: it would make containers for parameters and modules of its own.
        _put(self, "_orig_mod", mod)
        _put(self, "dynamo_ctx", dynamo_ctx)
        _put(self, "_compiled_call", dynamo_ctx.wrap_call(mod))
        _put(self, "_compiled_forward", None)
        _put(self, "_own", {})

    # -- attributes ---------------------------------------------------------------------------------------------------

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN:
            return _get(self, name)
        if name == "forward":
            return _get(self, "_forward_of")()
        own = _get(self, "_own")
        if name in own:
            return own[name]
        return getattr(_get(self, "_orig_mod"), name)

    def __getattr__(self, name: str) -> Any:
        return getattr(_get(self, "_orig_mod"), name)  # raises again, in the original's words

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SLOTS:
            _put(self, name, value)
            if name == "_orig_mod":
                _put(self, "_compiled_call", _get(self, "dynamo_ctx").wrap_call(value))
                _put(self, "_compiled_forward", None)
        elif name in _OWN_MARKS:
            _get(self, "_own")[name] = value
        else:
            setattr(_get(self, "_orig_mod"), name, value)

    def __delattr__(self, name: str) -> None:
        if _get(self, "_own").pop(name, self) is self:
            delattr(_get(self, "_orig_mod"), name)

    def _torchdynamo_disable_of(self) -> bool:
        return bool(_get(self, "_own").get("_torchdynamo_disable"))

    def _forward_of(self) -> Callable[..., Any]:
        original = _get(self, "_orig_mod").forward
        known = _get(self, "_compiled_forward")
        if known is None or known[0] != original:
            known = (original, _get(self, "dynamo_ctx").wrap_function(original))
            _put(self, "_compiled_forward", known)
        return known[1]

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_get(self, "_orig_mod"))

    def __dir__(self) -> list[str]:
        return sorted({*dir(_get(self, "_orig_mod")), "_orig_mod"})

    def __repr__(self) -> str:
        return repr(_get(self, "_orig_mod"))

    # -- what Python looks up on the class ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(_sized(self, "__len__"))

    def __iter__(self) -> Iterator[Any]:
        return iter(_sized(self, "__iter__"))

    def __getitem__(self, key: Any) -> Any:
        return _sized(self, "__getitem__")[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        _sized(self, "__setitem__")[key] = value

    def __delitem__(self, key: Any) -> None:
        del _sized(self, "__delitem__")[key]

    def __contains__(self, key: Any) -> bool:
        return key in _sized(self, "__contains__")

    def __bool__(self) -> bool:
        return bool(_get(self, "_orig_mod"))

    # -- copies: compiled state is rebuilt, not carried -------------------------------------------------------------------

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (type(self), _get(self, "_orig_mod"), _get(self, "dynamo_ctx"))

    __reduce__ = None  # type: ignore[assignment]

    # -- state_dict ---------------------------------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Like the original's; keys may have the prefix that in-tree compiled modules give them."""
        if any(PREFIX in key for key in state_dict):
            metadata = getattr(state_dict, "_metadata", None)
            state_dict = type(state_dict)((key.replace(PREFIX, ""), value) for key, value in state_dict.items())
            if metadata is not None:
                state_dict._metadata = {f"{key}.".replace(PREFIX, "")[:-1]: value for key, value in metadata.items()}
        return _get(self, "_orig_mod").load_state_dict(state_dict, *args, **kwargs)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        """The same where the compiled module is a part of the module that loads."""
        for key in [key for key in state_dict if key.startswith(prefix + PREFIX)]:
            state_dict[prefix + key[len(prefix) + len(PREFIX) :]] = state_dict.pop(key)
        _get(self, "_orig_mod")._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def named_modules(self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True) -> Any:
        """Like the original's, with this module in the original's place."""
        original = _get(self, "_orig_mod")
        for name, module in original.named_modules(memo, prefix, remove_duplicate):
            yield name, self if module is original else module

    def modules(self) -> Iterator[torch.nn.Module]:
        """Like the original's, with this module in the original's place."""
        for _, module in self.named_modules():
            yield module

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Already compiled."""
        warnings.warn("this module is compiled already; OptimizedModule.compile() does nothing", stacklevel=2)

    def get_compiler_config(self) -> Any:
        """Settings of the backend, where it has some."""
        return _get(self, "dynamo_ctx").get_compiler_config()


def _returns_self(name: str) -> Any:
    """A method of ``nn.Module`` that returns the module: the compiled one must return itself."""

    def method(self: OptimizedModule, *args: Any, **kwargs: Any) -> Any:
        original = _get(self, "_orig_mod")
        result = getattr(original, name)(*args, **kwargs)
        return self if result is original else result

    method.__name__ = name
    method.__doc__ = getattr(torch.nn.Module, name).__doc__
    return method


_CHAINING = (
    "train eval to cuda cpu ipu xpu mtia type float double half bfloat16 to_empty requires_grad_ apply share_memory _apply"
).split()
for _name in _CHAINING:
    if hasattr(torch.nn.Module, _name):
        setattr(OptimizedModule, _name, _returns_self(_name))

_SLOTS = frozenset({*OptimizedModule.__slots__, "_compiled_call"})
_OWN_MARKS = frozenset(
    {"_torchdynamo_orig_callable", "_torchdynamo_wrapper_id", "_torchdynamo_disable", "_torchdynamo_disable_msg"}
)
"""Attributes that belong to the compiled module and not to the original."""
_OWN = (
    _SLOTS
    | frozenset(_CHAINING)
    | {
        "__dir__",
        "__reduce__",
        "__reduce_ex__",
        "__signature__",
        "__weakref__",
        "_forward_of",
        "_torchdynamo_disable_of",
        "_load_from_state_dict",
        "compile",
        "get_compiler_config",
        "load_state_dict",
        "modules",
        "named_modules",
    }
)

read_own = OptimizedModule.__dict__["_orig_mod"].__get__
"""The original, without a Python frame: guards of captured code call it."""


def _sized(self: OptimizedModule, name: str) -> Any:
    original = _get(self, "_orig_mod")
    if not hasattr(type(original), name):
        what = {"__len__": "has no len()", "__iter__": "is not iterable", "__contains__": "is not iterable"}
        raise TypeError(f"object of type {type(original).__name__!r} {what.get(name, 'is not subscriptable')}")
    return original


def _rebuild(cls: type, mod: torch.nn.Module, dynamo_ctx: Any) -> Any:
    return cls(mod, dynamo_ctx)


def original_of(obj: Any) -> Any:
    """What was compiled, disabled or otherwise wrapped by us (or by torch's own front-end); anything else is itself."""
    while True:
        if isinstance(obj, OptimizedModule):
            obj = _get(obj, "_orig_mod")
            continue
        if isinstance(obj, eval_frame.CompiledFunction):
            obj = obj._torchdynamo_orig_callable
            continue
        wrapped = getattr(obj, "__dict__", {}).get("_torchdynamo_orig_callable")
        # The id tells a wrapper from a function that only copied its attributes (functools.wraps).
        if wrapped is None or obj.__dict__.get("_torchdynamo_wrapper_id") != id(obj):
            return obj
        obj = wrapped
