"""Defaults: those of outside functions are read when they are used, whoever binds the arguments, and the program may change them."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from helpers import Recorder, assert_same

import alternator


def taking(x: Any, a: Any = 2, b: Any = 2) -> Any:
    return x + 10 * a + b


def taking_by_name(x: Any, *, a: Any = 2, b: Any = 3) -> Any:
    return x + 10 * a + b


def copy_of(fn: Any) -> Any:
    made = type(fn)(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    made.__kwdefaults__ = fn.__kwdefaults__ and dict(fn.__kwdefaults__)
    return made


def outcome(fn: Callable[..., Any], *args: Any) -> Any:
    try:
        return fn(*args)
    except TypeError as error:
        return str(error)


def both(program: Callable[..., Any], called: Any, states: list[Callable[[Any], None]]) -> Recorder:
    """Run the program plainly and captured with a function of its own each, which is put into one state after the other."""
    counter = Recorder()
    captured = alternator.compile(program, backend=counter)
    ours, theirs = copy_of(called), copy_of(called)
    for number, state in enumerate(states):
        state(ours), state(theirs)
        x = torch.full((2,), number + 1.0)
        assert_same(outcome(program, x, theirs), outcome(captured, x, ours))
        assert_same([theirs.__defaults__, theirs.__kwdefaults__], [ours.__defaults__, ours.__kwdefaults__])
    return counter


def have(*defaults: Any) -> Callable[[Any], None]:
    def state(fn: Any) -> None:
        fn.__defaults__ = defaults or None

    return state


def have_by_name(**defaults: Any) -> Callable[[Any], None]:
    def state(fn: Any) -> None:
        fn.__kwdefaults__ = dict(defaults) or None

    return state


def call(x: Any, fn: Any) -> Any:
    return fn(x)


def call_with_one(x: Any, fn: Any) -> Any:
    return fn(x, 1)


def call_and_catch(x: Any, fn: Any) -> Any:
    try:
        return fn(x)
    except TypeError as error:
        return x - 1, str(error)


@pytest.mark.parametrize("program", [call, call_with_one, call_and_catch])
def test_how_many_defaults_there_are_may_change(program: Any) -> None:
    both(program, taking, [have(2, 2), have(2, 2, 3), have(2), have(), have(7, 2, 3), have(2, 2)])


@pytest.mark.parametrize("program", [call, call_and_catch])
def test_keyword_defaults_may_come_and_go(program: Any) -> None:
    states = [have_by_name(a=2, b=3), have_by_name(b=3), have_by_name(), have_by_name(a=5, b=3), have_by_name(a=2, b=3)]
    both(program, taking_by_name, states)


def test_defaults_that_stay_are_captured_once() -> None:
    assert both(call, taking, [have(2, 2)] * 3).frame_count == 1
    assert both(call, taking_by_name, [have_by_name(a=2, b=3)] * 3).frame_count == 1


def replace_defaults(x: Any, fn: Any) -> Any:
    y = fn(x)
    fn.__defaults__ = (7, 8)
    return y, fn(x), fn.__defaults__


def delete_defaults(x: Any, fn: Any) -> Any:
    del fn.__defaults__
    return call_and_catch(x, fn), fn.__defaults__


def replace_code(x: Any, fn: Any) -> Any:
    def other(x: Any, a: Any, b: Any) -> Any:
        return x * 100

    y = fn(x)
    fn.__code__ = other.__code__
    return y, fn(x)


def refused_defaults(x: Any, fn: Any) -> Any:
    y = fn(x)
    try:
        fn.__defaults__ = [1]
    except TypeError as error:
        return y, str(error), fn(x)
    return y


@pytest.mark.parametrize("program", [replace_defaults, delete_defaults, replace_code, refused_defaults])
def test_parts_of_a_function_may_be_replaced(program: Any) -> None:
    both(program, taking, [have(2, 2), have(3, 3), have(2, 2)])


def change_keyword_default(x: Any, fn: Any) -> Any:
    y = fn(x)
    fn.__kwdefaults__["a"] = 5
    return y, fn(x)


def delete_keyword_default(x: Any, fn: Any) -> Any:
    y = fn(x)
    del fn.__kwdefaults__["a"]
    return y, call_and_catch(x, fn)


def replace_keyword_defaults(x: Any, fn: Any) -> Any:
    y = fn(x)
    fn.__kwdefaults__ = {"a": 1, "b": x}
    return y, fn(x)


@pytest.mark.parametrize("program", [change_keyword_default, delete_keyword_default, replace_keyword_defaults])
def test_keyword_defaults_may_be_changed(program: Any) -> None:
    both(program, taking_by_name, [have_by_name(a=2, b=3)] * 3)


def behind_a_break(x: Any, fn: Any) -> Any:
    def inner(x: Any, a: Any = 1, *, b: Any = 1) -> Any:
        return x + 10 * a + b

    y = inner(x)
    alternator.graph_break()
    inner.__kwdefaults__["b"] = 5
    inner.__defaults__ = (3,)
    return y, inner(x)


def test_a_function_that_crosses_a_break_may_be_changed_behind_it() -> None:
    both(behind_a_break, taking, [have(2, 2)] * 3)


def remember(value: Any, seen: Any) -> Any:
    seen.append(value)
    return -value


def remember_by_name(value: Any, *, seen: Any) -> Any:
    seen.append(value)
    return -value


def sort_by(x: Any, fn: Any) -> Any:
    return x + 1, sorted([3, 1, 2], key=fn), max([1, 2], key=fn), list(map(fn, [4]))


@pytest.mark.parametrize("by_name", [False, True])
def test_native_code_binds_defaults_from_outside(by_name: bool) -> None:
    called = remember_by_name if by_name else remember
    logs: list[list[int]] = []

    def fresh(fn: Any) -> None:
        logs.append([])
        fn.__defaults__, fn.__kwdefaults__ = (None, {"seen": logs[-1]}) if by_name else ((logs[-1],), None)

    both(sort_by, called, [fresh, lambda fn: None, lambda fn: None])
    assert logs == [[3, 1, 2, 1, 2, 4] * 3] * 2


def scaled_max(x: Any, fn: Any) -> Any:
    return x * max([1, 2], key=fn)


def scaled(value: Any, scale: Any = 2.0) -> Any:
    return value * scale


def test_defaults_that_native_code_binds_are_guarded() -> None:
    both(scaled_max, scaled, [have(2.0), have(-1.0), have(3.0), have(-2.0)])


def compare(x: Any, cls: Any) -> Any:
    return x + 1, [cls(1), cls(2)] == [cls(1), cls(2)], sorted([cls(3), cls(1)])[0].value, cls(3) in [cls(1)]


def test_special_methods_with_defaults_from_outside() -> None:
    def made() -> tuple[Any, Any]:
        log: list[Any] = []

        class Noting:
            def __init__(self, value: Any) -> None:
                self.value = value

            def __eq__(self, other: Any, seen: Any = log) -> bool:
                seen.append(other.value)
                return bool(self.value == other.value)

            def __lt__(self, other: Any, seen: Any = log) -> bool:
                seen.append(other.value)
                return bool(self.value < other.value)

        return Noting, log

    captured = alternator.compile(compare, backend=Recorder())
    (plain_class, plain_log), (our_class, our_log) = made(), made()
    for number in range(3):
        x = torch.full((2,), float(number))
        assert_same(compare(x, plain_class), captured(x, our_class))
        assert our_log == plain_log
