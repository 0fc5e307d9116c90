"""The tables of templates that random programs are written from; ``grammar`` says what the holes are."""

from __future__ import annotations

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
$box!.twice
$box!.cached
Tall($int, 'm').read($int)
memo($int)
shape_of($any)
math.$[floor|ceil|trunc]($float)
int($float > $float)
$deck!.count($int)
($deck! or [$int])[-1]
len($deck!)
sum(1 for _ in itertools.groupby($ints!))
len(list(itertools.$[product|zip_longest|chain]($ints![:2], $ints![:2])))
len(list(itertools.pairwise($ints!)))
bisect.bisect(sorted($ints!), $int)
heapq.nsmallest(1, [*$ints!, $int])[0]
int(str($int!)[-1:] or 0)
($int).__$[add|mul|sub]__($int)
list(reversed($ints! or [$int]))[0]
net.calls
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
$float $[<|>=|==] $float
isinstance($any, $[int|(str, list)|torch.Tensor|collections.abc.Sized])
$text! in $text
$int in $deck!
$text!.startswith($text)
$deck! == $deck!
{$int, $int} $[<=|==|>] {$int}
$box!.twice > $int
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
net($tensor!)
net.weight * $tensor!.sum()
net.seen + $tensor!
$tensor!.expand(2, -1)[1]
$tensor!.to($[torch.float32|torch.float64])
$tensor!.$[sum|mean|amax](0, keepdim=True) + $tensor!
torch.nn.functional.$[relu|softplus|gelu]($tensor!.float())
($tensor! * $float)
$tensor!.unsqueeze(0).$[mT|squeeze(0)].reshape(-1)
torch.stack([v for v in $tensor!])
torch.cumsum($tensor!, 0)
$tensor!.split(1)[0].expand_as($tensor!)
torch.tensor([$int, $float]).sum() + $tensor!
torch.linspace(0, 1, $tensor!.shape[0])
$tensor!.clamp($[0|-1], 2)
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
list($deck!)[:5]
list(map(len, [$text, $text]))
[*map(int, '12')]
list(dict.fromkeys($ints!))
sorted({$int, $int})
[a for a, *rest in [(1, 2), ($int, 3, 4)]]
[v for row in [$ints!, [$int]] for v in row][:7]
heapq.nlargest(2, $ints!)
list(itertools.takewhile(lambda v: v < $int, $ints!))
([] or [$int])
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
f'{$int!:+d}{$float!:.2f}'
$text!.$[title()|strip('a')|zfill(5)|replace('a', 'bc')|center(7, '*')|partition('b')[0]|swapcase()]
'-'.join(sorted($text))
'%s|%r' % ($text!, $text!)
format($int, '04d')
$text! * $[0|2]
ascii($text)
""".strip().splitlines(),
    "float": """
