"""torch's functions: which are one node of the graph, which are known to be something else."""

from __future__ import annotations

import functools
import math
import operator
import types
from typing import Any

import torch
import torch._compile
import torch._jit_internal
import torch.autograd
import torch.overrides
from torch.fx.experimental import symbolic_shapes

from alternator.exc import Break, UserRaise
from alternator.interpreter import assertions, attributes, calls, operations, tensor_ops
from alternator.interpreter.sameness import same
from alternator.interpreter.tables import CODES, DEEP, GETATTR, IN_GRAPH, INSTANCE_CALLS, PURE, PURE_TYPES, RULES
from alternator.provenance.world import MISSING, SCALARS
from alternator.tensors.graph import SYMBOLIC

_INLINED = {
    torch.nn.functional.multi_head_attention_forward,
    torch.nn.functional._in_projection,
    torch.nn.functional.triplet_margin_with_distance_loss,
    torch.Tensor.__torch_function__,
    torch.Tensor.backward,
    torch.functional.broadcast_shapes,
    torch.cond,
    torch.vmap,
}
_FACTORIES = (
    "arange",
    "as_tensor",
    "bartlett_window",
    "blackman_window",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "hamming_window",
    "hann_window",
    "kaiser_window",
    "linspace",
    "logspace",
    "normal",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "range",
    "scalar_tensor",
    "sparse_coo_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
    "complex",
    "polar",
    "asarray",
    "cartesian_prod",
    "combinations",
    "block_diag",
    "meshgrid",
    "einsum",
    "where",
    "broadcast_tensors",
    "promote_types",
    "result_type",
    "can_cast",
    "_shape_as_tensor",
    "frombuffer",
    "vander",
    "heaviside",
    "_assert_async",
    "_check_index_all",
)
_MODULES = (torch._C._nn, torch._C._fft, torch._C._linalg, torch._C._special, torch._C._VariableFunctions)


def _fill() -> None:
    seen: set[int] = set()

    def put(fn: Any) -> None:
        if id(fn) in seen or fn in IN_GRAPH or fn in RULES or not callable(fn) or issubclass(type(fn), type):
            return
        try:
            if fn in _INLINED:
                return
        except TypeError:
            return
        if issubclass(type(fn), (types.FunctionType, types.BuiltinFunctionType)):
            seen.add(id(fn))
            IN_GRAPH.put(fn, True)

    for space, functions in torch.overrides.get_overridable_functions().items():
        if space is torch.Tensor:
            continue
        for fn in functions:
            put(fn)
    for module in _MODULES:
        for name in dir(module):
            fn = getattr(module, name)
            if issubclass(type(fn), types.BuiltinFunctionType):
                put(fn)
    for name in _FACTORIES:
        if hasattr(torch, name):
            put(getattr(torch, name))
    for name in dir(torch.nn.functional):
        fn = getattr(torch.nn.functional, name)
        if (
            issubclass(type(fn), types.FunctionType)
            and not name.startswith("_")
            and fn.__module__ in ("torch.nn.functional", "torch._jit_internal")
        ):
            put(fn)


# ---- questions about the state of the system


def _constant(value: Any, *functions: Any) -> None:
    for fn in functions:
        RULES.put(fn, lambda vm, args, kwargs, value=value: value)


for _fn in {
    id(f): f
    for f in (
        torch.jit.is_scripting,
        torch.jit.is_tracing,
        torch._jit_internal.is_scripting,
    )
}.values():
    _constant(False, _fn)
_constant(True, torch.compiler.is_compiling, torch.compiler.is_dynamo_compiling)
RULES.put(torch.compiler.is_exporting, lambda vm, args, kwargs: vm.request.options.export)
_constant(None, torch._C._log_api_usage_once, torch._C._get_tracing_state)


def state_function(*functions: Any) -> None:
    """Functions that read or write state which the capture switches for real and guards as a whole."""
    for fn in functions:
        RULES.put(fn, lambda vm, args, kwargs, fn=fn: vm.plain(lambda: fn(*args, **kwargs)))


