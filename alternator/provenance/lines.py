"""Lines of the program's files."""

from __future__ import annotations

import functools
import linecache


def source_line(filename: str, line: int) -> str:
    """A line as tracebacks show it.  A capture shows few lines of many files, so ordinary ones are not decoded whole for that."""
    lines = _lines(filename) if filename not in linecache.cache else None
    if lines is None:
        return linecache.getline(filename, line).strip()
    return lines[line - 1].decode().strip() if 0 < line <= len(lines) else ""


@functools.lru_cache(maxsize=256)
def _lines(filename: str) -> list[bytes] | None:
    """None for what is not plainly a file in UTF-8."""
    try:
        with open(filename, "rb") as file:
            data = file.read()
    except (OSError, ValueError):
        return None
    start = data[:500]
    if b"\r" in data or b"\0" in data or b"coding" in start or start.startswith(b"\xef\xbb\xbf"):
        return None
    try:
        data.isascii() or data.decode()
    except UnicodeDecodeError:
        return None
    return data.split(b"\n")
