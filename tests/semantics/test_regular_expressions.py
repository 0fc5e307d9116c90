"""``re``: what is called back is interpreted, what is shown is shown."""

from __future__ import annotations

import re
import threading
import types
import warnings

import torch
from helpers import same

import alternator
from alternator.semantics import regular_expressions

X = torch.ones(2)
calls = []


def replaced(match):
    calls.append(match.group())
    return match.group().upper()


def test_a_replacement_function_is_interpreted():
    def f(x):
        text, count = re.subn("[ab]", replaced, "abcab", count=3)
        return x + count, text, re.sub(r"\d", lambda m: str(int(m[0]) + 1), "a1b2"), len(calls)

    calls.clear()
    same(f, X, namespace=["calls"], graphs=1, breaks=0)


def test_functions_and_flags():
    def f(x):
        found = [m.span() for m in re.finditer("a+", "aabaa")]
        pattern = re.compile("A", flags=re.I)
        return (
            x + len(found),
            re.match("(a)(b)", "abc").groups(),
            re.search(pattern, "bca").start(),
            re.fullmatch("a.c", "a\nc", re.S) is not None,
            re.split("[,;]", "a,b;c", maxsplit=1),
            re.findall("(?P<n>x)", "xx"),
        )

    same(f, X, graphs=1, breaks=0)


def test_patterns_that_show_something():
    purge = alternator.disable(lambda: re.purge())

    def debug(x):
        return x + 1, re.compile("ab?", re.DEBUG).pattern

    def warns(x):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            purge()
            re.compile("[[a]")
        return x + 1, [str(one.message) for one in seen]

    def refused(x):
        try:
            re.compile("(")
        except re.error as error:
            return x + 1, str(error), error.pos

    for fn in (debug, warns, refused):
        compiled = alternator.compile(fn, backend="eager")
        for _ in range(2):
            assert compiled(X)[1:] == fn(X)[1:]


def test_what_another_thread_warns_of_while_a_pattern_is_compiled():
    def meanwhile(fn, *args):
        thread = threading.Thread(target=warnings.warn, args=("of another thread",))
        thread.start()
        thread.join()
        return fn(*args)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        regular_expressions._compiled(types.SimpleNamespace(plain=meanwhile), "a+", 0)
    assert [str(one.message) for one in seen] == ["of another thread"]
