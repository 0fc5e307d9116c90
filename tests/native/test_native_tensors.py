"""TENSOR, SHAPE and GLOBAL_STATE guards."""

import gc
import warnings

import pytest
import torch
from native_helpers import Checked, Table
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from alternator._C.guards import GuardTree


def tensor_tree(example, sizes="own", strides="own"):
    sizes = tuple(example.shape) if sizes == "own" else sizes
    strides = tuple(example.stride()) if strides == "own" else strides
    table = Table()
    table.local(0, ("TENSOR", example, sizes, strides))
    return Checked(table, None, [example])


@pytest.mark.parametrize(
    "other, word",
    [
        (lambda: torch.zeros(2, 3, dtype=torch.float64), "dtype"),
        (lambda: torch.zeros(2, 3, device="meta"), "device"),
        (lambda: torch.zeros(2, 3, requires_grad=True), "requires_grad"),
        (lambda: torch.zeros(2, 3).to_sparse(), "layout"),
        (lambda: torch.zeros(2, 4), "sizes"),
        (lambda: torch.zeros(2, 3, 1), "dimensions"),
        (lambda: torch.zeros(3, 2).t(), "strides"),
        (lambda: torch._neg_view(torch.zeros(2, 3)), "dispatch keys"),
        (lambda: torch.zeros(2, 3, dtype=torch.complex64), "dtype"),
        (lambda: 3, "expected a tensor"),
        (lambda: None, "expected a tensor"),
    ],
)
def test_tensor(other, word):
    checked = tensor_tree(torch.zeros(2, 3))
    checked.values = [torch.ones(2, 3)]
    checked.passes()
    checked.values = [other()]
    checked.fails(word)


def test_conjugate_and_inference_tensors():
    checked = tensor_tree(torch.zeros(2, dtype=torch.complex64))
    checked.values = [torch.zeros(2, dtype=torch.complex64).conj()]
    checked.fails("dispatch keys")
    with torch.inference_mode():
        made = torch.zeros(2, dtype=torch.complex64)
    checked.values = [made]
    checked.fails("dispatch keys")


def test_dynamic_sizes_and_strides():
    checked = tensor_tree(torch.zeros(2, 3), (None, 3), (None, 1))
    checked.values = [torch.zeros(7, 3)]
    checked.passes()
    checked.values = [torch.zeros(7, 4)]
    checked.fails("(any, 3)", "(7, 4)")
    checked = tensor_tree(torch.zeros(2, 3), None, None)
    checked.values = [torch.zeros(5, 9).t()]
    checked.passes()
    checked.values = [torch.zeros(5)]
    checked.fails("dimensions")


def test_tensor_changed_in_place():
    class Holder:
        pass

    holder = Holder()
    holder.t = torch.zeros(2, 3)
    table = Table()
    table.node(table.node(table.local(0), "dict"), "dictitem", "t", ("TENSOR", holder.t, (2, 3), (3, 1)))
    checked = Checked(table, None, [holder])
    holder.t.add_(1)
    checked.passes()
    holder.t.requires_grad_()
    checked.fails("requires_grad")
    holder.t.requires_grad_(False)
    checked.passes()
    holder.t.data = torch.zeros(2, 3, dtype=torch.float64)
    checked.fails("dtype")
    holder.t.data = torch.zeros(2, 3)
    checked.passes()
    holder.t.resize_(3, 3)
    checked.fails("sizes")
    holder.t.resize_(2, 3)
    checked.passes()
    holder.t.t_()
    checked.fails()
    holder.t = torch.ones(2, 3)
    checked.passes()


def test_parameter_and_buffer_of_a_module():
    module = torch.nn.Linear(3, 2)
    table = Table()
    root = table.local(0, ("TYPE", torch.nn.Linear))
    params = table.node(table.node(root, "dict"), "dictitem", "_parameters", ("KEYS", ("weight", "bias")))
    weight = table.node(params, "dictitem", "weight", ("TYPE", torch.nn.Parameter), ("TENSOR", module.weight, (2, 3), (3, 1)))
    checked = Checked(table, None, [module])
    assert checked.tree.values(None, [module])[weight] is module.weight
    module.weight = torch.nn.Parameter(torch.zeros(2, 3))
    checked.passes()
    assert checked.tree.values(None, [module])[weight] is module.weight
    module.weight.requires_grad_(False)
    checked.fails("requires_grad", "['_parameters']['weight']")
    module.weight.requires_grad_(True)
    checked.passes()
    module.double()
    checked.fails("dtype")
    module.float()
    checked.passes()
    module.bias = None
    checked.passes()
    module.register_parameter("extra", None)
    checked.fails("keys")
    checked.values = [torch.nn.Linear(3, 2)]
    checked.passes()
    checked.values = [torch.nn.Linear(4, 2)]
    checked.fails("sizes")
    checked.values = [torch.nn.Identity()]
    checked.fails("Linear")


