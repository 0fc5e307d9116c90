"""Random programs that mix control flow, containers, classes, exceptions, closures, generators, effects, breaks and tensors.

``draw_program(draw)`` takes a function that picks one item of a sequence, so that hypothesis (which shrinks) and a seeded
``random.Random`` (which is fast) can both be behind it.  Programs only use names that are bound, and always end.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Sequence

Draw = Callable[[Sequence[Any]], Any]

PRELUDE = """
import contextlib, functools, itertools, collections
import torch
from alternator._C.eval_frame import unsupported as break_here

COUNTER = 0
LOG = []

class Box:
    scale = 2
    def __init__(self, value, name="box"):
        self.value = value
        self.name = name
        self.history = []
    def __add__(self, other):
        return Box(self.value + (other.value if isinstance(other, Box) else other))
    def __len__(self):
        return 1 + len(self.history)
    def __eq__(self, other):
        return isinstance(other, Box) and self.name == other.name
    def __hash__(self):
        return hash(self.name)
    def __lt__(self, other):
        return self.name < other.name
    @property
    def doubled(self):
        self.history.append("doubled")
        return self.value * self.scale
    def bump(self, by=1):
        self.value = self.value + by
        return self

class Twin(Box):
    scale = 3
    def bump(self, by=1):
        super().bump(by)
        self.name += "!"
        return self

@contextlib.contextmanager
def scope(log, name):
    log.append("+" + name)
    try:
        yield len(log)
    finally:
        log.append("-" + name)

def pairs(n):
    for i in range(n):
        got = yield i, i * i
        if got:
            return
