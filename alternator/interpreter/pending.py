"""Text that shows values which only the graph will know: made after the graph has run, from what the tensors were.

The program may pass such a text around, print it, return it. Whatever would look into it is a break (``World.class_attr``
and ``Machine.close`` refuse it).
"""

from __future__ import annotations

import collections
from typing import Any, Callable

import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from alternator.bytecode.analysis import stack_depth
from alternator.bytecode.versions import FACTS
from alternator.exc import Break
from alternator.interpreter import tensor_ops
from alternator.provenance.world import SCALARS, Unread
from alternator.tensors.graph import SYMBOLIC

_CONTAINERS = (list, tuple, dict, set, frozenset)
_PLAIN = SCALARS | {torch.dtype, torch.device}


class Shown:
    """A tensor as it is at one point of the program, whatever is written to it afterwards."""

    def __init__(self, vm: Any, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.is_plain = tensor_ops.type_of(vm, tensor) is torch.Tensor
        self._recorder = vm.recorder
        if tensor.is_inference():  # nobody counts what is written to it
            raise Break("PRINT", "the text of a tensor that was made in inference mode")
        if id(tensor) not in vm.records:
            vm.recorder.node_of(tensor)  # an item that is taken later would come behind the copy
        self._after = vm.recorder.last()
        self._versions = {id(alias): alias._version for alias in self._aliases()}

    def _aliases(self) -> list[torch.Tensor]:
        if self.tensor.layout is not torch.strided:
            return [self.tensor]
        memory = self.tensor.untyped_storage()._cdata
        return [
            other
            for other in self._recorder.all_values()
            if other is self.tensor or other.layout is torch.strided and other.untyped_storage()._cdata == memory
        ]

    def value(self) -> torch.Tensor:
        """The tensor itself, or a copy that the graph takes at that point if it is written to afterwards."""
        first = self._versions.get(id(self.tensor), self.tensor._version)
        if all(alias._version == self._versions.get(id(alias), first) for alias in self._aliases()):
            return self.tensor
        if self.tensor.requires_grad:  # the text names the function that made it
            raise Break("PRINT", "the text of a tensor that is written to afterwards")
        return self._recorder.copy_at(self.tensor, self._after)

    def __repr__(self) -> str:
        return "tensor(...)"

    def __format__(self, spec: str) -> str:
        if spec and (self.tensor.dim() or not self.is_plain):
            raise TypeError("unsupported format string passed to Tensor.__format__")
        kind = complex if self.tensor.is_complex() else float if self.tensor.is_floating_point() else int
        return format(kind(0), spec) if spec else repr(self)


class ShownNumber:
    """A number that the graph will give."""

    def __init__(self, number: Any) -> None:
        self.number = number
        self._example = _EXAMPLES[type(number)]

    def value(self) -> Any:
        return self.number

    def __float__(self) -> float:  # asked by ``"%.3f" % number``
        return float(self._example)

    def __int__(self) -> int:
        if type(self.number) is torch.SymFloat and free_unbacked_symbols(self.number):  # it may be no number
            raise TypeError
        return int(self._example)

    def __index__(self) -> int:  # by ``"%x" % number``
        if type(self.number) is not torch.SymInt:
            raise TypeError
        return int(self._example)

    def __repr__(self) -> str:
        return repr(self._example)

    def __format__(self, spec: str) -> str:
        return format(self._example, spec)


class ShownSizes:
    """A ``torch.Size`` some of whose numbers vary."""

    def __init__(self, sizes: torch.Size) -> None:
        self.sizes = sizes

    def value(self) -> torch.Size:
        return self.sizes

    def __repr__(self) -> str:
        return repr(torch.Size([0] * len(self.sizes)))


_EXAMPLES: dict[type, Any] = {torch.SymInt: 0, torch.SymFloat: 0.0, torch.SymBool: False}


class PendingText(str):
    """``fn(*args, **kwargs)``, which gives a text as soon as the graph has run."""

    fn: Callable[..., str]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __new__(cls, fn: Callable[..., str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> "PendingText":
        made = super().__new__(cls, "<text that is not known yet>")
        made.fn, made.args, made.kwargs = fn, args, kwargs
        return made

    def _look(self, *_: Any) -> Any:
        """Native code that comes by it in a container must not compare or hash what it is while tracing."""
        raise Break("DATA_DEPENDENT_VALUE", LOOKED_INTO)

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _look  # type: ignore[assignment]


_HOLD_ONLY = (list, tuple, collections.deque, list.extend)


def holds_only(fn: Any) -> bool:
    """Whether a native function looks into nothing of what it is given to hold."""
    return any(fn is one for one in _HOLD_ONLY)


def has_text(value: Any) -> bool:
    """Whether it is such a text, or a tuple or list that has one."""
    return type(value) is PendingText or type(value) in (tuple, list) and any(map(has_text, value))


def seen_natively(vm: Any, result: Any) -> Any:
    """What native code gets of a Python function: it is not to look into such a text."""
    if type(result) in (PendingText, tuple, list) and has_text(result) and not holds_only(vm.native_function):
        raise Break("DATA_DEPENDENT_VALUE", LOOKED_INTO)
    return result


def _varies(vm: Any, number: Any) -> bool:
    """A number of which a text would not be the same again: known to the graph only, or a float that varies (a loss, a rate).

    So it is with sizes, until the program looks into such a text: then the capture begins anew with constants.
    """
    if number.node.is_constant():
        return False
    if type(number) is torch.SymFloat or free_unbacked_symbols(number):
        return True
    if type(number) is torch.SymBool or vm.root_state.get(SIZES_SHOWN) is False:
        return False
    vm.states[SIZES_SHOWN] = True
    return True


SIZES_SHOWN = "sizes in texts"
"""Key of a capture's state: there are such; of a code's: False where the program looks into them, which takes constants."""
LOOKED_INTO = "the text of a tensor"
"""What the break is about where that happens."""


def is_pending(vm: Any, value: Any, depth: int = 0) -> bool:
    """The text of the value shows what only the graph will know."""
    kind = type(value)
    if kind in _PLAIN:
        return False
    if issubclass(type(value), torch.Tensor) or kind is PendingText:
        return True
    if issubclass(type(value), SYMBOLIC):
        return _varies(vm, value)
    if kind is torch.Size:
        return any(_varies(vm, size) for size in value if type(size) is torch.SymInt)
    if kind not in _CONTAINERS or depth > 20:
        return False
    filled = vm.fill_value(value)
    items = (*dict.keys(filled), *dict.values(filled)) if kind is dict else filled
    return any(is_pending(vm, item, depth + 1) for item in items)


def text(vm: Any, fn: Callable[..., str], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> PendingText:
    """The text that ``fn`` will make of these arguments. Raises Break where that cannot be left for later."""
    taken = tuple([snapshot(vm, value) for value in args])
    named = {name: snapshot(vm, value) for name, value in (kwargs or {}).items()}
    try:
        fn(*taken, **named)  # an error has to come where the program makes the text
    except Exception:
        raise Break("DATA_DEPENDENT_VALUE", LOOKED_INTO) from None
    return PendingText(fn, taken, named)


GIVEN = "texts from outside"
"""Key of a capture's state: there are such that are not known; of a code's: False where the program looks into them."""


def given(f: Any, value: Unread) -> PendingText | None:
    """A text from outside that is about to become part of an f-string, as ``name`` in ``f"{name}: {loss.item()}"``.

    Once it was seen to differ it is not known while tracing, until the program looks into what is made of it; None: a constant.
    """
    vm, name = f.vm, value.source.name
    if vm.root_state.get(GIVEN) is False or not _goes_into_text(f):
        return None
    if vm.root_state.setdefault((GIVEN, name), value.obj) == value.obj:
        return None
    vm.root_state[GIVEN, name] = None
    vm.states[GIVEN] = True
    value.source.guard("TYPE", str)
    return PendingText(str.__str__, (value,), {})


def _goes_into_text(f: Any) -> bool:
    """Whether an f-string of several parts is what takes the item that is about to be pushed."""
    depth, at = len(f.stack) + 1, f.pc
    for _ in range(_MOST_STEPS):
        instr = f.instrs[at]
        at = instr.target if instr.opname in FACTS.unconditional_jumps else at + 1
        if at == len(f.instrs):
            break
        if instr.opname == "DELETE_FAST":  # a piece lets go of what it was given
            continue
        if stack_depth(f.decoded, at) <= depth and (instr.opname, instr.arg) not in _LEAVE_IT:
            return bool(instr.opname == "BUILD_STRING")
    return False


_LEAVE_IT = {("FORMAT_VALUE", 0), ("FORMAT_VALUE", 1), ("FORMAT_SIMPLE", None)}
"""``{text}`` and ``{text!s}``."""
_MOST_STEPS = 200


def snapshot(vm: Any, value: Any, depth: int = 0) -> Any:
    """What stands for a value in something that is done after the graph: tensors and containers as they are now."""
    kind = type(value)
    if kind in _PLAIN or kind is PendingText or issubclass(type(value), type):
        return value
    if issubclass(type(value), torch.Tensor):
        return Shown(vm, value)
    if issubclass(type(value), SYMBOLIC):
        return ShownNumber(value) if _varies(vm, value) else vm.symbolic(type(_EXAMPLES[kind]), value)
    if kind is torch.Size:
        return ShownSizes(value) if is_pending(vm, value) else value
    if kind not in _CONTAINERS or depth > 20:
        raise Break("DATA_DEPENDENT_VALUE", f"the text of a tensor, together with a {kind.__name__}")
    filled = vm.fill_value(value)
    if kind is dict:
        return {snapshot(vm, k, depth + 1): snapshot(vm, v, depth + 1) for k, v in dict.items(filled)}
    return kind([snapshot(vm, item, depth + 1) for item in filled])
