"""CPython's own test suite under capture: no test that passes plainly may fail captured.

    python tests/conformance/run_cpython.py                     # all files, a table and the list of failures
    python tests/conformance/run_cpython.py --files test_list,test_dict --out /tmp/cpython

Each test method runs four times on test cases of its own: twice plainly (some do not pass a second time in one process;
they count as failing plainly), captured, and captured again (which uses what the first captured run has compiled).  The backend costs nothing, and frames without tensor work are compiled as well, so
that what the capture made is what runs.  Each file runs in a child process; a test that crashes it, or that does not
end in time, is a failed test, and the child goes on behind it.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import gc
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
from typing import Any, Callable, Iterator, Sequence

try:
    from test.libregrtest.utils import clear_caches  # of re, typing, warnings: as CPython's own runner does between runs
except ImportError:  # this Python was installed without its tests

    def clear_caches() -> None:
        pass


FILES = """
test_list test_dict test_set test_tuple test_bool test_int test_float test_complex test_range test_slice test_unicode test_bytes
test_deque test_ordered_dict test_defaultdict test_userdict test_userlist test_userstring test_collections test_heapq test_bisect
test_generators test_generator_stop test_pep380 test_coroutines test_contextlib test_with test_exceptions test_raise
test_exception_group test_except_star test_exception_variations test_exception_hierarchy test_dataclasses test_functools
test_itertools test_operator test_enum test_descr test_descrtut test_property test_metaclass test_subclassinit test_super
test_class test_isinstance test_abc test_call test_extcall test_keywordonlyarg test_positional_only_arg test_funcattrs
test_decorators test_scope test_named_expressions test_grammar test_unpack test_unpack_ex test_patma test_augassign test_binop
test_compare test_richcmp test_contains test_index test_iter test_iterlen test_enumerate test_dictviews test_dictcomps
test_listcomps test_setcomps test_genexps test_builtin test_types test_typing test_genericalias test_copy test_weakref test_weakset
test_string test_string_literals test_format test_fstring test_strtod test_math test_cmath test_random test_statistics
test_fractions test_numeric_tower test_abstract_numbers test_re test_json test_inspect test_reprlib test_pprint test_textwrap
test_calendar test_colorsys test_graphlib test_keyword test_hash test_long test_pow test_baseexception test_global test_opcodes
test_unary test_print test_pickle test_copyreg test_dynamic test_dynamicclassattribute test_userlist test_sort test_minmax
test_fnmatch test_shlex test_codeop test_html test_getopt test_asyncgen test_contextlib_async test_ipaddress test_configparser test_struct
test_posixpath test_ntpath test_genericpath test_binascii test_base64 test_quopri test_uuid test_urlparse test_htmlparser test_csv
test_context test_type_annotations test_type_comments test_module test_genericclass test_structseq test_threading_local test_queue
test_memoryview test_time test_timeit test_secrets test_hmac test_unparse test_unicodedata test_yield_from test_stat
test_netrc test_stringprep
""".split()
"""What the table in docs/conformance.md is made of (names that this installation does not have are left out)."""

SECONDS = 60.0
"""A test that takes longer than this of processor time is too slow: named apart from the failures, for it did nothing wrong."""

WAITS = 4.0
"""So many times as long may a test take by the clock: then it hangs, or the machine is overloaded."""


# ---- in the child: one file


class TimedOut(KeyboardInterrupt):
    """The alarm went off; of a class that neither the tests nor the capture take for their own."""


@dataclasses.dataclass
class Row:
    """What happened to one test method."""

    name: str
    plain: str = ""
    captured: str = ""
    error: str = ""
    captured_frames: int = 0
    broken: int = 0
    skipped: int = 0
    internal: int = 0
    seconds: float = 0.0
    reasons: list[str] = dataclasses.field(default_factory=list)


class _Result(unittest.TestResult):
    """Keeps the first trouble as text."""

    def trouble(self) -> tuple[str, str]:
        """ "passed", "skipped" or "failed", and the text of what went wrong."""
        bad = [text for _, text in [*self.errors, *self.failures]]
        if bad or self.unexpectedSuccesses:
            return "failed", bad[0] if bad else "unexpected success"
        return ("skipped", self.skipped[0][1]) if self.skipped else ("passed", "")


def tests_of(suite: Any) -> Iterator[Any]:
    """The test cases below a suite."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def once(test: Any, wrap: Callable[[Any], Any] | None) -> tuple[str, str]:
    """Run one test case with its fixtures; ``wrap(method)`` is what runs in place of its method."""
    if wrap is not None:
        name = test._testMethodName
        method = getattr(test, name)
        run = wrap(method)
        test.__dict__[name] = functools.wraps(method)(lambda: run())  # unittest reads attributes of it
    result = _Result()
    clear_caches()
    limit(SECONDS)
    try:
        unittest.TestSuite([test]).run(result)
    except TimedOut:
        return "timeout", "".join(traceback.format_exc().splitlines(True)[-8:])
    finally:
        limit(0.0)
        test.__dict__.pop(getattr(test, "_testMethodName", ""), None)
    return result.trouble()


