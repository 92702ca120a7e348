"""Kernels as plain text: the list, a kernel's taps, facts and frequency response (stdlib).

:mod:`convcli.render.kernels_colour` adds colours on terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from convcli.pipeline.report import printable
from convcli.process.system import columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank
    from convcli.banks.check import CheckResult
    from convcli.banks.library import KernelEntry
    from convcli.banks.stats import KernelStats

Rows = list[list[float]]

#: Banks of more kernels than this are shown as a table unless all are asked for.
MOST_IN_FULL = 9
#: Columns of text that a grid of taps may fill.
_WIDTH = 100
#: Columns of a list that a shape may fill.
_LONGEST_SHAPE = 21
#: Characters of a use with other names: lines stay within 120 columns.
_LONGEST_USE = 71
#: Marks a row of a picture of taps; two columns of text each.
_MOST_MARKS = 64
#: From faint to heavy; no sign is in both, so that a picture can be read without colours.
_POSITIVE, _NEGATIVE = " .:+*#@", " '-=%&$"
_RESPONSE = " .:-=+*#%@"


def by(sizes: Sequence[int]) -> str:
    """Return sizes as ``2x1x3x3``."""
    return "x".join(map(str, sizes))


def render_list(entries: Sequence[KernelEntry], *, source: bool = False) -> str:
    """Return the list as a table: name, shape, use, and if asked the citation.

    A family with the name of a fixed table is shown with its first parameter, which selects it.
    """
    from convcli.render.table import render_table

    fixed = {entry.name for entry in entries if entry.kind == "file"}
    rows = [
        (
            printable(
                f"{entry.name}:{entry.first_parameter}=…" if entry.parameters and entry.name in fixed else entry.name
            ),
            entry.shape if len(entry.shape) <= _LONGEST_SHAPE else f"{entry.shape[: _LONGEST_SHAPE - 1]}…",
            printable(_use(entry)),
            *([printable(entry.source)] if source else []),
        )
        for entry in entries
    ]
    return render_table(("name", "shape", "what for", "source")[: 3 + source], rows)


def _use(entry: KernelEntry) -> str:
    """Return the use of a kernel, with its other names as far as the line has room."""
    for count in range(len(entry.aliases), 0, -1):
        more = ", …" if count < len(entry.aliases) else ""
        text = f"{entry.summary} (also {', '.join(entry.aliases[:count])}{more})"
        if len(text) <= _LONGEST_USE:
            return text
    return entry.summary


def render_bank(bank: KernelBank, stats: Sequence[KernelStats], *, in_full: bool, first: str) -> str:
    """Return a bank as text: its head, then every kernel's taps and facts, or a row for each of many.

    ``first`` is the SPEC of its first kernel, quoted for a shell.
    """
    lines = head_lines(bank)
    if in_full:
        for index, one in enumerate(stats):
            lines.append("")
            for block in kernel_blocks(bank, index, one):
                lines += [block] if isinstance(block, str) else ["  " + line for line in _grid_lines(block)]
        return "\n".join(lines)
    from convcli.render.table import render_table

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


def shrunk(plane: NDArray[np.float64]) -> tuple[Rows, int]:
    """Return taps as rows, one for each square of taps (the largest), and the side of these squares."""
    import numpy as np

    # The largest tap and not the mean: fine stripes would cancel to nothing.
    step = -(-max(plane.shape) // _MOST_MARKS)
    if step == 1:
        return plane.tolist(), 1
    tops, lefts = (range(0, size, step) for size in plane.shape)
    high, low = (
        reduce(reduce(plane, tops, axis=0), lefts, axis=1) for reduce in (np.maximum.reduceat, np.minimum.reduceat)
    )
    return np.where(high >= -low, high, low).tolist(), step


def _grid_lines(rows: Rows) -> list[str]:
    """Return taps as numbers if they fit, else as a picture of signs and sizes."""
    cells = tap_texts(rows)
    width = max(len(cell) for row in cells for cell in row)
    if fits(rows, width):
        return [" ".join(cell.rjust(width) for cell in row) for row in cells]
    largest = max(abs(tap) for row in rows for tap in row) or 1.0
    lines = ["".join(_mark(tap / largest) * 2 for tap in row) for row in rows]
    return [
        *(line.rstrip() for line in lines),
        f"positive '{_POSITIVE[1:]}', negative '{_NEGATIVE[1:]}', from small to large",
    ]


def fits(rows: Rows, width: int) -> bool:
    """Whether a grid of numbers of this width fits."""
    return len(rows[0]) * (width + 1) <= min(_WIDTH, columns() or _WIDTH) and len(rows) <= 25


def tap_texts(rows: Rows) -> list[list[str]]:
    """Return taps as text: whole numbers exactly, others with four digits."""
    # One fraction makes all of them fractions, so that the points stand in one column.
    if all(abs(tap) < 1e6 and tap == int(tap) for row in rows for tap in row):
        return [[str(int(tap)) for tap in row] for row in rows]
    return [[_aligned(tap) for tap in row] for row in rows]


def _aligned(tap: float) -> str:
    if tap == 0:
        return "0"
    return f"{tap:.4f}" if 0.001 <= abs(tap) < 1000 else f"{tap:.1e}"


def _mark(share: float) -> str:
    ramp = _POSITIVE if share >= 0 else _NEGATIVE
    size = abs(share)
    # Below a hundredth a tap is blank: rests of rounding would fill the picture with dots.
    return ramp[0] if size < 0.01 else ramp[min(len(ramp) - 1, 1 + int(size * (len(ramp) - 1)))]


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


def response_lines(planes: NDArray[np.float64]) -> list[str]:
    """Return the gain on waves as a picture, zero frequency in the middle, -1/2 to 1/2 cycles a pixel each way."""
    import numpy as np

    from convcli.banks.stats import response

    taps = planes[:4]
    # Scaled before the transform, whose sums of huge taps would overflow; 1.0 is for a kernel of zeros.
    taps = taps / (float(np.abs(taps).max()) or 1.0)
    gains = np.max([response(plane, 32) for plane in taps], axis=0)
    step = max(1, len(gains) // 16)
    height, width = gains.shape[0] // step * step, gains.shape[1] // max(1, step // 2) * max(1, step // 2)
    # Letters are twice as high as wide: twice as many columns make the picture square.
    across = max(1, step // 2)
    blocks = gains[:height, :width].reshape(height // step, step, width // across, across).mean(axis=(1, 3))
    largest = float(blocks.max()) or 1.0
    marks = [[_RESPONSE[min(9, int(value / largest * 9.999))] for value in row] for row in blocks.tolist()]
    edge = "+" + "-" * len(marks[0]) + "+"
    return ["frequency response, 0 in the middle", edge, *("|" + "".join(row) + "|" for row in marks), edge]


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
