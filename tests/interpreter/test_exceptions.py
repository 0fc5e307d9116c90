"""Exceptions: handlers, finally, chaining, groups, with, and exceptions that leave the function."""

from __future__ import annotations

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(4.0)


class Mine(ValueError):
    def __init__(self, n, *rest):
        super().__init__(n, *rest)
        self.n = n


def test_try_except_else_finally() -> None:
    def f(x, n):
        log = []
        try:
            log.append("try")
            if n == 1:
                raise ValueError("one")
            if n == 2:
                raise KeyError("two")
            x = x + 1
        except ValueError as e:
            log.append(str(e))
            x = x + 2
        except (KeyError, IndexError) as e:
            log.append(e.args)
            x = x + 3
        else:
            log.append("else")
        finally:
            log.append("finally")
        return x, log

    same(f, X, 0, graphs=1, breaks=0, then=[(X, 1), (X, 2)])


def test_return_in_finally_swallows() -> None:
    def f(x):
        def g():
            try:
                raise ValueError
            finally:
                return 5

        def h():
            for i in range(3):
                try:
                    return i
                finally:
                    continue
            return 9

        def k():
            try:
                return 1
            finally:
                return 2

        return x + g() + h() + k()

    same(f, X, graphs=1, breaks=0)


def test_break_and_continue_through_finally() -> None:
    def f(x):
        log = []
        for i in range(5):
            try:
                if i == 1:
                    continue
                if i == 3:
                    break
                log.append(i)
            finally:
                log.append("f")
        return x + 1, log

    same(f, X, graphs=1, breaks=0)


def test_nested_handlers_and_reraise() -> None:
    def f(x):
        log = []
        try:
            try:
                raise Mine(3)
            except Mine as e:
                log.append(e.n)
                raise
            finally:
                log.append("inner")
        except ValueError as e:
            log.append(type(e).__name__)
            x = x + e.n
        try:
            e
        except NameError:
            log.append("e is gone")
        return x, log

    same(f, X, graphs=1, breaks=0)


def test_chaining() -> None:
    def f(x):
        out = []
        try:
            try:
                raise KeyError("a")
            except KeyError as e:
                raise ValueError("b") from e
        except ValueError as e:
            out += [repr(e.__cause__), repr(e.__context__), e.__suppress_context__]
        try:
            try:
                raise KeyError("a")
            except KeyError:
                raise ValueError("b")
        except ValueError as e:
            out += [repr(e.__cause__), repr(e.__context__), e.__suppress_context__]
        try:
            try:
                raise KeyError("a")
            except KeyError:
                raise ValueError("b") from None
        except ValueError as e:
            out += [repr(e.__cause__), repr(e.__context__), e.__suppress_context__]
        return x + 1, out

    same(f, X, graphs=1, breaks=0)


def test_exception_from_a_callee() -> None:
    def g(x, n):
        if n > 2:
            raise Mine(n)
        return g(x + 1, n + 1)

    def f(x):
        try:
            return g(x, 0)
        except Mine as e:
            return x * e.n

    same(f, X, graphs=1, breaks=0)


def test_exceptions_of_builtins() -> None:
    def f(x, d, l):
        x = x + 1
        out = []
        for act in (
            lambda: d["q"],
            lambda: l[9],
            lambda: int("z"),
            lambda: 1 / 0,
            lambda: None.attr,
            lambda: len(5),
            lambda: [] + (),
            lambda: next(iter([])),
            lambda: {}.popitem(),
            lambda: [].pop(),
            lambda: "a".index("b"),
            lambda: l.remove(77),
            lambda: max([]),
            lambda: "x" + 1,
            lambda: {[]: 1},
            lambda: undefined_name,
            lambda: d.nothing,
            lambda: float("q"),
            lambda: chr(-1),
            lambda: range(1, 2, 0),
            lambda: sorted([1, "a"]),
            lambda: isinstance(1, 5),
            lambda: (1, 2)[5],
        ):
            try:
                act()
            except Exception as e:
                out.append((type(e).__name__, str(e)))
        return x, out

    same(f, X, {"a": 1}, [1], graphs=1, breaks=0)


