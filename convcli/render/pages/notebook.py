"""Banks, stacks, shapes and results as a notebook shows them: fragments of the report page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convcli.layers.walk import row_as_dict
from convcli.render.pages import markup
from convcli.render.pages.markup import text
from convcli.render.pages.report_page import overview, sections, shape_card
from convcli.render.shape import notes
from convcli.render.text import by

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.layers.stack import Stack
    from convcli.layers.walk import Walk
    from convcli.pipeline.api import Report

#: Reports of several inputs that a notebook shows in full.
_MOST_IN_FULL = 3


def draw_bank(bank: KernelBank) -> str:
    """Return a bank: its name, and every kernel as a swatch.

    Examples
    --------
    >>> from convcli.banks.load import load_bank
    >>> page = draw_bank(load_bank("sobel"))
    >>> page.count("<svg"), "2x1x3x3" in page
    (2, True)
    """
    facts = f"{by(bank.shape)} · {bank.summary}" if bank.summary else by(bank.shape)
    drawn = markup.kernels(bank.weight, bank.kernel_names)
    said = "".join(f'<p class="soft">{text(note)}</p>' for note in bank.notes)
    return markup.fragment(f'<h3>{text(bank.name)}</h3><p class="soft">{text(facts)}</p>{drawn}{said}')


def draw_walk(walk: Walk, *, title: str = "") -> str:
    """Return the shapes of layers, with totals, notes and sums."""
    rows = [row_as_dict(row) for row in walk.rows]
    head = f"<h3>{text(title)}</h3>" if title else ""
    said = "".join(f'<p class="soft">{text(note)}</p>' for note in notes(walk))
    return markup.fragment(f"{head}{shape_card(rows, walk.parameters, walk.macs, walk)}{said}")


def draw_stack(stack: Stack) -> str:
    """Return a stack: its shapes where it has a usual input, else its layers."""
    if stack.input:
        return draw_walk(stack.shape(), title=stack.name)
    rows = [(number, layer.label or layer.kind, layer.name or "") for number, layer in enumerate(stack.layers, 1)]
    table = markup.table(("#", "layer", "name"), rows, "rll")
    return markup.fragment(f'<h3>{text(stack.name)}</h3><p class="soft">{text(stack.summary)}</p>{table}')


def draw_reports(reports: Sequence[Report]) -> str:
    """Return reports with their pictures: one or a few in full, more as a table."""
    if len(reports) > _MOST_IN_FULL:
        return markup.fragment(overview(reports))
    if len(reports) == 1:
        (report,) = reports
        return markup.fragment(f"<h3>{text(report.input)}</h3>{sections(report, report.plan, is_one=True)}")
    return markup.fragment("".join(sections(report, report.plan) for report in reports))
