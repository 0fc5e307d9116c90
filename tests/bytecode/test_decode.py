"""Decoding agrees with the standard library's `dis`, on much of the standard library."""

from __future__ import annotations

import ast
import dis
import gc
import importlib
import inspect
import time
from types import CodeType
from typing import Any

import pytest

from alternator.bytecode import CodeCache, decode
from alternator.bytecode.decode import CACHE
from alternator.bytecode.versions import BINARY_OPS, COMPARE_OPS, SUPPORTED, binary_operator, facts_of, opcodes

MODULES = """argparse ast asyncio.base_events asyncio.tasks bisect calendar cgi codecs collections contextlib copy csv
dataclasses datetime decimal difflib doctest email.message enum fractions ftplib functools gettext heapq html.parser
http.client imaplib inspect ipaddress json.decoder logging lzma mailbox multiprocessing.pool optparse os pathlib pdb
pickle pickletools platform plistlib pprint pydoc random re._parser shutil smtplib socket ssl statistics string
subprocess tarfile tempfile textwrap threading tokenize traceback typing unittest.case unittest.mock urllib.parse
uuid warnings weakref xml.dom.minidom zipfile""".split()


def codes_of(code: CodeType) -> list[CodeType]:
    found = [code]
    for const in code.co_consts:
        if isinstance(const, CodeType):
            found += codes_of(const)
    return found


def module_codes(name: str) -> list[CodeType]:
    try:
        file = inspect.getsourcefile(importlib.import_module(name))
    except ImportError:
        return []
    with open(str(file)) as source:
        return codes_of(compile(ast.parse(source.read()), str(file), "exec"))


@pytest.mark.parametrize("name", MODULES)
def test_like_dis(name: str) -> None:
    for code in module_codes(name):
        decoded = decode(code)
        expected = [i for i in dis.get_instructions(code) if i.opname != "EXTENDED_ARG"]
        index_at = {}
        extended = False
        for instr in dis.get_instructions(code):
            start = instr.offset if not extended else index_at.pop("start")
            extended = instr.opname == "EXTENDED_ARG"
            if extended:
                index_at["start"] = start
        assert [i.offset for i in decoded.instrs] == [i.offset for i in expected]
        assert [(i.opcode, i.opname, i.arg) for i in decoded.instrs] == [(i.opcode, i.opname, i.arg) for i in expected]
        line = None
        for mine, theirs in zip(decoded.instrs, expected, strict=True):
            line = theirs.positions.lineno if theirs.positions else line
            assert mine.lineno == line
            assert decoded.positions(mine.index) == tuple(theirs.positions)
            check_argument(decoded, mine, theirs)


def check_argument(decoded: Any, mine: Any, theirs: Any) -> None:
    if mine.target is not None:
        target = decoded.instrs[mine.target].offset
        assert target >= theirs.argval
        between = [op for op in range(theirs.argval, target, 2)]
        raw = decoded.code.co_code
        assert all(raw[op] == dis.EXTENDED_ARG for op in between)
    elif mine.opname == "BINARY_OP":
        assert mine.argval == theirs.argrepr
    elif mine.opname == "LOAD_GLOBAL":
        assert mine.argval == theirs.argval
        assert mine.flag == theirs.argrepr.startswith("NULL + ")
    elif mine.opname == "KW_NAMES":
        assert mine.argval == decoded.code.co_consts[mine.arg]
        assert next(i for i in decoded.instrs[mine.index :] if i.opname == "CALL").kwnames == mine.argval
    elif theirs.arg is not None and mine.opname not in ("MAKE_FUNCTION", "FORMAT_VALUE"):
        assert mine.argval is theirs.argval or mine.argval == theirs.argval


@pytest.mark.parametrize("name", MODULES)
def test_exception_table(name: str) -> None:
    for code in module_codes(name):
        decoded = decode(code)
        table = dis._parse_exception_table(code)  # type: ignore[attr-defined]
        for instr in decoded.instrs:
            covering = [e for e in table if e.start <= instr.offset < e.end]
            entry = decoded.exception_entry(instr.index)
            if not covering:
                assert entry is None
                continue
            (expected,) = covering
            assert entry is not None
            assert (entry.depth, entry.push_lasti) == (expected.depth, expected.lasti)
            assert decoded.instrs[entry.handler].offset == expected.target


def test_local_tables() -> None:
    def outer(a: Any, b: Any, c: Any) -> Any:
        d = a

        def inner() -> Any:
            return a, d, outer

        return inner, b, c

    decoded = decode(outer.__code__)
    assert decoded.localsplus_names == ("a", "b", "c", "inner", "d", "outer")
    assert decoded.localsplus_kinds == ("cell", "local", "local", "local", "cell", "free")
    assert decoded.instrs[decoded.body_start].opname == "RESUME"


def test_extended_arguments_and_far_jumps() -> None:
    lines = ["def f(x):", " while x:"] + [f"  v{i} = x; x = v{i} - {i + 1000}" for i in range(400)] + [" return x"]
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)
    decoded = decode(space["f"].__code__)
    expected = [i for i in dis.get_instructions(space["f"]) if i.opname != "EXTENDED_ARG"]
    assert [(i.opname, i.arg) for i in decoded.instrs] == [(i.opname, i.arg) for i in expected]
    assert any(i.target is not None and i.arg is not None and i.arg > 255 for i in decoded.instrs)


def test_cache_follows_the_code_object() -> None:
    code = compile("x = 1", "here", "exec")
    twin = compile("x = 1", "there", "exec")
    assert decode(code) is decode(code)
    assert decode(code) is not decode(twin)
    gc.collect()
    before = len(CACHE)
    del code
    assert len(CACHE) == before - 1
    cache: CodeCache[int] = CodeCache()
    cache.put(twin, 1)
    cache.clear()
    assert cache.get(twin) is None


def test_unknown_version_fails_loudly() -> None:
    with pytest.raises(RuntimeError, match=r"add a row to alternator/bytecode/versions\.py"):
        facts_of((3, 99))
    assert (3, 11) in SUPPORTED


def test_operator_tables() -> None:
    assert {symbol for symbol, _ in BINARY_OPS} >= {"+", "-", "@", "**=", "//="}
    assert all(binary_operator(symbol) is function for symbol, function in BINARY_OPS)
    assert binary_operator("%")(7, 4) == 3
    assert COMPARE_OPS["<="](1, 1)
    assert {"LOAD_FAST", "CALL", "EXTENDED_ARG"} <= opcodes()


def test_decoding_is_fast() -> None:
    import argparse

    code = argparse.ArgumentParser._parse_known_args.__code__
    best = float("inf")
    for _ in range(20):
        CACHE.clear()
        start = time.perf_counter()
        count = len(decode(code).instrs)
        best = min(best, (time.perf_counter() - start) / count)
    assert best < 2.5e-6 * 3  # 0.5 ms for 200 instructions, with room for a busy machine
