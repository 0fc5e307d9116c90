"""Small functions that between them use every kind of bytecode a function body can hold.

Each entry of CASES makes (function, arguments) afresh; the last argument is a list that the function logs to.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

Case = Callable[[], tuple[Any, tuple[Any, ...]]]
CASES: dict[str, Case] = {}


def case(*args: Any) -> Callable[[Any], Any]:
    """Register a function with arguments (copied by repr-free rebuild: only immutable ones or factories)."""

    def register(fn: Any) -> Any:
        CASES[fn.__name__] = lambda: (fn, (*(a() if callable(a) and not isinstance(a, type) else a for a in args), []))
        return fn

    return register


class Ctx:
    """A context manager that logs, and swallows ValueError if told to."""

    def __init__(self, log: list[Any], swallow: bool = False) -> None:
        self.log, self.swallow = log, swallow

    def __enter__(self) -> int:
        self.log.append("enter")
        return 7

    def __exit__(self, kind: Any, value: Any, tb: Any) -> bool:
        self.log.append(("exit", kind and kind.__name__))
        return self.swallow and kind is ValueError


def show(*args: Any, **kwargs: Any) -> Any:
    return (args, tuple(sorted(kwargs.items())))


@case(3, 4)
def arithmetic(a, b, log):
    c = a + b * 2 - (a << b)
    c **= 2
    c //= 3
    return -c, ~a, not b, +a, a @ Mat(b)


class Mat:
    def __init__(self, v):
        self.v = v

    def __rmatmul__(self, other):
        return other * self.v


@case(4)
def for_loop(n, log):
    total = 0
    for i in range(n):
        if i == 1:
            continue
        if i > 2:
            break
        log.append(i)
        total += i
    else:
        total = -1
    return total


@case(3)
def for_else(n, log):
    for i in range(n):
        log.append(i)
    else:
        return i * 10
    return None


@case(5)
def while_loop(n, log):
    while n > 0 and n != 1:
        n -= 1
        log.append(n)
        if not n % 2:
            continue
    return n


@case(6)
def while_none(n, log):
    x = [None, n, None, 2]
    while (y := x.pop()) is not None:
        log.append(y)
    while x and x[-1] is None or len(x) > 1:
        x.pop()
    return x, y


@case(3)
def nested_loops(n, log):
    out = []
    for i in range(n):
        for j in range(i):
            out.append((i, j))
            log.append(len(out))
    return out


@case(1)
def with_plain(a, log):
    with Ctx(log) as b:
        a += b
        log.append(a)
    return a


@case(1)
def with_raise_swallow(a, log):
    with Ctx(log, True):
        log.append(a)
        raise ValueError(a)
    return "after"


@case(1)
def with_raise(a, log):
    with Ctx(log), Ctx(log, True) as z:
        log.append(z)
        raise KeyError(a)


@case(1)
def with_return(a, log):
    for i in range(2):
        with Ctx(log):
            if i:
                return a + i


@case("x")
def try_except(a, log):
    try:
        log.append(1)
        b = int(a)
    except ValueError as e:
        log.append(str(e))
        b = -1
    else:
        log.append("else")
    finally:
        log.append("finally")
    return b


@case("12")
def try_else(a, log):
    try:
        b = int(a)
    except (ValueError, TypeError):
        return None
    else:
        log.append("else")
    finally:
        log.append("finally")
    return b


@case(0)
def try_in_loop(a, log):
    for i in range(4):
        try:
            a += 6 // (2 - i)
        except ZeroDivisionError:
            log.append(("zero", i))
            continue
        log.append(a)
    return a


@case(0)
def try_finally_return(a, log):
    try:
        try:
            return log[a]
        finally:
            log.append("inner")
    except IndexError:
        return "index"
    finally:
        log.append("outer")


@case(0)
def try_reraise(a, log):
    try:
        try:
            log.append(1 // a)
        except ZeroDivisionError as e:
            raise KeyError("k") from e
    except KeyError as e:
        log.append(type(e.__cause__).__name__)
        raise


@case(0)
def raises_plain(a, log):
    log.append(a)
    if a == 0:
        raise RuntimeError("no")
    return a


@case(0)
def finally_break(a, log):
    while True:
        try:
            a += 1
            if a > 2:
                break
        finally:
            log.append(a)
    return a


@case()
def except_star(log):
    try:
        log.append(0)
        raise ExceptionGroup("g", [ValueError(1), KeyError(2)])
    except* ValueError as e:
        log.append(len(e.exceptions))
    except* KeyError:
        log.append("key")
    return log


@case(2)
def counter(n, log):
    count = 0

    def bump(by=1):
        nonlocal count
        count += by
        log.append(count)
        return count

    bump()
    count += 10
    for _ in range(n):
        bump(n)
    return count + bump(by=n)


def _make_free():
    def build():
        total = 5

        def free_user(n, log):
            nonlocal total
            for i in range(n):
                total += i
                log.append(total)
            return (lambda: total)()

        return free_user

    return build(), (3, [])


CASES["free_user"] = _make_free


@case(3)
def arg_is_cell(n, log):
    def get():
        return n

    n += 1
    log.append(get())
    n += get()
    return [get() for _ in range(2)], n


@case(1)
def cell_unbound(n, log):
    def get():
        return later

    try:
        get()
    except NameError as e:
        log.append(str(e))
    later = n
    first = get()
    del later
    later = n + 1
    return first, get()


@case(4)
def comprehensions(n, log):
    a = [i * n for i in range(n) if i % 2]
    b = {i: n for i in a}
    c = {i for i in b}
    d = sum(i for i in c)
    return a, b, c, d


class Base:
    def __init__(self, log):
        self.log = log

    def go(self, n):
        self.log.append(n)
        return n + 1


class Derived(Base):
    def go(self, n):
        if n:
            n = super().go(n)
        log = self.log
        log.append("d")
        return super().go(n) + n

    def go_cell(self, n):
        def get():
            return self

        n = super().go(n)
        get().log.append("cell")
        other = super().go
        return other(n), super().go(n)


def _method(name):
    def make():
        log = []
        derived = Derived(log)
        return getattr(Derived, name), (derived, 2, log)

    return make


def _drop_log(make):
    def made():
        fn, (derived, n, log) = make()
        LOGS[id(fn)] = log
        return fn, (derived, n)

    return made


LOGS: dict[int, list[Any]] = {}
CASES["super_plain"] = _drop_log(_method("go"))
CASES["super_cell"] = _drop_log(_method("go_cell"))


@case(2)
def calls(a, log):
    x = show(a, b=a, c=3)
    y = show(*[a, 1], **{"k": a})
    z = show(a, *(1, 2), z=1, **{"y": 2})
    log.append(len(x))
    w = max(3, a, key=lambda v: -v)
    return x, y, z, w, "a,b".split(","), " x ".strip().upper(), print if a else len


@case(2)
def call_in_args(a, log):
    return show(a if a > 5 else show(a), *([1] if a else []), k=(a and show(k=a)), j=log.append(a) or "j")


def _varargs():
    def varargs(a, *args, k=1, log, **kw):
        log.append((a, args, k))
        kw["z"] = a
        return args[0] + k, kw

    log = []
    return (lambda log_: varargs(1, 2, 3, k=4, log=log_, q=5)), (log,)


CASES["varargs"] = _varargs


@case((1, (2, 3)))
def unpacking(p, log):
    a, (b, c) = p
    a, b = b, a
    first, *rest = [a, b, c]
    *head, last = rest
    [x, y, z] = a, b, c
    log.append((first, rest))
    return {**{"a": a}, "b": b}, [*head, last, *rest], (*rest, x, y, z), {*rest}


@case(5)
def chained(a, log):
    if 0 < a < 10 <= a + 5:
        log.append("in")
    return 1 < a < 3, a in (1, 5) and a not in [2], a is None, a is not None


@case(5)
def walrus(a, log):
    if (b := a + 1) > 5 and (c := b * 2):
        log.append((b, c))
    return b if a else c


@case()
def matches(log):
    out = []
    for subject in ({"k": 1, "z": 2}, [1, 2, 3], Point(1, 2), "s", 4, None, (1,)):
        match subject:
            case {"k": v, **rest}:
                out.append((v, rest))
            case [a, *b] if len(b) > 1:
                out.append((a, b))
            case Point(x=1, y=yy):
                out.append(yy)
            case "s" | 4 as s:
                out.append(s)
            case None:
                out.append("none")
            case _:
                log.append(subject)
    return out


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


@case(3)
def fstrings(a, log):
    log.append(f"{a:>5}|{a!r}|{a=}")
    return f"{a}{'b' if a else 'c'}{a:{a}}"


@case(3)
def deletes(a, log):
    b = a
    del b
    try:
        return b
    except UnboundLocalError as e:
        log.append(str(e))
    b = [1, 2, 3]
    del b[0], b[0:1]
    c = Point(1, 2)
    c.x += 1
    del c.y
    return b, c.x, hasattr(c, "y")


@case(3)
def maybe_unbound(a, log):
    for i in range(a):
        if i == 1:
            late = i
        if i == 2:
            log.append(late)
    if a > 5:
        never = 1
    try:
        return never
    except UnboundLocalError:
        return late


@case(3)
def conditional(a, log):
    x = a if a > 2 else -a
    y = (a or log) and (None or a)
    return x, y, [1, 2, 3][a - 1 if a else 0], not (a and x)


@case(3)
def slices(a, log):
    x = list(range(10))
    x[a] = -1
    x[1:2] = [7, 7]
    x[a] += 5
    return x[a:], x[:a:2], x[-1]


@case(3)
def globals_and_imports(a, log):
    global GLOBAL
    GLOBAL = a
    import os.path as p
    from sys import platform, version_info

    log.append(p is sys.modules["os.path"])
    GLOBAL += 1
    result = GLOBAL, version_info[0], platform
    del GLOBAL
    return result


@case(3)
def inner_class(a, log):
    class Inner(Base):
        z = a

        def get(self):
            return self.z + a

    log.append(Inner.__name__)
    return Inner(log).get()


@case(3)
def inner_defaults(a, log):
    def f(x, y: int = a, *, z=a + 1) -> int:
        return x + y + z

    g = lambda q=a: q
    return f(1), g(), f.__kwdefaults__, sorted(f.__annotations__)


@case(3)
def reads_locals(a, log):
    b = a + 1
    c = b
    log.append(c)
    return sorted(k for k in locals()), "{b}".format(**locals())


@case(3)
def asserts(a, log):
    assert a > 2, "big"
    log.append(1)
    assert a < 2, f"small {a}"


@case(3)
def traceback_line(a, log):
    x = a

    y = x + 1
    log.append(y.missing)
    return y


@case(3)
def exits(a, log):
    with contextlib.ExitStack() as stack:
        stack.callback(log.append, "cb")
        for i in range(a):
            stack.enter_context(Ctx(log))
            if i == 1:
                return i
    return -1


def handled():
    """The exception that is being handled, as text."""
    return repr(sys.exc_info()[1])


@case(0)
def handlers_nested(a, log):
    log.append(handled())
    try:
        log.append(1 // a)
    except ZeroDivisionError as e:
        log.append(handled())
        try:
            {}[a]
        except KeyError as k:
            log.append((handled(), repr(k.__context__), k.__context__ is e))
            try:
                [][a]
            except IndexError:
                log.append(handled())
            log.append(handled())
        else:
            log.append("not here")
        finally:
            log.append(handled())
        log.append(handled())
    log.append(handled())
    return a


@case(0)
def handler_raises_anew(a, log):
    try:
        try:
            log.append(1 // a)
        except ZeroDivisionError:
            raise ValueError(a)
        finally:
            log.append(handled())
    except ValueError as e:
        log.append((repr(e.__context__), e.__cause__, e.__suppress_context__))
        error = e
    try:
        raise error from None
    except ValueError as e:
        log.append((repr(e.__context__), e.__suppress_context__))
        raise


@case(0)
def bare_raise_in_callee(a, log):
    def again():
        raise

    try:
        try:
            log.append(1 // a)
        except ZeroDivisionError:
            again()
    except ZeroDivisionError as e:
        log.append(str(e))
    try:
        again()
    except RuntimeError as e:
        log.append(str(e))
    except LookupError as e:
        log.append(str(e))


@case(3)
def handlers_in_loop(n, log):
    out = []
    for i in range(n):
        try:
            out.append(6 // (1 - i))
        except ZeroDivisionError as e:
            for j in range(2):
                try:
                    raise KeyError(i, j) from e
                except KeyError as k:
                    log.append((handled(), repr(k.__cause__)))
                    if j:
                        break
            else:
                log.append("else")
            continue
        finally:
            log.append(i)
            if i == 2:
                break
    return out, handled()


@case(1)
def with_in_handler(a, log):
    try:
        raise KeyError(a)
    except KeyError:
        with Ctx(log, True) as b:
            log.append(handled())
            raise ValueError(b)
        log.append(handled())
        with Ctx(log):
            a += b
    return a, handled()


@case(1)
def return_from_finally(a, log):
    for i in range(2):
        try:
            raise KeyError(i)
        except KeyError as e:
            log.append(handled())
            if i:
                return e.args
        finally:
            log.append(handled())
            if i:
                return a + i, handled()


@case(0)
def star_nested(a, log):
    try:
        try:
            raise ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [KeyError(2), ValueError(3)]), TypeError()])
        except* ValueError as e:
            log.append((handled(), len(e.exceptions)))
            try:
                log.append(1 // a)
            except ZeroDivisionError:
                log.append(handled())
        except* KeyError as e:
            log.append(handled())
            raise RuntimeError(a) from e
        finally:
            log.append(handled())
    except ExceptionGroup as e:
        log.append((repr(e), [repr(one.__cause__) for one in e.exceptions]))
        return handled()


@case(0)
def star_of_one(a, log):
    try:
        log.append(1 // a)
    except* (ValueError, ZeroDivisionError) as e:
        log.append((handled(), type(e).__name__))
    else:
        log.append("else")
    return handled()


@case(0)
def handler_with_cells(a, log):
    got = []

    def keep():
        got.append(e)
        return a

    try:
        log.append(1 // a)
    except ZeroDivisionError as e:
        keep()
        a = 5
    try:
        keep()
    except NameError as e:
        log.append(str(e))
    return [str(one) for one in got], a
