"""Opcode handlers by family; importing this package registers them all."""

from alternator.interpreter.opcodes import arith, build, exceptions, flow, names, stack  # noqa: F401
from alternator.interpreter.opcodes import calls as _calls  # noqa: F401
