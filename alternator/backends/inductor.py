"""Inductor: the default backend, and how ``mode`` and ``options`` of ``compile`` become its settings."""

from __future__ import annotations

import difflib
import typing
from typing import Any, Callable, Mapping, Sequence

import torch

from alternator.backends import interop
from alternator.backends.registry import register_backend

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "lite")


@register_backend
def inductor(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Generate C++ or Triton kernels."""
    from torch._inductor.compile_fx import compile_fx

    with interop.ready_for_aot():
        return compile_fx(gm, example_inputs, **kwargs)


class InductorBackend:
    """Inductor with settings.  Equal settings make equal backends, so that compiled entries are shared."""

    __name__ = "inductor"

    def __init__(
        self,
        mode: str | None = None,
        options: Mapping[str, Any] | None = None,
        dynamic: bool | None = None,
        name: str | None = None,
    ) -> None:
        self.dynamic = dynamic
        self.name = name
        self.patches: dict[str, Any] = {}
        if mode is not None:
            self._apply_mode(mode)
        if options:
            self._apply_options(options)

    def _apply_mode(self, mode: str) -> None:
        if mode == "default":
            return
        from torch._inductor import list_mode_options

        modes = list_mode_options(None, self.dynamic)
        if mode not in modes:
            raise RuntimeError(
                f"Unrecognized mode={mode!r}: it is not one of {', '.join(map(repr, sorted({'default', *modes})))}"
            )
        self._apply_options(modes[mode])

    def _apply_options(self, options: Mapping[str, Any]) -> None:
        from torch._inductor import config

        known = config.get_config_copy()
        for name, value in options.items():
            attribute = name.replace("-", "_")
            if attribute not in known:
                near = difflib.get_close_matches(attribute, known, n=3)
                raise RuntimeError(
                    f"Unexpected optimization option {name}: Inductor has no such setting"
                    + (f"; did you mean {' or '.join(near)}?" if near else "")
                    + " (torch._inductor.list_options() lists them)"
                )
            kind = config.get_type(attribute)
            if typing.get_origin(kind) is None and not isinstance(value, kind):
                raise RuntimeError(
                    f"Unexpected type of attr {name}: it is {type(value).__name__}, and should be "
                    f"{type(known[attribute]).__name__}"
                )
            self.patches[attribute] = value

    def __call__(self, gm: torch.fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
        return inductor(gm, example_inputs, config_patches=dict(self.patches), **kwargs)

    def get_compiler_config(self) -> dict[str, Any]:
        """Inductor's settings as this backend uses them."""
        from torch._inductor.compile_fx import get_patched_config_dict

        return get_patched_config_dict(config_patches=self.patches)

    def _identity(self) -> tuple[Any, ...]:
        return (tuple(sorted((key, repr(value)) for key, value in self.patches.items())), self.dynamic, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InductorBackend) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def reset(self) -> None:
        """Drop what Inductor keeps per process for CUDA graphs."""
        if self.patches.get("triton.cudagraphs"):
            from torch._inductor.cudagraph_trees import reset_cudagraph_trees

            reset_cudagraph_trees()
