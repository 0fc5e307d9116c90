"""Every row of the table of breaks: something that raises it, what the user is told, and that the program runs all the same."""

from __future__ import annotations

import array
import asyncio
import builtins
import collections
import functools
import itertools
import os
import sys
import threading
import time
import types
import warnings
import weakref

import pytest
import torch
from helpers import Recorder

import alternator
from alternator import breaks, exc

X = torch.ones(3)
lock = threading.Lock()
EXAMPLES: dict[str, tuple] = {}


def example(code: str, *args, **options):
    """Decorator: the function, called with ``args``, breaks with this code."""

    def put(fn):
        assert code not in EXAMPLES
        EXAMPLES[code] = fn, args, options
        return fn

    return put


class Box:
    """Something from outside."""

    def __init__(self, **attrs) -> None:
        self.__dict__.update(attrs)


class Odd(torch.Tensor):
    """A tensor subclass whose subscripts are its own."""

    def __getitem__(self, key):
        return super().__getitem__(key)


CACHED = functools.lru_cache(lambda: 1)


class Unused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * ctx.needs_input_grad[0] if ctx.saved_variables else x

    @staticmethod
    def backward(ctx, grad):
        return grad


@example("ASYNC", X)
def _(x):
    async def answer():
        return x + 1

    return asyncio.run(answer())


@example("AUTOGRAD_FUNCTION", X.clone().requires_grad_())
def _(x):
    return Unused.apply(x * 2)


@example("BACKWARD", X.clone().requires_grad_())
def _(x):
    (x * 2).sum().backward()
    return x + 1


@example("FUNCTION_CACHE", X)
def _(x):
    return x + CACHED.cache_info().maxsize


@example("BREAKPOINT", X)
def _(x):
    breakpoint()
    return x + 1


@example("CLASS_CREATION", X)
def _(x):
    class Made(metaclass=Prepared):
        pass

    return x + 1, Made.__name__


class Prepared(type):
    @classmethod
    def __prepare__(cls, name, bases):
        return collections.OrderedDict()


@example("DATA_DEPENDENT_BRANCH", X)
def _(x):
    return x + 1 if x.sum() > 0 else x - 1


@example("DATA_DEPENDENT_VALUE", X)
def _(x):
    return x + x.sum().item()


@example("DISABLED_FUNCTION", X)
def _(x):
    return disabled(x) + 1


@alternator.disable
def disabled(x):
    return x * 2


@example("TORCH_DISABLED", X)
def _(x):
    torch.compiler.cudagraph_mark_step_begin()
    return x + 1


@example("DISALLOWED", X)
def _(x):
    return torch.cosh(x) + 1


@example("DYNAMIC_OUTPUT_SHAPE", X)
def _(x):
    return x.nonzero() + 1


@example("EXCEPTION_STATE", X, ValueError("from outside"))
def _(x, error):
    return x + 1, error.with_traceback(None) is error


@example("EXEC", X)
def _(x):
    return x + eval("1 + 1")


class Closing:
    def __del__(self) -> None:
        pass


@example("FINALIZER", X)
def _(x):
    Closing()
    return x + 1


@example("FRAME_INTROSPECTION", X)
def _(x):
    return x + 1, sys._getframe() is None


@example("FUNC_TRANSFORM", X)
def _(x):
    return torch.func.vmap(lambda y: Doubled.apply(y))(torch.func.vmap(lambda y: y + 1)(x)) + torch.func.grad(
        lambda y: torch.func.vmap(Doubled.apply)(y).sum()
    )(x)


class Doubled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


@example("GENERATOR_STATE", X)
def _(x):
    numbers = (x + i for i in range(3))
    return next(numbers), numbers.gi_frame is None


@example("GLOBAL_STATE", X)
def _(x):
    torch.set_num_threads(torch.get_num_threads())
    return x + 1


@example("GRAPH_BREAK_CALL", X)
def _(x):
    alternator.graph_break("because")
    return x + 1


@example("HOP_BODY", X)
def _(x):
    return torch.cond(x.sum() > 0, lambda y: "text", lambda y: y, (x,))


@example("IDENTITY", X)
def _(x):
    return x + 1, str(object())


@example("IMPORT", X)
def _(x):
    import json

    return x + 1, json.__name__


@example("IO", X)
def _(x):
    with open(os.devnull) as file:
        return x + 1, file.name


@torch.jit.script
def scripted(x):
    print("scripted")
    return x * 2


@example("JIT", X, scripted)
def _(x, fn):
    return fn(x) + 1


@example("MODE", X)
def _(x):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        return x + 1


@example("NOT_COMPLIANT", X, only_allow_pt2_compliant_ops=True)
def _(x):
    return torch.ops.every_code.plain(x) + 1


@example("LONG_LOOP", X, idle_steps_limit=10)
def _(x):
    return x + len([n for n in range(10_000)])


@example("NO_FAKE_RULE", X)
def _(x):
    return torch.ops.every_code.real(x) + 1


@example("OVERLAPPING_WRITE", X)
def _(x):
    y = x * 1
    try:
        y[1:].copy_(y[:-1])
    except RuntimeError:
        return y


@example("NUMPY", X, torch.arange(3).numpy().astype("datetime64[s]"))
def _(x, dates):
    return x + 1, dates[0]


@example("OUTSIDE_ITERATOR", X, lambda: {"a": 1}.items().__iter__())
def _(x, pairs):
    return x + 1, pairs.__length_hint__()


class Sink:
    def write(self, text):
        self.text = text


@example("PRINT", X, Sink)
def _(x, make):
    sink = make()
    print(x.sum(), file=sink)
    return x + 1, sink.text


