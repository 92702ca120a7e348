"""Messages: lines on the standard streams, and how an expected failure is told."""

from __future__ import annotations

import sys

from convcli.errors import ConvcliError
from convcli.process.ending import EXIT_INTERRUPTED
from convcli.process.system import columns, takes_colours

#: Colours of the words that begin a message: SGR codes, bold red, yellow and cyan.
_COLOURS = {"error": "1;31", "warning": "1;33", "hint": "36"}


def say(text: str, *, err: bool = False) -> None:
    """Write a line to standard output, or to standard error, and flush it."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # pythonw, or closed by the shell
        stream.write(f"{text}\n")
        # Both streams may go to one terminal or log: without flush their lines change order.
        stream.flush()


def tell(text: str, *, err: bool = False) -> None:
    """Write text for a person: on a terminal, lines too long for it go on below their first word's column."""
    room = columns(err=err)
    say(text if room is None else "\n".join(folded(line, room) for line in text.split("\n")), err=err)


def folded(line: str, room: int) -> str:
    """Return a line in lines of at most ``room`` letters, broken at spaces; words are never broken.

    Examples
    --------
    >>> print(folded("note     too long to fit", 18))
    note     too long
             to fit
    """
    if len(line) <= room:
        return line
    import re
    import textwrap

    found = re.match(r"(convcli: )?\w+: |[\w ]{8} (?=\S)", line)
    # The words go on under the first one behind a label, if that leaves them room.
    indent = found.end() if found and found.end() < room // 2 else 2
    options = {"subsequent_indent": " " * indent, "break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(line, room, **options, replace_whitespace=False, drop_whitespace=True)  # type: ignore[arg-type]


def warn(what: str, *texts: str) -> None:
    """Write ``convcli: what: text`` to standard error for each text, with control characters made visible."""
    from convcli.pipeline.report import printable

    for text in texts:
        _label(f"convcli: {what}: {printable(text)}", what)


def _label(line: str, what: str) -> None:
    """Write a message, the word that says what it is in colour where the terminal has them."""
    room = columns(err=True)
    line = line if room is None else folded(line, room)
    code = _COLOURS.get(what)
    if code and takes_colours(err=True):
        line = line.replace(f"{what}:", f"\x1b[{code}m{what}:\x1b[0m", 1)
    say(line, err=True)


def failure_json(error: ConvcliError) -> str:
    """Return a failure as one line of JSON, for ``--json``.

    Examples
    --------
    >>> failure_json(ConvcliError("no", hint="yes"))
    '{"status": "failed", "error": {"kind": "error", "exit_code": 1, "message": "no", "hint": "yes"}}'
    """
    from convcli.pipeline.report import to_json

    return to_json({"status": "failed", "error": error.as_dict()})


def interrupted_json(message: str = "interrupted") -> str:
    """Return an interrupt as one line of JSON, as :func:`failure_json` tells failures."""
    from convcli.pipeline.report import to_json

    error = {"kind": "interrupted", "exit_code": EXIT_INTERRUPTED, "message": message, "hint": None}
    return to_json({"status": "failed", "error": error})


def complain(error: ConvcliError) -> None:
    """Write the fact and what to do, one line each, with control characters of user text made visible."""
    from convcli.pipeline.report import printable

    warn("error", str(error))
    if error.hint:
        _label(f"hint: {printable(error.hint)}", "hint")
