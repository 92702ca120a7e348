"""Taps as a coloured grid on a terminal: red above zero, blue below, as strong as the tap is large (Rich)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convcli.render.kernels import Rows, fits, head_lines, kernel_blocks, tap_texts
from convcli.render.taps import colour, ink

if TYPE_CHECKING:
    from rich.text import Text

    from convcli.banks.bank import KernelBank
    from convcli.banks.stats import KernelStats


def print_bank(bank: KernelBank, stats: Sequence[KernelStats], *, forced: bool = False) -> None:
    """Print a bank and all its kernels in colour; ``forced`` colours a pipe too."""
    from rich.console import Console
    from rich.text import Text

    # soft_wrap: Rich would break the lines of a grid at the width that it guesses.
    # force_terminal=None lets Rich find out; False would forbid colours even on a terminal.
    console = Console(highlight=False, soft_wrap=True, force_terminal=forced or None)
    for head in head_lines(bank):
        # Text and not str: Rich takes square brackets in a str for markup.
        console.print(Text(head))
    few = console.color_system in ("standard", "windows")
    for index, one in enumerate(stats):
        console.print()
        for number, block in enumerate(kernel_blocks(bank, index, one)):
            if isinstance(block, str):
                console.print(Text(block, style="" if number else "bold"))
            else:
                for line in coloured_grid(block, few=few):
                    console.print(line)


def coloured_grid(rows: Rows, *, few: bool = False) -> list[Text]:
    """Return rows as lines of numbers on coloured cells, or of half-block pixels where numbers do not fit.

    ``few`` is for terminals of 16 colours: red, blue and none.
    """
    from rich.text import Text

    cells = tap_texts(rows)
    width = max(len(cell) for row in cells for cell in row)
    largest = max(abs(tap) for row in rows for tap in row) or 1.0
    lines = []
    # Each cell has a space on both sides, one more than in plain text.
    if fits(rows, width + 1):
        for row, texts in zip(rows, cells, strict=True):
            line = Text("  ")
            for tap, cell in zip(row, texts, strict=True):
                line.append(f" {cell.rjust(width)} ", style=_style(tap / largest, few))
            lines.append(line)
        return lines
    # A half block shows the upper row in its ink and the lower one in its paper: taps come out square.
    for top in range(0, len(rows), 2):
        line = Text("  ")
        for column in range(len(rows[0])):
            paint = _one_of_three if few else colour
            upper = paint(rows[top][column] / largest)
            lower = paint(rows[top + 1][column] / largest) if top + 1 < len(rows) else None
            line.append("▀", style=f"{upper} on {lower}" if lower else upper)
        lines.append(line)
    return lines


def _one_of_three(share: float) -> str:
    return "white" if abs(share) < 0.02 else ("red" if share > 0 else "blue")


def _style(share: float, few: bool) -> str:
    if few:
        return "default" if abs(share) < 0.02 else f"bold white on {_one_of_three(share)}"
    return f"{ink(share)} on {colour(share)}"
