"""Builds the native module alternator._C."""

import os
import shutil
import sys
from pathlib import Path


def fail(reason):
    sys.exit(f"alternator cannot be built: {reason}")


if sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11):
    fail(f"it needs CPython 3.11, and this is {sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}.")
try:
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension, library_paths
except ImportError:
    fail("PyTorch 2.13 must be installed first; install with --no-build-isolation.")
if torch.__version__.split(".")[:2] != ["2", "13"]:
    fail(f"it needs PyTorch 2.13, and this is {torch.__version__}.")
if shutil.which((os.environ.get("CXX") or "c++").split()[0]) is None:
    fail("there is no C++ compiler; install one (Debian: apt-get install g++) or set CXX.")

from setuptools import setup  # noqa: E402

os.environ.setdefault("MAX_JOBS", str(min(4, os.cpu_count() or 1)))
here = Path(__file__).parent.resolve()
sources = sorted(str(path.relative_to(here)) for path in (here / "csrc").glob("*.cpp"))

setup(
    ext_modules=[
        CppExtension(
            "alternator._C",
            sources,
            # So that the module can be loaded before torch is imported.
            extra_link_args=["-Wl,-rpath,$ORIGIN/../torch/lib", *(f"-Wl,-rpath,{path}" for path in library_paths())],
            extra_compile_args=["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-g1"],
        )
    ],
    cmdclass={"build_ext": BuildExtension.with_options(use_ninja=shutil.which("ninja") is not None)},
)
