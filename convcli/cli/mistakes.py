"""Mistakes that Typer finds, in our words: the fact, and what to do."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from convcli.errors import UsageError, near_names
from convcli.pipeline.request import OPTIONS

#: Flags of other programs and libraries, without dashes and in small letters, and what does that here. A hint is shown
#: by the commands that have its first flag.
_MEANT = {
    "-k gaussian:sigma=2": "blur gaussian gaussianblur gaussian_blur sigma",
    "-k '3x3: 0,1,0 1,-4,1 0,1,0'": "convolve convolution matrix",
    "-k sobel": "f filter kernels morphology op vf weight weights",
    "-k 'gaussian:sigma=2,size=5'; each family has its own parameters": "k_size kernel_size ksize radius size",
    "--padding-mode replicate": "b border border_mode border_type bordertype boundary edge extend virtual_pixel",
    "--padding 1": "p pad",
    "--stride 2": "s step strides subsample",
    "--dilation 2": "d dilate dilations rate",
    "--groups 3": "g group",
    "--channels luma": "c channel color colorspace gray grayscale grey greyscale",
    "-o out.png": "O of outfile outfile output_file out_file",
    "--out-dir out": "dest destination outdir output_dir",
    "--overwrite": "clobber force y",
    "--tone offset:128": "delta offset",
    "--tone scale:0.25": "gain scale",
    "--tone stretch": "auto_level autolevel contrast_stretch equalize",
    "--depth float": "ddepth",
    "--region 0,0,64,48": "crop extract roi",
    "--memory 2G": "limit max_memory",
    "--quiet": "silent",
    "--device cuda": "cuda gpu",
    "--threads 4": "num_threads nthreads t thread",
    "--jobs 4": "num_workers parallel workers",
}
_INPUTS = ("i", "image", "images", "in", "infile", "input", "inputs", "src")


def usage_error(error: Any, argv: Sequence[str], command: str) -> UsageError:
    """Return a mistake that Typer has found; ``argv`` is the whole line, and ``command`` the one it names."""
    context, said = getattr(error, "ctx", None), error.format_message()
    lists = f"{context.command_path if context else f'convcli {command}'.strip()} --help"
    parameters = {name: each for each in (context.command.params if context else ()) for name in each.opts}
    parameter: Any = getattr(error, "param", None)
    flag = getattr(error, "option_name", None)
    usage = _usage(parameter.opts[-1], parameter.metavar, parameter.help) if getattr(parameter, "help", None) else lists
    if said.startswith("Invalid value for") and parameter is not None:
        wrong = re.sub(r" is not a valid int( range)?", " is not a whole number", error.message)
        wrong = re.sub(r" is not a valid float( range)?", " is not a number", wrong)
        return UsageError(_lowered(f"{parameter.opts[-1]}: {wrong}"), hint=usage)
    if context is not None and (extra := re.match(r"Got unexpected extra arguments? ?(?:\(s\) )?\((.*)\)", said)):
        return UsageError(f"too many arguments: {extra[1]}", hint=_line(context))
    if said.startswith("Missing argument") and context is not None:
        return UsageError(_lowered(said), hint=_line(context))
    if said.startswith("Missing option"):
        return UsageError(_lowered(said), hint=usage)
    if "requires an argument" in said and command == "apply":
        row = next(row for row in OPTIONS if flag in (row.flag, row.short))
        return UsageError(_lowered(said), hint=_usage(row.flag, row.metavar, row.meaning))
    if flag is not None and said.startswith("No such option"):
        typed = _as_typed(flag, argv)
        elsewhere = command != "apply" and any(typed in (row.flag, row.short) for row in OPTIONS)
        if elsewhere:
            return UsageError(f"no such option: {typed}", hint=f"it is one of convcli apply; {lists} lists those here")
        if os.path.lexists(typed):
            return UsageError(f"no such option: {typed}", hint=f"./{shlex.quote(typed)} is the file of that name")
        hint = _meant(typed, parameters) or near_names(typed, getattr(error, "possibilities", None) or (), limit=2)
        return UsageError(f"no such option: {typed}", hint=_with(hint, lists))
    fact, _, names = said.partition(" Did you mean ")
    word = re.sub(r"^No such command '(.*)'\.$", r"\1", fact)
    if word != fact and not names and os.path.exists(word):  # noqa: PTH110 - no exception for odd names
        return UsageError(_lowered(fact), hint=f"convcli apply {shlex.quote(word)} -k sobel")
    return UsageError(_lowered(fact), hint=_with(names and f"did you mean {names}".replace("'", ""), lists))


def _line(context: Any) -> str:
    """Return how a command is written: its name, and what it takes."""
    return re.sub(r"[{}]", "", " ".join(context.get_usage().split())).removeprefix("Usage: ")


def _with(hint: str, lists: str) -> str:
    if hint.startswith("did you mean"):
        return f"{hint} {lists} lists all"
    return hint or lists


def _lowered(fact: str) -> str:
    return fact[:1].lower() + fact[1:].removesuffix(".")


def _usage(flag: str, metavar: str | None, meaning: str) -> str:
    return f"{flag} {metavar or 'N'}: {meaning[:1].lower()}{meaning[1:]}".removesuffix(".")


def _as_typed(flag: str, argv: Sequence[str]) -> str:
    """Return the word that was typed: of ``-stride`` Typer takes ``-s`` for the option.

    Examples
    --------
    >>> _as_typed("-s", ["apply", "a.png", "-stride", "2"]), _as_typed("--pad", ["--pad=2"])
    ('-stride', '--pad')
    """
    words = [word.partition("=")[0] for word in argv if len(flag) == 2 and re.match(rf"{re.escape(flag)}[a-z]", word)]
    return words[0] if words else flag


def _meant(typed: str, parameters: dict[str, Any]) -> str:
    word = typed.lstrip("-").replace("-", "_")
    if f"--{typed.lstrip('-')}" in parameters:
        return f"two dashes: --{typed.lstrip('-')}"
    if word.lower() in _INPUTS:
        return "inputs need no flag: convcli apply photo.jpg -k sobel"
    return next(
        (
            hint
            for hint, words in _MEANT.items()
            if hint.split()[0] in parameters and {word, word.lower()} & set(words.split())
        ),
        "",
    )
