"""What a command line asks of ``apply``, as plain data, whoever has read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class RunFlags(NamedTuple):
    """Flags that say how the batch runs and what it prints, not what is computed."""

    recursive: bool = False
    files_from: str | None = None
    null: bool = False
    report: str | None = None
    json: bool = False
    quiet: bool = False
    dry_run: bool = False
    jobs: int | None = None
    fail_fast: bool = False
    resume: bool = False


class ApplyCall(NamedTuple):
    """Inputs as they were named, the flags of :func:`convcli.pipeline.flags.parse_request`, and :class:`RunFlags`."""

    words: Sequence[str]
    flags: Mapping[str, object]
    run: RunFlags


def make_call(inputs: Sequence[str], kernels: Sequence[str], values: Mapping[str, object]) -> ApplyCall:
    """Return the call of inputs, kernels and other flags by name; what is ``None`` or ``False`` was not given."""
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    run = {name: given.pop(name) for name in RunFlags._fields if name in given}
    return ApplyCall(list(inputs), {"kernels": tuple(kernels), **given}, RunFlags(**run))  # type: ignore[arg-type]
