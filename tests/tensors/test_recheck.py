"""``config.recheck_guards``: every hit is checked once more in plain Python, and a wrong one is not used."""

import copy

import pytest
import torch
from helpers import Recorder

import alternator
from alternator import capture, config, exc
from alternator.tensors.recheck import Recheck, same_constant

X = torch.ones(3)


class Thing:
    def __init__(self):
        self.number, self.items, self.table = 1.5, [1, 2], {"a": 1, "b": 2}


def forgetting(kinds):
    """The native tree of a table from which guards are missing: what a bug there would be like."""

    def make(nodes, tail, func, values):
        kept = [(p, a, k, tuple(g for g in guards if g[0] not in kinds)) for p, a, k, guards in nodes]
        return capture_tree(kept, [fact for fact in tail if fact[0] not in kinds], func, values)

    capture_tree = capture.GuardTree
    return make


@pytest.mark.parametrize(
    "kind,fn,change",
    [
        ("EQ", lambda x, o: x + o.number, lambda o: setattr(o, "number", 2.5)),
        ("LEN", lambda x, o: x + len(o.items), lambda o: o.items.append(1)),
        ("KEYS", lambda x, o: x + len("".join(o.table)), lambda o: o.table.__setitem__("c", 1)),
        ("TYPE", lambda x, o: x + isinstance(o.number, float), lambda o: setattr(o, "number", True)),
        ("TENSOR", lambda x, o: x + o.table["t"], lambda o: o.table.__setitem__("t", torch.ones(1, dtype=torch.float64))),
        ("GLOBAL_STATE", lambda x, o: x + torch.is_grad_enabled(), lambda o: torch.set_grad_enabled(False)),
        ("IS", lambda x, o: o.table["f"](x), lambda o: o.table.__setitem__("f", torch.tanh)),
        ("DISTINCT", lambda x, o: x + o.table["t"], lambda o: o.table.__setitem__("t", X)),
    ],
)
def test_a_wrong_hit_raises(kind, fn, change, monkeypatch):
    thing = Thing()
    thing.table.update({"t": torch.ones(3), "f": torch.relu} if kind in ("TENSOR", "IS", "DISTINCT") else {})
    monkeypatch.setattr(capture, "GuardTree", forgetting({kind, "EQ"} if kind == "TYPE" else {kind}))
    with config.patch(recheck_guards=True):
        compiled = alternator.compile(fn, backend="eager")
        for _ in range(3):
            torch.testing.assert_close(compiled(X, thing), fn(X, thing))
        change(thing)
        with pytest.raises(exc.GuardMismatch, match="was about to run although a guard does not hold"):
            compiled(X, thing)


def test_sizes_that_vary_are_checked_as_well():
    def f(x, y):
        return x[: y.shape[0] // 2] * (2 if y.shape[0] % 3 == 0 and y.shape[0] > 4 else 3)

    recorder = Recorder()
    with config.patch(recheck_guards=True):
        compiled = alternator.compile(f, backend=recorder)
        for size in range(2, 14):
            args = torch.randn(20), torch.randn(size)
            torch.testing.assert_close(compiled(*args), f(*args))
    assert recorder.frame_count < 8


def test_models_pass_the_second_check():
    model = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    recorder = Recorder()
    with config.patch(recheck_guards=True):
        compiled = alternator.compile(copy.deepcopy(model), backend=recorder)
        for length in (3, 4, 5, 3):
            x = torch.randn(2, length, 8)
            torch.testing.assert_close(compiled(x), model(x))
        compiled.train()
        compiled(torch.randn(2, 3, 8))


def test_entries_made_without_it_are_not_used_under_it():
    recorder = Recorder()
    compiled = alternator.compile(lambda x: x + 1, backend=recorder)
    compiled(X)
    with config.patch(recheck_guards=True):
        compiled(X)
        compiled(X)
    compiled(X)
    assert recorder.frame_count == 2


@pytest.mark.parametrize(
    "a,b,equal",
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        ((1, (2.0,)), (1, (2.0,)), True),
        ((1, (2.0,)), (1, (2,)), False),
        (slice(1, None), slice(1, None), True),
        (frozenset({1}), frozenset({True}), False),
    ],
)
def test_constants(a, b, equal):
    assert same_constant(a, b) is equal


def test_the_first_guard_that_does_not_hold_is_named():
    nodes = [(-1, "local", 0, ()), (0, "dict", None, ()), (1, "dictitem", "number", (("EQ", 1.5),))]
    again = Recheck(nodes, [("ALIAS", 0, 0)], "f")
    thing = Thing()
    assert again.mismatch([thing]) is None
    thing.number = 2.5
    assert again.mismatch([thing]) == "local 0 -> dict -> dictitem 'number': == 1.5"
    del thing.number
    assert again.mismatch([thing]) is not None


def test_what_the_dispatcher_knows_of_a_tensor_is_checked(monkeypatch):
    monkeypatch.setattr(capture, "GuardTree", forgetting({"TENSOR"}))
    with config.patch(recheck_guards=True):
        compiled = alternator.compile(lambda x: x + 1, backend="eager")
        compiled(X)
        with pytest.raises(exc.GuardMismatch):
            compiled(torch._efficientzerotensor(3))
