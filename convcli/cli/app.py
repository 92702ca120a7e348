"""The Typer app: a command is imported where it is asked for, the others are names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from convcli.cli.call import ApplyCall
from convcli.version import __version__

#: Command (the module of this package that has ``register(app)``) and what the list of commands says about it.
COMMANDS = {
    "apply": "Apply kernels to images: feature maps or pictures, and a report.",
    "shape": "Output shapes, parameters, MACs and receptive fields of layers.",
    "kernels": "List, show, check and export kernels.",
    "compare": "Run every engine on one image and compare them.",
    "explain": "Write one output sample out: patch, taps, products, sum.",
    "play": "Write a page on which kernels can be tried on a photo.",
    "animate": "Draw the sliding window of a layer as SVG or GIF.",
}


def read_command(arguments: Sequence[str], run_apply: Callable[[ApplyCall], None]) -> None:
    """Read a command line and run it; what ``apply`` is asked for goes to ``run_apply``.

    Raises
    ------
    SystemExit
        Always.
    """
    build_app(arguments)(list(arguments), prog_name="convcli", obj=run_apply)


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


def _show_version(asked: bool) -> None:
    if asked:
        from convcli.engine import native

        typer.echo(f"convcli {__version__}, {native.describe()}")
        raise typer.Exit


def _nothing() -> None:
    """Stand in the list of commands for one that was not asked for."""