def _register_state() -> None:
    for path in (
        "is_grad_enabled get_default_dtype is_autocast_enabled get_autocast_dtype is_autocast_cache_enabled "
        "_C._is_any_autocast_enabled get_autocast_gpu_dtype get_autocast_cpu_dtype is_autocast_cpu_enabled "
        "are_deterministic_algorithms_enabled is_deterministic_algorithms_warn_only_enabled "
        "get_float32_matmul_precision cuda.is_available cuda.device_count distributed.is_available "
        "_C._functorch.maybe_current_level amp.is_autocast_available _C._get_privateuse1_backend_name "
        "cuda.is_bf16_supported backends.mps.is_available _C._get_flash_sdp_enabled _C._get_math_sdp_enabled "
        "_C._get_mem_efficient_sdp_enabled xpu.is_available "
        "_C._is_torch_function_mode_enabled get_default_device "
        "accelerator.is_available accelerator.current_accelerator cuda.is_initialized cuda.current_device "
        "_C._get_deterministic_algorithms _C._get_autocast_supported_devices"
    ).split():
        found: Any = torch
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None and found not in RULES:
            state_function(found)


_register_state()


def _watched(fn: Any) -> None:
    """A setting that is read, and guarded by its value."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        answer = vm.plain(lambda: fn(*args, **kwargs))
        if "transforms" in vm.states and fn is _HOOKS_ENABLED:
            return answer  # they switch it for real, and what it is around the call is guarded
        fact = ("PY", (), lambda: fn() == answer, f"{fn.__name__}() is {answer}")
        if vm.states.setdefault(fn, fact) is fact:
            vm.world.tree.tail.append(fact)
        return answer

    RULES.put(fn, rule)


_HOOKS_ENABLED = torch._C._autograd._saved_tensors_hooks_is_enabled

for _name in (
    "cudnn_enabled",
    "cublas_allow_tf32",
    "cudnn_allow_tf32",
    "cudnn_benchmark",
    "cudnn_deterministic",
    "cublas_allow_fp16_reduced_precision_reduction",
):
    _watched(getattr(torch._C, f"_get_{_name}"))
_watched(torch.get_num_threads)
_watched(_HOOKS_ENABLED)
_watched(torch.is_anomaly_enabled)
_watched(torch.is_anomaly_check_nan_enabled)


@RULES.rule(torch.is_inference_mode_enabled)
def is_inference_mode_enabled(vm: Any, args: Any, kwargs: Any) -> Any:
    """As around the frame; the capture itself runs without (and guards the state)."""
    return vm.inference_mode or torch.is_inference_mode_enabled()


@RULES.rule(torch._C._len_torch_dispatch_stack)
def dispatch_stack_length(vm: Any, args: Any, kwargs: Any) -> Any:
    """Without the capture's own fake mode."""
    return torch._C._len_torch_dispatch_stack() - 1


