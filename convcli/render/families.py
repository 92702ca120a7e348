"""Parameters of kernel families as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.process.system import columns
from convcli.render.table import render_table

if TYPE_CHECKING:
    from convcli.banks.catalogue import Family

#: Letters a line may have where nobody knows the width.
_WIDTH = 110


def parameter_table(family: Family) -> str:
    """Return the parameters of a family as a table: default, unit, range and meaning."""
    rows = [
        (one.name, one.default_text, one.unit or "-", one.range_text or "any", one.about) for one in family.parameters
    ]
    headings = ("name", "default", "unit", "range", "meaning")
    return "\n".join(
        [
            f"parameters of {family.name}, as in {family.name}:{family.parameters[0].name}=…",
            render_table(headings, rows, align="lr", width=columns() or _WIDTH),
        ]
    )
