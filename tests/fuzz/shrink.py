"""Make a failing program small: delete and unwrap statements, replace expressions, as long as it fails in the same way."""

from __future__ import annotations

import ast
import re
import time
from typing import Any, Callable, Iterator

Check = Callable[[str], "str | None"]


def kind_of(found: str | None) -> str | None:
    """How a program fails, without the values that change when it shrinks."""
    if found is None:
        return None
    if found.startswith("call with"):
        return "a difference" if "UnboundLocalError" not in found and "NameError" not in found else "a name that is not bound"
    return re.sub(r"\d+", "N", found)[:60]


def shrink(source: str, check: Check, found: str, seconds: float = 60.0) -> str:
    """The smallest program that was found in the given time."""
    wanted, until = kind_of(found), time.time() + seconds
    best, changed = ast.unparse(ast.parse(source)), True
    if kind_of(check(best)) != wanted:
        return source
    while changed and time.time() < until:
        changed = False
        for text in candidates(best):
            if time.time() > until:
                break
            if len(text) < len(best) and kind_of(check(text)) == wanted:
                best, changed = text, True
                break
    return best


def candidates(source: str) -> Iterator[str]:
    """Smaller programs, the greatest steps first."""
    count = sum(1 for _ in _places(ast.parse(source)))
    for size in (4, 1):
        for at in range(count):
            tree = ast.parse(source)
            for i, (body, index) in enumerate(_places(tree)):
                if i == at:
                    yield from _edited(tree, body, index, size)
                    break
    for at in range(sum(1 for _ in _expressions(ast.parse(source)))):
        for new in ("1", "None"):
            tree = ast.parse(source)
            for i, (owner, field, index) in enumerate(_expressions(tree)):
                if i == at:
                    old = getattr(owner, field)
                    value: Any = ast.parse(new, mode="eval").body
                    if index is not None:
                        old[index] = value
                    else:
                        setattr(owner, field, value)
                    yield ast.unparse(tree)
                    break


def _places(tree: ast.AST) -> Iterator[tuple[list[Any], int]]:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody", "handlers"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                for index in range(len(body)):
                    yield body, index


def _edited(tree: ast.AST, body: list[Any], index: int, size: int) -> Iterator[str]:
    old = body[index]
    if size > 1 and len(body) < size:
        return
    kept = body[:]
    del body[index : index + size]
    if not body and not isinstance(old, ast.ExceptHandler):
        body.append(ast.Pass())
    if not isinstance(old, ast.ExceptHandler) or body:
        yield ast.unparse(tree)
    body[:] = kept
    for field in ("body", "orelse", "finalbody"):
        inner = getattr(old, field, None)
        if size == 1 and isinstance(inner, list) and inner and not isinstance(old, (ast.FunctionDef, ast.ClassDef)):
            body[index : index + 1] = inner
            yield ast.unparse(tree)
            body[:] = kept


def _expressions(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    for node in ast.walk(tree):
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr) and not isinstance(value, ast.Constant) and _loads(value):
                yield node, field, None
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, ast.expr) and not isinstance(item, ast.Constant) and _loads(item):
                        yield node, field, index


def _loads(node: ast.expr) -> bool:
    return not isinstance(getattr(node, "ctx", ast.Load()), (ast.Store, ast.Del))
