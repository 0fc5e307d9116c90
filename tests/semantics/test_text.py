"""Text that shows tensors: it is made after the graph, and whatever looks into it is as in plain Python."""

import collections
import itertools
import logging

import pytest
import torch
from helpers import same

import alternator

LOG = logging.getLogger("alternator.tests.text")


def test_text_of_a_tensor_does_not_break() -> None:
    def f(x):
        y = x.sum()
        print(f"loss {y:.3f} of {x.shape}", str(x), [y, 1], {"y": y})
        print("%s and %r" % (x, y), "{:>8.2f}|{}".format(y, x))
        return x * 2, f"{y}", repr(x)

    same(f, torch.arange(3.0), fullgraph=True, graphs=1)


def test_text_shows_the_tensor_as_it_was() -> None:
    def f(x):
        y = x + 1
        print("before", y, [y])
        before = f"{y}"
        y.add_(1)
        print("between", y, x)
        x.mul_(3)
        view = y[0]
        view.fill_(7)
        print("after", y, view, x)
        return before, y

    same(f, torch.arange(3.0), fullgraph=True, graphs=1)


def test_text_of_an_alias_that_is_written_to_without_its_knowledge() -> None:
    def f(x):
        y = x * 2
        print(y)
        y.data.add_(5)
        return y

    same(f, torch.arange(3.0))


def test_text_of_a_tensor_with_gradient_that_is_written_to() -> None:
    def f(x):
        y = x * 2
        print(y)
        y.add_(5)
        return y

    same(f, torch.arange(3.0, requires_grad=True))


def test_texts_are_kept_and_passed_around() -> None:
    def f(x, log):
        lines = []
        for i in range(3):
            x = x + i
            lines.append(f"step {i}: {x.sum()}")
        log.append(lines[-1])
        return x, lines, {"text": lines[0]}

    same(f, torch.ones(2), [], fullgraph=True, graphs=1)


def test_unknown_numbers_are_shown_when_they_are_known() -> None:
    def f(x):
        n = x.sum().item()
        print(f"{n:.2f}", n)
        return x + 1

    with alternator.config.patch(capture_scalar_outputs=True):
        same(f, torch.ones(2), fullgraph=True, graphs=1)


def test_logging_keeps_what_it_was_given(caplog) -> None:
    def f(x):
        y = x + 1
        LOG.warning("value %s", y)
        y.zero_()
        return y

    with caplog.at_level(logging.WARNING):
        assert alternator.compile(f, backend="eager", fullgraph=True)(torch.ones(2)).tolist() == [0, 0]
    assert [record.getMessage() for record in caplog.records] == ["value tensor([2., 2.])"]


def _raises(t):
    raise ValueError(t)


def _caught(t):
    try:
        raise KeyError(t)
    except KeyError as error:
        return str(error), error.args


LOOKS = {
    "length": lambda t: len(t),
    "truth": lambda t: 1 if t else 2,
    "equal": lambda t: t == "tensor(3.)",
    "order": lambda t: t < "zzz",
    "in": lambda t: "tensor" in t,
    "contains": lambda t: t in ["tensor(3.)", "x"],
    "contains in a dict": lambda t: t in {"tensor(3.)": 1},
    "add": lambda t: t + "!",
    "added to": lambda t: "!" + t,
    "times": lambda t: t * 2,
    "index": lambda t: t[0],
    "slice": lambda t: t[1:3],
    "iterate": lambda t: [c for c in t],
    "list": lambda t: list(t),
    "tuple": lambda t: tuple(t),
    "set": lambda t: sorted(set(t)),
    "unpack": lambda t: (lambda *a: len(a))(*t),
    "key": lambda t: {t: 1},
    "set item": lambda t: {t, "x"} == {"x", t},
    "dict read": lambda t: {"tensor(3.)": 5}[t],
    "dict get": lambda t: {"tensor(3.)": 5}.get(t),
    "dict keyword": lambda t: dict(**{t: 1}),
    "method": lambda t: t.upper(),
    "join": lambda t: "-".join([t, "x"]),
    "joined with": lambda t: t.join(["a", "b"]),
    "replace": lambda t: "a-b".replace("-", t),
    "startswith": lambda t: "tensor(3.)".startswith(t),
    "format": lambda t: "{} {}".format(t, 1),
    "percent": lambda t: "%s" % t,
    "percent of it": lambda t: t % (),
    "nested f-string": lambda t: f"<{t}> {t!r} {t:>20}",
    "str": lambda t: str(t),
    "repr": lambda t: repr(t),
    "hash": lambda t: hash(t) == hash("tensor(3.)"),
    "type": lambda t: (type(t).__name__, type(t) is str, t.__class__),
    "isinstance": lambda t: (isinstance(t, str), isinstance(t, int), callable(t)),
    "identity": lambda t: t is None,
    "int": lambda t: int(t[7:8]),
    "float": lambda t: float(t),
    "bytes": lambda t: t.encode(),
    "ord": lambda t: ord(t),
    "max": lambda t: max(t, "a"),
    "sorted": lambda t: sorted([t, "a"]),
    "getattr": lambda t: getattr(t, "strip")(),
    "getattr by it": lambda t: getattr(torch, t, "none"),
    "hasattr by it": lambda t: hasattr(torch, t),
    "match": lambda t: "yes" if [t] == ["tensor(3.)"] else "no",
    "raise": _raises,
    "caught": _caught,
    "count": lambda t: [t, t].count("tensor(3.)"),
    "list equality": lambda t: [t] == ["tensor(3.)"],
    "enumerate": lambda t: list(enumerate(t)),
    "zip": lambda t: list(zip(t, "ab")),
    "einsum": lambda t: torch.einsum(t, torch.ones(2)),
    "dtype": lambda t: torch.zeros(2, device=t),
    "partition": lambda t: str.partition(t, "("),
    "lower by class": lambda t: str.lower(t),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=list(LOOKS))
