"""The play page: a photo, the library's kernels and the engine's arithmetic in one file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.banks.library import list_kernels
from convcli.banks.load import load_bank
from convcli.errors import KernelError, UsageError
from convcli.render.pages.markup import fill_page, read_page_file, text
from convcli.render.text import by, by_axis

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.pipeline.api import OneImage
    from convcli.render.pages.photo import Photo

#: Parts of the page's script, in the order in which they stand in it.
SCRIPTS = ("convolve.js", "controls.js", "pictures.js", "kernels.js", "result.js", "sample.js", "play.js")
#: Taps of a kernel, and of a bank, that the menu takes; larger ones are named by ``-k``.
MOST_TAPS, MOST_BANK_TAPS = 31 * 31, 4200
#: Pixels of a photo that is shown whole.
MOST_PIXELS = 1 << 21
#: Taps of all kernels that ``-k`` names.
MOST_NAMED_TAPS = 100_000
#: Which group of the menu a kernel is in: the first of these tags that it has.
GROUPS = {
    "fspecial": "MATLAB's fspecial",
    "pillow": "Pillow's filters",
    "user": "Your kernels",
    "edge": "Edges",
    "blob": "Edges",
    "blur": "Blur",
    "sharpen": "Sharpen",
    "effect": "Effects",
    "texture": "Texture",
    "basis": "Bases",
}
_NAMED_GROUP, _OTHER_GROUP = "From the command line", "Others"


#: How the page opens: a kernel alone (else the picture of all), the group of planes and the output sample that are
#: written out, and fields of the page by their ids.
_START: Mapping[str, object] = {"shown": None, "group": 0, "at": None, "controls": {}}


def play_page(
    photo: Photo, specs: Sequence[str] = (), *, start: Mapping[str, object] = _START, longest_px: int = 400
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    photo : Photo
    specs : sequence of str
        Kernels that the menu shows first; the page opens with the first of them, or with ``sobel``.
    start : mapping, optional
        Settings and the sample to open with, of :func:`start_at`.
    longest_px : int
        Pictures opened in the page are scaled down to this.

    Returns
    -------
    str
        A document that loads nothing: its policy forbids every request.

    Raises
    ------
    KernelError
        A kernel is unknown.
    UsageError
        A kernel reads several planes, or there are too many taps.

    Examples
    --------
    >>> from convcli.render.pages.photo import load_photo
    >>> page = play_page(load_photo(None, longest_px=30), ["-1 0 1"])
    >>> page.startswith("<!doctype html>"), "connect" in page, "http:" in page
    (True, False, False)
    """
    named = [describe_bank(load_bank(spec), spec, _NAMED_GROUP) for spec in specs]
    n_taps = sum(np.size(kernel["taps"]) for bank in named for kernel in bank["kernels"])
    if n_taps > MOST_NAMED_TAPS:
        raise UsageError(f"{n_taps:,} taps are too many for a page", hint=f"at most {MOST_NAMED_TAPS:,}: -k mr8#0")
    banks = [*named, *library()]
    first = 0 if named else next((i for i, bank in enumerate(banks) if bank["name"] == "sobel"), 0)
    data = {"photo": photo.as_dict(), "banks": banks, "longest": longest_px, "start": {**start, "bank": first}}
    return fill_page(
        "play",
        script="\n".join(map(read_page_file, SCRIPTS)),
        policy="img-src blob: data:; media-src blob:",
        title=text(f"{photo.name} – convcli play"),
        data=json_for_script(data),
    )


def library() -> list[dict[str, Any]]:
    """Return the kernels of the library that a page holds: those that can be named alone and are not too large."""
    found: dict[str, dict[str, Any]] = {}
    for entry in list_kernels():
        if entry.name in found or entry.name == "random":
            continue
        try:
            bank = load_bank(entry.name)
        except KernelError:  # a file of the user's that cannot be read, or a family that needs a parameter
            continue
        if bank.in_channels == 1 and bank.weight[0].size <= MOST_TAPS and bank.weight.size <= MOST_BANK_TAPS:
            group = next((GROUPS[tag] for tag in GROUPS if tag in entry.tags), _OTHER_GROUP)
            found[entry.name] = describe_bank(bank, entry.name, group, summary=entry.summary)
    order = [*dict.fromkeys(["Edges", "Blur", "Sharpen", "Effects", *GROUPS.values()]), _OTHER_GROUP]
    return sorted(found.values(), key=lambda bank: order.index(bank["group"]))


