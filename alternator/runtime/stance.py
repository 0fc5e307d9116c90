"""The stance: what compiled functions do for a while, whatever they were compiled with.

Together with the settings that a capture depends on, the stance makes up the key that tells entries apart.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from alternator import config
from alternator._C import eval_frame

STANCES = (
    "default",
    "force_eager",
    "eager_on_recompile",
    "fail_on_recompile",
    "eager_then_compile",
    "aot_eager_then_compile",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Stance:
    """One stance."""

    name: str = "default"
    backend: Callable[..., Any] | None = None
    """Replaces the backend of everything that is compiled meanwhile."""
    backend_name: str = ""
    skip_guard_eval_unsafe: bool = False

    @property
    def runs_plainly(self) -> bool:
        """Nothing is compiled."""
        return self.name in ("force_eager", "eager_on_recompile")

    @property
    def compiles_later(self) -> bool:
        """The first call runs plainly."""
        return self.name in ("eager_then_compile", "aot_eager_then_compile")

    @property
    def fails_on_recompile(self) -> bool:
        """An entry that does not fit is an error."""
        return self.name == "fail_on_recompile"


_stance = Stance()
_EAGER_KEY = ("force_eager",)
_backend_keys: dict[tuple[int, int], tuple[Any, ...]] = {}


def current() -> Stance:
    """The stance now."""
    return _stance


def cache_key() -> tuple[Any, ...]:
    """Entries with another key do not count now."""
    if _stance.name == "force_eager":
        return _EAGER_KEY
    if config.disable:
        return _EAGER_KEY
    key = config.cache_key()
    if _stance.backend is None:
        return key
    return _backend_keys.setdefault((id(_stance.backend), id(key)), (_stance.backend, key))


def set_current(stance: Stance) -> Stance:
    """Change the stance; the one before is returned."""
    global _stance
    before, _stance = _stance, stance
    publish()
    return before


def publish() -> None:
    """Tell the frame hook which entries count now."""
    eval_frame.set_cache_key(cache_key())


config.on_change(publish)
publish()
