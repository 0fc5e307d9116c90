"""torch's global state that operations depend on: remembered, restored, and written by generated code."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator

import torch
from torch._subclasses.meta_utils import disable_inference_mode_for_fake_prop

_DEVICES = ("cpu", "cuda")


SDP_KERNELS = tuple(
    name for name in ("cudnn", "flash", "mem_efficient", "math", "overrideable") if hasattr(torch._C, f"_get_{name}_sdp_enabled")
)
"""Kernels of scaled dot product attention that can be switched on and off."""
_SDP_GETTERS = [(name, getattr(torch._C, f"_get_{name}_sdp_enabled")) for name in SDP_KERNELS]


def sdp_state() -> tuple[tuple[str, bool], ...]:
    """Which of them are on."""
    return tuple([(name, getter()) for name, getter in _SDP_GETTERS])


def set_sdp(name: str, enabled: bool) -> None:
    """Switch one."""
    getattr(torch._C, f"_set_sdp_use_{name}")(enabled)


class GlobalState:
    """A snapshot of grad mode and autocast.

    Example: ``before = GlobalState()`` ... ``before.restore()``.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Any] = {
            ("grad",): torch.is_grad_enabled(),
            ("cache",): torch.is_autocast_cache_enabled(),
            ("default_dtype",): torch.get_default_dtype(),
            ("matmul",): torch._C._get_float32_matmul_precision(),
            ("deterministic",): (torch._C._get_deterministic_algorithms(), torch._C._get_deterministic_algorithms_warn_only()),
        }
        for name, enabled in sdp_state():
            self.rows["sdp", name] = enabled
        for device in _DEVICES:
            self.rows["autocast", device] = torch.is_autocast_enabled(device)
            self.rows["dtype", device] = torch.get_autocast_dtype(device)
        self.rows["nesting",] = torch.autocast_increment_nesting()
        torch.autocast_decrement_nesting()

    @property
    def grad(self) -> bool:
        """Whether gradients are recorded."""
        return bool(self.rows["grad",])

    def with_grad(self, enabled: bool) -> GlobalState:
        """The same with another grad mode."""
        made = GlobalState()
        made.rows = {**self.rows, ("grad",): enabled}
        return made

    def restore(self) -> None:
        now = GlobalState()
        for fn, *args in now.steps_to(self):
            fn(*args)

    def steps_to(self, other: "GlobalState") -> list[tuple[Any, ...]]:
        """The setter calls that lead from this state to the other one."""
        steps: list[tuple[Any, ...]] = []
        for row, wanted in other.rows.items():
            have = self.rows[row]
            if have == wanted:
                continue
            if row[0] == "nesting":
                step: Callable[[], int] = torch.autocast_increment_nesting if wanted > have else torch.autocast_decrement_nesting
                steps += [(step,)] * abs(wanted - have)
            else:
                steps.append((_SETTERS[row[0]], *row[1:], wanted))
        return steps


@contextlib.contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Fakes and AOTAutograd cannot work on inference tensors: no_grad stands in for inference mode, which is guarded.

    Nor are fakes of inference tensors ones themselves.  Forward gradients are as the program has them.
    """
    with disable_inference_mode_for_fake_prop():
        if not torch.is_inference_mode_enabled():
            yield
            return
        forward_grad = torch._C._is_fwd_grad_enabled()
        with torch.inference_mode(False), torch.no_grad():
            torch._C._set_fwd_grad_enabled(forward_grad)
            yield


def set_deterministic(flags: tuple[bool, bool]) -> None:
    """Whether operations have to be deterministic, and whether they only warn if they are not."""
    torch._C._set_deterministic_algorithms(flags[0], warn_only=flags[1])


_SETTERS: dict[str, Callable[..., Any]] = {
    "grad": torch._C._set_grad_enabled,
    "default_dtype": torch._C._set_default_dtype,
    "deterministic": set_deterministic,
    "matmul": torch._C._set_float32_matmul_precision,
    "sdp": set_sdp,
    "cache": torch.set_autocast_cache_enabled,
    "autocast": torch.set_autocast_enabled,
    "dtype": torch.set_autocast_dtype,
}
