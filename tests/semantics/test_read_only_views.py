"""Mapping proxies that the program makes, itself or by ``inspect.signature``."""

import inspect
import types

import torch
from helpers import same

import alternator


def test_read_only_views_that_the_program_makes() -> None:
    def f(x, given):
        table = {"a": 1}
        view, outside = types.MappingProxyType(table), types.MappingProxyType(given)
        table["b"] = x + 1
        given["c"] = 3
        bound = inspect.signature(_signed).bind(1, 2, d=3)
        bound.apply_defaults()
        return view, table, outside, view["a"] + len(outside), bound.arguments, bound.signature.parameters, bound.args

    same(f, torch.ones(2), {"z": 1}, fullgraph=True)
    view, table, *_ = alternator.compile(f, backend="eager")(torch.ones(2), {})
    table["later"] = 1
    assert view["later"] == 1


def _signed(a, b, *rest, c=10, **more):
    pass
