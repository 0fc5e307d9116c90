"""What a program does to objects from outside: in the right order, with the right values, by identity."""

from __future__ import annotations

import collections
import threading

import torch
from helpers import same

import alternator

X = torch.arange(4.0)
number = 1
table = {"a": 1}
items = [1]
maybe = None


class Box:
    shared = [0]
    count = 0

    def __init__(self, **kw):
        self.__dict__.update(kw)


def test_globals_of_every_kind() -> None:
    def f(x):
        global number, maybe
        number += 1
        table["b"] = x + 1
        table["a"] += number
        items.append(number)
        maybe = [x * 2, items]
        return x + number + table["a"]

    same(f, X, namespace=["number", "table", "items", "maybe"], breaks=0)


def test_global_deleted_and_made() -> None:
    def f(x):
        global maybe
        maybe = 5
        y = x + maybe
        del maybe
        try:
            maybe
        except NameError as e:
            text = str(e)
        maybe = 7
        return y, text

    same(f, X, namespace=["maybe"])


def test_order_of_new_attributes() -> None:
    def f(x, o):
        o.b = 1
        o.a = 2
        o.b = 3
        del o.old
        o.old = 9
        o.c = x + 1
        return x

    r = same(f, X, Box(old=1, z=2))
    assert list(r.outcomes[0].args[1].__dict__) == ["z", "b", "a", "old", "c"]


def test_deleted_twice() -> None:
    def f(x, o):
        del o.n
        o.n = 2
        del o.n
        try:
            del o.n
        except AttributeError as e:
            return x + 1, str(e)

    same(f, X, Box(n=1), graphs=1, breaks=0)


def test_dict_key_order_after_deletion() -> None:
    def f(x, d):
        v = d.pop("a")
        d["c"] = 3
        d["a"] = v
        d["b"] = x + 1
        return x + v

    same(f, X, {"a": 1, "b": 2}, graphs=1, breaks=0)


def test_effects_are_in_terms_of_final_values() -> None:
    def f(x, l, d):
        mine = [1]
        l.append(mine)
        d["mine"] = mine
        mine.append(x + 1)
        return mine

    r = same(f, X, [], {}, graphs=1, breaks=0)
    out = r.outcomes[0]
    assert out.args[1][0] is out.args[2]["mine"] is out.result


def test_swap_between_outside_objects() -> None:
    def f(x, a, b):
        a.v, b.v = b.v, a.v
        a.l, b.l = b.l, a.l
        a.l.append(x + 1)
        return x + a.v

    same(f, X, Box(v=1, l=[1]), Box(v=2, l=[2]), graphs=1, breaks=0)


def test_swap_of_lists_contents() -> None:
    def f(x, a, b):
        a[:], b[:] = list(b), list(a)
        a[0][0] = x + 1
        return len(a)

    same(f, X, [[1]], [[2], [3]], graphs=1, breaks=0)


def test_outside_objects_stored_in_outside_objects() -> None:
    def f(x, a, b, l):
        a.b = b
        b.a = a
        l.append(a)
        l.append(l)
        a.b.n = x + 1
        return a.b.a is a

    same(f, X, Box(), Box(), [], graphs=1, breaks=0)


def test_in_place_tensor_changes_are_seen() -> None:
    def f(x, o):
        o.t.add_(1)
        view = o.t[1:]
        view.mul_(2)
        x[0] = 5
        return o.t + x

    same(f, X, Box(t=X.clone()), graphs=1, breaks=0)


def test_class_state() -> None:
    def f(x):
        Box.count += 1
        Box.shared.append(Box.count)
        return x + Box.count

    compiled = alternator.compile(f, backend="eager")
    before, n = list(Box.shared), Box.count
    for i in (1, 2):
        assert torch.equal(compiled(X), X + n + i)
    assert Box.count == n + 2 and Box.shared == before + [n + 1, n + 2]
    Box.count, Box.shared = 0, [0]


def test_cells_shared_by_closures() -> None:
    def make():
        n, log = 0, []

        def bump():
            nonlocal n
            n += 1
            log.append(n)
            return n

        def f(x):
            return x + bump() + bump()

        return f, lambda: (n, list(log))

    f, state = make()
    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X), X + 3) and state() == (2, [1, 2])
    assert torch.equal(compiled(X), X + 7) and state() == (4, [1, 2, 3, 4])


def test_new_closures_over_outside_cells() -> None:
    def make():
        n = 1

        def f(x):
            nonlocal n
            n += 1

            def read():
                return n

            return x + n, read

        return f

    f = make()
    compiled = alternator.compile(f, backend="eager")
    y, read = compiled(X)
    assert torch.equal(y, X + 2) and read() == 2
    compiled(X)
    assert read() == 3


