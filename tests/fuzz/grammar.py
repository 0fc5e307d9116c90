"""Random programs, written from tables of templates.

A template is Python text with holes:

    $int        an expression of this type (``EXPRESSIONS``)
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

EXPRESSIONS: dict[str, list[str]] = {
    "int": """
$int!
$int!
$int!
$[0|1|2|3|7]
$[0|1|-1|2]
($int $[+|-|*] $int)
($int $[%|//] $[2|3|5])
-$int
len($[items|table|text])
len($sized!)
len($box!)
$tensor!.shape[0]
$tensor!.numel()
($int if $cond else $int)
$table!.get($key, $int)
$table![$key]
max($int, $int)
min($ints, default=$int)
sum($ints)
$fn!($int)
$box!.value
$box!.scale
$box!.doubled
next($iter!, $int)
int($cond)
abs($int)
($int or $int)
($int and $int)
$ints![$[0|-1|1]]
$text!.count('a')
functools.reduce(lambda a, b: a - b, $ints, $int)
sum(v for v in $ints if $cond)
sum(a * b for a, b in pairs($[1|2|3]))
(lambda v, k=$int: v - k)($int)
operator.$[add|sub|mul]($int, $int)
divmod($int, 3)[$[0|1]]
Point($int, $int)($int)
Point($int).$[a|b]
Pair($int, $int).left
hash(Point) * 0 + $int
round($int / 2)
int($text!.isalpha())
sorted($ints, key=lambda v: -v)[:1].count($int)
[*$ints, $int][0]
{$key: $int, $key: $int}.popitem()[1]
bool($box!) + $int
len(set($ints))
$helper
""".strip().splitlines(),
    "cond": """
$int $[<|<=|==|!=|>] $int
$int $[<|<=|==|!=|>] $int
$[0|1] < $int < $[3|5]
$int in $[(0, 2, 5)|items|bag|table]
$key $[in|not in] $table!
not $[items|table|bag]
$sized! is $sized!
$box! == $box!
$box! is $box!
$tensor! is $tensor!
$box! < $box!
isinstance($box!, $[Box|Twin|Slotted])
$table!.get('z') is None
$cond and $cond
$cond or $cond
not $cond
any(v > $int for v in $ints)
all($ints)
$tensor!.dtype is torch.float32
$tensor!.ndim == 1
$tensor!.shape == $tensor!.shape
$tensor!.requires_grad
$text! $[==|<] $text!
$ints == $ints
Pair($int, 1) == ($int, 1)
Color.RED is Color($[1|2])
$int in $box!
hasattr($box!, $['history'|'extra'|'a'])
callable($fn!)
Point($int) < Point($int)
""".strip().splitlines(),
    "tensor": """
$tensor!
$tensor!
$tensor!
($tensor $[+|-|*] $tensor)
($tensor $[+|-|*] $int)
($int - $tensor)
$tensor.$[sin()|relu()|abs()|neg()|clone()|cos()]
$tensor!.$[detach()|view(-1)|flip(0)|contiguous()|float()|double()]
$tensor![:]
torch.where($tensor! > $int, $tensor, $tensor)
($tensor + $tensor!.sum())
($tensor! * $box!.$[value|scale])
torch.stack([$tensor!, $tensor!]).sum(0)
torch.cat([$tensor!, $tensor!])[:$tensor!.shape[0]]
torch.$[zeros_like|ones_like]($tensor!)
torch.full_like($tensor!, $int)
($tensor! + torch.arange($tensor!.shape[0]))
torch.ones($tensor!.shape)
sum([$tensor!, $tensor!], $int)
($tensor! / $[2|4])
(weight * $tensor).detach()
max([$tensor!, $tensor!], key=lambda t: t.shape[0])
$tensor!.new_full($tensor!.size(), $int)
""".strip().splitlines(),
    "ints": """
$ints!
$ints!
[$int, $int]
[]
list(range($[0|2|3]))
[v $[+|*|-] $int for v in $ints!]
[v for v in $ints! if $cond]
list($ints!)
$ints![::-1]
$ints![1:]
sorted($ints!)
[k for k, _ in pairs($[1|3])]
[a + b for a, b in zip($ints!, itertools.count($int))]
list(map($fn!, $ints!))
list(filter(None, $ints!))
list(itertools.$[chain|chain]($ints!, ($int, $int)))
list(itertools.islice($iter!, 1))
list(itertools.accumulate($ints!))
[*$ints!, *$ints!][:6]
[len(str(v)) for v in $ints!]
[i for i, v in enumerate($ints!)]
""".strip().splitlines(),
    "key": ["'a'", "'b'", "0", "1", "(1, 2)", "$int", "$text!"],
    "text": """
$text!
'$[a|ab|x]'
f'{$int!}:{$int!:>3}{$box!!r}'
str($int)
'%d-%s' % ($int, $text!)
$text!.upper()
$text![::-1]
','.join(map(str, $ints))
repr($ints!)
'{} {}'.format($int, $box!)
type($any).__name__
str($box!)
""".strip().splitlines(),
    "any": [
        "$int",
        "$int",
        "$tensor",
        "$ints",
        "$text",
        "$box!",
        "None",
        "($int, $tensor!)",
        "$table!",
        "Pair($int, $text)",
        "{$int}",
    ],
}

STATEMENTS = [
    template.strip("\n")
    for template in """
$+int = $int
---
$+int = $int
---
$int! = $int
---
$int! $[+=|-=|*=] $int
---
$+tensor = $tensor
---
$+tensor = $tensor
---
$tensor! = $tensor
---
$tensor! $[+=|*=] $int
---
$tensor!.$[add_|mul_]($int)
---
$tensor![$[0|:1|-1]] = $int
---
$tensor![$tensor! > $int] = $int
---
torch.$[add|mul]($tensor!, $int, out=$tensor!)
---
$+ints = $ints
---
$ints!.$[append|remove]($int)
---
$ints!.insert($[0|1], $int)
---
$ints!.$[reverse|sort]()
---
$ints!.extend($ints)
---
$ints! += [$int]
---
del $ints![:$[1|2]]
---
$ints![$[1:2|:0|-1:]] = [$int, $int]
---
$+int = $ints!.pop()
---
$+ints = $ints!
---
$+sized = [$any, $any]
---
$+sized = ($any, $any, $any)
---
$+sized = {$int, $int}
---
items.append($any)
---
items[:] = items[-4:]
---
bag.$[add|discard]($int)
---
bag $[-=|&=] {$int, $int}
---
bag |= {$int, $int}
---
$table![$key] = $int
---
$table!.pop($key, None)
---
$+int = $table!.setdefault($key, $int)
---
$table!.update(a=$int)
---
$table! |= {$key: $int}
---
$+table = {**$table!, $key: $int}
---
$+table = dict($table!)
---
$+table = $[collections.OrderedDict|collections.Counter|dict](zip('ab', $ints))
---
$+table = collections.defaultdict(int, $table!)
---
for k in list($table!): $table![k] = $int
---
$+box = $[Box|Twin|Slotted]($any, '$[p|q]')
---
$+box = $[Box|Twin].make($int)
---
$box!.bump($int)
---
$box!.$[value|extra] = $any
---
$box!.history.append($any)
---
$box!.history = $[items|[]]
---
del $box!.$[name|value]
---
$+box = $box! + $int
---
$+box = $box!
---
$+box = copy.$[copy|deepcopy]($box!)
---
items.append($box!)
---
$[Box|Twin].scale = $int
---
$+iter = iter($[$ints!|table|range(4)|$box!])
---
$+iter = (v * $int for v in $ints!)
---
$+iter = map($fn!, $ints!)
---
$+iter = itertools.$[count($int)|chain($ints!, $iter!)|repeat($int, 3)]
---
$+iter = reversed($ints!)
---
$+int, *$+ints = $int, $int, *$ints
---
$+int, $+int = next($iter!, $int), next($iter!, $int)
---
$int!, $int! = $int!, $int!
---
$ints!, $tensor! = $ints, $tensor
---
print($text!, $int, $text)
---
print($ints!, $box!, sep='|')
---
LOG.append($int)
---
COUNTER = COUNTER + $int
---
$+text = $text
---
$+fn = lambda v: v + $int!
---
$+fn = functools.partial(operator.$[add|sub], $int)
---
$+fn = $fn!
---
def $+fn(v, *rest, k=$int, **more):
$block
    return v $[+|-] k + len(rest) + len(more) + $int!
---
$+int = $fn!($int)
---
$+int = $helper
---
$+tensor = $thelper
---
COUNTER += $int
---
if $cond:
$block
---
if $cond:
$block
else:
$block
---
if $cond:
$block
elif $cond:
$block
---
for $+int in $[range(3)|range(2)|(1, 2, 4)|items[:2] and range(2)|$ints[:3]|list(bag)[:0]]:
$loop
---
for $+int in $[range(3)|range($int % 4)|$ints[:3]]:
$loop
    if $cond: $[break|continue]
    $int! += 1
else:
$block
---
for $+int, $+int in $[zip(range(3), $ints)|enumerate($ints[:3])|pairs(2)|list(enumerate((3, 4)))]:
$loop
---
for $+int in $ints!:
    if len($ints!) < 7: $ints!.append($int)
    else: break
$loop
---
for v in $table!: $table!.pop('b', None)
---
for $+int in itertools.islice($iter!, 2):
$loop
---
turns = 0
while turns < $[1|2|3] and ($cond or turns < 1):
    turns += 1
$loop
---
try:
$block
    $raising
except $[ValueError|(KeyError, ValueError)|Exception|IndexError] as error:
    print(type(error).__name__, error)
$block
---
try:
$block
    $raising
except $[ZeroDivisionError|Exception]:
$block
else:
$block
finally:
$block
---
try:
    $raising
except Exception as error:
    try:
        raise KeyError($int) $[from error|from None|]
    except KeyError as second:
        print(repr(second.__cause__), repr(second.__context__), second.__suppress_context__)
---
try:
$block
finally:
$block
---
with $[torch.no_grad()|scope(LOG, 'w')|contextlib.nullcontext()|torch.no_grad(), scope(LOG, 'v')]:
$block
---
with contextlib.suppress(KeyError, IndexError, ZeroDivisionError):
$block
    $raising
---
with Guarded(LOG, $cond) as guard:
$block
    $raising
---
with contextlib.ExitStack() as stack:
    stack.callback(LOG.append, $int)
    $+int = stack.enter_context(scope(LOG, 's'))
$block
---
match $[items|($int!, $int)|$table!|$box!|$int!|$ints!]:
    case 0 | 1:
        $int! = 5
    case [first, *rest]:
        $int! = len(rest)
    case {'a': found}:
        print('found', found)
    case Box(value=inside, name='p'):
        LOG.append(inside)
    case _:
        $tensor! = $tensor! + 1
---
def $+fn(v):
    nonlocal $cell!
    $cell! += $int
    return v + $cell!
$+int = $fn!($int)
---
def inner(n=$int):
    total = 0
    for i in range(n % 4):
        got = yield total + i
        if got: total += got
    return total
$+ints = list(inner($int))
---
def inner(log):
    found = yield from pairs($[1|2])
    log.append(found)
    yield from $ints
$+int = len(list(inner(LOG)))
---
machine = echo(LOG)
$+int = next(machine) + machine.send($int) + machine.send(None)
machine.close()
---
$+iter = (a + b for a, b in pairs(3))
$+int = next($iter!, 0)
---
class Local($[Box|Twin|object]):
    tag = $int
    def bump(self, by=1): LOG.append(by); return self
    def __$[call|getitem]__(self, key): return key + self.tag
    def read(self): return self.tag
$+int = Local.tag
---
@functools.wraps($fn!)
def $+fn(*args): return $fn!(*args)
---
$+ints = sorted([$box!, $box!]) and [1]
---
$+sized = sorted($ints, key=$fn!, reverse=$cond)
---
$+sized = [(k, v) for k, v in $table!.items()]
---
$+sized = {v: k for k, v in enumerate($text!)}
---
$+table = {k: v for k, v in zip($ints, $ints)}
---
def $+fn(v, deep=3):
$block
    return v if deep < 1 else recurse(v + 1, deep - 1)
recurse = $fn!
---
assert $cond, 'no'
---
if $cond: return $any
---
$raising
""".split("---")
]

BREAKS = [
    template.strip("\n")
    for template in """
break_here()
---
break_here($tensor)
---
$+int = int(($tensor!.detach().sum() > $int).item())
---
if $tensor!.sum() > $int:
$block
---
if ($tensor! > 0).any():
$block
else:
$block
---
$+tensor = (break_here() or $tensor) + $tensor!
---
$+int = $int + (break_here($int) or $int)
---
$ints!.append(int($tensor!.detach().abs().sum() > 1))
---
items.append(torch.nonzero($tensor!).shape[0])
---
with scope(LOG, 'b'):
    break_here()
$block
---
for $+int in range($[2|3]):
    break_here()
$loop
---
try:
    break_here()
    $raising
except Exception:
$block
""".split("---")
]

RAISING = """
if $cond: raise ValueError($int)
$table!['missing']
$int! // ($int! - $int!)
$ints![9]
assert $cond, $text
pass
pass
next(iter([]))
$box!.nothing
raise KeyError($key)
torch.zeros(2) + torch.zeros(3)
int($text!)
[].pop()
$box! + $text!
""".strip().splitlines()

_HOLE = re.compile(r"\$(\+[a-z]+|\[(?:[^\[\]]|\[[^\[\]]*\])*\]|[a-z]+!?)")
START = {
    "int": ["n"],
    "cell": ["cell"],
    "tensor": ["x", "y"],
    "ints": ["numbers"],
    "sized": ["items", "bag", "table"],
    "table": ["table"],
    "box": ["box", "other"],
    "iter": ["it"],
    "text": ["text"],
    "fn": ["fn"],
}


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
            | {"iter": ["pool"], "text": ["word"], "fn": ["abs"]},
            1,
            0,
        )
        head = [f"def {name}(a, b, l, o):", "    global COUNTER"]
        head += ["    LOCAL, pool, word, cell, items, table, bag, text = {'a': b}, iter([b, 2]), 'w', b, [b], {'b': b}, {b}, 'k'"]
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
        body = ["global COUNTER", "cell = n"]
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
