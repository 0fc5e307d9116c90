"""What runs in the place of a generator's frame that real code resumes: a plain function, up to the next yield.

So a generator that native code advances, or a function that runs plainly, is captured as other functions are: its variables, and
what is on its stack, are the arguments of a function. ``csrc/generators.cpp`` takes them out, and puts back what that returns.
"""

from __future__ import annotations

import types
from typing import Any

from alternator.bytecode import continuation
from alternator.bytecode.analysis import stack_depth
from alternator.bytecode.decode import decode

Piece = tuple[types.CodeType, tuple[int, ...], tuple[int, ...], bool]
"""Code, the frame's slots that its arguments are in, those that its cells are in, whether the exception that is being handled is
the last argument."""


def piece_at(code: types.CodeType, place: int, empty: bytes) -> Piece | None:
    """The piece that begins where a generator waits; ``empty``: for each variable, then each item of the stack (what is sent is
    the last one), whether there is none.  None: there can be no such piece."""
    decoded = decode(code)
    waits = decoded.instrs[decoded.index_of_offset(place)]
    names = decoded.localsplus_names
    kinds = list(zip(names, decoded.localsplus_kinds, empty))
    at_start = waits.opname == "RETURN_GENERATOR"
    index = decoded.body_start if at_start else waits.index + 1
    depth = 0 if at_start else stack_depth(decoded, index)
    if len(empty) != len(names) + max(depth, 1):
        return None
    try:
        made = continuation.make_continuation(
            code,
            index,
            depth,
            null_positions=[i for i, missing in enumerate(empty[len(names) : len(names) + depth]) if missing],
            unbound=[name for name, kind, missing in kinds if kind == "local" and missing],
            kept=[name for name, kind, missing in kinds if kind == "local" and not missing],
        )
    except ValueError:
        return None
    slots: list[Any] = [names.index(name) for name in made.local_names]
    slots += [len(names) + position for position in made.passed]
    return made.code, tuple(slots), tuple(names.index(name) for name in made.free_names), made.handles
