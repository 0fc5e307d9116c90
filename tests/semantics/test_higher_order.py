"""checkpoint, cond, while_loop, map, scan and the like: bodies as subgraphs."""

import functools

import pytest
import torch
from helpers import Recorder, same
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch._higher_order_ops import map as map_over
from torch._higher_order_ops.wrap import wrap
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

import alternator
from alternator.exc import UncapturedHigherOrderOpError, Unsupported

ops = torch.ops.higher_order
BACKENDS = ["eager", "aot_eager"]
WEIGHT = torch.linspace(-1, 1, 4)
COUNT = 0


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def check(fn, plain, *args, dynamic=None, backends=BACKENDS):
    """Captured as one graph, ``fn`` gives what ``plain`` gives (running operators plainly would compile them)."""
    for backend in backends:
        alternator.reset()
        captured = alternator.compile(fn, backend=backend, fullgraph=True, dynamic=dynamic)
        mine = [a.detach().clone().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a for a in args]
        theirs = [a.detach().clone().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a for a in args]
        results = captured(*mine), plain(*theirs)
        torch.testing.assert_close(*results)
        if any(isinstance(a, torch.Tensor) and a.requires_grad for a in args):
            for result in results:
                sum(t.sum() for t in torch.utils._pytree.tree_leaves(result) if t.requires_grad).backward()
            for one, other in zip(mine, theirs):
                torch.testing.assert_close(one.grad, other.grad)


def broken(fn, *args):
    with pytest.raises(Unsupported) as caught:
        alternator.compile(fn, backend="eager", fullgraph=True)(*args)
    return str(caught.value)


# ---- checkpoint


class Net(torch.nn.Module):
    def __init__(self, drop=0.0):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Dropout(drop), torch.nn.Linear(16, 8))

    def forward(self, x):
        return checkpoint(self.layers, x, use_reentrant=False).sum(1)


def _generate(x):
    yield x.sin()
    torch._dynamo.graph_break()
    yield x.cos()


WAITING = {
    "list": lambda x: iter([x.sin(), x.cos()]),
    "enumerate": lambda x: enumerate([x.sin(), x.cos()], 3),
    "map": lambda x: map(torch.sin, [x, x + 1]),
    "generator": _generate,
}


@pytest.mark.parametrize("taken", [0, 1, 2], ids=["advanced outside", "advanced inside", "advanced by the body"])
@pytest.mark.parametrize("kind", WAITING)
def test_an_iterator_waits_behind_a_break_around_a_checkpoint(kind, taken):
    def fn(x):
        waiting = WAITING[kind](x)
        torch._dynamo.graph_break()
        x = x + next(waiting)[-1] if taken == 1 else x
        x = checkpoint(lambda a: (a * next(waiting)[-1] if taken == 2 else a.sin()).exp(), x, use_reentrant=False)
        return x + next(waiting)[-1], list(waiting) if kind != "generator" else None

    same(fn, leaf(3, 3), grad=taken < 2)  # a body that advances one is run again for the backward pass


@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_checkpoint_of_a_module(backend):
    report = same(Net(), leaf(2, 8), fullgraph=True, grad=True, backend=alternator.lookup_backend(backend) if backend else None)
    if backend is None:
        assert ops.tag_activation_checkpoint in report.ops


@pytest.mark.parametrize("backend", [Recorder(), *BACKENDS], ids=["graphs as they are", *BACKENDS])
def test_checkpoint_draws_the_same_dropout_mask_again(backend):
    def fn(x):
        return checkpoint(lambda a: (torch.nn.functional.dropout(a, 0.5) * a.sin()).exp(), x, use_reentrant=False)

    x = (torch.rand(500) + 0.1).requires_grad_()
    out = alternator.compile(fn, backend=backend, fullgraph=True)(x)
    torch.rand(3)  # the generator moves on before the backward pass
    out.sum().backward()
    kept = (out.detach().log().abs() > 1e-7).float()
    assert 0.3 < kept.mean() < 0.7
    torch.testing.assert_close(x.grad, (out * kept * 2 * (x.sin() + x * x.cos())).detach())


