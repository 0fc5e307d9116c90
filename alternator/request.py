"""What the runtime asks the capture for, and what it is told of what it gets."""

from __future__ import annotations

import dataclasses
import types
import weakref
from typing import Any, Callable

from alternator import config


class FrameStates:
    """What earlier captures of a code object learned, kept as long as the code object lives.

    The capture reads and writes the dict of its code object: which sizes and numbers changed, for example.
    """

    def __init__(self) -> None:
        self._states: dict[int, tuple[weakref.ref[types.CodeType], dict[Any, Any]]] = {}

    def of(self, code: types.CodeType) -> dict[Any, Any]:
        """The dict of a code object.  Keyed by identity: equal code objects are common, and not the same."""
        key = id(code)
        row = self._states.get(key)
        if row is None:
            states = self._states

            def forget(_: Any, key: int = key, states: dict[int, Any] = states) -> None:
                states.pop(key, None)

            row = self._states[key] = (weakref.ref(code, forget), {})
        return row[1]

    def forget(self, code: types.CodeType) -> None:
        """Drop what was learned about one code object."""
        self._states.pop(id(code), None)

    def clear(self) -> None:
        """Drop everything."""
        self._states.clear()


frame_states = FrameStates()


@dataclasses.dataclass(eq=False)  # neither frozen nor long: one is made before each capture
class CompileRequest:
    """One capture of one frame: how, for whom, under which settings."""

    backend: Callable[..., Any]
    """``backend(graph_module, example_inputs)`` gives the callable that runs the graph."""
    backend_name: str
    config: config.Snapshot
    compile_id: str
    """``frame/recompilation``, for messages."""
    options: Any
    """What the caller of ``compile`` gave."""

    attempts: list[Any] = dataclasses.field(default_factory=list)
    """The runs of the interpreter that this capture took; they are taken apart when it is over."""

    @property
    def fullgraph(self) -> bool:
        """A break raises :class:`alternator.exc.Unsupported`."""
        return bool(self.options.fullgraph)

    @property
    def captures_scalars(self) -> bool:
        """Whether numbers that only the data says are symbols: by option, and where no break is allowed."""
        return self.fullgraph or bool(self.config.capture_scalar_outputs)

    @property
    def captures_sizes_of_data(self) -> bool:
        """The same for sizes."""
        return self.fullgraph or bool(self.config.capture_dynamic_output_shape_ops)

    @property
    def dynamic(self) -> bool | None:
        """True: sizes are symbolic from the start; False: never; None: when they were seen to change."""
        dynamic: bool | None = self.options.dynamic
        return dynamic

    def frame_state(self, code: types.CodeType) -> dict[Any, Any]:
        """What earlier captures of this code object learned: a dict for the capture to use."""
        return frame_states.of(code)

    @property
    def assume_static(self) -> bool:
        """Whether a size that is seen for the first time is a constant."""
        return False if self.dynamic else (self.config.assume_static_by_default or self.dynamic is False)

    @property
    def automatic_dynamic(self) -> bool:
        """Whether a size that was seen to change becomes symbolic."""
        return self.dynamic is not False and self.config.automatic_dynamic_shapes


class EntryInfo:
    """What an entry was made from, for people: the generated code and the guards."""

    def __init__(self, text: str, tree: Any, request: CompileRequest) -> None:
        self.text = text
        self.backend_name = request.backend_name
        self.compile_id = request.compile_id
        self._guards = tree.texts_for_later()

    @property
    def guards(self) -> list[str]:
        """The lines of the guards."""
        return list(self._guards())
