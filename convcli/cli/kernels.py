"""``convcli kernels``: list, show, check and export kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convcli.banks.formats import SUFFIXES, WRITTEN


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    group = typer.Typer(
        name="kernels", no_args_is_help=True, rich_markup_mode=None, help="List, show, check and export kernels."
    )
    group.command(name="list")(list_)
    group.command(name="show")(show)
    group.command(name="check")(check)
    group.command(name="export")(export)
    app.add_typer(group)


def list_(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD...", help="Only kernels with each of these words.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Only kernels with this tag: edge, blur, texture, basis …")
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where name, use, source or tags contain it.")
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="Paper, book or program too: wide lines.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")] = False,
) -> None:
    """List the kernels that have names, and their use.

    \b
    Examples:
      convcli kernels list edge          everything about edges
      convcli kernels list --tag blur    kernels that blur
      convcli kernels list gabor --json  parameters with defaults and bounds
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.banks.library import list_kernels
    from convcli.errors import KernelError, near_names

    entries = list_kernels()
    known = {word for entry in entries for word in entry.tags}
    for word in tag or ():
        # An unknown tag is a typing error; an empty list would hide it.
        if word not in known:
            near = near_names(word, known) or f"tags are {', '.join(sorted(known))}"
            raise KernelError(f"no kernel has the tag '{word}'", hint=near, tag=word)
    entries = [entry for entry in entries if set(tag or ()) <= set(entry.tags)]
    wanted = [*(words or ()), *([] if grep is None else [grep])]
    entries = [entry for entry in entries if all(map(entry.has, wanted))]
    if json:
        _print_json([entry.as_dict() for entry in entries])
        return
    if not entries:
        from convcli.pipeline.report import printable

        asked = " and ".join(repr(printable(each)) for each in (*(tag or ()), *wanted))
        typer.echo(f"nothing matches {asked}", err=True)
        return
    from convcli.render.kernels import render_list
    from convcli.render.messages import tell

    tell(render_list(entries, source=source))


def _print_json(data: object) -> None:
    from convcli.pipeline.report import to_json

    typer.echo(to_json(data, indent=2))


