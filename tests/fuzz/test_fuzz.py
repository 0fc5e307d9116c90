"""Random programs, plainly and captured.  ``python tests/fuzz/check.py --count 20000`` runs many more."""

import os
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, os.path.dirname(__file__))

import check
from grammar import draw_program


@pytest.mark.parametrize("breaks", [False, True])
def test_random_programs(breaks):
    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(st.randoms(use_true_random=False), st.sampled_from([3, 6, 10]))
    def programs(random, size):
        source = draw_program(random.choice, size, breaks)
        found = check.check(source)
        assert not found, f"{found}\n{source}"

    programs()


def test_the_oracle_sees_lost_effects(monkeypatch):
    """The check would notice: without the replay of effects it finds differences."""
    import random

    from alternator import capture

    monkeypatch.setattr(capture, "replay", lambda *args: None)
    sources = [draw_program(random.Random(seed).choice, 6, False) for seed in range(15)]
    assert any(check.check(source) for source in sources)
