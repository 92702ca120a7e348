"""Reports as plain data: one dict per image, written as JSON, CSV, Markdown or HTML by ``convcli.render``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convcli.version import __version__

if TYPE_CHECKING:
    from convcli.pipeline.plan import Plan
    from convcli.pipeline.transforms.base import OutputWriter


#: A byte of a name that is not UTF-8 (PEP 383), and halves of characters.
_LONE = re.compile(r"[\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return ``text`` with control characters as escapes, so that a file name cannot drive the terminal.

    Examples
    --------
    >>> printable("a\x1b[31m b\n")
    'a\\x1b[31m b\\n'
    >>> printable("caf\udce9.png")
    'caf\\xe9.png'
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    # A byte is written as that byte: `printf %b` makes the name of it again.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def as_text(name: str) -> str:
    r"""Return a name as text of whole characters: bytes that are not UTF-8 become escapes, and then ``\`` too.

    Examples
    --------
    >>> as_text("caf\udce9\\1.png"), as_text("a\\1.png")
    ('caf\\xe9\\\\1.png', 'a\\1.png')
    """
    if name.isascii() or not _LONE.search(name):
        return name
    return _LONE.sub(lambda found: _escape(found[0]), name.replace("\\", "\\\\"))


def plain(value: object, *, exact: bool = True) -> object:
    """Return ``value`` as JSON types: NumPy scalars and paths become numbers and text, NaN and inf become text.

    Where it need not be exact, names of files go through :func:`as_text`.

    Examples
    --------
    >>> plain({"shape": (3, 4), "mean": float("nan")})
    {'shape': [3, 4], 'mean': 'nan'}
    """
    if isinstance(value, str):
        return value if exact else as_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(plain(str(key), exact=exact)): plain(item, exact=exact) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item, exact=exact) for item in value]
    # This recognises NumPy scalars without importing NumPy, which `convcli shape` does without.
    item = getattr(value, "item", None)
    return plain(item() if callable(item) else str(value), exact=exact)


def to_json(value: object, *, indent: int | None = None, exact: bool = False) -> str:
    r"""Return ``value`` as JSON text in ASCII, which any stream takes; one line unless ``indent`` is given.

    Only Python reads halves of characters, as names that are not UTF-8 have them: they are written where ``exact``.

    Examples
    --------
    >>> to_json({"stride": (2, 2)})
    '{"stride": [2, 2]}'
    >>> print(to_json("caf\udce9.png"), to_json("caf\udce9.png", exact=True))
    "caf\\xe9.png" "caf\udce9.png"
    """
    # Bare NaN is not JSON and stops other parsers: plain() has made it text, and a slip raises here.
    return json.dumps(plain(value, exact=exact), indent=indent, allow_nan=False)


def describe(plan: Plan) -> dict[str, Any]:
    """Return everything known about a plan before it runs, as plain data.

    Keys are the words of the flags; shapes are channels, (frames,) rows, columns.
    """
    from convcli.engine import loops
    from convcli.layers.walk import row_as_dict

    info, parts = plan.info, plan.transform.describe()
    return {
        "convcli": __version__,
        "input": {
            "path": plan.source.label,
            "format": info.format,
            "dtype": info.dtype,
            "shape": list(plan.transform.input_shape),
            "planes": list(plan.selection.names),
            "frames": len(plan.frames or plan.transform.frames) or info.n_frames,
        },
        **parts,
        "layers": [row_as_dict(row) for row in plan.transform.walk.rows],
        **({} if plan.request.region is None else {"region": list(plan.request.region)}),
        "outputs": [output.as_dict() for output in plan.outputs],
        "notes": list(plan.notes),
        "loops": loops(),
    }


def conventions(plan: Plan) -> dict[str, object]:
    """Return the facts that a file states about how it was made."""
    # The stem and not the path: the output has the same bytes wherever the input lies.
    words: dict[str, object] = {"input": plan.source.stem, "tone": plan.request.tone}
    if plan.request.region is not None:
        words["region"] = list(plan.request.region)
    if plan.request.in_place:
        words["in_place"] = True  # it is a photograph still
    parts = plan.transform.describe()
    if plan.request.runs_layers:
        return words | {"stack": plan.request.layers or plan.request.stack}
    del parts["conv"]["reason"]  # how many cores there were says nothing about the samples
    return words | {"kernel": parts["kernel"]["name"], **parts["conv"]}


def image_report(
    plan: Plan, writers: Sequence[OutputWriter], sizes: list[int | None], seconds: float
) -> dict[str, Any]:
    """Return the plan's description with the results of the run: values, clipped samples, bytes, seconds."""
    from convcli.pipeline.clipping import clip_messages

    report: dict[str, Any] = describe(plan)
    maps: dict[int, dict[str, Any]] = {}
    for writer, size, entry in zip(writers, sizes, report["outputs"], strict=True):
        entry["bytes"] = size
        entry.update(writer.facts)
        counts = writer.counts
        raw = writer.is_raw
        tones = plan.tones(writer.output.depth)
        for place, index in enumerate(writer.output.maps):
            named = plan.maps[index]
            maps[index] = {
                "name": named.label,
                "kernel": named.kernel,
                "channel": named.channel,
                "layer": plan.transform.layer_of(index),
                "path": entry["path"],
                "min": float(counts.minimum[place]),
                "max": float(counts.maximum[place]),
                "mean": float(counts.mean[place]),
                "std": float(counts.std[place]),
                "tone": "none" if raw else str(tones[index]),
                **({"tone_reason": tones[index].reason} if tones[index].reason and not raw else {}),
                "depth": writer.output.depth,
                "keeps_brightness": plan.request.tone == "auto" and named.nature == "brightness",
                "clipped_low": int(counts.n_low[place]),
                "clipped_high": int(counts.n_high[place]),
                "not_a_number": int(counts.n_nan[place]),
                **_gain(writer, place),
                "samples": counts.n,
            }
    report["maps"] = [maps[index] for index in sorted(maps)]
    notes, report["warnings"] = clip_messages(report["maps"])
    report["notes"] += notes
    report["notes"] += dict.fromkeys(note for writer in writers for note in writer.notes)
    report["seconds"] = round(seconds, 4)
    plain_report = plain(report)
    assert isinstance(plain_report, dict)
    return plain_report


def _gain(writer: OutputWriter, place: int) -> dict[str, float]:
    r"""Return how a value became a sample: gain * v + offset, or of \|v\| where the tone is abs."""
    if writer.is_raw:
        return {}
    gain, offset, _ = writer.tone.gain_offset(place)
    return {"gain": gain, "offset": offset}
