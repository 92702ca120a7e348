"""Kernels as text: the list, parameters of families, a bank with the taps, facts and response of each kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from convcli.pipeline.report import printable
from convcli.render.taps import Rows, colour, fits, grid_lines, ink, response_lines, shrunk, tap_texts
from convcli.render.text import by, columns, render_table

if TYPE_CHECKING:
    from rich.text import Text

    from convcli.banks.bank import KernelBank
    from convcli.banks.catalogue import Family
    from convcli.banks.check import CheckResult
    from convcli.banks.library import KernelEntry
    from convcli.banks.stats import KernelStats

#: Banks of more kernels than this are shown as a table unless all are asked for.
MOST_IN_FULL = 9
#: Columns of a list that a shape may fill.
_LONGEST_SHAPE = 21
#: Characters of a use with other names: lines stay within 120 columns.
_LONGEST_USE = 71
#: Letters a line of a table of parameters may have where nobody knows the width.
_WIDEST = 110


def render_list(entries: Sequence[KernelEntry], *, source: bool = False) -> str:
    """Return the list as a table: name, shape, use, and if asked the citation.

    A family with the name of a fixed table is shown with its first parameter, which selects it.
    """
    fixed = {entry.name for entry in entries if entry.kind == "file"}
    rows = []
    for entry in entries:
        name = f"{entry.name}:{entry.first_parameter}=…" if entry.parameters and entry.name in fixed else entry.name
        shape = entry.shape if len(entry.shape) <= _LONGEST_SHAPE else f"{entry.shape[: _LONGEST_SHAPE - 1]}…"
        rows.append([printable(name), shape, printable(_use(entry)), *([printable(entry.source)] if source else [])])
    return render_table(("name", "shape", "what for", "source")[: 3 + source], rows)


def _use(entry: KernelEntry) -> str:
    """Return the use of a kernel, with its other names as far as the line has room."""
    for count in range(len(entry.aliases), 0, -1):
        more = ", …" if count < len(entry.aliases) else ""
        text = f"{entry.summary} (also {', '.join(entry.aliases[:count])}{more})"
        if len(text) <= _LONGEST_USE:
            return text
    return entry.summary


def parameter_table(family: Family) -> str:
    """Return the parameters of a family as a table: default, unit, range and meaning."""
    rows = [
        (one.name, one.default_text, one.unit or "-", one.range_text or "any", one.about) for one in family.parameters
    ]
    headings = ("name", "default", "unit", "range", "meaning")
    table = render_table(headings, rows, align="lr", width=columns() or _WIDEST)
    return f"parameters of {family.name}, as in {family.name}:{family.parameters[0].name}=…\n{table}"


def render_bank(bank: KernelBank, stats: Sequence[KernelStats], *, in_full: bool, first: str) -> str:
    """Return a bank as text: its head, then every kernel's taps and facts, or a row for each of many.

    ``first`` is the SPEC of its first kernel, quoted for a shell.
    """
    lines = head_lines(bank)
    if in_full:
        for index, one in enumerate(stats):
            lines.append("")
            for block in kernel_blocks(bank, index, one):
                lines += [block] if isinstance(block, str) else ["  " + line for line in grid_lines(block)]
        return "\n".join(lines)
    headings = ("kernel", "sum", "L1", "L2", "min", "max", "rank", "symmetry")
    rows = [
        (
            printable(one.name),
            *map(short, (one.total, one.l1, one.l2, one.low, one.high)),
            "-" if one.rank is None else one.rank,
            ", ".join(one.symmetry) or "none",
        )
        for one in stats
    ]
    lines += ["", render_table(headings, rows, align="lrrrrrrl")]
    lines += ["", f"one of them: convcli kernels show {printable(first)}; all: --all; a picture: --png FILE"]
    return "\n".join(lines)


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


def head_lines(bank: KernelBank) -> list[str]:
    """Return a bank's shape, use, citation and notes."""
    lines = [
        f"{printable(bank.name)}  {by(bank.shape)} ({'O x I x kD' if bank.weight.ndim == 5 else 'O x I'} x kH x kW)"
    ]
    turned = "declared as convolve, shown turned by 180°"
    facts = [
        ("what for", bank.summary),
        ("source", bank.source),
        ("tags", ", ".join(bank.tags)),
        ("orientation", turned if bank.orientation == "convolve" else "correlate"),
        ("one picture", "" if bank.combine == "none" else bank.combine),
        ("maps", "" if bank.reduction is None else f"{len(bank.reduction)}, {bank.reduction_op} of groups of kernels"),
        ("bias", "" if bank.bias is None else ", ".join(short(value) for value in bank.bias)),
    ]
    lines += [f"{name:<12} {printable(text)}" for name, text in facts if text]
    return lines + [f"{'note':<12} {printable(note)}" for note in bank.notes]


