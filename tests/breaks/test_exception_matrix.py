"""(how an exception arises) x (kind of effect before it) x (depth) x (caller): what it is, what was done before it and who
handles it are as in plain Python, wherever the exception leaves the captured function or the graph."""

from __future__ import annotations

import contextlib
import io
import textwrap
from typing import Any

import pytest
import torch
from helpers import Recorder, assert_same
from test_break_matrix import CALLERS, HEAD, load
from test_break_matrix import EFFECTS as IN_BREAKS

import alternator

RAISES = {
    "statement": "if bad:\n    raise ValueError('it is', bad)",
    "callee": "fail(bad)",
    "constructor": "x = x + Checked(bad).value",
    "subscript": "x = x + [1, 2][5 if bad else 0]",
    "division": "x = x + 1 / (0 if bad else 1)",
    "missing": "x = x + (s.nothing if bad else 1)",
    "shapes": "x = x + torch.ones(2 if bad else 3)",
    "data": "x = x + torch.index_select(TABLE, 0, index)",
    "data, used later": "y = torch.index_select(TABLE, 0, index)\ns.log.append('picked')\nx = x + y",
    "data, embedding": "x = x + torch.nn.functional.embedding(index, TABLE.view(4, 1)).view(3)",
    "data, below": "x = x + below(index)",
    "check": "torch._check(bool((index < 4).all()))",
    "assertion": "if not (index < 4).all():\n    raise AssertionError('index')",
}

MORE = (
    HEAD
    + """
TABLE = torch.arange(4.0)

def fail(bad):
    if bad:
        raise KeyError(bad)

class Checked:
    def __init__(self, bad):
        fail(bad)
        self.value = 1

def below(index):
    return torch.index_select(TABLE, 0, index) * 2

class Holder:
    def run(self, fn, x):
        y = fn(x)
        return y + 1
"""
)

CATCHERS = {
    "handled": "try:\n    x = f{inner}(s, x, bad, index)\nexcept Exception as error:\n    s.log.append(type(error).__name__)\n    x = x - 1",
    "manager": "with Manager(s):\n    x = f{inner}(s, x, bad, index)",
}

EFFECTS = {**IN_BREAKS, "draws": "x = x + torch.rand(3)"}


def program(how: str, effect: str, depth: int, caller: str, broken: bool) -> str:
    calls = {
        name: text.replace("(s, x)", "(s, x, bad, index)").replace("(s, v)", "(s, v, bad, index)")
        for name, text in CALLERS.items()
    }
    calls |= CATCHERS
    declared = "global COUNTER\n" if effect == "global" else ""
    first = EFFECTS[effect].replace("global COUNTER\n", "")
    stop = "alternator.graph_break()\n" if broken else ""
    body = f"{declared}{first}\n{stop}s.log.append('before')\n{RAISES[how]}\ns.log.append('after')\nreturn x"
    text = MORE + f"\ndef f0(s, x, bad, index):\n{textwrap.indent(body, '    ')}\n"
    for number in range(1, depth + 1):
        text += f"\ndef f{number}(s, x, bad, index):\n    x = x + {number}\n    s.log.append({number})\n"
        text += (
            textwrap.indent(calls[caller].format(inner=number - 1), "    ") + "\n    s.log.append('done')\n    return x.sin()\n"
        )
    text += (
        f"\ncell_bump, cell_read = make_cell()\nS = State()\n\ndef run(x, bad, index):\n    return f{depth}(S, x, bad, index)\n"
    )
    return text + "\ndef seen():\n    return S, LEAF.grad, COUNTER, State.made, cell_read(), torch.is_grad_enabled()\n"


def outcome(fn: Any, *args: Any) -> Any:
    try:
        return fn(*args)
    except Exception as error:
        return type(error), str(error), type(error.__context__)


def _taken_apart(value: Any) -> Any:
    """The two programs have classes of their own."""
    return {name: _taken_apart(item) for name, item in vars(value).items()} if type(value).__name__ == "State" else value


def check(how: str, effect: str, depth: int, caller: str, broken: bool) -> None:
    alternator.reset()
    source = program(how, effect, depth, caller, broken)
    plain, captured = load(source, "plain"), load(source, "captured")
    compiled = alternator.compile(captured["run"], backend=Recorder())
    for number, bad in enumerate((False, True, False, True)):
        index = torch.tensor([0, 7 if bad else 1, 2])
        outs = []
        for space, fn in ((plain, plain["run"]), (captured, compiled)):
            text = io.StringIO()
            torch.manual_seed(number)
            with contextlib.redirect_stdout(text):
                outs.append((outcome(fn, torch.arange(3.0), bad, index), *space["seen"](), text.getvalue(), torch.rand(1)))
        where = f"{how}, {effect}, {depth}, {caller}, {broken}, call {number}"
        for a, b in zip(*outs):
            assert_same(_taken_apart(a), _taken_apart(b), where)


@pytest.mark.parametrize("how", RAISES)
@pytest.mark.parametrize("broken", [False, True])
def test_matrix(how: str, broken: bool) -> None:
    names = list(EFFECTS)
    callers = [*CALLERS, *CATCHERS]
    for number, effect in enumerate(names):
        depth = (number + broken) % 3
        check(how, effect, depth, callers[(number * 5 + len(how)) % len(callers)], broken)
