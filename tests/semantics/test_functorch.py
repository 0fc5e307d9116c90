"""torch.func: transforms are interpreted, their levels are nodes of the graph."""

import functools

import pytest
import torch
import torch.nn.functional as F
from helpers import same
from torch._functorch import predispatch
from torch.autograd import forward_ad
from torch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)

import alternator
from alternator.exc import Unsupported

W = torch.linspace(-1, 1, 16).reshape(4, 4)
NET = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
PARAMS = {name: p.detach() for name, p in NET.named_parameters()}
NETS = [torch.nn.Linear(4, 2) for _ in range(3)]
STACKED, _ = stack_module_state(NETS)


def twice_along(x, y):
    return vmap(vmap(lambda a, b: a * b, (None, 0)), (0, None))(x, y)


def no_grad_inside(x):
    def f(a):
        with torch.no_grad():
            c = a**2
        return (a - c).sum()

    return grad(f)(x)


def dual(x, v):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(forward_ad.make_dual(x, v).sin()).tangent


def caught(x):
    try:
        return vmap(lambda a: int("x"))(x)
    except ValueError:
        return vmap(torch.sin)(x)


def inner_loop(xs, ys):
    def loss(p, x, y):
        return F.mse_loss(functional_call(NET, p, (x,)), y)

    def one(x, y):
        p = PARAMS
        for _ in range(2):
            g = grad(loss)(p, x, y)
            p = {k: p[k] - 0.1 * g[k] for k in p}
        return loss(p, x, y)

    return vmap(one)(xs, ys).mean()


