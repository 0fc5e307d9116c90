"""Which frames are captured, and which are run plainly, by the file and the name of their code.

A frame that is run plainly may still call code that is captured, unless the verdict is recursive.  The rules speak about
*root* frames, those that CPython is about to run; what is inlined into them is the interpreter's affair.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import sys
import sysconfig
import types

import torch

from alternator import marks
from alternator.bytecode.assemble import origin_of
from alternator.provenance import storage
from alternator.provenance.ends import held
from alternator.provenance.keys import special
from alternator.provenance.world import MISSING, SCALARS, class_space, is_heap, module_of, mro_of
from alternator.registry import Table


class Verdict(enum.Enum):
    """What to do with a frame."""

    CAPTURE = "capture"
    PLAIN = "plain"
    PLAIN_RECURSIVE = "plain, and everything that it calls"


def _folder(path: str) -> str:
    return os.path.join(os.path.realpath(path), "")


TORCH = _folder(os.path.dirname(torch.__file__))
OURS = _folder(os.path.join(os.path.dirname(__file__), os.pardir))
STDLIB = _folder(sysconfig.get_paths()["stdlib"])

RULES: Table[str, Verdict] = Table("skip rules")
"""Path prefix -> verdict; the longest prefix that fits decides.  Files that no rule fits are the user's: captured."""

RULES.register(OURS, Verdict.PLAIN_RECURSIVE)
RULES.register(OURS + "runtime/trampoline.py", Verdict.CAPTURE)
RULES.register(OURS + "codegen/resume.py", Verdict.PLAIN)  # what it calls is the rest of the user's functions
RULES.register(OURS + "interpreter/rests.py", Verdict.PLAIN)
RULES.register(OURS + "runtime/contexts.py", Verdict.PLAIN)  # its frames switch the hook, for their callers
RULES.register(STDLIB, Verdict.PLAIN)
RULES.register(TORCH, Verdict.PLAIN)
for _part in (
    "ao/nn/",
    "ao/quantization/fake_quantize.py",
    "distributions/",
    "nn/attention/",
    "nn/functional.py",
    "nn/init.py",
    "nn/modules/",
    "nn/utils/",
    "optim/",
    "utils/checkpoint.py",
):
    RULES.register(TORCH + _part, Verdict.CAPTURE)
for _part in ("_dynamo/", "_functorch/", "_inductor/", "_subclasses/", "fx/", "jit/", "onnx/", "package/", "export/", "_export/"):
    RULES.register(TORCH + _part, Verdict.PLAIN_RECURSIVE)
RULES.register(TORCH + "optim/_adafactor.py", Verdict.PLAIN)  # it reads numbers of each parameter
RULES.register(TORCH + "nn/modules/lazy.py", Verdict.PLAIN_RECURSIVE)
RULES.register(TORCH + "fx/graph_module.py", Verdict.PLAIN)
RULES.register(TORCH + "_dynamo/testing.py", Verdict.PLAIN)
RULES.register(TORCH + "_dynamo/polyfills/", Verdict.PLAIN)
RULES.register(TORCH + "_functorch/apis.py", Verdict.PLAIN)
RULES.register(TORCH + "_functorch/functional_call.py", Verdict.PLAIN)
RULES.register(TORCH + "_functorch/eager_transforms.py", Verdict.PLAIN)
RULES.register(TORCH + "_functorch/vmap.py", Verdict.PLAIN)

_LIBRARIES = """
_pytest hypothesis jax jaxlib matplotlib networkx numba numpy onnx onnxruntime pandas pluggy polars pytest scipy setuptools
sklearn sympy tabulate tensorboard tensorflow tensorrt tqdm tree triton tvm unittest2 wandb xarray pip pkg_resources IPython
ipykernel
""".split()
"""Installed packages whose own frames are never worth capturing."""


