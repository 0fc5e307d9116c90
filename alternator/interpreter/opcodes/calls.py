"""Calls, returns, generators."""

from __future__ import annotations

import builtins
import types
from typing import Any

import torch

from alternator.exc import Break, UserRaise
from alternator.interpreter import calls, loops, operations, rests
from alternator.interpreter.collecting import collect
from alternator.interpreter.frame import NULL
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.links import finishes, passes_on
from alternator.interpreter.opcode_table import op
from alternator.interpreter.opcodes.build import mapping_items
from alternator.interpreter.tables import SHALLOW
from alternator.provenance import storage
from alternator.provenance.keys import has_special


@op("CALL")
@passes_on
def call(f: Any, i: Any) -> None:
    stack, n = f.stack, i.arg
    args = tuple(stack[len(stack) - n :]) if n else ()
    if n:
        del stack[len(stack) - n :]
    fn = stack.pop()
    below = stack.pop()
    if below is not NULL:
        fn, args = below, (fn, *args)
    names = i.kwnames
    if names:
        kwargs = dict(zip(names, args[-len(names) :]))
        args = args[: -len(names)]
    else:
        kwargs = {}
        if type(fn) is type and fn in loops.MAKERS:
            made, args = loops.make(f, fn, args)
            if made is not None:
                stack.append(made)
                return
    stack.append(calls.call(f.vm, fn, args, kwargs))


@op("CALL_FUNCTION_EX")
@passes_on
def call_function_ex(f: Any, i: Any) -> None:
    stack, vm = f.stack, f.vm
    kwargs = dict(mapping_items(vm, stack.pop())) if i.arg & 1 else {}
    args = stack.pop()
    fn = stack.pop()
    if type(args) is not tuple:
        if (
            not issubclass(type(args), torch.Tensor)
            and not has_special(type(args), "__iter__")
            and not has_special(type(args), "__getitem__")
        ):
            name = calls.name_for_errors(fn)
            raise vm.user_raise(TypeError(f"{name} argument after * must be an iterable, not {type(args).__name__}"))
        args = tuple(collect(vm, args))
    if stack and stack[-1] is NULL:
        stack.pop()
    stack.append(calls.call(vm, fn, args, kwargs))


@op("RETURN_VALUE")
def return_value(f: Any, i: Any) -> Any:
    if f.vm.handed_over and f.parent is not None and f.globals is not vars(rests):
        f.vm.handed_over.check_dropped(f.vm, f.locals)
    f.result = f.stack.pop()
    return True


@op("RETURN_GENERATOR")
def return_generator(f: Any, i: Any) -> None:
    f.stack.append(None)


@op("YIELD_VALUE")
def yield_value(f: Any, i: Any) -> Any:
    f.result = f.stack.pop()
    f.suspended = True
    return True


@op("GET_YIELD_FROM_ITER")
def get_yield_from_iter(f: Any, i: Any) -> None:
    f.stack[-1] = operations.iterate(f.vm, f.stack[-1])


@op("SEND")
@finishes(lambda space: (rests.of_delegation, ()))
def send(f: Any, i: Any) -> None:
    value = f.stack.pop()
    receiver, vm = f.stack[-1], f.vm
    try:
        if issubclass(type(receiver), TracedGenerator):
            result = receiver.resume(value, None)
        elif value is None:
            result = calls.call(vm, _method(vm, receiver, "__next__"), (), {})
        else:
            result = calls.call(vm, _method(vm, receiver, "send"), (value,), {})
    except UserRaise as raised:
        if not issubclass(type(raised.exc), StopIteration):
            raise
        f.stack[-1] = storage.returned(raised.exc)
        f.pc = i.target
        return
    f.stack.append(result)


def _method(vm: Any, receiver: Any, name: str) -> Any:
    """Not marked: the program's code that gives it does not give the item."""
    return vm.getattr(receiver, name)


@op("GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH", "END_ASYNC_FOR", "ASYNC_GEN_WRAP")
def asynchronous(f: Any, i: Any) -> None:
    raise Break("ASYNC", i.opname)


@op("LOAD_BUILD_CLASS")
def load_build_class(f: Any, i: Any) -> None:
    f.stack.append(f.vm.load_global_or(f.func, "__build_class__", builtins.__build_class__))


__all__ = ["SHALLOW", "types"]
