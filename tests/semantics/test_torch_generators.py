"""``torch.Generator``: the same numbers as in plain Python, and the same state afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import assert_same

import alternator

X = torch.arange(4.0)
BACKENDS = ["eager", "aot_eager"]


def seeded(number=3):
    return torch.Generator().manual_seed(number)


def state_of(generator):
    return generator.get_state(), generator.initial_seed()


def both(fn, *args, make=seeded, calls=3, breaks=None, graphs=None, backend=None):
    """Plainly and captured, each with a generator of its own: results, states, and numbers that are drawn afterwards."""
    made, seen = [], []

    def counting(module, inputs):
        made.append(module)
        return module

    alternator.reset()
    compiled = alternator.compile(fn, backend=backend or counting)
    generators, given = [make(), make()], [copy.deepcopy(args), copy.deepcopy(args)]
    with alternator.utils.listening_to_breaks(seen.append):
        for number in range(calls):
            torch.manual_seed(number)
            one = run(fn, generators[0], given[0])
            torch.manual_seed(number)
            assert_same(one, run(compiled, generators[1], given[1]))
            assert_same(state_of(generators[0]), state_of(generators[1]))
            assert_same(given[0], given[1])
            if number == 0:
                assert breaks is None or [one.code for one in seen] == breaks, [str(one) for one in seen]
                assert graphs is None or len(made) == graphs


def run(fn, generator, args):
    try:
        result = fn(X.clone(), generator, *args)
    except (RuntimeError, TypeError) as error:
        result = str(error).splitlines()[0]
    if isinstance(result, tuple):
        result = tuple(state_of(one) if isinstance(one, torch.Generator) else one for one in result)
    return result, torch.rand(3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_are_inputs_of_the_graph(backend) -> None:
    def f(x, g):
        for _ in range(3):
            x = x + torch.randn(4, generator=g) * torch.rand((4,), generator=g, dtype=torch.float64)
        return x + torch.rand(4), torch.randint(0, 9, (3,), generator=g), torch.randperm(5, generator=g)

    both(f, backend=backend)
    both(f, breaks=[], graphs=1)


def test_numbers_that_nobody_uses_are_drawn() -> None:
    def f(x, g):
        torch.rand(2, generator=g)
        return x + 1

    both(f, breaks=[])


def test_each_factory_and_sampler() -> None:
    def f(x, g):
        made = [torch.normal(1.0, 2.0, (3,), generator=g), torch.rand(2, 3, generator=g, requires_grad=True).detach()]
        made.append(torch.empty(20).uniform_(-1, 1, generator=g))
        made.append(torch.empty(3, 5).normal_(mean=2.0, std=0.1, generator=g))
        made.append(torch.empty(5).exponential_(generator=g))
        made.append(torch.empty(5, dtype=torch.int64).random_(7, generator=g))
        made.append(torch.empty(5).bernoulli_(0.3, generator=g))
        made.append(torch.empty(5).cauchy_(generator=g).clamp(-9, 9))
        x.normal_(generator=g)
        return x * 2, *made

    both(f, breaks=[], graphs=1)


def test_what_depends_on_more_than_the_generator_breaks() -> None:
    def f(x, g):
        p = torch.sigmoid(x)
        return torch.bernoulli(p, generator=g), torch.multinomial(p, 2, generator=g), torch.normal(p, 1.0, generator=g)

    both(f, breaks=["RNG", "RNG", "RNG"])


def test_seeds_come_in_their_order() -> None:
    def f(x, g):
        first = torch.rand(4, generator=g)
        g.manual_seed(5)
        second = torch.rand(4, generator=g)
        g.manual_seed(5).manual_seed(-1)
        third, seed = torch.rand(4, generator=g), g.initial_seed()
        g.manual_seed(8)
        return x + first, second, third, seed, g.initial_seed()

    both(f, breaks=[], graphs=1)


def test_a_seed_alone() -> None:
    def f(x, g):
        seed = g.initial_seed()
        g.manual_seed(9)
        g.manual_seed(8)
        return x + 1, seed, g.device

    both(f, breaks=[])


def test_generators_that_captured_code_makes() -> None:
    def f(x, g):
        made, unused, other = torch.Generator().manual_seed(4), torch.Generator(device="cpu"), torch.Generator()
        y = x + torch.rand(4, generator=made) * torch.rand(4, generator=other)
        other.manual_seed(2)
        unused.manual_seed(1)
        return y, made, unused, other, other.initial_seed(), torch.Generator()

    both(f, breaks=[], graphs=1)


def test_a_generator_goes_on_behind_a_break() -> None:
    def f(x, g):
        made = torch.Generator().manual_seed(4)
        y = x + torch.rand(4, generator=made) + torch.rand(4, generator=g)
        g.manual_seed(1)
        made.manual_seed(6)
        alternator.graph_break()
        y = y + torch.rand(4, generator=g) * torch.rand(4, generator=made)
        alternator.graph_break()
        return y + torch.rand(4, generator=made)

    both(f)


def test_the_state_of_a_generator() -> None:
    def f(x, g):
        state = g.get_state()
        y = x + torch.rand(4, generator=g)
        g.set_state(state)
        return y + torch.rand(4, generator=g), state

    both(f, breaks=["RNG"])


class Noise(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = seeded()
        self.weight = torch.nn.Parameter(torch.zeros(3, 4))

    def forward(self, x):
        torch.nn.init.normal_(self.weight, generator=self.generator)
        torch.nn.init.kaiming_uniform_(self.weight, generator=self.generator)
        return self.weight @ (x + torch.randn(x.shape, generator=self.generator, device=x.device, dtype=x.dtype))


def test_a_generator_of_a_module() -> None:
    modules = [Noise(), Noise()]
    compiled = alternator.compile(modules[1], backend="eager", fullgraph=True)
    for _ in range(3):
        assert_same(modules[0](X), compiled(X))
        assert_same(modules[0].weight.detach(), modules[1].weight.detach())
        assert_same(state_of(modules[0].generator), state_of(modules[1].generator))


def test_the_default_generator_is_none() -> None:
    def f(x, g):
        return x + torch.rand(4) + torch.rand(4, generator=g) + torch.rand(4)

    both(f, make=lambda: torch.default_generator, breaks=[])
    compiled = alternator.compile(f, backend="eager")
    for make in (seeded, lambda: torch.default_generator, seeded):
        results = []
        for run_it in (f, compiled):
            torch.manual_seed(1)
            results.append(run_it(X, make()))
        assert_same(*results)


def test_two_generators_that_turn_out_to_be_one() -> None:
    def f(x, one, two):
        one.manual_seed(1)
        y = x + torch.rand(4, generator=two)
        two.manual_seed(2)
        return y + torch.rand(4, generator=one)

    compiled = alternator.compile(f, backend="eager")
    for same_one in (False, True, False):
        results = []
        for run_it in (f, compiled):
            first = seeded(7)
            second = first if same_one else seeded(8)
            results.append((run_it(X, first, second), state_of(first), state_of(second)))
        assert_same(*results)


def test_sizes_that_vary() -> None:
    def f(x, g, count):
        return torch.rand(count, generator=g) + torch.ones(count)

    compiled = alternator.compile(f, backend="eager")
    generators = [seeded(), seeded()]
    for count in (3, 4, 5, 3, 7):
        assert_same(f(X, generators[0], count), compiled(X, generators[1], count))


def test_other_types_and_places() -> None:
    def f(x, g):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        y = torch.rand(4, generator=g)
        torch.set_default_dtype(before)
        with torch.inference_mode():
            z = torch.rand(4, generator=g)
        return x + y, z + 1

    both(f)


def test_vmap_says_how_numbers_are_drawn() -> None:
    def f(x, g):
        return torch.vmap(lambda row: row + torch.rand(2, generator=g), randomness="same")(x.reshape(2, 2))

    def g(x, generator):
        return torch.vmap(lambda row: row + torch.rand(2, generator=generator))(x.reshape(2, 2))

    both(f)
    both(g)


def test_wrong_calls_draw_nothing() -> None:
    def f(x, g, leaf, how):
        try:
            if how == 0:
                leaf.normal_(generator=g)
            elif how == 1:
                torch.rand(-1, generator=g)
            elif how == 2:
                torch.empty(3, dtype=torch.int32).uniform_(generator=g)
            elif how == 3:
                g.manual_seed("a")
            else:
                torch.randint(5, 2, (3,), generator=g)
        except (RuntimeError, TypeError):
            x = x + 1
        return x + torch.rand(4, generator=g)

    for how in range(5):
        both(f, torch.ones(3, requires_grad=True), how)


def test_numbers_are_drawn_once_where_the_graph_raises() -> None:
    def f(x, g, index):
        y = x + torch.rand(4, generator=g)
        try:
            y = y[index] + torch.rand(1, generator=g)
        except IndexError:
            y = y * 2
        return y

    for index in (torch.tensor([1]), torch.tensor([9])):
        both(f, index)


def test_a_copy_of_a_generator() -> None:
    def f(x, g):
        made = torch.Generator().manual_seed(4)
        y = x + torch.rand(4, generator=made)
        twin = made.clone_state()
        return y + torch.rand(4, generator=twin), made, twin

    both(f)
