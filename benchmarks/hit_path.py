"""What a hit costs: instructions per call (they repeat where times do not), times, many entries, and a miss.

    python benchmarks/hit_path.py                   # times
    python benchmarks/hit_path.py --instructions    # under valgrind --tool=callgrind; some minutes

The backend's function returns what it returned first, so only the way there is counted.  ``above``: without what a call
of that function with the same arguments costs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import glob
import os
import re
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Iterator

import torch

import alternator


class Replay:
    """A backend that runs each graph once; afterwards only the way to it and back costs anything."""

    def __init__(self) -> None:
        self.graphs = 0
        self.functions: list[tuple[Callable[..., Any], list[Any]]] = []

    def __call__(self, gm: Any, inputs: list[Any]) -> Callable[..., Any]:
        self.graphs += 1
        known: list[Any] = []

        def replay(*args: Any) -> Any:
            if not known:
                known.append(gm.forward(*args))
            return known[0]

        self.functions.append((replay, inputs))
        return replay


def linears(count: int) -> torch.nn.Module:
    return torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(count)]).eval()


def llama(layers: int) -> tuple[torch.nn.Module, dict[str, Any]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=layers,
        vocab_size=100,
    )
    return LlamaForCausalLM(config).eval(), {"input_ids": torch.randint(0, 100, (2, 16))}


def cases() -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """(name, one call, the same call of the backend's function alone)."""

    def case(name: str, fn: Any, *args: Any, **kwargs: Any) -> Any:
        alternator.reset()
        backend = Replay()
        compiled = alternator.compile(fn, backend=backend)
        for _ in range(6):
            compiled(*args, **kwargs)
        assert backend.graphs == 1, name
        replay, inputs = backend.functions[0]
        given = [torch.ones(1) for _ in inputs]
        return name, lambda: compiled(*args, **kwargs), lambda: replay(*given)

    x = torch.randn(2, 4)
    yield case("add", lambda a, b: a + b, x, x)
    for count in (10, 100, 200):
        yield case(f"Sequential of {count} Linear", linears(count), x)
    with contextlib.suppress(ImportError):
        model, kwargs = llama(16)
        yield case("Llama, 16 layers", model, **kwargs)


def entries() -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """(what tells the entries apart, how many there are, a call of each)."""
    x = torch.randn(2, 4)
    thing = type("Thing", (), {})()

    def by_attribute(a: torch.Tensor, i: int) -> torch.Tensor:
        return a + thing.mode

    def call_attribute(compiled: Any, i: int) -> None:
        thing.mode = i
        compiled(x, 0)

    shapes = [torch.randn(i + 1, 4) for i in range(64)]
    kinds: dict[str, tuple[Any, Callable[[Any, int], Any]]] = {
        "an int": (lambda a, i: a + i, lambda compiled, i: compiled(x, i)),
        "a str": (lambda a, i: a + len(i), lambda compiled, i: compiled(x, NAMES[i])),
        "a shape": (lambda a, i: a * 2, lambda compiled, i: compiled(shapes[i], 0)),
        "an attribute": (by_attribute, call_attribute),
    }
    for name, (fn, call) in kinds.items():
        for count in (1, 8, 64):
            alternator.reset()
            compiled = alternator.compile(fn, backend=Replay(), dynamic=False, recompile_limit=1000)
            everyone = functools.partial(_each, functools.partial(call, compiled), count)
            for _ in range(6):
                everyone()
            yield name, count, everyone


def _each(call: Callable[[int], Any], count: int) -> None:
    for i in range(count):
        call(i)


NAMES = [f"mode {i}" for i in range(64)]


def microseconds(call: Callable[[], Any], rounds: int = 2000) -> float:
    spent = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        call()
        spent.append(time.perf_counter_ns() - begin)
    return sorted(spent)[rounds // 2] / 1000


def control(*words: str) -> None:
    subprocess.run(
        ["callgrind_control", *words, str(os.getpid())], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def counted(call: Callable[[], Any], rounds: int) -> int:
    """Instructions are counted in here alone: everything else is far faster without."""
    control("-i", "on")
    control("-z")
    for _ in range(rounds):
        call()
    before = set(glob.glob("callgrind.out.*"))
    control("-d")
    control("-i", "off")
    (made,) = set(glob.glob("callgrind.out.*")) - before
    with open(made) as file:
        found = re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M)
    assert found
    return int(found[1])


def instructions(call: Callable[[], Any]) -> float:
    """Instructions of one call; this process runs under callgrind.  The difference leaves out what counting costs."""
    call()
    return (counted(call, 220) - counted(call, 20)) / 200


def misses() -> Iterator[tuple[int, float, float]]:
    """(entries, microseconds of a call that none of them fits by its shape: until that is known, until its capture starts).

    The capture starts with the first line of ``capture_frame``: everything before it is in.  Here that line says that the call is
    to run plainly, so that the path there is walked many times, by the same call as a hit.
    """
    from alternator import capture
    from alternator.runtime.convert import Callback

    decided, begun = [0], [0]
    decide, begin = Callback.__call__, capture.capture_frame

    def deciding(self: Any, *args: Any) -> Any:
        decided[0] = time.perf_counter_ns()
        return decide(self, *args)

    def beginning(*args: Any) -> None:
        begun[0] = time.perf_counter_ns()

    shapes = [torch.ones(size) for size in range(1, 66)]
    for count in (1, 8, 64):
        alternator.reset()
        compiled = alternator.compile(lambda a: a + 1, backend=Replay(), dynamic=False, recompile_limit=1000)
        for shape in shapes[:count] * 4:
            compiled(shape)
        spent: tuple[list[int], list[int]] = [], []
        for place, seen, target, instead in (
            (spent[0], decided, (Callback, "__call__"), deciding),
            (spent[1], begun, (capture, "capture_frame"), beginning),
        ):
            original = getattr(*target)
            capture.capture_frame = beginning
            setattr(*target, instead)
            try:
                for _ in range(2000):
                    started = time.perf_counter_ns()
                    compiled(shapes[64])
                    place.append(seen[0] - started)
            finally:
                setattr(*target, original)
                capture.capture_frame = begin
        yield count, _median(spent[0]), _median(spent[1])


def first_misses() -> tuple[float, float]:
    """The same of calls that are captured, each behind the capture of another, which leaves nothing of this in the caches."""
    from alternator import capture
    from alternator.runtime.convert import Callback

    compiled = alternator.compile(lambda a: a + 1, backend=Replay(), dynamic=False, recompile_limit=10000)
    decided: list[int] = []
    begun: list[int] = []
    decide, begin = Callback.__call__, capture.capture_frame

    def deciding(self: Any, *args: Any) -> Any:
        decided.append(time.perf_counter_ns() - started)
        return decide(self, *args)

    def beginning(*args: Any) -> Any:
        begun.append(time.perf_counter_ns() - started)
        return begin(*args)

    Callback.__call__, capture.capture_frame = deciding, beginning  # type: ignore[method-assign]
    try:
        for size in range(1, 60):
            x = torch.ones(size)
            started = time.perf_counter_ns()
            compiled(x)
    finally:
        Callback.__call__, capture.capture_frame = decide, begin  # type: ignore[method-assign]
    return _median(decided), _median(begun)


def _median(nanoseconds: list[int]) -> float:
    return sorted(nanoseconds)[len(nanoseconds) // 2] / 1000


def report(measure: Callable[[Callable[[], Any]], float], unit: str) -> None:
    nothing = measure(lambda: None)
    print(f"{'call':32} {unit:>14} {'above':>10}")
    totals = {}
    for name, call, direct in cases():
        totals[name] = measure(call) - nothing
        print(f"{name:32} {totals[name]:14.2f} {totals[name] - (measure(direct) - nothing):10.2f}", flush=True)
    slope = (totals["Sequential of 200 Linear"] - totals["Sequential of 10 Linear"]) / 190
    print(f"{'each further Linear':32} {slope:14.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.manual_seed(0)
    with torch.no_grad():
        if options.inside:
            gc.disable()
            report(instructions, "instructions")
        elif options.instructions:
            with tempfile.TemporaryDirectory() as folder:
                command = [
                    "valgrind",
                    "--tool=callgrind",
                    "--instr-atstart=no",
                    sys.executable,
                    os.path.abspath(__file__),
                    "--inside",
                ]
                sys.exit(subprocess.run(command, cwd=folder, stderr=subprocess.DEVNULL).returncode)
        else:
            report(microseconds, "microseconds")
            print(f"\n{'entries that differ by':32} {'entries':>14} {'us a call':>10}")
            for name, count, call in entries():
                print(f"{name:32} {count:14} {microseconds(call, 300) / count:10.2f}", flush=True)
            print(f"\n{'a new shape':20} {'entries':>14} {'no entry fits':>16} {'capture starts':>16}")
            for count, decided, begun in misses():
                print(f"{'':20} {count:14} {decided:16.2f} {begun:16.2f}", flush=True)
            decided, begun = first_misses()
            print(f"{'behind a capture':20} {'1 to 59':>14} {decided:16.2f} {begun:16.2f}")


if __name__ == "__main__":
    main()
