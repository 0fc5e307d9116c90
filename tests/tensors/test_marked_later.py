"""Marks that appear on a tensor after its function was compiled: what users ask for there holds from the next call on."""

import pytest
import torch
from helpers import Recorder

import alternator
from alternator import exc
from alternator.runtime.recompiles import cure_for

MARKS = {
    "dynamic": alternator.mark_dynamic,
    "weak": alternator.maybe_mark_dynamic,
    "unbacked": alternator.mark_unbacked,
    "strictly unbacked": lambda t, dim: alternator.mark_unbacked(t, dim, strict=True),
    "torch's own": torch._dynamo.mark_dynamic,
}


class Holder:
    pass


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4))
        self.register_buffer("table", torch.randn(4, 2))
        self.plain = [torch.randn(4, 2)]

    def forward(self, x):
        return self.table.sin().sum(0) + self.weight.sum() + self.plain[0].cos().sum(0) + x


def _compiled(fn):
    recorder = Recorder()
    return recorder, alternator.compile(fn, backend=recorder)


@pytest.mark.parametrize("calls", [1, 5])  # walked, and laid flat
@pytest.mark.parametrize("attribute", [False, True])
@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_a_new_mark_is_a_new_version(mark, attribute, calls):
    recorder, fn = _compiled(lambda x: x.sin() + 1)
    x = torch.randn(3, 4)
    if attribute:
        x.note = "something else"
    for _ in range(calls):
        fn(x)
    assert recorder.frame_count == 1
    mark(x, 1)
    for _ in range(calls):
        assert fn(x).equal(x.sin() + 1)
    assert recorder.frame_count == 2
    for other in (torch.randn(3, 4), torch.randn(3, 7)):  # unmarked: any version will do
        assert fn(other).equal(other.sin() + 1)
    assert recorder.frame_count == 2
    again = torch.randn(3, 9)
    mark(again, 1)
    fn(again)
    assert recorder.frame_count == 2
    mark(again, 0)  # also
    fn(again)
    assert recorder.frame_count == 3


def test_marks_that_are_honoured_already():
    recorder, fn = _compiled(lambda x: x.sin() + 1)
    for n in (2, 3, 4):
        fn(torch.randn(n, 4))
    assert recorder.frame_count == 2
    x = torch.randn(5, 4)
    alternator.maybe_mark_dynamic(x, 0)
    alternator.mark_static(x, 1)
    fn(x)
    assert recorder.frame_count == 2


def test_a_static_mark_makes_a_constant():
    recorder, fn = _compiled(lambda x: x.sin() + x.shape[0])
    for n in (2, 3, 4):
        fn(torch.randn(n))
    x = torch.randn(5)
    alternator.mark_static(x, 0)
    assert fn(x).equal(x.sin() + 5)
    assert recorder.frame_count == 3
    (example,) = [value for value in recorder.example_inputs[-1] if isinstance(value, torch.Tensor)]
    assert all(type(size) is int for size in example.shape)


@pytest.mark.parametrize("place", ["argument's attribute", "buffer", "item of a list"])
@pytest.mark.parametrize("attribute", [False, True])
def test_tensors_that_stay_may_be_marked_as_well(place, attribute):
    module, holder = Module(), Holder()
    holder.table = torch.randn(4, 2)
    fn, arg, tensor = {
        "argument's attribute": (lambda o: o.table.sin(), holder, holder.table),
        "buffer": (module, torch.randn(2), module.table),
        "item of a list": (module, torch.randn(2), module.plain[0]),
    }[place]
    if attribute:
        tensor.note = 1
    recorder, compiled = _compiled(fn)
    for _ in range(6):
        torch.testing.assert_close(compiled(arg), fn(arg))
    assert recorder.frame_count == 1
    tensor.other = "no mark"
    for _ in range(6):
        torch.testing.assert_close(compiled(arg), fn(arg))
    assert recorder.frame_count == 1
    for dim, count in ((0, 2), (1, 3)):
        alternator.maybe_mark_dynamic(tensor, dim)
        for _ in range(6):
            torch.testing.assert_close(compiled(arg), fn(arg))
        assert recorder.frame_count == count


def test_the_recompile_says_why():
    recorder, fn = _compiled(lambda x: x.sin() + 1)
    x = torch.randn(3, 4)
    fn(x)
    alternator.mark_dynamic(x, 1)
    with alternator.config.patch(error_on_recompile=True):
        with pytest.raises(exc.RecompileError, match="newly marked: dimension 1 as dynamic") as raised:
            fn(x)
    assert "before the first call" in cure_for(str(raised.value))
