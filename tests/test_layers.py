"""The layers of docs/design.md: a file imports only from lines above its own."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator

import pytest

pytestmark = pytest.mark.no_torch

PACKAGE = Path(__file__).parent.parent / "alternator"

LAYERS = """
config exc interrupts registry
breaks marks callback
utils
request
_C
bytecode
provenance
tensors
interpreter
codegen
semantics
graph_calls
capture
runtime
backends
exporting tools
decorators api
compiler
__init__ __main__
""".strip().splitlines()
"""From the bottom to the top.  Names on one line don't import each other."""

LEVEL = {name: level for level, line in enumerate(LAYERS) for name in line.split()}
MUTUALLY_RECURSIVE = {"interpreter"}
"""Operations of a language are defined by each other: an attribute read may be a call, a call reads attributes."""

MAY_KNOW_THE_IN_TREE_FRONT_END = "backends/interop.py"

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def layer_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def imports(file: str, for_types: bool = True) -> Iterator[tuple[int, str]]:
    """(line, full module name) of everything that a file imports: lazily and under TYPE_CHECKING too."""
    tree = ast.parse((PACKAGE / file).read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded and not for_types:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            package = ["alternator", *file.split("/")[:-1]]
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            if isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


def test_every_file_has_a_layer() -> None:
    assert [file for file in FILES if layer_of(file) not in LEVEL] == []


@pytest.mark.parametrize("file", FILES)
def test_imports_only_from_above(file: str) -> None:
    own = layer_of(file)
    wrong = []
    for line, name in imports(file):
        parts = name.split(".")
        if parts[0] != "alternator" or len(parts) == 1:
            continue
        other = parts[1] if parts[1] in LEVEL else "__init__"
        if other != own and LEVEL[other] >= LEVEL[own]:
            wrong.append(f"{file}:{line} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("file", FILES)
def test_only_interop_knows_the_in_tree_front_end(file: str) -> None:
    forbidden = ("torch._dynamo", "torch._C._dynamo")
    wrong = [
        f"{file}:{line} imports {name}"
        for line, name in imports(file)
        if name.startswith(forbidden) and file != MAY_KNOW_THE_IN_TREE_FRONT_END
    ]
    text = (PACKAGE / file).read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(forbidden) and file != MAY_KNOW_THE_IN_TREE_FRONT_END:
            wrong.append(f"{file}:{node.lineno} uses {ast.unparse(node)}")
    assert wrong == []


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("bytecode/")])
def test_bytecode_does_without_torch(file: str) -> None:
    assert [name for _, name in imports(file) if name.split(".")[0] in ("torch", "numpy")] == []


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("interpreter/")])
def test_interpreter_looks_rules_up(file: str) -> None:
    assert [name for _, name in imports(file) if name.startswith("alternator.semantics")] == []


def test_no_cycles_between_files() -> None:
    """Inside of a layer, too, files import each other in one direction (names for annotations aside)."""
    modules = {"alternator." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): file for file in FILES}
    graph: dict[str, set[str]] = {}
    for module, file in modules.items():
        targets = set()
        for _, name in imports(file, for_types=False):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            within = layer_of(file) in MUTUALLY_RECURSIVE and name.split(".")[1:2] == [layer_of(file)]
            if name and name != module and name != "alternator" and not within:
                targets.add(name)
        graph[module] = targets
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            raise AssertionError("import cycle: " + " -> ".join((*path[path.index(module) :], module)))
        if module in done:
            return
        for target in sorted(graph[module]):
            visit(target, (*path, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())
