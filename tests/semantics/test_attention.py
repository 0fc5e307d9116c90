"""The kernels of attention that a program chooses are state of the graph too."""

from __future__ import annotations

import pytest
import torch
from helpers import same
from torch.nn.attention import SDPBackend, sdpa_kernel

import alternator

X = torch.ones(2, 2, 4, 4)


def test_choosing_a_kernel_does_not_break() -> None:
    seen = []

    @alternator.allow_in_graph
    def look():
        seen.append(torch._C._get_flash_sdp_enabled())

    def f(x):
        look()
        with sdpa_kernel([SDPBackend.MATH]):
            y = torch.nn.functional.scaled_dot_product_attention(x, x, x)
            look()
        look()
        return y * 2

    report = same(f, X, fullgraph=True, graphs=1)
    assert len(report.graphs) == 1
    before = torch._C._get_flash_sdp_enabled()
    assert seen[-3:] == [before, False, before] and torch._C._get_flash_sdp_enabled() is before


def test_the_state_before_is_relied_on() -> None:
    def f(x):
        torch.backends.cuda.enable_flash_sdp(False)
        return x + 1, torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()

    compiled = alternator.compile(f, backend="eager")
    try:
        for flash, math in ((False, True), (True, True), (True, False), (False, False)):
            torch.backends.cuda.enable_flash_sdp(flash)
            torch.backends.cuda.enable_math_sdp(math)
            assert compiled(X)[1:] == (False, math)
            assert not torch.backends.cuda.flash_sdp_enabled()
    finally:
        torch.backends.cuda.enable_flash_sdp(True)
        torch.backends.cuda.enable_math_sdp(True)


def test_the_kernel_as_an_argument() -> None:
    def f(x, backend):
        if backend == SDPBackend.MATH:
            return x + 1
        return x - 1

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        assert torch.equal(compiled(X, backend), f(X, backend))


class Wrong:
    def __bool__(self):
        return 1.5


def test_the_truth_of_an_object_is_a_bool() -> None:
    def f(x, o):
        return x + 1 if o else x - 1

    same(f, X, Wrong())
    with pytest.raises(TypeError, match="__bool__ should return bool, returned float"):
        alternator.compile(f, backend="eager")(X, Wrong())
