"""``random``: drawn anew for each call, in the program's order, and the generator moves as in plain Python."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from helpers import Recorder, same
from torch.utils.checkpoint import checkpoint

import alternator
from alternator import utils
from alternator._C.eval_frame import unsupported

X = torch.ones(2)


def check(fn, *args, backend="eager", graphs=1):
    """Run plainly and captured from the same seeds; the generators must agree afterwards."""
    alternator.reset()
    compiled = alternator.compile(fn, backend=backend)
    for seed in range(4):
        random.seed(seed)
        plain, state = fn(*args), random.getstate()
        random.seed(seed)
        assert repr(compiled(*args)) == repr(plain) and random.getstate() == state
    alternator.reset()
    if graphs is not None:
        assert alternator.explain(fn)(*args).graph_count == graphs


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_numbers_are_inputs_of_the_graph(backend) -> None:
    def f(x):
        a, b, c = random.random(), random.randint(2, 9), random.uniform(1, 3)
        return x + a * b, c, b, a

    check(f, X, backend=backend)


def test_each_distribution() -> None:
    def f(x):
        return (
            x * random.gauss(0, 1) + random.normalvariate(0, 1) + random.expovariate(2) + random.betavariate(1, 2),
            random.triangular(0, 1, 0.5),
            random.randrange(3, 30, 3),
            x + random.lognormvariate(0, 1),
        )

    check(f, X)


def test_a_number_that_nobody_uses_is_drawn() -> None:
    def f(x):
        random.random()
        y = x + 1
        alternator.graph_break()
        return y * random.random()

    check(f, X, graphs=2)


def test_branches_break() -> None:
    def f(x):
        if random.random() < 0.5:
            return x + 1
        return x - 1

    check(f, X, graphs=None)


def test_a_generator_from_outside() -> None:
    def f(x, rng):
        return x * rng.random(), rng.randint(0, 5)

    same(f, X, random.Random(3), fullgraph=True, graphs=1)


def test_what_changes_the_generator_otherwise_breaks() -> None:
    def f(x):
        y = x + random.random()
        random.seed(5)
        z = y * random.random()
        items = [1, 2, 3]
        random.shuffle(items)
        return z, items, random.choice(items)

    check(f, X, graphs=None)


def test_wrong_arguments() -> None:
    def f(x):
        try:
            random.randint(5, 1)
        except ValueError as e:
            return x + 1, str(e)

    same(f, X, fullgraph=True)


def test_what_no_tensor_holds_and_what_is_looked_at():
    def f(x):
        drawn = random.random()
        nothing = drawn - drawn
        unsupported()
        big = random.randrange(2**100) + random.randint(2**63, 2**64)
        return x + 1, nothing.hex(), [i for i in range(random.randint(2, 2))], big, max(nothing, float("inf"))

    random.seed(3)
    state = random.getstate()
    plain = f(torch.ones(2))
    compiled = alternator.compile(f, backend="eager")
    for _ in range(2):
        random.setstate(state)
        assert compiled(torch.ones(2))[1:] == plain[1:]


def test_bound_methods_of_numbers_that_vary_cross_a_break():
    def f(x, s):
        method = s.hex
        unsupported()
        return x + s, method(), s.is_integer()

    same(f, torch.ones(2), 1.5, then=[(torch.ones(2), 2.5), (torch.ones(2), 3.0)])


OWN = random.Random(5)
GENERATOR = np.random.default_rng(5)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: random.choice("abc"),
        lambda: random.sample(range(9), 4),
        lambda: random.choices([1, 2, 3], k=2),
        lambda: OWN.choice([1.5, 2.5]),
        lambda: GENERATOR.choice(4),
        lambda: GENERATOR.multinomial(3, [0.5, 0.5]),
        lambda: np.random.choice([1.5, 2.5]),
        lambda: np.random.multinomial(3, [0.5, 0.5]),
    ],
)
def test_what_is_chosen_is_one_break(draw):
    def f(x):
        y = x * 2
        drawn = draw()
        return y + 1, drawn

    def seeded(fn):
        random.seed(1)
        OWN.seed(1)
        np.random.seed(1)
        GENERATOR.bit_generator.state = np.random.default_rng(1).bit_generator.state
        return [fn(X) for _ in range(3)], random.random(), OWN.random(), np.random.rand(), GENERATOR.random()

    recorder = Recorder()
    before = dict(utils.counters["graph_break"])
    results, *after = seeded(alternator.compile(f, backend=recorder))
    plain, *rest = seeded(f)
    assert after == rest and recorder.frame_count <= 4
    assert len(utils.counters["graph_break"]) - len(before) == 1
    for (y, drawn), (z, expected) in zip(results, plain):
        assert y.equal(z) and type(drawn) is type(expected) and np.all(drawn == expected)


def test_a_method_that_the_program_has_put_in_place_of_random_is_called(monkeypatch):
    given = iter([0.5, 0.25, 0.125])

    def f(x):
        return x * 2, random.expovariate(2.0), random.gammavariate(1.0, 3.0)

    compiled = alternator.compile(f, backend="eager")
    for seed in range(2):
        random.seed(seed)
        plain = f(X)
        random.seed(seed)
        assert repr(compiled(X)) == repr(plain)
    monkeypatch.setattr(random.Random, "random", lambda self: next(given))
    expected = -math.log(0.5) / 2.0, -math.log(0.75) * 3.0
    assert compiled(X)[1:] == expected and next(given) == 0.125


# ---- NumPy's

RNG, STATE = np.random.default_rng(5), np.random.RandomState(5)


def numpy_states():
    return [str(one) for one in (np.random.get_state(), STATE.get_state(), RNG.bit_generator.state)]


def from_numpy_seeds(fn, x):
    np.random.seed(3)
    STATE.seed(4)
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state
    try:
        return repr(fn(x)), numpy_states()
    except ValueError as error:
        return repr(error), numpy_states()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    "fn",
    [
        lambda x: (np.random.rand(2, 2) * 2, x + torch.from_numpy(np.random.randn(2)).float()),
        lambda x: (x * np.random.rand() + np.random.randint(5), np.random.normal()),
        lambda x: x + torch.tensor(np.random.uniform(low=-1, high=1, size=(2, 1))),
        lambda x: (RNG.normal(size=3) + STATE.uniform(size=(3,)), RNG.random(2, dtype=np.float32) * 2),
        lambda x: x + torch.from_numpy(RNG.integers(0, 5, size=2)) + torch.from_numpy(np.random.permutation(5)[:2]),
        lambda x: x + torch.as_tensor(np.random.rand(x.shape[0])),
        lambda x: (x + 1, np.random.randint(5, 3)),
    ],
)
def test_numbers_of_numpy_are_inputs_of_the_graph(fn, backend) -> None:
    compiled = alternator.compile(fn, backend=backend, fullgraph=True)
    for size in (2, 2, 2):
        assert from_numpy_seeds(compiled, torch.ones(size)) == from_numpy_seeds(fn, torch.ones(size))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: (x + 1, np.random.seed(0), np.random.rand(2) * 2),
        lambda x: (x + 1, np.random.choice(5), RNG.integers(5)),
        lambda x: x + 1 if np.random.rand() < 0.5 else x - 1,
        lambda x: x + torch.from_numpy(np.random.normal(x.numpy(), 1)),
        lambda x: checkpoint(lambda a: a * np.random.rand(), x, use_reentrant=False),
        lambda x: checkpoint(lambda a: a * random.random(), x, use_reentrant=False),
    ],
)
def test_what_else_draws_breaks(fn) -> None:
    compiled = alternator.compile(fn, backend="eager")
    random.seed(3)
    plain = from_numpy_seeds(fn, X.clone().requires_grad_(False)), random.getstate()
    random.seed(3)
    assert (from_numpy_seeds(compiled, X.clone()), random.getstate()) == plain
    assert alternator.explain(fn)(X.clone().requires_grad_(fn.__code__.co_names[:1] == ("checkpoint",))).graph_break_count


def test_a_replaced_function_of_numpys(monkeypatch) -> None:
    def f(x):
        return x + torch.from_numpy(np.random.rand(2))

    compiled = alternator.compile(f, backend="eager")
    compiled(X)
    monkeypatch.setattr(np.random, "rand", np.random.randn)
    assert from_numpy_seeds(compiled, X) == from_numpy_seeds(f, X)


@pytest.mark.parametrize("kind", ["random", "own", "numpy", "numpy's own", "generator"])
def test_numbers_are_drawn_once_where_the_graph_raises(kind) -> None:
    """The generators go back to where they were, and the frame runs plainly: with its effects, and at its own place."""

    def run(compiled, index):
        random.seed(5)
        np.random.seed(5)
        made = {"random": random, "own": random.Random(5), "numpy": np.random}
        made |= {"numpy's own": np.random.RandomState(5), "generator": np.random.default_rng(5)}
        log = []
        try:
            log.append(compiled(made[kind], index, log))
        except IndexError as error:
            log.append(str(error))
        return log, [one.random() for one in made.values()]

    def f(generator, index, log):
        log.append("before")
        a = generator.random()
        y = torch.index_select(X, 0, index) * a
        log.append("after")
        return y + generator.random()

    compiled = alternator.compile(f, backend="eager")
    for index in (0, 7, 1):
        expected = run(f, torch.tensor([index]))
        assert repr(run(compiled, torch.tensor([index]))) == repr(expected) and expected[0][0] == "before"
