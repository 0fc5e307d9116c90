"""The functions that generated code goes on with behind a break, where they are captured themselves."""

from __future__ import annotations

from typing import Any

from alternator._C.eval_frame import set_finished, set_yielded
from alternator.codegen import resume
from alternator.exc import Break, UserRaise
from alternator.interpreter import calls
from alternator.interpreter.links import passes_on
from alternator.interpreter.outside_generators import OutsideGenerator
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
    result = calls.call(vm, fn, tuple(items), {})
    if any(map(resume.may_be_missed, rec.obj)):  # the frame of what was called had them alone
        calls.call(vm, list.clear, (given,), {})
    return result


@RULES.rule(resume.reraise)
def reraise(vm: Any, args: Any, kwargs: Any) -> Any:
    """The exception that left the breaking instruction, on its way through the frames above: an object from outside."""
    raise UserRaise(args[0])


@RULES.rule(set_yielded)
def yielded(vm: Any, args: Any, kwargs: Any) -> Any:
    """The rest of a generator's body has come to a yield, or to its end (``rests.of_generator``)."""
    return _stand_in(args[0]).came_to(args[1])


@RULES.rule(set_finished)
def finished(vm: Any, args: Any, kwargs: Any) -> None:
    """An exception has left it."""
    _stand_in(args[0]).ended()


def _stand_in(generator: Any) -> OutsideGenerator:
    if type(generator) is not OutsideGenerator:
        raise Break("GENERATOR_STATE", "a generator that went on by itself")
    return generator
