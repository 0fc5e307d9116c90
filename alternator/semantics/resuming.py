"""The functions that generated code goes on with behind a break, where they are captured themselves."""

from __future__ import annotations

from typing import Any

from alternator.codegen import resume
from alternator.exc import UserRaise
from alternator.interpreter import calls
from alternator.interpreter.links import passes_on
from alternator.interpreter.tables import RULES


@RULES.rule(resume.drive)
@passes_on
def drive(vm: Any, args: Any, kwargs: Any) -> Any:
    """Calls the function that it is given: what that captures comes to an end, and never bounces."""
    fn, given = args
    return calls.call(vm, fn, tuple(vm.fill_value(given)), {})


@RULES.rule(resume.reraise)
def reraise(vm: Any, args: Any, kwargs: Any) -> Any:
    """The exception that left the breaking instruction, on its way through the frames above: an object from outside."""
    raise UserRaise(args[0])
