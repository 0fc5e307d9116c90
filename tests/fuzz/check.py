"""Run random programs plainly and captured, and compare all that can be seen.

    python tests/fuzz/check.py --count 2000 --seed 0        # many programs, fast; what differs is shrunk and printed
    python tests/fuzz/check.py --program 1234               # one of them: its text, and what differs

Each program runs with the same arguments twice and then with others (values, shapes and dtypes, types and state of objects,
aliasing), in an order of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import linecache
import logging
import os
import random
import re
import resource
import signal
import sys
import time
import types
import warnings
from typing import Any

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import grammar  # noqa: E402
import prelude  # noqa: E402
import shrink  # noqa: E402

import alternator  # noqa: E402
from alternator import utils  # noqa: E402
from alternator._C.eval_frame import unsupported  # noqa: E402

_PRELUDE = compile(open(prelude.__file__).read(), prelude.__file__, "exec")
VARIANTS = 6
MOST_MEMORY = 8 << 30
"""In bytes: some programs grow until they are stopped."""
_TENSORS = [
    torch.randn(2, 5 if variant == 2 else 3, generator=torch.Generator().manual_seed(variant)) for variant in range(VARIANTS)
]


def load(source: str) -> types.ModuleType:
    """A fresh module with the program and what it uses."""
    module = types.ModuleType("fuzzed")
    sys.modules["fuzzed"] = module  # dataclasses look there
    exec(_PRELUDE, module.__dict__)
    module.break_here = unsupported
    module.weight = torch.nn.Parameter(torch.tensor([2.0]))
    module.net = module.Net()
    linecache.cache["<fuzzed>"] = (len(source), None, source.splitlines(True), "<fuzzed>")
    exec(compile(source, "<fuzzed>", "exec"), module.__dict__)
    return module


def arguments(m: Any, variant: int) -> list[Any]:
    """The arguments of ``f``: 0 the first ones, 1 other values, 2 other sizes, 3 other types, 4 aliases, 5 other state."""
    x, y = (tensor.clone() for tensor in _TENSORS[variant])
    box, other = m.Box(variant + 1, "arg"), m.Twin(2, "twin")
    numbers, items, table, bag = [1, 2, variant], [3, "a"], {"a": variant, 1: 3}, {1, variant}
    n, text, fn = variant, "ab", abs
    if variant == 1:
        x = -x.abs()
        table["b"] = 5
    elif variant == 2:
        n, text, numbers, items = 7, "", [], [1, 2, 3]
    elif variant == 3:
        x, box, fn, n = (x * 3).long(), m.Twin(1.5, "long name"), m.operator.neg, True
        table = m.collections.OrderedDict(a=1)
    elif variant == 4:
        y, other, items, fn = x, box, numbers, m.Point(2, 3)
        numbers.append(4)
        table["self"] = numbers
    elif variant == 5:
        x, fn = x.double(), (lambda v, k=variant: v * k)
        y = x[:] if n else y
        box.extra, box.history, other.value = 1, [1, "doubled"], x
        y.requires_grad_()
    return [x, y, n, text, box, other, numbers, items, table, bag, iter([4, 5, 6]), fn]


_IN_TORCH = "(Triggered internally at"
"""Warnings of operators come from where the graph is run, if at all: a compiled graph has other operators."""


def run(m: Any, fn: Any, variant: int) -> dict[str, Any]:
    """All that can be seen of one run."""
    args = arguments(m, variant)
    out = io.StringIO()
    seen: dict[str, Any] = {"result": None, "raised": None}
    random.seed(variant)
    torch.manual_seed(variant)
    with contextlib.redirect_stdout(out), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            seen["result"] = fn(*args)
        except TimeoutError:
            raise
        except MemoryError:  # it grows without end
            raise TimeoutError from None
        except Exception as error:
            seen["raised"] = error_chain(error)
    seen["warned"] = [
        (str(w.message), w.category, w.lineno) for w in warned if w.filename == "<fuzzed>" and _IN_TORCH not in str(w.message)
    ]
    args[-2] = list(args[-2])
    scales = [vars(kind)["scale"] for kind in (m.Box, m.Twin)] + [m.Tall.made]
    seen.update(
        out=_FREE.sub(
            _as_local, _END_OF_STACK.sub(r"\1", out.getvalue()).replace(UnboundLocalError.__name__, NameError.__name__)
        ),
        args=args[:-1],
        counter=m.COUNTER,
        log=[NameError.__name__ if row == UnboundLocalError.__name__ else row for row in m.LOG],
        scales=scales,
        weight=m.weight,
    )
    net = {name: value for name, value in vars(m.net).items() if not name.startswith("_")}
    seen.update(net=net, weights=dict(m.net.named_parameters()), buffers=dict(m.net.named_buffers()))
    seen["random"] = random.getstate(), torch.get_rng_state()
    seen["grad mode"] = torch.is_grad_enabled()
    m.LOG.clear() if len(m.LOG) > 50 else None
    return seen


_FREE = re.compile(r"free(?= variable '\w+')| in enclosing scope$", re.MULTILINE)
_END_OF_STACK = re.compile("(maximum recursion depth exceeded).*")
"""How the end of the stack is worded: see below; and there, which NameError it is."""


def error_chain(error: BaseException | None) -> list[Any]:
    """An exception with its causes and contexts, as plain data.

    Two things differ between plain and captured runs, and may: how the end of the stack is worded, and whether a variable that
    nested functions share is called a local or a free one (in what follows a break it is a free one).
    """
    rows: list[Any] = []
    while error is not None and len(rows) < 6:
        kind = NameError if isinstance(error, UnboundLocalError) else type(error)
        text = "" if kind in (NameError, RecursionError) else str(error)
        rows.append((kind.__name__, text, error.__cause__ is not None, error.__suppress_context__))
        error = None if kind is RecursionError else error.__cause__ or error.__context__
    return rows


def _as_local(found: re.Match[str]) -> str:
    """What is printed of a local variable where the text is of a free one."""
    return "local" if found.group() == "free" else ""


class Comparison:
    """Whether two structures look the same, shared objects and shared memory included."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[bool, Any], Any] = {}
        self.kept: list[Any] = []

    def twins(self, plain: Any, captured: Any) -> bool:
        """Each thing has one counterpart, in both directions."""
        first, second = self.pairs.setdefault((True, plain), captured), self.pairs.setdefault((False, captured), plain)
        return bool(first == captured and second == plain)

    def difference(self, a: Any, b: Any, where: str = "") -> str | None:
        """What differs first, or None."""
        kind = type(a)
        if kind is not type(b) and (kind.__module__ != "fuzzed" or kind.__qualname__ != type(b).__qualname__):
            return f"{where}: {kind.__name__} {a!r} / {type(b).__name__} {b!r}"
        if a is None or kind in (bool, int, str, float):
            return None if a == b or a != a and b != b else f"{where}: {a!r} / {b!r}"
        if kind not in (tuple, type, types.BuiltinFunctionType, torch.Size, torch.dtype):
            known = (True, id(a)) in self.pairs
            if not self.twins(id(a), id(b)):
                return f"{where}: the same object in one run, different ones in the other"
            if known:
                return None
            self.kept += [a, b]
        if isinstance(a, torch.Tensor):
            return self.tensors(a, b, where)
        for name, one, other in parts(a, b):
            found = self.difference(one, other, f"{where}{name}")
            if found:
                return found
        return None

    def tensors(self, a: torch.Tensor, b: torch.Tensor, where: str) -> str | None:
        facts = [tensor_facts(t) for t in (a, b)]
        if facts[0] != facts[1]:
            return f"{where}: {facts[0]} / {facts[1]}"
        if type(facts[0]) is str:
            return None
        if a.numel() and not self.twins(*[("memory", t.untyped_storage().data_ptr()) for t in (a, b)]):
            return f"{where}: memory is shared in one run only"
        close = torch.equal(a, b) or torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
        return None if close else f"{where}: {a} / {b}"


