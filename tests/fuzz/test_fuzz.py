"""A short run of the fuzzer, and that it would notice.  ``python tests/fuzz/check.py --count 20000`` runs many more."""

import ast
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import check
import grammar
import shrink

COUNT = int(os.environ.get("ALTERNATOR_FUZZ", "100"))


@pytest.mark.parametrize("first", range(0, COUNT, 25))
def test_random_programs(first):
    for seed in range(first, min(first + 25, COUNT)):
        source = grammar.program(seed)
        found = check.check_safely(source, seed)
        assert not found, f"program {seed}: {found}\n{source}"


def test_programs_are_programs():
    for seed in range(200):
        compile(grammar.program(seed), "<fuzzed>", "exec")


def test_the_oracle_sees_lost_effects_and_shrinks_them(monkeypatch):
    from alternator import capture

    monkeypatch.setattr(capture, "replay", lambda *args: None)
    seed = next(seed for seed in range(40) if check.check_safely(grammar.program(seed), seed))
    source = grammar.program(seed)
    small = shrink.shrink(source, lambda text: check.check_safely(text, seed), check.check_safely(source, seed), seconds=3)
    assert check.check_safely(small, seed)
    assert len(small) <= len(ast.unparse(ast.parse(source)))


DIFFERENCES = [
    ([1], (1,)),
    ([1], [True]),
    ({1: 2, 3: 4}, {3: 4, 1: 2}),
    ([[]] * 2, [[], []]),
    ([[], []], [[]] * 2),
]


@pytest.mark.parametrize("one,other", DIFFERENCES)
def test_the_oracle_tells_apart(one, other):
    assert check.Comparison().difference(one, other)
    assert not check.Comparison().difference(one, one)


def test_the_oracle_sees_shared_memory():
    import torch

    x, y = torch.zeros(2), torch.zeros(2)
    assert check.Comparison().difference([x, x[:]], [y, y.clone()])
    assert not check.Comparison().difference([x, x[:]], [y, y[:]])


def test_what_varies_by_itself_is_no_finding() -> None:
    head = "def f(x, y, n, text, box, other, numbers, items, table, bag, it, fn):\n"
    assert check.varies(head + "    return [type(v) for v in {x, 1, 2, 3, 4}]\n", 0)
    assert not check.varies(head + "    return x + 1, [v for v in numbers]\n", 0)


def test_what_grows_without_end_is_no_finding() -> None:
    source = "def f(x, y, n, text, box, other, numbers, items, table, bag, it, fn):\n    raise MemoryError\n"
    module = check.load(source)
    with pytest.raises(TimeoutError):  # as what does not end
        check.run(module, module.f, 0)
