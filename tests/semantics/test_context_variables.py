"""Context variables: read with guards, set as effects, with tokens that are real where they leave."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import weakref

import pytest
import torch
from helpers import assert_same, same

import alternator

X = torch.arange(4.0)
SCALE: contextvars.ContextVar = contextvars.ContextVar("SCALE", default=1.5)
BARE: contextvars.ContextVar = contextvars.ContextVar("BARE")
OTHER: contextvars.ContextVar = contextvars.ContextVar("OTHER", default=None)


def both(fn, *args, calls=3, before=lambda number: None, look=lambda: None, fullgraph=False, graphs=None):
    """The plain and the captured function, each in a context of its own, side by side; gives the number of graphs."""
    made = []

    def backend(module, inputs):
        made.append(module)
        return module

    alternator.reset()
    compiled = alternator.compile(fn, backend=backend, fullgraph=fullgraph)
    contexts = [contextvars.Context(), contextvars.Context()]

    def one(run, number):
        before(number)
        try:
            result = run(*args)
        except Exception as error:
            result = (type(error), str(error))
        return result, look(), SCALE.get(), BARE.get("unset"), OTHER.get()

    for number in range(calls):
        assert_same(*[context.run(one, run, number) for context, run in zip(contexts, (fn, compiled))])
        if number == 0 and graphs is not None:
            assert len(made) == graphs
    return len(made)


def test_a_value_is_guarded() -> None:
    values = [None, None, 2.0, 2.0, None, 3.0]

    def before(number):
        if values[number] is not None:
            SCALE.set(values[number])

    both(lambda x: x * SCALE.get(), X, calls=6, before=before, fullgraph=True, graphs=1)


def test_unset_variables() -> None:
    def f(x):
        try:
            found = BARE.get()
        except LookupError as error:
            found = 7 if error.args[0] is BARE else 8
        return x * found, BARE.get(3), SCALE.get(9.0), OTHER.get()

    both(f, X, calls=4, before=lambda number: number == 2 and BARE.set(number), fullgraph=True, graphs=1)


def test_set_and_reset() -> None:
    def f(x):
        first = SCALE.set(2.0)
        second = SCALE.set(SCALE.get() + 1)
        y = x * SCALE.get()
        SCALE.reset(second)
        y = y + SCALE.get()
        seen = [first.old_value is contextvars.Token.MISSING, first.var is SCALE, second.old_value]
        SCALE.reset(first)
        token = BARE.set(x + 1)
        seen += [token.old_value is contextvars.Token.MISSING, type(token) is contextvars.Token]
        BARE.reset(token)
        BARE.set(y)
        return y * SCALE.get(), seen

    both(f, X, fullgraph=True)


def test_what_is_set_stays_set() -> None:
    def f(x):
        SCALE.set(SCALE.get() * 2)
        OTHER.set({"x": x + 1, "n": SCALE.get()})
        return x + 1

    both(f, X, fullgraph=True, graphs=1)


@contextlib.contextmanager
def using(variable, value):
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def test_a_manager_that_sets_and_resets() -> None:
    def f(x):
        with using(SCALE, 2.0):
            y = x * SCALE.get()
            with using(SCALE, 3.0), using(OTHER, "inner"):
                y = y + SCALE.get() + len(OTHER.get())
        try:
            with using(SCALE, 5.0):
                raise ValueError
        except ValueError:
            y = y - SCALE.get()
        return y

    both(f, X, fullgraph=True, graphs=1)


def test_breaks_while_a_variable_is_set() -> None:
    def f(x):
        with using(SCALE, 2.0):
            y = x * SCALE.get()
            alternator.graph_break()
            y = y + SCALE.get()
            with using(SCALE, 4.0):
                alternator.graph_break()
                y = y * SCALE.get()
        return y + SCALE.get()

    both(f, X)


def test_a_token_leaves() -> None:
    def f(x):
        first = SCALE.set(2.0)
        return x * SCALE.get(), first, SCALE.set(3.0)

    def use(run):
        y, first, second = run(X)
        assert second.old_value == 2.0
        SCALE.reset(second)
        assert SCALE.get() == 2.0
        SCALE.reset(first)
        with pytest.raises(RuntimeError, match="already been used"):
            SCALE.reset(first)
        return y, SCALE.get()

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for _ in range(2):
        assert_same(contextvars.Context().run(use, f), contextvars.Context().run(use, compiled))


class Holder:
    def __init__(self) -> None:
        self.tokens = []


def test_a_token_in_a_container_from_outside() -> None:
    def f(x, holder):
        SCALE.set(2.0)
        token = SCALE.set(3.0)
        SCALE.reset(token)
        holder.tokens.append(SCALE.set(4.0))
        holder.last = SCALE.set(5.0)
        return x * SCALE.get()

    def use(run, holder):
        y = run(X, holder)
        SCALE.reset(holder.last)
        now = SCALE.get()
        SCALE.reset(holder.tokens[-1])
        return y, now, SCALE.get()

    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        assert_same(contextvars.Context().run(use, f, Holder()), contextvars.Context().run(use, compiled, Holder()))


def test_a_token_from_outside_resets_once_and_here() -> None:
    def f(x, token, other):
        y = x * SCALE.get()
        try:
            SCALE.reset(token)
            SCALE.reset(other)
        except (RuntimeError, ValueError) as error:
            y = y + len(type(error).__name__)
        return y + SCALE.get()

    compiled = alternator.compile(f, backend="eager")

    def good(run):
        first = SCALE.set(2.0)
        second = SCALE.set(3.0)
        return run(X, second, first), SCALE.get()

    def same_twice(run):
        token = SCALE.set(2.0)
        return run(X, token, token), SCALE.get()

    def used(run):
        token = SCALE.set(2.0)
        SCALE.reset(token)
        return run(X, token, SCALE.set(4.0)), SCALE.get()

    def foreign(run):
        token = contextvars.copy_context().run(SCALE.set, 2.0)
        return run(X, SCALE.set(4.0), token), SCALE.get()

    def of_another(run):
        return run(X, OTHER.set(4.0), SCALE.set(4.0)), SCALE.get()

    for use in (good, same_twice, used, foreign, of_another, good, good):
        assert_same(contextvars.Context().run(use, f), contextvars.Context().run(use, compiled))


def test_a_token_is_used_twice_in_captured_code() -> None:
    def f(x):
        token = SCALE.set(2.0)
        SCALE.reset(token)
        try:
            SCALE.reset(token)
        except RuntimeError:
            return x + 1
        return x

    def g(x):
        token = SCALE.set(2.0)
        try:
            OTHER.reset(token)
        except ValueError:
            return x + SCALE.get()
        return x

    both(f, X)
    both(g, X)


def test_variables_that_are_handed_in() -> None:
    def f(x, one, two):
        one.set(2.0)
        return x * one.get() + two.get()

    alternator.reset()
    compiled = alternator.compile(f, backend="eager")
    first, second, third = (contextvars.ContextVar(name, default=number) for number, name in enumerate("abc"))
    for pair in ((first, second), (second, third), (third, third), (first, third)):
        assert_same(*[contextvars.Context().run(run, X, *pair) for run in (f, compiled)])


def test_a_variable_that_captured_code_makes() -> None:
    def f(x):
        variable = contextvars.ContextVar("made", default=2)
        variable.set(5)
        return x * variable.get(), variable.name

    same(f, X)


def test_the_value_is_one_object_however_it_is_reached() -> None:
    def f(x, items):
        items.append(1)
        return x + len(OTHER.get()), OTHER.get() is items

    compiled = alternator.compile(f, backend="eager")

    def use(run, apart):
        items = [1, 2]
        OTHER.set([3] if apart else items)
        return run(X, items), items, OTHER.get()

    for apart in (False, True, False):
        assert_same(*[contextvars.Context().run(use, run, apart) for run in (f, compiled)])


class Seen:
    pass


def test_the_end_of_what_a_variable_held_shows() -> None:
    def f(x, ref):
        OTHER.set(None)
        gone = ref() is None
        return x + 1, gone

    def use(run, watched):
        value = Seen()
        OTHER.set(value)
        ref = weakref.ref(value) if watched else (lambda: None)
        del value
        contextvars.copy_context()
        return run(X, ref)

    for order in ((True, True), (False, True)):
        alternator.reset()
        compiled = alternator.compile(f, backend="eager")
        for watched in order:
            assert_same(*[contextvars.Context().run(use, run, watched) for run in (f, compiled)])


def test_what_is_logged_meanwhile_finds_the_value_of_its_place() -> None:
    class Tagged(logging.Handler):
        def emit(self, record):
            seen.append((record.getMessage(), SCALE.get()))

    logger = logging.getLogger("alternator.test.context")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = Tagged()
    logger.addHandler(handler)
    seen = []

    def f(x):
        logger.info("before")
        with using(SCALE, 2.0):
            logger.info("inside")
            y = x * SCALE.get()
        logger.info("after")
        return y

    def look():
        found = list(seen)
        seen.clear()
        return found

    try:
        both(f, X, look=look)
    finally:
        logger.removeHandler(handler)


def test_wrong_calls() -> None:
    def f(x, how):
        try:
            if how == 0:
                SCALE.get(1, 2)
            elif how == 1:
                SCALE.set()
            elif how == 2:
                SCALE.reset(3)
            else:
                SCALE.set(value=2.0)
        except TypeError as error:
            return x + 1, str(error)
        return x

    for how in range(4):
        both(f, X, how)
