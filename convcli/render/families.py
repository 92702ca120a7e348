"""Parameters of kernel families as a table for people."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from convcli.render.table import render_table

if TYPE_CHECKING:
    from convcli.banks.catalogue import Family


def parameter_table(family: Family, *, width: int = 110) -> str:
    """Return the parameters of a family as a table: default, unit, range and meaning, which is folded to ``width``."""
    heads = [(one.name, one.default_text, one.unit or "-", one.range_text or "any") for one in family.parameters]
    taken = sum(max(map(len, column)) + 2 for column in zip(*heads, strict=True))
    rows: list[tuple[str, ...]] = []
    for head, one in zip(heads, family.parameters, strict=True):
        first, *more = textwrap.wrap(one.about, max(width - taken, 24)) or [""]
        rows += [(*head, first), *(("", "", "", "", line) for line in more)]
    return "\n".join(
        [
            f"parameters of {family.name}, as in {family.name}:{family.parameters[0].name}=…",
            render_table(("name", "default", "unit", "range", "meaning"), rows, align="lr"),
        ]
    )
