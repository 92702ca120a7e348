"""Run a command line and turn every error into an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import EXIT_INTERRUPTED, ConvcliError, OutputError
from convcli.render.messages import complain, say

if TYPE_CHECKING:
    from convcli.cli.options import ApplyCall


class Program(NamedTuple):
    """The process that a command runs in."""

    #: Whether nothing else runs in it, so that it may be forked.
    owns_process: bool

    def apply(self, call: ApplyCall) -> None:
        """Run ``apply``."""
        from convcli.cli.apply import run_apply

        run_apply(call, owns_process=self.owns_process)


def main(argv: Sequence[str] | None = None, *, owns_process: bool = False) -> None:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program name; ``sys.argv[1:]`` if absent.
    owns_process : bool
        Whether nothing else runs in this process, so that it may be forked.

    Raises
    ------
    SystemExit
        Always; the code is one of the table in the README.
    """
    # Bands are our unit of parallelism: a BLAS that starts threads of its own inside them only gets in the way.
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        # Errors are told here and nowhere else: whatever runs below may raise at any depth.
        _run(arguments, owns_process)
    except ConvcliError as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("convcli: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        # Only errors of writing standard output: any other OSError at this place is a bug.
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EPIPE):
            raise
        # Buffered output cannot be written either, and Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if error.errno == errno.EPIPE:  # the reader has closed the pipe
            sys.exit(1)
        complain(OutputError(f"cannot write standard output: {error.strerror}", hint="check where it goes"))
        sys.exit(OutputError.exit_code)
    except Exception:  # noqa: BLE001 - an unexpected exception is a bug: say so
        import traceback

        traceback.print_exc()
        say("convcli: this is a bug; please report it with the lines above", err=True)
        sys.exit(1)
    finally:
        if "convcli.pipeline.staging" in sys.modules:  # URLs were used
            from convcli.pipeline.staging import remove_all

            remove_all()


def _run(arguments: list[str], owns_process: bool) -> None:
    program = Program(owns_process)
    # A plain line does without Typer, whose start is a third of the time of a small picture.
    if arguments[:1] == ["apply"] and "_CONVCLI_COMPLETE" not in os.environ:
        from convcli.cli.options import read_plain

        if (call := read_plain(arguments[1:])) is not None:
            program.apply(call)
            sys.exit()
    if "_CONVCLI_COMPLETE" in os.environ or any("-completion" in word for word in arguments):
        from convcli.cli.completion import take_request

        if take_request(arguments):
            sys.exit()
    from convcli.cli.app import build_app

    build_app(arguments)(arguments, prog_name="convcli", obj=program)
