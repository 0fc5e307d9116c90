"""Which kernels scaled dot product attention may use: global state of torch, switched while tracing and in the graph."""

from __future__ import annotations

from typing import Any

import torch

from alternator.interpreter.tables import RULES
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, World
from alternator.tensors.state import SDP_KERNELS, sdp_state


@ADMIT.register(torch._C._SDPBackend)
def admit_backend(world: World, obj: Any, source: Source) -> Any:
    """One of the named kernels: immutable, and mostly the object that the class has."""
    return world.by_identity(obj, source)


def _rely_on_state(vm: Any) -> None:
    """What is switched, and what is switched back, depends on how things were."""
    if "sdp" not in vm.states:
        found = vm.states["sdp"] = sdp_state()
        vm.world.tree.tail.append(("PY", (), lambda: sdp_state() == found, f"attention kernels == {found}"))


def _kernel(name: str) -> None:
    getter, setter = getattr(torch._C, f"_get_{name}_sdp_enabled"), getattr(torch._C, f"_set_sdp_use_{name}")

    def read(vm: Any, args: Any, kwargs: Any) -> Any:
        _rely_on_state(vm)
        return vm.plain(lambda: getter(*args, **kwargs))

    def switch(vm: Any, args: Any, kwargs: Any) -> None:
        _rely_on_state(vm)
        args = tuple([bool(arg) if type(arg) is int else arg for arg in args])
        vm.plain(lambda: setter(*args, **kwargs))
        vm.recorder.graph.call_function(setter, args, kwargs)
        vm.state_changed()

    RULES.put(getter, read)
    RULES.put(setter, switch)


for _name in SDP_KERNELS:
    _kernel(_name)
