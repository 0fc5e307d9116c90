"""The interpreter: runs bytecode over real objects, records tensor work, guards what it reads."""
