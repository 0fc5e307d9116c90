"""Torch's symbols import Inductor where they ask for the place that made one: half a second that no capture needs."""

import subprocess
import sys

PROGRAM = """
import sys
import torch
import alternator

def fn(x, number):
    return x[: x.shape[0] // 2] * number

compiled = alternator.compile(fn, backend="eager")
for size in (4, 6, 8):
    assert torch.equal(compiled(torch.ones(size), size + 0.5), fn(torch.ones(size), size + 0.5))
print([name for name in sys.modules if name.startswith("torch._inductor.sizevars")])
"""


def test_sizes_that_vary_import_no_compiler():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
