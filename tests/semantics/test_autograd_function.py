"""torch.autograd.Function: forward and backward are subgraphs of one operator."""

import pytest
import torch
from helpers import same
from torch._functorch.autograd_function import autograd_function_apply
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.func import grad, vjp, vmap

import alternator
from alternator.exc import Unsupported

WEIGHT = torch.nn.Parameter(torch.linspace(-1, 1, 3))
LOG = []
BACKENDS = [None, "eager", "aot_eager"]


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def check(fn, *args, backend=None, **kwargs):
    if backend is not None:
        return same(fn, *args, backend=alternator.lookup_backend(backend), fullgraph=True, grad=True, **kwargs)
    return same(fn, *args, graphs=1, grad=True, **kwargs)


class Swish(Function):
    @staticmethod
    def forward(ctx, x, beta):
        s = torch.sigmoid(beta * x)
        ctx.save_for_backward(x, s)
        ctx.beta = beta
        return x * s

    @staticmethod
    def backward(ctx, g):
        x, s = ctx.saved_tensors
        return 2 * g * (s + ctx.beta * x * s * (1 - s)), None


class Separate(Function):
    @staticmethod
    def forward(x, y, k=2.0):
        return x * y * k, x + y, 5

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, k = inputs
        ctx.save_for_backward(x, y, output[1])
        ctx.k = k

    @staticmethod
    def backward(ctx, g1, g2, _):
        x, y, o = ctx.saved_tensors
        return g1 * y * ctx.k + g2, g1 * x * ctx.k + g2 + o, None


class Identity(Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, g):
        return g * 3


class Product(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        gx = g * y if ctx.needs_input_grad[0] else None
        gy = g * x * 2 if ctx.needs_input_grad[1] else None
        return gx, gy


class Sorted(Function):
    @staticmethod
    def forward(ctx, x):
        values, index = x.sort()
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(index)
        return values, index

    @staticmethod
    def backward(ctx, g, _):
        (index,) = ctx.saved_tensors
        return torch.zeros_like(g).scatter(0, index, g)


class Doubled(Function):
    @staticmethod
    def forward(ctx, x):
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, g):
        return g * 2


