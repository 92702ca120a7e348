"""The Typer app: imports the command that was asked for; the others are only names and summaries.

Annotations are not postponed: Typer would evaluate each of them again at every start.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from convcli.errors import ConvcliError, UsageError
from convcli.version import __version__

_SHELLS = "bash, zsh, fish, powershell"

#: Summary of each command.
COMMANDS = {
    "apply": "Apply kernels to images: feature maps or pictures, and a report.",
    "shape": "Output shapes, parameters, MACs and receptive fields of layers.",
    "kernels": "List, show, check and export kernels.",
    "compare": "Run every engine on one image and compare them.",
    "explain": "Write one output sample out: patch, taps, products, sum.",
    "play": "Write a page on which kernels can be tried on a photo.",
    "job": "Cut a batch into shards that any scheduler can run.",
    "animate": "Draw the sliding window of a layer as SVG or GIF.",
}
#: Modules of the commands that have none of their own name. Each module has them in a Typer app, ``commands``.
_HOMES = {"compare": "engines", "explain": "engines", "play": "pages", "animate": "pages"}


def run_app(argv: Sequence[str], *, owns_process: bool) -> int:
    """Run the command that ``argv`` names, which may fork if it owns the process; return the exit code."""
    try:
        code = build_app(argv)(argv, prog_name="convcli", obj=owns_process, standalone_mode=False)
    except ConvcliError:
        raise
    except Exception as error:
        # The classes of these exceptions have no public name in Typer, their method has.
        if not hasattr(error, "format_message"):
            raise
        said = error.format_message()
        if "\n" in said:  # no words at all: the help
            typer.echo(said, err=True)
            return UsageError.exit_code
        words = [word for word in argv if not word.startswith("-")]
        command = (
            " ".join(words[: 2 if words[0] in ("kernels", "job") else 1]) if words[:1] and words[0] in COMMANDS else ""
        )
        from convcli.cli.mistakes import usage_error

        raise usage_error(error, argv, command) from None
    return code if isinstance(code, int) else 0


def build_app(argv: Sequence[str]) -> typer.Typer:
    """Return the Typer app with the command that ``argv`` names; if it names none, with a summary of each.

    The object of its context says whether nothing else runs in the process.
    """
    # rich_markup_mode=None: Rich takes tens of milliseconds to load, for the help alone.
    app = typer.Typer(
        name="convcli",
        rich_markup_mode=None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback()(_root)
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name == asked == "apply":
            from convcli.cli.flags import SectionedCommand, with_options

            app.command(name, cls=SectionedCommand)(with_options()(_apply))
        elif name == asked:
            app.add_typer(import_module(f"convcli.cli.{_HOMES.get(name, name)}").commands)
        elif asked not in COMMANDS:
            app.command(name, help=summary)(lambda: None)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        from convcli.engine import loops

        typer.echo(f"convcli {__version__}, {loops()}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of expected errors too.")] = False,
    # Only for the help: convcli.cli.completion takes both, with or without the name of a shell.
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion", metavar="[SHELL]", help=f"For your shell, or the one named behind it: {_SHELLS}."
        ),
    ] = False,
    show_completion: Annotated[
        bool, typer.Option("--show-completion", metavar="[SHELL]", help="Print the script instead.")
    ] = False,
) -> None:
    """Convolve images with kernel banks, compute shapes without a model.

    \b
    Three commands to begin with:
      convcli apply photo.jpg -k sobel             feature maps and a shape report
      convcli shape 3x224x224 conv:64,k=7,s=2,p=3  output shape, parameters, MACs
      convcli kernels list edge                    kernels that find edges

    convcli COMMAND --help shows the flags and more examples.
    """  # noqa: D301 - the mark that keeps the lines below apart


def _apply(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Images, folders, quoted globs, URLs; - is standard input."),
    ] = None,
    **flags: object,
) -> None:
    """Apply a kernel bank to images: one feature map per kernel and plane, and a shape report.

    \b
    Examples:
      convcli apply photo.jpg -k sobel                 maps, in photo_sobel/
      convcli apply photo.jpg -k sharpen -o sharp.jpg  one picture
      convcli apply photo.jpg -k gabor:angle=45 -o maps.npy
                                                       the raw values
      convcli apply photo.jpg -k "1 0 -1" --stride 2 --report r.html
                                                       a page that shows all
      convcli apply photos/ -r -k box --layout picture --out-dir soft
                                                       every picture of a folder
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.cli.apply import run_apply
    from convcli.pipeline.inputs import make_call

    run_apply(make_call(inputs, flags), owns_process=context.obj)
