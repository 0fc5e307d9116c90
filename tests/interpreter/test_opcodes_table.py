"""Every opcode of this CPython version is handled, or is named here with the reason why it is not."""

from __future__ import annotations

import dis

import pytest

import alternator.interpreter.opcodes  # noqa: F401  (registers the handlers)
from alternator.bytecode.versions import opcodes
from alternator.interpreter.opcode_table import HANDLERS

UNHANDLED = {
    "PRINT_EXPR": "only compiled for the interactive prompt",
    "IMPORT_STAR": "only legal at module level",
    "SETUP_ANNOTATIONS": "only compiled in module and class bodies; a class body in a function with annotations has it handled",
}
"""Opcodes that cannot stand in a function that is captured: an OPCODE break if they ever do."""


def test_every_opcode_is_handled_or_named() -> None:
    assert {name for name in opcodes() if name not in HANDLERS} - {"IMPORT_STAR", "PRINT_EXPR"} == set()


def test_no_handler_for_an_opcode_that_does_not_exist() -> None:
    assert set(HANDLERS) <= set(dis.opmap)


@pytest.mark.parametrize("name", ["IMPORT_STAR", "PRINT_EXPR"])
def test_the_unhandled_are_really_unhandled(name: str) -> None:
    assert name not in HANDLERS
