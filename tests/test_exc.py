"""Exceptions and the table of breaks."""

from __future__ import annotations

import ast
import copy
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

import alternator
from alternator import breaks, config, exc, utils

PACKAGE = Path(alternator.__file__).parent


def test_carriers_pass_by_handlers_of_programs() -> None:
    for carrier in (exc.Break, exc.UserRaise):
        assert issubclass(carrier, BaseException) and not issubclass(carrier, Exception)
    assert not issubclass(exc.InternalError, exc.Unsupported)


def test_names_that_users_of_torch_know() -> None:
    for name in (
        "BackendCompilerFailed FailOnRecompileLimitHit InternalTorchDynamoError InvalidBackend RecompileError "
        "RecompileLimitExceeded ResetRequired SkipFrame TorchDynamoException TorchRuntimeError UncapturedHigherOrderOpError "
        "Unsupported UserError UserErrorType"
    ).split():
        assert hasattr(exc, name), name


def test_a_break_is_described() -> None:
    broken = exc.Break("DATA_DEPENDENT_VALUE", "item()")
    assert breaks.reason_of(broken) == "value of a tensor is read: item()"
    stack = [traceback.FrameSummary("user.py", 7, "f", line="x.item()")]
    error = breaks.unsupported(broken, stack)
    assert isinstance(error, exc.Unsupported) and error.code == "DATA_DEPENDENT_VALUE"
    for part in ("item()", "reason:", "cure:", "user.py", "line 7", "x.item()"):
        assert part in str(error)


def test_an_unknown_code_is_an_error() -> None:
    with pytest.raises(KeyError, match="NO_SUCH"):
        breaks.lookup("NO_SUCH")


def test_every_row_says_what_why_and_what_to_do() -> None:
    for code, kind in breaks.BREAKS.items():
        assert kind.code == code == code.upper()
        assert kind.title and kind.reason.endswith(".") and kind.cure.endswith("."), code


def _codes_in(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("Break", "broken") and node.args:
            if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


def test_every_code_that_is_raised_is_in_the_table() -> None:
    used = {code for file in PACKAGE.rglob("*.py") for code in _codes_in(file)}
    assert used - set(breaks.BREAKS) == set()


def test_exceptions_can_be_copied_and_pickled() -> None:
    failed = exc.BackendCompilerFailed("mine", ValueError("no"), "graph text")
    for again in (pickle.loads(pickle.dumps(failed)), copy.copy(failed)):
        assert str(again) == str(failed) and again.backend_name == "mine"


CHANGED_BEHIND_THE_CAPTURE = """
import gc, torch, alternator
gc.disable()  # a finalizer might have changed it, too
table = [1]
def f(x):
    return x + len(table)
compiled = alternator.optimize("eager", guard_export_fn=lambda guards: table.append(2))(f)
with alternator.config.patch(raise_internal_errors=False):
    print(compiled(torch.zeros(1)).item())
table[:] = [1]
alternator.reset()
with alternator.config.patch(raise_internal_errors=True):
    try:
        compiled(torch.zeros(1))
    except alternator.exc.InternalError as error:
        print("do not hold" in str(error))
"""


def test_guards_of_a_new_entry_that_do_not_hold_cost_no_more_than_the_entry(tmp_path) -> None:
    """Something changed behind the capture's back: the call that it was made from runs plainly.

    In a process of its own: where there are other threads, one of them may have changed it.
    """
    program = tmp_path / "program.py"
    program.write_text(CHANGED_BEHIND_THE_CAPTURE)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.split() == ["2.0", "True"]


def raises_where_it_is_compiled(x):
    if torch.compiler.is_compiling():
        raise ValueError("not here")
    return x + 1


def calls_it(x):
    return raises_where_it_is_compiled(x * 2)


def test_an_exception_that_only_the_capture_raises_is_a_break():
    config.raise_internal_errors = False
    compiled = alternator.compile(calls_it, backend="eager")
    assert compiled(torch.ones(1)).item() == 3
    (title,) = utils.counters["graph_break"]
    assert title == "exception that the program does not raise: ValueError: not here"
    explained = alternator.explain(calls_it)(torch.ones(1))
    assert {reason.code for reason in explained.break_reasons} == {"RAISED_IN_CAPTURE"}


@pytest.mark.parametrize("fn", [raises_where_it_is_compiled, calls_it])
def test_it_is_an_error_where_no_break_is_allowed(fn):
    config.raise_internal_errors = False
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    for _ in range(3):
        with pytest.raises(exc.Unsupported, match="RAISED_IN_CAPTURE") as caught:
            compiled(torch.ones(1))
        assert caught.value.real_stack[-1].name == fn.__name__
    with alternator.error_on_graph_break(True), pytest.raises(exc.Unsupported, match="RAISED_IN_CAPTURE"):
        alternator.compile(fn, backend="eager")(torch.ones(1))


def test_what_the_program_raises_too_is_no_break():
    def fn(x):
        raise ValueError(f"{tuple(x.shape)}")

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    for _ in range(3):
        with pytest.raises(ValueError, match="(1,)"):
            compiled(torch.ones(1))
    assert not utils.counters["graph_break"]
