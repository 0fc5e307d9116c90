"""Parameters that the program makes: leaves of autograd, which must be so behind the graph too.

Generated code makes each before it calls the graph, as a new parameter with nothing in it; the graph takes it as an input and
writes into it what it is made of.  So it is one object to the graph, to what leaves, and to autograd.  One over the memory of a
tensor from outside is made over that memory, as long as the graph writes into none of its inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._mode_utils import no_dispatch

from alternator.exc import Break, Restart
from alternator.interpreter.tables import RULES
from alternator.tensors.graph import Recorder


def empty_parameter(
    size: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, device: torch.device, requires_grad: bool
) -> torch.nn.Parameter:
    """A parameter with nothing in it, whatever the program has put over torch's functions."""
    with torch._C.DisableTorchFunction():
        return torch.nn.Parameter(torch.empty_strided(size, stride, dtype=dtype, device=device), requires_grad)


def parameter_over(data: torch.Tensor, requires_grad: bool) -> torch.nn.Parameter:
    """``torch.nn.Parameter(data, requires_grad)``, whatever the program has put over torch's functions."""
    with torch._C.DisableTorchFunction():
        return torch.nn.Parameter(data, requires_grad)


@RULES.rule(torch.nn.Parameter)
def parameter(vm: Any, args: Any, kwargs: Any) -> Any:
    """``torch.nn.Parameter(data, requires_grad)``"""
    given = dict(zip(("data", "requires_grad"), args), **kwargs)
    data, wanted = given.pop("data", None), given.pop("requires_grad", True)
    if given or type(data) is not FakeTensor or type(wanted) is not bool:
        raise Break("TENSOR_SUBCLASS", "construction of Parameter")
    if _may_be_shared(vm, data, wanted):
        return _shared(vm, data, wanted)
    if not _may_become_one(vm, data, wanted):
        raise Break("TENSOR_SUBCLASS", "construction of Parameter")
    return make(vm, data, wanted)


_NOT_HERE = "parameters over outside memory"
"""In the state of a frame: its graph writes into inputs, which may be the same memory."""


def _may_be_shared(vm: Any, data: torch.Tensor, requires_grad: bool) -> bool:
    """A dense tensor from outside, as it came."""
    rec = vm.records.get(id(data))
    if rec is None or rec.attrs or type(rec.obj) is not torch.Tensor or not vm.fakes.is_plain(data):
        return False
    fits = data.is_floating_point() or data.is_complex() or not requires_grad
    return fits and _is_outermost(vm) and _is_plain(data) and not vm.root_state.get(_NOT_HERE)


def _shared(vm: Any, data: torch.Tensor, requires_grad: bool) -> torch.Tensor:
    rec = vm.records[id(data)]
    with no_dispatch():
        real = parameter_over(rec.obj, requires_grad)
    with vm.fakes.mode:
        made: Any = data.detach()
    made._is_param = True
    made.requires_grad_(requires_grad)

    def text(builder: Any) -> str:
        return f"{builder.constant(parameter_over, 'parameter')}({builder.load(rec.source)}, {requires_grad})"

    vm.ticks += 1
    vm.recorder.new_input(made, real, text)
    vm.states.setdefault(_NOT_HERE, []).append(made)
    return made  # type: ignore[no-any-return]


def check_shared(vm: Any) -> None:
    """Nothing may be written into where a parameter shares the memory of an input; else the capture begins anew without."""
    watch, shared = vm.fakes.watch, vm.states.get(_NOT_HERE, ())
    written = any(one.untyped_storage()._cdata in watch.written for one in shared)
    if shared and (written or watch.written_inputs(vm.recorder)):
        raise Restart(lambda: vm.root_state.__setitem__(_NOT_HERE, True))


def make(vm: Any, data: torch.Tensor, requires_grad: bool) -> torch.Tensor:
    """A parameter over the memory of a tensor that the program has made."""
    size, stride, dtype, device = tuple(data.shape), data.stride(), data.dtype, data.device
    with no_dispatch():  # a real one, in the midst of fakes
        real = empty_parameter(size, stride, dtype, device, requires_grad)
    with vm.fakes.mode:
        made: Any = data.detach()
    made._is_param = True
    made.requires_grad_(requires_grad)

    def text(builder: Any) -> str:
        whole = f"{size}, {stride}, {builder.constant(dtype, 'dtype')}, {builder.constant(device, 'device')}"
        return f"{builder.constant(empty_parameter, 'empty_parameter')}({whole}, {real.requires_grad})"

    vm.ticks += 1
    vm.recorder.new_input(made, real, text)
    if not _has_nothing_in_it(vm, data):
        view = vm.call(torch.Tensor.detach, (made,))
        vm.call(torch.Tensor.copy_, (view, data))
    vm.recorder.replace(data, made)
    return made  # type: ignore[no-any-return]


def copied_parameter(original: torch.nn.Parameter) -> torch.nn.Parameter:
    """Another parameter over a copy of the data."""
    with torch._C.DisableTorchFunction():
        return torch.nn.Parameter(original.detach().clone(), original.requires_grad)


def copy_of(vm: Any, value: torch.Tensor) -> torch.Tensor | None:
    """A copy that generated code makes of a parameter from outside which the graph has not changed; None: not here."""
    rec, recorder = vm.records.get(id(value)), vm.recorder
    if rec is None or rec.attrs or type(rec.obj) is not torch.nn.Parameter or not _is_outermost(vm):
        return None
    if not _is_plain(value) or not vm.fakes.watch.changes_nothing(recorder):
        return None
    with vm.fakes.mode, torch.no_grad():
        made: Any = value.detach().clone()
    made._is_param = True
    made.requires_grad_(value.requires_grad)
    with no_dispatch():  # a real one, in the midst of fakes
        real = empty_parameter(tuple(made.shape), made.stride(), made.dtype, made.device, made.requires_grad)
    vm.ticks += 1
    recorder.new_input(made, real, lambda builder: f"{builder.constant(copied_parameter, 'copy')}({builder.load(rec.source)})")
    return made  # type: ignore[no-any-return]


def _is_outermost(vm: Any) -> bool:
    if type(vm.recorder) is not Recorder or vm.overrides.active or vm.inference_mode or torch.is_inference_mode_enabled():
        return False
    return not torch._C._are_functorch_transforms_active()


def _is_plain(data: torch.Tensor) -> bool:
    """Of constant size, on a device where it can be made."""
    sizes = (*data.shape, *data.stride(), data.storage_offset()) if data.layout is torch.strided else (None,)
    return all(type(size) is int for size in sizes) and data.device.type in ("cpu", "cuda", "meta") and not data.is_inference()


def _may_become_one(vm: Any, data: torch.Tensor, requires_grad: bool) -> bool:
    """Nobody else has the memory, and the new parameter is all that the program sees of it, or a view of that."""
    if not _is_outermost(vm) or vm.records.get(id(data)) is not None or not vm.recorder.knows(data):
        return False
    if not _is_plain(data) or data.storage_offset():
        return False
    if data.requires_grad or requires_grad and not (data.is_floating_point() or data.is_complex()):
        return False
    if data._is_view() or data.is_conj() or data.is_neg() or id(data) in vm.spaces:
        return False
    storage = data.untyped_storage()
    whole = storage.nbytes() == data.numel() * data.element_size()
    return whole and torch._C._storage_Use_Count(storage._cdata) == 2  # the tensor, and what Python has of the storage


def _has_nothing_in_it(vm: Any, data: torch.Tensor) -> bool:
    node = vm.recorder.node_of(data)
    return node.target is torch.empty and not node.users