class LooksAtStrides(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        if not g.is_contiguous():
            g = g.contiguous()
        return g.view(-1).view(x.shape) * 2 * x


class Total(Function):
    @staticmethod
    def forward(ctx, x, n):
        ctx.shape, ctx.n = x.shape, n
        return x.sum() * n

    @staticmethod
    def backward(ctx, g):
        return g.expand(ctx.shape) * ctx.n, None


class Captures(Function):
    @staticmethod
    def forward(ctx, x):
        return x * WEIGHT

    @staticmethod
    def backward(ctx, g):
        return g * WEIGHT


class OnContext(Function):
    @staticmethod
    def forward(ctx, x, items):
        ctx.items, ctx.half = items, x / 2
        ctx.set_materialize_grads(False)
        return x * items[0]

    @staticmethod
    def backward(ctx, g):
        return g * ctx.items[0] + ctx.half, None


class Mixed(Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x @ x

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g @ x


def strided(x):
    return LooksAtStrides.apply(x).t()


def dirty(x):
    y = x.sin()
    z = Doubled.apply(y)
    return z + y, z is y


CASES = {
    "saved tensors and attributes": (lambda x: Swish.apply(x * 2, 1.5) + 1, (3,)),
    "separate context": (lambda x, y: Separate.apply(x, y)[:2], (3,), (3,)),
    "keywords and defaults": (lambda x, y: Separate.apply(x, y=y, k=3.0)[0], (3,), (3,)),
    "an argument is returned": (lambda x: Identity.apply(x).sin(), (3,)),
    "one tensor given twice": (lambda x: Product.apply(x, x), (3,)),
    "an argument that needs no gradient": (lambda x: Product.apply(x, torch.ones(3)), (3,)),
    "non-differentiable output": (lambda x: Sorted.apply(x), (4,)),
    "captured parameter": (lambda x: Captures.apply(x), (3,)),
    "structured argument": (lambda x: OnContext.apply(x, [x.detach() * 2]), (3,)),
    "custom_fwd": (lambda x: Mixed.apply(x), (3, 3)),
    "in a checkpoint": (
        lambda x: torch.utils.checkpoint.checkpoint(lambda a: Swish.apply(a.sin(), 1.0), x, use_reentrant=False),
        (3,),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_function(name, backend):
    fn, *shapes = CASES[name]
    check(fn, *[leaf(*shape) for shape in shapes], backend=backend)


def test_marked_dirty():
    check(dirty, leaf(3))
    check(dirty, leaf(3), backend="aot_eager")


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_of_gradients_are_not_known(backend):
    report = check(strided, leaf(3, 4), backend=backend)
    if backend is None:
        backward = report.graphs[0].get_submodule("bwd_body_0")
        assert "contiguous" in [node.target for node in backward.graph.nodes]


def test_operator():
    report = check(CASES["saved tensors and attributes"][0], leaf(3))
    assert autograd_function_apply in report.ops
    (node,) = [n for n in report.graphs[0].graph.nodes if n.target is autograd_function_apply]
    assert node.kwargs == {"non_differentiable_idx": [], "saved_for_backward_idx": [0, 1]}


def test_symbolic_sizes():
    fn = lambda x: Total.apply(x, x.shape[0]) + x.shape[1]
    check(fn, leaf(3, 4), then=[(leaf(5, 6),)], dynamic=True, recompiles=0)


def test_without_gradients_the_forward_is_inlined():
    report = same(lambda x: Swish.apply(x, 1.5), torch.randn(3), graphs=1)
    assert autograd_function_apply not in report.ops and torch._C._set_grad_enabled not in report.ops
    report = same(lambda x: Captures.apply(x), torch.randn(3), graphs=1)
    assert torch._C._set_grad_enabled in report.ops  # the captured parameter must get no gradient
    with torch.no_grad():
        same(lambda x: Swish.apply(x, 1.5), leaf(3), graphs=1)


def test_backward_is_guarded():
    class Scaled(Function):
        factor = 2.0

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g * Scaled.factor

    compiled = alternator.compile(lambda x: Scaled.apply(x), backend="aot_eager", fullgraph=True)
    for factor in (2.0, 5.0):
        Scaled.factor = factor
        x = leaf(3)
        compiled(x).sum().backward()
        torch.testing.assert_close(x.grad, torch.full((3,), factor))


def test_effects_of_forward_are_kept():
    class Counted(Function):
        calls = 0

        @staticmethod
        def forward(ctx, x):
            Counted.calls += 1
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    compiled = alternator.compile(lambda x: Counted.apply(x), backend="eager", fullgraph=True)
    for count in (1, 2, 3):
        compiled(leaf(3)).sum().backward()
        assert Counted.calls == count


class BranchesOnData(Identity):
    @staticmethod
    def backward(ctx, g):
        return g if g.sum() > 0 else -g


class LogsBackward(Identity):
    @staticmethod
    def backward(ctx, g):
        LOG.append(1)
        return g


class TooMany(Identity):
    @staticmethod
    def backward(ctx, g):
        return g, g


class Leaks(Identity):
    @staticmethod
    def forward(ctx, x):
        LOG.append(x.sin())
        return x * 2


class Silent(Identity):
    @staticmethod
    def forward(ctx, x):
        x.mul_(2)
        return x.clone()


@pytest.mark.parametrize(
    "cls, code",
    [
        (BranchesOnData, "DATA_DEPENDENT_BRANCH"),
        (LogsBackward, "HOP_BODY"),
        (TooMany, "AUTOGRAD_FUNCTION"),
        (Leaks, "HOP_BODY"),
        (Silent, "AUTOGRAD_FUNCTION"),
    ],
)
def test_breaks(cls, code):
    with pytest.raises(Unsupported, match=code):
        alternator.compile(lambda x: cls.apply(x * 1), backend="eager", fullgraph=True)(leaf(3))
    LOG.clear()


@pytest.mark.parametrize("cls", [BranchesOnData, LogsBackward])
def test_plain_after_a_break(cls):
    same(lambda x: cls.apply(x * 1).sin(), leaf(3), grad=True, namespace=["LOG"])


class Cube(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, k):
        return x.pow(3) * k

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output)
        ctx.k = inputs[1]

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * (x * x * ctx.k + 5 * y), None


def test_backward_of_backward():
    def fn(x):
        return Cube.apply(x, 2.0)

    def second(f, x):
        (first,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        return torch.autograd.grad(first.sum(), x)[0]

    x = leaf(3)
    compiled = alternator.compile(fn, backend="eager", fullgraph=True)
    torch.testing.assert_close(second(compiled, x), second(fn, x))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "fn, shape",
    [
        (lambda x: grad(lambda a: Cube.apply(a.sin(), 2.0).sum())(x), (3,)),
        (lambda x: vjp(lambda a: Cube.apply(a, 2.0), x)[1](x), (3,)),
        (lambda x: vmap(lambda a: Cube.apply(a, 2.0))(x), (2, 3)),
    ],
)
def test_under_a_transform(fn, shape, backend):
    kwargs = {"graphs": 1} if backend is None else {"backend": alternator.lookup_backend(backend), "fullgraph": True}
    same(fn, torch.randn(*shape), **kwargs)


@pytest.mark.parametrize(
    "fn, requires_grad",
    [
        (lambda x: grad(lambda a: grad(lambda b: Cube.apply(b, 2.0).sum())(a).sum())(x), False),
        (lambda x: grad(lambda a: Cube.apply(a, 2.0).sum())(x), True),
        (lambda x: vmap(lambda a: Cube.apply(a, 2.0))(x), True),
        (lambda x: vmap(grad(lambda a: Cube.apply(a, 2.0)))(x), False),
    ],
)
def test_combinations_of_transforms_break(fn, requires_grad):
    same(fn, torch.randn(3, requires_grad=requires_grad), grad=requires_grad, breaks=["FUNC_TRANSFORM"])


def test_old_style_function_under_a_transform_raises():
    same(lambda x: grad(lambda a: Identity.apply(a).sum())(x), torch.randn(3))
