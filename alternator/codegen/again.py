"""Running a captured frame again, plainly: where its graph raises, and where it turns out not to be what the program does.

A graph raises what an operation raises because of its data: an index out of range, a singular matrix, a failed check.  In plain
Python that happens at its own place: behind the effects up to there, under the handlers that are around it.  And a branch that
only raises is expected not to (``interpreter/expectations.py``).  In both cases the native side runs the frame plainly from its
start, if what the graph has done so far cannot be told, or can be undone.  What hooks on saved tensors have done cannot.
"""

from __future__ import annotations

import random
import traceback
import types
from typing import Any, Callable, NamedTuple

import numpy
import torch

from alternator import interrupts
from alternator._C.eval_frame import GraphFailed
from alternator._C.guards import history_of, set_history
from alternator.codegen.builder import Builder
from alternator.codegen.effects import has_effects
from alternator.exc import AlternatorException
from alternator.tensors.graph import Input, Recorder
from alternator.tensors.state import GlobalState

MOST_TENSORS = 16
MOST_BYTES = 1 << 16
"""So much is copied before each call of a graph that writes into inputs and may fail."""


class RunAgain:
    """Asked by the native side.  None: the exception is raised; True: the frame is to be run plainly; False: it is, too, and
    if nothing is raised, the exception is the compiled graph's own, and is raised after all.

    ``possible``: what the graph has done can be undone, and is worth it: the program has handlers or effects; ``copied``: the
    inputs that are restored then; ``generators``: the sources of Python's and NumPy's, of which numbers are drawn for the graph.
    """

    def __init__(self, vm: Any, before: GlobalState) -> None:
        watch, recorder = vm.fakes.watch, vm.recorder
        written = watch.written_inputs(recorder)
        may_raise = watch.may_raise(recorder)
        small = not written or (may_raise or _may_not_be_saved(recorder)) and _are_small(recorder, written)
        expected = bool(vm.states.get("expected"))
        told = vm.has_handlers or has_effects(vm) or expected  # whether it is raised here or there
        drawn = [entry for entry in recorder.inputs if entry.kind == "made"]
        generators = {id(entry.generator): entry.generator for entry in drawn if entry.generator is not None}
        worth = not generators or may_raise or expected  # a state of theirs is thousands of bytes in Python objects
        self.before = before
        self.handles = vm.has_handlers
        self.possible = (told or not (written or watch.draws or generators)) and worth and small and watch.only_writes(recorder)
        self.copied = written if self.possible else []
        self.generators = list(generators.values()) if self.possible else []
        self.draws = self.possible and watch.draws

    @property
    def is_prepared(self) -> bool:
        """More is remembered before each call than the CPU's random state: generated code calls the graph."""
        return bool(self.copied or self.generators) or self.draws and torch.cuda.is_initialized()

    def __call__(self, failed: BaseException) -> bool | None:
        self.before.restore()
        error = failed.__cause__ if type(failed) is GraphFailed else failed
        if error is not None and _is_from_hook(error):
            return None
        if type(failed) is GraphFailed and failed.args and not failed.args[0].restore():
            return None
        if error is None:  # the graph has not raised: what was expected is not true
            return True
        ours = issubclass(type(error), AlternatorException) or interrupts.is_from_handler(error)
        return self.handles if self.possible and issubclass(type(error), Exception) and not ours else None

    def statements(self, b: Builder, call: str, expected: list[torch.Tensor]) -> list[str]:
        """The statements of a call of the graph by generated code; its results stand only if what is ``expected`` is true."""
        failed = b.constant(GraphFailed, "GraphFailed")
        raised, lines = failed, []
        if self.draws or self.copied or self.generators:
            copied = "".join(f"{b.load(entry.source)}, " for entry in self.copied)
            drawn = "".join(f"{b.load(source)}, " for source in self.generators)
            make = f"{b.constant(_Before, 'Before')}({self.draws}, ({copied}), ({drawn}))"
            raised, lines = f"{failed}(before)", [f"before = {make}"]
        lines += ["try:", f"    {call}"]
        if expected:
            lines.append(f"    expected = {' and '.join(f'bool({b.output(one)})' for one in expected)}")
        lines.append(f"except Exception as error: raise {raised} from error")
        if expected:
            lines.append(f"if not expected: raise {raised}")
        return lines


