"""``hash`` of objects that have none of their own."""

import weakref

import torch
from helpers import same


class Plain:
    pass


THING = Plain()


def test_the_hash_of_an_object_from_outside_is_its_own():
    def fn(x):
        return x + 1, hash(THING), hash(Plain), hash(len), hash(None), hash(THING) == THING.__hash__()

    report = same(fn, torch.ones(2), fullgraph=True)
    assert report.outcomes[0].result[1] == hash(THING)


def test_a_weak_reference_hashes_as_what_it_refers_to():
    def fn(x):
        made = Plain()
        return x + 1, hash(weakref.ref(made)) == hash(made), hash(weakref.ref(THING))

    same(fn, torch.ones(2), fullgraph=True)