def kernel_blocks(bank: KernelBank, index: int, stats: KernelStats) -> Iterator[str | Rows]:
    """Yield the title of one kernel, its planes as rows to draw, its facts and its response as lines."""
    yield f"[{index}] {printable(stats.name)}"
    planes = bank.weight[index].reshape(-1, *bank.weight.shape[-2:])
    # Four planes fit a screen; kernels of networks have hundreds.
    for number, plane in enumerate(planes[:4]):
        if len(planes) > 1:
            yield f"  plane {number}"
        rows, step = shrunk(plane)
        yield rows
        if step > 1:
            yield f"  every mark is the largest of {step}x{step} taps"
    if len(planes) > 4:
        yield f"  … {len(planes) - 4} planes more"
    yield ""
    yield from ("  " + line for line in _fact_lines(stats))
    yield ""
    yield from ("  " + line for line in response_lines(planes))


def _fact_lines(stats: KernelStats) -> list[str]:
    """Return the facts about one kernel, one on each line."""
    rows, columns = stats.shape[-2:]
    lines = [
        f"sum          {short(stats.total)}   L1 {short(stats.l1)}   L2 {short(stats.l2)}   "
        f"taps {short(stats.low)} to {short(stats.high)}, {stats.n_nonzero} not zero",
        f"rank         {_rank(stats.rank, min(rows, columns))}",
    ]
    # Longer factors do not fit a line.
    if stats.column is not None and stats.row is not None and max(rows, columns) <= 15:
        lines.append(f"  column     {' '.join(map(short, stats.column.tolist()))}")
        lines.append(f"  row        {' '.join(map(short, stats.row.tolist()))}")
    lines.append(f"symmetry     {', '.join(stats.symmetry) or 'none'}")
    if stats.sigma_xy is not None:
        lines.append(f"sigma        {short(stats.sigma_xy[0])} px across, {short(stats.sigma_xy[1])} px down")
    low, high = stats.output_range
    lines.append(f"8-bit range  {short(low)} to {short(high)}{'' if low >= 0 and high <= 255.5 else ' (clips)'}")
    cheaper = ""
    if stats.separable is not None and stats.separable < stats.n_nonzero:
        cheaper = f", {stats.separable} as rows and columns"
    lines.append(f"cost         {stats.n_nonzero} multiplications a sample{cheaper}")
    right, up = stats.peak_frequency
    lines.append(
        f"gain         {short(abs(stats.total))} on flat areas, largest {short(stats.peak_gain)} {_wave(right, up)}"
    )
    return lines


def _rank(rank: int | None, most: int) -> str:
    if rank is None:
        from convcli.banks.stats import LARGEST_SQUARE

        return f"not 1; more is not computed (kernel is larger than {LARGEST_SQUARE}x{LARGEST_SQUARE})"
    return f"{rank}{' (separable)' if rank == 1 else ''} of {most}"


def _wave(right: float, up: float) -> str:
    frequency = (right * right + up * up) ** 0.5
    if frequency == 0:
        return "on flat areas"
    return f"on waves of {short(1 / frequency)} px ({short(right)} cycles/px to the right, {short(up)} up)"


def check_lines(result: CheckResult) -> list[str]:
    """Return the contents of a checked file, and its warnings."""
    if result.bank is None:
        lines = [f"{printable(result.path)}: {result.kind}, {len(result.entries)} entries; name one with #"]
        width = max(len(printable(name)) for name in result.entries)
        lines += [f"  {printable(name).ljust(width)}  {by(shape)}" for name, shape in result.entries.items()]
    else:
        names = ", ".join(printable(name) for name in result.bank.kernel_names[:6])
        more = ", …" if result.bank.n_kernels > 6 else ""
        lines = [f"{printable(result.path)}: {result.kind}, {by(result.bank.shape)} ({names}{more}): ok"]
    return lines + [f"  warning: {printable(warning)}" for warning in result.warnings]


def short(value: float) -> str:
    """Return a number with at most five digits."""
    return str(int(value)) if abs(value) < 1e6 and value == int(value) else f"{value:.5g}"
