"""What ``compile`` returns behaves as what it wraps: every probe sees the same on both."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import pickle
import types
import typing
import weakref
from typing import Any

import pytest
import torch

import alternator

X = torch.ones(2, 3)


def compiled(fn: Any) -> Any:
    return alternator.compile(fn, backend="eager")


def function(x: torch.Tensor, k: int = 2, *, flag: bool = False) -> torch.Tensor:
    """The documentation."""
    return x * k if not flag else x


function.mark = 7  # type: ignore[attr-defined]


@alternator.compile(backend="eager")
def decorated(x: torch.Tensor) -> torch.Tensor:
    return x + 3


class Thing:
    def __init__(self) -> None:
        self.number = 4

    def method(self, x: torch.Tensor, k: int = 1) -> torch.Tensor:
        """A method."""
        return x + self.number * k


class Net(torch.nn.Module):
    """A module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.register_buffer("offset", torch.ones(3))
        self.gain = 2.0

    def forward(self, x: torch.Tensor, k: int = 1) -> torch.Tensor:
        """Its forward."""
        return self.linear(x) * self.gain + self.offset * k

    def extra(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gain


FUNCTION_PROBES = {
    "name": lambda f: (f.__name__, f.__qualname__, f.__module__),
    "documentation": lambda f: (f.__doc__, inspect.getdoc(f)),
    "annotations": lambda f: (f.__annotations__, typing.get_type_hints(f)),
    "signature": lambda f: str(inspect.signature(f)),
    "argument specification": inspect.getfullargspec,
    "arguments of a call": lambda f: sorted(inspect.getcallargs(f, X)),
    "binding": lambda f: inspect.signature(f).bind(X, 3).arguments["k"],
    "source": lambda f: (inspect.getsource(f), inspect.getfile(f), inspect.getsourcelines(f)[1]),
    "code": lambda f: (f.__code__, f.__defaults__, f.__kwdefaults__, f.__closure__),
    "kind": lambda f: (inspect.isfunction(f), inspect.ismethod(f), inspect.isroutine(f), callable(f), inspect.isclass(f)),
    "kind of function": lambda f: (inspect.iscoroutinefunction(f), inspect.isgeneratorfunction(f), inspect.isasyncgenfunction(f)),
    "isinstance": lambda f: isinstance(f, types.FunctionType),
    "own attribute": lambda f: f.mark,
    "missing attribute": lambda f: hasattr(f, "nothing"),
    "equality": lambda f: (f == f, f != f, hash(f) == hash(f), f in {f: 1}),
    "weak reference": lambda f: weakref.ref(f)() is f,
    "calls": lambda f: [f(X), f(X, 3), f(X, k=4), f(X, flag=True), f(*[X], **{"k": 5}), f(x=X)],
    "wrong calls": lambda f: [_error(f), _error(f, X, 1, 2), _error(f, X, z=1)],
    "partial": lambda f: functools.partial(f, k=3)(X),
    "wraps": lambda f: functools.wraps(f)(lambda *args: f(*args))(X),
    "wrapped's name": lambda f: functools.wraps(f)(lambda: 1).__name__,
    "cache": lambda f: functools.lru_cache(f)(X),
    "copy": lambda f: copy.copy(f)(X),
    "deep copy": lambda f: copy.deepcopy([f])[0](X),
    "pickle": lambda f: pickle.loads(pickle.dumps(f))(X),
    "as a method": lambda f: type("Owner", (torch.Tensor,), {"f": f}).f,
    "bound": lambda f: str(inspect.signature(types.MethodType(f, X))),
    "static attribute": lambda f: inspect.isfunction(inspect.getattr_static(type("O", (), {"f": f}), "f")),
}


def _error(f: Any, *args: Any, **kwargs: Any) -> Any:
    with pytest.raises(TypeError) as caught:
        f(*args, **kwargs)
    return str(caught.value)


def same(a: Any, b: Any) -> None:
    if isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b)
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for left, right in zip(a, b):
            same(left, right)
    else:
        assert a == b