def _disabled(vm: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """What torch keeps away from compilers itself, unless there is a rule that knows it, or why it breaks."""
    rule = RULES.get(fn.__dict__.get("__wrapped__"))  # importing the in-tree front-end wraps torch.manual_seed
    if rule is not None:
        return rule(vm, args, kwargs)
    raise Break("TORCH_DISABLED", fn.__qualname__)


CODES.put(
    next(c for c in torch._compile._disable_dynamo.__code__.co_consts if isinstance(c, types.CodeType) and c.co_name == "inner"),
    _disabled,
)


# ---- simple functions of tensors and numbers


@RULES.rule(torch.is_tensor)
def is_tensor(vm: Any, args: Any, kwargs: Any) -> Any:
    return issubclass(type(args[0]), torch.Tensor)


def _metadata_function(fn: Any) -> Any:
    return lambda vm, args, kwargs: tensor_ops.execute(vm, fn, args, kwargs)


for _fn in (torch.is_floating_point, torch.is_complex, torch.numel):
    RULES.put(_fn, _metadata_function(_fn))


@RULES.rule(torch.Size)
def size(vm: Any, args: Any, kwargs: Any) -> Any:
    if kwargs or len(args) > 1:
        raise Break("UNSUPPORTED_CALL", "torch.Size() of such arguments")
    return torch.Size(operations.unpack(vm, args[0])) if args else torch.Size()


@RULES.rule(torch._C._infer_size)
def infer_size(vm: Any, args: Any, kwargs: Any) -> Any:
    """What two sizes are broadcast to; of symbols torch's Python function says it."""
    sizes = tuple([vm.close(arg) for arg in args])
    if any(issubclass(type(length), SYMBOLIC) for size in sizes if type(size) is torch.Size for length in size):
        return calls.call(vm, torch.broadcast_shapes, sizes, kwargs)
    return vm.plain(lambda: torch._C._infer_size(*sizes, **kwargs))


for _fn in (torch.sym_int, torch.sym_float, torch.sym_max, torch.sym_min, torch.sym_not, torch.sym_ite):
    RULES.put(_fn, lambda vm, args, kwargs, fn=_fn: vm.symbolic(fn, *map(vm.close, args)))


for _name in dir(math):
    _fn = getattr(math, _name)
    if isinstance(_fn, types.BuiltinFunctionType):
        _symbolic = getattr(torch, f"_sym_{_name}", None)

        def _math(vm: Any, args: Any, kwargs: Any, fn: Any = _fn, other: Any = _symbolic) -> Any:
            if not kwargs and any(issubclass(type(a), SYMBOLIC) for a in args) and other is not None:
                return vm.symbolic(other, *args)
            if any(issubclass(type(a), torch.Tensor) for a in args):
                args = tuple(calls.call(vm, float, (a,), {}) if issubclass(type(a), torch.Tensor) else a for a in args)
            if not kwargs and any(issubclass(type(a), SYMBOLIC) for a in args):
                return vm.symbolic(fn, *args)
            return calls.run_pure(vm, fn, DEEP, args, kwargs)

        RULES.put(_fn, _math)


for _name in dir(operator):
    _fn = getattr(operator, _name)
    if isinstance(_fn, types.BuiltinFunctionType) and _fn in operations._SPECIAL and not _name.startswith("__"):
        RULES.put(
            _fn,
            lambda vm, args, kwargs, fn=_fn: (
                operations.binary(vm, fn, *args) if len(args) == 2 else operations.unary(vm, fn, *args)
            ),
        )

RULES.put(operator.getitem, lambda vm, args, kwargs: operations.getitem(vm, *args))
RULES.put(operator.setitem, lambda vm, args, kwargs: operations.setitem(vm, *args))
RULES.put(operator.delitem, lambda vm, args, kwargs: operations.delitem(vm, *args))
RULES.put(operator.contains, lambda vm, args, kwargs: operations.contains(vm, *args))
RULES.put(operator.is_, lambda vm, args, kwargs: same(vm, *args))
RULES.put(operator.is_not, lambda vm, args, kwargs: not same(vm, *args))
RULES.put(operator.not_, lambda vm, args, kwargs: not vm.truth(args[0]))
RULES.put(operator.truth, lambda vm, args, kwargs: vm.truth(args[0]))
PURE.put(operator.index, DEEP)
PURE.put(operator.countOf, DEEP)
PURE.put(operator.indexOf, DEEP)
RULES.put(operator.abs, lambda vm, args, kwargs: calls.call(vm, abs, args, kwargs))
RULES.put(operator.inv, lambda vm, args, kwargs: operations.unary(vm, operator.invert, *args))


def _concat(add: Any) -> Any:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if issubclass(type(args[0]), (int, float, complex, *SYMBOLIC)):
            raise vm.user_raise(TypeError(f"'{attributes.type_of(vm, args[0]).__name__}' object can't be concatenated"))
        return operations.binary(vm, add, *args)

    return rule


RULES.put(operator.concat, _concat(operator.add))
RULES.put(operator.iconcat, _concat(operator.iadd))
RULES.put(operator.call, lambda vm, args, kwargs: calls.call(vm, args[0], args[1:], kwargs))
_kind: Any
for _kind in (operator.attrgetter, operator.itemgetter, operator.methodcaller):
    PURE_TYPES.put(_kind, DEEP)


@INSTANCE_CALLS.rule(operator.itemgetter)
def call_itemgetter(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    keys = obj.__reduce__()[1]
    values = tuple(operations.getitem(vm, args[0], key) for key in keys)
    return values[0] if len(keys) == 1 else values


@INSTANCE_CALLS.rule(operator.attrgetter)
def call_attrgetter(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    values = []
    for path in obj.__reduce__()[1]:
        value = args[0]
        for name in path.split("."):
            value = attributes.load(vm, value, name)
        values.append(value)
    return values[0] if len(values) == 1 else tuple(values)


@INSTANCE_CALLS.rule(operator.methodcaller)
def call_methodcaller(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    made, given = obj.__reduce__()
    named: dict[str, Any] = {}
    if issubclass(type(made), functools.partial):  # one with keywords
        given, named = (*made.args, *given), made.keywords
    return calls.call(vm, attributes.load(vm, args[0], given[0]), tuple(given[1:]), dict(named))


# ---- operators


@INSTANCE_CALLS.rule(torch._ops.OpOverload, torch._ops.OpOverloadPacket)
def call_overload(vm: Any, obj: Any, args: Any, kwargs: Any) -> Any:
    return tensor_ops.call(vm, obj, args, kwargs)


def _native_attr(vm: Any, obj: Any, name: str) -> Any:
    try:
        value = vm.plain(getattr, obj, name)
    except UserRaise:
        if type(obj) is not torch._ops.OpOverload:  # it may get one by that name
            raise Break("UNSUPPORTED_ATTRIBUTE", f"{name}, which a {type(obj).__name__} has not") from None
        vm.world.trusted(obj).inner.child("dict").child("dictitem", name).guard("ABSENT")
        raise
    if type(value) in SCALARS and name in obj.__dict__:
        return vm.world.admit(value, vm.world.trusted(obj).inner.child("attr", name))
    if type(value) is types.MethodType and value.__self__ is obj:  # made anew at each look
        vm.world.trusted(value.__func__)
    elif type(value) is list:
        return vm.world.admit(value, vm.world.trusted(obj).inner.child("attr", name))
    elif id(value) not in vm.records and type(value) is torch._C.FunctionSchema:
        return vm.world.by_identity(value, vm.world.trusted(obj).inner.child("attr", name))
    else:
        vm.world.trusted(value)
    return value


for _kind in (torch._ops._OpNamespace, torch._ops._Ops, torch._ops.OpOverloadPacket, torch._ops.OpOverload):
    GETATTR.put(_kind, _native_attr)


def _dtype_attr(vm: Any, obj: Any, name: str) -> Any:
    return vm.plain(getattr, obj, name)


for _kind in (
    torch.dtype,
    torch.device,
    torch.finfo,
    torch.iinfo,
    torch.Size,
    str,
    int,
    float,
    bool,
    bytes,
    type(None),
    slice,
    range,
    complex,
):
    GETATTR.put(_kind, _dtype_attr)
for _kind in (torch.finfo, torch.iinfo, torch.dtype, torch.device, torch.Size):
    PURE_TYPES.put(_kind, DEEP)
for _kind in (torch.finfo, torch.iinfo, torch.device):
    RULES.put(_kind, lambda vm, args, kwargs, kind=_kind: vm.plain(lambda: kind(*args, **kwargs)))


@RULES.rule(torch._C._nn._parse_to)
def parse_to(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.plain(lambda: torch._C._nn._parse_to(*args, **kwargs))


def _check_rule(fn: Any, error: type[Exception]) -> Any:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        condition = args[0]
        if assertions.is_unbacked(condition):
            if not assertions.check(vm, condition, error, (text(vm, *args[1:], **kwargs),)):
                raise Break("DATA_DEPENDENT_BRANCH", f"torch.{fn.__name__} of a number that only the graph knows")
        elif issubclass(type(condition), torch.SymBool):
            vm.symbolic(fn, condition)
        elif not vm.truth(condition):
            raise vm.user_raise(error(text(vm, *args[1:], **kwargs)))
        return None

    def text(vm: Any, message: Any = None) -> Any:
        if message is None:
            return "Expected cond to be True, but got False."
        return calls.call(vm, message, (), {}) if callable(message) else message

    return rule


for _fn, _error in (
    (torch._check, RuntimeError),
    (torch._check_value, ValueError),
    (torch._check_index, IndexError),
    (torch._check_type, TypeError),
):
    RULES.put(_fn, _check_rule(_fn, _error))


@RULES.rule(torch._check_tensor_all_with)
def check_tensor_all(vm: Any, args: Any, kwargs: Any) -> Any:
    """Whether all of a tensor is true is found out by the graph, which raises the same error."""
    if len(args) < 2:
        return calls.inline(vm, torch._check_tensor_all_with, args, kwargs)
    error, condition, message = (*args, kwargs.get("message"))[:3]
    if (
        error is not RuntimeError
        or message is not None
        or kwargs.keys() - {"message"}
        or not issubclass(type(condition), torch.Tensor)
    ):
        return calls.inline(vm, torch._check_tensor_all_with, args, kwargs)
    if condition.dtype is not torch.bool:
        return calls.inline(vm, torch._check_tensor_all_with, args, kwargs)
    holds = vm.call(torch.Tensor._is_all_true, (condition,))
    return vm.graph_call(torch._assert_async, (holds, _CHECK_FAILED), {})


_CHECK_FAILED = (
    "Expected cond to be True, but got False. (Could this error message be improved? "
    "If so, please report an enhancement request to PyTorch.)"
)


@RULES.rule(torch.SymFloat.is_integer)
def is_integer(vm: Any, args: Any, kwargs: Any) -> Any:
    """Of a symbolic float, which stands for finite numbers."""
    if not vm.truth(vm.symbolic(operator.lt, vm.call(abs, args), 2.0**53)):  # all of these are, and do not fit guards on ints
        return True
    return vm.symbolic(operator.eq, args[0], vm.call(math.floor, args))


@RULES.rule(symbolic_shapes.guard_size_oblivious)
def guard_size_oblivious(vm: Any, args: Any, kwargs: Any) -> Any:
    return vm.symbolic(symbolic_shapes.guard_size_oblivious, *args)


def _refuse(code: str, *functions: Any) -> None:
    for fn in functions:
        if fn in RULES:
            continue

        home = "torch" if hasattr(torch, fn.__name__) else fn.__module__

        def rule(vm: Any, args: Any, kwargs: Any, name: str = f"{home}.{fn.__name__}") -> Any:
            raise Break(code, f"{name}()")

        RULES.put(fn, rule)


_refuse("BACKWARD", torch.autograd.backward)
_refuse("RNG", torch.manual_seed, torch.seed, torch.get_rng_state, torch.set_rng_state, torch.initial_seed)
_refuse("TORCH_DISABLED", torch.compiler.cudagraph_mark_step_begin)
_refuse("TENSOR_DATA", torch.utils.dlpack.from_dlpack, torch.from_dlpack, torch.frombuffer)


_fill()
__all__ = ["MISSING"]


@RULES.rule(torch._C._group_tensors_by_device_and_dtype)
def group_tensors(vm: Any, args: Any, kwargs: Any) -> Any:
    """What optimizers and gradient clipping sort their tensors with."""
    return calls.call(vm, _group_tensors, args, kwargs)


def _group_tensors(tensorlistlist: Any, with_indices: bool = False) -> Any:
    """Polyfill: (device, dtype) of the tensors of the first list -> (the lists' parts, indices)."""
    groups: dict[Any, Any] = {}
    for index, tensor in enumerate(tensorlistlist[0]):
        key = (tensor.device, tensor.dtype)
        if key not in groups:
            groups[key] = ([[] for _ in tensorlistlist], [])
        parts, indices = groups[key]
        for part, given in zip(parts, tensorlistlist):
            if given:
                part.append(given[index])
        if with_indices:
            indices.append(index)
    return groups
