"""The report page: input, kernels, maps, what was clipped, shapes and sums, in one file that needs nothing else.

The same sections draw the result of :func:`convcli.apply` in a notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convcli.errors import ConvcliError
from convcli.render.pages import markup
from convcli.render.pages.markup import text
from convcli.render.shape_details import SHAPE_HEADINGS, render_formulas, shape_row
from convcli.render.text import by
from convcli.version import __version__

if TYPE_CHECKING:
    from convcli.layers.walk import Walk
    from convcli.pipeline.plan import Plan
    from convcli.pipeline.preview import Preview, Tile, Window

#: Inputs of a batch that have pictures on the page; the others are in its table.
MOST_INPUTS = 12
#: Maps that are drawn of a single input, and of each of several.
_MOST_MAPS, _MOST_MAPS_EACH = 48, 12
#: Layers of a stack whose kernels are drawn.
_MOST_LAYERS = 8


def report_page(reports: Sequence[Mapping[str, Any]], *, plans: Sequence[Plan] = (), command: str = "") -> str:
    """Return the page as HTML.

    Parameters
    ----------
    reports : sequence of mapping
        As ``--report FILE.json`` has them: one an input, and the summary of a batch.
    plans : sequence of Plan
        Of the inputs that ran; they run again, into memory, for the pictures.
    command : str
        The line that made the outputs.

    Returns
    -------
    str
        A document that loads nothing and runs nothing: its policy forbids every request and every script.
    """
    by_label = {plan.input.label: plan for plan in plans}
    inputs = [report for report in reports if "input" in report]
    body = [f"<h1>{text(_title(inputs))}</h1>"]
    if command:
        body.append(f"<pre>{text(command)}</pre>")
    body.append(f'<p class="soft">convcli {text(__version__)}</p>')
    if len(inputs) > 1:
        body.append(overview(inputs))
    for number, report in enumerate(inputs[:MOST_INPUTS]):
        plan = by_label.get(report["input"]["path"])
        inside = sections(report, plan, is_one=len(inputs) == 1)
        body.append(f'<section id="input-{number}">{inside}</section>')
    if len(inputs) > MOST_INPUTS:
        body.append(f'<p class="soft">{len(inputs) - MOST_INPUTS} more inputs are in the table above.</p>')
    parts = {"title": text(_title(inputs)), "body": "\n".join(body)}
    return markup.fill_page("report", policy="img-src data:", **parts)


def _title(inputs: Sequence[Mapping[str, Any]]) -> str:
    if len(inputs) != 1:
        return f"convcli report: {len(inputs)} inputs"
    (report,) = inputs
    return " – ".join(filter(None, (str(report["input"]["path"]), _name(report))))


def _name(report: Mapping[str, Any]) -> str:
    part: Mapping[str, Any] = report.get("stack") or report.get("kernel") or {}
    return str(part.get("name", ""))


def overview(inputs: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of a batch."""
    rows = []
    for report in inputs:
        status = report.get("status", "done")
        shapes = report.get("shape", {})
        clipped = sum(one["clipped_low"] + one["clipped_high"] for one in report.get("maps", ()))
        said = report["error"]["message"] if status == "failed" else report.get("reason", "")
        rows.append((
            report["input"]["path"], status, by(shapes.get("input", ())), by(shapes.get("output", ())),
            f"{clipped:,}" if shapes else "", said,
        ))  # fmt: skip
    table = markup.table(("input", "status", "shape", "output", "clipped samples", ""), rows, "llrrrl")
    return f'<div class="card">{table}</div>'