def tensor_facts(t: torch.Tensor) -> Any:
    """What is the same in equal tensors; the error of a view that may not be used any more."""
    try:
        return t.dtype, t.shape, t.stride(), t.storage_offset(), t.requires_grad, t.is_leaf, t.grad_fn is None
    except RuntimeError as error:
        return str(error)


def parts(a: Any, b: Any) -> Any:
    """What two objects of one type consist of, in pairs; what has no parts is shown as text."""
    if isinstance(a, (list, tuple)):
        yield ".len", len(a), len(b)
        yield from ((f"[{i}]", one, other) for i, (one, other) in enumerate(zip(a, b)))
    elif isinstance(a, dict):
        yield ".keys", list(a), list(b)
        yield from ((f"[{key!r}]", one, b[other]) for (key, one), other in zip(a.items(), b))
    elif isinstance(a, (set, frozenset)):
        yield ".items", sorted(map(repr, a)), sorted(map(repr, b))
    elif isinstance(a, (types.FunctionType, type)):
        yield ".name", a.__qualname__, b.__qualname__
    elif not hasattr(a, "__dict__") and not hasattr(a, "__slots__"):
        yield ".text", repr(a), repr(b)
    if isinstance(getattr(a, "__dict__", None), dict) and not isinstance(a, types.FunctionType):
        yield ".dict", a.__dict__, b.__dict__
    for name in getattr(type(a), "__slots__", ()):
        yield "." + name, getattr(a, name, None), getattr(b, name, None)


