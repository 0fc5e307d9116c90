"""Subclasses of torch.Tensor: what overrides torch's functions, and what wraps other tensors."""

import functools
import operator

import pytest
import torch
from helpers import assert_same, same
from torch.overrides import TorchFunctionMode
from torch.testing._internal.two_tensor import TwoTensor

import alternator


class Plain(torch.Tensor):
    pass


class Seeing(torch.Tensor):
    """Lists the calls that it sees."""

    seen: list = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append((func.__name__, types, len(args), sorted(kwargs or {})))
        return super().__torch_function__(func, types, args, kwargs)


class Tagged(torch.Tensor):
    """Made of a tensor and a tag, which results inherit."""

    def __new__(cls, data, tag):
        made = data.as_subclass(cls)
        made.tag = tag
        return made

    @property
    def twice(self):
        return self * 2

    @property
    def label(self):
        return f"<{self.tag}>"

    @label.setter
    def label(self, text):
        self.tag = text.strip("<>")

    def plus(self, other):
        return self + other

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, Tagged) and not hasattr(result, "tag"):
            result.tag = next(arg.tag for arg in args if isinstance(arg, Tagged)) + "'"
        return result


class Naming(torch.Tensor):
    """Says who was asked."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return cls.__name__, func.__name__, [kind.__name__ for kind in types]


class Below(Naming):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return NotImplemented if func is torch.sub else super().__torch_function__(func, types, args, kwargs)


class Operators(torch.Tensor):
    def __add__(self, other):
        return "add", other

    def __radd__(self, other):
        return "radd", other

    def __iadd__(self, other):
        return "iadd", other

    def __neg__(self):
        return "neg"


class Indexed(torch.Tensor):
    def __getitem__(self, key):
        return "item", key


class Own(torch.nn.Parameter):
    def scaled(self, factor):
        return self * factor


def of(kind, *sizes, requires_grad=False):
    made = torch.arange(float(torch.Size(sizes).numel())).reshape(sizes).as_subclass(kind)
    return made.requires_grad_() if requires_grad else made


def two(*sizes, requires_grad=False):
    a = torch.arange(float(torch.Size(sizes).numel())).reshape(sizes)
    return TwoTensor(a.clone().requires_grad_(requires_grad), (a * 10).requires_grad_(requires_grad))


def both(fn, make, calls=3, backend="eager", fullgraph=True):
    """Results of plain and captured runs, each on arguments of its own."""
    compiled = alternator.compile(fn, backend=backend, fullgraph=fullgraph)
    for _ in range(calls):
        plain_args, args = make(), make()
        plain, captured = fn(*plain_args), compiled(*args)
        _same_wrapped(plain, captured)
        _same_wrapped(plain_args, args)


def _same_wrapped(plain, captured):
    assert type(plain) is type(captured)
    if isinstance(plain, TwoTensor):
        _same_wrapped((plain.a, plain.b), (captured.a, captured.b))
    elif isinstance(plain, (tuple, list)):
        assert len(plain) == len(captured)
        for one, other in zip(plain, captured):
            _same_wrapped(one, other)
    else:
        assert_same(plain, captured)


# ---- __torch_function__


def test_results_are_of_the_class():
    def f(x):
        y = x + 1
        values, indices = torch.max(y, dim=0)
        return y, y.sin().T, x.shape, type(y), isinstance(y, Plain), values, indices, y.split(1), y.sum(), x.grad

    same(f, of(Plain, 3, 2), fullgraph=True, graphs=1)
    same(f, of(Plain, 3, 2), fullgraph=True, backend="inductor")


def test_a_class_sees_every_call_as_it_does_plainly():
    def f(x):
        Seeing.seen.clear()
        a = torch.nn.functional.softmax(x + 1, dim=0) - x[0]
        a = torch.cat([a, -x]) @ x.new_ones(2) + 2 * x.device.type.count("c")
        x.norm(), x.T, x.requires_grad, len(x), x.grad, x.is_leaf
        for row in x:
            a = a + row[0]
        x[0] = 1
        x += 1
        torch.nn.functional.layer_norm(torch.stack((x, x)), (2,))
        torch.where(x > 0, x, 0.0)
        return torch.nn.functional.max_pool1d(x, 2), 2 - x, list(Seeing.seen)

    both(f, lambda: (of(Seeing, 2, 2),))


def test_attributes_methods_and_properties_of_the_class():
    def f(x):
        y = x.plus(1)
        y.label = "<new>"
        y.extra = [x.twice]
        return y, y.tag, y.label, x.label, y.twice.tag, y.extra[0].tag, hasattr(x, "nothing")

    both(f, lambda: (Tagged(torch.ones(2), "t"),))

    def g(x):
        y = Tagged(x.sin(), "made") + 1
        return y, y.tag, y.twice

    report = same(g, torch.ones(2), fullgraph=True, graphs=1)
    assert report.outcomes[0].result[0].tag == "made'"


def test_attributes_that_differ_are_seen():
    compiled = alternator.compile(lambda x: (x + 1, x.tag), backend="eager", fullgraph=True)
    for tag in ("a", "b"):
        x = Tagged(torch.ones(2), tag)
        assert compiled(x)[1] == tag
        x.tag = "changed"
        assert compiled(x)[1] == "changed"


def test_which_class_is_asked():
    def f(a, b):
        return torch.mul(a, b), torch.sub(a, b), a + 1, torch.nn.functional.relu(b), b.shape, a[0]

    a, b = of(Naming, 2), of(Below, 2)
    assert alternator.compile(f, backend="eager", fullgraph=True, dynamic=False)(a, b) == f(a, b)


def test_a_mode_is_asked_before_the_class():
    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {})), [kind.__name__ for kind in types]

    def f(x):
        with Mode():
            return torch.add(x, 1), x.shape, torch.nn.functional.softmax(x, dim=0)

    both(f, lambda: (of(Plain, 2),))


def test_operators_that_the_class_defines():
    def f(x):
        y = x
        y += 1
        return x + 1, 1 + x, y, -x, x * 2, torch.ones(2) + x, functools.reduce(operator.add, [x, 2])

    both(f, lambda: (of(Operators, 2),))


def test_a_class_whose_methods_python_calls_by_itself_breaks():
    report = same(lambda x: (x * 2, x[0]), of(Indexed, 2))
    assert {reason.code for reason in report.breaks} == {"TENSOR_SUBCLASS"}


def test_switched_off():
    def f(x):
        with torch._C.DisableTorchFunctionSubclass():
            y = x + 1
            inside = torch._C._is_torch_function_enabled()
        return y, type(y), inside, torch._C._is_torch_function_enabled(), x + 1

    both(f, lambda: (of(Plain, 2),))
    compiled = alternator.compile(lambda x: x + 1, backend="eager")
    x = of(Plain, 2)
    for _ in range(2):
        assert type(compiled(x)) is Plain
        with torch._C.DisableTorchFunctionSubclass():
            assert type(compiled(x)) is torch.Tensor


def test_a_class_that_changes_is_captured_again():
    class Late(torch.Tensor):
        pass

    compiled = alternator.compile(lambda x: x.sin(), backend="eager")
    x = of(Late, 2)
    assert type(compiled(x)) is Late
    Late.__torch_function__ = classmethod(lambda cls, func, types, args=(), kwargs=None: torch.full((2,), 7.0))
    assert compiled(x).tolist() == [7, 7]
    Late.__torch_function__ = torch._C._disabled_torch_function_impl
    assert type(compiled(x)) is torch.Tensor


def test_a_tensor_of_another_class_is_captured_again():
    compiled = alternator.compile(lambda x: x + 1, backend="eager")
    for kind in (torch.Tensor, Plain, Tagged, Plain, torch.Tensor):
        x = Tagged(torch.ones(2), "t") if kind is Tagged else of(kind, 2)
        assert type(compiled(x)) is kind


def test_gradients_reach_a_leaf_of_the_class():
    for backend in ("eager", "aot_eager", "inductor"):
        x = of(Plain, 3, requires_grad=True)
        alternator.compile(lambda x: (x * 3).sum(), backend=backend, fullgraph=True)(x).backward()
        assert x.grad is not None and x.grad.tolist() == [3, 3, 3]


def test_the_class_is_given_to_another_tensor_over_the_same_memory():
    def f(x):
        y = x.as_subclass(Plain)
        y.add_(1)
        z = torch.Tensor._make_subclass(Plain, x)
        z.mul_(2)
        return x, y, z, Plain(x), y.as_subclass(torch.Tensor)

    same(f, torch.ones(2), fullgraph=True, graphs=1)
    same(f, torch.ones(2), fullgraph=True, backend="inductor")


def test_another_shape_for_one_of_two_tensors_over_the_same_memory():
    def f(x):
        y = x.as_subclass(Plain)
        y.unsqueeze_(0)
        return x + 1, y + 1

    same(f, torch.ones(2))


def test_across_a_break():
    def f(x):
        y = Tagged(x + 1, "t")
        y.extra = x * 2
        alternator.graph_break()
        return y * 2, y.tag, y.extra

    same(f, torch.ones(2), graphs=2)


def test_a_parameter_of_a_class_of_its_own():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = Own(torch.ones(2))

        def forward(self, x):
            return self.weight.scaled(2) * x, type(self.weight), isinstance(self.weight, torch.nn.Parameter)

    same(Net(), torch.ones(2), fullgraph=True, grad=True)
    same(Net(), torch.ones(2), fullgraph=True, grad=True, backend="inductor")


def test_attributes_of_a_tensor_that_was_made():
    def f(x):
        y = x + 1
        y.mark = [x.shape[0], x * 2]
        before = hasattr(y, "other"), y.mark[0]
        y.gone = 1
        del y.gone
        return y, before, hasattr(y, "gone"), y.mark

    report = same(f, torch.ones(2), fullgraph=True, graphs=1)
    y, _, _, mark = report.outcomes[0].result
    assert y.mark is mark


# ---- wrappers


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_operations_on_wrappers(backend):
    both(lambda x, y: ((x + 1).sin() @ y.T, x.shape, type(x)), lambda: (two(2, 2), two(2, 2)), backend=backend)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_what_is_inside_of_a_wrapper(backend):
    def f(x):
        y = x * 2
        return x.a + 1, x.get_elem_a() * 2, y.b, y.b is y.b, x.a is x.a

    both(f, lambda: (two(2),), backend=backend)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_wrapper_is_made(backend):
    def f(x, y):
        made = TwoTensor(x.sin(), y)
        return made + 1, made.a, type(made)

    both(f, lambda: (torch.ones(2), torch.zeros(2)), backend=backend)


def test_a_wrapper_changes_in_place():
    def f(x, y):
        x.add_(1)
        y.mul_(2)
        return x * 2, y + 1

    for backend in ("eager", "aot_eager"):
        both(f, lambda: (two(2), torch.ones(2)), backend=backend)


def test_gradients_reach_inside_of_wrappers():
    for backend in ("eager", "aot_eager"):
        x = two(2, requires_grad=True)
        result = alternator.compile(lambda x: (x * 3).sum(), backend=backend, fullgraph=True)(x)
        result.backward(TwoTensor(torch.tensor(1.0), torch.tensor(2.0)))
        assert type(x.grad) is TwoTensor and x.grad.a.tolist() == [3, 3] and x.grad.b.tolist() == [6, 6]


def test_what_is_inside_is_guarded():
    compiled = alternator.compile(lambda x: x.a.sum() + 1, backend="eager")
    assert compiled(two(2)).item() == 2
    assert compiled(two(3)).item() == 4
    assert compiled(TwoTensor(torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64))).dtype is torch.int64
    nested = TwoTensor(two(2), two(2))
    assert type(compiled(nested)) is TwoTensor


def test_a_tensor_that_is_inside_of_a_wrapper_and_elsewhere():
    def f(x, a):
        a.add_(1)
        return x * 2, x.a is a

    def make():
        a = torch.ones(2)
        return TwoTensor(a, torch.zeros(2)), a

    both(f, make, fullgraph=False)


class Noted(TwoTensor):
    """With metadata."""

    def __new__(cls, a, b, note):
        return TwoTensor.__new__(cls, a, b)

    def __init__(self, a, b, note):
        self.a, self.b, self.note = a, b, note

    def __tensor_flatten__(self):
        return ["a", "b"], {"note": self.note}

    @staticmethod
    def __tensor_unflatten__(inner, meta, size, stride):
        return Noted(inner["a"], inner["b"], meta["note"])


def test_metadata_of_a_wrapper_is_guarded():
    def f(x):
        return x.a + x.note

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    x = Noted(torch.zeros(2), torch.zeros(2), 1)
    assert compiled(x).tolist() == [1, 1]
    x.note = 5
    assert compiled(x).tolist() == [5, 5]


class Watched(torch.Tensor):
    """Has a __torch_dispatch__, and wraps nothing that anybody could find."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_a_class_that_only_dispatches_breaks():
    same(lambda x: x.shape[0] + 1, of(Watched, 2), check_args=False, breaks=1)


