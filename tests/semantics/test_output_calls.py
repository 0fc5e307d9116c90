"""Warnings and output in captured code: after the graph, with the filters and the files that the program chose."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.ones(2)


def test_filters_of_warnings_are_set_and_restored() -> None:
    def f(x):
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("ignore")
            y = x.sin()
        return y, len(log)

    before = list(warnings.filters)
    same(f, X, fullgraph=True, graphs=1)
    assert warnings.filters == before


def test_warnings_under_filters_of_the_program_break() -> None:
    def f(x):
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            warnings.warn("careful")
            y = x.sin()
        return y, [str(one.message) for one in log]

    same(f, X)


def test_print_to_a_file() -> None:
    buffer = io.StringIO()

    def f(x, file):
        y = x + 1
        print("before", y, file=file)
        print("after", y * 2, file=sys.stderr)
        return y

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        compiled(X, buffer)
    assert buffer.getvalue() == "before tensor([2., 2.])\n" and errors.getvalue() == "after tensor([4., 4.])\n"


def test_print_where_stdout_was_replaced() -> None:
    buffer = io.StringIO()

    def f(x):
        before = sys.stdout
        sys.stdout = buffer
        print("inside", x + 1)
        sys.stdout = before
        print("outside")
        return x * 2

    for fn in (f, alternator.compile(f, backend="eager")):
        buffer.truncate(0)
        buffer.seek(0)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            fn(X)
        assert (buffer.getvalue(), out.getvalue()) == ("inside tensor([2., 2.])\n", "outside\n")


def test_deterministic_algorithms_are_state_of_the_graph_too() -> None:
    seen = []

    @alternator.allow_in_graph
    def look():
        seen.append((torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()))

    def f(x):
        look()
        torch.use_deterministic_algorithms(False)
        y = x + 1
        return y, torch.are_deterministic_algorithms_enabled()

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    try:
        for _ in range(2):
            torch.use_deterministic_algorithms(True, warn_only=True)
            assert compiled(X)[1] is False
            assert not torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert seen[-1] == (True, True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_switch_that_is_overruled_at_once_is_no_node() -> None:
    def f(x, y):
        before = torch.is_grad_enabled()
        try:
            torch.set_grad_enabled(False)
            torch.set_grad_enabled(True)
            torch.set_grad_enabled(False)
            x.add_(y)
        finally:
            torch.set_grad_enabled(before)
        return x

    assert len(same(f, X, X, fullgraph=True).ops) == 3


def test_by_option_only_compliant_operators_are_captured() -> None:
    with torch.library._scoped_library("alternator_test", "FRAGMENT") as lib:
        torch.library.define("alternator_test::plain", "(Tensor x) -> Tensor", lib=lib)
        torch.library.define("alternator_test::good", "(Tensor x) -> Tensor", lib=lib, tags=torch.Tag.pt2_compliant_tag)
        for name in ("plain", "good"):
            torch.library.impl(f"alternator_test::{name}", "CompositeImplicitAutograd", torch.sin, lib=lib)

        def f(x):
            return torch.ops.alternator_test.plain(torch.ops.alternator_test.good(x + 1)) * 2

        same(f, X, fullgraph=True)
        with alternator.config.patch(only_allow_pt2_compliant_ops=True):
            same(f, X, breaks=["NOT_COMPLIANT"], graphs=2)


def helper_that_warns(text: str, level: int) -> None:
    warnings.warn(text, DeprecationWarning, stacklevel=level)


def test_warnings_come_from_the_place_of_the_program() -> None:
    def f(x):
        warnings.warn("here")
        y = x + 1
        helper_that_warns("there", 1)
        helper_that_warns("who called", 2)
        warnings.warn(UserWarning("my caller"), stacklevel=2)
        helper_that_warns("my caller too", 3)
        return y

    def places(fn):
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            fn(X)
        return [(str(one.message), one.category, one.filename, one.lineno) for one in log]

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    assert [places(fn) for fn in (compiled, compiled)] == [places(fn) for fn in (f, f)]


def test_a_place_warns_once() -> None:
    def f(x, times):
        for _ in range(times):
            warnings.warn("again")
        return x + 1

    def shown(fn):
        globals().pop("__warningregistry__", None)
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("default")
            fn(X, 3), fn(X, 2)
        return len(log)

    assert shown(f) == shown(alternator.compile(f, backend="eager")) == 1


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize("words", [{}, {"sep": "|"}, {"sep": None, "end": "!"}, {"file": io.StringIO}])
def test_print_of_what_cannot_be_shown_shows_what_comes_before_it(words) -> None:
    def f(x):
        more = {name: value() if value is io.StringIO else value for name, value in words.items()}
        for args in ((1, "a", Unprintable(), 3), (Unprintable(), 2)):
            try:
                print(*args, **more)
            except ValueError as error:
                print(error)
        return x + 1, more["file"].getvalue() if "file" in more else None

    same(f, X)


def test_a_warning_that_a_filter_makes_an_error_meets_the_handlers():
    def warns(x):
        y = x + 1
        try:
            warnings.warn("careful", RuntimeWarning)
        except RuntimeWarning as error:
            return y, str(error)
        return y, "no error"

    def sets_the_filter(x):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            alternator.graph_break()
            return warns(x)

    outside = alternator.compile(warns, backend="eager")
    inside = alternator.compile(sets_the_filter, backend="eager")
    for action in ("ignore", "error", "ignore", "default"):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter(action, RuntimeWarning)
            assert_same(outside(X), warns(X))
            assert_same(inside(X), sets_the_filter(X))


class Loud:
    """Its text is made with effects."""

    def __init__(self, log, error=None):
        self.log, self.error = log, error

    def __str__(self):
        print("[text]", end="")
        self.log.append("text")
        if self.error is not None:
            raise self.error
        return "Loud"


class Log:
    """A file of the program's."""

    def __init__(self):
        self.calls = []

    def write(self, text):
        self.calls.append(text)

    def flush(self):
        self.calls.append("flush")


