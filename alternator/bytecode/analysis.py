"""Control flow, liveness and stack depth of a decoded code object, each computed once, when first asked for."""

from __future__ import annotations

from typing import Final

from .decode import DecodedCode, Instr
from .stack import StackState, stack_states
from .versions import FACTS

__all__ = [
    "Analysis",
    "analyse",
    "in_handler",
    "in_loop",
    "live_fast_locals",
    "live_locals",
    "only_cleans_up",
    "only_raises",
    "reachable",
    "stack_depth",
    "stack_state",
    "step_start",
    "step_stop",
    "successors",
]

#: A function that loads one of these globals, or names one of these attributes, may read its locals by name: all of
#: them count as live everywhere.
FRAME_READING_GLOBALS: Final = frozenset({"locals", "vars", "dir", "eval", "exec", "currentframe"})
FRAME_READING_NAMES: Final = frozenset({"_getframe", "currentframe"})
#: Locals that this package makes; they are never live outside the prologue that makes them.
INTERNAL: Final = "___"


class Analysis:
    """Lazily computed facts about one decoded code object; use the module's functions to ask."""

    __slots__ = ("_handlers", "_live", "_loop", "_states", "decoded", "successors")

    def __init__(self, decoded: DecodedCode) -> None:
        self.decoded = decoded
        self.successors = [_successors(instr, len(decoded.instrs)) for instr in decoded.instrs]
        self._live: list[int] | None = None
        self._states: list[StackState | None] | None = None
        self._loop: list[bool] | None = None
        self._handlers: frozenset[int] | None = None

    @property
    def live(self) -> list[int]:
        """Per instruction, a bit per slot of localsplus: the fast locals live before it."""
        if self._live is None:
            self._live = _liveness(self)
        return self._live

    @property
    def states(self) -> list[StackState | None]:
        """Per instruction the stack before it; None where nothing leads."""
        if self._states is None:
            self._states = stack_states(self.decoded, self.successors)
        return self._states

    @property
    def loop(self) -> list[bool]:
        """Per instruction: does a path lead from it back to it?"""
        if self._loop is None:
            self._loop = _in_cycles([self.edges(i) for i in range(len(self.successors))])
        return self._loop

    @property
    def handlers(self) -> frozenset[int]:
        """Indices at which exception handlers start."""
        if self._handlers is None:
            entries = map(self.decoded.exception_entry, range(len(self.successors)))
            self._handlers = frozenset(entry.handler for entry in entries if entry is not None)
        return self._handlers

    def edges(self, index: int) -> tuple[int, ...]:
        """Successors including the exception handler."""
        entry = self.decoded.exception_entry(index)
        plain = self.successors[index]
        return plain if entry is None else (*plain, entry.handler)


def analyse(decoded: DecodedCode) -> Analysis:
    """The (lazy) analysis of a decoded code object, made once."""
    if decoded._analysis is None:
        decoded._analysis = Analysis(decoded)
    return decoded._analysis


def _successors(instr: Instr, count: int) -> tuple[int, ...]:
    following = instr.index + 1
    if instr.opname in FACTS.terminators or (following == count and instr.target is None):
        return ()
    if instr.target is None:
        return (following,)
    if instr.opname in FACTS.unconditional_jumps:
        return (instr.target,)
    return (following, instr.target)


def _reads_frame(decoded: DecodedCode) -> bool:
    if not FRAME_READING_NAMES.isdisjoint(decoded.names):
        return True
    if FRAME_READING_GLOBALS.isdisjoint(decoded.names):
        return False
    return any(i.opname in FACTS.global_loads and i.argval in FRAME_READING_GLOBALS for i in decoded.instrs)


def _liveness(analysis: Analysis) -> list[int]:
    decoded = analysis.decoded
    instrs = decoded.instrs
    always = 0
    if _reads_frame(decoded):
        for slot, name in enumerate(decoded.localsplus_names):
            if decoded.localsplus_kinds[slot] == "local" and not name.startswith(INTERNAL):
                always |= 1 << slot
    use, keep = [always] * len(instrs), [-1] * len(instrs)
    for instr in instrs:
        name = instr.opname
        if name in FACTS.local_reads or name in FACTS.local_deletes:
            assert instr.arg is not None
            if decoded.localsplus_kinds[instr.arg] == "local":
                use[instr.index] |= 1 << instr.arg
        if name in FACTS.local_writes or name in FACTS.local_deletes:
            assert instr.arg is not None
            keep[instr.index] = ~(1 << instr.arg)
    live = [0] * len(instrs)
    handlers = [decoded.exception_entry(i) for i in range(len(instrs))]
    changed = True
    while changed:
        changed = False
        for index in range(len(instrs) - 1, -1, -1):
            after = 0
            for following in analysis.successors[index]:
                after |= live[following]
            before = use[index] | (after & keep[index])
            entry = handlers[index]
            if entry is not None:
                before |= live[entry.handler]
            if before != live[index]:
                live[index] = before
                changed = True
    return live


def _in_cycles(edges: list[tuple[int, ...]]) -> list[bool]:
    """For each node of a graph: is it on a cycle? (Tarjan's strongly connected components, without recursion.)"""
    count = len(edges)
    order, low = [-1] * count, [0] * count
    on_stack, cyclic = [False] * count, [False] * count
    stack: list[int] = []
    clock = 0
    for root in range(count):
        if order[root] >= 0:
            continue
        work = [(root, 0)]
        while work:
            node, position = work.pop()
            if position == 0:
                order[node] = low[node] = clock
                clock += 1
                stack.append(node)
                on_stack[node] = True
            elif on_stack[edges[node][position - 1]]:
                low[node] = min(low[node], low[edges[node][position - 1]])
            if position < len(edges[node]):
                work.append((node, position + 1))
                following = edges[node][position]
                if order[following] < 0:
                    work.append((following, 0))
                continue
            if low[node] == order[node]:
                start = stack.index(node)
                alone = start == len(stack) - 1
                for member in stack[start:]:
                    on_stack[member] = False
                    cyclic[member] = not alone or member in edges[member]
                del stack[start:]
    return cyclic


