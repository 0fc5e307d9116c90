"""Running a captured frame again, plainly, where its graph turned out not to be what the program does."""

from __future__ import annotations

import types
import weakref
from typing import Any

import torch

from alternator._C.eval_frame import DisabledCall, hide_code
from alternator.codegen.builder import Builder
from alternator.tensors.state import GlobalState


class StartOver:
    """What generated code calls before the graph, and instead of what follows it.

    It keeps the code object, which keeps the entry, weakly.
    """

    def __init__(self, code: types.CodeType, before: GlobalState) -> None:
        self.code = weakref.ref(code)
        self.before = before
        self.remember = DisabledCall(_random_state)
        self.again = DisabledCall(self._again)

    def _again(
        self, random: tuple[Any, Any], space: dict[str, Any], cells: tuple[types.CellType, ...], values: tuple[Any, ...]
    ) -> Any:
        """The frame with these values of its parameters, with torch's state and random numbers as they were."""
        self.before.restore()
        torch.set_rng_state(random[0])
        if random[1] is not None:
            torch.cuda.set_rng_state_all(random[1])
        code = self.code()
        assert code is not None  # it has the entry that runs
        fn = types.FunctionType(code, space, code.co_name, None, cells or None)
        named, given = code.co_varnames, list(values)
        positional, keywords = given[: code.co_argcount], given[code.co_argcount :]
        only = {named[code.co_argcount + i]: keywords[i] for i in range(code.co_kwonlyargcount)}
        rest = keywords[code.co_kwonlyargcount :]
        if code.co_flags & _VARARGS:
            positional += rest.pop(0)
        return fn(*positional, **only, **(rest[0] if rest else {}))


hide_code(StartOver._again.__code__)
_VARARGS = 4
_VARKEYWORDS = 8


def _random_state() -> tuple[Any, Any]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None


def guarded_call(b: Builder, func: types.FunctionType, before: GlobalState, call: str, expected: list[torch.Tensor]) -> list[str]:
    """The statements of a call of the graph whose results stand only if what was expected is true."""
    code = func.__code__
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & _VARARGS) + bool(code.co_flags & _VARKEYWORDS)
    tree = b.vm.world.tree
    values = "".join(f"{b.load(tree.local(i, code.co_varnames[i]))}, " for i in range(count))
    cells = "".join(f"{b.load(tree.closure(i, name))}, " for i, name in enumerate(code.co_freevars))
    start_over = StartOver(code, before)
    remember, again = b.constant(start_over.remember, "random_state"), b.constant(start_over.again, "start_over")
    return [
        f"before = {remember}()",
        f"try:\n        {call}\n        expected = bool({' and '.join(b.output(one) for one in expected)})",
        "except Exception: expected = False",
        f"if not expected: return {again}(before, {b.load(tree.globals())}, ({cells}), ({values}))",
    ]
