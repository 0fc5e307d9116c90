"""The only module that may touch ``torch._dynamo``: bookkeeping that the backends cannot work without.

AOTAutograd and Inductor are written against parts of ``torch._dynamo`` and import them on their own.  Capture, guards, code
generation and caching of that package are never used here; each name below says what it is needed for.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import Any, Iterator

from alternator.runtime import convert, traced


@contextlib.contextmanager
def ready_for_aot() -> Iterator[None]:
    """What AOTAutograd and Inductor expect to find around them when they compile.

    ``torch._dynamo.utils.get_metrics_context``: Inductor and AOTAutograd report timings into the current metrics context,
    and complain where there is none.
    """
    from torch._dynamo.utils import get_metrics_context

    context = get_metrics_context()
    if context.in_progress():
        yield
        return
    with context:
        yield


def size_source(tensor: Any, dim: int) -> Any:
    """``torch._dynamo.source.TensorPropertySource``: how ``ShapeEnv`` names a size in its constraints."""
    from torch._dynamo.source import TensorProperty, TensorPropertySource

    return TensorPropertySource(tensor, TensorProperty.SIZE, dim)


# ---- what libraries say with the in-tree decorators
# Nothing is imported for this: it is looked at only if a library has loaded it already.

_known: set[int] = set()
_functions_are_known = False


def bring_over_marks() -> None:
    """Take over ``allow_in_graph``, ``disallow_in_graph`` and ``nonstrict_trace`` marks, and know the in-tree directives.

    ``torch._dynamo.trace_rules`` keeps marks as sets of ids, of objects that are alive as long as their id is in the set.
    ``torch._dynamo.decorators`` has ``graph_break``, ``skip_frame`` and ``step_unsupported``, which programs call.
    """
    global _functions_are_known
    rules = sys.modules.get("torch._dynamo.trace_rules")
    if rules is None:
        return
    trees = set(rules._nonstrict_trace_callable_ids())
    new = (set(rules._allowed_callable_ids()) | trees) - _known
    if new:
        _known.update(new)
        for obj in gc.get_objects():
            if id(obj) in new and callable(obj):
                (traced.put_trees_in_graph if id(obj) in trees else traced.put_in_graph)(obj)
    decorators = sys.modules.get("torch._dynamo.decorators")
    if decorators is not None and not _functions_are_known:
        _functions_are_known = True
        generations = sys.modules["torch._dynamo.mutation_guard"].GenerationTracker  # its own bookkeeping of new modules
        traced.is_constant(None)(generations.tag.__func__)
        traced.breaks_with("GRAPH_BREAK_CALL", decorators.graph_break)
        traced.breaks_with("GRAPH_BREAK_CALL", decorators.step_unsupported)
        traced.skips_frame(decorators.skip_frame)


convert.before_capture.append(("torch._dynamo.trace_rules", bring_over_marks))
