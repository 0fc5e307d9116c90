"""Random programs, written from tables of templates.

A template is Python text with holes:

    $int        an expression of this type (``templates.EXPRESSIONS``)
    $int!       a variable of this type that is bound
    $+int       a new variable, bound from the next statement on
    $[a|b|c]    one of these texts
    $block      (alone on its line) one to three statements, indented below the line before
    $loop       the same, inside a loop

Programs use names that are bound (mostly), always end, and print no addresses.
"""

from __future__ import annotations

import ast
import random
import re

from templates import BREAKS, EXPRESSIONS, RAISING, START, STATEMENTS

_HOLE = re.compile(r"\$(\+[a-z]+|\[(?:[^\[\]]|\[[^\[\]]*\])*\]|[a-z]+!?)")


class Names:
    """The bound variables by type; a block starts with what is bound around it."""

    def __init__(self, bound: dict[str, list[str]], depth: int, loops: int) -> None:
        self.bound = bound
        self.depth = depth
        self.loops = loops
        self.fresh: list[tuple[str, str]] = []

    def inner(self, loop: bool) -> Names:
        return Names({kind: list(names) for kind, names in self.bound.items()}, self.depth + 1, self.loops + loop)


class Writer:
    """Writes one program; ``breaks`` is how often a statement is one that breaks the graph."""

    def __init__(self, choice: random.Random, breaks: float = 0.1) -> None:
        self.random = choice
        self.breaks = breaks
        self.count = 0
        self.helpers: list[str] = []

    def text(self, template: str, names: Names, deep: int = 3) -> str:
        """A template with its holes filled."""
        return _HOLE.sub(lambda hole: self._fill(hole.group(1), names, deep), template)

    def _fill(self, hole: str, names: Names, deep: int) -> str:
        if hole[0] == "[":
            return self.text(self.random.choice(_options(hole[1:-1])), names, deep)
        if hole[0] == "+":
            self.count += 1
            name = f"{hole[1:]}{self.count}"
            names.fresh.append((hole[1:], name))
            return name
        if hole[-1] == "!":
            fresh = [name for kind, name in names.fresh if kind == hole[:-1] != "fn"]  # a function that calls itself need not end
            return self.random.choice(names.bound[hole[:-1]] + fresh * 2)
        if hole == "raising":
            return self.text(self.random.choice(RAISING), names, 1)
        if hole in ("helper", "thelper"):
            return self._helper_call(hole, names, deep)
        rows = EXPRESSIONS[hole]
        return self.text(
            self.random.choice(rows if deep > 0 else [row for row in rows if row.count("$") <= 1][:6]), names, deep - 1
        )

    def _helper_call(self, kind: str, names: Names, deep: int) -> str:
        able = [name for name in self.helpers if name.startswith("t") == (kind == "thelper")]
        if not able:
            return self.text("$tensor!" if kind == "thelper" else "$int!", names, deep)
        return self.text(f"{self.random.choice(able)}($tensor!, $int!, $ints!, $box!)", names, deep)

    def block(self, names: Names, low: int = 1, high: int = 3) -> list[str]:
        return [line for _ in range(self.random.randint(low, high)) for line in self.statement(names)]

    def statement(self, names: Names) -> list[str]:
        rows = BREAKS if self.random.random() < self.breaks else STATEMENTS
        while True:
            template = self.random.choice(rows)
            nested = "\n$" in template or "\n    " in template
            loop = "$loop" in template
            if not (
                nested and (names.depth >= 3 or names.depth == 2 and self.random.random() < 0.7) or loop and names.loops >= 2
            ):
                break
        if "turns" in template:  # each loop counts its own, or nested ones would not end
            self.count += 1
            template = template.replace("turns", f"turns{self.count}")
        names.fresh = []
        lines: list[str] = []
        for line in template.split("\n"):
            if line in ("$block", "$loop"):
                inner = names.inner(line == "$loop")
                if line == "$loop" or lines[-1].startswith("def "):
                    for kind, name in names.fresh:
                        if kind != "fn":
                            inner.bound[kind].append(name)
                rows = self.block(inner, 1, 2)
                if lines[-1].startswith("def "):
                    rows = [*_declarations(rows, names), *rows]
                lines += ["    " + row for row in rows]
            else:
                kept, names.fresh = names.fresh, list(names.fresh)
                lines.append(self.text(line, names))
                names.fresh = kept + names.fresh[len(kept) :]
        for kind, name in names.fresh:
            names.bound[kind].append(name)
        return lines

    def helper(self, name: str) -> list[str]:
        """A function of the module that the program calls."""
        names = Names(
            {"int": ["b"], "cell": ["cell"], "tensor": ["a"], "ints": ["l"], "sized": ["l"], "table": ["LOCAL"], "box": ["o"]}
            | {"iter": ["pool"], "text": ["word"], "fn": ["abs"], "float": ["b"], "deck": ["deck"]},
            1,
            0,
        )
        head = [f"def {name}(a, b, l, o):", "    global COUNTER"]
        head += ["    LOCAL, pool, word, cell, items, table, bag, text = {'a': b}, iter([b, 2]), 'w', b, [b], {'b': b}, {b}, 'k'"]
        head += ["    deck = collections.deque([b])"]
        body = ["    " + line for line in self.block(names, 1, 4)]
        return [*head, *body, self.text(f"    return {'$tensor!' if name[0] == 't' else '$int!'}", names), ""]

    def program(self, size: int) -> str:
        """The source of a module with a function ``f``; it needs the names of ``prelude`` and ``break_here``, ``weight``."""
        module: list[str] = []
        for i in range(self.random.choice([0, 1, 1, 2])):
            name = self.random.choice(["helper", "thelper"]) + str(i)
            module += self.helper(name)
            self.helpers.append(name)
        names = Names({kind: list(bound) for kind, bound in START.items()}, 0, 0)
        body = ["global COUNTER", "cell = n", "number, deck = n / 2, collections.deque(numbers, 4)"]
        if self.random.random() < 0.7:
            body.append("fn = lambda v: v + 1")
        body += self.block(names, size, size)
        shown = ", ".join(f"[{', '.join(bound)}]" for kind, bound in names.bound.items() if kind not in ("fn", "iter"))
        rest = ", ".join(f"list(itertools.islice({name}, 4))" for name in names.bound["iter"] if self.random.random() < 0.7)
        body.append(f"return {shown}, [{rest}], [{', '.join(f'{name}(1)' for name in names.bound['fn'][-2:])}]")
        head = "def f(x, y, n, text, box, other, numbers, items, table, bag, it, fn):"
        return "\n".join([*module, head, *("    " + line for line in body), ""])


def _declarations(rows: list[str], names: Names) -> list[str]:
    """What a nested function declares, so that it may assign to variables of the function around it."""
    found = {node.id for node in ast.walk(ast.parse("\n".join(["def f():", *("    " + row for row in rows)]))) if _stores(node)}
    outer = sorted(found & {name for bound in names.bound.values() for name in bound} - {"LOCAL", "abs"})
    return [f"nonlocal {', '.join(outer)}"] * bool(outer) + ["global COUNTER"] * ("COUNTER" in found)


def _stores(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del))


def _options(text: str) -> list[str]:
    """The texts between the bars, brackets respected."""
    options, depth = [""], 0
    for char in text:
        depth += (char in "([") - (char in ")]")
        if char == "|" and not depth:
            options.append("")
        else:
            options[-1] += char
    return options


def program(seed: int) -> str:
    """The program with this number."""
    choice = random.Random(seed)
    return Writer(choice, choice.choice([0.0, 0.05, 0.05, 0.2])).program(choice.choice([1, 2, 3, 4, 6, 9]))