def sections(report: Mapping[str, Any], plan: Plan | None, *, is_one: bool = False) -> str:
    """Return everything about one input; without a plan, or where it cannot be read again, without pictures.

    One of several has a heading and fewer maps.
    """
    status = report.get("status", "done")
    title = f"<h2>{text(report['input']['path'])}</h2>" if not is_one else ""
    if status == "failed":
        return f'{title}<p class="bad">{text(report["error"]["message"])}</p>'
    if status == "skipped":
        return f'{title}<p class="soft">left alone: {text(report["reason"])}</p>'
    shown, problem = _preview(plan, _MOST_MAPS if is_one else _MOST_MAPS_EACH)
    read = report["input"]
    facts = f"{by(report['shape']['input'])} {read['dtype']} ({','.join(read['planes'])})"
    facts += f" → {by(report['shape']['output'])}, {_name(report)}, {report['seconds']:.2f} s"
    parts = [title, f'<p class="soft">{text(facts)}</p>']
    parts += [f'<p class="warn">{text(one)}</p>' for one in report["warnings"]]
    parts += [f'<p class="soft">{text(one)}</p>' for one in (*report["notes"], *problem)]
    if shown is not None:
        parts.append(_input(shown, report))
    if plan is not None:
        parts.append(_kernels(plan))
    total, walk = report["shape"], None if plan is None else plan.transform.walk
    shapes = shape_card(report["layers"], total["parameters"], total["macs"], walk)
    parts += [f"<h3>Shapes</h3>{shapes}", _maps(report, plan, shown), _files(report)]
    return "\n".join(filter(None, parts))


def _preview(plan: Plan | None, most_tiles: int) -> tuple[Preview | None, list[str]]:
    from convcli.pipeline.preview import preview

    if plan is None:
        return None, []
    try:
        # A single picture, or two, may take the whole width.
        few = sum(len(output.maps) if output.kind != "picture" else 1 for output in plan.outputs) <= 2
        return preview(plan, longest_px=640 if few else 320, most_tiles=most_tiles), []
    except ConvcliError as error:  # the input has gone, or changed
        return None, [f"no pictures: {error}"]


def _input(shown: Preview, report: Mapping[str, Any]) -> str:
    """Return the photo with the window of the middle output on it, and its close-up."""
    # As it is stored: shapes of a report name planes before rows and columns.
    height, width = report["shape"]["input"][-2:]
    window = shown.window
    over = "" if window is None else _outline(window, width, height, 0, 0)
    caption = f"the input, {height}x{width}"
    frames = report["input"].get("frames", 1)
    caption += f", the first of {frames} frames" if frames > 1 else ""
    photo = markup.picture(shown.input, "the input", lossy=True, over=over)
    figures = [f"<figure>{photo}<figcaption>{text(caption)}</figcaption></figure>"]
    if window is not None:
        size = f"{window.height:g}x{window.width:g}"
        row, column = window.output
        told = f"Output row {row}, column {column} sees these {size} input samples: the receptive field"
        if window.closeup is None:
            figures.append(f"<p>{text(told)}, drawn on the input.</p>")
        else:
            top, left = window.closeup_at
            rows, columns = window.closeup.shape[:2]
            drawn = markup.picture(
                window.closeup, "close-up of the receptive field", over=_outline(window, columns, rows, left, top)
            )
            figures.append(f"<figure>{drawn}<figcaption>{text(told)}.</figcaption></figure>")
    return f'<h3>Input</h3><div class="card top">{"".join(figures)}</div>'


def _outline(window: Window, width: int, height: int, left: float, top: float) -> str:
    """Return the window as an outline on a picture that shows these samples."""
    where = f'x="{window.left - left:g}" y="{window.top - top:g}" width="{window.width:g}" height="{window.height:g}"'
    return (
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="under" {where}/><rect class="window" {where}/></svg>'
    )


def _kernels(plan: Plan) -> str:
    """Return the kernels of a bank, or of a stack's layers with weights."""
    transform: Any = plan.transform
    bank = getattr(transform, "bank", None)
    if bank is not None:
        drawn = markup.kernels(bank.weight, bank.kernel_names)
        return f'<h3>Kernels</h3><div class="card"><p class="soft">{text(bank.summary)}</p>{drawn}</div>'
    found: list[str] = []
    more = 0
    for row, numbers in zip(transform.walk.rows, transform.numbers, strict=True):
        # Weights of batch norms have one number a map, and are no kernels.
        if numbers.weight is None or numbers.weight.ndim < 4:
            continue
        if len(found) == _MOST_LAYERS:
            more += 1
            continue
        drawn = markup.kernels(numbers.weight, [str(index) for index in range(len(numbers.weight))], most=16)
        found.append(f'<div class="card"><p><b>{text(row.layer.label)}</b></p>{drawn}</div>')
    said = f'<p class="soft">and those of {more} more layers</p>' if more else ""
    return f"<h3>Kernels</h3>{''.join(found)}{said}" if found else ""


