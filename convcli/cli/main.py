"""Run a command line and turn every error into an exit code, and into an object for ``--json``."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convcli.errors import ConvcliError, UsageError
from convcli.process import ending
from convcli.process.ending import EXIT_INTERRUPTED
from convcli.process.system import shortage, too_long, unwritable
from convcli.render.text import complain, failure_json, interrupted_json, say

if TYPE_CHECKING:
    from convcli.pipeline.inputs import ApplyCall

#: Address space that Python, NumPy with its OpenBLAS, and Pillow take before any work: some 125 MiB on Linux.
_LEAST_BYTES = 128 << 20


def main(argv: Sequence[str] | None = None, *, owns_process: bool = False) -> None:
    """Run the command line, of this process if it is not given, and leave with an exit code of the README's table.

    ``owns_process`` says that nothing else runs in it, so that it may be forked, and its signals and streams are ours.
    """
    # Bands are our unit of parallelism: a BLAS that starts threads of its own inside them only gets in the way.
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    arguments = list(sys.argv[1:] if argv is None else argv)
    # What follows -- is a name, whatever it looks like.
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    json = "--json" in flags
    if owns_process:
        if not sys.warnoptions:  # what users are to know is said by us, with numbers
            import warnings

            warnings.simplefilter("ignore")
        ending.catch(f"{interrupted_json()}\n".encode() if json else b"")
    code = _finish(arguments, owns_process, json=json, debug="--debug" in flags)
    # A library may have taken the interrupt for a failure of its own.
    if owns_process and ending.was_asked():
        ending.clean_up()
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _finish(arguments: list[str], owns_process: bool, *, json: bool, debug: bool) -> int:
    """Run the command line to its end; tell its error, here and nowhere else, and return the exit code."""
    try:
        code = _run(arguments, owns_process)
        if code == 0:
            check_output()
        return code
    except ConvcliError as error:
        if debug:
            import traceback

            traceback.print_exc()
        if json and not error.is_told:
            say(failure_json(error))
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        if json:
            say(interrupted_json())
        say("convcli: interrupted", err=True)
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - an unexpected exception is a bug: say so
        if ending.was_asked():
            return EXIT_INTERRUPTED
        if (expected := shortage(error) or too_long(error)) is not None:
            if json:
                say(failure_json(expected))
            complain(expected)
            return expected.exit_code
        import traceback

        if json:
            say(failure_json(ConvcliError(f"this is a bug ({type(error).__name__}: {error})", hint="please report it")))
        traceback.print_exc()
        say("convcli: this is a bug; please report it with the lines above", err=True)
        return 1
    finally:
        if "convcli.pipeline.staging" in sys.modules:  # URLs were used
            from convcli.pipeline.staging import remove_all

            remove_all()


def check_output() -> None:
    """Flush standard output.

    Raises
    ------
    OutputError
        Text was lost, and not because its reader has left or closed it on purpose.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    lost: OSError | None = getattr(raw, "lost", None)  # of :func:`convcli.process.system.secure`
    if lost is not None and lost.errno not in (errno.EPIPE, errno.EBADF):
        raise unwritable(lost)


def _run(arguments: list[str], owns_process: bool) -> int:
    """Run the command; return the exit code that a command line, its help or its batch ends with."""
    # The others compute nothing that takes long.
    if owns_process and arguments[:1] in (["apply"], ["compare"], ["explain"], ["kernels"], ["play"], ["job"]):
        ending.watch()
        if arguments[:2] != ["kernels", "list"]:
            _check_address_space()
    try:
        # A plain line does without Typer, whose start is a third of the time of a small picture.
        is_apply = arguments[:1] == ["apply"] and "_CONVCLI_COMPLETE" not in os.environ
        if is_apply and (call := read_plain(arguments[1:])) is not None:
            from convcli.cli.apply import run_apply

            run_apply(call, owns_process=owns_process)
            return 0
        if "_CONVCLI_COMPLETE" in os.environ or any("-completion" in word for word in arguments):
            from convcli.cli.completion import take_request

            if take_request(arguments):
                return 0
        from convcli.cli.app import run_app

        return run_app(arguments, owns_process=owns_process)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _check_address_space() -> None:
    """Refuse a limit within which NumPy does not load: OpenBLAS would end the process itself."""
    try:
        import resource
    except ImportError:
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST_BYTES:
        raise UsageError(
            f"the address space is limited to {allowed >> 20} MiB, and NumPy and Pillow take some {_LEAST_BYTES >> 20}",
            hint="ulimit -v 500000, or more for large images",
        )


def read_plain(arguments: Sequence[str]) -> ApplyCall | None:
    """Return the call that the arguments of ``apply`` state; ``None`` if Typer has to read them.

    Examples
    --------
    >>> call = read_plain(["cat.png", "-k", "sobel", "--stride=2", "-q"])
    >>> call.words, call.flags["kernels"], call.flags["stride"], call.run.quiet
    (['cat.png'], ('sobel',), '2', True)
    >>> read_plain(["cat.png", "--help"]) is None
    True
    """
    from convcli.pipeline.inputs import make_call
    from convcli.pipeline.request import OPTIONS

    by_flag = {flag: row for row in OPTIONS for flag in (row.flag, row.short) if flag}
    inputs: list[str] = []
    values: dict[str, Any] = {}
    rest = iter(arguments)
    for word in rest:
        if word == "-" or not word.startswith("-"):
            inputs.append(word)
            continue
        flag, equals, value = word.partition("=")
        row = by_flag.get(flag)
        if row is None or (equals and (row.kind is bool or flag == row.short)):
            return None
        if row.kind is bool:
            values[row.key] = True
            continue
        # A missing value becomes "--", which the next line leaves to Typer and its message.
        value = value if equals else next(rest, "--")
        if (value.startswith("-") and value != "-") or (row.kind is int and not _is_number(value)):
            return None
        if row.kind is list:
            values[row.key] = (*values.get(row.key, ()), value)
        else:
            values[row.key] = row.kind(value)
    return make_call(inputs, values)


def _is_number(value: str) -> bool:
    # isdigit() takes superscripts, which int() does not read; 18 digits fit 64 bits.
    return value.isascii() and value.isdigit() and len(value) < 19
