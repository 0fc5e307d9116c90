"""The only module that may touch ``torch._dynamo``: bookkeeping that the backends cannot work without.

AOTAutograd and Inductor are written against parts of ``torch._dynamo`` and import them on their own.  Capture, guards, code
generation and caching of that package are never used here; each name below says what it is needed for.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Iterator

from alternator import marks


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


# -- marks that libraries made with the in-tree decorators ---------------------------------------------------------------------
# ``torch._dynamo.trace_rules`` keeps them in sets of ids.  It is looked at only if something has loaded it already.


def _trace_rules() -> Any:
    return sys.modules.get("torch._dynamo.trace_rules")


def _allowed(fn: Any) -> bool:
    rules = _trace_rules()
    return rules is not None and id(fn) in rules._allowed_callable_ids


def _disallowed(fn: Any) -> bool:
    rules = _trace_rules()
    return rules is not None and id(fn) in rules._disallowed_callable_ids


def _nonstrict(fn: Any) -> bool:
    rules = _trace_rules()
    return rules is not None and id(fn) in rules._nonstrict_trace_callable_ids


marks.IN_GRAPH.ask(_allowed)
marks.DISALLOWED.ask(_disallowed)
marks.NONSTRICT.ask(_nonstrict)