@pytest.mark.parametrize("backend", [Recorder(), "aot_eager"], ids=["graphs as they are", "aot_eager"])
def test_the_backward_pass_of_a_checkpoint_draws_as_many_numbers_as_in_plain_python(backend):
    def run(fn):
        torch.manual_seed(0)
        found = []
        for _ in range(2):
            x = torch.ones(50).requires_grad_()
            fn(x).sum().backward()
            found += [x.grad, torch.rand(2)]
        return found

    for options in ({}, {"preserve_rng_state": False}):

        def fn(x, options=options):
            body = lambda a: torch.nn.functional.dropout(a, 0.5).exp()  # noqa: E731
            return checkpoint(body, x, use_reentrant=False, **options)

        alternator.reset()
        torch.testing.assert_close(run(alternator.compile(fn, backend=backend)), run(fn))


def test_checkpoint_with_closure_keywords_and_structured_result():
    def fn(x, y):
        w = y.sin()

        def body(a, scale, *, k):
            u = (a * w).cos()
            return {"u": u, "v": [u.sin() + scale, u.relu()], "n": 3, "same": a}, k

        made, k = checkpoint(body, x, 2.0, use_reentrant=False, k="x")
        return made["u"] + made["v"][1], made["n"], k, made["same"] is x

    same(fn, leaf(3), leaf(3), graphs=1, grad=True)


def test_nested_checkpoints():
    def fn(x):
        def inner(a):
            return a.sin().cos()

        def outer(a):
            return checkpoint(inner, a * 2, use_reentrant=False) * a

        return checkpoint(outer, x, use_reentrant=False) + 1

    same(fn, leaf(3), graphs=1, grad=True)


def test_checkpoint_with_symbolic_sizes():
    def fn(x):
        return checkpoint(lambda a: a.reshape(a.shape[0] * 2, -1) * a.shape[1], x, use_reentrant=False) + x.shape[1]

    same(fn, leaf(3, 4), then=[(leaf(5, 6),)], dynamic=True, graphs=1, recompiles=0, grad=True)


def test_checkpoint_without_gradients_is_the_function_itself():
    def fn(x):
        seen = []
        with torch.no_grad():
            return checkpoint(lambda a: (seen.append(1), a.sin())[1], x, use_reentrant=False), seen

    report = same(fn, leaf(3), graphs=1)
    assert ops.tag_activation_checkpoint not in report.ops


def test_selective_checkpoint():
    def policy(ctx, op, *args, **kwargs):
        return CheckpointPolicy.MUST_SAVE if op is torch.ops.aten.mm.default else CheckpointPolicy.PREFER_RECOMPUTE

    contexts = functools.partial(create_selective_checkpoint_contexts, policy)

    def fn(x, y):
        return checkpoint(lambda a, b: torch.sigmoid(a @ b) @ b, x, y, use_reentrant=False, context_fn=contexts)

    same(fn, leaf(4, 4), leaf(4, 4), fullgraph=True, grad=True, backend=alternator.lookup_backend("aot_eager"))
    same(fn, leaf(4, 4), leaf(4, 4), fullgraph=True, grad=True, backend=alternator.lookup_backend("eager"))


def appends(x, log):
    return checkpoint(lambda a: (log.append(1), a.sin())[1], x, use_reentrant=False)


def writes_global(x, _):
    def body(a):
        global COUNT
        COUNT += 1
        return a.sin()

    return checkpoint(body, x, use_reentrant=False)


def writes_cell(x, _):
    count = 0

    def body(a):
        nonlocal count
        count += 1
        return a.sin()

    return checkpoint(body, x, use_reentrant=False)