def test_what_print_shows_is_turned_into_text_one_by_one() -> None:
    def f(x, log, error):
        try:
            print("a", Loud(log, error), x, sep="-", flush=True)
        except KeyError:
            print("caught")
        return x + 1

    same(f, X, [], None, then=[(X, [], KeyError("no"))])


def test_a_text_without_output_is_no_break() -> None:
    class Shown:
        def __init__(self, value):
            self.value = value

        def __str__(self):
            parts = []
            for name in vars(self):
                parts.append(f"{name}={len(name)}")
            self.value.add_(1)
            return ", ".join(parts)

    def f(x):
        print("a", x, Shown(x), x)
        return x * 2

    same(f, X, graphs=1, breaks=0)


def test_a_file_of_the_programs_is_written_to_between_the_texts() -> None:
    def f(x, file):
        print("a", Loud(file.calls), Loud(file.calls), file=file, flush=True)
        try:
            print("b", Loud(file.calls, KeyError("no")), "c", file=file)
        except KeyError:
            file.write("caught")
        return x + 1

    same(f, X, Log(), graphs=1, breaks=0)


@pytest.mark.parametrize("wrong", [{"sep": 1}, {"end": 1}, {"sep": b"-"}])
def test_print_refuses_before_it_asks_for_texts(wrong) -> None:
    def f(x, log):
        y = x + 1
        try:
            print("a", Loud(log), **wrong)
        except TypeError as error:
            return y, str(error)
        return y

    same(f, X, [])


def test_print_asks_first_whether_to_flush() -> None:
    class Asked:
        def __init__(self, log):
            self.log = log

        def __bool__(self):
            self.log.append("asked")
            return True

    def f(x, log):
        print(Loud(log), flush=Asked(log))
        return x + 1

    same(f, X, [])


def test_print_where_there_is_no_stdout() -> None:
    def f(x, log):
        with contextlib.redirect_stdout(None):
            print("hidden", Loud(log), sep=1)
        print("seen")
        return x + 1, log

    same(f, X, [], graphs=1, breaks=0)


def test_a_file_of_the_programs_is_sys_stdout() -> None:
    class Counting(io.StringIO):
        def write(self, text):
            state["written"] += 1
            return super().write(text)

    class Full(Log):
        def write(self, text):
            raise OSError("full")

    def f(x):
        try:
            print("a")
        except OSError:
            return "full"
        before = state["written"]
        print("b")
        return x + before

    compiled = alternator.compile(f, backend="eager")
    for make in (io.StringIO, Counting, Log, Full, io.StringIO, Counting):
        outcomes = []
        for fn in (f, compiled):
            state = {"written": 0}
            with contextlib.redirect_stdout(make()) as file:
                outcomes.append((fn(X), state, getattr(file, "calls", None) or getattr(file, "getvalue", str)()))
        assert_same(*outcomes)


def test_print_reads_the_method_for_each_write() -> None:
    class Asked(Log):
        @property
        def write(self):
            self.calls.append("read")
            return self.calls.append

    def f(x, file):
        print("a", Loud(file.calls), file=file)
        return x + 1

    same(f, X, Asked(), graphs=1, breaks=0)
