"""Arguments go straight to the guards: what an entry sees is what the function's frame would have."""

import itertools

import pytest

from alternator._C.eval_frame import NULL, CompiledFunction, _CacheEntry, _debug_get_cache_entry_list
from alternator._C.guards import GuardTree

SIGNATURES = [
    "",
    "a",
    "a, b=2",
    "a, /, b",
    "a=1, /, b=2",
    "*args",
    "a, *args",
    "a=1, *args, k",
    "*, k, m=7",
    "**kw",
    "a, b=2, **kw",
    "a, /, **kw",
    "a, b=2, *args, k=5, **kw",
]
ARGUMENTS = [(), (10,), (10, 20), (10, 20, 30)]
KEYWORDS = [{}, {"a": 1}, {"b": 2}, {"k": 3}, {"other": 4}, {"b": 1, "k": 2}, {"a": 1, "other": 2, "b": 3}]


def make(signature):
    space = {}
    exec(f"def f({signature}): return ('plain', *locals().values())", space)
    return space["f"]


def compiled_with_entry(fn, target=None):
    """Entries of this function return ('compiled', *its variables)."""

    def callback(func, values):
        nodes = [(-1, "local", i, (("ABSENT",),) if v is NULL else ()) for i, v in enumerate(values)]
        tree = GuardTree(nodes, [], func, values)
        loads = tuple(range(len(values)))
        return _CacheEntry(func.__code__, tree, lambda *values: ("compiled", *values), loads)

    return CompiledFunction(target or fn, callback)


def outcome(fn, args, kwargs):
    try:
        return fn(*args, **kwargs)
    except TypeError as error:
        return str(error)


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("bound", [False, True])
def test_every_way_to_pass_arguments(signature, bound):
    plain = make(signature)
    owner = type("Owner", (), {})()
    target = plain.__get__(owner) if bound else plain
    compiled = compiled_with_entry(plain, target)
    calls = 0
    for args, kwargs in itertools.product(ARGUMENTS, KEYWORDS):
        expected = outcome(target, args, kwargs)
        if isinstance(expected, tuple):
            expected = ("compiled", *expected[1:])
            calls += 1
        for _ in range(2):
            assert outcome(compiled, args, kwargs) == expected, (args, kwargs)
    entries = _debug_get_cache_entry_list(plain.__code__)
    assert sum(entry.hits for entry in entries) >= calls  # the second call of each at least


def test_keywords_that_are_not_interned():
    plain = make("first, second=2, **kw")
    compiled = compiled_with_entry(plain)
    compiled(1)
    name = "".join(["sec", "ond"])
    assert compiled(first=1, **{name: 5, "".join(["ot", "her"]): 6}) == ("compiled", 1, 5, {"other": 6})


def test_defaults_that_are_replaced():
    plain = make("a, b=2, *, k=3")
    compiled = compiled_with_entry(plain)
    assert compiled(1) == compiled(1) == ("compiled", 1, 2, 3)
    plain.__defaults__ = (20,)
    plain.__kwdefaults__ = {"k": 30}
    assert compiled(1) == ("compiled", 1, 20, 30)
    plain.__defaults__ = None
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        compiled(1)


def test_each_call_has_its_own_containers():
    compiled = compiled_with_entry(make("*args, **kw"))
    first, second = compiled(1, x=2), compiled(1, x=2)
    assert first == second
    assert first[2] is not second[2]


def test_many_variables():
    names = [f"v{i}" for i in range(100)]
    compiled = compiled_with_entry(make(", ".join(names) + ", *rest"))
    for _ in range(2):
        assert compiled(*range(102)) == ("compiled", *range(100), (100, 101))
