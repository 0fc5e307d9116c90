"""Memory that the program has given back is what it gets next, also with a capture in between."""

import alternator
from alternator import config
from alternator._C import eval_frame
from alternator._C.eval_frame import set_eval_frame


class Slotted:
    __slots__ = ("a", "b")


MADE = {
    "tuple": lambda i: (i, i),
    "list": lambda i: [i],
    "dict": lambda i: {i: i},
    "float": lambda i: i + 0.5,
    "object": lambda i: Slotted(),
    "text": lambda i: "a" * (i + 2),
}


def keep_some_of_all(kept, fn, i):
    """As a capture does: it makes much, gives most of it back in another order, and keeps the rest."""
    some = [make(n) for make in MADE.values() for n in range(i + 3)]
    kept += some[::2]
    del some[1::3], some[:]


def test_addresses_come_again_behind_a_callback():
    for kind, make in MADE.items():
        kept = []

        def callback(func, values, make=make, kept=kept):
            if func is make:
                keep_some_of_all(kept, make, values[0])
            return None

        plainly = len({id(make(i)) for i in range(3)})
        old = set_eval_frame(callback)
        try:
            seen = [id(make(i)) for i in range(3)]
        finally:
            set_eval_frame(old)
        assert kept and len(set(seen)) == plainly == 1, kind
    assert eval_frame.get_eval_frame() is None


def test_addresses_come_again_behind_captures_of_what_a_generator_does():
    space = {}
    runs = alternator.compile(lambda: exec("seen = set(map(id, ((i, i) for i in range(10))))", space), backend="eager")
    with config.patch(allow_empty_graphs=True):
        for _ in range(2):
            runs()
            assert len(space["seen"]) == 1
