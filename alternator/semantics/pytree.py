"""torch.utils._pytree: trees are taken apart and put together here, node by node, instead of by interpreting its recursion.

The registry of node types is guarded per type that is met; flatten and unflatten functions that a library registered are
interpreted.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.utils._pytree as pytree

from alternator.interpreter import attributes, calls, operations
from alternator.interpreter.tables import PURE_TYPES, RULES, SHALLOW
from alternator.provenance.world import is_heap

TreeSpec, LEAF = pytree.TreeSpec, pytree._LEAF_SPEC
_ATOMS = (torch.Tensor, int, float, str, bool, type(None), torch.dtype, torch.device, torch.SymInt, torch.SymFloat, torch.SymBool)


def handler_of(vm: Any, kind: Any) -> Any:
    """How trees of a type are taken apart (None: they are leaves); guarded, since libraries register types late."""
    found = pytree.SUPPORTED_NODES.get(kind)
    if issubclass(type(kind), type) and is_heap(kind):
        source = vm.world.tree.object(pytree).child("dict").child("dictitem", "SUPPORTED_NODES").child("dictitem", kind)
        if found is None:
            source.guard("ABSENT")
        else:
            source.guard("IS", found)
    if found is not None:
        attributes.vm_trusted(vm, found.flatten_fn)
        attributes.vm_trusted(vm, found.unflatten_fn)
    return found


def children_of(vm: Any, node: Any) -> tuple[Any, Any, list[Any]] | None:
    """(node type, context, children) of an inner node; None for a leaf."""
    kind = type(node)
    if kind is list or kind is tuple:
        return kind, None, list(vm.close(node, SHALLOW))
    if kind is dict:
        vm.close(node, SHALLOW)
        return kind, list(dict.keys(node)), list(dict.values(node))
    if issubclass(kind, _ATOMS):
        return None
    kind = attributes.type_of(vm, node)
    if pytree.is_namedtuple_class(kind):
        return pytree.namedtuple, kind, list(node)
    handler = handler_of(vm, kind)
    if handler is None:
        return None
    children, context = vm.call(handler.flatten_fn, (node,))
    return kind, context, operations.unpack(vm, children)


def flatten(vm: Any, node: Any, leaves: list[Any], is_leaf: Any = None) -> Any:
    """Append the leaves of a tree to ``leaves``; its specification."""
    parts = None if is_leaf is not None and vm.truth(vm.call(is_leaf, (node,))) else children_of(vm, node)
    if parts is None:
        leaves.append(node)
        vm.world.trusted(LEAF)
        return LEAF
    kind, context, children = parts
    return TreeSpec(kind, context, [flatten(vm, child, leaves, is_leaf) for child in children])


def _parts(vm: Any, spec: Any) -> tuple[Any, Any, list[Any]]:
    """type, context and children of a specification, wherever it comes from."""
    if spec is LEAF or id(spec) not in vm.records:
        return spec.type, spec._context, spec._children
    return vm.getattr(spec, "type"), vm.getattr(spec, "_context"), vm.close(vm.getattr(spec, "_children"), SHALLOW)


def unflatten(vm: Any, spec: Any, leaves: Any) -> Any:
    """Put a tree together; ``leaves`` is an iterator."""
    kind, context, specs = _parts(vm, spec)
    if kind is None:
        return next(leaves)
    children = [unflatten(vm, child, leaves) for child in specs]
    if kind is list:
        return children
    if kind is tuple:
        return tuple(children)
    if kind is dict:
        return dict(zip(vm.close(context, SHALLOW), children))
    return vm.call(handler_of(vm, kind).unflatten_fn, (children, context))


def _count(vm: Any, spec: Any) -> int:
    kind, _, specs = _parts(vm, spec)
    return 1 if kind is None else sum(_count(vm, child) for child in specs)


# ---- rules


def _options(args: Any, kwargs: Any) -> tuple[Any, Any] | None:
    """(tree, is_leaf) of the functions that take these; None if the call is another one, or wrong."""
    rest = dict(kwargs)
    tree = args[0] if args else rest.pop("tree", None)
    is_leaf = args[1] if len(args) > 1 else rest.pop("is_leaf", None)
    return None if rest or len(args) > 2 or not args and "tree" not in kwargs else (tree, is_leaf)


def _flattening(fn: Any, answer: Any) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        given = _options(args, kwargs)
        if given is None:
            return calls.inline(vm, fn, args, kwargs)
        leaves: list[Any] = []
        return answer(leaves, flatten(vm, given[0], leaves, given[1]))

    RULES.put(fn, rule)


_flattening(pytree.tree_flatten, lambda leaves, spec: (leaves, spec))
_flattening(pytree.tree_leaves, lambda leaves, spec: leaves)
_flattening(pytree.tree_structure, lambda leaves, spec: spec)


@RULES.rule(TreeSpec.unflatten)
def rule_unflatten(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) != 2 or kwargs:
        return calls.inline(vm, TreeSpec.unflatten, args, kwargs)
    spec, leaves = args[0], operations.unpack(vm, args[1])
    if _count(vm, spec) != len(leaves):
        return calls.inline(vm, TreeSpec.unflatten, (spec, leaves), {})  # raises
    return unflatten(vm, spec, iter(leaves))


@RULES.rule(pytree.tree_unflatten)
def rule_tree_unflatten(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 2 and issubclass(type(args[1]), TreeSpec):
        return rule_unflatten(vm, (args[1], args[0]), kwargs)
    return calls.inline(vm, pytree.tree_unflatten, args, kwargs)


@RULES.rule(TreeSpec.flatten_up_to)
def rule_flatten_up_to(vm: Any, args: Any, kwargs: Any) -> Any:
    if len(args) == 2:
        subtrees: list[Any] = []
        if _flatten_up_to(vm, args[0], args[1], subtrees):
            return subtrees
    return calls.inline(vm, TreeSpec.flatten_up_to, args, kwargs)  # raises, or is more lenient


def _flatten_up_to(vm: Any, spec: Any, node: Any, subtrees: list[Any]) -> bool:
    """The subtrees of ``node`` at the leaves of ``spec``; False if they do not match exactly."""
    kind, context, specs = _parts(vm, spec)
    if kind is None:
        subtrees.append(node)
        return True
    if kind not in (list, tuple, dict) or type(node) is not kind:
        return False
    parts = children_of(vm, node)
    if parts is None or len(parts[2]) != len(specs) or kind is dict and parts[1] != context:
        return False
    return all(_flatten_up_to(vm, child, subtree, subtrees) for child, subtree in zip(specs, parts[2]))


def _mapping(fn: Any, keep: bool) -> None:
    def rule(vm: Any, args: Any, kwargs: Any) -> Any:
        if len(args) < 2 or set(kwargs) - {"is_leaf"}:
            return calls.inline(vm, fn, args, kwargs)
        func, tree, *rests = args
        leaves: list[Any] = []
        spec = flatten(vm, tree, leaves, kwargs.get("is_leaf"))
        columns = [leaves] + [rule_flatten_up_to(vm, (spec, rest), {}) for rest in rests]
        made = [vm.call(func, row) for row in zip(*columns)]
        return unflatten(vm, spec, iter(made)) if keep else tree

    RULES.put(fn, rule)


for _kind in torch.return_types.all_return_types:
    PURE_TYPES.put(_kind, SHALLOW)

_mapping(pytree.tree_map, True)
_mapping(pytree.tree_map_, False)

__all__ = ["flatten", "unflatten"]
