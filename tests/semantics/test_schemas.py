"""Operators as objects: their names, tags and schemas are constants."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import same

import alternator

X = torch.arange(4.0)


def test_names_and_schemas() -> None:
    def f(x):
        op = torch.ops.aten.add.Tensor
        schema = op._schema
        said = [schema.name, schema.overload_name, schema.is_mutable, str(schema), f"{op}", repr(op), op.name(), op.namespace]
        for one in (*schema.arguments, *schema.returns):
            said += [one.name, str(one.type), one.kwarg_only, one.has_default_value() if one.name == "" else None]
        packet = torch.ops.aten.add
        return op(x, 1), said, packet.overloads(), op.overloadpacket is packet, schema is op._schema, op._overloadname

    same(f, X)


def test_arguments() -> None:
    def f(x, op):
        names = [one.name for one in op._schema.arguments]
        defaults = {one.name: one.default_value for one in op._schema.arguments if one.kwarg_only}
        return op(x, 1) * len(names), names, defaults, len(op._schema.returns)

    add, sub = torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor
    same(f, X, add, then=[(X, sub), (X, add)], fullgraph=True, graphs=1, recompiles=1)


def test_a_method_of_an_operator() -> None:
    """It is made anew at each look."""

    def f(x):
        name = torch.ops.aten.sin.default.name
        return torch.ops.aten.sin.default(x), name(), torch.ops.aten.sin.default.name() == name()

    same(f, X, fullgraph=True, graphs=1)


def test_tags() -> None:
    def f(x):
        tags = torch.ops.aten.sin.default.tags
        return x + len(tags), torch.Tag.pointwise in tags, torch.Tag.inplace_view in tags, tags == [], torch.Tag.core == tags[0]

    same(f, X, fullgraph=True, graphs=1)


def test_a_schema_leaves() -> None:
    def f(x):
        op = torch.ops.aten.sin.default
        return x + 1, op._schema, op.tags, op

    assert same(f, X, fullgraph=True).outcomes[0].result[1] is torch.ops.aten.sin.default._schema


@pytest.mark.parametrize("values", [(None, 1, 2), (1, 2, None)])
def test_attributes_that_the_program_gives_to_operators(values: tuple[Any, ...]) -> None:
    op = torch.ops.aten.mm.default

    def fn(x: torch.Tensor) -> Any:
        return x * 2, getattr(op, "added_by_a_test", "nothing")

    compiled = alternator.compile(fn, backend="eager")
    try:
        for value in values:
            vars(op).pop("added_by_a_test", None)
            if value is not None:
                op.added_by_a_test = value
            for _ in range(2):
                assert compiled(torch.ones(2))[1] == fn(torch.ones(2))[1]
    finally:
        vars(op).pop("added_by_a_test", None)
