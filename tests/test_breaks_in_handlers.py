"""Breaks inside of except, finally and the exits of with: captured before and after, with what is being handled intact."""

from __future__ import annotations

import contextlib
import sys

import torch
from helpers import same

import alternator
from alternator._C.eval_frame import unsupported

X = torch.arange(4.0)


class Mine(ValueError):
    def __init__(self, n, *rest):
        super().__init__(n, *rest)
        self.n = n


class Manager:
    def __init__(self, log, swallow=False):
        self.log, self.swallow = log, swallow

    def __enter__(self):
        self.log.append("enter")
        return self

    def __exit__(self, kind, error, trace):
        self.log.append(("exit", kind and kind.__name__, str(error)))
        alternator.graph_break()
        return self.swallow


def now():
    """What is being handled, as text."""
    return repr(sys.exc_info()[1])


def test_in_except() -> None:
    def f(x, n):
        x = x + 1
        try:
            if n:
                raise Mine(n, "why")
        except Mine as e:
            x = x * 2
            alternator.graph_break()
            return x + e.n, repr(e), now()
        return x

    same(f, X, 3, graphs=2, breaks=1, then=[(X, 0)])


def test_in_finally() -> None:
    def f(x, n):
        log = []
        try:
            try:
                x = x + 1
                if n:
                    raise KeyError(n)
            finally:
                log.append(now())
                alternator.graph_break()
                x = x * 2
                log.append(now())
        except KeyError as e:
            log.append(repr(e))
        return x - 1, log, now()

    same(f, X, 0, graphs=2, breaks=1, then=[(X, 5)])
    same(f, X, 5, graphs=2, breaks=1)


def test_in_exit_of_with() -> None:
    def f(x, swallow):
        log = []
        try:
            with Manager(log, swallow) as m:
                x = x + 1
                raise ValueError(len(m.log))
            log.append(now())
        except ValueError as e:
            log.append((repr(e), now()))
        return x * 2, log

    same(f, X, True, graphs=2)
    same(f, X, False, graphs=2)


def test_the_break_raises_inside_of_try() -> None:
    def bad(n):
        alternator.graph_break()
        raise Mine(n)

    def f(x):
        x = x + 1
        try:
            bad(4)
            x = x - 100
        except Mine as e:
            x = x * e.n
            out = repr(e), now()
        return x - 1, out, now()

    same(f, X, graphs=2, breaks=1)


def test_bare_raise_and_chaining_after_the_break() -> None:
    def f(x, how):
        log = []
        try:
            try:
                x = x + 1
                raise KeyError("first")
            except KeyError as e:
                alternator.graph_break()
                x = x * 2
                if how == "again":
                    raise
                if how == "from":
                    raise Mine(1) from e
                if how == "none":
                    raise Mine(2) from None
                raise Mine(3)
        except (KeyError, Mine) as e:
            log += [repr(e), repr(e.__cause__), repr(e.__context__), e.__suppress_context__, now()]
        return x + 1, log, now()

    for how in ("again", "from", "none", "new"):
        same(f, X, how, graphs=2, breaks=1)


def test_nested_levels() -> None:
    def f(x):
        log = []
        try:
            raise KeyError("outer")
        except KeyError:
            try:
                raise IndexError("inner")
            except IndexError as e:
                x = x + 1
                alternator.graph_break()
                log += [now(), repr(e.__context__)]
                try:
                    raise Mine(7)
                except Mine as m:
                    x = x * 2
                    alternator.graph_break()
                    log += [now(), repr(m.__context__), repr(m.__context__.__context__)]
                log.append(now())
                x = x + 2
            log.append(now())
        log.append(now())
        return x, log

    same(f, X, graphs=3, breaks=2)


def test_groups() -> None:
    def f(x):
        log = []
        try:
            try:
                raise ExceptionGroup("g", [ValueError(1), KeyError(2), ExceptionGroup("h", [ValueError(3), TypeError(4)])])
            except* ValueError as e:
                x = x + len(e.exceptions)
                alternator.graph_break()
                log.append((now(), repr(e)))
                x = x * 2
            except* KeyError:
                alternator.graph_break()
                log.append(now())
                x = x - 1
        except ExceptionGroup as rest:
            log.append((repr(rest), rest.message))
            x = x + 5
        return x, log, now()

    same(f, X)


def test_return_in_finally_swallows() -> None:
    def f(x):
        try:
            raise KeyError("lost")
        finally:
            x = x + 1
            alternator.graph_break()
            return x * 2, now()

    same(f, X, graphs=2, breaks=1)


