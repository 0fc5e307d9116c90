"""explain and the reports behind it."""

from __future__ import annotations

import binascii
import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import Recorder

import alternator
from alternator import exc, utils


def two_breaks(x: torch.Tensor) -> torch.Tensor:
    x = x.sin() + 1
    alternator.graph_break("first")
    x = x * 2
    alternator.graph_break("second")
    return x.cos()


def test_explain() -> None:
    explained = alternator.explain(two_breaks)(torch.ones(2))
    assert (explained.graph_count, explained.graph_break_count, explained.op_count) == (3, 2, 4)
    assert [len(ops) for ops in explained.ops_per_graph] == [2, 1, 1]
    assert all(isinstance(gm, torch.fx.GraphModule) for gm in explained.graphs)
    first, second = explained.break_reasons
    assert "first" in first.reason and "second" in second.reason
    assert first.user_stack[-1].name == "two_breaks" and "graph_break" in first.user_stack[-1].line
    assert explained.out_guards
    text = str(explained)
    for part in ("Graph Count: 3", "Graph Break Count: 2", "Op Count: 4", "first", "cure:", "test_explain.py", "sin", "Times:"):
        assert part in text, text


def test_explain_without_breaks() -> None:
    explained = alternator.explain(torch.nn.Linear(2, 2))(torch.ones(1, 2))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    assert explained.break_reasons == []


def test_explain_takes_compiled_functions_and_the_older_form() -> None:
    recorder = Recorder()
    explained = alternator.explain(alternator.compile(two_breaks, backend=recorder), torch.ones(2))
    assert explained.graph_count == 3 and recorder.frame_count == 0


def test_explain_leaves_nothing_behind() -> None:
    alternator.explain(two_breaks)(torch.ones(2))
    recorder = Recorder()
    alternator.compile(two_breaks, backend=recorder)(torch.ones(2))
    assert recorder.frame_count == 3


def test_the_same_break_is_listed_once() -> None:
    def inner(x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        alternator.graph_break()
        return x

    def f(x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = alternator.disable(lambda: None)() or inner(x)
        return x

    text = str(alternator.explain(f)(torch.ones(2)))
    assert text.count("Break ") <= 4


def test_functions_that_run_plainly_say_why() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        alternator.skip_frame()
        return x

    explained = alternator.explain(f)(torch.ones(2))
    (report,) = explained.skipped
    assert report.code is f.__code__ and "skip_frame" in report.reason
    assert "Runs plainly: test_functions" in str(explained)


def test_verbose() -> None:
    program = (
        "import torch, alternator\n"
        "def f(x, n):\n    x = x + len(n)\n    alternator.graph_break()\n    return x * 2\n"
        "c = alternator.compile(f, backend='eager'); c(torch.ones(2), 'a'); c(torch.ones(2), 'ab')"
    )
    environment = {**os.environ, "ALTERNATOR_VERBOSE": "1"}
    shown = subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True).stderr
    assert "graph break at" in shown and "cure:" in shown and "compiling f" in shown and "expected 'a', found 'ab'" in shown


def test_listeners() -> None:
    breaks, entries = [], []
    with utils.listening_to_breaks(breaks.append), utils.listening_to_entries(entries.append):
        alternator.compile(two_breaks, backend="eager")(torch.ones(2))
    alternator.reset()
    alternator.compile(two_breaks, backend="eager")(torch.ones(2))
    assert len(breaks) == 2 and len(entries) == 3
    assert utils.graph_break_reasons[-1].code == "GRAPH_BREAK_CALL"
    assert "cure:" in str(breaks[0])


def test_the_report_as_data() -> None:
    data = json.loads(json.dumps(alternator.explain(two_breaks)(torch.ones(2)).as_dict()))
    assert [graph["operations"] for graph in data["graphs"]] == [["sin", "add"], ["mul"], ["cos"]]
    assert "sin" in data["graphs"][0]["code"] and data["graphs"][0]["inputs"]
    first = data["breaks"][0]
    assert (first["code"], first["count"]) == ("GRAPH_BREAK_CALL", 1) and "first" in first["reason"] and first["cure"]
    assert first["stack"][-1]["function"] == "two_breaks" and "graph_break" in first["stack"][-1]["text"]
    assert data["guards"] and data["times"]["frame"] and data["plain"] == []


def test_one_line_for_each_break_and_each_recompile(capsys) -> None:
    def inner(x: torch.Tensor, n: int) -> torch.Tensor:
        x = x + n
        alternator.graph_break("just because")
        return x * 2

    def outer(x: torch.Tensor, n: int) -> torch.Tensor:
        return inner(x, n) + 1

    compiled = alternator.compile(outer, backend="eager", dynamic=False)
    with alternator.config.patch(log_breaks=True, log_recompiles=True):
        compiled(torch.ones(2), 1)
        first = capsys.readouterr().err.splitlines()
        compiled(torch.ones(2), 2)
        second = capsys.readouterr().err.splitlines()
    compiled(torch.ones(2), 3)
    assert capsys.readouterr().err == ""
    assert len(first) == 1 and first[0].startswith("[alternator] graph break at test_explain.py:")
    for part in ("in inner", "called from test_explain.py", "in outer", "just because", "[GRAPH_BREAK_CALL]", "cure: "):
        assert part in first[0], first
    assert any(line.startswith("[alternator] recompile ") and "expected 1" in line and "outer" in line for line in second), second


def test_lines_by_environment_variables() -> None:
    program = """
import torch, alternator
@alternator.compile(backend="eager")
def f(x):
    y = x + 1
    alternator.graph_break()
    return y * 2
f(torch.ones(2))
"""
    env = {**os.environ, "ALTERNATOR_LOG_BREAKS": "1"}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert ran.stderr.count("[alternator] graph break") == 1, ran.stderr


def test_a_c_function_that_cannot_be_captured_says_so() -> None:
    report = alternator.explain(binascii.crc32)(b"abc")
    assert [reason.code for reason in report.break_reasons] == ["UNKNOWN_C_FUNCTION"]
    assert "crc32" in report.break_reasons[0].reason and report.break_reasons[0].cure
    compiled = alternator.compile(binascii.crc32, backend="eager")
    for data in (b"abc", b"abc", b"d"):
        assert compiled(data) == binascii.crc32(data)
    with pytest.raises(exc.Unsupported):
        alternator.compile(binascii.crc32, backend="eager", fullgraph=True)(b"abc")
    assert alternator.explain(len)([1, 2]).break_reasons == []