def test_fake_tensors_do_not_pass_for_real_ones():
    from torch._subclasses import FakeTensorMode

    checked = tensor_tree(torch.zeros(2, 3))
    with FakeTensorMode() as mode:
        checked.values = [mode.from_tensor(torch.zeros(2, 3))]
    checked.fails()


def test_subclass_with_its_own_sizes():
    from torch.testing._internal.two_tensor import TwoTensor

    value = TwoTensor(torch.zeros(2), torch.zeros(2))
    checked = tensor_tree(value)
    checked.values = [TwoTensor(torch.zeros(3), torch.zeros(3))]
    checked.fails("sizes")
    checked.values = [torch.zeros(2)]
    checked.fails("dispatch keys")


# ---- shapes ---------------------------------------------------------------------------------------------------------


def shape_holds(program, inputs=(), values=(1,)):
    """Whether the guard holds: a tree cannot be made if it does not."""
    rows = [(-1, "local", i, ()) for i in range(len(values))]
    try:
        GuardTree(rows, [("SHAPE", inputs, program, "the condition")], None, list(values))
    except RuntimeError as e:
        assert "the condition" in str(e)
        return False
    return True


def const(*numbers):
    return tuple(("const", n) for n in numbers)


BIG = 2**62


@pytest.mark.parametrize(
    "operands, op, result",
    [
        ((7, 3), "+", 10), ((7, 3), "-", 4), ((7, 3), "*", 21), ((7, 2), "//", 3), ((-7, 2), "//", -4), ((7, -2), "//", -4),
        ((-7, 2), "%", 1), ((7, -2), "%", -1), ((6, -2), "%", 0), ((2, 10), "**", 1024), ((-3, 3), "**", -27), ((5, 0), "**", 1),
        ((7, 2), "/", 3.5), ((3, 5), "min", 3), ((3, 5), "max", 5), ((3, 2), "<<", 12), ((-9, 1), ">>", -5), ((6, 3), "&", 2),
        ((6, 3), "|", 7), ((6, 3), "^", 5), ((1.5, 2), "*", 3.0), ((7.5, 2), "//", 3.0), ((-7.5, 2), "//", -4.0),
        ((-7.5, 2), "%", 0.5), ((2.0, 3), "**", 8.0), ((4,), "neg", -4), ((-4,), "abs", 4), ((-4.5,), "abs", 4.5), ((5,), "~", -6),
        ((5,), "float", 5.0), ((-2.5,), "trunc", -2), ((-2.5,), "floor", -3), ((-2.5,), "ceil", -2), ((9,), "sqrt", 3.0),
        ((1, 5, 6), "select", 5), ((0, 5, 6), "select", 6), ((3,), "not", 0), ((2, 0), "and", 0), ((2, 0), "or", 1),
    ],
)  # fmt: skip
def test_arithmetic(operands, op, result):
    assert shape_holds(const(*operands) + (op,) + const(result) + ("==",))
    assert not shape_holds(const(*operands) + (op,) + const(result) + ("!=",))


