"""Where nodes come from is said as tracebacks say it."""

from __future__ import annotations

import inspect
import linecache
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

import alternator
from alternator.provenance.lines import source_line

PROGRAM = "def f(x):\n    # \N{GREEK SMALL LETTER ALPHA}\n    y = x + 1  # \N{GREEK SMALL LETTER BETA}\n    return y * 2\n"


def traces_of(fn: Any) -> list[str]:
    found: list[str] = []

    def backend(module: Any, inputs: Any) -> Any:
        found.extend(node.meta["stack_trace"] for node in module.graph.nodes if node.op == "call_function")
        return module.forward

    alternator.compile(fn, backend=backend)(torch.ones(2))
    return found


def as_tracebacks_say(code: Any, line: int) -> str:
    return "".join(traceback.format_list([traceback.FrameSummary(code.co_filename, line, code.co_name)]))


@pytest.mark.parametrize(
    "data",
    [
        PROGRAM.encode(),
        b"\xef\xbb\xbf" + PROGRAM.encode(),
        ("# coding: iso-8859-7\n" + PROGRAM).encode("iso-8859-7"),
        PROGRAM.replace("\n", "\r\n").encode(),
        PROGRAM.rstrip("\n").encode(),
        PROGRAM.encode().replace(b"# ", b"#\x0c "),
    ],
    ids=["utf-8", "with a mark", "another encoding", "lines end otherwise", "no end", "form feeds"],
)
def test_nodes_have_the_lines_of_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "program.py"
    path.write_bytes(data)
    space: dict[str, Any] = {}
    exec(compile(data, str(path), "exec"), space)
    fn = space["f"]
    first = fn.__code__.co_firstlineno
    assert traces_of(fn) == [as_tracebacks_say(fn.__code__, first + 2), as_tracebacks_say(fn.__code__, first + 3)]


def test_texts_that_are_no_files_are_found() -> None:
    linecache.cache["<a cell>"] = (len(PROGRAM), None, PROGRAM.splitlines(keepends=True), "<a cell>")
    space: dict[str, Any] = {}
    exec(compile(PROGRAM, "<a cell>", "exec"), space)
    assert [text.splitlines()[1] for text in traces_of(space["f"])] == [
        "    y = x + 1  # \N{GREEK SMALL LETTER BETA}",
        "    return y * 2",
    ]
    exec(compile(PROGRAM, "<nowhere>", "exec"), space)
    assert traces_of(space["f"]) == ['  File "<nowhere>", line 3, in f\n', '  File "<nowhere>", line 4, in f\n']


def test_every_line_of_a_file() -> None:
    path = inspect.getfile(torch.nn.Module)
    lines = Path(path).read_text().splitlines()
    assert [source_line(path, i) for i in range(1, len(lines) + 1)] == [line.strip() for line in lines]
    assert source_line(path, 0) == source_line(path, 10**6) == ""
