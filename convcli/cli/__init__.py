"""The command line: flags → request, result → text, error → exit code.

Only the module of the command that was asked for is imported, and no module here imports NumPy, Pillow, torch or
Rich at its top: start-up is paid by every turn of a shell loop. The single ``except ConvcliError`` of the project
is in :func:`main`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from convcli import __version__
from convcli.cli.complain import complain
from convcli.errors import EXIT_INTERRUPTED, ConvcliError, OutputError

#: Command (the module of this package that has ``register(app)``) and what the list of commands says about it.
COMMANDS = {
    "apply": "Apply kernels to images: feature maps or pictures, and a report.",
    "shape": "Output shapes, parameters, MACs and receptive fields of layers.",
    "kernels": "List, show, check and export kernels.",
    "compare": "Run every engine on one image and compare them.",
    "explain": "Write one output sample out: patch, taps, products, sum.",
}


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"convcli {__version__}")
        raise typer.Exit


def build_app(argv: Sequence[str]) -> typer.Typer:
    """Return the Typer app with the command that ``argv`` names; without one, with their names only."""
    app = typer.Typer(
        name="convcli",
        rich_markup_mode=None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

    @app.callback()
    def root(
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of expected errors too.")] = False,
    ) -> None:
        """Convolve images with kernel banks, compute shapes without a model."""

    asked = next((word for word in argv if not word.startswith("-")), None)
    completing = "_CONVCLI_COMPLETE" in os.environ
    for name, summary in COMMANDS.items():
        if name == asked or completing:
            import_module(f"convcli.cli.{name}").register(app)
        elif asked not in COMMANDS:
            app.command(name, help=summary)(_nothing)
    return app


def _nothing() -> None:
    """Stand in the list of commands for one that was not asked for."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program name; ``sys.argv[1:]`` if absent.

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
        build_app(arguments)(arguments, prog_name="convcli")
    except ConvcliError as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("convcli: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EPIPE):
            raise
        # Whatever is still buffered cannot be written either, and Python would say so once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        complain(OutputError(f"cannot write standard output: {error.strerror}", hint="check where it goes"))
        sys.exit(OutputError.exit_code)
    except Exception:  # noqa: BLE001 - the edge: whatever is not expected is a bug, said as one
        import traceback

        traceback.print_exc()
        typer.echo("convcli: this is a bug; please report it with the lines above", err=True)
        sys.exit(1)
