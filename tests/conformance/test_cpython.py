"""A sample of CPython's own tests under capture; ``run_cpython.py`` runs them all."""

import pytest
from conformance.run_cpython import available, run_file

SAMPLE = ["test_bool", "test_augassign", "test_dictcomps"]


@pytest.mark.parametrize("name", SAMPLE)
def test_what_passes_plainly_passes_captured(name, tmp_path):
    if not available([name]):
        pytest.skip("this Python was installed without its tests")
    rows = run_file(name, str(tmp_path))
    passed = [row for row in rows if row.plain == "passed"]
    assert passed and sum(row.captured_frames for row in passed)
    assert not [f"{row.name}: {row.captured}: {row.error}" for row in passed if row.captured != "passed"]