def test_handled_exception_is_restored() -> None:
    import sys

    def f(x):
        out = []
        try:
            raise ValueError("outer")
        except ValueError:
            try:
                raise KeyError("inner")
            except KeyError:
                out.append(sys.exc_info()[0].__name__)
            out.append(sys.exc_info()[0].__name__)
        out.append(sys.exc_info()[0])
        return x + 1, out

    same(f, X, graphs=1, breaks=0)


def test_groups() -> None:
    def f(x):
        out = []
        try:
            raise ExceptionGroup("g", [ValueError("a"), KeyError("b"), ValueError("c")])
        except* ValueError as eg:
            out.append([str(e) for e in eg.exceptions])
        except* KeyError as eg:
            out.append([type(e).__name__ for e in eg.exceptions])
        try:
            raise ValueError("naked")
        except* ValueError as eg:
            out.append((type(eg).__name__, len(eg.exceptions)))
        return x + 1, out

    same(f, X, graphs=1, breaks=0)


def test_group_with_a_rest() -> None:
    def f(x):
        x = x + 1
        try:
            try:
                raise ExceptionGroup("g", [ValueError("a"), KeyError("b")])
            except* ValueError:
                x = x + 1
        except ExceptionGroup as rest:
            return x, [repr(e) for e in rest.exceptions], rest.message

    same(f, X, graphs=1)


def test_group_reraised() -> None:
    def f(x):
        x = x + 1
        try:
            try:
                raise ExceptionGroup("g", [ValueError("a"), KeyError("b")])
            except* ValueError:
                raise
            except* KeyError as e:
                raise TypeError("new") from e
        except ExceptionGroup as rest:
            return x, [type(e).__name__ for e in rest.exceptions]

    same(f, X, graphs=1)


def test_catching_something_that_is_no_exception() -> None:
    def f(x):
        x = x + 1
        try:
            try:
                raise ValueError
            except 5:
                pass
        except TypeError as e:
            return x, str(e)

    same(f, X, graphs=1, breaks=0)


def test_raise_something_that_is_no_exception() -> None:
    def f(x):
        x = x + 1
        out = []
        for bad in (5, int, None):
            try:
                raise bad
            except TypeError as e:
                out.append(str(e))
        try:
            raise
        except RuntimeError as e:
            out.append(str(e))
        return x, out

    same(f, X, graphs=1, breaks=0)


def test_leaves_the_function() -> None:
    def f(x, l, n):
        l.append(x + 1)
        l.append(n)
        raise Mine(n, "why")

    same(f, X, [], 3, then=[(X, [], 4)])


def test_leaves_after_effects_on_attributes() -> None:
    class C:
        n = 0

    def f(x, o):
        o.n = 5
        o.t = x + 1
        return {}["missing"]

    same(f, X, C())


def test_leaves_from_a_handler_keeps_context() -> None:
    def f(x):
        x = x + 1
        try:
            {}["a"]
        except KeyError as e:
            raise ValueError("b") from e

    r = same(f, X)
    assert isinstance(r.outcomes[0].raised.__cause__, KeyError)


def test_exception_as_value() -> None:
    def f(x):
        e = Mine(3, "a")
        e.extra = x + 1
        try:
            raise e
        except Mine as caught:
            return caught is e, caught.extra, e, caught.args, str(ValueError("a", 1)), repr(KeyError("k"))

    same(f, X, graphs=1, check_args=False)


def test_exception_with_state() -> None:
    def f(x):
        e = ValueError("a")
        e.add_note("note")
        try:
            raise e
        except ValueError as c:
            return x + 1, c.__notes__, c.with_traceback(None) is e

    same(f, X, graphs=1, breaks=0)


def test_outside_exception_is_raised() -> None:
    error = ValueError("outside")

    def f(x):
        x = x + 1
        try:
            raise error
        except ValueError as e:
            return x, e is error

    same(f, X)


def test_exception_in_a_generator_and_a_comprehension() -> None:
    def f(x):
        def gen():
            yield 1
            raise KeyError("g")

        out = []
        try:
            for i in gen():
                out.append(i)
        except KeyError:
            out.append("k")
        try:
            [1 / i for i in (1, 0)]
        except ZeroDivisionError:
            out.append("z")
        return x + 1, out

    same(f, X, graphs=1, breaks=0)


def test_error_of_a_tensor_operation() -> None:
    def f(x, y):
        z = x + 1
        try:
            return x @ y
        except RuntimeError:
            return z

    same(f, X, torch.ones(3), graphs=1, breaks=0)


