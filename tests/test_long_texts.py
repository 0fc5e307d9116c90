"""What a capture and its guards cost does not grow with the texts and bytes that the program handles."""

import pytest
import torch
from helpers import same

import alternator
from alternator import utils


@pytest.mark.parametrize("long", ["x" * 10**6, b"x" * 10**6], ids=["str", "bytes"])
def test_long_texts_are_not_written_out(long):
    def fn(x, text):
        alternator.graph_break()
        return x + len(text), text, text[:-1] + text[-1:], [text]

    other = long[:-1] + long[:1] * 2
    entries = []
    with utils.listening_to_entries(entries.append):
        report = same(fn, torch.ones(2), long, then=[(torch.ones(2), other)])
    assert report.recompiles
    for entry in entries:
        assert len(entry.extra.text) < 10**4 and max(map(len, entry.extra.guards)) < 10**4
    assert all(len(why.reason) < 10**4 for why in alternator.why_recompiled())


def test_long_texts_that_are_made_keep_their_identity():
    def fn(x):
        text = "x" * 3000
        return x + 1, [text, text], text is text

    result = same(fn, torch.ones(2), fullgraph=True).outcomes[0].result
    assert result[1][0] is result[1][1]
