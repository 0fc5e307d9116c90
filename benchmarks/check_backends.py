"""Whether models give the results of eager mode under a backend: outputs, gradients, mutated inputs, module state.

    python benchmarks/check_backends.py --bench ../shared/bench --backend aot_eager [NAME ...]

Each model of the zoo runs in a forked child, on batches 2, 2, 3, 4 (2, 2 where no other batch is possible).  One line per model.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from typing import Any

TOLERANCE = {"eager": 1e-5, "aot_eager": 1e-5, "inductor": 2e-4}


def check(name: str, backend: str, emit: Any, batches: int) -> None:
    """Run one model plainly and compiled."""
    import bench
    import torch
    import zoo

    import alternator

    if backend == "inductor":
        from torch._inductor import config

        config.fallback_random = True  # the random numbers of eager mode
        config.compile_threads = 1
    entry = zoo.REG[name]
    tries = (bench.BATCHES[:2] if entry.same_batch else bench.BATCHES)[:batches]
    with torch.enable_grad() if entry.train or entry.grad else torch.no_grad():
        bench.seed_all()
        model = entry.make()
        eager = [bench.call(entry, model, model, *entry.inputs(model, size, seed)) for size, seed in tries]
        emit(eager_ok=True)
        bench.seed_all()
        model = entry.make()
        alternator.utils.counters.clear()
        compiled = alternator.compile(model, backend=backend)
        rows = []
        for (size, seed), expected in zip(tries, eager):
            started = time.perf_counter()
            got = bench.call(entry, compiled, model, *entry.inputs(model, size, seed))
            _, rel, note = bench.compare(expected, got)
            rows.append({"batch": size, "rel": rel, "note": note, "s": round(time.perf_counter() - started, 2)})
            emit(rows=rows)
        graphs = alternator.utils.counters["stats"]["unique_graphs"]
        breaks = dict(alternator.utils.counters["graph_break"])
    ok = all(row["note"] is None and row["rel"] <= TOLERANCE.get(backend, 1e-5) for row in rows)
    emit(ok=ok, graphs=graphs, breaks=[text.split("\n")[0][:160] for text in breaks])


def child(name: str, backend: str, fd: int, noisy: bool, batches: int) -> None:
    """In the forked process: results go to ``fd`` as JSON lines."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2 if noisy else null, 1)
    if not noisy:
        os.dup2(null, 2)

    def emit(**values: Any) -> None:
        os.write(fd, (json.dumps(values, default=str) + "\n").encode())

    try:
        check(name, backend, emit, batches)
    except BaseException as error:
        if noisy:
            traceback.print_exc()
        at = [f"{row.filename.split('/')[-1]}:{row.lineno}" for row in traceback.extract_tb(error.__traceback__)[-3:]]
        emit(error=f"{type(error).__name__}: {error}"[:600], at=at)


def run(name: str, backend: str, timeout: float, noisy: bool, batches: int) -> dict[str, Any]:
    """What a forked child found out about one model."""
    read, write = os.pipe()
    started = time.time()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            child(name, backend, write, noisy, batches)
        finally:
            os._exit(0)
    os.close(write)
    found: dict[str, Any] = {"name": name, "backend": backend}
    data = b""
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, started + timeout - time.time()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            found["timeout"] = timeout
            break
        piece = os.read(read, 1 << 16)
        if not piece:
            break
        data += piece
    os.close(read)
    status = os.waitpid(pid, 0)[1]
    for line in data.decode(errors="replace").splitlines():
        found.update(json.loads(line))
    if status and "timeout" not in found:
        found["crash"] = status
    found["total_s"] = round(time.time() - started, 1)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--bench", default="../shared/bench", help="directory of zoo.py and bench.py")
    parser.add_argument("--backend", default="aot_eager")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--batches", type=int, default=4, help="how many of the batches 2, 2, 3, 4")
    parser.add_argument("--out", help="append a JSON line per model")
    parser.add_argument("--noisy", action="store_true", help="show what the models and tracebacks print")
    args = parser.parse_args()
    sys.path.insert(0, os.path.abspath(args.bench))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    import torch._functorch.aot_autograd
    import torch._inductor.compile_fx
    import transformers.generation
    import transformers.masking_utils
    import transformers.modeling_utils
    import zoo

    import alternator

    alternator.compile(lambda x: x + 1, backend="aot_eager")(torch.ones(2))
    alternator.reset()
    names = args.names or zoo.names()
    good = 0
    for i, name in enumerate(names):
        found = run(name, args.backend, args.timeout, args.noisy, args.batches)
        good += bool(found.get("ok"))
        if args.out:
            with open(args.out, "a") as file:
                file.write(json.dumps(found) + "\n")
        why = (found.get("breaks") or "") if found.get("ok") else found.get("error") or found.get("rows") or found
        verdict = "ok" if found.get("ok") else "FAILED"
        print(f"[{i + 1}/{len(names)}] {name} {verdict} {found['total_s']}s graphs={found.get('graphs')} {why}", flush=True)
    print(f"{good} of {len(names)} right under {args.backend}")


if __name__ == "__main__":
    main()
