"""``same``: the differential oracle that every test of captured code uses.

It runs a function plainly and captured, each on copies of its own, and compares all that can be seen of the two runs: the
result, the exception, the output, the arguments as they are afterwards, and the globals that the test names.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import math
import sys
import types
from typing import Any, Callable, Mapping, Sequence

import torch

import alternator
from alternator import utils


class Recorder:
    """A backend that runs graphs as they are, and keeps them."""

    def __init__(self) -> None:
        self.graphs: list[torch.fx.GraphModule] = []
        self.example_inputs: list[list[Any]] = []

    def __call__(self, gm: torch.fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        self.graphs.append(gm)
        self.example_inputs.append(list(example_inputs))
        gm.graph.lint()
        return gm.forward

    @property
    def frame_count(self) -> int:
        return len(self.graphs)

    @property
    def op_count(self) -> int:
        return sum(len(ops(gm)) for gm in self.graphs)


def ops(gm: torch.fx.GraphModule) -> list[Any]:
    """What a graph calls."""
    return [node.target for node in gm.graph.nodes if node.op.startswith("call_")]


@dataclasses.dataclass
class Outcome:
    """All that can be seen of one run."""

    result: Any = None
    raised: BaseException | None = None
    stdout: str = ""
    args: Any = None
    kwargs: Any = None
    namespace: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Report:
    """What ``same`` returns, for further assertions."""

    graphs: list[torch.fx.GraphModule]
    breaks: list[utils.BreakReason]
    recompiles: int
    outcomes: list[Outcome]
    compiled: Any

    @property
    def ops(self) -> list[Any]:
        return [op for gm in self.graphs for op in ops(gm)]


def same(
    fn: Callable[..., Any],
    *args: Any,
    graphs: int | None = None,
    breaks: int | Sequence[str] | None = None,
    recompiles: int | None = None,
    then: Sequence[tuple[Any, ...]] = (),
    kwargs: Mapping[str, Any] | None = None,
    namespace: Sequence[str] = (),
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Callable[..., Any] | None = None,
    check_args: bool = True,
    grad: bool = False,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> Report:
    """Assert that ``fn`` captured does what it does plainly, with ``args``, with ``args`` again, and with each of ``then``.

    Args:
        graphs: how many graphs the first call makes.
        breaks: how many breaks the first call reports, or their codes in order.
        recompiles: how many frames are captured again by the later calls.
        then: further tuples of arguments.
        namespace: names of globals of ``fn`` to compare (and to restore between the two runs).
        grad: call ``backward()`` on the sum of what the function returns, and compare the gradients of the arguments.
    """
    recorder = Recorder()
    chosen = backend or recorder
    seen: list[utils.BreakReason] = []
    entries: list[Any] = []
    alternator.reset()
    torch.manual_seed(0)
    twin = _twin(fn)
    compiled = alternator.compile(twin, backend=chosen, fullgraph=fullgraph, dynamic=dynamic)
    outcomes = []
    kwargs = dict(kwargs or {})
    first_graphs = first_breaks = first_entries = 0
    with utils.listening_to_breaks(seen.append), utils.listening_to_entries(entries.append):
        for number, one in enumerate([args, args, *then]):
            plain = _run(fn, one, kwargs, namespace, grad)
            captured = _run(compiled, one, kwargs, namespace, grad, original=twin)
            where = "first call" if number == 0 else "same arguments again" if number == 1 else f"then[{number - 2}]"
            _compare(plain, captured, where, check_args, rtol, atol)
            if twin is not fn:
                assert_same(_state(fn), _state(twin), f"{where}: state", rtol, atol)
            outcomes.append(captured)
            if number == 0:
                first_graphs, first_breaks, first_entries = len(recorder.graphs), len(seen), len(entries)
            if number == 1:
                assert len(entries) == first_entries, f"captured again for the same arguments: {_recompile_reasons()}"
    if graphs is not None:
        assert backend is None, "graphs are counted with the default backend"
        assert first_graphs == graphs, f"{first_graphs} graphs, not {graphs}; breaks: {[str(reason) for reason in seen]}"
    if isinstance(breaks, int):
        assert first_breaks == breaks, f"{first_breaks} breaks, not {breaks}: {[str(reason) for reason in seen]}"
    elif breaks is not None:
        codes = [reason.code for reason in seen[:first_breaks]]
        assert codes == list(breaks), f"breaks {codes}, not {list(breaks)}"
    again = len(entries) - first_entries
    if recompiles is not None:
        assert again == recompiles, f"{again} frames were captured again, not {recompiles}: {_recompile_reasons()}"
    return Report(recorder.graphs, seen, again, outcomes, compiled)


def _twin(fn: Any) -> Any:
    """A module or a method has state: each of the two runs needs its own."""
    return copy.deepcopy(fn) if isinstance(fn, (torch.nn.Module, types.MethodType)) else fn


def _state(fn: Any) -> Any:
    owner = fn.__self__ if isinstance(fn, types.MethodType) else fn
    return dict(owner.state_dict()) if isinstance(owner, torch.nn.Module) else getattr(owner, "__dict__", None)


def _recompile_reasons() -> list[str]:
    return [reason for reasons in utils.guard_failures.values() for reason in reasons]


def _run(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], namespace: Sequence[str], grad: bool, original: Any = None
) -> Outcome:
    args, kwargs = _copied((args, kwargs))
    scope = _globals_of(original or fn)
    before = {name: scope[name] for name in namespace if name in scope}
    for name, value in before.items():
        scope[name] = _copied(value)
    out = io.StringIO()
    outcome = Outcome(args=args, kwargs=kwargs)
    random_state = torch.random.get_rng_state()
    try:
        with contextlib.redirect_stdout(out):
            outcome.result = fn(*args, **kwargs)
            if grad:
                _backward(outcome.result)
    except Exception as error:
        outcome.raised = error
    finally:
        outcome.stdout = out.getvalue()
        outcome.namespace = {name: scope[name] for name in namespace if name in scope}
        for name in namespace:
            scope.pop(name, None)
        scope.update(before)
        if original is None:  # the captured run sees the same random numbers
            torch.random.set_rng_state(random_state)
    return outcome


def _globals_of(fn: Any) -> dict[str, Any]:
    if isinstance(fn, torch.nn.Module):
        fn = fn.forward
    return getattr(getattr(fn, "__func__", fn), "__globals__", {})


def _copied(value: Any) -> Any:
    """A deep copy; tensors that are no leaves, and things that cannot be copied, are handed on."""
    try:
        return copy.deepcopy(value)
    except (TypeError, RuntimeError, ValueError):
        if type(value) in (tuple, list):
            return type(value)(_copied(item) for item in value)
        if type(value) is dict:
            return {key: _copied(item) for key, item in value.items()}
        return value


def _backward(result: Any) -> None:
    total = sum(leaf.sum() for leaf in _tensors(result) if leaf.requires_grad)
    if isinstance(total, torch.Tensor):
        total.backward()


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _tensors(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _tensors(item)]
    return []


def _compare(plain: Outcome, captured: Outcome, where: str, check_args: bool, rtol: float, atol: float) -> None:
    if (plain.raised is None) != (captured.raised is None):
        raise AssertionError(f"{where}: plain raised {plain.raised!r}, captured {captured.raised!r}") from (
            captured.raised or plain.raised
        )
    if plain.raised is not None and captured.raised is not None:
        both = f"{where}: plain raised {plain.raised!r}, captured {captured.raised!r}"
        assert type(plain.raised) is type(captured.raised), both
        assert str(plain.raised) == str(captured.raised), both
    assert_same(plain.result, captured.result, f"{where}: result", rtol, atol)
    assert plain.stdout == captured.stdout, f"{where}: printed {captured.stdout!r}, not {plain.stdout!r}"
    if check_args:
        assert_same(plain.args, captured.args, f"{where}: args", rtol, atol)
        assert_same(plain.kwargs, captured.kwargs, f"{where}: kwargs", rtol, atol)
    assert_same(plain.namespace, captured.namespace, f"{where}: globals", rtol, atol)


_PLAIN_TYPES = (int, str, bytes, bool, type(None), complex, range, slice, type(Ellipsis), torch.dtype, torch.device, torch.Size)


def assert_same(
    plain: Any, captured: Any, where: str = "value", rtol: float = 1e-5, atol: float = 1e-6, seen: dict[Any, Any] | None = None
) -> None:
    """Equal types, equal values, all the way down; shared objects are shared in both."""
    seen = {} if seen is None else seen
    if isinstance(plain, (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)):
        # Functions and classes that the run made are different objects with the same name.
        names = [getattr(one, "__qualname__", one) for one in (plain, captured)]
        assert names[0] == names[1], f"{where}: {captured} is not {plain}"
        return
    if id(plain) in seen:
        assert seen[id(plain)][1] is captured, f"{where}: the same object in the plain run, another one in the captured run"
        return
    assert type(plain) is type(captured) or _both_made(type(plain), type(captured)), (
        f"{where}: {type(captured)} instead of {type(plain)}"
    )
    if not isinstance(plain, (float, *_PLAIN_TYPES)) and not (type(plain) in (tuple, frozenset) and not plain):
        seen[id(plain)] = (plain, captured)  # both are kept alive: ids are not reused
    if isinstance(plain, torch.Tensor):
        _assert_same_tensor(plain, captured, where, rtol, atol)
    elif isinstance(plain, float):
        both_nan = math.isnan(plain) and math.isnan(captured)
        assert both_nan or plain == captured or math.isclose(plain, captured, rel_tol=rtol), f"{where}: {captured} is not {plain}"
    elif isinstance(plain, _PLAIN_TYPES):
        assert plain == captured, f"{where}: {captured!r} is not {plain!r}"
    elif isinstance(plain, (list, tuple)):
        assert len(plain) == len(captured), f"{where}: {len(captured)} items instead of {len(plain)}"
        for index, (one, other) in enumerate(zip(plain, captured)):
            assert_same(one, other, f"{where}[{index}]", rtol, atol, seen)
    elif isinstance(plain, dict):
        assert_same(list(plain), list(captured), f"{where}: keys", rtol, atol, seen)
        for (key, one), other in zip(plain.items(), captured.values()):
            assert_same(one, other, f"{where}[{key!r}]", rtol, atol, seen)
    elif isinstance(plain, (set, frozenset)):
        assert len(plain) == len(captured), f"{where}: {captured} is not {plain}"
        if not any(isinstance(item, torch.Tensor) for item in plain):
            assert plain == captured, f"{where}: {captured} is not {plain}"
    if hasattr(plain, "__dict__") and not isinstance(plain, torch.Tensor):
        assert_same(plain.__dict__, captured.__dict__, f"{where}.__dict__", rtol, atol, seen)


def _both_made(plain: type, captured: type) -> bool:
    """Classes that the two runs made: two of one name, which no module has."""
    names = {(cls.__module__, cls.__qualname__) for cls in (plain, captured)}
    return len(names) == 1 and getattr(sys.modules.get(plain.__module__), plain.__qualname__, None) not in (plain, captured)


def _assert_same_tensor(plain: torch.Tensor, captured: torch.Tensor, where: str, rtol: float, atol: float) -> None:
    for name in ("dtype", "device", "layout", "shape", "requires_grad", "is_leaf"):
        one, other = getattr(plain, name), getattr(captured, name)
        assert one == other, f"{where}.{name}: {other} instead of {one}"
    if plain.layout is torch.strided and not plain.is_nested:
        assert plain.stride() == captured.stride(), f"{where}.stride(): {captured.stride()} instead of {plain.stride()}"
    if plain.device.type != "meta":
        _assert_close(captured.detach(), plain.detach(), where, rtol, atol)
    if plain.is_leaf and plain.grad is not None:
        assert captured.grad is not None, f"{where}.grad is missing"
        _assert_close(captured.grad, plain.grad, f"{where}.grad", rtol, atol)


def _assert_close(captured: torch.Tensor, plain: torch.Tensor, where: str, rtol: float, atol: float) -> None:
    torch.testing.assert_close(captured, plain, rtol=rtol, atol=atol, equal_nan=True, msg=lambda text: f"{where}: {text}")
