"""Reports as plain data: one dict per image, written as JSON, CSV, Markdown or HTML by ``convcli.render``.

They advise on clipped samples: whether the clipping was to be expected, and the tone that avoids it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convcli.version import __version__

if TYPE_CHECKING:
    from convcli.pipeline.plan import Plan
    from convcli.pipeline.transforms.base import Writer


Maps = Sequence[Mapping[str, Any]]
#: Share of clipped samples above which the report warns.
CLIP_WARNING = 0.001
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
    from convcli.layers.walk import row_as_dict

    info, parts = plan.info, plan.transform.describe()
    return {
        "convcli": __version__,
        "input": {
            "path": plan.input.label,
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
        "loops": plan.transform.loops,
    }


def conventions(plan: Plan) -> dict[str, object]:
    """Return the facts that a file states about how it was made."""
    # The stem and not the path: the output has the same bytes wherever the input lies.
    words: dict[str, object] = {"input": plan.input.stem, "tone": plan.request.tone}
    if plan.request.region is not None:
        words["region"] = list(plan.request.region)
    if plan.request.in_place:
        words["in_place"] = True  # it is a photograph still
    parts = plan.transform.describe()
    if plan.request.runs_layers:
        return words | {"stack": plan.request.layers or plan.request.stack}
    del parts["conv"]["reason"]  # how many cores there were says nothing about the samples
    return words | {"kernel": parts["kernel"]["name"], **parts["conv"]}


def image_report(plan: Plan, writers: Sequence[Writer], seconds: float) -> dict[str, Any]:
    """Return the plan's description with the results of the run: values, clipped samples, bytes, seconds."""
    report: dict[str, Any] = describe(plan)
    maps: dict[int, dict[str, Any]] = {}
    for writer, entry in zip(writers, report["outputs"], strict=True):
        entry["bytes"] = writer.n_bytes
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


def _gain(writer: Writer, place: int) -> dict[str, float]:
    r"""Return how a value became a sample: gain * v + offset, or of \|v\| where the tone is abs."""
    if writer.is_raw:
        return {}
    gain, offset, _ = writer.tone.gain_offset(place)
    return {"gain": gain, "offset": offset}


def clip_messages(maps: Maps, *, where: Callable[[Maps], str] | None = None) -> tuple[list[str], list[str]]:
    """Return (notes, warnings) on what the tones of maps clipped and could not store.

    Parameters
    ----------
    maps : sequence of mapping
        Entries of a report's ``maps``, of one image or of several.
    where : callable, optional
        Returns what is put behind a fact about some of the maps: which inputs it is about. For maps of several inputs.
    """
    warnings = []
    place = where or (lambda _: "")
    if unknown := [one for one in maps if one["not_a_number"]]:
        stored = "" if all(one["tone"] == "none" or one["depth"] == "float" for one in unknown) else ", taken as 0"
        n_samples = sum(one["not_a_number"] for one in unknown)
        warnings.append(f"{n_samples} samples are not a number{stored}{place(unknown)}")
    clipped = [one for one in maps if one["clipped_low"] + one["clipped_high"] > CLIP_WARNING * one["samples"]]
    expected = [one for one in clipped if one["keeps_brightness"]]
    others = [one for one in clipped if not one["keeps_brightness"]]
    # One file cannot hold the maps of several inputs.
    keep = "--format npy --out-dir DIR" if where else "-o maps.npy"
    notes = (
        [f"{_fact(expected)}{place(expected)}, as kernels that keep brightness do; {keep} keeps them"]
        if expected
        else []
    )
    if others:
        warnings.append(f"{_fact(others)}{place(others)}; --tone {helping_tone(maps)} keeps them, and so does {keep}")
    return notes, warnings


def helping_tone(maps: Sequence[Mapping[str, Any]]) -> str:
    """Return the tone under which no sample of ``maps`` is clipped and that differs least from theirs.

    A number serves all maps, for ``--tone`` is about all of them: where their tones differ, each map is stretched.

    Examples
    --------
    >>> one = {"tone": "abs", "depth": "8", "min": -1009.0, "max": 991.0}
    >>> helping_tone([one]), helping_tone([{**one, "tone": "clip", "min": 0.0}])
    ('abs:0.252', 'scale:0.257')
    >>> helping_tone([{**one, "tone": "clip"}])
    'signed'
    """
    # Not at the top: reports of commands without pixels do without NumPy.
    from convcli.pipeline.tones import WHITE

    tones = {one["tone"].partition(":")[0] for one in maps}
    low, high = _range(maps)
    full = WHITE.get(maps[0]["depth"], 1)
    if len(tones) > 1 or not math.isfinite(high - low):
        return "stretch"
    (tone,) = tones
    if tone == "offset":
        return f"offset:{-low:g}" if high - low <= full else "signed"
    peak = max(-low, high) if tone == "abs" else high
    # With a sign there is no gain that helps: the middle of the scale becomes 0.
    if (tone != "abs" and low < 0) or peak <= 0:
        return "signed"
    return f"{'abs' if tone == 'abs' else 'scale'}:{_rounded_down(full / peak):g}"


def _rounded_down(value: float) -> float:
    """Return ``value`` with three digits, not above it.

    Examples
    --------
    >>> _rounded_down(0.22889), _rounded_down(0.0031499)
    (0.228, 0.00314)
    """
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / unit * (1 + 1e-12)) * unit:.3g}")


def _fact(maps: Sequence[Mapping[str, Any]]) -> str:
    low, high = sum(one["clipped_low"] for one in maps), sum(one["clipped_high"] for one in maps)
    share = 100 * (low + high) / sum(one["samples"] for one in maps)
    least, most = _range(maps)
    both = f"{low} samples clipped low and {high} high"
    text = both if low and high else f"{low + high} samples clipped {'low' if low else 'high'}"
    return f"{text} ({_percent(share)}, values {least:.5g} to {most:.5g})"


def _range(maps: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    # Reports that have been JSON hold infinity as text, see plain().
    return min(float(one["min"]) for one in maps), max(float(one["max"]) for one in maps)


def _percent(share: float) -> str:
    """Return a share in percent as text, with two digits.

    Examples
    --------
    >>> _percent(100.0), _percent(62.4), _percent(0.123)
    ('100 %', '62 %', '0.12 %')
    """
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