def test_inputs_that_share_memory_with_what_is_wrapped():
    def f(x, y):
        y.add_(1)
        return x * 2

    def shared():
        a = torch.ones(2)
        return TwoTensor(a, torch.zeros(2)), a.view(2, 1)

    compiled = alternator.compile(f, backend="aot_eager")
    for make in (lambda: (two(2), torch.ones(2, 1)), shared):
        plain, args = make(), make()
        _same_wrapped(f(*plain), compiled(*args))
        _same_wrapped(plain, args)
    alternator.reset()
    both(f, shared, backend="aot_eager", fullgraph=False)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_sizes_of_wrappers_vary(backend):
    graphs = []

    def counting(gm, inputs):
        graphs.append(gm)
        return alternator.lookup_backend(backend)(gm, inputs)

    def f(x, y):
        return x.sin() * x.shape[0] + y, x.a.shape[1]

    compiled = alternator.compile(f, backend=counting, fullgraph=True)
    for count in (2, 3, 4, 5):
        make = lambda: (two(count, 2), two(count, 2))  # noqa: B023, E731
        _same_wrapped(f(*make()), compiled(*make()))
    assert len(graphs) == 2


class Holder:
    """No tensor, but it overrides torch's functions."""

    def __init__(self, tensor):
        self.tensor = tensor

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        plain = [arg.tensor if isinstance(arg, Holder) else arg for arg in args]
        return Holder(func(*plain, **(kwargs or {})))


def test_an_object_that_overrides_functions():
    def f(x):
        y = torch.add(Holder(x), x)
        z = torch.nn.functional.softmax(torch.sin(y), dim=0)
        return z, torch.nn.functional.relu(z).tensor, type(x.add(y)).__name__

    same(f, torch.ones(2, 2), fullgraph=True, graphs=1)


class Exp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.exp()

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


def test_functions_of_autograd_keep_the_class():
    same(lambda x: Exp.apply(x.as_subclass(Plain)), torch.ones(2, requires_grad=True))
    same(lambda x: Exp.apply(x.as_subclass(Plain)), torch.ones(2))