class _Before:
    """What a call of a graph is about to change: the states of torch's generators, if it draws, tensors, and the states of
    Python's and NumPy's generators."""

    def __init__(self, draws: bool, written: tuple[torch.Tensor, ...], generators: tuple[Any, ...]) -> None:
        cuda = torch.cuda.is_initialized()
        self.lost = cuda and torch.cuda.is_current_stream_capturing()  # the states belong to the CUDA graph
        if self.lost:
            return
        self.cpu = torch.get_rng_state() if draws else None
        self.cuda = torch.cuda.get_rng_state_all() if draws and cuda else None
        self.tensors = [_Tensor(tensor, tensor.detach().clone(), tensor.requires_grad, history_of(tensor)) for tensor in written]
        self.generators = [(one, GENERATORS[type(one)], GENERATORS[type(one)].state(one)) for one in generators]

    def restore(self) -> bool:
        """False if that is not possible."""
        if self.lost or not all(one.can_be_restored() for one in self.tensors):
            return False
        if self.cpu is not None:
            torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        for one in self.tensors:
            one.restore()
        for generator, kind, state in self.generators:
            kind.set_state(generator, state)
        return True


class _Tensor(NamedTuple):
    """One that is written into: what it holds, whether it requires a gradient, and its history, if it has one."""

    tensor: torch.Tensor
    copy: torch.Tensor
    required: bool
    history: Any

    def can_be_restored(self) -> bool:
        """Unless it has a history that is more than one place: that of a view, or of a tensor with hooks."""
        tensor = self.tensor
        return self.history is not None or not tensor.requires_grad or tensor.is_leaf or not (self.required or tensor._is_view())

    def restore(self) -> None:
        if self.tensor.is_inference():
            with torch.inference_mode():
                self.tensor.copy_(self.copy)
            return
        with torch.no_grad(), torch.autograd._unsafe_preserve_version_counter(self.tensor):
            if self.history is not None:
                set_history(self.tensor, self.history)
            elif self.tensor.requires_grad and not self.required:  # a leaf, which has got one
                self.tensor.detach_()
            self.tensor.copy_(self.copy)


class Kind(NamedTuple):
    """How the state of a generator of a type is had and set."""

    state: Callable[[Any], Any]
    set_state: Callable[[Any, Any], None]


def _set_numpy_state(generator: numpy.random.Generator, state: Any) -> None:
    generator.bit_generator.state = state


GENERATORS: dict[type, Kind] = {
    random.Random: Kind(random.Random.getstate, random.Random.setstate),
    numpy.random.RandomState: Kind(numpy.random.RandomState.get_state, numpy.random.RandomState.set_state),
    numpy.random.Generator: Kind(lambda generator: generator.bit_generator.state, _set_numpy_state),
}


def _is_from_hook(error: BaseException) -> bool:
    """A hook on saved tensors around the frame has raised it: another run would save the same again, which hooks may count."""
    hooks: Any = torch._C._autograd._top_saved_tensors_default_hooks(False)
    if not hooks:
        return False
    pack = getattr(hooks[0], "__func__", hooks[0])
    if type(pack) is not types.FunctionType:
        return True  # nobody can tell
    return any(frame.f_code is pack.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _may_not_be_saved(recorder: Recorder) -> bool:
    """Autograd refuses to keep what was made in inference mode for a backward pass, which fakes do not show."""
    if torch.is_inference_mode_enabled():
        return False
    return any(isinstance(entry.example, torch.Tensor) and entry.example.is_inference() for entry in recorder.inputs)


def _can_be_as_before(entry: Input, memories: list[int]) -> bool:
    """A leaf that is one afterwards, too, or what does not share its memory (``memories``: of all inputs), so that its history,
    or that it has none, can be had again."""
    example, fake = entry.example, entry.node.meta["example_value"]
    if example.is_inference():
        return True
    alone = not example._is_view() and memories.count(example.untyped_storage()._cdata) == 1
    return alone or example.is_leaf and fake.is_leaf and example.requires_grad == fake.requires_grad


_PLAIN = (torch.Tensor, torch.nn.Parameter)


def _are_small(recorder: Recorder, written: list[Input]) -> bool:
    """Copies of these inputs cost little, and are all that is needed to have them as they were."""
    if len(written) > MOST_TENSORS or any(entry.kind != "tensor" for entry in written):
        return False
    if any(type(entry.example) not in _PLAIN for entry in written):
        return False
    memories = [entry.example.untyped_storage()._cdata for entry in recorder.tensor_inputs.values()]
    if not all(_can_be_as_before(entry, memories) for entry in written):
        return False
    return sum(entry.example.untyped_storage().nbytes() for entry in written) <= MOST_BYTES
