"""Why a function is compiled again, in the user's words; and which compiled version goes when there are too many."""

from __future__ import annotations

import collections
import dataclasses
import re
import types
from typing import Any, Sequence


@dataclasses.dataclass(frozen=True)
class Recompile:
    """One compilation of a function that had a compiled version already: what the call found that did not fit it."""

    function: str
    filename: str
    line: int
    expression: str
    """What was read, as the program writes it: ``self.layers[0].scale``.  Empty for what is no expression (grad mode, say)."""
    was: str
    """What the compiled version relies on."""
    now: str
    """What this call brought."""
    reason: str
    """The guard's own words."""
    cure: str

    def __str__(self) -> str:
        what = f"{self.expression} was {self.was}, and is {self.now} now" if self.was and self.expression else self.reason
        return f"{self.function} ({self.filename}:{self.line}): {what}\n  cure: {self.cure}"


def of_reason(code: types.CodeType, reason: str) -> Recompile:
    """The guard that failed first, taken apart."""
    expression, message = _split(reason)
    changed = _CHANGED.search(message)
    was, now = (changed[1], changed[2]) if changed else ("", "")
    what = message[: changed.start()].strip(" :") if changed else ""
    unit = _UNIT.match(was)
    if unit is not None:
        now = unit[0] + now.removeprefix(unit[0])
    was, now = was.removeprefix("the object "), now.removeprefix("the object ")
    if what and was:
        was, now = f"{what} {was}", f"{what} {now}"
    return Recompile(code.co_name, code.co_filename, code.co_firstlineno, expression, was, now, reason, cure_for(reason))


_CHANGED = re.compile(r"expected (.*), found (.*)$", re.DOTALL)
_UNIT = re.compile(r"(?:length|type|the keys|the object) ")
_MESSAGE = re.compile(r"^(?P<path>.*?): (?P<message>(?:expected |tensor |missing|is missing|found |no longer ).*)$", re.DOTALL)
_STEPS = (
    (re.compile(r"^globals\(\)\['(\w+)'\]"), r"\1"),
    (re.compile(r"^closure\['(\w+)'\](\.cell_contents)?"), r"\1"),
    (re.compile(r"\.__dict__\['_(?:modules|parameters|buffers)'\]"), ""),
    (re.compile(r"\.__dict__(?=\['[^\W\d]\w*'\])"), ""),
    (re.compile(r"\['(\d+)'\]"), r"[\1]"),
)


def _split(reason: str) -> tuple[str, str]:
    """The expression as the program writes it, and what is said of it."""
    found = _MESSAGE.match(reason)
    if found is None or found["path"] == "global state":
        return "", reason
    return readable(found["path"]), found["message"]


def readable(path: str) -> str:
    """A path of the guard tree as the program writes it: without ``__dict__`` and the tables of ``nn.Module``."""
    holders = [m.end() for m in re.finditer(r"\.__dict__(?:\['_(?:modules|parameters|buffers)'\])?", path)]
    for end in reversed(holders):  # the key that follows is an attribute
        path = path[:end] + re.sub(r"^\['([^\W\d]\w*)'\]", r".\1", path[end:])
    for pattern, by in _STEPS:
        path = pattern.sub(by, path)
    return path.replace(".__dict__.", ".")


def why_not(entry: Any, func: types.FunctionType, values: list[Any]) -> str:
    """The guard of an entry that these values fail, for people."""
    try:
        found = entry.check_fn.explain(func, values)
    except Exception as error:
        return f"a guard raised {type(error).__name__}: {error}"
    if found is None:
        return "the entry was made for other settings"
    return found[2] if isinstance(found, tuple) else str(found)


class Reasons(Sequence[str]):
    """Why entries do not fit a call, one by one; found out when somebody asks, for most are never read.

    Args:
        entries: the entries, newest first.
        func: the function that was called.
        values: its fast locals.
    """

    reported = False

    def __init__(self, entries: list[Any], func: types.FunctionType, values: list[Any]) -> None:
        self.entries = entries
        self.func = func
        self.values = values
        self._texts: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        text = self._texts.get(at)
        if text is None:
            text = self._texts[at] = why_not(self.entries[at], self.func, self.values)
        return text

    def listed(self) -> str:
        """All of them, a line each."""
        return "\n".join(f"    - {reason}" for reason in self)


def is_rare_size(state: dict[Any, Any], reasons: Sequence[str]) -> bool:
    """Whether this is the first call of a continuation in which a size that data decides is 0 or 1, which its versions exclude.

    A version is compiled when it comes again; ``state`` is what captures of the code learned.
    """
    if "sizes from data" not in state or not reasons or not _IS_SMALL.match(reasons[0]):
        return False
    seen = state.setdefault("rare sizes", set())
    if reasons[0] in seen:
        return False
    seen.add(reasons[0])
    return True


_IS_SMALL = re.compile(r"no longer true: (?:Ne\(.*, [01]\)|.* (?:>= 2|> 1))$")


def cure_for(reason: str) -> str:
    """What can be done about a guard that keeps failing."""
    text = reason.lower()
    for words, cure in _CURES:
        if any(word in text for word in words):
            return cure
    return "make the value that varies a tensor, or an argument that may be symbolic; or raise the limit"


_CURES = (
    (("newly marked",), "mark tensors before the first call"),
    (("size", "stride", "dimension", "shape"), "mark what varies with alternator.mark_dynamic, or compile with dynamic=True"),
    (("global state", "grad mode", "autocast"), "call it under the same grad mode, autocast and defaults each time"),
    (
        ("expected a tensor", "tensor dtype", "tensor device", "requires_grad"),
        "pass tensors of one kind, or compile a function for each",
    ),
    (
        ("expected the object", "same object", "different objects"),
        "pass the same object each time, or make what differs an argument",
    ),
    (("expected length", "expected the keys"), "keep length and keys the same, or take the container apart outside"),
    (("expected type",), "pass values of the same type each time"),
    (
        (".__dict__",),
        "keep what varies out of attributes, or make it a tensor (a buffer, in a module): what is read of them is a constant",
    ),
)
"""Words of a guard's text -> what to do."""


def what_keeps_changing(code: types.CodeType, reasons: Sequence[str]) -> Recompile:
    """The expression that most of the compiled versions fail on; of several, the one that the newest version fails on."""
    found = [of_reason(code, reason) for reason in reasons]
    counts = collections.Counter(item.expression for item in found)
    return max(found, key=lambda item: counts[item.expression])


# ---- at the limit


@dataclasses.dataclass
class Replacement:
    """Which compiled version goes at the limit, and whether a new one is worth it.

    The version goes that answered the fewest calls since the last time.  Where calls never come twice, compiling is of no
    use: after a version has gone that was never used, twice as many calls as before must have been answered, or 32 times as
    many have run plainly, before the next one is made.
    """

    needed: int = 1
    plain: int = 0
    seen: dict[int, int] = dataclasses.field(default_factory=dict)

    def victim(self, entries: Sequence[Any]) -> Any:
        """The entry that is to go, or None: run this call plainly."""
        used = [entry.hits - self.seen.get(id(entry), 0) for entry in entries]
        if sum(used) < self.needed and self.plain < _PATIENCE * self.needed:
            self.plain += 1
            return None
        least = min(used)
        at = len(used) - 1 - used[::-1].index(least)  # the older one of several
        self.needed = min(2 * self.needed, _MOST) if least == 0 else 1
        self.plain = 0
        self.seen = {id(entry): entry.hits for i, entry in enumerate(entries) if i != at}
        return entries[at]


_PATIENCE, _MOST = 32, 1024
