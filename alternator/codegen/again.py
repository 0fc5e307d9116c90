"""Running a captured frame again, plainly: where its graph raises, and where it turns out not to be what the program does.

A graph raises what an operation raises because of its data: an index out of range, a singular matrix, a failed check.  In plain
Python that happens at its own place: behind the effects up to there, under the handlers that are around it.  And a branch that
only raises is expected not to (``interpreter/expectations.py``).  In both cases the native side runs the frame plainly from its
start, if what the graph has done so far cannot be told.
"""

from __future__ import annotations

from typing import Any

import torch

from alternator._C.eval_frame import GraphFailed
from alternator.codegen.builder import Builder
from alternator.exc import AlternatorException
from alternator.tensors.state import GlobalState


class RunAgain:
    """Asked by the native side.  None: the exception is raised; True: the frame is to be run plainly; False: it is, too, and
    if nothing is raised, the exception is the compiled graph's own, and is raised after all.

    Args:
        before: torch's state at the start, which the graph may have left switched.
        harmless: what the graph does cannot be told, but for random numbers that it draws.
        draws: it draws some, which are given back.
        handles: the program may handle exceptions.
    """

    def __init__(self, before: GlobalState, harmless: bool, draws: bool, handles: bool) -> None:
        self.before = before
        self.harmless = harmless
        self.draws = harmless and draws
        self.handles = handles

    def __call__(self, failed: BaseException) -> bool | None:
        self.before.restore()
        error: BaseException | None = failed
        if type(failed) is GraphFailed:
            error = failed.__cause__
            if failed.args and not _restore_random_state(failed.args[0]):
                return None
        if error is None:  # the graph has not raised: what was expected is not true
            return True
        ours = isinstance(error, AlternatorException)
        return self.handles if self.harmless and isinstance(error, Exception) and not ours else None

    def statements(self, b: Builder, call: str, expected: list[torch.Tensor]) -> list[str]:
        """The statements of a call of the graph by generated code; its results stand only if what is ``expected`` is true."""
        failed = b.constant(GraphFailed, "GraphFailed")
        raised = f"{failed}(before)" if self.draws else failed
        lines = [f"before = {b.constant(_random_state, 'random_state')}()"] if self.draws else []
        lines += ["try:", f"    {call}"]
        if expected:
            lines.append(f"    expected = {' and '.join(f'bool({b.output(one)})' for one in expected)}")
        lines.append(f"except Exception as error: raise {raised} from error")
        if expected:
            lines.append(f"if not expected: raise {raised}")
        return lines


def _random_state() -> Any:
    """The states of torch's generators; None where one cannot be had: it belongs to a CUDA graph that is being recorded."""
    if not torch.cuda.is_initialized():
        return torch.get_rng_state(), None
    return None if torch.cuda.is_current_stream_capturing() else (torch.get_rng_state(), torch.cuda.get_rng_state_all())


def _restore_random_state(state: Any) -> bool:
    if state is None:
        return False
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state_all(state[1])
    return True
