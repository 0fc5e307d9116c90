"""Forward hooks that captured code registers and removes: the numbers of their handles count on, and nothing depends on them."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

import alternator
from alternator import utils


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def check(make, captures: int, calls: int = 4, cleans: bool = True):
    """``make(net)`` gives a function that is called several times plainly and captured; how often it is captured."""
    found = []
    for captured in (False, True):
        alternator.reset()
        model, entries = net(), []
        fn = make(model)
        if captured:
            fn = alternator.compile(fn, backend="eager")
        start, results = RemovableHandle.next_id, []
        with utils.listening_to_entries(entries.append):
            for seed in range(calls):
                torch.manual_seed(seed)
                results.append(fn(torch.randn(2, 4)))
                if cleans:
                    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        keys = [[key - start for key in module._forward_hooks] for module in model.modules()]
        found.append((results, RemovableHandle.next_id - start, keys))
    torch.testing.assert_close(found[1], found[0])
    assert len(entries) == captures, utils.counters["recompiles"]


def test_those_that_are_removed_again_take_one_capture() -> None:
    def features(model):
        def f(x):
            seen = {}
            handles = [
                layer.register_forward_hook(lambda module, args, result, at=at: seen.__setitem__(at, result))
                for at, layer in enumerate(model)
            ]
            y = model(x)
            for handle in handles:
                handle.remove()
            return y, seen[0].sum(), seen[1]

        return f

    def before(model):
        def f(x):
            with model[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,)):
                return model(x)

        return f

    def options(model):
        def f(x):
            hook = lambda module, args, kwargs, result: result + 1 + len(kwargs)  # noqa: E731
            handle = model[1].register_forward_hook(hook, with_kwargs=True, prepend=True, always_call=True)
            y = model(x)
            handle.remove()
            return y

        return f

    def raises(model):
        def f(x):
            handle = model[1].register_forward_hook(lambda module, args, result: [][1])
            try:
                return model(x)
            except IndexError:
                return x
            finally:
                handle.remove()

        return f

    for make in (features, before, options, raises):
        check(make, captures=1)


def test_its_number_is_a_key() -> None:
    def make(model):
        def f(x):
            handle = model[1].register_forward_hook(lambda module, args, result: result + 1)
            keys, there = list(model[1]._forward_hooks), handle.id in model[1]._forward_hooks
            named = {handle.id: x + 1}
            y = model(x) + named[keys[0]]
            handle.remove()
            return y, len(keys), keys[0] == handle.id, there, handle.id in model[1]._forward_hooks, type(handle.id) is int

        def wide(x):
            return f(torch.cat([x, x], -1)[:, :4])[1:]

        return wide

    def with_sum(model):
        model[2] = nn.Linear(8, 4)
        return make(model)

    check(with_sum, captures=1)


def test_those_that_stay_have_the_numbers_of_plain_python() -> None:
    def make(model):
        kept = []

        def f(x):
            first = model[0].register_forward_hook(lambda module, args, result: result * 2)
            kept.append(model[1].register_forward_hook(lambda module, args, result: result + 1))
            y = model(x)
            first.remove()
            return y, kept[-1].id - kept[0].id

        return f

    check(make, captures=1, calls=1, cleans=False)  # and a plain piece: the numbers are subtracted

    def replaced(model):
        kept = []

        def f(x):
            while kept:
                kept.pop().remove()
            kept.append(model[1].register_forward_hook(lambda module, args, result: result + 1))
            return model(x)

        return f

    check(replaced, captures=3, calls=3, cleans=False)


def test_a_number_that_is_shown_is_the_real_one() -> None:
    def make(model):
        def f(x):
            handle = model[1].register_forward_hook(lambda module, args, result: result + 1)
            number = handle.id
            text = f"{number}, {number + 1}"
            handle.remove()
            return model(x), [int(part) - RemovableHandle.next_id for part in text.split(",")]

        return f

    plain, captured = make(net()), alternator.compile(make(net()), backend="eager")
    for _ in range(3):
        torch.testing.assert_close(captured(torch.ones(2, 4)), plain(torch.ones(2, 4)))