def successors(decoded: DecodedCode, index: int) -> tuple[int, ...]:
    """Indices that may run next without an exception: (fall-through, jump target), either of them, or none.

    >>> from alternator.bytecode import decode
    >>> successors(decode((lambda x: x).__code__), 1)
    (2,)
    """
    return analyse(decoded).successors[index]


def live_fast_locals(decoded: DecodedCode, index: int) -> tuple[str, ...]:
    """Fast locals (no cells), in slot order, that may be read at or after `index` before being written."""
    bits = analyse(decoded).live[index]
    return tuple(name for slot, name in enumerate(decoded.localsplus_names) if bits >> slot & 1)


def live_locals(decoded: DecodedCode, index: int) -> frozenset[str]:
    """Names that may be read at or after `index` before being written, on any path, exceptions included.

    Cell and free variables always count, and all locals do in a function that may look at its own frame (`locals()` ...).

    >>> from alternator.bytecode import decode
    >>> sorted(live_locals(decode((lambda x, y: x).__code__), 0))
    ['x']
    """
    return frozenset(live_fast_locals(decoded, index)).union(decoded.cellvars, decoded.freevars)


def stack_depth(decoded: DecodedCode, index: int) -> int:
    """How many items the stack holds before the instruction; -1 if nothing leads there.

    >>> from alternator.bytecode import decode
    >>> stack_depth(decode((lambda x: x).__code__), 2)
    1
    """
    state = analyse(decoded).states[index]
    return -1 if state is None else state.depth


def stack_state(decoded: DecodedCode, index: int) -> StackState:
    """What the stack holds before an instruction that something leads to.

    >>> from alternator.bytecode import decode
    >>> stack_state(decode((lambda x: x).__code__), 2)
    StackState(depth=1, saved=(), levels=0, lasti=())
    """
    state = analyse(decoded).states[index]
    if state is None:
        raise ValueError(f"instruction {index} is never reached")
    return state


def in_loop(decoded: DecodedCode, index: int) -> bool:
    """Can the instruction run more than once in a frame?

    >>> from alternator.bytecode import decode
    >>> in_loop(decode((lambda x: x).__code__), 2)
    False
    """
    return analyse(decoded).loop[index]


def in_handler(decoded: DecodedCode, index: int) -> bool:
    """Does the instruction run while an exception is being handled in this frame (or start a handler)?

    >>> from alternator.bytecode import decode
    >>> in_handler(decode((lambda x: x).__code__), 2)
    False
    """
    analysis = analyse(decoded)
    state = analysis.states[index]
    return index in analysis.handlers or (state is not None and bool(state.saved))


def reachable(decoded: DecodedCode, roots: tuple[int, ...]) -> list[int]:
    """Indices that can run from the roots on, exception handlers included, in order."""
    analysis = analyse(decoded)
    seen = set(roots)
    work = list(roots)
    while work:
        for following in analysis.edges(work.pop()):
            if following not in seen:
                seen.add(following)
                work.append(following)
    return sorted(seen)


def step_start(decoded: DecodedCode, index: int) -> int:
    """The first instruction of the unit that `index` belongs to: KW_NAMES + PRECALL + CALL cannot be taken apart.

    >>> from alternator.bytecode import decode
    >>> d = decode((lambda f: f(x=1)).__code__)
    >>> d.instrs[step_start(d, [i.opname for i in d.instrs].index("CALL"))].opname
    'KW_NAMES'
    """
    instrs = decoded.instrs
    if instrs[index].opname == "CALL" or instrs[index].opname in FACTS.call_prefixes:
        while index and instrs[index - 1].opname in FACTS.call_prefixes:
            index -= 1
    return index


def step_stop(decoded: DecodedCode, index: int) -> int:
    """One past the last instruction of the unit that starts at `index`."""
    while decoded.instrs[index].opname in FACTS.call_prefixes:
        index += 1
    return index + 1


def only_raises(decoded: DecodedCode, index: int) -> bool:
    """From the instruction on, every path ends with an exception that this code does not handle in between.

    >>> from alternator.bytecode import decode
    >>> def f(x):
    ...     if x:
    ...         raise ValueError(f"{x}")
    ...     return x
    >>> [only_raises(decode(f.__code__), i.index + 1) for i in decode(f.__code__).instrs if i.target is not None]
    [True]
    """
    entry = decoded.exception_entry(index)
    seen, work = {index}, [index]
    while work:
        at = work.pop()
        following = successors(decoded, at)
        if (
            decoded.exception_entry(at) != entry
            or not following
            and not decoded.instrs[at].opname.startswith(("RAISE", "RERAISE"))
        ):
            return False
        work += [one for one in following if one not in seen]
        seen.update(following)
    return any(not successors(decoded, at) for at in seen)


def only_cleans_up(decoded: DecodedCode, index: int) -> bool:
    """An exception raised there leaves this code, but for the ``with`` statements around it."""
    entry = decoded.exception_entry(index)
    while entry is not None:
        start = entry.handler
        around = decoded.exception_entry(start)
        if around is None or not decoded.is_with(start):
            return False
        entry = decoded.exception_entry(around.handler + 2)  # of the RERAISE behind COPY and POP_EXCEPT
    return True
