"""Command lines of ``apply`` that need no parser: every word is an input, a whole flag or a flag's value.

Typer takes 30 ms to load and to read one, a third of what ``apply`` takes for a small photograph. It remains the only
authority: whatever is not as plain as this, and every mistake, is read by it, and a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from convcli.cli.call import ApplyCall, make_call

#: Flags that are there or not.
SWITCHES = frozenset({
    "transposed", "unit", "recursive", "null", "overwrite", "skip_existing", "json", "quiet", "dry_run", "fail_fast",
    "resume",
})  # fmt: skip
#: Flags whose value is a whole number.
NUMBERS = frozenset({"max_pixels", "max_taps", "jobs", "threads"})
#: Flags whose value is text; ``kernel`` may come several times.
TEXTS = frozenset({
    "kernel", "stack", "outputs", "stride", "padding", "padding_mode", "dilation", "groups", "output_padding", "bias",
    "mode", "anchor", "engine", "dtype", "device", "channels", "orientation", "alpha", "frames", "normalize",
    "files_from", "output", "out_dir", "layout", "combine", "format", "name", "tone", "depth", "colormap", "compress",
    "report", "memory",
})  # fmt: skip
#: Short names.
SHORT = {"-k": "kernel", "-o": "output", "-r": "recursive", "-0": "null", "-q": "quiet", "-j": "jobs"}
_NAMES = SHORT | {f"--{name.replace('_', '-')}": name for name in SWITCHES | NUMBERS | TEXTS}


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 19


def read_plain(arguments: Sequence[str]) -> ApplyCall | None:
    """Return what a command line asks of ``apply``; ``None`` where Typer is to read it.

    Examples
    --------
    >>> call = read_plain(["apply", "cat.png", "-k", "sobel", "--stride=2", "-q"])
    >>> call.words, call.flags["kernels"], call.flags["stride"], call.run.quiet
    (['cat.png'], ('sobel',), '2', True)
    >>> read_plain(["apply", "cat.png", "--help"]) is None
    True
    """
    if arguments[:1] != ["apply"]:
        return None
    inputs: list[str] = []
    values: dict[str, object] = {}
    kernels: list[str] = []
    rest = iter(arguments[1:])
    for word in rest:
        if word == "-" or not word.startswith("-"):
            inputs.append(word)
            continue
        flag, equals, value = word.partition("=")
        name = _NAMES.get(flag)
        if name is None or (equals and (name in SWITCHES or flag in SHORT)):
            return None
        if name in SWITCHES:
            values[name] = True
            continue
        value = value if equals else next(rest, "--")
        if (value.startswith("-") and value != "-") or (name in NUMBERS and not _is_number(value)):
            return None
        if name == "kernel":
            kernels.append(value)
        else:
            values[name] = int(value) if name in NUMBERS else value
    return make_call(inputs, kernels, values)
