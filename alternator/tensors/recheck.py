"""The guards of an entry once more, in plain Python: a check of the native check (``config.recheck_guards``).

It is made from the same table, and shares nothing else with the native tree: it remembers no versions and no addresses, and
walks every path at every hit.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import math
import operator
import struct
import threading
from typing import Any, Callable, Sequence

import torch

from alternator._C.build import set_layout
from alternator._C.eval_frame import NULL, skip_code, waiting
from alternator.exc import GuardMismatch
from alternator.provenance.iterators import dict_items
from alternator.tensors.dynamic import MARKS
from alternator.tensors.recheck_ends import is_quiet

GONE: Any = type("Gone", (), {"__repr__": lambda self: "nothing"})()
"""There is nothing at this path."""


class Recheck:
    """The plain check of one table; a row for the end of the native table's tail has it run at each hit.

    A guard cannot raise: what was found waits, and ``watched`` raises it where the entry's code would run.
    """

    def __init__(self, nodes: Sequence[tuple[Any, ...]], tail: Sequence[tuple[Any, ...]], name: str) -> None:
        self.name = name
        self.nodes = [(parent, access, key, [_CHECKS[g[0]](*g[1:]) for g in guards]) for parent, access, key, guards in nodes]
        self.roots = [i for i, node in enumerate(nodes) if node[0] < 0]
        self.tail = [_TAIL[fact[0]](*fact[1:]) for fact in tail]
        self._found = threading.local()

    def row(self) -> tuple[Any, ...]:
        """The row for the tail."""
        return ("PY", tuple(self.roots), self, "plain Python agrees")

    def __call__(self, *roots: Any) -> bool:
        self._found.text = self.mismatch(roots)
        return True

    def mismatch(self, roots: Sequence[Any]) -> str | None:
        """The first guard that does not hold for these values of the roots, in words."""
        values: list[Any] = []
        given = iter(roots)
        for parent, access, key, guards in self.nodes:
            value = next(given) if parent < 0 else GONE if values[parent] is GONE else _READ[access](values[parent], key)
            values.append(value)
            for text, holds in guards:
                if not holds(value):
                    return f"{self._path(len(values) - 1)}: {text}"
        for text, fact in self.tail:
            if not fact(values):
                return text
        return None

    def _path(self, at: int) -> str:
        parent, access, key, _ = self.nodes[at]
        step = f"{access} {key!r}" if key is not None else access
        return step if parent < 0 else f"{self._path(parent)} -> {step}"

    def watched(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """``fn``, which raises :class:`GuardMismatch` instead of running after a check that was wrong."""

        def run(*args: Any) -> Any:
            text, self._found.text = getattr(self._found, "text", None), None
            if text is not None:
                raise GuardMismatch(f"the compiled code of {self.name} was about to run although a guard does not hold: {text}")
            return fn(*args)

        skip_code(run.__code__)
        return run


# ---- reading


def _instance_dict(value: Any, key: Any) -> Any:
    try:
        return object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return getattr(value, "__dict__", GONE)


def _attr(value: Any, name: str) -> Any:
    return getattr(value, name, GONE)


def _index(value: Any, at: int) -> Any:
    kind: Any = tuple if isinstance(value, tuple) else list
    return kind.__getitem__(value, at) if at < kind.__len__(value) else GONE


def _class_attr(cls: type, name: str) -> Any:
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), GONE)


def _cell(cell: Any, key: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return GONE


def _generator(value: Any, key: str) -> Any:
    """What a generator that waits is handling, or its function; as far as plain Python can tell."""
    state = waiting(value)
    part = None if state is None else state[3 if key == "handled" else 2]
    return GONE if part is None else part


def _slot(value: Any, index: int) -> Any:
    state = waiting(value)
    slots = () if state is None else state[4] + state[5]
    return GONE if index >= len(slots) or slots[index] is NULL else slots[index]


_READ: dict[str, Callable[[Any, Any], Any]] = {
    "dict": _instance_dict,
    "dictitem": lambda value, key: dict.get(value, key, GONE),
    "attr": _attr,
    "index": _index,
    "type": lambda value, key: type(value),
    "typeattr": _class_attr,
    "cell": _cell,
    "func": lambda value, key: getattr(value, f"__{key}__"),
    "method": lambda value, key: getattr(value, f"__{key}__"),
    "call": lambda value, key: key(value),
    "generator": _generator,
    "slot": _slot,
}


# ---- guards on one value: each gives (what it says, whether it holds)

Check = tuple[str, Callable[[Any], bool]]


def same_constant(a: Any, b: Any) -> bool:
    """Of the same type and equal; floats by their bits, containers item by item."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return struct.pack("d", a) == struct.pack("d", b)
    if type(a) is complex:
        return same_constant(a.real, b.real) and same_constant(a.imag, b.imag)
    if type(a) is tuple:
        return len(a) == len(b) and all(map(same_constant, a, b))
    if type(a) in (slice, range):
        return all(same_constant(getattr(a, name), getattr(b, name)) for name in ("start", "stop", "step"))
    if type(a) is frozenset:
        return set_layout(a) == set_layout(b) and all(map(same_constant, a, b))
    return bool(a == b)