def writes_new_list(x, _):
    made = []
    result = checkpoint(lambda a: (made.append(a.cos()), a.sin())[1], x, use_reentrant=False)
    return result + made[0]


def prints(x, _):
    return checkpoint(lambda a: (print("body"), a.sin())[1], x, use_reentrant=False)


def changes_tensor(x, _):
    base = x * 2
    return checkpoint(lambda a: (base.add_(1), a * base.detach())[1], x, use_reentrant=False)


@pytest.mark.parametrize("fn", [appends, writes_global, writes_cell, writes_new_list, prints, changes_tensor])
def test_effects_in_a_checkpointed_body_break(fn):
    text = broken(fn, leaf(3), [])
    assert "HOP_BODY" in text and "its body changes" in text


@pytest.mark.parametrize("fn", [appends, writes_global, writes_cell, writes_new_list, prints])
def test_effects_in_a_checkpointed_body_happen_after_a_break(fn):
    same(fn, leaf(3), [], namespace=["COUNT"])


def test_running_statistics_in_a_checkpointed_body_break():
    norm = torch.nn.BatchNorm1d(4)
    text = broken(lambda x: checkpoint(norm, x, use_reentrant=False), leaf(3, 4))
    assert "in place" in text


def test_branch_on_data_in_a_body_keeps_its_own_code():
    text = broken(lambda x: checkpoint(lambda a: a if a.sum() > 0 else -a, x, use_reentrant=False), leaf(3))
    assert "DATA_DEPENDENT_BRANCH" in text


# ---- cond


def sine(a):
    return a.sin()


def cosine(a):
    return a.cos()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cond(sign):
    def fn(x):
        return torch.cond(x.sum() > 0, sine, cosine, (x,))

    check(fn, lambda x: sine(x) if x.sum() > 0 else cosine(x), sign * torch.ones(4))
    check(fn, lambda x: sine(x) if x.sum() > 0 else cosine(x), (sign * torch.ones(4)).requires_grad_())


def test_cond_node():
    recorder = Recorder()
    alternator.compile(lambda x: torch.cond(x.sum() > 0, sine, cosine, (x,)), backend=recorder, fullgraph=True)(torch.ones(4))
    (node,) = [n for n in recorder.graphs[0].graph.nodes if n.target is ops.cond]
    predicate, true, false, operands = node.args
    assert true.op == false.op == "get_attr" and len(operands) == 1
    branch = recorder.graphs[0].get_submodule(true.target)
    assert [n.target for n in branch.graph.nodes if n.op == "call_method"] == ["sin"]


def test_cond_lifts_what_each_branch_uses():
    other = torch.arange(4.0)

    def fn(x):
        return torch.cond(x.sum() > 0, lambda a: a * WEIGHT + other, lambda a: a - other, (x,))

    check(fn, lambda x: x * WEIGHT + other if x.sum() > 0 else x - other, torch.ones(4))
    check(fn, lambda x: x * WEIGHT + other if x.sum() > 0 else x - other, -torch.ones(4))


def test_cond_with_a_module_and_nothing_given():
    net = torch.nn.Linear(4, 4)
    check(lambda x: torch.cond(x.sum() > 0, net, lambda a: a + 1, (x,)), net, torch.ones(4))
    check(lambda x: torch.cond(x.sum() > 0, lambda: x + 1, lambda: x - 1), lambda x: x - 1, -torch.ones(4))


def test_cond_on_a_constant_takes_the_branch():
    recorder = Recorder()
    fn = alternator.compile(lambda x: torch.cond(x.shape[0] > 3, sine, cosine, (x,)), backend=recorder, fullgraph=True)
    torch.testing.assert_close(fn(torch.ones(4)), torch.ones(4).sin())
    assert ops.cond not in [node.target for node in recorder.graphs[0].graph.nodes]