def test_the_caller_is_handling_something() -> None:
    def f(x):
        log = [now()]
        try:
            raise KeyError(1)
        except KeyError:
            x = x + 1
            alternator.graph_break()
            log.append(now())
            x = x * 2
        log.append(now())
        return x, log

    def outer(x):
        try:
            raise LookupError("outside")
        except LookupError:
            return f(x)

    same(outer, X)
    compiled = alternator.compile(f, backend="eager")
    for _ in range(3):
        try:
            raise LookupError("outside")
        except LookupError:
            got, expected = compiled(X), f(X)
        assert got[1] == expected[1]
        assert torch.equal(got[0], expected[0])


def test_the_exception_leaves_after_the_break() -> None:
    def f(x, l):
        try:
            l.append(x + 1)
            raise Mine(3)
        except Mine:
            alternator.graph_break()
            l.append(x * 2)
            raise

    report = same(f, X, [], breaks=1)
    assert isinstance(report.outcomes[0].raised, Mine)


def test_exceptions_with_fields_cross_a_break() -> None:
    def f(x, make):
        try:
            raise make()
        except BaseException as e:
            e.add_note("note")
            x = x + 1
            alternator.graph_break()
            fields = {name: getattr(e, name, None) for name in ("value", "code", "errno", "strerror", "filename", "name", "path")}
            return x * 2, type(e), e.args, str(e), fields, e.__notes__

    makers = [
        lambda: StopIteration(5),
        lambda: SystemExit(3),
        lambda: OSError(2, "no such", "file"),
        lambda: ImportError("m", name="n", path="p"),
        lambda: NameError("n", name="x"),
        lambda: UnicodeDecodeError("utf8", b"abc", 0, 1, "why"),
        lambda: KeyError(),
        lambda: MemoryError("m"),
        lambda: ExceptionGroup("g", [ValueError(1)]),
    ]
    for make in makers:
        same(f, X, make)


def test_contextlib_around_breaks() -> None:
    @contextlib.contextmanager
    def manager(log):
        log.append("in")
        try:
            yield
        except KeyError as e:
            log.append(repr(e))
        finally:
            log.append("out")

    def f(x):
        log = []
        with manager(log):
            x = x + 1
            raise KeyError(1)
        with contextlib.suppress(IndexError):
            x = x * 2
            alternator.graph_break()
            [][1]
        with contextlib.ExitStack() as stack:
            stack.callback(log.append, "callback")
            x = x + 3
            alternator.graph_break()
            x = x * 2
        return x, log

    same(f, X)


def test_a_note_is_added_to_an_exception_from_outside() -> None:
    def f(x, e):
        e.add_note("one")
        e.add_note("two")
        return x + 1, e.__notes__

    same(f, X, KeyError("k"), graphs=1, breaks=0)
    noted = KeyError("k")
    noted.add_note("zero")
    same(f, X, noted, graphs=1, breaks=0)


def test_what_callers_handle_is_handled_in_a_step() -> None:
    def now():
        unsupported()
        return type(sys.exc_info()[1]).__name__, type(sys.exception()).__name__

    def plain_look(look):
        return repr(look())

    look = alternator.disable(lambda: sys.exception())

    def f(x):
        seen = []
        try:
            raise ExceptionGroup("eg", [TypeError(1), ValueError(2)])
        except* TypeError:
            seen += [plain_look(look), now(), repr(sys.exception())]
        except* ValueError as error:
            seen += [plain_look(look), now(), repr(sys.exception()), str(error.__context__)]
        try:
            raise KeyError(x)
        except KeyError as error:
            seen += [plain_look(look), now(), plain_look(look), str(error.__context__), error.__traceback__ is None]
        seen += [plain_look(look), now()]
        return seen

    same(f, 1)


def test_handlers_do_not_ask_subclasscheck() -> None:
    class Meta(type):
        def __subclasscheck__(cls, kind):
            raise ValueError

    class Odd(Exception, metaclass=Meta):
        pass

    def f(x):
        try:
            raise KeyError(x)
        except (Odd, IndexError):
            return 1
        except Odd:
            return 2
        except KeyError:
            return 3

    same(f, 1)


def test_classes_of_exceptions_that_make_something_else() -> None:
    class Odd(Exception):
        def __new__(cls, *args):
            return cls

    def thrower(x):
        def g():
            try:
                yield 1
            except TypeError as error:
                yield str(error)

        waiting, fresh, seen = g(), g(), []
        next(waiting)
        seen.append(waiting.throw(Odd))
        for attempt in (lambda: fresh.throw(Odd, x), lambda: (_ for _ in ()).throw(Odd)):
            try:
                attempt()
            except TypeError as error:
                seen.append(str(error))
        return seen

    def raiser(x):
        try:
            raise Odd
        except TypeError as error:
            return str(error)

    same(thrower, 1)
    same(raiser, 1)
