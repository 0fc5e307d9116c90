"""Identity and hashing: ``id()`` where an address means nothing once the capture is over, keys that are symbolic numbers."""

from __future__ import annotations

import operator
import types
from typing import Any

import torch

from alternator.exc import Break
from alternator.provenance.world import SCALARS, class_space
from alternator.tensors.graph import SYMBOLIC


class TracedId(int):
    """``id()`` of a tensor, or of something made while tracing.

    Good for comparing with its like, and as a key of the program's own.

    Where it meets numbers from outside, or leaves the captured code, an outside tensor has to be that very one (``settle``).
    """

    rec: Any

    def __new__(cls, value: int, rec: Any = None) -> "TracedId":
        made = super().__new__(cls, value)
        made.rec = rec
        return made

    def settle(self) -> int:
        """The address, which is relied on from now on."""
        if self.rec is not None:
            self.rec.source.guard("IS", self.rec.obj)
        return int.__int__(self)


def known(name: str, *numbers: Any) -> list[Any]:
    """Numbers of which native code is to make another one: addresses are relied on."""
    if any(type(number) is TracedId and number.rec is None for number in numbers):
        raise Break("IDENTITY", f"{name} of the address of what exists only while tracing")
    return [settled(number) for number in numbers]


def _of_one(name: str) -> Any:
    """A method of ints of which the result says more of an address than whether it is another's."""
    method = getattr(int, name)

    def look(number: Any) -> Any:
        return method(*known(name, number))

    return look


def _of_two(name: str) -> Any:
    method = getattr(int, name)

    def look(number: Any, other: Any, modulus: Any = None) -> Any:
        return method(*known(name, number, other), *[] if modulus is None else known(name, modulus))

    return look


_ONE = "int index float neg pos abs invert".split()
_TWO = "lt le gt ge add sub mul truediv floordiv mod divmod pow and or xor lshift rshift".split()
for _names, _made in (([*_ONE], _of_one), ([*_TWO, *[f"r{_name}" for _name in _TWO[4:]]], _of_two)):
    for _name in _names:
        setattr(TracedId, f"__{_name}__", _made(f"__{_name}__"))

METHODS = [TracedId.__dict__[f"__{_name}__"] for _name in (*_ONE, *_TWO)]
METHODS += [TracedId.__dict__[f"__r{_name}__"] for _name in _TWO[4:]]
OF_ADDRESSES = {method.__code__ for method in METHODS}
"""Code of ours that native code calls for addresses."""


def settled(value: Any) -> Any:
    """A value that is about to be compared with numbers from outside."""
    return value.settle() if type(value) is TracedId else value


def hashable(vm: Any, key: Any) -> Any:
    """A value that native code is about to hash: symbolic numbers become what they are."""
    kind = type(key)
    if kind in SCALARS:
        return key
    if issubclass(type(key), SYMBOLIC):
        return vm.symbolic(float if kind is torch.SymFloat else bool if kind is torch.SymBool else operator.index, key)
    vm.close(key)
    if kind in (tuple, torch.Size) and any(issubclass(type(item), (tuple, *SYMBOLIC)) for item in key):
        return kind([hashable(vm, item) for item in key])
    return key


def with_truths(vm: Any, broken: Break, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
    """Arguments of an operation that fakes did not take, with truth values for symbolic ones: torch takes a symbolic number for a
    number, but no ``SymBool`` for a bool, and some functions no ``SymFloat`` for a float.  None: there is none among them."""
    if broken.code != "NO_FAKE_RULE":
        return None
    kinds: dict[type, Any] = {torch.SymBool: bool}
    if "NO overloaded args" in broken.detail:  # says torch's parser of arguments
        kinds[torch.SymFloat] = float
    if not any(type(value) in kinds for value in (*args, *kwargs.values())):
        return None
    return (
        tuple([vm.symbolic(kinds[type(value)], value) if type(value) in kinds else value for value in args]),
        {name: vm.symbolic(kinds[type(value)], value) if type(value) in kinds else value for name, value in kwargs.items()},
    )


_OF_NUMBERS = ("__hash__", "__bool__", "__index__", "__int__", "__float__", "__complex__")
"""Special methods of which native code takes numbers only."""


def as_number(vm: Any, func: Any, obj: Any, result: Any) -> Any:
    """A symbolic number that the function gave to native code, which asked for a method of ``obj``; the number itself, with its
    guard, where that takes no other."""
    if any(vm.world.class_attr(type(obj), name) is func for name in _OF_NUMBERS):
        return hashable(vm, result)
    return result


_DESCRIPTORS = (types.MethodDescriptorType, types.WrapperDescriptorType)


def descriptor_of(method: Any, owner: Any) -> Any:
    """The descriptor in C that made a bound method of ``owner``; None: none of its classes has it.

    The class may have another method of the name in front of it.
    """
    name = method.__name__
    for base in type(owner).__mro__:
        raw: Any = class_space(base).get(name)
        if type(raw) in _DESCRIPTORS and raw.__get__(owner, type(owner)) == method:
            return raw
    return None
