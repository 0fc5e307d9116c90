"""The catalogue of breaks as a page: ``python -m alternator.tools.catalogue > docs/breaks.md``."""

from __future__ import annotations

from alternator.breaks import BREAKS, lookup

_HEAD = """# Why a graph breaks

Generated from the table in `alternator/breaks.py` by `python -m alternator.tools.catalogue`. `alternator.explain(fn)(*args)` says
which of these a function has, with your lines (`.as_dict()` as data); `fullgraph=True` makes the first one an error.
`ALTERNATOR_LOG_BREAKS=1` (or `config.log_breaks`) writes one line for each break as it happens, `ALTERNATOR_LOG_RECOMPILES=1`
(or `config.log_recompiles`) one for each time that a function is compiled again.
"""


def page() -> str:
    """The text of docs/breaks.md."""
    parts = [_HEAD]
    for code in sorted(BREAKS):
        kind = lookup(code)
        parts.append(f"## {kind.code}\n\n**{kind.title}.** {kind.reason}\n\n*Cure:* {kind.cure}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
