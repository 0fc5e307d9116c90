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

import alternator
from alternator import breaks, exc

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
