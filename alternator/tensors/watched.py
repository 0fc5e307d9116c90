"""Sees which operations on fakes write into their arguments, draw random numbers, or may fail because of data.

A graph that raises in its middle can be given up, if what it has done so far can be undone: random numbers are given back, and
what it wrote into small inputs is written over with a copy.
"""

from __future__ import annotations

import re
import types
import weakref
from typing import Any

import torch
from torch._prims_common import is_non_overlapping_and_dense_or_false
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from alternator.tensors.direct import RULES, TAKES_KEYWORDS
from alternator.tensors.environment import Environment, forget_results, newest_result
from alternator.tensors.graph import Input, Recorder

_OWN = frozenset({"aten", "prims", "prim"})
_DEVICE = torch.ops.prim.device.default
_OF_DATA = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
_MOVING = frozenset({"running_mean", "running_var"})
_CHANGE_THE_MEMORY = frozenset({"resize_", "resize_as_", "set_", "set_data"})
_MAY_FAIL = re.compile(
    "_?(unsafe_)?(index|embedding|gather|scatter|take|put|nll_loss|cross_entropy|binary_cross|ctc_loss|one_hot|multinomial"
    "|bernoulli|normal|poisson|binomial|linalg(?!_vector_norm)|cholesky|lu_|inverse|masked_scatter|repeat_interleave|bincount|hist"
    "|multi_margin|multilabel_margin|max_unpool|searchsorted|segment_reduce|local_scalar|assert|div|floor_divide|remainder|fmod|pow)"
)
"""Operators that may raise because of what is in their arguments, as far as names tell."""

_CHECKED_BEFORE = frozenset({torch.nn.functional.one_hot})
"""Functions that look at real data before they come to their operators, and at fakes not."""

_BY_PLACES = re.compile("_?(index_put|index_copy|index_add|scatter|masked_scatter)")
"""Operators whose kernels write while they read, at other places."""

_OF_INTS = re.compile("_?(div|floor_divide|remainder|fmod|pow)")
"""Those of them that do so for whole numbers only."""

_aten = torch.ops.aten
_OF_ONE_DTYPE = frozenset(
    {_aten.mm.default, _aten.addmm.default, _aten.bmm.default, _aten.baddbmm.default, _aten.convolution.default}
    | {_aten.mv.default, _aten.addmv.default, _aten.dot.default, _aten.addbmm.default, _aten.addr.default}
)
"""Operators that take tensors of one dtype only, and whose rules for fakes take others."""


class PartialOverlap(Exception):
    """An operation would write into a part of the memory that it reads."""