def test_cond_on_a_size():
    def fn(x):
        return torch.cond(x.shape[0] > 3, sine, cosine, (x,))

    check(fn, sine, torch.ones(4), dynamic=True)
    check(fn, cosine, torch.ones(3), dynamic=True)


def test_cond_with_trees():
    def fn(x):
        return torch.cond(
            x.sum() > 0,
            lambda a, b: {"x": (a + b["k"],), "y": a * 2},
            lambda a, b: {"x": (a - b["k"],), "y": a * 3},
            (x, {"k": x + 1}),
        )

    check(fn, lambda x: {"x": (x + x + 1,), "y": x * 2}, torch.ones(4))


def test_nested_cond():
    def fn(x):
        return torch.cond(x.sum() > 0, lambda a: torch.cond(a.max() > 1, sine, cosine, (a,)), cosine, (x,))

    check(fn, sine, 2 * torch.ones(4))
    check(fn, cosine, torch.ones(4) / 2)


def test_cond_under_vmap():
    def fn(x):
        return torch.vmap(lambda a: torch.cond(a.sum() > 0, sine, cosine, (a,)))(x)

    check(fn, lambda x: torch.stack([sine(a) if a.sum() > 0 else cosine(a) for a in x]), torch.randn(5, 4))


@pytest.mark.parametrize(
    "true, false, text",
    [
        (lambda a: a, cosine, "shares memory with an input"),
        (lambda a: (a + 1,), cosine, "different structures"),
        (lambda a: a.add_(1).clone(), cosine, "in place"),
        (lambda a: "text", lambda a: "text", "returns a str"),
        (lambda a: (print("x"), a + 1)[1], cosine, "its body changes"),
    ],
)
def test_cond_breaks(true, false, text):
    found = broken(lambda x: torch.cond(x.sum() > 0, true, false, (x,)), torch.ones(4))
    assert text in found and "HOP_BODY" in found


# ---- loops


def test_while_loop():
    def fn(x):
        return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x.sin() * WEIGHT), (torch.tensor(0), x))

    def plain(x):
        for _ in range(3):
            x = x.sin() * WEIGHT
        return torch.tensor(3), x

    with torch.no_grad():
        check(fn, plain, torch.ones(4))


def test_while_loop_over_a_number():
    def fn(x):
        return while_loop(lambda i, x: i < x.shape[0], lambda i, x: (i + 1, x + i), (0, x))

    with torch.no_grad():
        check(fn, lambda x: (4, x + 6), torch.ones(4))


def test_while_loop_breaks_if_a_shape_changes():
    def fn(x):
        return while_loop(lambda x: x.sum() < 9, lambda x: (torch.cat([x, x]),), (x,))

    with torch.no_grad():
        assert "changes its type or shape" in broken(fn, torch.ones(4))


def test_map():
    def fn(x):
        return map_over(lambda a: a.sin() * WEIGHT, x)

    check(fn, lambda x: x.sin() * WEIGHT, torch.randn(3, 4))
    check(fn, lambda x: x.sin() * WEIGHT, leaf(3, 4))


def test_map_with_trees_and_arguments():
    def fn(x, y):
        return map_over(lambda a, b, k: (a["q"] * b + k, None), {"q": x}, y, 2)

    check(fn, lambda x, y: (x * y + 2, None), torch.randn(3, 4), torch.randn(4))


def test_scan():
    def fn(x):
        return scan(lambda c, a: (c + a * WEIGHT, c * a), torch.ones(4), x)

    def plain(x):
        carry, out = torch.ones(4), []
        for a in x:
            carry, y = carry + a * WEIGHT, carry * a
            out.append(y)
        return carry, torch.stack(out)

    check(fn, plain, torch.randn(3, 4))
    check(fn, plain, leaf(3, 4))