def shape_card(layers: Sequence[Mapping[str, Any]], parameters: int, macs: int, walk: Walk | None) -> str:
    """Return the table of layers, their totals, and the sum behind every number if the walk is given."""
    rows = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in shape_row(one)] for one in layers]
    # Left for the name of a layer, right for numbers.
    table = markup.table(SHAPE_HEADINGS, rows, "l".ljust(len(SHAPE_HEADINGS), "r"))
    sums = ""
    if walk is not None:
        is_open = " open" if len(walk.rows) <= 3 else ""
        # Line by line: text() shows line breaks as escapes.
        lines = "\n".join(map(text, render_formulas(walk).split("\n")))
        sums = f"<details{is_open}><summary>The sums written out</summary><pre>{lines}</pre></details>"
    totals = f"{parameters:,} parameters, {macs:,} multiply-accumulates"
    return f'<div class="card">{table}<p class="soft">{text(totals)}</p>{sums}</div>'


def _maps(report: Mapping[str, Any], plan: Plan | None, shown: Preview | None) -> str:
    """Return the maps as tiles with their numbers, or as a table where there are no tiles."""
    maps = report["maps"]
    if shown is None or plan is None:
        keys = ("name", "min", "max", "mean", "std", "tone", "clipped_low", "clipped_high")
        rows = [[_value(one[key]) for key in keys] for one in maps]
        table = markup.table([key.replace("_", " ") for key in keys], rows, "lrrrrlrr")
        return f'<h3>Maps</h3><div class="card">{table}</div>'
    # By name: a run that kept existing outputs reports only the maps that it made.
    by_name = {one["name"]: one for one in maps}
    tiles = ""
    for tile in shown.tiles:
        labels = [plan.maps[index].label for index in tile.maps]
        tiles += _tile(tile, [by_name[label] for label in labels if label in by_name])
    marks = scaled = ""
    if not all(tile.is_whole for tile in shown.tiles):
        scaled = "; tiles are averaged down, and a marked dot has at least one clipped sample"
    if any(tile.low.any() or tile.high.any() for tile in shown.tiles):
        marks = (
            '<p><label><input type="checkbox" class="marks" checked> mark clipped samples</label>'
            '<span class="key low"></span> too low for the scale <span class="key high"></span> too high'
            f'<span class="soft">{scaled}</span></p>'
        )
    more = f'<p class="soft">and {shown.n_left_out} more maps</p>' if shown.n_left_out else ""
    few = " few" if len(shown.tiles) <= 2 else ""
    return f'<h3>Maps</h3><div class="card maps">{marks}<div class="grid{few}">{tiles}</div>{more}</div>'


def _tile(tile: Tile, maps: Sequence[Mapping[str, Any]]) -> str:
    """Return one map, or a picture of several, with what the report says of each."""
    lines = []
    for one in maps:
        clipped = one["clipped_low"] + one["clipped_high"]
        share = f", {clipped:,} clipped ({100 * clipped / max(one['samples'], 1):.2g} %)" if clipped else ""
        facts = f"{_value(one['min'])} to {_value(one['max'])}, tone {one['tone']}{share}"
        lines.append(f"<b>{text(one['name'])}</b><br>{text(facts)}")
    over = markup.mask(tile.low, tile.high)
    drawn = markup.picture(tile.samples, f"map {maps[0]['name']}" if maps else "map", over=over)
    return f"<figure>{drawn}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _value(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _files(report: Mapping[str, Any]) -> str:
    rows = [
        (one["path"], one["format"], one["depth"], f"{one['bytes']:,}" if one.get("bytes") else "")
        for one in report["outputs"]
    ]
    table = markup.table(("file", "format", "depth", "bytes"), rows, "lllr")
    word = "file" if len(rows) == 1 else "files"
    return f'<details><summary>{len(rows)} {word} written</summary><div class="card">{table}</div></details>'
