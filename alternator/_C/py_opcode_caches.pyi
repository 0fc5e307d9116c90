py_opcode_caches: list[int]