N = torch.randn
CASES = {
    "vmap": (lambda x: vmap(lambda a: (a @ W).sin())(x), (3, 4)),
    "vmap in_dims": (lambda x, y: vmap(torch.dot, in_dims=(1, None))(x, y), (4, 3), (4,)),
    "vmap out_dims": (lambda x: vmap(lambda a: (a, a.sum()), out_dims=(1, 0))(x), (4, 3)),
    "vmap nested": (twice_along, (4,), (3,)),
    "vmap trees": (lambda x: vmap(lambda d: {"o": d["a"] + d["b"][0]})({"a": x, "b": [x * 2]}), (4, 2)),
    "vmap chunks": (lambda x: vmap(lambda a: a.sin(), chunk_size=2)(x), (5, 2)),
    "vmap partial": (lambda x: vmap(functools.partial(torch.mul, 3.0))(x), (5, 2)),
    "vmap in place": (lambda x: vmap(lambda a: a.clone().add_(1).mul_(2))(x), (3, 4)),
    "vmap captured": (lambda x, y: vmap(lambda a: a * y.sin() + y.cos())(x), (3, 4), (4,)),
    "vmap random": (lambda x: vmap(lambda a: F.dropout(a, 0.5), randomness="same")(x), (4, 2)),
    "grad": (lambda x: grad(lambda a: (a.sin() * 2).sum())(x), (4,)),
    "grad argnums": (lambda x, y: grad(lambda a, b: (a.sin() * b).sum(), argnums=(0, 1))(x, y), (4,), (4,)),
    "grad aux": (lambda x: grad(lambda a: ((a.sin() * 2).sum(), a.cos()), has_aux=True)(x), (4,)),
    "grad of a dict": (lambda x: grad(lambda d: (d["a"] * d["b"]).sum())({"a": x, "b": x * 2}), (4,)),
    "grad and value": (lambda x: grad_and_value(lambda a: a.pow(3).sum())(x), (4,)),
    "grad of grad": (lambda x: grad(lambda a: grad(lambda b: b.pow(3).sum())(a).sum())(x), (4,)),
    "grad and factories": (lambda x: torch.zeros(4) + grad(lambda a: (a * torch.ones(4) + torch.zeros(4)).sum())(x), (4,)),
    "grad with no_grad": (no_grad_inside, (4,)),
    "vmap of grad": (lambda x: vmap(grad(lambda a: a.sin().sum()))(x), (3, 4)),
    "vjp": (lambda x, v: (lambda o, f: (o, f(v)))(*vjp(torch.sin, x)), (4,), (4,)),
    "vjp of two": (lambda x, y, v: (lambda o, f: (o, f(v)))(*vjp(lambda a, b: a * b, x, y)), (4,), (4,), (4,)),
    "jvp": (lambda x, v: jvp(torch.sin, (x,), (v,)), (4,), (4,)),
    "jvp of jvp": (lambda x, v: jvp(lambda a: jvp(torch.sin, (a,), (v,))[1], (x,), (v,)), (4,), (4,)),
    "jvp aux": (lambda x, v: jvp(lambda a: (a.sin(), a.cos()), (x,), (v,), has_aux=True), (4,), (4,)),
    "jacrev": (lambda x: jacrev(lambda a: (a @ W).sin())(x), (4,)),
    "jacrev chunks": (lambda x: jacrev(lambda a: (a @ W).sin(), chunk_size=2)(x), (4,)),
    "jacfwd": (lambda x, y: jacfwd(lambda a, b: (a @ W).sin() * b, argnums=(0, 1))(x, y), (4,), (4,)),
    "hessian": (lambda x: hessian(lambda a: (a @ W).sin().sum())(x), (4,)),
    "vmap of jacrev": (lambda x: vmap(jacrev(lambda a: a.sin()))(x), (3, 4)),
    "functional_call": (lambda x: functional_call(NET, {k: v * 2 for k, v in PARAMS.items()}, (x,)), (3, 4)),
    "grad of functional_call": (lambda x: grad(lambda p: functional_call(NET, p, (x,)).sum())(PARAMS), (3, 4)),
    "ensemble": (lambda x: vmap(lambda p, x: functional_call(NETS[0], p, (x,)), (0, None))(STACKED, x), (3, 4)),
    "inner loop": (inner_loop, (2, 5, 4), (2, 5, 2)),
    "dual numbers": (dual, (4,), (4,)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_transform(name, backend):
    fn, *shapes = CASES[name]
    kwargs = {"graphs": 1} if backend is None else {"backend": alternator.lookup_backend(backend)}
    same(fn, *[N(*shape) for shape in shapes], fullgraph=True, **kwargs)
    assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0


@pytest.mark.parametrize("name", ["vmap", "vmap nested", "grad", "grad of grad", "jacrev", "inner loop"])
def test_gradients_flow_through_transforms(name):
    fn, *shapes = CASES[name]
    same(fn, *[N(*shape).requires_grad_() for shape in shapes], graphs=1, grad=True)


@pytest.mark.parametrize("name", ["vmap", "vmap of grad"])
def test_symbolic_sizes(name):
    fn, shape = CASES[name]
    same(fn, N(*shape), then=[(N(shape[0] + 2, *shape[1:]),)], dynamic=True, graphs=1, recompiles=0)


def test_levels_are_nodes():
    report = same(CASES["vmap"][0], N(3, 4), graphs=1)
    assert report.ops[:2] == [predispatch._vmap_increment_nesting, predispatch._add_batch_dim]
    assert report.ops[-2:] == [predispatch._remove_batch_dim, predispatch._vmap_decrement_nesting]


def test_exception_inside_is_caught_outside():
    same(caught, N(3, 4))
    assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0


def test_exception_of_the_program():
    same(lambda x: vmap(lambda a: a)(3) + x, N(3))
    same(lambda x: vmap(lambda a: a.nothing)(x), N(3))
    assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0


@pytest.mark.parametrize(
    "fn", [lambda x: vmap(lambda a: a if a.sum() > 0 else -a)(x), lambda x: vmap(lambda a: a * a.sum().item())(x)]
)
def test_break_inside_leaves_the_levels(fn):
    with pytest.raises((Unsupported, RuntimeError)):  # item() is captured, and vmap refuses it
        alternator.compile(fn, backend="eager", fullgraph=True)(N(3, 4))
    assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0
    assert torch._C._autograd._saved_tensors_hooks_get_disabled_error_message() is None


def test_break_inside_runs_plainly():
    def fn(x):
        y = x.sin()
        z = grad(lambda a: a.sum() if a.sum() > 0 else -a.sum())(y)
        return z.cos()

    same(fn, N(4).abs(), breaks=["DATA_DEPENDENT_BRANCH"])
    assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0


def test_failure_of_the_graph_leaves_the_levels():
    def fn(x, index):
        return vmap(lambda a: a[index])(x)

    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    compiled(N(3, 4), torch.tensor([1]))
    with pytest.raises(IndexError):
        compiled(N(3, 4), torch.tensor([9]))
    assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0


def test_captured_function_inside_of_a_transform():
    compiled = alternator.compile(lambda a: a.sin() * 2, backend="eager")
    x = N(3, 4)
    torch.testing.assert_close(vmap(compiled)(x), x.sin() * 2)
    torch.testing.assert_close(grad(lambda a: compiled(a).sum())(x), x.cos() * 2)
    inner = alternator.compile(lambda x: vmap(torch.sin)(x), backend="eager")
    torch.testing.assert_close(inner(x), x.sin())
    torch.testing.assert_close(vmap(inner)(x.unsqueeze(0)), x.sin().unsqueeze(0))


@pytest.mark.parametrize(
    "fn", [lambda x: torch.func.functionalize(lambda a: a.clone().add_(1))(x), lambda x: linearize(torch.sin, x)[0]]
)
def test_unsupported_transform_breaks(fn):
    with pytest.raises(Unsupported, match="FUNC_TRANSFORM"):
        alternator.compile(fn, backend="eager", fullgraph=True)(N(4))


@pytest.mark.parametrize("transform", [vmap, lambda f: vmap(vmap(f)), jacfwd, jacrev, lambda f: lambda x: jvp(f, (x,), (x,))])
def test_in_inference_mode(transform):
    def fn(x):
        return transform(lambda row: row * 2)(x)

    with torch.inference_mode():
        same(fn, W, graphs=1, breaks=0)
    same(fn, W, graphs=1, breaks=0)