@pytest.mark.parametrize("name", FUNCTION_PROBES)
def test_functions(name: str) -> None:
    probe = FUNCTION_PROBES[name]
    wrapped = compiled(function)
    if name == "as a method":
        assert probe(wrapped) is wrapped
        return
    for _ in range(2):
        same(probe(function), probe(wrapped))


METHOD_PROBES = {
    "name": lambda m: (m.__name__, m.__qualname__, m.__doc__),
    "self": lambda m: (m.__self__.number, m.__func__ is Thing.method),
    "signature": lambda m: str(inspect.signature(m)),
    "kind": lambda m: (inspect.ismethod(m), inspect.isfunction(m), isinstance(m, types.MethodType)),
    "calls": lambda m: [m(X), m(X, 3), m(X, k=2)],
    "copy": lambda m: copy.deepcopy(m)(X),
    "pickle": lambda m: pickle.loads(pickle.dumps(m))(X),
}


@pytest.mark.parametrize("name", METHOD_PROBES)
def test_bound_methods(name: str) -> None:
    thing = Thing()
    same(METHOD_PROBES[name](thing.method), METHOD_PROBES[name](compiled(thing.method)))


def _descriptors(wrap: Any) -> Any:
    class Owner:
        number = 5

        @wrap
        def method(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.number

        @classmethod
        @wrap
        def of_class(cls, x: torch.Tensor) -> torch.Tensor:
            return x + cls.number

        @staticmethod
        @wrap
        def static(x: torch.Tensor) -> torch.Tensor:
            return x + 1

        @property
        @wrap
        def value(self) -> torch.Tensor:
            return X + self.number

        @functools.cached_property
        @wrap
        def once(self) -> torch.Tensor:
            return X + self.number

        @wrap
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.number

        @wrap
        def __add__(self, x: torch.Tensor) -> torch.Tensor:
            return x - self.number

    return Owner


def test_decorated_members_of_a_class() -> None:
    plain, wrapped = _descriptors(lambda f: f), _descriptors(alternator.compile(backend="eager"))
    for owner in (plain, wrapped):
        assert inspect.ismethod(owner().method) and owner().method.__self__.number == 5
        assert [n for n, _ in inspect.getmembers(owner, inspect.isfunction)] == ["__add__", "__call__", "method", "static"]
    a, b = plain(), wrapped()
    for probe in (
        lambda o: o.method(X),
        lambda o: type(o).method(o, X),
        lambda o: o.of_class(X),
        lambda o: type(o).of_class(X),
        lambda o: [o.static(X), type(o).static(X)],
        lambda o: o.value,
        lambda o: [o.once, o.once],
        lambda o: o(X),
        lambda o: o + X,
        lambda o: str(inspect.signature(o.method)),
    ):
        same(probe(a), probe(b))


def test_a_decorated_global_goes_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    assert copy.deepcopy(decorated)(X).equal(X + 3)


def test_attributes_set_on_the_wrapper_stay_there() -> None:
    wrapped = compiled(function)
    wrapped.own, wrapped.__doc__, wrapped.__name__ = 1, "other", "other_name"
    assert (wrapped.own, wrapped.__doc__, wrapped.__name__) == (1, "other", "other_name")
    assert not hasattr(function, "own") and function.__doc__ == "The documentation." and function.__name__ == "function"
    del wrapped.own
    assert not hasattr(wrapped, "own")


MODULE_PROBES = {
    "isinstance": lambda m: (isinstance(m, Net), isinstance(m, torch.nn.Module), m.__class__),
    "state": lambda m: list(m.state_dict()),
    "state inside of another": lambda m: list(torch.nn.Sequential(m).state_dict()),
    "parameters": lambda m: [name for name, _ in m.named_parameters()],
    "buffers": lambda m: [name for name, _ in m.named_buffers()],
    "children": lambda m: [name for name, _ in m.named_children()],
    "modules": lambda m: ([name for name, _ in m.named_modules()], m in list(m.modules())),
    "attributes": lambda m: (m.gain, m.linear.in_features, m.training, hasattr(m, "nothing")),
    "signature": lambda m: (str(inspect.signature(m)), str(inspect.signature(m.forward))),
    "documentation": lambda m: (m.__doc__, m.forward.__doc__, m.forward.__name__),
    "text": repr,
    "directory": lambda m: {"linear", "gain", "extra", "forward"} <= set(dir(m)),
    "variables": lambda m: sorted(vars(m)),
    "equality": lambda m: (m == m, hash(m) == hash(m), m in {m}),
    "calls": lambda m: [m(X), m(X, 2), m(X, k=3), m.forward(X), m.extra(X)],
    "inside of another": lambda m: torch.nn.Sequential(m, torch.nn.ReLU())(X),
    "pickle": lambda m: pickle.loads(pickle.dumps(m))(X),
    "deep copy": lambda m: copy.deepcopy(m)(X),
    "copy": lambda m: copy.copy(m)(X),
    "save and load": lambda m: torch.load(_saved(m), weights_only=False)(X),
    "evaluation": lambda m: (m.eval() is m, m.training, m.train() is m, m.training),
    "conversion": lambda m: (m.double() is m, m.linear.weight.dtype, m.float().linear.weight.dtype),
    "weak reference": lambda m: weakref.ref(m)() is m,
    "apply": lambda m: m.apply(lambda part: None) is m,
    "get": lambda m: (m.get_parameter("linear.weight").shape, m.get_submodule("linear").out_features),
}


def _saved(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("name", MODULE_PROBES)
def test_modules(name: str) -> None:
    plain = Net()
    wrapped = compiled(copy.deepcopy(plain))
    assert type(wrapped) is alternator.OptimizedModule and isinstance(wrapped, alternator.OptimizedModule)
    same(MODULE_PROBES[name](plain), MODULE_PROBES[name](wrapped))


def test_a_compiled_module_is_written_through() -> None:
    net = Net()
    wrapped = compiled(net)
    wrapped.gain = 5.0
    wrapped.extra_parameter = torch.nn.Parameter(X)
    assert net.gain == 5.0 and "extra_parameter" in dict(net.named_parameters())
    torch.testing.assert_close(wrapped(X), net(X))
    del wrapped.extra_parameter
    assert not hasattr(net, "extra_parameter")
    handle = wrapped.register_forward_hook(lambda module, args, out: out * 0)
    assert not wrapped(X).any() and not net(X).any()
    handle.remove()
    torch.testing.assert_close(wrapped(X), net(X))
    wrapped.load_state_dict({f"_orig_mod.{name}": value * 0 for name, value in net.state_dict().items()})
    assert not net.linear.weight.any()


def test_copies_are_compiled_for_themselves() -> None:
    wrapped = compiled(Net())
    other = copy.deepcopy(wrapped)
    other.gain = 7.0
    assert other._orig_mod is not wrapped._orig_mod and wrapped.gain == 2.0
    torch.testing.assert_close(other(X), other._orig_mod(X))
    torch.testing.assert_close(wrapped(X), wrapped._orig_mod(X))


def test_defaults_and_code_that_are_set_on_a_compiled_function_are_the_wrapped_ones():
    def f(x, k=1, *, m=2):
        return x * k + m

    compiled = alternator.compile(f, backend="eager")
    assert compiled(X)[0, 0] == 3
    compiled.__defaults__ = (5,)
    compiled.__kwdefaults__ = {"m": 7}
    assert compiled(X)[0, 0] == 12 and compiled.__defaults__ == f.__defaults__ == (5,)
    compiled.__code__ = (lambda x, k=1, *, m=2: x - k - m).__code__
    assert compiled(X)[0, 0] == -11
    compiled.tag = 3
    assert compiled.tag == 3 and not hasattr(f, "tag")
