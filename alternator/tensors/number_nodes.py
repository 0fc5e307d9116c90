"""What sympy's functions are in a graph: a node each."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
import torch.fx
from torch.utils._sympy.reference import PythonReferenceAnalysis


def _node(fn: Any) -> Any:
    """Handler of a sympy function: one node that calls ``fn``, which Python would not let a proxy answer."""

    def handler(x: Any, dtype: Any = None) -> Any:
        return _call_node(fn, x)

    return staticmethod(handler)


def _call_node(fn: Any, *args: Any) -> Any:
    proxy = next((arg for arg in args if isinstance(arg, torch.fx.Proxy)), None)
    return fn(*args) if proxy is None else proxy.tracer.create_proxy("call_function", fn, args, {})


class NodeAnalysis(PythonReferenceAnalysis):
    """The functions that ``sympy_interp`` calls for those of an expression."""

    trunc_to_int = _node(math.trunc)
    floor_to_int = _node(math.floor)
    ceil_to_int = _node(math.ceil)
    round_to_int = _node(round)
    abs = _node(operator.abs)

    @staticmethod
    def round_decimal(x: Any, digits: Any) -> Any:
        return _call_node(round, x, digits)

    @staticmethod
    def floor(x: Any) -> Any:
        return _call_node(torch.sym_float, _call_node(math.floor, x))

    @staticmethod
    def ceil(x: Any) -> Any:
        return _call_node(torch.sym_float, _call_node(math.ceil, x))

    @staticmethod
    def trunc(x: Any) -> Any:
        return _call_node(torch.sym_float, _call_node(math.trunc, x))

    @staticmethod
    def int_truediv(a: Any, b: Any) -> Any:
        return a / b

    @staticmethod
    def where(condition: Any, a: Any, b: Any) -> Any:
        return _call_node(torch.sym_ite, condition, a, b)


for _name in ("cos", "sin", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan"):
    setattr(NodeAnalysis, _name, _node(getattr(torch, f"_sym_{_name}")))