def limit(seconds: float) -> None:
    """Raise ``TimedOut`` after so much processor time, or ``WAITS`` times as much by the clock; 0 for never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITS * seconds)


def again(test: Any) -> Any:
    """Another test case of the same method."""
    return test if type(test).__module__ == "doctest" else type(test)(test._testMethodName)


def run_test(test: Any) -> Row:
    """Run one test plainly, and where it passes twice under capture."""
    import alternator
    from alternator import config, utils

    row = Row(test.id())
    start = time.perf_counter()
    for _ in range(2):
        row.plain, row.error = once(again(test), None)
        if row.plain != "passed":
            return row
    plainly = time.perf_counter() - start

    def count(kind: str, reason: str) -> None:
        setattr(row, kind, getattr(row, kind) + 1)
        if reason:
            row.reasons.append(reason)

    def wrap(method: Any) -> Any:
        return alternator.compile(method, backend=no_cost)

    internal = sum(utils.counters["internal_errors"].values())
    with (
        utils.listening_to_entries(lambda entry: count("captured_frames", "")),
        utils.listening_to_breaks(lambda broken: count("broken", _where(broken))),
        utils.listening_to_skips(lambda skip: count("skipped", "")),
        config.patch(allow_empty_graphs=True),
    ):
        for at in range(2):
            row.captured, row.error = once(again(test), wrap)
            if row.captured != "passed":
                row.error = f"call {at + 1}: {row.error}"
                break
    row.internal = sum(utils.counters["internal_errors"].values()) - internal
    row.reasons += [f"INTERNAL: {text}" for text in list(utils.counters["internal_errors"])[-row.internal :] if row.internal]
    alternator.reset()
    row.seconds = time.perf_counter() - start - plainly
    return row


def _where(broken: Any) -> str:
    last = broken.user_stack[-1] if broken.user_stack else None
    at = f" @ {os.path.basename(last.filename)}:{last.lineno}" if last else ""
    return f"{broken.code}: {broken.detail}{at}"


def no_cost(gm: Any, example_inputs: Any) -> Any:
    """The backend: the graph as it is."""
    return gm.forward


def child(name: str, out: str, skip: int, only: str, seconds: float) -> None:
    """Run the tests of one file from number ``skip`` on, writing a line before and after each."""
    global SECONDS
    SECONDS = seconds
    from test import support

    support.use_resources = []  # type: ignore[attr-defined]
    support.verbose = 0

    import alternator
    from alternator.runtime import skip as skipping

    os.chdir(tempfile.mkdtemp(prefix="cpython_"))
    module = importlib.import_module(f"test.{name}")
    skipping.add_rule(os.path.dirname(support.__path__[0]), skipping.Verdict.CAPTURE)
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGPROF, _alarm)
    loaded = list(tests_of(unittest.defaultTestLoader.loadTestsFromModule(module)))
    alternator.reset()
    gc.freeze()  # tests that collect garbage would walk all of torch each time
    with open(out, "a", buffering=1) as lines:
        for number, test in enumerate(loaded):
            if number < skip or only and only not in test.id():
                continue
            lines.write(json.dumps({"begin": number, "name": test.id()}) + "\n")
            row = run_test(test)
            lines.write(json.dumps({"end": number, "row": dataclasses.asdict(row)}) + "\n")
            if "timeout" in (row.plain, row.captured):
                os._exit(3)  # whatever it left behind must not spoil the next one


def _alarm(*_: Any) -> None:
    raise TimedOut(f"not done after {SECONDS:.0f} s")


# ---- in the parent


def run_file(name: str, out: str, only: str = "", extra: Sequence[str] = ()) -> list[Row]:
    """Run one file in child processes until all of its tests are done."""
    path = os.path.join(out, f"{name}.jsonl")
    if os.path.exists(path):
        os.remove(path)
    done = 0
    rows: list[Row] = []
    while True:
        command = [sys.executable, os.path.abspath(__file__), "--child", name, "--out", path, "--skip", str(done), "--only", only]
        log = os.path.join(out, f"{name}.log")
        with open(log, "a" if done else "w") as sink:
            ended = subprocess.run([*command, *extra], stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        rows, begun = _read(path)
        if ended.returncode == 0:
            with open(path, "a") as lines:
                lines.write(json.dumps({"done": commit()}) + "\n")
            return rows
        if begun is None and (not rows or ended.returncode != 3):
            raise RuntimeError(f"{name} could not be run: see {log}")
        if begun is not None:
            number, test = begun
            crash = Row(test, plain="passed", captured="crash", error=f"the process died with status {ended.returncode}")
            with open(path, "a") as lines:
                lines.write(json.dumps({"end": number, "row": dataclasses.asdict(crash)}) + "\n")
        with open(path) as lines_:
            done = 1 + max(row["end"] for row in map(json.loads, lines_) if "end" in row)


@functools.cache
def commit() -> str:
    """What is tested, as git names it ("-dirty" behind it where files are changed)."""
    here = os.path.dirname(os.path.abspath(__file__))
    told = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=here, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def finished(path: str) -> str:
    """The commit on which a file was run to its end; "" if it was not."""
    if not os.path.exists(path):
        return ""
    with open(path) as lines:
        return next((line["done"] for line in map(json.loads, lines) if "done" in line), "")


def _read(path: str) -> tuple[list[Row], tuple[int, str] | None]:
    """The rows that are finished, and the test that had begun but did not end."""
    rows: list[Row] = []
    begun = None
    if os.path.exists(path):
        with open(path) as lines:
            for line in map(json.loads, lines):
                if "begin" in line:
                    begun = line["begin"], line["name"]
                elif "row" in line:
                    begun = None
                    rows.append(Row(**line["row"]))
    return rows, begun


def too_slow(row: Row) -> bool:
    """Did the test pass plainly, and not end in time under capture?"""
    return row.plain == "passed" and row.captured == "timeout"


def failed(row: Row) -> bool:
    """Did the test pass plainly, and go wrong under capture?"""
    return row.plain == "passed" and row.captured not in ("passed", "timeout")


def report(results: dict[str, list[Row]]) -> str:
    """The table, the failures, and what broke the graphs most often, as Markdown."""
    lines = [
        "| file | tests | pass plainly | pass captured | fail | too slow | frames captured | breaks | frames skipped | internal errors |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    total = [0] * 9
    for name, rows in results.items():
        passed = [row for row in rows if row.plain == "passed"]
        cells = [len(rows), len(passed), sum(row.captured == "passed" for row in passed)]
        cells += [sum(map(failed, rows)), sum(map(too_slow, rows))]
        cells += [sum(getattr(row, key) for row in rows) for key in ("captured_frames", "broken", "skipped", "internal")]
        total = [a + b for a, b in zip(total, cells)]
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    lines.append("| **all** | " + " | ".join(f"**{n}**" for n in total) + " |")
    for title, kind in (("Failures", failed), ("Too slow", too_slow)):
        lines += ["", f"{title}:", ""]
        for row in filter(kind, (row for rows in results.values() for row in rows)):
            last = row.error.strip().splitlines()
            lines.append(f"* `{row.name}` ({row.captured}): {last[-1][:200] if last else ''}")
    histogram = collections.Counter(reason.split(" @ ")[0] for rows in results.values() for row in rows for reason in row.reasons)
    lines += ["", "Reasons:", ""]
    lines += [f"* {count} {reason}" for reason, count in histogram.most_common(400)]
    return "\n".join(lines) + "\n"


def available(names: Sequence[str]) -> list[str]:
    """Those of the test modules that are installed."""
    return [name for name in dict.fromkeys(names) if importlib.util.find_spec(f"test.{name}") is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="", help="comma-separated names of test modules")
    parser.add_argument("--only", default="", help="tests whose name contains this")
    parser.add_argument("--out", default="", help="folder for the rows and the logs")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="processor time that one run of a test may take")
    parser.add_argument("--missing", action="store_true", help="run only what --out has no rows of, of this commit")
    parser.add_argument("--report", action="store_true", help="run nothing: report on what is in --out")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--skip", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.out, options.skip, options.only, options.seconds)
        return 0
    out = options.out or tempfile.mkdtemp(prefix="cpython_tests_")
    os.makedirs(out, exist_ok=True)
    results: dict[str, list[Row]] = {}
    for name in available(options.files.split(",") if options.files else FILES):
        start = time.perf_counter()
        path = os.path.join(out, f"{name}.jsonl")
        if options.report or options.missing and finished(path) == commit():
            results[name] = _read(path)[0]
            if finished(path) != commit():
                print(f"{name}: not run to its end on {commit()}: {finished(path) or 'never'}", file=sys.stderr)
            continue
        try:
            results[name] = run_file(name, out, options.only, ["--seconds", str(options.seconds)])
        except RuntimeError as error:
            print(error, file=sys.stderr)
            continue
        bad, slow = (sum(map(kind, results[name])) for kind in (failed, too_slow))
        took = time.perf_counter() - start
        print(f"{name}: {len(results[name])} tests, {bad} failures, {slow} too slow, {took:.0f} s", flush=True)
    text = report(results)
    with open(os.path.join(out, "report.md"), "w") as sink:
        sink.write(text)
    print(text.split("\nReasons:")[0])
    return int(any(failed(row) for rows in results.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