@contextlib.contextmanager
def deadline(seconds: float) -> Any:
    """Raises ``TimeoutError`` in what runs longer, and behind it too, since a program may catch it."""
    fired = []

    def late(*_: Any) -> None:
        fired.append(True)
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if fired:
        raise TimeoutError


def calls_of(seed: int) -> tuple[bool | None, list[int]]:
    """The setting ``dynamic``, and the variants of the arguments that a program is called with."""
    choice = random.Random(seed)
    dynamic = choice.choice([None, None, None, True, False])
    return dynamic, [0, 0, *choice.sample(range(1, VARIANTS), choice.choice([1, 2, 3])), choice.choice([0, 1])]


def varies(source: str, seed: int) -> bool:
    """Whether plain runs differ among themselves, and so say nothing: a set of objects is in the order of their addresses."""
    elsewhere: list[Any] = []
    first = load(source)
    others = [load(source) for _ in range(8)]
    for variant in calls_of(seed)[1]:
        expected = run(first, first.f, variant)
        for number, other in enumerate(others):
            elsewhere += [torch.empty(1) for _ in range(number + 1)]
            if Comparison().difference(expected, run(other, other.f, variant)):
                return True
    return False


def check(source: str, seed: int = 0, collect: bool = False) -> str | None:
    """None, or what is different between the plain and the captured program."""
    alternator.reset()
    dynamic, variants = calls_of(seed)
    plain, captured = load(source), load(source)
    compiled = alternator.compile(captured.f, backend="eager", dynamic=dynamic)
    for variant in variants:
        try:
            with deadline(20):
                expected = run(plain, plain.f, variant)
        except TimeoutError:
            return None  # the program does not end
        got = run(captured, compiled, variant)
        if collect:
            gc.collect()
        found = Comparison().difference(expected, got, f"call with {variant}, dynamic={dynamic}")
        if found:
            return found
    bugs = utils.counters["internal_errors"]
    if bugs:
        text = str(dict(bugs))
        bugs.clear()
        return "internal error: " + text
    return None


def check_safely(source: str, seed: int = 0) -> str | None:
    """The same; an exception that leaves the captured run is a difference too.

    What suspended generators do when they are freed may come later in one run: the second look is at what is left then.
    """
    try:
        found = check(source, seed)
        if found is not None and "['log']" in found:
            found = check(source, seed, collect=True)
        return None if found is None or varies(source, seed) else found
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", type=int, help="show one program")
    parser.add_argument("--no-shrink", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # programs fail on purpose, and recompile often
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    first = options.seed if options.program is None else options.program
    failures, begun = 0, time.time()
    last = first + (options.count if options.program is None else 1)
    for seed in range(first, last):
        source = grammar.program(seed)
        found = check_safely(source, seed)
        if found:
            failures += 1
            small = source if options.no_shrink else shrink.shrink(source, lambda text: check_safely(text, seed), found)
            print(f"---- seed {seed}: {found[:400]}\n{small}", flush=True)
        elif options.program is not None:
            print(source)
    print(f"{last - first} programs, {failures} mismatches, {(last - first) / (time.time() - begun):.1f} a second")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
