"""What happens when a function is compiled again and again: which version goes, what is said, what raises."""

from __future__ import annotations

import collections
import enum
import logging
import types
from typing import Any

import pytest
import torch
from helpers import Recorder

import alternator
from alternator import config, exc, utils
from alternator.runtime.recompiles import readable

X = torch.ones(3)


def add(x: torch.Tensor, n: Any) -> torch.Tensor:
    return x + len(n)


def fresh(fn: Any = add) -> Any:
    return types.FunctionType(fn.__code__.replace(), fn.__globals__, fn.__name__)


def test_the_version_that_is_used_least_goes() -> None:
    recorder = Recorder()
    compiled = alternator.compile(fresh(), backend=recorder, recompile_limit=2)
    for text in ("a", "a", "a", "a", "bb", "bb", "a", "a"):
        assert compiled(X, text).equal(X + len(text))
    assert recorder.frame_count == 2
    compiled(X, "ccc")  # in the place of "bb"
    assert recorder.frame_count == 3
    for text in ("a", "ccc", "a", "ccc"):
        assert compiled(X, text).equal(X + len(text))
    assert recorder.frame_count == 3
    assert compiled(X, "bb").equal(X + 2)
    assert recorder.frame_count == 4


def test_calls_that_never_come_twice_are_not_compiled_for_ever() -> None:
    recorder = Recorder()
    compiled = alternator.compile(fresh(), backend=recorder, recompile_limit=2)
    for n in range(300):
        assert compiled(X, "a" * n).equal(X + n)
    assert recorder.frame_count < 8


def test_what_comes_again_and_again_is_compiled_in_the_end() -> None:
    recorder = Recorder()
    compiled = alternator.compile(fresh(), backend=recorder, recompile_limit=2)
    for n in range(5):
        compiled(X, "a" * n)
    assert recorder.frame_count == 2
    for _ in range(100):
        assert compiled(X, "another").equal(X + 7)
    assert recorder.frame_count == 3


def test_what_runs_plainly_at_the_limit_is_no_recompilation() -> None:
    recorder = Recorder()

    def f(x: torch.Tensor, n: str) -> torch.Tensor:
        return x + len(n)

    compiled = alternator.compile(f, backend=recorder, recompile_limit=3)
    for i in range(20):
        compiled(X, "a" * i)
    made = recorder.frame_count - 1
    assert made < 19 and sum(utils.counters["recompiles"].values()) == made == len(alternator.why_recompiled(f))


def test_one_warning_names_the_expression(caplog: pytest.LogCaptureFixture) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)])
            self.layers[1].mode = "0"

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers[1](x) + len(self.layers[1].mode)

    net = Net()
    compiled = alternator.compile(net, backend="eager", recompile_limit=2)
    with caplog.at_level(logging.WARNING, "alternator"):
        for n in range(6):
            net.layers[1].mode = str(n)
            torch.testing.assert_close(compiled(X), net(X))
    (warning,) = caplog.records
    assert "what keeps changing: self.layers[1].mode\n" in warning.getMessage()
    assert "cure: keep what varies out of attributes" in warning.getMessage()


@pytest.mark.parametrize("settings", [{"error_on_recompile": True}, {"fail_on_recompile_limit_hit": True}])
def test_errors_where_they_were_asked_for(settings: dict[str, Any]) -> None:
    compiled = alternator.compile(fresh(), backend="eager", recompile_limit=1)
    compiled(X, "a")
    with config.patch(settings), pytest.raises((exc.RecompileError, exc.FailOnRecompileLimitHit), match="n: expected 'a'"):
        compiled(X, "bb")
    assert compiled(X, "a").equal(X + 1)


def test_fullgraph_raises_at_the_limit() -> None:
    compiled = alternator.compile(fresh(), backend="eager", recompile_limit=1, fullgraph=True)
    compiled(X, "a")
    with pytest.raises(exc.FailOnRecompileLimitHit, match="what keeps changing: n"):
        compiled(X, "bb")


def test_isolated_caches_have_limits_of_their_own() -> None:
    fn, recorder = fresh(), Recorder()
    first, second = (alternator.compile(fn, backend=recorder, recompile_limit=2, isolate_recompiles=True) for _ in range(2))
    for compiled in (first, second):
        for text in ("a", "bb", "a", "bb"):
            assert compiled(X, text).equal(X + len(text))
    assert recorder.frame_count == 4
    first(X, "ccc")
    assert recorder.frame_count == 5
    for text in ("a", "bb"):
        second(X, text)
    assert recorder.frame_count == 5


G = 3


def reads(x: torch.Tensor, thing: Any, table: Any, items: Any) -> torch.Tensor:
    return x + thing.number + table["k"][0] + len(items) + G