def test_what_looks_into_a_text_sees_what_plain_python_sees(look) -> None:
    def f(x):
        y = x * 3
        text = f"{y}"
        return y + 1, look(text)

    same(f, torch.tensor(1.0))


@pytest.mark.parametrize("spec", ["d", ".3f", "x", "zz", ""])
def test_wrong_formats_raise_where_they_stand(spec) -> None:
    def f(x, y):
        out = []
        for value in (x, y):
            try:
                out.append(format(value, spec))
            except (TypeError, ValueError) as error:
                out.append(str(error))
        return x + 1, out

    same(f, torch.tensor(2), torch.ones(2))


def test_what_is_printed_is_what_it_was():
    def f(x, l, d):
        print(l, d)
        l.append(1)
        d["z"] = l
        print([l, (d, 1)])
        return x + len(l)

    same(f, torch.ones(2), [3], {"a": 1}, breaks=0)


def module_function(x):
    return x


def test_an_address_in_a_text_is_that_of_the_object() -> None:
    def fresh(x):
        def inner():
            return x

        class Holder:
            method = staticmethod(inner)

        table = collections.defaultdict(inner, {1: 2})
        texts = [repr(table), f"{Holder.__dict__['method']}", "%s" % (inner,), "{}".format([inner]), str({"a": inner})]
        return x + 1, [hex(id(inner))[2:] in text for text in texts]

    def outside(x):
        return x + 1, repr(module_function), f"{len!r} {module_function}", f"{[module_function]}"

    compiled = alternator.compile(fresh, backend="eager")
    for _ in range(3):
        assert compiled(torch.ones(2))[1] == [True] * 5
    same(outside, torch.ones(2), graphs=1, breaks=0)


@pytest.mark.parametrize(
    "look",
    [
        lambda text: [text, "2"].index("2"),
        lambda text: (text, "2").count("2"),
        lambda text: collections.deque([text, "3"]).remove("2"),
        lambda text: sorted([text, "3", "1"]),
        lambda text: max("1", text),
        lambda text: [text] == ["2"],
        lambda text: {text, "2"},
    ],
)
def test_texts_in_containers_are_compared(look) -> None:
    same(lambda x: (x * 2, look(f"{x.sum():.0f}")), torch.ones(2), then=[(torch.ones(3),)])


def test_special_methods_show_numbers_that_vary_as_numbers():
    def fn(x, n):
        return (
            x + 1,
            "%s".__mod__(n),
            str.__mod__("a%r", ([n],)),
            b"%a" % n,
            object.__str__(n),
            list.__repr__([n]),
            "%d".__mod__(n),
        )

    for numbers in ((3, 5, 7, 3), (2.5, 0.5, 3.0)):
        same(fn, torch.ones(2), numbers[0], then=[(torch.ones(2), n) for n in numbers[1:]])


class Shown:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"<{self.value:.2f}>"


def test_native_code_shows_texts_that_were_still_to_be_made():
    def fn(x, n):
        return x * n, repr([Shown(n)]), f"{(Shown(n),)}", str({1: Shown(n)}), ", ".join(map(repr, [Shown(n)]))

    same(fn, torch.ones(2), 0.5, then=[(torch.ones(2), n) for n in (1.5, 2.25, 3.0)])


@pytest.mark.parametrize(
    "look",
    [
        lambda texts: "".join(texts),
        lambda texts: sorted(texts),
        lambda texts: dict.fromkeys(texts),
        lambda texts: set(texts),
        lambda texts: max(texts),
        lambda texts: dict((text, 1) for text in texts),
        lambda texts: sorted((text, 1) for text in texts),
        lambda texts: collections.Counter(texts),
        lambda texts: list(itertools.groupby(texts))[0][0],
        lambda texts: "<3>" in texts,
        lambda texts: list(map(len, texts)),
        lambda texts: list(texts),
        lambda texts: collections.deque(texts),
        lambda texts: [*texts],
    ],
)
@pytest.mark.parametrize("numbers", [(3, 5, 7), (0.5, 1.5, 2.0)])
def test_native_code_reads_texts_that_generators_yield(look, numbers) -> None:
    def fn(x, n):
        return x + 1, look(f"<{n + i}>" for i in range(3))

    same(fn, torch.ones(2), numbers[0], then=[(torch.ones(2), n) for n in numbers[1:]])


def test_what_the_methods_of_object_say() -> None:
    class Named:
        def __repr__(self):
            return "named"

        def __str__(self):
            return "<" + object.__str__(self) + ">"

    class Counted(int):
        def __str__(self):
            return super().__str__() + "!"

    def f(x):
        size = x.shape[0]
        texts = [
            size.__str__(),
            (size / 2).__str__(),
            (size > 4).__str__(),
            int.__repr__(size),
            int.__str__(size),
            object.__str__(size),
        ]
        return (
            x + 1,
            texts,
            (5).__str__(),
            object.__str__([size]),
            type(size).__str__(size),
            str(Named()),
            str(Counted(3)),
            size.__format__("03d"),
        )

    same(f, torch.ones(4), then=[(torch.ones(5),), (torch.ones(6),)], graphs=1, fullgraph=True)


class Placed:
    def __repr__(self):
        return "placed " + object.__repr__(self)


PLACED = Placed()


def test_the_text_that_object_gives_is_not_the_class_s() -> None:
    same(lambda x: (x + 1, repr(PLACED)), torch.ones(2))