def test_function_attributes_and_defaults() -> None:
    def g(x, k=[]):
        g.calls = getattr(g, "calls", 0) + 1
        k.append(g.calls)
        return x + len(k)

    def f(x):
        return g(x) + g(x)

    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X), 2 * X + 3)
    assert torch.equal(compiled(X), 2 * X + 7)
    assert g.calls == 4 and g.__defaults__ == ([1, 2, 3, 4],)


def test_effects_before_a_break_and_after() -> None:
    def f(x, o, l):
        o.n = x + 1
        l.append(1)
        alternator.graph_break()
        o.n = o.n * 2
        l.append(2)
        return o.n + len(l)

    same(f, X, Box(), [], graphs=2, breaks=1)


def test_effects_in_a_callee_that_breaks() -> None:
    def g(x, l):
        l.append(x + 1)
        alternator.graph_break()
        l.append(2)
        return x * 2

    def f(x, l):
        l.append(0)
        y = g(x, l)
        l.append(3)
        return y + len(l)

    same(f, X, [])


def test_break_inside_try_with_and_loop() -> None:
    def f(x, l):
        for i in range(3):
            x = x + i
            if i == 1:
                alternator.graph_break()
        try:
            x = x * 2
            alternator.graph_break()
            raise ValueError("v")
        except ValueError as e:
            l.append(str(e))
        with torch.no_grad():
            x = x + 1
            alternator.graph_break()
            x = x * 3
        return x

    same(f, X, [])


def test_exception_after_effects() -> None:
    def f(x, l, o):
        l.append(x + 1)
        o.n = 1
        if len(l) > 0:
            raise ValueError("late")
        return x

    same(f, X, [], Box())


def test_container_subclass_state() -> None:
    class L(list):
        pass

    def f(x, l, d):
        l.append(x + 1)
        l.tag = 5
        d["k"] = l
        d.move_to_end("a")
        return x + l.tag

    same(f, X, L([1]), collections.OrderedDict(a=1, b=2), graphs=1, breaks=0)


def test_two_names_for_one_container() -> None:
    l = [1]

    def f(x, a, o):
        a.append(2)
        o.l.append(3)
        o.d["l"].append(4)
        return x + len(a), a is o.l

    same(f, X, l, Box(l=l, d={"l": l}), graphs=1, breaks=0)


def test_list_guard_follows_mutation() -> None:
    def f(x, l):
        return x + sum(l)

    compiled = alternator.compile(f, backend="eager")
    l = [1, 2]
    assert torch.equal(compiled(X, l), X + 3)
    l.append(3)
    assert torch.equal(compiled(X, l), X + 6)
    l[0] = 10
    assert torch.equal(compiled(X, l), X + 15)


def test_attribute_added_later_is_seen() -> None:
    def f(x, o):
        return x + getattr(o, "extra", 0)

    compiled = alternator.compile(f, backend="eager")
    o = Box()
    assert torch.equal(compiled(X, o), X)
    o.extra = 2
    assert torch.equal(compiled(X, o), X + 2)
    del o.extra
    Box.extra = 3
    try:
        assert torch.equal(compiled(X, o), X + 3)
    finally:
        del Box.extra
    assert torch.equal(compiled(X, o), X)


def test_set_and_frozenset_state() -> None:
    def f(x, s, o):
        s.add("b")
        s.remove("a")
        o.s = s
        o.f = frozenset(s)
        return x + len(s)

    same(f, X, {"a"}, Box(), graphs=1, breaks=0)


def test_reading_what_was_written_natively() -> None:
    def f(x, l, d):
        l.append(3)
        d["z"] = 1
        return (
            x + len(l),
            sorted(l),
            max(l),
            sum(l),
            list(d),
            "z" in d,
            str(l),
            l == [1, 3],
            dict(d),
            [*l],
            d.items() == {"a": 1, "z": 1}.items(),
        )

    same(f, X, [1], {"a": 1}, graphs=1, breaks=0)


def test_module_state() -> None:
    class M(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.flag = False
            self.last = None
            self.register_buffer("total", torch.zeros(4))

        def forward(self, x):
            self.flag = True
            self.total += x
            self.total = self.total * 2
            self.last = x + 1
            return x + self.total

    same(M(), X, breaks=0)


class PerThread(threading.local):
    """C code decides where its attributes are."""


def test_attributes_that_c_code_keeps_in_its_own_way() -> None:
    local = PerThread()
    local.value = 1

    def f(x):
        local.value = local.value + 1
        return x + local.value

    compiled = alternator.compile(f, backend="eager")
    assert torch.equal(compiled(X), X + 2) and local.value == 2
    assert torch.equal(compiled(X), X + 3) and local.value == 3

    def g(x, space):
        space.value = x
        return x + 1

    other = threading.local()
    alternator.compile(g, backend="eager", fullgraph=True)(X, other)
    assert other.value is X

    def in_thread():
        local.value = 10
        seen.append(compiled(X))
        seen.append(local.value)

    seen = []
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert torch.equal(seen[0], X + 11) and seen[1] == 11 and local.value == 3
