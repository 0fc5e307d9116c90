"""Run a random program plainly and captured, and compare all that can be seen.

python tests/fuzz/check.py --count 2000 --seed 0        # from the command line: many programs, fast
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import sys
import types
from typing import Any

import torch

import alternator
from alternator import utils


def load(source: str) -> types.ModuleType:
    module = types.ModuleType("fuzzed")
    exec(compile(source, "<fuzzed>", "exec"), module.__dict__)
    return module


def arguments(module: Any, variant: int) -> tuple[Any, ...]:
    torch.manual_seed(variant)
    x, y = torch.randn(3), torch.randn(3)
    if variant % 2:
        x = -x.abs()
    box = (module.Twin if variant == 2 else module.Box)(variant + 1, "arg")
    return x, y, variant, box, [1, 2, variant], {"a": variant, 1: 3}


def run(module: Any, fn: Any, variant: int) -> dict[str, Any]:
    args = arguments(module, variant)
    out = io.StringIO()
    seen: dict[str, Any] = {"raised": None, "result": None}
    with contextlib.redirect_stdout(out):
        try:
            seen["result"] = fn(*args)
        except Exception as error:
            seen["raised"] = (type(error), str(error))
    box = args[3]
    seen.update(
        out=out.getvalue(),
        args=args[:3],
        box=dict(vars(box)),
        items=args[4],
        table=args[5],
        counter=module.COUNTER,
        log=list(module.LOG),
        grad=torch.is_grad_enabled(),
    )
    return seen


def difference(plain: Any, captured: Any, module: Any, where: str = "", depth: int = 0) -> str | None:
    """What differs first, or None."""
    if isinstance(plain, torch.Tensor) or isinstance(captured, torch.Tensor):
        if (
            type(plain) is not type(captured)
            or plain.shape != captured.shape
            or plain.dtype != captured.dtype
            or plain.requires_grad != captured.requires_grad
        ):
            return f"{where}: {plain!r} / {captured!r}"
        return None if torch.allclose(plain, captured, rtol=1e-4, atol=1e-5, equal_nan=True) else f"{where}: {plain} / {captured}"
    if type(plain).__name__ != type(captured).__name__:
        return f"{where}: {plain!r} / {captured!r}"
    if depth > 6:
        return None
    if isinstance(plain, (list, tuple)):
        if len(plain) != len(captured):
            return f"{where}: {plain!r} / {captured!r}"
        pairs = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(plain, captured))]
    elif isinstance(plain, dict):
        if list(plain) != list(captured):
            return f"{where}: keys {list(plain)} / {list(captured)}"
        pairs = [(f"{where}[{k!r}]", plain[k], captured[k]) for k in plain]
    elif type(plain).__name__ in ("Box", "Twin"):
        return difference(vars(plain), vars(captured), module, where, depth + 1)
    else:
        return None if plain == captured or plain != plain else f"{where}: {plain!r} / {captured!r}"
    for name, a, b in pairs:
        found = difference(a, b, module, name, depth + 1)
        if found:
            return found
    return None


def check(source: str) -> str | None:
    """None, or what is different between the plain and the captured program."""
    alternator.reset()
    plain, captured = load(source), load(source)
    compiled = alternator.compile(captured.f, backend="eager")
    for variant in (0, 0, 1, 2):
        expected = run(plain, plain.f, variant)
        got = run(captured, compiled, variant)
        found = difference(expected, got, plain, f"call with {variant}")
        if found:
            return found
    bugs = utils.counters["internal_errors"]
    if bugs:
        text = str(dict(bugs))
        bugs.clear()
        return "internal error: " + text
    return None


def main() -> int:
    from grammar import draw_program

    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=6)
    parser.add_argument("--no-breaks", action="store_true")
    options = parser.parse_args()
    failures = 0
    for seed in range(options.seed, options.seed + options.count):
        source = draw_program(random.Random(seed).choice, options.size, not options.no_breaks)
        try:
            found = check(source)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found:
            failures += 1
            print(f"seed {seed}: {found[:300]}", flush=True)
    print(f"{options.count} programs, {failures} mismatches")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