def test_associative_scan():
    def fn(x):
        return associative_scan(lambda a, b: a + b, x, 0, combine_mode="generic")

    check(fn, lambda x: x.cumsum(0), torch.randn(5, 4))
    check(
        lambda x: ops.associative_scan(lambda a, b: (a * b,), [x], ()),
        lambda x: (x.cumprod(0),),
        torch.randn(5, 4),
        backends=["eager"],
    )


# ---- regions


def test_wrap():
    report = same(lambda x: wrap(lambda a: {"k": a.sin()}, x)["k"] + 1, torch.randn(3), graphs=1)
    assert ops.wrap in report.ops


def test_nested_compile_region():
    region = torch.compiler.nested_compile_region(sine)
    same(lambda x: region(x) + region(x), torch.randn(3), graphs=1)


def test_regions_with_a_name_and_typed_products():
    from torch._higher_order_ops import foreach_map, out_dtype
    from torch._higher_order_ops._invoke_quant import InvokeQuant

    quantized = InvokeQuant()

    def f(x, y):
        return (
            foreach_map(torch.add, [x, x], [x, x * 2]),
            quantized(lambda a: a.sin() * 2, x),
            out_dtype(MM, torch.int32, y, y),
        )

    report = same(f, torch.ones(2, 2), torch.ones(2, 2, dtype=torch.int8), fullgraph=True, graphs=1)
    assert {"foreach_map", "invoke_quant_packed", "out_dtype"} <= {getattr(op, "__name__", op) for op in report.ops}


MM = torch.ops.aten.mm.default


def test_a_step_of_cuda_graphs_is_marked_each_time():
    from torch._inductor.cudagraph_trees import MarkStepBox

    def f(x):
        torch.compiler.cudagraph_mark_step_begin()
        return x + 1

    compiled = alternator.compile(f, backend="eager")
    before = MarkStepBox.mark_step_counter
    for count in range(1, 4):
        compiled(torch.ones(2))
        assert MarkStepBox.mark_step_counter == before - count


def test_reentrant_checkpoint_without_gradients():
    linear = torch.nn.Linear(2, 2)

    def f(x):
        y = checkpoint(linear, x, use_reentrant=True)
        return y * 2, y.requires_grad

    with pytest.warns(UserWarning, match="None of the inputs"):
        same(f, torch.ones(2, 2), fullgraph=True, graphs=1)
        same(lambda x: checkpoint(lambda y: y, x, use_reentrant=True) + 1, torch.ones(2))


def grad_modes(a):
    with torch.enable_grad():
        inner = torch.is_grad_enabled()
    return a.sin(), torch.is_grad_enabled(), inner


def with_a_leaf(a):
    weight = torch.ones(2, requires_grad=True)
    return (a * weight).requires_grad, a.cos()


def with_output(a):
    print("in the body")
    return a.sin()


@pytest.mark.parametrize(
    ("body", "region"),
    [
        (lambda a: (a.sin() + 1, torch.is_grad_enabled()), True),
        (torch.nn.Linear(2, 2), False),
        (grad_modes, False),
        (with_a_leaf, False),
        (with_output, False),
    ],
)
@pytest.mark.filterwarnings("ignore:None of the inputs")
def test_reentrant_checkpoint_without_gradients_is_a_region_where_that_is_the_same(body, region):
    def f(x):
        return torch.is_grad_enabled(), checkpoint(body, x * 2, use_reentrant=True), torch.is_grad_enabled()

    report = same(f, torch.rand(2, 2), fullgraph=True, graphs=1)
    assert (ops.wrap in report.ops) is region
    for backend in BACKENDS:
        same(f, torch.rand(2, 2), fullgraph=True, backend=alternator.lookup_backend(backend))


def test_branches_of_cond_that_do_not_agree() -> None:
    """A plain run takes one of them; a graph has to have both."""

    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x: x.sum(), lambda x: x * 1, (x,))

    with pytest.raises(UncapturedHigherOrderOpError, match="its branches do not agree"):
        alternator.compile(fn, backend="eager", fullgraph=True)(torch.ones(2, 2))
