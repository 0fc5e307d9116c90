"""The functions that generated code goes on with behind a break, where they are captured themselves."""

from __future__ import annotations

from typing import Any

from alternator.codegen import resume
from alternator.exc import UserRaise
from alternator.interpreter import calls
from alternator.interpreter.links import passes_on
from alternator.interpreter.tables import RULES
from alternator.provenance.world import Unread


@RULES.rule(resume.drive)
@passes_on
def drive(vm: Any, args: Any, kwargs: Any) -> Any:
    """Calls the function that it is given: what that captures comes to an end, and never bounces."""
    fn, given = args
    rec = vm.records.get(id(given))
    if rec is None:
        return calls.call(vm, fn, tuple(given), {})
    rec.source.guard("LEN", len(rec.obj))
    items: list[Any] = [Unread(item, rec.source.child("index", i)) for i, item in enumerate(rec.obj)]  # guarded when read
    if RULES.get(fn) is not None:
        items = [vm.world.admit(item.obj, item.source) for item in items]
    return calls.call(vm, fn, tuple(items), {})


@RULES.rule(resume.reraise)
def reraise(vm: Any, args: Any, kwargs: Any) -> Any:
    """The exception that left the breaking instruction, on its way through the frames above: an object from outside."""
    raise UserRaise(args[0])