def _package_folder(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return _folder(next(iter(spec.submodule_search_locations)))
    return os.path.realpath(spec.origin) if spec.origin else None


NAMES: Table[tuple[str, str], Verdict] = Table("skip rules for single functions")
"""(file below torch, name of the code) -> verdict; stronger than the rule of the file."""
for _name in (
    "_wrapped_call_impl",
    "_call_impl",
    "inner",
    "__getattr__",
    "__setattr__",
    "__init__",
    "_slow_forward",
    "_apply",
    "state_dict",
):
    # Run plainly, so that hooks run as the program sees them and ``forward`` is what is captured.
    NAMES.register(("nn/modules/module.py", _name), Verdict.PLAIN)

_by_file: dict[str, Verdict] = {}
_library_rules_are_in = False


def _add_library_rules() -> None:
    global _library_rules_are_in
    _library_rules_are_in = True
    site = [_folder(path) for path in {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}]
    for folder in site:
        for name in _LIBRARIES:
            if folder + name + os.sep not in RULES:
                RULES.register(folder + name + os.sep, Verdict.PLAIN)
    for name in ("numpy", "pytest", "_pytest", "tqdm"):
        path = _package_folder(name)
        if path is not None and path not in RULES:
            RULES.register(path, Verdict.PLAIN)


def of_file(filename: str) -> Verdict:
    """The verdict on the code of one file."""
    verdict = _by_file.get(filename)
    if verdict is None:
        verdict = _by_file[filename] = _decide(filename)
    return verdict


def _decide(filename: str) -> Verdict:
    if not _library_rules_are_in:
        _add_library_rules()
    if filename.startswith("<"):
        frozen = filename.startswith(("<frozen ", "<__array_function__", "<attrs generated", "<string>-skip"))
        return Verdict.PLAIN if frozen else Verdict.CAPTURE
    path = os.path.realpath(filename)
    best, verdict = -1, Verdict.CAPTURE
    for prefix, rule in RULES.items():
        if len(prefix) > best and path.startswith(prefix):
            best, verdict = len(prefix), rule
    if verdict is Verdict.PLAIN and RULES.get(STDLIB) is verdict and best == len(STDLIB) and "site-packages" in path[best:]:
        return Verdict.CAPTURE
    return verdict


def of_code(code: types.CodeType) -> Verdict:
    """The verdict on a code object."""
    filename = code.co_filename
    if filename.startswith(TORCH) and origin_of(code) is None:  # the rest of one is what was inlined
        verdict = NAMES.get((filename[len(TORCH) :], code.co_name))
        if verdict is not None:
            return verdict
    return of_file(filename)


def of_function(func: types.FunctionType) -> Verdict:
    """The verdict on a frame of this function."""
    if func.__dict__:
        if marks.is_disabled(func):
            return Verdict.PLAIN_RECURSIVE if marks.is_disabled_recursively(func) else Verdict.PLAIN
        if func in marks.TRACED:
            return Verdict.CAPTURE
    return of_code(func.__code__)


def add_rule(prefix: str, verdict: Verdict) -> None:
    """Say what is to be done with the files below a folder, or with one file."""
    RULES.replace(os.path.realpath(prefix) + (os.sep if os.path.isdir(prefix) else ""), verdict)
    _by_file.clear()


_SCALARS = SCALARS | {type(Ellipsis), type(NotImplemented), type, types.CodeType}


def may_hold_tensors(func: types.FunctionType, values: list[object]) -> bool:
    """A quick look at a frame: can there be tensor work in it at all?

    False only where neither the arguments nor the globals that the code names, nor its closure, lead to torch or to
    user-defined objects; a wrong True costs a useless capture, a wrong False one that is missed.  What was given to
    ``compile`` may get its tensors from anywhere, and so may the rest of a function that was captured up to a break.
    """
    if func.__code__ in marks.COMPILED or origin_of(func.__code__) is not None:
        return True
    seen: set[int] = set()
    if any(_leads_to_tensors(value, seen, 4) for value in values):
        return True
    namespace = func.__globals__
    for name in func.__code__.co_names:
        if name in namespace and (_is_of_torch(namespace[name]) or _global_leads_to_tensors(namespace[name], seen)):
            return True
    for cell in func.__closure__ or ():
        try:
            if _leads_to_tensors(cell.cell_contents, seen, 4) or _is_of_torch(cell.cell_contents):
                return True
        except ValueError:  # an empty cell
            continue
    return False


def _is_of_torch(obj: object) -> bool:
    kind = type(obj)
    if kind is types.ModuleType:
        name = obj.__name__  # type: ignore[attr-defined]
        return name in ("torch", "numpy") or name.startswith(("torch.", "alternator"))
    if kind in (types.FunctionType, types.BuiltinFunctionType) or issubclass(kind, type):
        module = module_of(obj) if issubclass(kind, type) else obj.__module__  # type: ignore[arg-type, union-attr]
        # A function of the user's may do tensor work: its own frame is asked about when it is called.
        return isinstance(module, str) and (module == "torch" or module.startswith("torch."))
    return kind not in _SCALARS and issubclass(kind, (torch.Tensor, torch.nn.Module))


def _global_leads_to_tensors(obj: object, seen: set[int]) -> bool:
    """As an argument does; what a function or a class comes to is asked about when its own frames run."""
    kind = type(obj)
    if kind in (types.FunctionType, types.BuiltinFunctionType, types.ModuleType) or issubclass(kind, type):
        return False
    home = module_of(kind).partition(".")[0]
    return (home in _OF_CONTAINERS or home not in sys.stdlib_module_names) and _leads_to_tensors(obj, seen, 4)


_OF_CONTAINERS = frozenset({"builtins", "collections", "functools", "itertools", "queue", "types", "weakref"})
"""Modules of Python's own whose objects hold what a program puts there."""


def _leads_to_tensors(obj: object, seen: set[int], depth: int) -> bool:
    kind = type(obj)
    if kind in _SCALARS:
        return False
    if issubclass(kind, (torch.Tensor, torch.nn.Module, torch.Generator, torch.SymInt, torch.SymFloat, torch.SymBool)):
        return True
    if id(obj) in seen or depth == 0:
        return False
    seen.add(id(obj))
    if len(seen) > _LOOKED_AT:  # capturing costs no more than looking on
        return True
    base = storage.container_base(kind)
    if base is not None:
        items = dict.values(obj) if base is dict else storage.items(obj)  # type: ignore[arg-type]
        return any(_leads_to_tensors(item, seen, depth - 1) for item in list(items)[:64])
    if module_of(kind) == "numpy" or module_of(kind).startswith("torch"):
        return True
    if kind is types.MethodType:
        return _leads_to_tensors(obj.__self__, seen, depth)  # type: ignore[attr-defined]
    if kind is types.FunctionType or special(kind, "__next__") is not MISSING:
        return True
    if any(_leads_to_tensors(raw.__get__(obj), seen, depth - 1) for raw in _slots(kind) if _is_set(raw, obj)):
        return True
    inner = held("attribute", obj, "__dict__") if not issubclass(kind, type) else None  # it is not made for this look
    return issubclass(type(inner), dict) and any(_leads_to_tensors(item, seen, depth - 1) for item in [*dict.values(inner)][:64])  # type: ignore[arg-type]


_LOOKED_AT = 2_000


def _slots(kind: type) -> list[types.MemberDescriptorType]:
    if not is_heap(kind):
        return []
    spaces = [class_space(base) for base in mro_of(kind) if "__slots__" in class_space(base)]
    return [raw for space in spaces for raw in space.values() if type(raw) is types.MemberDescriptorType]


def _is_set(slot: types.MemberDescriptorType, obj: object) -> bool:
    try:
        slot.__get__(obj)
    except AttributeError:
        return False
    return True


def forget() -> None:
    """Decide anew."""
    _by_file.clear()
