"""How an entry calls its graph: the backend's function, what it is called with, and what is done where it raises."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode

from alternator._C.eval_frame import DisabledCall
from alternator.codegen import checks
from alternator.codegen.again import RunAgain
from alternator.codegen.builder import Builder
from alternator.codegen.calling import call_backend, giving, outputs_of, run_late
from alternator.exc import BackendCompilerFailed, Break, SkipFrame, UserRaise
from alternator.interpreter import masks, overrides
from alternator.provenance.source import Source
from alternator.semantics import functorch, gradients, locks
from alternator.tensors import saved_hooks
from alternator.tensors.sharing import inputs_for_backend
from alternator.tensors.state import GlobalState, outside_inference_mode
from alternator.tensors.static_inputs import announce


class GraphCall(NamedTuple):
    """How an entry calls its graph.

    ``inputs``: what it is called with, where all of it comes straight from the guards: then the native side calls it, and
    hands ``results`` to the entry's function.  None: the function calls it itself.  ``single``: the function would return
    the only result.  ``recover``: what to do when it raises.
    """

    compiled: Any
    inputs: tuple[Source, ...] | None
    lines: list[str]
    single: bool = False
    recover: RunAgain | None = None

    @property
    def first(self) -> tuple[str, ...]:
        """What comes before the other parameters of the function."""
        return ("results",) if self.inputs is not None else ()


def graph_call(b: Builder, attempt: Any, module: torch.fx.GraphModule, expected: list[Any], keep_hook: bool) -> GraphCall:
    """Compile the graph, and say how to call it."""
    before = gradients.flags_before(b) + b.new_tensors()
    with torch._C.DisableTorchFunctionSubclass():
        recover = RunAgain(attempt.vm, attempt.before)
        locks.check_released(attempt.vm, module.graph, recover.possible)
        with outside_inference_mode():
            mode, facts = inputs_for_backend(attempt.fakes, attempt.recorder, module)
    attempt.vm.world.tree.tail += facts
    inputs = attempt.recorder.inputs
    nodes = {node: i for i, node in enumerate(n for n in module.graph.nodes if n.op == "placeholder")}
    inputs.sort(key=lambda entry: nodes[entry.node])
    examples = [entry.example for entry in inputs]
    rows = {} if recover.possible else attempt.vm.states.get("checks", {})  # the plain run raises what they stand for
    asserted = {text: checks.Check(*row) for text, row in rows.items()}
    conditions = checks.conditions_of(module, asserted)
    compiled = functorch.balanced(attempt.vm, _compile(attempt, module, examples, mode, len(b.outputs)))
    if attempt.vm.overrides.active:
        compiled = overrides.without(compiled, examples)
    compiled = checks.raising(compiled, asserted, conditions)
    if keep_hook:
        compiled = DisabledCall(compiled)
    names = ", ".join(f"g{i}" for i in range(len(b.outputs)))
    names += "," if len(b.outputs) == 1 else ""
    if not expected and not before and not recover.is_prepared and all(entry.kind in ("tensor", "int") for entry in inputs):
        sources = tuple(entry.source.want() for entry in inputs)
        lines = [f"# results = graph({', '.join(source.name for source in sources)})".replace("\n", " ")]
        if b.outputs:
            lines.append(f"{names} = results")
        return GraphCall(compiled, sources, lines, b.lines == ["return g0"] and len(b.outputs) == 1, recover)
    call = f"{b.constant(compiled, 'graph')}({', '.join(_input_text(b, entry) for entry in inputs)})"
    line = f"{names} = {call}" if b.outputs else call
    return GraphCall(compiled, None, before + recover.statements(b, line, expected), False, recover)


def _input_text(b: Builder, entry: Any) -> str:
    if entry.kind in ("made", "number"):
        return str(entry.make(b))
    if entry.kind == "new":
        return b.new_tensor(entry)
    name = b.load(entry.source)
    if entry.kind in ("tensor", "int"):
        return name
    if entry.kind == "array":
        return f"{b.constant(torch.as_tensor, 'as_tensor')}({name})"
    if entry.kind == "offset":
        return f"{name}.storage_offset()"
    return f"{name}.{entry.kind}({entry.dim})"


def _compile(attempt: Any, module: torch.fx.GraphModule, examples: list[Any], mode: FakeTensorMode, outputs: int) -> Any:
    """Hand the graph to the backend, in the tracing context that AOTAutograd expects."""
    request = attempt.request
    state = GlobalState()
    levels = functorch.TransformState()
    mode.allow_scalar_outputs = True  # Inductor decomposes operators into ones that need it
    context = TracingContext(mode)
    announce(module, request.compile_id)
    attempt.vm.world.tree.tail += saved_hooks.install(module)
    try:
        with outside_inference_mode(), tracing(context):
            compiled = call_backend(request.backend, module, examples)
    except Exception as error:
        if isinstance(error, (Break, UserRaise, SkipFrame, BackendCompilerFailed)):
            raise
        masks.begin_anew(attempt.vm, error)
        raise BackendCompilerFailed(request.backend_name, error, module.print_readable(print_output=False)).with_traceback(
            error.__traceback__
        ) from error
    finally:
        levels.restore()
        state.restore()
    if not callable(compiled):
        raise BackendCompilerFailed(request.backend_name, TypeError(f"the backend returned {compiled!r}, which cannot be called"))
    as_it_is = compiled is module or compiled == module.forward
    known = getattr(request.backend, "__module__", "").startswith("alternator.backends.")
    gives_all = not outputs or (outputs_of(module) == outputs if as_it_is else known)
    compiled = run_late(module) if as_it_is else compiled
    return compiled if gives_all else giving(compiled, outputs, request.backend_name)
