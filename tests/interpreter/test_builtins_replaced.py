"""A namespace that gets other builtins while its code runs."""

import builtins
import types

import pytest
import torch

import alternator

SOURCE = """
def one_by_one(length):
    yield length(range(3))
    yield len(range(3))

def by_key(x):
    values = one_by_one(len)
    seen = [next(values)]
    space = globals()
    old, space["__builtins__"] = space["__builtins__"], {"len": lambda x: 7}
    try:
        held()
        seen.append(next(values))
    finally:
        space["__builtins__"] = old
    return x + 1, seen

def by_name(x):
    global __builtins__
    old = __builtins__
    __builtins__ = {"len": lambda x: 7}
    held()
    seen = [len(range(3)), eval("len([])")]
    __builtins__ = old
    return x + 1, seen
"""


@pytest.mark.parametrize("name", ["by_key", "by_name"])
def test_code_that_is_running_keeps_the_builtins_that_it_began_with(name):
    module = types.ModuleType("somewhere")
    vars(module)["__builtins__"] = builtins
    vars(module)["held"] = alternator.disable(lambda: None)
    exec(SOURCE, vars(module))
    fn = getattr(module, name)
    plain = fn(torch.ones(2))
    compiled = alternator.compile(fn, backend="eager")
    for _ in range(2):
        result, seen = compiled(torch.ones(2))
        assert torch.equal(result, plain[0]) and seen == plain[1]
