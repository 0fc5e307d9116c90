"""Context managers and setters of torch's global state: really switched while tracing, and put into the graph."""

from __future__ import annotations

from typing import Any

import torch
import torch.amp.autocast_mode as autocast_mode

from alternator.exc import Break
from alternator.interpreter import calls
from alternator.interpreter.tables import RULES


def _recorded_setter(fn: Any) -> None:
    """A setter of state that operations depend on: switched for real, and a node of the graph."""

    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        result = vm.plain(lambda: fn(*args, **kwargs))
        vm.recorder.graph.call_function(fn, args, kwargs)
        vm.state_changed()
        return result

    RULES.put(fn, rule)


for _fn in (torch._C._set_grad_enabled,):
    _recorded_setter(_fn)


@RULES.rule(torch.set_grad_enabled)
def set_grad_enabled(vm: Any, args: Any, kwargs: Any) -> Any:
    return calls.construct(vm, torch.set_grad_enabled, args, kwargs)


@RULES.rule(torch.amp.autocast_mode.autocast.__enter__)
def enter_autocast(vm: Any, args: Any, kwargs: Any) -> Any:
    context = args[0]
    read = lambda name: vm.getattr(context, name)  # noqa: E731
    target = (read("device"), read("fast_dtype"), read("_enabled"), read("_cache_enabled"))
    node = vm.recorder.graph.call_function(autocast_mode._enter_autocast, target)
    entered = autocast_mode.autocast(*target[:1], dtype=target[1], enabled=target[2], cache_enabled=target[3])
    vm.plain(entered.__enter__)
    vm.autocasts.append((context, entered, node))
    vm.state_changed()
    return context


@RULES.rule(torch.amp.autocast_mode.autocast.__exit__)
def exit_autocast(vm: Any, args: Any, kwargs: Any) -> Any:
    context = args[0]
    if not vm.autocasts or vm.autocasts[-1][0] is not context:
        raise Break("UNSUPPORTED_CONTEXT", "autocast left in another frame than it was entered")
    _, entered, node = vm.autocasts.pop()
    vm.recorder.graph.call_function(autocast_mode._exit_autocast, (node,))
    vm.plain(entered.__exit__, None, None, None)
    vm.state_changed()
    return False


def _refuse(code: str, *functions: Any) -> None:
    for fn in functions:

        def rule(vm: Any, args: Any, kwargs: Any, name: str = getattr(fn, "__qualname__", str(fn))) -> Any:
            raise Break(code, name)

        RULES.put(fn, rule)


_refuse("GLOBAL_STATE", torch.set_default_dtype, torch.use_deterministic_algorithms, torch.set_default_device, torch.set_num_threads)
_refuse("MODE", torch.inference_mode.__enter__, torch.autograd.graph.saved_tensors_hooks.__enter__)

for _fn in (torch.profiler.record_function.__enter__,):
    RULES.put(_fn, lambda vm, args, kwargs: args[0])
for _fn in (torch.profiler.record_function.__exit__,):
    RULES.put(_fn, lambda vm, args, kwargs: None)


@RULES.rule(torch.profiler.record_function.__init__)
def record_function_init(vm: Any, args: Any, kwargs: Any) -> Any:
    return None