"""


@dataclasses.dataclass
class Scope:
    tensors: list[str]
    ints: list[str]
    lists: list[str]
    dicts: list[str]
    boxes: list[str]
    depth: int = 0
    loops: int = 0

    def inner(self) -> "Scope":
        return dataclasses.replace(
            self,
            tensors=list(self.tensors),
            ints=list(self.ints),
            lists=list(self.lists),
            dicts=list(self.dicts),
            boxes=list(self.boxes),
            depth=self.depth + 1,
        )


class Writer:
    def __init__(self, draw: Draw, breaks: bool) -> None:
        self.draw = draw
        self.breaks = breaks
        self.lines: list[str] = []
        self.count = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def emit(self, s: Scope, text: str) -> None:
        self.lines.append("    " * (s.depth + 1) + text)

    # ---- expressions

    def int(self, s: Scope, deep: int = 2) -> str:
        forms = ["lit", "name", "name"] + (["op", "len", "shape", "cond", "dict", "call"] if deep else [])
        form = self.draw(forms)
        if form == "name" and s.ints:
            return self.draw(s.ints)
        if form == "op":
            return f"({self.int(s, deep - 1)} {self.draw(['+', '-', '*', '%', '//', '&'])} {self.draw(['1', '2', '3'])})"
        if form == "len":
            return f"len({self.draw(s.lists + s.dicts + s.boxes)})"
        if form == "shape":
            return f"{self.draw(s.tensors)}.shape[0]"
        if form == "cond":
            return f"({self.int(s, deep - 1)} if {self.condition(s)} else {self.int(s, deep - 1)})"
        if form == "dict":
            return f"{self.draw(s.dicts)}.get({self.draw(['0', '1', repr('a'), repr('b')])}, {self.int(s, 0)})"
        if form == "call":
            return self.draw(["max", "min"]) + f"({self.int(s, deep - 1)}, {self.int(s, deep - 1)})"
        return str(self.draw([0, 1, 2, 3, 7]))

    def condition(self, s: Scope) -> str:
        form = self.draw(["cmp", "cmp", "in", "none", "not", "is", "eq"])
        if form == "in":
            return f"{self.int(s, 1)} in {self.draw([f'({self.int(s, 0)}, 2, 5)', self.draw(s.dicts)])}"
        if form == "none":
            return f"{self.draw(s.dicts)}.get('z') is None"
        if form == "not":
            return f"not {self.draw(s.lists + s.dicts)}"
        if form == "is":
            return f"{self.draw(s.lists)} is {self.draw(s.lists)}"
        if form == "eq":
            return f"{self.draw(s.boxes)} == {self.draw(s.boxes)}"
        return f"{self.int(s, 1)} {self.draw(['<', '<=', '==', '!=', '>'])} {self.int(s, 1)}"

    def tensor(self, s: Scope, deep: int = 2) -> str:
        form = self.draw(
            ["name", "name"] + (["binary", "unary", "scaled", "where", "sum", "box", "view", "listsum"] if deep else [])
        )
        if form == "binary":
            return f"({self.tensor(s, deep - 1)} {self.draw(['+', '-', '*'])} {self.tensor(s, deep - 1)})"
        if form == "unary":
            return f"{self.tensor(s, deep - 1)}.{self.draw(['sin()', 'relu()', 'abs()', 'neg()', 'clone()', 'detach()'])}"
        if form == "scaled":
            return f"({self.tensor(s, deep - 1)} {self.draw(['+', '*', '-'])} {self.int(s, 1)})"
        if form == "where":
            return f"torch.where({self.tensor(s, 0)} > 0, {self.tensor(s, deep - 1)}, {self.tensor(s, deep - 1)})"
        if form == "sum":
            return f"({self.tensor(s, deep - 1)} + {self.tensor(s, 0)}.sum())"
        if form == "box":
            return f"({self.tensor(s, 0)} * {self.draw(s.boxes)}.{self.draw(['value', 'doubled', 'scale'])})"
        if form == "view":
            return f"{self.tensor(s, 0)}.flip(0)"
        if form == "listsum":
            return f"sum([{self.tensor(s, 0)}, {self.tensor(s, 0)}], {self.int(s, 0)})"
        return self.draw(s.tensors)

    def item(self, s: Scope) -> str:
        return self.draw([self.int, self.int, self.tensor])(s, 1)

    # ---- statements

    def block(self, s: Scope, n: int) -> None:
        for _ in range(max(1, n)):
            self.statement(s)

    def statement(self, s: Scope) -> None:
        simple = [
            self.set_int,
            self.set_tensor,
            self.list_op,
            self.dict_op,
            self.box_op,
            self.in_place,
            self.printing,
            self.unpack,
            self.comprehension,
            self.swap,
        ]
        nested = [self.if_, self.for_, self.try_, self.with_, self.closure, self.while_, self.generator, self.sort_, self.global_]
        choices = simple + (nested if s.depth < 2 else [])
        if self.breaks and s.depth < 3:
            choices = choices + [self.break_]
        self.draw(choices)(s)

    def set_int(self, s: Scope) -> None:
        name = self.draw([*s.ints, self.name("n")])
        self.emit(s, f"{name} = {self.int(s)}")
        if name not in s.ints:
            s.ints.append(name)

    def set_tensor(self, s: Scope) -> None:
        name = self.draw([*[t for t in s.tensors if t not in ("x", "y")], self.name("t")])
        self.emit(s, f"{name} = {self.tensor(s)}")
        if name not in s.tensors:
            s.tensors.append(name)

    def in_place(self, s: Scope) -> None:
        target = self.draw(s.tensors)
        self.emit(
            s,
            self.draw(
                [
                    f"{target}.add_({self.int(s, 0)})",
                    f"{target}.mul_(2)",
                    f"{target}[0] = {self.int(s, 0)}",
                    f"{target} = {target} + 1",
                ]
            ),
        )

    def list_op(self, s: Scope) -> None:
        target = self.draw(s.lists)
        forms = [
            f"{target}.append({self.item(s)})",
            f"{target}.insert(0, {self.item(s)})",
            f"{target} += [{self.item(s)}]",
            f"{target}.reverse()",
            f"{target}.extend(({self.int(s, 0)}, {self.int(s, 0)}))",
            f"del {target}[:1]",
            f"{target}[1:2] = [{self.int(s, 0)}]",
        ]
        if self.draw([0, 0, 1]):
            name = self.name("l")
            self.emit(
                s, f"{name} = {self.draw([f'[{self.item(s)}, {self.item(s)}]', target, f'list({target})', f'{target}[::-1]'])}"
            )
            s.lists.append(name)
        else:
            self.emit(s, self.draw(forms))

    def dict_op(self, s: Scope) -> None:
        target = self.draw(s.dicts)
        key = self.draw(["0", "1", "'a'", "'b'", "(1, 2)"])
        self.emit(
            s,
            self.draw(
                [
                    f"{target}[{key}] = {self.item(s)}",
                    f"{target}.pop({key}, None)",
                    f"{target}.setdefault({key}, {self.int(s, 0)})",
                    f"{target}.update(a={self.int(s, 0)})",
                    f"{target} = {{**{target}, {key}: {self.int(s, 0)}}}",
                ]
            ),
        )

    def box_op(self, s: Scope) -> None:
        target = self.draw(s.boxes)
        form = self.draw(["new", "bump", "attr", "add", "alias", "store"])
        if form == "new":
            name = self.name("b")
            self.emit(s, f"{name} = {self.draw(['Box', 'Twin'])}({self.item(s)}, {self.draw([repr('p'), repr('q')])})")
            s.boxes.append(name)
        elif form == "bump":
            self.emit(s, f"{target}.bump({self.item(s)})")
        elif form == "attr":
            self.emit(s, f"{target}.{self.draw(['value', 'extra'])} = {self.item(s)}")
        elif form == "add":
            name = self.name("b")
            self.emit(s, f"{name} = {target} + {self.int(s, 0)}")
            s.boxes.append(name)
        elif form == "alias":
            self.emit(s, f"{target}.history.append({self.draw(s.ints)})")
        else:
            self.emit(s, f"{self.draw(s.dicts)}['box'] = {target}")

    def printing(self, s: Scope) -> None:
        self.emit(s, f"print('p', {self.int(s)}, f'{{{self.int(s, 0)}:>3}}')")

    def unpack(self, s: Scope) -> None:
        a, b = self.name("n"), self.name("n")
        self.emit(s, f"{a}, *_, {b} = {self.int(s, 1)}, {self.int(s, 1)}, {self.int(s, 1)}")
        s.ints += [a, b]

    def swap(self, s: Scope) -> None:
        a, b = self.draw(s.ints), self.draw(s.ints)
        self.emit(s, f"{a}, {b} = {b}, {a}")

    def comprehension(self, s: Scope) -> None:
        name = self.name("l")
        self.emit(
            s,
            f"{name} = "
            + self.draw(
                [
                    f"[i * {self.int(s, 1)} for i in range(3) if i != {self.int(s, 0)}]",
                    f"[{self.tensor(s, 1)} + i for i in range(2)]",
                    "sorted({i % 3 for i in range(5)})",
                    f"[k for k in {self.draw(s.dicts)}]",
                    f"[a + b for a, b in zip(range(3), itertools.count({self.int(s, 0)}))]",
                ]
            ),
        )
        s.lists.append(name)

    def if_(self, s: Scope) -> None:
        self.emit(s, f"if {self.condition(s)}:")
        self.block(s.inner(), self.draw([1, 2]))
        if self.draw([0, 1]):
            self.emit(s, "else:")
            self.block(s.inner(), self.draw([1, 2]))

    def for_(self, s: Scope) -> None:
        if s.loops:
            return self.set_int(s)
        i = self.name("i")
        source = self.draw(
            ["range(3)", f"range(len({self.draw(s.lists)}) % 4)", "(1, 2, 4)", "[k for k, _ in pairs(2)]", "enumerate('ab')"]
        )
        self.emit(s, f"for {i if 'enumerate' not in source else i + ', _'} in {source}:")
        inner = s.inner()
        inner.ints.append(i)
        inner.loops += 1
        self.block(inner, self.draw([1, 2]))
        if self.draw([0, 0, 1]):
            self.emit(inner, f"if {self.condition(inner)}: {self.draw(['break', 'continue'])}")
            self.emit(s, "else:")
            self.block(s.inner(), 1)
        return None

    def while_(self, s: Scope) -> None:
        if s.loops:
            return self.set_int(s)
        i = self.name("w")
        self.emit(s, f"{i} = 0")
        self.emit(s, f"while {i} < {self.draw([1, 2, 3])}:")
        inner = s.inner()
        inner.loops += 1
        self.emit(inner, f"{i} += 1")
        self.block(inner, self.draw([1, 2]))
        return None

    def try_(self, s: Scope) -> None:
        self.emit(s, "try:")
        inner = s.inner()
        self.block(inner, 1)
        self.emit(
            inner,
            self.draw(
                [
                    f"if {self.condition(inner)}: raise ValueError({self.int(inner, 0)})",
                    f"{self.draw(s.dicts)}['missing']",
                    f"1 // {self.int(inner, 1)}",
                    "assert " + self.condition(inner),
                    "pass",
                    f"{self.draw(s.lists)}[9]",
                ]
            ),
        )
        self.emit(s, f"except {self.draw(['ValueError', '(KeyError, ValueError)', 'Exception'])} as error:")
        self.emit(s.inner(), "print(type(error).__name__, error)")
        self.block(s.inner(), 1)
        extra = self.draw(["", "else", "finally", "finally"])
        if extra:
            self.emit(s, extra + ":")
            self.block(s.inner(), 1)

    def with_(self, s: Scope) -> None:
        form = self.draw(["no_grad", "scope", "suppress", "two"])
        log = self.draw(s.lists)
        head = {
            "no_grad": "with torch.no_grad():",
            "scope": f"with scope({log}, 'w') as depth:",
            "suppress": "with contextlib.suppress(KeyError, IndexError):",
            "two": f"with torch.no_grad(), scope({log}, 'v'):",
        }[form]
        self.emit(s, head)
        inner = s.inner()
        self.block(inner, self.draw([1, 2]))
        if form == "suppress":
            self.emit(inner, self.draw(["{}['k']", "[][1]", "pass"]))

    def closure(self, s: Scope) -> None:
        f, n = self.name("f"), self.name("n")
        self.emit(s, f"{n} = {self.int(s, 1)}")
        s.ints.append(n)
        self.emit(s, f"def {f}(v, *rest, k={self.int(s, 0)}, **more):")
        inner = s.inner()
        if self.draw([0, 1]):
            self.emit(inner, f"nonlocal {n}")
            self.emit(inner, f"{n} += k")
        self.emit(inner, f"return v * k + len(rest) + len(more) + {n}")
        t = self.name("t")
        self.emit(s, f"{t} = {f}({self.tensor(s, 1)}{self.draw(['', ', 1, 2', ', k=3', ', **{' + repr('z') + ': 1}'])})")
        s.tensors.append(t)

    def generator(self, s: Scope) -> None:
        name = self.name("n")
        self.emit(
            s,
            f"{name} = "
            + self.draw(
                [
                    "sum(a + b for a, b in pairs(3))",
                    "next(pairs(2))[1]",
                    "max(b for _, b in pairs(4))",
                    "len(list(pairs(2)))",
                    "functools.reduce(lambda a, b: a + b[1], pairs(3), 0)",
                ]
            ),
        )
        s.ints.append(name)

    def sort_(self, s: Scope) -> None:
        name = self.name("l")
        a, b = self.draw(s.boxes), self.draw(s.boxes)
        self.emit(
            s,
            f"{name} = [box.name for box in sorted([{a}, {b}], reverse={self.draw([True, False])})] + sorted([3, 1, {self.int(s, 0)}], key=lambda v: -v)",
        )
        s.lists.append(name)

    def global_(self, s: Scope) -> None:
        self.emit(s, f"COUNTER = COUNTER + {self.int(s, 0)}")
        self.emit(s, f"LOG.append({self.draw(s.ints)})")

    def break_(self, s: Scope) -> None:
        form = self.draw(["call", "item", "branch", "value"])
        if form == "call":
            self.emit(s, "break_here()")
        elif form == "item":
            name = self.name("n")
            self.emit(s, f"{name} = int(({self.draw(s.tensors)}.detach().sum() > 0).item())")
            s.ints.append(name)
        elif form == "branch":
            self.emit(s, f"if {self.tensor(s, 0)}.sum() > 0:")
            self.block(s.inner(), 1)
        else:
            name = self.name("t")
            self.emit(s, f"{name} = break_here({self.tensor(s, 1)}) + {self.tensor(s, 0)}")
            s.tensors.append(name)


def draw_program(draw: Draw, size: int = 6, breaks: bool = True) -> str:
    """The source of a module with a function ``f(x, y, n, box, items, table)``."""
    writer = Writer(draw, breaks)
    scope = Scope(["x", "y"], ["n"], ["items"], ["table"], ["box"])
    writer.emit(scope, "global COUNTER")
    writer.block(scope, size)
    tensors, ints, lists = ", ".join(scope.tensors), ", ".join(scope.ints), ", ".join(scope.lists)
    boxes = ", ".join(f"({b}.value, {b}.name, {b}.history)" for b in scope.boxes)
    writer.emit(
        scope, f"return [{tensors}], [{ints}], [{lists}], [{', '.join(scope.dicts)}], [{boxes}], x is {scope.tensors[-1]}"
    )
    return PRELUDE + "\ndef f(x, y, n, box, items, table):\n" + "\n".join(writer.lines) + "\n"
