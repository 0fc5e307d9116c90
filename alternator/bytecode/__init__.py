"""Code objects: decoding, control-flow analysis, and continuations (no torch in here).

>>> from alternator.bytecode import decode
>>> [i.opname for i in decode((lambda x: x + 1).__code__).instrs]
['RESUME', 'LOAD_FAST', 'LOAD_CONST', 'BINARY_OP', 'RETURN_VALUE']
"""

from .analysis import (
    in_handler,
    in_loop,
    live_locals,
    stack_depth,
    stack_state,
    step_start,
    successors,
)
from .assemble import origin_of
from .codecache import CodeCache
from .continuation import (
    Continuation,
    Layout,
    Step,
    links,
    make_call_continuation,
    make_continuation,
    make_step,
    new_function,
    original_place,
    stack_below,
)
from .decode import DecodedCode, ExceptionEntry, Instr, decode

__all__ = [
    "CodeCache",
    "Continuation",
    "DecodedCode",
    "ExceptionEntry",
    "Instr",
    "Layout",
    "Step",
    "decode",
    "in_handler",
    "in_loop",
    "links",
    "live_locals",
    "make_call_continuation",
    "make_continuation",
    "make_step",
    "new_function",
    "origin_of",
    "original_place",
    "stack_below",
    "stack_depth",
    "stack_state",
    "step_start",
    "successors",
]