@example("RAISED_IN_CAPTURE", X, raise_internal_errors=False)
def _(x):
    if torch.compiler.is_compiling():
        raise ValueError("not here")
    return x + 1


@example("RECURSION", X)
def _(x):
    return deep(x, 1200)


def deep(x, n):
    return x + 1 if n == 0 else deep(x, n - 1)


@example("RNG", X)
def _(x):
    return x + 1, len(torch.get_rng_state())


@example("SPARSE", X.to_sparse())
def _(x):
    return x + x


@example("TENSOR_ATTRIBUTE", X.clone().requires_grad_())
def _(x):
    return (x * 2).grad_fn.name()


@example("TENSOR_DATA", X)
def _(x):
    return x + torch.frombuffer(bytearray(4), dtype=torch.float32)


@example("TENSOR_EFFECT", X)
def _(x):
    return x.clone().share_memory_() + 1


@example("TENSOR_HOOK", X.clone().requires_grad_())
def _(x):
    y = x * 2
    y.register_hook(print)
    return y


@example("TENSOR_SUBCLASS", X.as_subclass(Odd))
def _(x):
    return x + 1


@example("THREAD", X)
def _(x):
    with lock:
        return x + 1


@example("TIME", X)
def _(x):
    return x + (time.time() > 0)


GRAPH_IN_C = torch._C.Graph()


@example("UNKNOWN_C_FUNCTION", X)
def _(x):
    return x + 1, GRAPH_IN_C.inputs()


@example("UNREBUILDABLE_OUTPUT", X)
def _(x):
    return x + 1, itertools.groupby([1, 1, 2])


@example("UNSUPPORTED_ATTRIBUTE", X)
def _(x):
    Box.written = 1
    return x + 1, len(Box.__dict__)


@example("UNSUPPORTED_CALL", X)
def _(x):
    return torch.cond(x.sum() > 0, lambda x: x * constant(x + 1), lambda x: x * 1, (x,))


@alternator.assume_constant_result
def constant(x):
    return 1


@example("UNSUPPORTED_EFFECT", X, lambda: Box(a=1))
def _(x, box):
    box.__dict__ = {"b": 2}
    return x + 1


@example("UNSUPPORTED_OPERATION", X, array.array("i", [1]))
def _(x, numbers):
    return x + 1, numbers == numbers


@example("UNSUPPORTED_TYPE", X, lambda: {(Box(),)})
def _(x, items):
    return x + len([one for one in items])


@example("WARNING", X)
def _(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("careful")
    return x + 1


@example("LIFETIME", X, lambda: [Closing()])
def _(x, boxed):
    it = boxed.pop()
    x = x + 1
    del it
    return x


@example("WEAKREF", X)
def _(x):
    box = Box()
    ref = weakref.ref(box, lambda dead: None)
    return x + 1, ref() is box


def arguments(args):
    return [arg() if type(arg) is types.FunctionType else arg for arg in args]


BY_OPTION = ("DATA_DEPENDENT_VALUE", "DYNAMIC_OUTPUT_SHAPE")
"""What breaks unless an option says otherwise, and is captured where the whole function must be one graph."""


@pytest.mark.parametrize("code", sorted(EXAMPLES))
def test_raises(code, monkeypatch, tmp_path) -> None:
    fn, args, options = EXAMPLES[code]
    monkeypatch.setattr(sys, "breakpointhook", lambda: None)
    if code == "IMPORT":
        monkeypatch.setattr(builtins, "__import__", lambda *args: ORIGINAL_IMPORT(*args))
    if code == "RECURSION":
        sys.setrecursionlimit(5000)
    if code == "DISALLOWED":
        alternator.disallow_in_graph(torch.cosh)
    with alternator.config.patch(**options) if options else alternator.config.patch(verbose=False):
        alternator.reset()
        with pytest.raises(exc.Unsupported) as raised:
            strict = {"error_on_graph_break": True} if code in BY_OPTION else {"nopython": True}
            alternator.optimize("eager", **strict)(fn)(*arguments(args))
        error = raised.value
        assert error.code == code, error
        kind = breaks.lookup(code)
        for part in (kind.title, f"[{code}]", "reason: ", kind.reason, "cure: ", error.cure, "from user code:", __file__):
            assert part in str(error), (part, str(error))
        if code == "HOP_BODY":  # run plainly, torch.cond refuses it, too
            return
        alternator.reset()
        compiled = alternator.compile(fn, backend=Recorder())
        for _ in range(2):
            assert repr(outcome(compiled, args)) == repr(outcome(fn, args))


@pytest.fixture(autouse=True)
def same_recursion_limit():
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)


def outcome(fn, args):
    result = fn(*arguments(args))
    if isinstance(result, types.GeneratorType):
        return list(result)
    return [str(type(part)) if str(part).startswith("<") else part for part in (result if type(result) is tuple else [result])]


ORIGINAL_IMPORT = builtins.__import__


def setup_module() -> None:
    global library
    library = torch.library.Library("every_code", "FRAGMENT")
    for name in ("plain", "real"):
        library.define(f"{name}(Tensor x) -> Tensor")
    library.impl("plain", torch.sin, "CompositeImplicitAutograd")
    library.impl("real", lambda x: x * 2, "CPU")


def teardown_module() -> None:
    library._destroy()


UNREACHED = {
    "OPCODE": "no instruction of this version lacks a handler",
    "DATA_DEPENDENT_GUARD": "a second net below the breaks on values of tensors",
}


def test_every_row_has_an_example() -> None:
    assert set(EXAMPLES) | set(UNREACHED) == set(breaks.BREAKS)
