"""A short run of the fuzzer, and the programs that it found once."""

from __future__ import annotations

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import programs  # noqa: E402

SEEDS = int(os.environ.get("ALTERNATOR_FUZZ", "60"))


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_programs(first: int) -> None:
    for seed in range(first, min(first + 20, SEEDS)):
        try:
            programs.run(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}\n{programs.Writer(seed).program()}") from error