@pytest.mark.parametrize(
    "expression,was,now,change",
    [
        ("thing.number", "'1'", "'22'", lambda a: setattr(a["thing"], "number", "22")),
        ("table['k'][0]", "'z'", "'y'", lambda a: a["table"]["k"].__setitem__(0, "y")),
        ("items", "length 1", "length 2", lambda a: a["items"].append(1)),
        ("G", "'g'", "'h'", lambda a: globals().__setitem__("G", "h")),
        ("x", "tensor dtype float", "tensor dtype double", lambda a: a.__setitem__("x", a["x"].double())),
        ("n", "'c'", "'d'", lambda a: a["cell"].__class__.cell_contents.__set__(a["cell"], "d")),
        ("net.bias", "False", "True", lambda a: setattr(a["net"], "bias", True)),
        ("net.blocks[0].inplace", "False", "True", lambda a: setattr(a["net"].blocks[0], "inplace", True)),
        (
            "table",
            "type dict",
            "type collections.OrderedDict",
            lambda a: a.__setitem__("table", __import__("collections").OrderedDict(a["table"])),
        ),
    ],
)
def test_why_in_the_users_words(expression: str, was: str, now: str, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "G", "g")
    n = "c"

    def reads(x: Any, thing: Any, table: Any, items: Any, net: Any) -> Any:
        text = thing.number + table["k"][0] + G + n
        return net.blocks[0](x) + len(text) + len(items) + net.bias

    net = torch.nn.Module()
    net.bias, net.blocks = False, torch.nn.ModuleList([torch.nn.ReLU()])
    given: dict[str, Any] = {"x": X, "thing": types.SimpleNamespace(number="1"), "table": {"k": ["z"]}, "items": [1], "net": net}
    compiled = alternator.compile(reads, backend="eager")
    compiled(**given)
    cell = reads.__closure__[reads.__code__.co_freevars.index("n")]  # type: ignore[index]
    change(given_and_cell := {**given, "cell": cell})
    del given_and_cell["cell"]
    compiled(**given_and_cell)
    (why,) = alternator.why_recompiled(reads)
    assert (why.expression, why.was, why.now) == (expression, was, now)
    assert why.function == "reads" and why.cure and expression in str(why)
    assert alternator.why_recompiled() == [why]
    alternator.reset()
    assert alternator.why_recompiled() == []


@pytest.mark.parametrize(
    "path,text",
    [
        ("self.__dict__['_modules']['0'].__dict__['_parameters']['weight']", "self[0].weight"),
        ("self.__dict__['cfg']['a b']", "self.cfg['a b']"),
        ("d['__dict__']", "d['__dict__']"),
        ("o.__dict__['table']['key']", "o.table['key']"),
        ("globals()['np']", "np"),
    ],
)
def test_paths_as_the_program_writes_them(path: str, text: str) -> None:
    assert readable(path) == text


def test_a_function_that_often_raises_keeps_what_was_compiled() -> None:
    def f(x):
        if x.shape[0] > 3:
            raise ValueError(x.shape)
        return x * 2

    recorder = Recorder()
    compiled = alternator.compile(f, backend=recorder, dynamic=False)
    compiled(torch.ones(2))
    skipped: list[Any] = []
    with utils.listening_to_skips(skipped.append):
        for _ in range(100):
            with pytest.raises(ValueError):
                compiled(torch.ones(4))
    assert 16 <= len(skipped) < 30  # captures that raised
    compiled(torch.ones(2))
    assert len(recorder.graphs) == 1
    for _ in range(100):  # twice as many as before it is tried again, at most
        compiled(torch.ones(3))
    assert len(recorder.graphs) == 2


class Color(enum.Enum):
    RED = 1
    BLUE = 2


P, Q = torch.nn.Parameter(X.clone()), torch.nn.Parameter(X.clone())


WORDS: dict[str, tuple[Any, Any, Any]] = {
    "(what v gives next)[0]: expected 1, found 3": (lambda x, v: x * next(v), lambda: iter([1]), lambda: iter([3])),
    "v: expected the object Color.RED, found Color.BLUE": (
        lambda x, v: x * 2 if v is Color.RED else x + 1,
        lambda: Color.RED,
        lambda: Color.BLUE,
    ),
    "v.default_factory: expected the object <class 'int'>, found <class 'list'>": (
        lambda x, v: x * v["a"],
        lambda: collections.defaultdict(int, a=1),
        lambda: collections.defaultdict(list, a=1),
    ),
    "v[a torch.nn.parameter.Parameter]: expected 1, found 2": (lambda x, v: x * v[P], lambda: {P: 1}, lambda: {P: 2}),
    "v: expected the keys [a torch.nn.parameter.Parameter], found others that look the same": (
        lambda x, v: x * len([*v]),
        lambda: {P: 1},
        lambda: {Q: 1},
    ),
    "v[0]: expected 1, found 2": (lambda x, v: x * v[0], lambda: collections.deque([1]), lambda: collections.deque([2])),
    "(what v shows)['a']: expected 1, found 2": (
        lambda x, v: x * v["a"],
        lambda: types.MappingProxyType({"a": 1}),
        lambda: types.MappingProxyType({"a": 2}),
    ),
}


@pytest.mark.parametrize("words", WORDS)
def test_reasons_are_in_the_words_of_the_program(words: str) -> None:
    fn, first, second = WORDS[words]
    compiled = alternator.compile(fn, backend="eager")
    compiled(X, first())
    compiled(X, second())
    assert [why.reason for why in alternator.why_recompiled()] == [words]


def test_what_changed_of_the_global_state_is_named() -> None:
    compiled = alternator.compile(lambda x: x @ x, backend="eager")
    compiled(torch.ones(2, 2))
    with torch.no_grad():
        compiled(torch.ones(2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        compiled(torch.ones(2, 2))
    reasons = [why.reason for why in alternator.why_recompiled()]
    assert reasons[0] == "global state: grad mode: expected True, found False"
    assert reasons[1] == "global state: grad mode: expected False, found True"