def describe_bank(bank: KernelBank, spec: str, group: str, *, summary: str = "") -> dict[str, Any]:
    """Return a bank as the page reads it: every kernel with its taps, and with the SPEC that names it alone.

    Raises
    ------
    UsageError
        Its kernels read several planes, or several frames.

    Examples
    --------
    >>> sobel = describe_bank(load_bank("sobel"), "sobel", "Edges")
    >>> [(kernel["name"], kernel["spec"]) for kernel in sobel["kernels"]], sobel["combine"]
    ([('x', 'sobel#x'), ('y', 'sobel#y')], 'magnitude')
    """
    if bank.weight.ndim != 4 or bank.in_channels != 1:
        raise UsageError(
            f"kernel {bank.name} is {by(bank.shape)}: the page shows kernels of one plane",
            hint="convcli kernels show, or one plane of it in a file",
        )
    alone = bank.n_kernels == 1
    return {
        "name": bank.name if group != _NAMED_GROUP else spec,
        "spec": spec,
        "group": group,
        "summary": summary or bank.summary,
        # None: a bank with a reduction of its own (MR8) is not combined as a whole.
        "combine": bank.combine if bank.reduction is None else None,
        # None: of several values the page, which has one field, takes none.
        "bias": biases.pop() if len(biases := set(bank.bias or [0.0])) == 1 else None,
        "kernels": [
            {"name": name, "spec": spec if alone else _entry_spec(spec, name, taps), "taps": taps[0].tolist()}
            for name, taps in zip(bank.kernel_names, bank.weight, strict=True)
        ],
    }


def _entry_spec(spec: str, name: str, taps: Any) -> str | None:
    """Return the SPEC of one kernel of a bank, if ``#`` gives exactly these taps."""
    entry = f"{spec}#{name}"
    try:
        chosen = load_bank(entry)
    except KernelError:
        return None
    same = chosen.reduction is None and chosen.shape == (1, *taps.shape) and np.array_equal(chosen.weight[0], taps)
    return entry if same else None


def json_for_script(value: object) -> str:
    r"""Return JSON that a ``<script>`` element can hold: nothing in it ends the element or begins a comment.

    Examples
    --------
    >>> json_for_script("</script><!--")
    '"\\u003c/script\\u003e\\u003c!--"'
    """
    plain = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def start_at(one: OneImage, map_index: int, at: tuple[int, int]) -> dict[str, object]:
    """Return how the page opens so that it shows what ``explain`` prints of a map at (row, column).

    Raises
    ------
    UsageError
        A flag has no control on the page.
    """
    request, planes, plan = one.plan.request, one.plan.selection.names, one.bank.conv
    everything = planes in (("r", "g", "b"), ("l",))
    known = everything or planes in (("luma",), ("r",), ("g",), ("b",))
    grouped = request.groups in (None, 1, len(planes))
    biases = set(request.bias or ())
    if not known or not grouped or len(biases) > 1 or request.unit:
        raise UsageError(
            "--html has no control for these --channels, --groups, --bias or --unit",
            hint="the page knows each colour by itself, luma, one plane, all added up (--groups 1), and one bias",
        )
    # Maps are channel-major: map c * K + k is kernel k on plane c.
    group, shown = divmod(map_index, one.bank.bound.n_kernels)
    controls: dict[str, str | bool] = {
        "stride": by_axis(plan.stride_hw),
        "dilation": by_axis(plan.dilation_hw),
        # An anchor moves the window, which the page can say only in pixels on each side.
        "padding": request.padding if isinstance(request.padding, str) and request.anchor is None else "pixels",
        "pixels": ",".join(str(side) for pair in plan.padding for side in pair),
        # The engine has zeros as a constant border of 0; the page offers both words.
        "border": "zeros" if plan.border.mode == "constant" and not plan.border.value else plan.border.mode,
        # repr keeps every digit: the page must show the numbers that the command prints.
        "constant": repr(plan.border.value),
        "planes": f"{'all' if everything else planes[0]}|{1 if request.groups == 1 and len(planes) > 1 else 'auto'}",
        "mode": request.mode,
        "transposed": plan.transposed,
        "output-padding": by_axis(request.output_padding),
    }
    if biases:
        controls["bias"] = repr(biases.pop())
    return {"shown": shown, "group": group, "at": at, "controls": controls}
