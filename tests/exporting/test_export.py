"""``alternator.export``: one graph with the function's own calling convention."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import gc
import inspect
import io
import warnings
import weakref
from typing import Any

import pytest
import torch
from exported import exported
from torch.export import Dim

import alternator
from alternator.exc import Unsupported, UserError, UserErrorType


def targets(gm: torch.fx.GraphModule) -> list[Any]:
    return [node.target for node in gm.graph.nodes if node.op.startswith("call_")]


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.register_buffer("count", torch.zeros(3))
        self.plain = torch.ones(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.count + self.plain


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> Any:
        for block in self.blocks:
            x = block(x)
        return {"x": x * scale, "scale": scale}


both = pytest.mark.parametrize("aten", [False, True])


# ---- the calling convention


@both
def test_containers_in_and_out(aten: bool) -> None:
    def fn(x: Any, pair: Any, *, named: Any) -> Any:
        return [x + pair[0], (pair[1], named["a"][0] * 2)], named, x

    x = torch.randn(2, 3)
    gm = exported(fn, x, (x + 1, 5), aten_graph=aten, named={"a": [x + 2], "b": "text"})
    assert list(inspect.signature(gm.forward).parameters) == ["x", "pair", "named"]


@both
def test_inputs_that_are_handed_out_again_or_not_used(aten: bool) -> None:
    def fn(a: Any, b: Any, unused: Any, c: Any) -> Any:
        y = a + 1
        return y, y, b, c, None, "text", 1.5, torch.float32

    exported(fn, torch.ones(2), torch.zeros(3), torch.ones(4), [torch.ones(1)], aten_graph=aten)


def test_names_of_parameters() -> None:
    def fn(first: Any, second: Any = 1.0, *rest: Any, key: Any, other: Any = 2.0, **more: Any) -> Any:
        return first + second + sum(rest) + key + other + more["extra"]

    one = torch.ones(2)
    gm = exported(fn, one, one, one, one, key=one, extra=one)
    assert list(inspect.signature(gm.forward).parameters) == ["first", "second", "rest_0", "rest_1", "key", "extra"]
    gm = exported(fn, one, key=one, extra=one)
    assert list(inspect.signature(gm.forward).parameters) == ["first", "key", "extra"]
    torch.testing.assert_close(gm(first=one, key=one, extra=one), fn(one, key=one, extra=one))


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        alternator.export(lambda x, y: x + y)(torch.ones(2))


@both
def test_nothing_to_compute(aten: bool) -> None:
    exported(lambda x: x, torch.ones(2), again=(torch.zeros(2),), aten_graph=aten)
    exported(lambda x: 3, torch.ones(2), aten_graph=aten)
    with pytest.raises(AssertionError, match="Failed to produce a graph"):
        alternator.export(lambda x: x, same_signature=False)(torch.ones(2))


def test_the_graph_as_it_was_captured() -> None:
    gm, _ = alternator.export(lambda x, unused, y: {"r": [x + y["a"]]}, same_signature=False)(
        torch.ones(2), torch.ones(3), {"a": torch.ones(2)}
    )
    assert len(gm.graph.find_nodes(op="placeholder")) == 2
    assert gm(torch.ones(2), torch.ones(2))[0].tolist() == [2, 2]


def test_other_callables() -> None:
    def fn(a: Any, b: Any, c: Any = 1) -> Any:
        return a * b + c

    class Holder:
        def method(self, x: Any) -> Any:
            return x * 2

        def __call__(self, x: Any) -> Any:
            return x * 3

    x = torch.randn(3)
    exported(functools.partial(fn, c=5), x, x)
    exported(Holder().method, x)
    exported(Holder(), x)
    exported(alternator.compile(fn, backend="eager"), x, x)
    gm, _ = alternator.export(torch.nn.functional.relu)(x)
    torch.testing.assert_close(gm(x), x.relu())


def test_the_older_form() -> None:
    x = torch.randn(3)
    gm, guards = alternator.export(lambda x, k: x * k, x, k=x)
    torch.testing.assert_close(gm(x, k=x), x * x)
    assert len(guards)


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Registered:
    a: Any
    b: Any


torch.export.register_dataclass(Registered, serialized_type_name="tests.exporting.Registered")


@both
def test_namedtuples_and_registered_classes(aten: bool) -> None:
    def fn(p: Any, r: Any) -> Any:
        return Point(p.x + r.a, r.b), Registered(p.y, p.x * 2)

    one = torch.ones(2)
    args = Point(one, one * 2), Registered(one * 3, 4)
    gm, _ = alternator.export(fn, aten_graph=aten)(*args)
    point, registered = gm(*args)
    assert type(point) is Point and type(registered) is Registered
    torch.testing.assert_close(point, fn(*args)[0])
    torch.testing.assert_close(registered.b, one * 2)


class Opaque:
    pass


def test_types_that_no_graph_takes() -> None:
    with pytest.raises(UserError, match="one of the inputs with type .*Opaque") as raised:
        alternator.export(lambda x, o: x + 1)(torch.ones(2), Opaque())
    assert raised.value.error_type is UserErrorType.INVALID_INPUT
    with pytest.raises(UserError, match="one of the outputs with type .*Opaque") as raised:
        alternator.export(lambda x: (x + 1, Opaque()))(torch.ones(2))
    assert raised.value.error_type is UserErrorType.INVALID_OUTPUT


@both
def test_export_again(aten: bool) -> None:
    """What was exported is a module like others."""

    def fn(d: Any) -> Any:
        return [[d["a"][0] + d["b"]], {"c": d["a"][1].sin()}]

    given = {"a": (torch.ones(2), torch.ones(3)), "b": torch.ones(2)}
    gm = exported(exported(fn, given, aten_graph=aten), given, aten_graph=aten)
    torch.testing.assert_close(gm(given), fn(given))


# ---- tensors that are no arguments


@both
def test_parameters_and_buffers_are_attributes(aten: bool) -> None:
    model = Model()
    gm = exported(model, torch.randn(2, 3), again=(torch.randn(5, 3),), aten_graph=aten)
    assert dict(gm.named_parameters())["L__self___blocks_1_linear_weight"] is model.blocks[1].linear.weight
    assert gm.meta["dynamo_flat_name_to_original_fqn"]["L__self___blocks_0_count"] == "blocks.0.count"
    assert len(list(gm.named_parameters())) == 4 and len(list(gm.named_buffers())) == 4
    assert len(gm.graph.find_nodes(op="placeholder")) == 1
    with torch.no_grad():
        model.blocks[0].linear.bias += 1
    x = torch.randn(2, 3)
    torch.testing.assert_close(gm(x), model(x))


OUTSIDE = torch.arange(3.0)


@both
def test_tensors_of_closures_and_globals(aten: bool) -> None:
    linear, inner = torch.nn.Linear(3, 3), torch.ones(3)
    exported(lambda x: linear(x) + OUTSIDE + inner, torch.randn(2, 3), aten_graph=aten)
    exported(lambda: OUTSIDE + 1, aten_graph=aten)


def test_a_parameter_that_is_used_under_two_names() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(3, 3)
            self.b = torch.nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    assert len(list(exported(Tied(), torch.randn(2, 3)).parameters())) == 3


@both
def test_what_is_done_to_tensors_in_place(aten: bool) -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("n", torch.zeros(2))

        def forward(self, x: Any) -> Any:
            self.n.add_(1)
            x.mul_(2)
            return x + self.n

    model = Counting()
    gm, _ = alternator.export(model, aten_graph=aten)(torch.ones(2))
    assert model.n.tolist() == [0, 0]
    x = torch.ones(2)
    assert gm(x).tolist() == [3, 3] and x.tolist() == [2, 2] and model.n.tolist() == [1, 1]


def test_batch_norm_and_hooks() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    model.register_forward_hook(lambda module, args, out: out * 2)
    other = copy.deepcopy(model)
    gm, _ = alternator.export(model)(torch.randn(2, 1, 3, 3))
    x = torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(gm(x), other(x))
    torch.testing.assert_close(model[1].running_mean, other[1].running_mean)


# ---- what cannot be in a graph


def test_a_break_is_an_error() -> None:
    def fn(x: Any) -> Any:
        return x.sin() if x.sum() > 0 else x

    with pytest.raises(Unsupported, match="branch on the value of a tensor") as raised:
        alternator.export(fn)(torch.ones(3))
    assert raised.value.code == "DATA_DEPENDENT_BRANCH"
    assert [frame.name for frame in raised.value.real_stack] == ["fn"]


def test_what_the_program_raises() -> None:
    def fn(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        alternator.export(fn)(torch.ones(3))


class Writing(torch.nn.Module):
    calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return x + 1


COUNT = 0


def write_global(x: Any) -> Any:
    global COUNT
    COUNT += 1
    return x + 1


def append(x: Any, out: list[Any]) -> Any:
    out.append(x + 1)
    return x + 2


def seed(x: Any) -> Any:
    torch.set_default_dtype(torch.float64)
    return x + 1


def closure() -> Any:
    n = 0

    def fn(x: Any) -> Any:
        nonlocal n
        n += 1
        return x + n

    return fn


@pytest.mark.parametrize(
    ("fn", "args", "text"),
    [
        (Writing(), (), r"writes the attribute calls of L\['self'\] \(a Writing\)"),
        (write_global, (), "writes the global variable COUNT"),
        (append, ([],), r"changes L\['out'\] \(a list\)"),
        (seed, (), "leaves torch's global state changed"),
        (closure(), (), "writes a variable of the function around it"),
        (lambda x: (print("here"), x + 1)[1], (), r"calls print\(\)"),
    ],
)
def test_effects_are_refused(fn: Any, args: Any, text: str) -> None:
    with pytest.raises(Unsupported, match=text) as raised:
        alternator.export(fn)(torch.ones(2), *args)
    assert raised.value.code == "UNSUPPORTED_EFFECT"
    assert COUNT == 0 and torch.get_default_dtype() is torch.float32 and not any(args)


class Flag:
    on: bool


FLAG = Flag()
FLAG.on = False


def test_what_is_set_back_is_no_effect() -> None:
    def fn(x: Any) -> Any:
        FLAG.on = True
        y = x + 1 if FLAG.on else x
        FLAG.on = False
        return y

    assert exported(fn, torch.ones(2))(torch.ones(2)).tolist() == [2, 2]

    def left(x: Any) -> Any:
        FLAG.on = False
        FLAG.on = True
        return x + 1

    with pytest.raises(Unsupported, match="writes the attribute on"):
        alternator.export(left)(torch.ones(2))


def test_containers_of_its_own_may_be_changed() -> None:
    def fn(x: Any) -> Any:
        y = x.copy()
        y.append(y[0] + 1)
        warnings.warn("not part of the graph", stacklevel=1)
        return y[0] + y[1], y[2]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported(fn, [torch.ones(2), torch.ones(2)])


def test_what_the_program_expects_is_in_the_graph() -> None:
    def fn(x: Any) -> Any:
        if not (x > 0).all():
            raise ValueError("not positive")
        return x + 1

    gm, _ = alternator.export(fn)(torch.ones(2))
    assert gm(torch.ones(2)).tolist() == [2, 2]
    with pytest.raises(RuntimeError):
        gm(-torch.ones(2))


def test_options_that_need_others() -> None:
    with pytest.raises(AssertionError, match="aten_graph"):
        alternator.export(lambda x: x, pre_dispatch=True)
    with pytest.raises(AssertionError, match="aten_graph"):
        alternator.export(lambda x: x, decomposition_table={})
    with pytest.raises(ValueError, match="tracing_mode"):
        alternator.export(lambda x: x, tracing_mode="other")
    with pytest.raises(TypeError, match="callable"):
        alternator.export(5)


# ---- ATen's operators


def test_operators_and_their_metadata() -> None:
    gm = exported(Model(), torch.randn(2, 3), aten_graph=True)
    calls = [node for node in gm.graph.nodes if node.op == "call_function"]
    assert torch.ops.aten.addmm.default in targets(gm)
    assert all(isinstance(target, torch._ops.OpOverload) for target in targets(gm))
    for node in calls:
        assert node.stack_trace and node.meta["source_fn_stack"] and "val" in node.meta
    attributes = gm.graph.find_nodes(op="get_attr")
    assert attributes and all("nn_module_stack" in node.meta for node in attributes)
    assert ("L['self'].blocks.0.linear", torch.nn.Linear) in [
        value for node in calls for value in node.meta["nn_module_stack"].values()
    ]


def test_decompositions_and_pre_dispatch() -> None:
    def fn(x: Any) -> Any:
        with torch.no_grad():
            return torch.nn.functional.silu(x).t()

    x = torch.randn(2, 3)
    gm, _ = alternator.export(fn, aten_graph=True, decomposition_table={torch.ops.aten.silu.default: lambda x: x * x.sigmoid()})(
        x
    )
    assert torch.ops.aten.silu.default not in targets(gm) and torch.ops.aten.sigmoid.default in targets(gm)
    torch.testing.assert_close(gm(x), fn(x))
    gm, _ = alternator.export(fn, aten_graph=True, pre_dispatch=True)(x)
    assert torch._C._set_grad_enabled in targets(gm)
    torch.testing.assert_close(gm(x), fn(x))


@both
def test_cond(aten: bool) -> None:
    linear = torch.nn.Linear(3, 3)

    def fn(pred: Any, x: Any) -> Any:
        return torch.cond(pred, lambda x: linear(x), lambda x: x - 1, (x,))

    gm = exported(fn, torch.tensor(True), torch.randn(2, 3), again=(torch.tensor(False), torch.randn(4, 3)), aten_graph=aten)
    assert torch.ops.higher_order.cond in targets(gm)

    def by_size(x: Any) -> Any:
        return torch.cond(x.shape[0] > 4, lambda x: x + 5, lambda x: x - 3, (x,))

    exported(by_size, torch.randn(4, 4), again=(torch.randn(6, 4),), aten_graph=aten)


@both
def test_graphs_can_be_saved(aten: bool) -> None:
    gm = exported(Model(), torch.randn(2, 3), aten_graph=aten)
    buffer = io.BytesIO()
    torch.save(gm, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    x = torch.randn(2, 3)
    torch.testing.assert_close(loaded(x), gm(x))


def test_random_numbers_and_state_are_as_before() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    alternator.export(lambda x: x + torch.rand(2))(torch.ones(2))
    assert torch.equal(state, torch.get_rng_state())


@both
def test_constants_are_attributes(aten: bool) -> None:
    @alternator.assume_constant_result
    def places(x: Any) -> Any:
        return torch.nonzero(x)

    gm, _ = alternator.export(lambda x: places(x + 1) * x.sum(), aten_graph=aten)(torch.ones(2))
    assert gm(torch.zeros(2)).tolist() == [[0], [0]] and gm(torch.ones(2)).tolist() == [[0], [2]]


@both
def test_tensors_of_a_fake_mode(aten: bool) -> None:
    mode = torch._subclasses.FakeTensorMode()
    with mode:
        model, x = torch.nn.Linear(2, 2), torch.randn(10, 2)
        gm, _ = alternator.export(model, aten_graph=aten, dynamic_shapes=({0: Dim("n")},))(x)
        inner, _ = alternator.export(lambda x: x.sin() + x.shape[0], aten_graph=aten)(x)
    assert [name for name, _ in gm.named_parameters()] == ["L__self___weight", "L__self___bias"]
    x = torch.randn(3)
    torch.testing.assert_close(inner(x.reshape(3, 1)), x.reshape(3, 1).sin() + 3)


def test_what_it_raises_is_its_own() -> None:
    def fn(x: Any) -> Any:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    with pytest.raises(ValueError, match="second") as raised:
        alternator.export(fn)(torch.ones(2))
    assert isinstance(raised.value.__cause__, KeyError)
    assert "fn" in [entry.name for entry in raised.traceback]


def test_code_can_tell_that_it_is_exported() -> None:
    def fn(x: Any) -> Any:
        return x + 1, torch.compiler.is_exporting(), alternator.compiler.is_exporting(), torch.compiler.is_compiling()

    gm, _ = alternator.export(fn)(torch.ones(1))
    assert gm(torch.ones(1))[1:] == (True, True, True)
    assert alternator.compile(fn, backend="eager", fullgraph=True)(torch.ones(1))[1:] == (False, False, True)


@both
def test_gradients_and_compiling(aten: bool) -> None:
    model, x = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)), torch.randn(5, 3)
    gm, _ = alternator.export(model, aten_graph=aten)(x)
    grads = []
    for one in (model, gm, alternator.compile(gm, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        one(x).sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(grads[1], grads[0])
    torch.testing.assert_close(grads[2], grads[0])


def test_a_tensor_of_the_module_that_is_also_an_argument() -> None:
    linear = torch.nn.Linear(2, 2)
    gm, guards = alternator.export(lambda x, w: linear(x) @ w)(torch.ones(1, 2), linear.weight)
    assert "ALIAS" in str(guards)
    torch.testing.assert_close(gm(torch.ones(1, 2), linear.weight), linear(torch.ones(1, 2)) @ linear.weight)


@both
def test_what_was_exported_is_let_go(aten: bool) -> None:
    """The graph module keeps the tensors that it uses, and neither the module that was exported nor the examples."""
    model, x = Model(), torch.randn(2, 3)
    gone = weakref.ref(model), weakref.ref(model.blocks[0]), weakref.ref(x)
    gm, guards = alternator.export(model, aten_graph=aten, dynamic_shapes={"x": {0: Dim("n")}})(x)
    del model, x
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]
    assert gm(torch.ones(4, 3))["x"].shape == (4, 3) and len(guards)