$float!
$float!
$[0.5|-1.5|2.0]
($float $[+|-|*] $float)
($int / 2)
float($int)
abs($float)
max($float, 0.25)
math.sqrt(abs($float))
round($float, 1)
sum([$float, $int])
""".strip().splitlines(),
    "any": [
        "$float",
        "$deck!",
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
---
$+float = $float
---
$float! $[+=|-=|*=] $float
---
$+deck = collections.deque($ints, maxlen=$[None|2|5])
---
$deck!.$[append|appendleft]($int)
---
$deck!.extend($ints)
---
$deck!.rotate($[1|-1])
---
$+int = ($deck! or [0]).pop()
---
$+box = Tall($any, $text)
---
$box!.twice = $int
---
$box!.cached
---
net.weight.data.mul_(0.5)
---
net.calls = $int
---
net.seen = $tensor!.detach().clone()[:1]
---
net.extra = [$any]
---
net.$[train()|eval()]
---
with torch.no_grad(): net.weight.$[add_|mul_]($int)
---
$+float = float(random.random() < 2) + random.randint(1, 3)
---
random.seed($int)
---
$+tensor = torch.manual_seed(3) and torch.rand(3)
---
try:
$block
    raise ExceptionGroup('many', [ValueError($int), $[KeyError('k')|TypeError(1)|ExceptionGroup('deep', [ValueError(0)])]])
except* ValueError as group:
    print(len(group.exceptions))
    LOG.append($int)
except* $[KeyError|TypeError]:
    $tensor! = $tensor
---
class Odd(Exception):
    def __init__(self, v): super().__init__(v); self.v = v
try:
    raise Odd($any)
except Odd as error:
    error.add_note('seen')
    print(error.args == (error.v,), error.__notes__)
---
def $+fn(v):
    try:
        return v + $int
    finally:
        LOG.append('left')
$+int = $fn!($int)
---
def gen(limit):
    for i in range(limit):
        try:
            yield i
        except ValueError as error:
            yield str(error)
        finally:
            LOG.append(i)
feed = gen(3)
next(feed)
print(feed.throw(ValueError('thrown')))
$+iter = feed
---
def gen():
    yield $int
$block
    yield $int
$+iter = gen()
---
$+iter = zip($ints!, $ints!)
$+sized = list($iter!)[:3]
---
$+iter = itertools.$[islice($iter!, 3)|takewhile(bool, $ints!)|accumulate($ints!)|cycle([$int])|pairwise($ints!)]
---
first, second = itertools.tee($ints!)
$+ints = [next(first, 0), *itertools.islice(second, 2)]
---
if (found := $int) and $cond:
$block
---
$int!, ($text!, *$+sized) = $int, ($text, $int, $int)
---
$+table = {k: $int for k in $text!}
---
$table!.$[setdefault($key, $int)|pop($key, 0)|popitem() if $table! else 0]
---
del $table![$key]
---
bag.update($ints)
---
$+sized = $table!.$[keys|values|items]()
$+int = len($sized!)
---
print(*$ints!, f'{$text!!r:>6}', end='.')
---
warnings.warn($text)
---
$+box = dataclasses.replace(Point($int), b=$int)
---
$+box = type('Made', (Box,), {'tag': $int})($int, 'q')
---
setattr($box!, $['value'|'extra'], $any)
---
$+int = getattr($box!, $['value'|'nope'], $int) if $cond else $int
---
$+int = (lambda *a, k=$int, **m: len(a) + k + len(m))(*$ints![:3], **{'z': 1})
---
$+fn = functools.reduce(lambda f, g: lambda v: g(f(v)), [$fn!, $fn!])
---
$+tensor = $tensor![:]
$tensor!.$[zero_|neg_|abs_]()
---
$tensor!.copy_($tensor)
---
$tensor![$[:1|-1:]].$[add_|mul_]($int)
---
leaf = torch.ones(2, requires_grad=True)
((leaf * $int) ** 2).sum().backward()
$+tensor = leaf.grad
---
try:
    $+tensor = $tensor![torch.tensor($[0|1|9])]
except IndexError:
$block
---
for $+tensor in $tensor!:
$loop
    if $cond: break
---
while $deck!:
    $deck!.popleft()
$loop
---
with Rewriting($box!, $any):
$block
---
$+int = dispatch($any)
---
$+text = Color($[1|2|3]).name
---
import math as m2; $+float = m2.pi
---
del $int!
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
---
def gen():
    yield $int
    break_here()
    yield $int
$+ints = list(gen())
---
def gen(log):
    try:
        for i in range(3):
            if i == $[0|1]: break_here()
            log.append((yield i))
    finally:
        log.append('done')
$+iter = gen(LOG)
$+int = next($iter!, 0)
---
def gen(t):
    t = t + $int
    break_here()
    yield t * 2
    if $cond: break_here()
    yield t - $int
for $+tensor in gen($tensor!):
    LOG.append(len(LOG))
    $[pass|break|break_here()]
---
def gen(items):
    for v in items:
        break_here()
        got = yield v + $int
        if got: LOG.append(got)
few = $ints![:3]
$+ints = list($[gen(few)|itertools.islice(gen(few), 2)|map(abs, gen(few))|sorted(gen(few))|itertools.takewhile(bool, gen(few))])
---
def gen(v):
    try:
        yield v
        break_here()
        yield v + $int
    except ValueError as error:
        break_here()
        yield len(error.args)
        LOG.append(repr(error))
    finally:
        break_here()
        LOG.append('closed')
feed = gen($int)
$+int = next(feed)
$[next(feed)|feed.throw(ValueError('t'))|feed.close()|print(next(feed) + next(feed, 0))|LOG.append(feed.send(None))]
---
def inner(v):
    break_here()
    got = yield v
    break_here()
    return got
def outer(v):
    LOG.append((yield from inner(v)))
    yield from $ints![:2]
    break_here()
feed = outer($int)
$+int = next(feed)
$+ints = [feed.send($int), *feed]
---
@contextlib.contextmanager
def managed(v):
    if $cond: break_here()
    try:
        yield v + $int
    except $[ValueError|KeyError|Exception]:
        break_here()
        LOG.append('swallowed')
    LOG.append('left')
    break_here()
with managed($int) as $+int:
    $[pass|break_here()|$raising]
---
def gen(n):
    for i in range(n):
        k = $int
        break_here()
        yield k + i
    LOG.append(k if n else None)
$+ints = [a * b for a, b in $[zip(gen(2), gen(3))|enumerate(gen(2))|zip(gen(1), itertools.chain(gen(0), gen(2)))]]
---
$+int = sum(v + (break_here() or 1) for v in $ints![:3])
---
for $+int in (v + (break_here() or $int) for v in $ints![:3]):
$block
---
$+ints = [v + (break_here() or 1) for v in $ints![:3]]
---
$+ints = sorted($ints![:4], key=lambda v: break_here() or -v)
---
$+int = (lambda v: break_here(v) or v + 1)($int)
---
try:
$block
finally:
    break_here()
---
class Breaking(Box):
    def __init__(self, *args):
        break_here()
        super().__init__(*args)
        break_here()
$+box = Breaking($int, 'p')
---
with Guarded(LOG, break_here() or $cond):
$block
    $raising
---
def $+fn(v, deep=2):
    w = v + 1
    if deep: w += inner(w, deep - 1)
    else: break_here()
$block
    return w
inner = $fn!
$+int = $fn!($int)
---
try:
    $raising
except Exception as error:
    break_here()
    print(type(error).__name__)
$block
---
$table![$key] = break_here() or $int
---
print($text!, break_here())
---
$+tensor = net(break_here() or $tensor!)
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
raise ExceptionGroup('g', [KeyError($int), ValueError(1)])
$tensor!.sum($[4|'q'])
$deck![40]
$text! + $int
Color(9)
setattr(Frozen(1), 'a', 2)
len(torch.ones(2)[0])
$box! + $text!
""".strip().splitlines()

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
    "float": ["number"],
    "deck": ["deck"],
}
