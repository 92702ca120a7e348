"""What became of one input of a batch."""

from __future__ import annotations

from typing import Any, NamedTuple

from convcli.errors import ConvcliError, UsageError
from convcli.pipeline.names import InputFile


class Outcome(NamedTuple):
    """What became of one input: a report, an error, or the reason why it was left alone.

    ``bug`` is the traceback where the error is not the input's fault but ours.
    """

    source: InputFile
    report: dict[str, Any] | None = None
    error: ConvcliError | None = None
    skipped: str | None = None
    bug: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the outcome as plain data."""
        if self.error is not None:
            return {"status": "failed", "input": {"path": self.source.label}, "error": self.error.as_dict()}
        if self.skipped is not None:
            return {"status": "skipped", "input": {"path": self.source.label}, "reason": self.skipped}
        return {"status": "done", **(self.report or {})}


def failed_by_bug(source: InputFile, error: Exception) -> Outcome:
    """Return the outcome of an input on which the program broke; memory that runs out is no bug."""
    if isinstance(error, MemoryError):
        scarce = UsageError("not enough memory for it", hint="-j 1 --threads 1 --memory 256M takes less")
        return Outcome(source=source, error=scarce.within(source.label))
    import traceback

    failure = ConvcliError(
        f"this is a bug ({type(error).__name__}: {error})", hint="please report it with the lines above"
    )
    failure.__cause__ = error
    return Outcome(source=source, error=failure.within(source.label), bug="".join(traceback.format_exception(error)))
