"""What ``compile()`` returns, and frames that native code makes under redirection."""

import functools
import gc
import inspect
import weakref

import pytest
from hook_helpers import entry_for, local, no_callback, own, running  # noqa: F401

from alternator._C import eval_frame
from alternator._C.eval_frame import (
    RUN_PLAIN,
    CompiledFunction,
    DisabledCall,
    call_redirected,
)

# ---- callables ------------------------------------------------------------------------------------------------------


def test_compiled_function_looks_like_what_it_wraps():
    class Owner:
        def method(self, x: int) -> int:
            "A docstring."
            return x

    def callback(func, values):
        return None

    wrapper = CompiledFunction(Owner.method, callback, Owner.method)
    assert wrapper.__name__ == "method" and wrapper.__code__ is Owner.method.__code__
    assert repr(wrapper) == repr(Owner.method)
    functools.update_wrapper(wrapper, Owner.method)
    assert wrapper.__doc__ == "A docstring." and wrapper.__wrapped__ is Owner.method
    assert inspect.signature(wrapper) == inspect.signature(Owner.method)
    wrapper.custom = 1
    assert wrapper.custom == 1 and not hasattr(Owner.method, "custom")
    with pytest.raises(AttributeError):
        wrapper.nothing
    Owner.method = wrapper
    assert Owner.method is wrapper
    owner = Owner()
    assert owner.method(3) == 3 and owner.method.__self__ is owner and owner.method(x=4) == 4
    assert wrapper.__get__(None, Owner) is wrapper and callable(wrapper) and wrapper.__call__(owner, 2) == 2
    ref = weakref.ref(wrapper)
    assert ref() is wrapper
    with pytest.raises(TypeError):
        wrapper(owner, 1, 2)


def test_compiled_function_restores_the_callback():
    def outer_callback(func, values):
        return None

    def inner_callback(func, values):
        return None

    states = []

    def f(fail=False):
        states.append(eval_frame.get_eval_frame())
        if fail:
            raise KeyError

    def outer():
        states.append(eval_frame.get_eval_frame())
        CompiledFunction(f, inner_callback)()
        with pytest.raises(KeyError):
            CompiledFunction(f, inner_callback)(fail=True)
        DisabledCall(f)()
        CompiledFunction(f, None)()
        states.append(eval_frame.get_eval_frame())

    running(outer_callback, outer)
    assert states == [outer_callback, inner_callback, inner_callback, None, None, outer_callback]


@pytest.mark.parametrize("arguments", [((1, 2), {}), ((1,), {}), ((1,), {"b": 3}), ((), {"a": 1, "b": 2})])
def test_all_ways_to_pass_arguments(arguments):
    class Owner:
        def method(self, a, b=5):
            return ("plain", a, b)

    def callback(func, values):
        if func is Owner.method:
            return entry_for(func, values, [local(0), local(1), local(2)], lambda *args: args, (0, 1, 2))

    owner = Owner()
    args, kwargs = arguments
    expected = (owner,) + owner.method(*args, **kwargs)[1:]
    bound = CompiledFunction(owner.method, callback)
    free = CompiledFunction(Owner.method, callback)
    for _ in range(3):
        assert bound(*args, **kwargs) == expected
        assert free(owner, *args, **kwargs) == expected


def test_callable_objects_and_builtins():
    class Adder:
        def __call__(self, x):
            return x + 1

    offered = []

    def callback(func, values):
        offered.append(func.__name__)

    assert CompiledFunction(Adder(), callback)(1) == 2 and offered == ["__call__"]
    assert CompiledFunction(len, callback)([1]) == 1
    with pytest.raises(TypeError):
        CompiledFunction(3, callback)
    with pytest.raises(TypeError):
        CompiledFunction(len, 3)


def test_wrappers_are_collected():
    def round_trip():
        def f():
            return wrapper

        wrapper = CompiledFunction(f, lambda func, values: None)
        wrapper.me = wrapper
        wrapper()
        return weakref.ref(wrapper)

    ref = round_trip()
    gc.collect()
    assert ref() is None


# ---- redirection ----------------------------------------------------------------------------------------------------


class Ordered:
    def __init__(self, n):
        self.n = n

    def __lt__(self, other):
        return self.n < other.n


def test_redirect_sees_the_frames_that_native_code_makes():
    seen = []

    def callback(func, values):
        seen.append(func.__name__)
        assert eval_frame.get_eval_frame() is None
        if func is Ordered.__lt__:
            a, b = values
            return a.n > b.n  # the other way round: our result is the frame's
        return RUN_PLAIN

    items = [Ordered(i) for i in (2, 3, 1)]
    result = call_redirected(callback, sorted, (items,))
    assert [item.n for item in result] == [3, 2, 1] and set(seen) == {"__lt__"}

    seen.clear()

    def key(item):
        return helper(item.n)

    def helper(n):
        return -n

    result = call_redirected(callback, sorted, (items,), {"key": key})
    assert [item.n for item in result] == [3, 2, 1]
    assert seen.count("key") == 3 and seen.count("helper") == 3  # callees of plain frames are seen too
    assert sorted(items)[0].n == 1  # off again


def test_nested_redirection():
    log = []

    def inner(func, values):
        log.append("inner")
        return 1

    def outer(func, values):
        log.append("outer")
        one = call_redirected(inner, f, (0,))
        return one + f(10)  # off while the callback runs

    def f(x):
        return x

    assert call_redirected(outer, f, (5,)) == 11
    assert log == ["outer", "inner"]


def test_exceptions_under_redirection():
    def f():
        raise KeyError("plain")

    def broken(func, values):
        raise ValueError("callback")

    with pytest.raises(ValueError, match="callback"):
        call_redirected(broken, f, ())
    with pytest.raises(KeyError, match="plain"):
        call_redirected(lambda func, values: RUN_PLAIN, f, ())
    with pytest.raises(TypeError):
        call_redirected(broken, len, (3,))
    with pytest.raises(TypeError):
        call_redirected(broken, f, (), 3)
    assert f.__name__ == "f"


def test_generators_under_redirection():
    def gen():
        yield helper()
        yield 2

    def helper():
        return 1

    seen = []

    def callback(func, values):
        seen.append(func.__name__)
        return RUN_PLAIN

    running_generator = gen()
    assert call_redirected(callback, list, (running_generator,)) == [1, 2]
    assert seen == ["helper"]
    assert call_redirected(callback, lambda: list(gen()), ()) == [1, 2]
    assert seen.count("gen") == 1  # the call that makes the generator


def test_redirection_inside_a_callback_with_entries():
    def f(x):
        return x

    def callback(func, values):
        if func is f:
            got = call_redirected(lambda func, values: 100, g, (1,))
            return entry_for(f, values, [local(0)], lambda x: (x, got), (0,))

    def g(x):
        return x

    assert running(callback, f, 1) == (1, 100)
