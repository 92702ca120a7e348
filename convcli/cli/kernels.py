"""``convcli kernels``: list, show, check and export kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convcli.banks.formats import SUFFIXES, WRITTEN
from convcli.errors import KernelError, UsageError, near_names
from convcli.pipeline.report import printable, to_json
from convcli.process.system import is_terminal, local_path, write_output
from convcli.render.text import say, takes_colours, tell, warn

_Json = Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")]
_MaxTaps = Annotated[int | None, typer.Option(min=1, metavar="N", help="Raise the limit of taps.")]
_Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A name, family:param=value, file or matrix.")]

commands = typer.Typer(
    name="kernels", no_args_is_help=True, rich_markup_mode=None, help="List, show, check and export kernels."
)


@commands.command("list")
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
    json: _Json = False,
) -> None:
    """List the kernels that have names, and their use.

    \b
    Examples:
      convcli kernels list edge          everything about edges
      convcli kernels list --tag blur    kernels that blur
      convcli kernels list gabor --json  parameters with defaults and bounds
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.banks.library import list_kernels

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
        say(to_json([entry.as_dict() for entry in entries], indent=2))
        return
    if not entries:
        asked = " and ".join(repr(printable(each)) for each in (*(tag or ()), *wanted))
        say(f"nothing matches {asked}", err=True)
        return
    from convcli.render.kernels import render_list

    tell(render_list(entries, source=source))


@commands.command("show")
def show(
    spec: _Spec,
    png: Annotated[
        Path | None, typer.Option(parser=local_path, metavar="FILE", help="Draw taps and responses into a picture.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every kernel of a large bank in full.")] = False,
    color: Annotated[
        bool | None, typer.Option("--color/--no-color", help="Coloured taps (default: on a terminal).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
    max_taps: _MaxTaps = None,
    json: _Json = False,
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
        say(to_json(facts | ({"parameters": parameters} if parameters else {}), indent=2))
        return
    from convcli.render.kernels import MOST_IN_FULL, parameter_table, print_bank, render_bank

    in_full = all_ or bank.n_kernels <= MOST_IN_FULL
    if in_full and (takes_colours() if color is None else color):
        print_bank(bank, stats, forced=color is True)
    else:
        tell(render_bank(bank, stats, in_full=in_full, first=_first_of(spec)))
    for one in named:
        say(f"\n{parameter_table(one)}")
    if png is not None:
        say(f"written {printable(str(png))}")


def _first_of(spec: str) -> str:
    """Return the SPEC of a bank's first kernel, quoted for a shell."""
    import shlex

    from convcli.banks.library import is_known
    from convcli.banks.spec import Operation, parse_spec

    # select=0 binds tighter than an operation: without brackets it would choose from the last operand.
    whole = f"({spec})" if isinstance(parse_spec(spec, is_known=is_known), Operation) else spec
    return shlex.quote(f"{whole.strip()} select=0")


@commands.command("check")
def check(
    files: Annotated[
        list[Path], typer.Argument(parser=local_path, metavar="FILE...", help="Kernel files of any format.")
    ],
    json: _Json = False,
) -> None:
    """Check kernel files; list the entries of checkpoints.

    Errors name the line and field. Warnings name what is missing although the file loads.
    """
    from convcli.banks.check import check_file
    from convcli.render.kernels import check_lines

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
        say(to_json(results, indent=2))
    for earlier in bad[:-1]:
        warn("error", str(earlier))
    if bad:
        bad[-1].is_told = json
        raise bad[-1]


@commands.command("export")
def export(
    spec: _Spec,
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
        Path | None,
        typer.Option("--output", "-o", parser=local_path, metavar="FILE", help="Default: standard output."),
    ] = None,
    round_: Annotated[bool, typer.Option("--round", help="Allow losses, and print their size.")] = False,
    convolve: Annotated[
        bool, typer.Option("--convolve", help="Turn the taps by 180°, for a program that convolves.")
    ] = False,
    max_taps: _MaxTaps = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Say where it is, and the notes, as JSON.")] = False,
) -> None:
    """Write kernels in another format.

    Taps are written as correlation taps unless --convolve; losses are refused unless --round.

    \b
    Examples:
      convcli kernels export sobel --format gmic
      convcli kernels export gaussian:sigma=2 -o gaussian.toml
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.banks.formats import export_bank
    from convcli.banks.load import load_bank

    to_stdout = output is None or str(output) == "-"
    if to_stdout and json:
        raise UsageError("the kernels and --json both want standard output", hint="-o FILE")
    # A guessed format would write a file that another program misreads.
    if format_ is None and (to_stdout or output is None or output.suffix.lower() not in SUFFIXES):
        where = "standard output" if to_stdout else f"'{output}'"
        raise UsageError(f"no --format, and {where} has no suffix that tells", hint="--format toml, for example")
    if format_ is None and output is not None:
        format_ = SUFFIXES[output.suffix.lower()]
    elif output is not None and SUFFIXES.get(output.suffix.lower(), "text") not in ("text", format_):
        say(f"note: {output.name} holds {format_}, and its suffix means {SUFFIXES[output.suffix.lower()]}", err=True)
    bank = load_bank(spec, max_taps=max_taps)
    exported = export_bank(bank, str(format_), rounding=round_, turn=convolve)
    # Notes go to standard error: standard output may be the exported file.
    notes = list(dict.fromkeys((*bank.notes, *exported.notes)))
    for note in [] if json else notes:
        say(f"note: {printable(note)}", err=True)
    if output is None or to_stdout:
        if is_terminal() and b"\0" in exported.data:
            raise UsageError(f"{format_} is binary and standard output is a terminal", hint="-o FILE, or a pipe")
        write_output(exported.data)
        return
    from convcli.images.files import save_bytes

    save_bytes(output, exported.data, overwrite=overwrite)
    if json:
        say(to_json({"path": str(output), "format": format_, "bytes": len(exported.data), "notes": notes}, indent=2))
