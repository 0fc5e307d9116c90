"""The native module (csrc/). The folder holds only stubs: the module is the shared library beside it."""

from . import eval_frame as eval_frame
from . import guards as guards
from . import py_opcode_caches as py_opcode_caches

def live_counts() -> dict[str, int]: ...
