"""Writes the Python function that runs on a hit.

Values that were made while tracing are written as the expressions that make them anew; outside values are parameters,
which the native guard tree fills in; tensors are items of what the graph returned.
"""

from __future__ import annotations

import ast
import builtins
import sys
import types
from typing import Any, Iterator

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator._C.eval_frame import hide_code, skip_code
from alternator.codegen import numbers
from alternator.exc import Break
from alternator.interpreter.tables import REBUILD, SUBCLASSES
from alternator.provenance.keys import special
from alternator.provenance.source import Source
from alternator.provenance.world import MISSING, Outside, Unread, instance_space, module_of
from alternator.tensors.graph import SYMBOLIC, Input
from alternator.tensors.inference import as_inference

_LITERALS = frozenset({int, str, bool, type(None), bytes})


_LONG = 1000
"""Texts longer than this are no part of generated code's own text."""


def give_class(tensor: torch.Tensor, kind: Any) -> torch.Tensor:
    """The tensor as an instance of a subclass."""
    with torch._C.DisableTorchFunctionSubclass():
        return torch.Tensor.as_subclass(tensor, kind)


def _is_itself(value: Any, kind: type) -> bool:
    """Whether a literal in generated code is this very object, as far as anybody may look; of equal texts there is but one."""
    if kind is int:
        return abs(value) < 1 << 62
    if kind is str and len(value) > 1:
        return len(value) < _LONG and value.isascii() and value.isidentifier() and sys.intern(value[:1] + value[1:]) is value
    return kind is not bytes or len(value) < 2