def show(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A name, family:param=value, file or matrix.")],
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw taps and responses into a picture.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every kernel of a large bank in full.")] = False,
    color: Annotated[
        bool | None, typer.Option("--color/--no-color", help="Coloured taps (default: on a terminal).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
    max_taps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Raise the limit of taps.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")] = False,
) -> None:
    """Show taps, norms, rank, symmetry, cost and response.

    For each kernel: taps, sum, norms, rank and factors, symmetry, range of the output, cost, gain and
    frequency response; of a family its parameters too.

    \b
    Examples:
      convcli kernels show sobel
      convcli kernels show gabor                         parameters too
      convcli kernels show gaussian:sigma=2 --png g.png  a picture
      convcli kernels show net.safetensors#conv1.weight  of a checkpoint
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.banks.library import families_of, family_of_same_name
    from convcli.banks.load import load_bank
    from convcli.banks.stats import bank_stats
    from convcli.errors import UsageError

    if png is not None and png.suffix.lower() != ".png":
        raise UsageError(f"--png {png} has not the suffix of a PNG", hint=f"--png {png.stem or 'kernel'}.png")
    bank = load_bank(spec, max_taps=max_taps)
    # One name can mean a table and, with parameters, a family: the reader must know which one is shown.
    family = family_of_same_name(spec)
    if family is not None:
        bank = bank.noted(f"the fixed table of that name; with parameters it is the family {family}")
    stats = bank_stats(bank)
    # Before any text is printed: a picture that cannot be written must not follow a success.
    if png is not None:
        from convcli.images.files import save_bytes
        from convcli.render.kernels_sheet import draw_sheet

        save_bytes(png, draw_sheet(bank, stats), overwrite=overwrite)
    named = [family for family in families_of(spec) if family.parameters]
    if json:
        parameters = {family.name: [one.as_dict() for one in family.parameters] for family in named}
        facts = {**bank.as_dict(taps=True), "kernels": [one.as_dict() for one in stats]}
        _print_json(facts | ({"parameters": parameters} if parameters else {}))
        return
    from convcli.process.system import takes_colours
    from convcli.render.families import parameter_table
    from convcli.render.kernels import MOST_IN_FULL, render_bank

    in_full = all_ or bank.n_kernels <= MOST_IN_FULL
    if in_full and (takes_colours() if color is None else color):
        from convcli.render.kernels_colour import print_bank

        print_bank(bank, stats, forced=color is True)
    else:
        from convcli.render.messages import tell

        tell(render_bank(bank, stats, in_full=in_full, first=_first_of(spec)))
    for one in named:
        typer.echo(f"\n{parameter_table(one)}")
    if png is not None:
        from convcli.pipeline.report import printable

        typer.echo(f"written {printable(str(png))}")


def _first_of(spec: str) -> str:
    """Return the SPEC of a bank's first kernel, quoted for a shell."""
    import shlex

    from convcli.banks.library import is_known
    from convcli.banks.spec import Operation, parse_spec

    # select=0 binds tighter than an operation: without brackets it would choose from the last operand.
    whole = f"({spec})" if isinstance(parse_spec(spec, is_known=is_known), Operation) else spec
    return shlex.quote(f"{whole.strip()} select=0")


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Kernel files of any format.")],
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")] = False,
) -> None:
    """Check kernel files; list the entries of checkpoints.

    Errors name the line and field. Warnings name what is missing although the file loads.
    """
    from convcli.banks.check import check_file
    from convcli.errors import KernelError
    from convcli.render.kernels import check_lines
    from convcli.render.messages import tell, warn

    results: list[dict[str, object]] = []
    bad: list[KernelError] = []
    for file in files:
        try:
            result = check_file(file)
        except KernelError as error:
            # The other files are still checked; the last error, raised at the end, gives the exit code.
            bad.append(error)
            results.append({"path": str(file), "error": error.as_dict()})
            continue
        results.append({**result.as_dict(), "error": None})
        if not json:
            tell("\n".join(check_lines(result)))
    if json:
        _print_json(results)
    for earlier in bad[:-1]:
        warn("error", str(earlier))
    if bad:
        bad[-1].is_told = json
        raise bad[-1]


def export(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A name, family:param=value, file or matrix.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help=f"{' '.join(WRITTEN)}; by the suffix of -o if not given.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")
    ] = None,
    round_: Annotated[bool, typer.Option("--round", help="Allow losses, and print their size.")] = False,
    convolve: Annotated[
        bool, typer.Option("--convolve", help="Turn the taps by 180°, for a program that convolves.")
    ] = False,
    max_taps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Raise the limit of taps.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Say where it is, and the notes, as JSON.")] = False,
) -> None:
    """Write kernels in another format.

    Taps are written as correlation taps unless --convolve; losses are refused unless --round.
    """
    from convcli.banks.formats import export_bank
    from convcli.banks.load import load_bank
    from convcli.errors import UsageError
    from convcli.pipeline.report import printable
    from convcli.process.system import is_terminal, write_output

    to_stdout = output is None or str(output) == "-"
    if to_stdout and json:
        raise UsageError("the kernels and --json both want standard output", hint="-o FILE")
    # A guessed format would write a file that another program misreads.
    if format_ is None and (to_stdout or output is None or output.suffix.lower() not in SUFFIXES):
        where = "standard output" if to_stdout else f"'{output}'"
        raise UsageError(f"no --format, and {where} has no suffix that tells", hint="--format toml, for example")
    if format_ is None and output is not None:
        format_ = SUFFIXES[output.suffix.lower()]
    bank = load_bank(spec, max_taps=max_taps)
    exported = export_bank(bank, str(format_), rounding=round_, turn=convolve)
    # Notes go to standard error: standard output may be the exported file.
    notes = list(dict.fromkeys((*bank.notes, *exported.notes)))
    for note in [] if json else notes:
        typer.echo(f"note: {printable(note)}", err=True)
    if output is None or to_stdout:
        if is_terminal() and b"\0" in exported.data:
            raise UsageError(f"{format_} is binary and standard output is a terminal", hint="-o FILE, or a pipe")
        write_output(exported.data)
        return
    from convcli.images.files import save_bytes

    save_bytes(output, exported.data, overwrite=overwrite)
    if json:
        _print_json({"path": str(output), "format": format_, "bytes": len(exported.data), "notes": notes})
