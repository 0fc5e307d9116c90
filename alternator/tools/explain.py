"""``explain(fn)(*args)``: run once, and tell the graphs, the breaks with their cures, the operations and the times."""

from __future__ import annotations

import collections
import dataclasses
import os
from typing import Any, Callable, Sequence

import torch

from alternator import utils
from alternator.runtime.contexts import OptimizeContext
from alternator.runtime.convert import Options
from alternator.runtime.module import original_of
from alternator.runtime.reset import reset


@dataclasses.dataclass
class ExplainOutput:
    """What a run of a function was captured as; ``str()`` gives a report."""

    graphs: list[torch.fx.GraphModule]
    graph_count: int
    graph_break_count: int
    break_reasons: list[utils.BreakReason]
    op_count: int
    ops_per_graph: list[list[Any]]
    out_guards: list[Any]
    compile_times: str
    skipped: list[utils.SkipReport] = dataclasses.field(default_factory=list)
    """Functions that were run plainly as a whole."""
    times: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """Name of a phase -> seconds, each time."""

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, which ``json.dumps`` takes.

        Example: ``alternator.explain(fn)(x).as_dict()["breaks"][0]["cure"]``
        """
        return {
            "graphs": [
                {
                    "inputs": [node.name for node in graph.graph.nodes if node.op == "placeholder"],
                    "operations": [_name(op) for op in ops],
                    "code": graph.code.strip(),
                }
                for graph, ops in zip(self.graphs, self.ops_per_graph)
            ],
            "breaks": [{**reason.as_dict(), "count": count} for reason, count in _grouped(self.break_reasons)],
            "guards": [str(guard) for guard in self.out_guards],
            "plain": [str(report) for report in self.skipped],
            "times": self.times,
        }

    def __str__(self) -> str:
        lines = [
            f"Graph Count: {self.graph_count}",
            f"Graph Break Count: {self.graph_break_count}",
            f"Op Count: {self.op_count}",
        ]
        for number, (reason, count) in enumerate(_grouped(self.break_reasons), 1):
            times = f"  (x{count})" if count > 1 else ""
            lines.append(f"Break {number}: {reason.reason}{times}  [{reason.code}]")
            lines += [f"    {_place(frame)}" for frame in reason.user_stack]
            if reason.cure:
                lines.append(f"    cure: {reason.cure}")
        lines += [f"Runs plainly: {report}" for report in self.skipped]
        for number, (graph, ops) in enumerate(zip(self.graphs, self.ops_per_graph), 1):
            inputs = sum(node.op == "placeholder" for node in graph.graph.nodes)
            lines.append(f"Graph {number}: {inputs} inputs, {len(ops)} operations: {_common(ops)}")
        if self.out_guards:
            lines.append(f"Guards: {len(self.out_guards)}")
            lines += [f"    {guard}" for guard in self.out_guards[:_SHOWN]]
            lines += ["    ..."] if len(self.out_guards) > _SHOWN else []
        if self.compile_times:
            lines.append(self.compile_times)
        return "\n".join(lines)


_SHOWN = 12
"""Guards that the report for people lists; ``out_guards`` has them all."""


def explain(f: Callable[..., Any], *extra_args: Any, **extra_kwargs: Any) -> Any:
    """``explain(f)(*args)`` calls ``f(*args)`` once and returns an :class:`ExplainOutput`.

    What was compiled before is dropped, and so is what this run compiles.
    """

    def run(*args: Any, **kwargs: Any) -> ExplainOutput:
        graphs: list[torch.fx.GraphModule] = []
        breaks: list[utils.BreakReason] = []
        entries: list[Any] = []
        skipped: list[utils.SkipReport] = []

        def accumulate(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
            graphs.append(gm)
            return gm.forward

        reset()
        try:
            with (
                utils.listening_to_breaks(breaks.append),
                utils.listening_to_entries(entries.append),
                utils.listening_to_skips(skipped.append),
            ):
                OptimizeContext(Options(accumulate, "explain"))(original_of(f))(*args, **kwargs)
            times, phases = _times(), {phase: list(seconds) for phase, seconds in utils.compile_times.items()}
        finally:
            reset()
        breaks = [reason for reason in breaks if reason.graph_break]
        ops = [[node.target for node in gm.graph.nodes if node.op.startswith("call_")] for gm in graphs]
        return ExplainOutput(
            graphs=graphs,
            graph_count=len(graphs),
            graph_break_count=len(breaks),
            break_reasons=breaks,
            op_count=sum(map(len, ops)),
            ops_per_graph=ops,
            out_guards=[guard for entry in entries for guard in _guards_of(entry)],
            compile_times=times,
            skipped=skipped,
            times=phases,
        )

    if extra_args or extra_kwargs:  # an older form: explain(f, *args)
        return run(*extra_args, **extra_kwargs)
    return run


def _guards_of(entry: Any) -> list[Any]:
    extra = getattr(entry, "extra", None)
    return list(extra.get("guards", ())) if isinstance(extra, dict) else list(getattr(extra, "guards", ()))


def _times() -> str:
    lines = [
        f"  {phase}: {sum(seconds):.3f} s in {len(seconds)} {'step' if len(seconds) == 1 else 'steps'}"
        for phase, seconds in sorted(utils.compile_times.items())
    ]
    return "\n".join(["Times:", *lines]) if lines else ""


def _grouped(reasons: list[utils.BreakReason]) -> list[tuple[utils.BreakReason, int]]:
    """The same break at the same line counts once."""
    counts: collections.Counter[Any] = collections.Counter()
    first: dict[Any, utils.BreakReason] = {}
    for reason in reasons:
        where = reason.user_stack[-1] if reason.user_stack else None
        key = (reason.reason, where and (where.filename, where.lineno))
        counts[key] += 1
        first.setdefault(key, reason)
    return [(first[key], count) for key, count in counts.items()]


def _place(frame: Any) -> str:
    return f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}: {frame.line}"


def _common(ops: list[Any], most: int = 6) -> str:
    names = collections.Counter(map(_name, ops))
    listed = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in names.most_common(most))
    return listed + (", ..." if len(names) > most else "")


def _name(op: Any) -> str:
    return op if isinstance(op, str) else getattr(op, "__name__", str(op))
