"""Flags of ``apply``: text as typed becomes an :class:`~convcli.pipeline.request.ApplyRequest`, or is refused.

Everything that contradicts, is not known or would have no effect is refused here, before a file is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from convcli.errors import UsageError, near_names
from convcli.geometry.sizes import parse_count, parse_padding, parse_pair
from convcli.images import formats
from convcli.pipeline.frame_text import check_frames
from convcli.pipeline.names import check_template
from convcli.pipeline.request import ApplyRequest

LAYOUTS = ("maps", "picture", "sheet")
COMBINES = ("none", "magnitude", "max", "argmax", "min", "sum", "mean")
ALPHAS = ("premultiply", "keep", "filter", "drop")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def choice(text: str, flag: str, allowed: tuple[str, ...]) -> str:
    """Return ``text`` in lower case if it is one of ``allowed``; the only place where case is dropped.

    Examples
    --------
    >>> choice("Maps", "--layout", LAYOUTS)
    'maps'
    """
    word = text.strip().lower()
    if word not in allowed:
        near = near_names(word, allowed)
        raise UsageError(f"{flag} {text!r} is not known", hint=f"{near} one of {', '.join(allowed)}".strip())
    return word


def parse_format(text: str, flag: str) -> str:
    """Return the normal name of a file format from a word or a suffix.

    Examples
    --------
    >>> parse_format(".JPG", "-o"), parse_format("pgm", "--format")
    ('jpeg', 'ppm')
    """
    word = text.strip().lower().lstrip(".")
    row = formats.BY_SUFFIX.get(f".{word}")
    return choice(row.name if row else word, flag, formats.WRITTEN)


def parse_floats(text: str, flag: str) -> tuple[float, ...]:
    """Return comma-separated finite numbers.

    Examples
    --------
    >>> parse_floats("0.5,-1", "--bias")
    (0.5, -1.0)
    """
    numbers = []
    for index, part in enumerate(text.split(","), start=1):
        try:
            number = float(part)
        except ValueError:
            raise UsageError(f"{flag} {text!r}: number {index} is {part!r}", hint="numbers by commas: 0.5,-1") from None
        if not abs(number) < float("inf"):
            raise UsageError(f"{flag} {text!r}: number {index} is not finite", hint="numbers by commas: 0.5,-1")
        numbers.append(number)
    return tuple(numbers)


def parse_normalize(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) per plane: ``imagenet``, or two numbers, or all means then all stds.

    Examples
    --------
    >>> parse_normalize("0.5,0.25")
    ((0.5,), (0.25,))
    """
    if text.strip().lower() == "imagenet":
        return _IMAGENET
    numbers = parse_floats(text, "--normalize")
    half = len(numbers) // 2
    if len(numbers) % 2 or 0.0 in numbers[half:]:
        raise UsageError(
            f"--normalize {text!r}: {len(numbers)} numbers, std must not be 0",
            hint="--normalize imagenet, or means then as many stds: 0.5,0.5,0.5,0.25,0.25,0.25",
        )
    return numbers[:half], numbers[half:]


def parse_bytes(text: str, flag: str) -> int:
    """Return a number of bytes from ``512M``, ``2G``, ``1000000``.

    Examples
    --------
    >>> parse_bytes("512M", "--memory")
    536870912
    """
    word = text.strip().upper().removesuffix("IB").removesuffix("B")
    power = {"K": 1, "M": 2, "G": 3, "T": 4}.get(word[-1:], 0)
    try:
        size = int(float(word[:-1] if power else word) * 1024**power)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise UsageError(f"{flag} {text!r} is not a size", hint=f"{flag} 512M, {flag} 2G or a number of bytes")
    return size


def parse_request(flags: Mapping[str, object]) -> ApplyRequest:
    """Turn the flags of ``convcli apply`` (text as typed, absent ones left out) into an :class:`ApplyRequest`.

    Parameters
    ----------
    flags : mapping of str to object
        Keys are flag names with ``_`` for ``-``; values text, or already of their type.

    Raises
    ------
    UsageError
        A word is unknown, a number does not parse, or two flags contradict each other.

    Examples
    --------
    >>> parse_request({"kernels": ("sobel",), "stride": "2"}).stride
    (2, 2)
    """
    values = dict(flags)
    for key, value in values.items():
        if value == "":
            raise UsageError(f"--{key.replace('_', '-')} is empty", hint="leave it out, or give it a value")
        if key not in ApplyRequest._fields:
            raise UsageError(f"unknown flag {key!r}", hint=near_names(key, ApplyRequest._fields) or None)
    for key, parse in _PARSERS.items():
        value = values.get(key)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            values[key] = parse(str(value))
    if values.get("normalize") is not None:
        values["unit"] = True  # means and standard deviations of networks are of samples in 0..1
    output = values.get("output")
    if output is not None:
        values["to_stdout"] = str(output) == "-"
        _bind_output(values, Path(str(output)))
    request = ApplyRequest(**values)  # type: ignore[arg-type]
    _refuse_contradictions(request)
    return request


def _bind_output(values: dict[str, object], output: Path) -> None:
    """Let the suffix of ``-o`` name the format, unless ``--format`` does."""
    values["output"] = None if values["to_stdout"] else output
    if values.get("format") is None:
        if values["to_stdout"]:
            values["format"] = "png"
        elif output.suffix:
            values["format"] = parse_format(output.suffix, "-o")
        else:
            raise UsageError(f"-o {output} has no suffix to name its format", hint="-o edges.png, or --format png")
    named = formats.BY_SUFFIX.get(output.suffix.lower())
    if not values["to_stdout"] and named is not None and named.name != values["format"]:
        raise UsageError(f"-o {output} and --format {values['format']} disagree", hint="keep one of them")
    if values.get("layout") == "maps" and values["format"] not in (*formats.RAW, "tiff"):
        raise UsageError(
            f"-o {output} is one file and cannot hold the maps as {values['format']}",
            hint="--out-dir for one file per map, -o maps.npy for all maps, or --layout sheet",
        )


