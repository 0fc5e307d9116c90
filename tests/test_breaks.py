"""The table of breaks: complete, used, and in step with its page."""

import pathlib
import re

import pytest

import alternator
from alternator import breaks
from alternator.tools.catalogue import page

ROOT = pathlib.Path(alternator.__file__).parent


def test_the_page_is_the_table():
    assert (ROOT.parent / "docs" / "breaks.md").read_text() == page(), (
        "run: python -m alternator.tools.catalogue > docs/breaks.md"
    )


def test_codes_that_are_raised_exist():
    raised = set()
    for path in ROOT.rglob("*.py"):
        raised |= set(re.findall(r"""\bBreak\(\s*"([A-Z_]+)\"""", path.read_text()))
    assert raised
    for code in sorted(raised):
        breaks.lookup(code)


def test_an_unknown_code_is_refused():
    with pytest.raises(KeyError):
        breaks.lookup("NO_SUCH_CODE")


def test_every_row_says_why_and_what_to_do():
    for code in breaks.BREAKS:
        kind = breaks.lookup(code)
        assert kind.title and kind.reason.endswith(".") and kind.cure, code
