"""Compile a real transformers model (GPT-2's architecture, random weights) with Inductor, and show what happened."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any, Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

import alternator  # noqa: E402


def milliseconds(fn: Callable[[], Any], repeat: int = 15) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeat // 2] * 1e3


def main() -> None:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=4, n_head=4, n_embd=128, vocab_size=1000, n_positions=128, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config).eval()
    tokens = torch.randint(1000, (2, 64))
    with torch.no_grad():
        demo_model(model, tokens)
        demo_break()


def demo_model(model: torch.nn.Module, tokens: torch.Tensor) -> None:
    count = sum(p.numel() for p in model.parameters())
    print(f"GPT-2 architecture, {count / 1e6:.1f} million random weights, 2 x 64 tokens, {torch.get_num_threads()} threads\n")
    expected = model(tokens, use_cache=False).logits

    alternator.compile(model, backend="eager")(tokens, use_cache=False)  # so that no import is timed
    alternator.reset()
    captured = alternator.compile(model, backend="eager")
    start = time.perf_counter()
    captured(tokens, use_cache=False)
    capture = time.perf_counter() - start
    alternator.reset()
    alternator.utils.counters.clear()

    compiled = alternator.compile(model)
    start = time.perf_counter()
    found = compiled(tokens, use_cache=False).logits
    first = time.perf_counter() - start
    error = (found - expected).abs().max().item()
    report = alternator.utils.counters
    rows = [
        ("results", f"equal within {error:.1e}" if torch.allclose(found, expected, atol=1e-4) else f"DIFFERENT by {error:.1e}"),
        ("capture", f"{capture * 1e3:.0f} ms (Python to graph, guards and code)"),
        ("first call", f"{first:.1f} s (capture, then Inductor's code generation and C++ compilation)"),
        ("graphs", f"{report['stats']['unique_graphs']}, breaks {sum(report['graph_break'].values())}"),
        ("eager", f"{milliseconds(lambda: model(tokens, use_cache=False)):.2f} ms a step"),
        ("compiled", f"{milliseconds(lambda: compiled(tokens, use_cache=False)):.2f} ms a step"),
    ]
    for name, text in rows:
        print(f"  {name:<12}{text}")
    assert torch.allclose(found, expected, atol=1e-4), "compiled results differ from eager ones"


def demo_break() -> None:
    """One deliberate graph break, and what Alternator says about it."""

    def step(x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(x)
        if y.sum() > 0:
            y = y * 2
        return y + 1

    def cured(x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(x)
        y = torch.where(y.sum() > 0, y * 2, y)
        return y + 1

    x = torch.randn(4)
    broken = alternator.explain(step)(x)
    print(f"\nA branch on the value of a tensor makes {broken.graph_count} graphs of one function:\n")
    for reason in broken.break_reasons:
        for line in str(reason).splitlines():
            print(f"  {line}")
    mended = alternator.explain(cured)(x)
    print(f"\nWith torch.where instead: {mended.graph_count} graph, {mended.graph_break_count} breaks.")
    assert torch.equal(step(x), cured(x))


if __name__ == "__main__":
    main()