class Builder:
    """Collects statements, parameters and constants of one generated function."""

    def __init__(self, vm: Any) -> None:
        self.vm = vm
        self.lines: list[str] = []
        self._late: list[str] | None = []
        self.params: dict[str, Source] = {}
        self.namespace: dict[str, Any] = {"_MISSING": MISSING}
        self.outputs: list[Any] = []
        self._by_source: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._outputs: dict[Any, str] = {}
        self._open: set[int] = set()
        self._count = 0
        self._pins: list[Any] = []
        self._second = ""

    # ---- naming

    def fresh(self, prefix: str = "v") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def emit(self, line: str) -> None:
        self.lines.append(line)

    def emit_late(self, line: str) -> None:
        """A statement that relies on all that was written outside: it follows when that has been written."""
        (self.lines if self._late is None else self._late).append(line)

    def written(self) -> None:
        """All that was written outside has been written."""
        self.lines += self._late or []
        self._late = None

    def assign(self, expression: str, prefix: str = "v") -> str:
        name = self.fresh(prefix)
        self.lines.append(f"{name} = {expression}")
        return name

    def constant(self, value: Any, hint: str = "c") -> str:
        """A name that is bound to an object for as long as the entry lives."""
        name = self._names.get(id(value))
        if name is None:
            name = f"{hint}_{len(self.namespace)}"
            self.namespace[name] = value
            self._names[id(value)] = name
        return name

    def known_constant(self, value: Any, text: str) -> bool:
        """Whether the text of a value means that very object, or one that equals it and cannot change, in each call."""
        return type(value) in _LITERALS or self.namespace.get(text, MISSING) is value

    def load(self, source: Source) -> str:
        """The parameter that holds what the source gives."""
        name = self._by_source.get(id(source))
        if name is None:
            source.want()
            name = self._by_source[id(source)] = f"o{len(self.params)}"
            self.params[name] = source
        return name

    def global_namespace(self, space: dict[str, Any]) -> str:
        """The globals of one of the functions that were run; an empty namespace where none of them was read."""
        source = self.vm.global_sources.get(id(space))
        if source is None and space is self.vm.root_globals:
            source = self.vm.world.tree.globals()
        return "{}" if source is None else self.load(source)

    # ---- values

    def value(self, value: Any) -> str:
        """The expression (a name or a literal) of a value of the captured program."""
        kind = type(value)
        if kind in _LITERALS:
            return repr(value) if _is_itself(value, kind) else self.constant(value)
        if kind is Unread:
            return self.load(value.source)  # another name may have given the same object; it need not in the next call
        name = self._names.get(id(value))
        if name is not None:
            return name
        rec = self.vm.records.get(id(value))
        if rec is not None:
            return self.load(rec.source)
        if issubclass(type(value), torch.Tensor):
            return self._tensor(value)
        if issubclass(type(value), SYMBOLIC):
            return self._symbolic(value)
        if id(value) in self._open:
            raise Break("UNREBUILDABLE_OUTPUT", f"a {kind.__name__} that contains itself")
        self._open.add(id(value))
        try:
            text = self._build(value, kind)
        finally:
            self._open.discard(id(value))
        self._names[id(value)] = text
        self._pins.append(value)
        return text

    def _build(self, value: Any, kind: type) -> str:
        rule = REBUILD.get(kind)
        if rule is None:
            for base in kind.__mro__[1:]:
                rule = SUBCLASSES.get(base)
                if rule is not None or base in REBUILD:
                    break
        if rule is None:
            raise Break("UNREBUILDABLE_OUTPUT", f"a {module_of(kind)}.{kind.__qualname__}")
        return rule(self, value)

    def register(self, value: Any, name: str) -> None:
        """Name a value before its contents are written, so that they may refer to it."""
        self._names[id(value)] = name
        self._pins.append(value)

    def has(self, value: Any) -> bool:
        """Whether the generated function makes the value."""
        return id(value) in self._names

    def values(self, items: Any) -> str:
        return ", ".join(self.value(item) for item in items)

    def _tensor(self, value: torch.Tensor) -> str:
        """A tensor that the program made: its class and attributes, if it has some of its own."""
        made, space = self.vm.overrides.made.get(id(value)), self.vm.spaces.get(id(value))
        if made is None and space is None:
            return self.output(value)
        if made is None:
            name = self.output(value)
        else:
            name = self.assign(f"{self.constant(give_class, 'give_class')}({self.value(made.base)}, {self.value(made.kind)})")
        self.register(value, name)
        for key, item in (space or {}).items():
            self.emit(f"{name}.__dict__[{key!r}] = {self.value(item)}")
        return name

    def output(self, tensor: torch.Tensor) -> str:
        """A tensor that the graph computes, or was called with."""
        entry = self.vm.recorder.new.get(id(tensor))
        if entry is not None:
            return self.new_tensor(entry)
        name = self._outputs.get(id(tensor))
        if name is None:
            if not self.vm.recorder.knows(tensor):
                raise Break("UNREBUILDABLE_OUTPUT", "a tensor that the graph does not compute")
            name = self._outputs[id(tensor)] = f"g{len(self.outputs)}"
            self.outputs.append(tensor)
            if tensor.is_inference():
                name = self._outputs[id(tensor)] = self._inference(tensor, name)
        return name

    def _inference(self, tensor: torch.Tensor, name: str) -> str:
        """What the graph computes without gradients as what it was made in inference mode."""
        if type(tensor) is not FakeTensor or tensor.layout is not torch.strided or tensor.requires_grad:
            raise Break("UNREBUILDABLE_OUTPUT", "such a tensor made in inference mode")
        if tensor.is_conj() or tensor.is_neg() or tensor.is_quantized:
            raise Break("UNREBUILDABLE_OUTPUT", "such a view made in inference mode")
        return self.assign(f"{self.constant(as_inference, 'as_inference')}({name})", "i")

    def new_tensor(self, entry: Input) -> str:
        """A tensor that is made before the graph runs."""
        return f"n{entry.dim}"

    def new_tensors(self) -> list[str]:
        """Statements that make them."""
        return [f"{self.new_tensor(entry)} = {entry.make(self)}" for entry in self.vm.recorder.new.values()]

    def _symbolic(self, value: Any) -> str:
        if value.node.is_constant():
            return self.value(
                value.node.maybe_as_int()
                if issubclass(type(value), torch.SymInt)
                else value.node.maybe_as_bool()
                if issubclass(type(value), torch.SymBool)
                else float(value.node.maybe_as_float())
            )
        if issubclass(type(value), torch.SymFloat) and value.node.expr.is_number:  # which symbolic mathematics takes for an int
            number = self.vm.fakes.number(value)  # its zero has a sign
            return self.value(float(value.node.expr if number is None else number))
        text = None
        if issubclass(type(value), (torch.SymInt, torch.SymFloat)) and numbers.never_raises(self.vm, value):
            text = numbers.text_of(self, value)
        if text is not None:
            return text
        self.vm.recorder.symbolic_node(value)
        key = type(value), value.node.expr  # not its text, which has 15 digits
        name = self._outputs.get(key)
        if name is None:
            name = self._outputs[key] = f"g{len(self.outputs)}"
            self.outputs.append(value)
        return name

    def outside(self, rec: Outside) -> str:
        return self.load(rec.source)

    def space(self, kind: type, name: str) -> str:
        """The text of the ``__dict__`` of the instance of a class that ``name`` is, whatever the class makes of it."""
        asks_nobody = type(special(kind, "__getattribute__")) is types.WrapperDescriptorType
        if asks_nobody and type(special(kind, "__dict__")) is types.GetSetDescriptorType:
            return f"{name}.__dict__"
        return f"{self.constant(instance_space, 'space')}({name})"

    # ---- the finished function

    def behind(self, lines: list[str], parameters: tuple[str, ...]) -> list[str]:
        """Put statements into a second function ``behind``, and give the names of the values that it is to be called with behind
        its ``parameters``: those that the statements use, and the first function has."""
        tree = ast.parse("def behind():\n" + "".join(f"    {line}\n" for line in lines))
        nodes = list(_names_in(tree))
        own = {node.id for node in nodes if type(node.ctx) is ast.Store} | set(parameters)
        kept = dict.fromkeys(node.id for node in nodes if node.id not in own and node.id not in self.namespace)
        names = [name for name in kept if not hasattr(builtins, name)]
        self._second = f"def behind({', '.join([*parameters, *names])}):\n" + "".join(f"    {line}\n" for line in lines)
        return names

    def compile(
        self, before: list[str], first: tuple[str, ...], name: str, filename: str, line: int
    ) -> tuple[types.FunctionType, tuple[Source, ...], str]:
        """The function, the sources of its parameters, and its text.

        ``before``: statements that come before those that were collected; ``first``: parameters that come before the sources.
        """
        body = before + self.lines
        second = ("behind=behind",) if self._second else ()  # no global: it would keep itself
        text = (
            self._second
            + f"def {name}({', '.join((*first, *self.params, *second))}):\n"
            + "".join(f"    {row}\n" for row in body)
        )
        code = compile(text, filename, "exec")
        exec(code, self.namespace)
        made = self.namespace.pop(name)
        if self._second:
            behind = self.namespace.pop("behind").__code__
            skip_code(behind)
            hide_code(behind)
        return made, tuple(self.params.values()), text


def _names_in(node: ast.AST) -> Iterator[ast.Name]:
    """What ``ast.walk`` finds; that imports from ``collections`` when it is called, which the program may have replaced."""
    if type(node) is ast.Name:
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _names_in(child)