def test_error_of_a_tensor_operation_leaves() -> None:
    def f(x, y):
        return x + 1, torch.cat([x, y], dim=3)

    with pytest.raises(IndexError):
        f(X, X)
    same(f, X, X)


def test_except_star_variable_and_else() -> None:
    def f(x):
        try:
            x = x + 1
        except* ValueError:
            x = x - 1
        else:
            x = x * 2
        finally:
            x = x + 3
        return x

    same(f, X, graphs=1, breaks=0)


def _read_context(x):
    try:
        raise ValueError("a")
    except ValueError as error:
        return x + (1 if error.__context__ is None else 2)


def _context_of_native_error(x):
    try:
        {}["missing"]
    except KeyError as error:
        return x + (1 if error.__context__ is None else 2)


def _return_error(x):
    try:
        raise ValueError("a")
    except ValueError as error:
        kept = error
    return x + 1, kept


def _deeper(x):
    try:
        try:
            raise ValueError("a")
        except ValueError:
            raise KeyError("b")
    except KeyError as error:
        return x + (1 if error.__context__.__context__ is None else 2)


@pytest.mark.parametrize("fn", [_read_context, _context_of_native_error, _return_error, _deeper])
@pytest.mark.parametrize("handling_first", [False, True])
def test_a_context_that_comes_from_a_caller(fn, handling_first):
    def call(fn, handling):
        if not handling:
            return fn(torch.ones(2))
        try:
            raise TypeError("of the caller")
        except TypeError:
            return fn(torch.ones(2))

    def seen(result):
        return (result[0], type(result[1].__context__)) if isinstance(result, tuple) else (result, None)

    compiled = alternator.compile(fn, backend="eager")
    for handling in (handling_first, not handling_first, handling_first, not handling_first):
        (value, context), (plain, expected) = seen(call(compiled, handling)), seen(call(fn, handling))
        assert value.equal(plain) and context is expected


def test_exceptions_that_leave_captured_code_keep_their_fields() -> None:
    def f(x):
        found = []
        for make in (
            lambda: {}.missing,
            lambda: undefined_name,  # noqa: F821
            lambda: OSError(2, "no", "file"),
            lambda: b"\xff".decode(),
            lambda: SystemExit(3),
            lambda: ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [TypeError("t")])]),
        ):
            try:
                raise make()
            except BaseException as error:
                found.append(error)
        try:
            try:
                raise KeyError("k")
            except KeyError:
                raise ValueError("v") from None
        except ValueError as error:
            found.append(error)
        return x + 1, found

    found = same(f, torch.ones(2), fullgraph=True).outcomes[0].result[1]
    assert found[0].name == "missing" and found[1].name == "undefined_name" and found[4].code == 3
    assert (found[2].errno, found[2].strerror, found[2].filename) == (2, "no", "file") and type(found[2]) is FileNotFoundError
    assert (found[3].start, found[3].end, found[3].object) == (0, 1, b"\xff")
    assert found[5].exceptions[1].exceptions[0].args == ("t",) and found[5].message == "g"
    assert found[6].__suppress_context__ and found[6].__cause__ is None and isinstance(found[6].__context__, KeyError)


def test_a_cycle_of_contexts_does_not_hang() -> None:
    def f(x):
        a, b = ValueError("a"), TypeError("b")
        a.__context__, b.__context__ = b, a
        try:
            try:
                raise a
            except ValueError:
                raise KeyError("c")
        except KeyError as error:
            return x + 1, type(error.__context__)

    same(f, torch.ones(2))


def test_a_bound_method_of_a_generator_leaves_captured_code() -> None:
    def f(x):
        def generate():
            got = yield 1
            yield got

        return x + 1, generate().send

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    assert compiled(torch.ones(2))[1](None) == 1


class Counted(ExceptionGroup):
    def __new__(cls, message, errors, code):
        made = super().__new__(cls, message, errors)
        made.code = code
        return made


def test_a_group_with_more_arguments_leaves_captured_code() -> None:
    def f(x):
        return x + 1, Counted("g", [ValueError(1)], 7)

    made = same(f, torch.ones(2), fullgraph=True).outcomes[0].result[1]
    assert (made.code, made.message, made.exceptions[0].args) == (7, "g", (1,))
