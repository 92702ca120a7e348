"""Messages: lines on the standard streams, and how an expected failure is told."""

from __future__ import annotations

import sys

from convcli.errors import ConvcliError
from convcli.process.ending import EXIT_INTERRUPTED


def say(text: str, *, err: bool = False) -> None:
    """Write a line to standard output, or to standard error, and flush it."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # pythonw, or closed by the shell
        stream.write(f"{text}\n")
        # Both streams may go to one terminal or log: without flush their lines change order.
        stream.flush()


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

    say(f"convcli: error: {printable(str(error))}", err=True)
    if error.hint:
        say(f"hint: {printable(error.hint)}", err=True)
