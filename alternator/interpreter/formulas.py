"""How far integers that vary are followed as formulas: beyond that they are constants, each value a version of its own."""

from __future__ import annotations

from typing import Any

MAX_TERMS = 128
"""So many parts may a formula have. Each step with a larger one, and each guard on it, takes sympy longer than the whole rest."""

LARGE = 2**62
"""Where native guards and the graph, which count in 64 bits, begin to overflow."""


def can_be_had(vm: Any, result: Any, args: tuple[Any, ...]) -> bool:
    """Whether a symbolic int, made of these numbers, may stay one; what only the graph knows must."""
    numbers = [vm.fakes.number(value) for value in (result, *args)]
    if None in numbers:
        return True
    return all(-LARGE < number < LARGE for number in numbers) and not _is_long(result.node.expr)


def _is_long(expr: Any) -> bool:
    count, waiting = 0, [expr]
    while waiting:
        count += 1
        if count > MAX_TERMS:
            return True
        waiting += waiting.pop().args
    return False