def _refuse_contradictions(request: ApplyRequest) -> None:
    """Refuse flags that exclude each other, and those that would have to be ignored."""
    if not request.kernels and request.stack is None:
        raise UsageError("no kernel given", hint="-k sobel; `convcli kernels list` shows the names")
    if request.kernels and request.stack is not None:
        raise UsageError("--kernel and --stack exclude each other", hint="put the kernel into the stack file")
    if request.overwrite and request.skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other", hint="keep one of them")
    row = formats.BY_NAME.get(request.format or "")
    if request.depth is not None and row is not None and not row.raw and request.depth not in row.depths:
        able = [*formats.able("depths", request.depth), *(formats.RAW if request.depth == "float" else ())]
        raise UsageError(
            f"--depth {request.depth} cannot be stored as {request.format}",
            hint=f"--format {', '.join(able[:-1])} or {able[-1]}",
        )
    _refuse_what_has_no_effect(request)
    if request.output_padding != (0, 0) and not request.transposed:
        raise UsageError("--output-padding needs --transposed", hint="add --transposed, or leave it out")


def _refuse_what_has_no_effect(request: ApplyRequest) -> None:
    """Refuse flags that would be parsed and then ignored, which would be a silent lie."""
    raw = request.kind == "raw" or request.format in formats.RAW
    tells = [
        (request.is_one_file and request.out_dir != Path(), "--out-dir does nothing beside -o", "keep one of them"),
        (request.is_one_file and request.name is not None, "--name does nothing beside -o", "keep one of them"),
        (request.outputs != "last" and request.stack is None, "--outputs is for stacks", "add --stack FILE"),
        (raw and request.tone != "auto", "--tone does nothing to raw maps", "a picture format, or no --tone"),
        (raw and request.colormap is not None, "--colormap does nothing to raw maps", "a picture format"),
        (raw and request.depth in ("8", "16"), "raw maps are float32", "--depth float, or a picture format"),
        (raw and request.layout in ("picture", "sheet"), f"{request.format} holds raw maps", "a picture format"),
        (request.kind != "picture" and request.alpha != "premultiply", "--alpha is for pictures", "--layout picture"),
        (request.kind == "sheet" and request.depth not in (None, "8"), "a sheet has 8 bits", "leave --depth out"),
        (request.colormap is not None and request.depth not in (None, "8"), "colours have 8 bits", "no --depth"),
        (request.dtype == "float64" and request.device == "mps", "mps has no float64", "--dtype float32"),
    ]
    for is_so, message, hint in tells:
        if is_so:
            raise UsageError(message, hint=hint)


def _parse_limit(text: str, flag: str) -> int:
    if not text.strip().isdecimal() or not 0 < int(text) < 10**18:
        raise UsageError(f"{flag} {text!r} is not a limit", hint="a whole number from 1 on")
    return int(text)


def _parse_groups(text: str) -> int | None:
    if text.strip().lower() == "auto":
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"--groups {text!r} is not a number of groups", hint="--groups auto, or a number from 1 on")
    return int(text)


def _parse_channels(text: str) -> tuple[str, ...]:
    names = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    if not names or len(set(names)) != len(names):
        raise UsageError(f"--channels {text!r}: each plane once, by commas", hint="--channels r,g,b or luma or a")
    return names


_PARSERS: dict[str, Callable[[str], object]] = {
    "stride": lambda text: parse_pair(text, "--stride", minimum=1),
    "padding": parse_padding,
    "dilation": lambda text: parse_pair(text, "--dilation", minimum=1),
    "groups": _parse_groups,
    "output_padding": lambda text: parse_pair(text, "--output-padding", minimum=0),
    "bias": lambda text: parse_floats(text, "--bias"),
    "mode": lambda text: choice(text, "--mode", ("correlate", "convolve")),
    "anchor": lambda text: parse_pair(text, "--anchor", minimum=0),
    "dtype": lambda text: choice(text, "--dtype", ("float32", "float64")),
    "engine": lambda text: text.strip().lower(),
    "device": lambda text: choice(text, "--device", ("cpu", "cuda", "mps")),
    "channels": _parse_channels,
    "orientation": lambda text: choice(text, "--orientation", ("apply", "keep", "ignore")),
    "alpha": lambda text: choice(text, "--alpha", ALPHAS),
    "frames": check_frames,
    "normalize": parse_normalize,
    "layout": lambda text: choice(text, "--layout", LAYOUTS),
    "combine": lambda text: choice(text, "--combine", COMBINES),
    "format": lambda text: parse_format(text, "--format"),
    "tone": lambda text: text.strip().lower(),
    "depth": lambda text: choice(text, "--depth", ("8", "16", "float")),
    "compress": lambda text: choice(text, "--compress", ("fast", "default", "small")),
    "outputs": str.strip,
    "name": check_template,
    "threads": lambda text: parse_count(text, "--threads", minimum=1),
    "max_taps": lambda text: _parse_limit(text, "--max-taps"),
    "max_pixels": lambda text: _parse_limit(text, "--max-pixels"),
    "out_dir": Path,
    "stack": Path,
    "memory": lambda text: parse_bytes(text, "--memory"),
}