def _length(value: Any) -> int:
    kind: Any
    for kind in (list, tuple, dict, set, frozenset, str, bytes, collections.deque):
        if isinstance(value, kind):
            return int(kind.__len__(value))
    return len(value)


def _keys(expected: tuple[Any, ...]) -> Check:
    def holds(value: Any) -> bool:
        found = [key for key, _ in dict_items(value)]
        return len(found) == len(expected) and all(map(same_constant, found, expected))

    return f"keys {expected!r}", holds


def _numbers(values: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(values) == len(expected) and all(want is None or have == want for have, want in zip(values, expected))


def _tensor(example: torch.Tensor, sizes: Sequence[int | None], strides: Sequence[int | None]) -> Check:
    facts, marks = _tensor_facts(example), _marks(example)

    def honoured(value: torch.Tensor) -> bool:
        if type(example) is torch.nn.Parameter:
            return True
        open_sizes = {dim for dim, size in enumerate(sizes) if size is None}
        fixed = {dim for dim, size in enumerate(sizes) if size is not None}
        done = {"_dynamo_weak_dynamic_indices": open_sizes, "_dynamo_static_indices": fixed}
        return all(found <= marks[name] | done.get(name, set()) for name, found in _marks(value).items())

    def holds(value: Any) -> bool:
        return (
            isinstance(value, torch.Tensor)
            and _tensor_facts(value) == facts
            and _numbers(value.shape, sizes)
            and (value.layout is not torch.strided or _numbers(value.stride(), strides))
            and honoured(value)
        )

    return f"tensor {facts}, sizes {tuple(sizes)}, strides {tuple(strides)}", holds


def _marks(value: torch.Tensor) -> dict[str, set[int]]:
    """What the user said about its sizes."""
    return {name: set(getattr(value, name, None) or ()) for name in MARKS}


def _tensor_facts(value: torch.Tensor) -> tuple[Any, ...]:
    flags = (value.requires_grad, value.is_conj(), value.is_neg(), value.is_inference(), value.is_nested)
    return value.dtype, value.device, value.layout, torch._C._dispatch_keys(value).raw_repr(), *flags


def _value(const: Any) -> Check:
    base: Any = type(const)

    def holds(value: Any) -> bool:
        return isinstance(value, base) and same_constant(const, base(*base.__getnewargs__(value)))

    return f"is {const!r} to C code", holds


def _items(expected: tuple[Any, ...], layout: Any) -> Check:
    def holds(value: Any) -> bool:
        base: Any = set if isinstance(value, set) else frozenset
        return isinstance(value, base) and same_constant(expected, tuple(base.__iter__(value))) and set_layout(value) == layout

    return f"has the members {expected!r}", holds


_CHECKS: dict[str, Callable[..., Check]] = {
    "TYPE": lambda cls: (f"type {cls.__qualname__}", lambda value: type(value) is cls),
    "IS": lambda obj: (f"is {type(obj).__name__} at {id(obj):#x}", lambda value: value is obj),
    "EQ": lambda const: (f"== {const!r}", lambda value: same_constant(const, value)),
    "VALUE": _value,
    "ITEMS": _items,
    "LEN": lambda n: (f"length {n}", lambda value: _length(value) == n),
    "KEYS": _keys,
    "ABSENT": lambda: ("is missing", lambda value: value is GONE),
    "UNSET": lambda: ("is not set", lambda value: value is GONE),
    "TENSOR": _tensor,
    "WAITS": lambda code, place: (f"waits at {place}", lambda value: (waiting(value) or ())[:2] == (code, place)),
    "NOT_NONE": lambda: ("is not None", lambda value: value is not None),
    "PY": lambda fn, text: (text, lambda value: bool(fn(value))),
}


# ---- guards on several values

Fact = tuple[str, Callable[[list[Any]], bool]]


def _distinct(nodes: Sequence[int]) -> Fact:
    return "different objects", lambda values: len({id(values[i]) for i in nodes}) == len(nodes)


def _unshared(changed: int, nodes: Sequence[int]) -> Fact:
    def holds(values: list[Any]) -> bool:
        spans = [_span(values[i]) for i in nodes]
        return not any(
            a and b and a[0] < b[1] and b[0] < a[1] for i, a in enumerate(spans[:changed]) for j, b in enumerate(spans) if i != j
        )

    return "a changed input shares no memory", holds


def _span(tensor: torch.Tensor) -> tuple[int, int] | None:
    if not tensor.numel():
        return None
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _state() -> tuple[Any, ...]:
    devices = [(torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in ("cpu", "cuda")]
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_cache_enabled(),
        len(torch.overrides._get_current_function_mode_stack()),
        devices,
    )


def _global_state() -> Fact:
    expected = _state()
    return "torch's global state", lambda values: _state() == expected


def _shape(inputs: Sequence[tuple[int, str, int]], program: Sequence[Any], text: str) -> Fact:
    def holds(values: list[Any]) -> bool:
        numbers = [_NUMBERS[what](values[node], dim) for node, what, dim in inputs]
        with contextlib.suppress(ZeroDivisionError, OverflowError):
            return bool(_run(program, numbers))
        return False

    return text, holds


_NUMBERS: dict[str, Callable[[Any, int], Any]] = {
    "int": lambda value, dim: value,
    "float": lambda value, dim: value,
    "size": lambda value, dim: value.shape[dim],
    "stride": lambda value, dim: value.stride(dim),
    "offset": lambda value, dim: value.storage_offset(),
}


def _run(program: Sequence[Any], numbers: Sequence[Any]) -> Any:
    """A postfix program."""
    stack: list[Any] = []
    for step in program:
        if type(step) is tuple:
            stack.append(numbers[step[1]] if step[0] == "in" else step[1])
        elif step in _ONE:
            stack.append(_ONE[step](stack.pop()))
        elif step == "select":
            *stack, condition, yes, no = stack
            stack.append(yes if condition else no)
        else:
            right = stack.pop()
            stack.append(_TWO[step](stack.pop(), right))
    return stack.pop()


_ONE: dict[str, Callable[[Any], Any]] = {
    "not": operator.not_,
    "float": float,
    "trunc": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "abs": abs,
}
_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "*": operator.mul,
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
    "max": max,
    "min": min,
    "**": operator.pow,
    "//": operator.floordiv,
    "%": operator.mod,
    "/": operator.truediv,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&": operator.and_,
    "|": operator.or_,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


def _python(nodes: Sequence[int], fn: Callable[..., Any], text: str) -> Fact:
    return text, lambda values: bool(fn(*(None if values[i] is GONE else values[i] for i in nodes)))


def _quiet(nodes: Sequence[int], how: str, name: str, most: int, text: str) -> Fact:
    return text, lambda values: is_quiet(how, name, most, GONE, *(values[i] for i in nodes))


def _unregistered(count: int, fn: Callable[[], Any], text: str) -> Fact:
    return text, lambda values: abc.get_cache_token() == count or bool(fn())


_TAIL: dict[str, Callable[..., Fact]] = {
    "ALIAS": lambda i, j: ("the same object", lambda values: values[i] is values[j]),
    "DISTINCT": _distinct,
    "UNSHARED": _unshared,
    "GLOBAL_STATE": _global_state,
    "SHAPE": _shape,
    "QUIET": _quiet,
    "UNREGISTERED": _unregistered,
    "PY": _python,
}