@pytest.mark.parametrize(
    "operands, op",
    [
        ((1, 0), "//"), ((1, 0), "%"), ((1, 0), "/"), ((1.0, 0), "//"), ((BIG, BIG), "+"), ((-BIG, -BIG - 1), "+"), ((BIG, 4), "*"),
        ((10, 30), "**"), ((2, -1), "**"), ((1, 64), "<<"), ((-(2**63),), "neg"), ((-(2**63),), "abs"), ((-(2**63), -1), "//"),
        ((-1,), "sqrt"), ((1e300,), "floor"), ((BIG + 1, 0.5), "+"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_fails_either_way(operands, op):
    program = const(*operands) + (op,)
    assert not shape_holds(program + const(0) + ("==",))
    assert not shape_holds(program + const(0) + ("!=",))


@pytest.mark.parametrize("op", ["==", "!=", "<", "<=", ">", ">="])
def test_comparisons(op):
    for a in (-1, 0, 2, 1.5):
        for b in (-1, 0, 2, 1.5):
            assert shape_holds(const(a, b) + (op,)) == eval(f"{a} {op} {b}")


def test_shape_inputs():
    table = Table()
    x, n, f = table.local(0), table.local(1), table.local(2)
    inputs = ((x, "size", 0), (x, "stride", 0), (x, "offset"), (n, "int"), (f, "float"))
    holds = [("in", 0), ("in", 1), "*", ("in", 2), "+", ("in", 3), "==", ("in", 4), ("const", 0.5), "==", "and"]
    table.tail = [("SHAPE", inputs, holds, "s0 * stride + offset == n and f == 0.5")]
    checked = Checked(table, None, [torch.zeros(12)[2:].view(5, 2), 12, 0.5])
    checked.values = [torch.zeros(4, 3), 12, 0.5]
    checked.passes()
    checked.values = [torch.zeros(4, 3), 13, 0.5]
    checked.fails("s0 * stride + offset == n", node=-1, position=0)
    checked.values = [torch.zeros(4, 3), 12, 0.25]
    checked.fails()
    checked.values = [torch.zeros(4, 3), 12, 1]  # an int where a float was
    checked.fails()
    checked.values = [torch.zeros(4, 3), 12.0, 0.5]
    checked.fails()
    checked.values = [torch.zeros(()), 12, 0.5]  # no such dimension
    checked.fails()
    checked.values = [torch.zeros(4, 3), 2**70, 0.5]
    checked.fails()
    checked.values = [None, 12, 0.5]
    checked.fails()


# ---- global state ---------------------------------------------------------------------------------------------------


class Functions(TorchFunctionMode):
    pass


class Dispatches(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def with_setting(setter, getter, value):
    class Setting:
        def __enter__(self):
            self.old = getter()
            setter(value)

        def __exit__(self, *exc):
            setter(self.old)

    return Setting()


def attribute(owner, name, value):
    return with_setting(lambda v: setattr(owner, name, v), lambda: getattr(owner, name), value)


def vmapped():
    from torch._functorch.vmap import vmap_increment_nesting

    return vmap_increment_nesting(2, "error")


STATES = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast cpu": lambda: torch.autocast("cpu"),
    "autocast float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "autocast dtype": lambda: with_setting(
        lambda v: torch.set_autocast_dtype("cpu", v), lambda: torch.get_autocast_dtype("cpu"), torch.float16
    ),
    "autocast cuda": lambda: with_setting(
        lambda v: torch.set_autocast_enabled("cuda", v), lambda: torch.is_autocast_enabled("cuda"), True
    ),
    "autocast cache": lambda: with_setting(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled, False),
    "default dtype": lambda: with_setting(torch.set_default_dtype, torch.get_default_dtype, torch.float64),
    "deterministic": lambda: with_setting(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled, True),
    "deterministic warn": lambda: with_setting(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode, 1),
    "fill": lambda: attribute(torch.utils.deterministic, "fill_uninitialized_memory", False),
    "matmul precision": lambda: with_setting(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision, "high"),
    "matmul medium": lambda: with_setting(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision, "medium"),
    "tf32 cuda": lambda: attribute(torch.backends.cuda.matmul, "allow_tf32", True),
    "tf32 cudnn": lambda: attribute(torch.backends.cudnn, "allow_tf32", False),
    "fp16 reduction": lambda: attribute(torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", False),
    "bf16 reduction": lambda: attribute(torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False),
    "fp16 accumulation": lambda: attribute(torch.backends.cuda.matmul, "allow_fp16_accumulation", True),
    "torch function off": torch._C.DisableTorchFunctionSubclass,
    "torch function all off": torch._C.DisableTorchFunction,
    "function mode": Functions,
    "dispatch mode": Dispatches,
    "default device": lambda: torch.device("meta"),
    "vmap": vmapped,
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_global_state(state):
    torch.set_float32_matmul_precision("highest")  # setting it at all replaces "never set"
    tree = GuardTree([], [("GLOBAL_STATE",)], None, [])
    assert tree.check(None, [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with state():
            assert not tree.check(None, [])
            node, position, text = tree.explain(None, [])
            assert (node, position) == (-1, 0) and text.startswith("global state: ")
            inner = GuardTree([], [("GLOBAL_STATE",)], None, [])
            assert inner.check(None, [])
    assert tree.check(None, []), tree.explain(None, [])
    assert not inner.check(None, [])


def test_another_mode_of_the_same_kind():
    mode = Functions()
    with mode:
        tree = GuardTree([], [("GLOBAL_STATE",)], None, [])
    with Functions():
        assert not tree.check(None, [])
        assert "other torch function modes" in tree.explain(None, [])[2]
    with mode:
        assert tree.check(None, [])
    del mode
    gc.collect()
    with Functions():
        assert not tree.check(None, [])
    assert tree.dead