class Watch:
    """What a fake mode dispatches through: knows the storages that were written into, whether random numbers were drawn, and
    whether something else was done that shows outside.  (A subclass of the mode would not do: higher order operators have rules
    for the very class.)"""

    pure: set[Any] = set()
    """Operators that were looked at, and never do any of it, whatever they are called with."""

    def __init__(self, mode: FakeTensorMode, env: Environment) -> None:
        self.mode = weakref.ref(mode)
        self.env = env
        self.written: dict[int, Any] = {}
        self.tracked: set[int] = set()  # those of them that were written into where gradients are recorded
        self.draws = False
        self.may_fail = False
        self.overlapping = False  # the last operation wrote into an expanded tensor, which many kernels refuse
        self.shows = False
        vars(mode)["dispatch"] = self

    def __call__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every operator that fakes come to."""
        if func is _DEVICE:  # what kernels ask most
            return args[0].device
        if func not in self.pure:
            self._look_at(func, args, kwargs or {})
        mode = self.mode()
        assert mode is not None  # it is dispatching
        rule = RULES.get(func)
        if rule is not None and (not kwargs or func in TAKES_KEYWORDS):
            result = rule(mode, func, args, kwargs or {})
            if result is not None:
                return result
        if func in _OF_ONE_DTYPE and len({arg.dtype for arg in args if isinstance(arg, torch.Tensor)}) > 1:
            self.may_fail = True
        asked, newest = self.env.asked, newest_result()
        result = FakeTensorMode.dispatch(mode, func, types, args, kwargs or {})
        if self.env.asked != asked:
            forget_results(newest)
        return result

    def only_writes(self, recorder: Recorder) -> bool:
        """All that the graph as it is now does outside is to write into its inputs, and to draw random numbers."""
        return not self.shows and _is_known(recorder.graph, recorder.attributes)

    def may_raise(self, recorder: Recorder) -> bool:
        """The graph as it is now may raise because of what is in its inputs."""
        return self.may_fail or any(node.target in _CHECKED_BEFORE for node in recorder.graph.nodes)

    def changes_nothing(self, recorder: Recorder) -> bool:
        """Nobody can tell, but by random numbers, that the graph as it is now has run, or has run a part of the way."""
        return self.only_writes(recorder) and not self.written_inputs(recorder)

    def written_inputs(self, recorder: Recorder) -> list[Input]:
        """The inputs that may have been written into."""
        pairs = [(entry, entry.node.meta["example_value"]) for entry in recorder.inputs if entry.kind != "new"]
        return [e for e, v in pairs if isinstance(v, torch.Tensor) and v.untyped_storage()._cdata in self.written]

    def tracks(self, fake: torch.Tensor) -> bool:
        """Whether its memory may have been written into where gradients are recorded."""
        return bool(self.tracked) and fake.untyped_storage()._cdata in self.tracked

    def _look_at(self, func: Any, args: Any, kwargs: Any) -> None:
        schema = getattr(func, "_schema", None)
        if schema is None or func.namespace not in _OWN:
            self.shows = True
            return
        names = [argument.name for argument in schema.arguments]
        given = dict(zip(names, args)) | kwargs
        name = func.overloadpacket.__name__
        seeded = torch.Tag.nondeterministic_seeded in func.tags
        moving = not _MOVING.isdisjoint(names)
        may_fail = _MAY_FAIL.match(name) is not None
        of_data = name != "index" and not _OF_DATA.isdisjoint(func.tags)  # that comes to others if need be
        self.env.asked += of_data  # or it has found a number on the fake that it made before
        self.may_fail |= may_fail and not (_OF_INTS.match(name) and _has_fraction(args))
        if seeded and given.get("dropout_p", 1.0) != 0.0:
            self.draws = True
            self.shows |= given.get("generator") is not None
        if moving and given.get("training", given.get("train", True)) is not False:  # not all schemas say that they write
            self._write([given.get(one) for one in _MOVING])
        if schema.is_mutable:
            self.shows |= name in _CHANGE_THE_MEMORY
            for argument in schema.arguments:
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._write(given.get(argument.name))
                    if _reads_a_part_of(given.get(argument.name), given.values(), _BY_PLACES.match(name) is not None):
                        raise PartialOverlap
        elif not seeded and not moving and not may_fail and not of_data:
            self.pure.add(func)

    def _write(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            self.written[storage._cdata] = storage  # kept, or another one could get its address
            if torch.is_grad_enabled():
                self.tracked.add(storage._cdata)
            if any(type(stride) is int and stride == 0 for stride in value.stride()):
                self.overlapping |= torch._debug_has_internal_overlap(value) == 1
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._write(item)


def _reads_a_part_of(written: Any, values: Any, or_all: bool) -> bool:
    """Whether one of the values shares some of the memory that is written, but not all (``or_all``: or all of it): kernels refuse
    that, in their own order (before or after they resize), and graphs that a compiler makes compute something."""
    if not isinstance(written, torch.Tensor):
        return False
    if or_all and sum(one is written for one in values) > 1:
        return True
    memory = written.untyped_storage()._cdata
    others = [one for one in values if isinstance(one, torch.Tensor) and one is not written]
    others = [one for one in others if one.untyped_storage()._cdata == memory]
    place = _place(written) if others else None
    return place is not None and any(_overlap(place, _place(one), or_all) for one in others)


def _place(tensor: torch.Tensor) -> tuple[Any, Any, tuple[Any, ...]] | None:
    """Where the tensor begins and ends in its storage, and its strides, if it is dense (else kernels do not ask).

    Symbolic sizes are what the graph is guarded for from here on; those that only data says raise PartialOverlap."""
    numbers = (*tensor.shape, *tensor.stride(), tensor.storage_offset())
    if free_unbacked_symbols(numbers):
        raise PartialOverlap
    if not is_non_overlapping_and_dense_or_false(tensor):
        return None
    size, begin = tensor.element_size(), tensor.storage_offset() * tensor.element_size()
    return begin, begin + size * tensor.numel(), tensor.stride()


def _overlap(one: tuple[Any, Any, tuple[Any, ...]], other: tuple[Any, Any, tuple[Any, ...]] | None, or_all: bool) -> bool:
    return other is not None and bool((or_all or one != other) and one[0] < other[1] and other[0] < one[1])


def _has_fraction(args: Any) -> bool:
    """Whether an operation on these computes with fractions."""
    kinds = (float, complex, torch.SymFloat)
    return any(one.dtype.is_floating_point if isinstance(one, torch.Tensor) else isinstance(one, kinds) for one in args)


def _is_known(graph: torch.fx.Graph, attributes: dict[str, Any]) -> bool:
    """The graph, and the bodies of operators in it, are no more than the operators that they come to."""
    return all(_KNOWN.get(node.op, _never)(node, attributes) for node in graph.nodes)


def _never(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    return False


def _always(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    return True


def _known_body(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    body = attributes[str(node.target)]
    if isinstance(body, Recorder):
        return _is_known(body.graph, body.attributes)
    return isinstance(body, torch.fx.GraphModule) and _is_known(body.graph, vars(body)["_modules"])


def _known_function(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    target = node.target
    if isinstance(target, (torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator)):
        return True
    kinds = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType, type)
    module = getattr(target, "__module__", None) or ""
    return isinstance(target, kinds) and module.split(".")[0] in ("torch", "_operator", "builtins", "math", "")


def _known_method(node: torch.fx.Node, attributes: dict[str, Any]) -> bool:
    return node.target not in _CHANGE_THE_TENSOR


_CHANGE_THE_TENSOR = frozenset(
    {"requires_grad_", "register_hook", "register_post_accumulate_grad_hook", "retain_grad", "backward"}
)
_KNOWN = {
    "placeholder": _always,
    "output": _always,
    "get_attr": _known_body,
    "call_function": _known_function,
    "call_method": _known_method,
}
