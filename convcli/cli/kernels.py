"""``convcli kernels``: list, show, check and export what ``--kernel`` takes."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    group = typer.Typer(
        name="kernels", no_args_is_help=True, rich_markup_mode=None, help="List, show, check and export kernels."
    )
    group.command(name="list")(list_)
    group.command(name="show")(show)
    app.add_typer(group)


def list_(
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Only kernels with this tag: edge, blur, texture, basis …")
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where name, use, source or tags contain it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")] = False,
) -> None:
    """List the kernels that have names: shape, what for, source."""
    from convcli.banks.library import list_kernels
    from convcli.errors import KernelError, near_names

    entries = list_kernels()
    known = {word for entry in entries for word in entry.tags}
    for word in tag or ():
        if word not in known:
            near = near_names(word, known) or f"tags are {', '.join(sorted(known))}"
            raise KernelError(f"no kernel has the tag '{word}'", hint=near, tag=word)
    entries = [entry for entry in entries if set(tag or ()) <= set(entry.tags)]
    if grep is not None:
        wanted = grep.lower()
        entries = [
            entry
            for entry in entries
            if wanted in " ".join((entry.name, entry.summary, entry.source, *entry.tags, *entry.parameters)).lower()
        ]
    if json:
        from convcli.report import to_json

        typer.echo(to_json([entry.as_dict() for entry in entries], indent=2))
        return
    from convcli.render.kernels import render_list

    typer.echo(render_list(entries, width=_terminal_width()))


def _terminal_width() -> int | None:
    """Return the columns of the terminal, or None where standard output is not one."""
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A name, family:param=value, file or matrix.")],
    all_: Annotated[bool, typer.Option("--all", help="Every kernel of a large bank in full.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")] = False,
) -> None:
    """Show taps, sum, norms, rank, symmetry, output range, cost and frequency response."""
    from convcli.banks import load_bank
    from convcli.banks.stats import bank_stats

    bank = load_bank(spec)
    stats = bank_stats(bank)
    if json:
        from convcli.report import to_json

        typer.echo(to_json({**bank.as_dict(taps=True), "kernels": [one.as_dict() for one in stats]}, indent=2))
        return
    from convcli.render.kernels import MOST_IN_FULL, render_bank

    typer.echo(render_bank(bank, stats, in_full=all_ or bank.n_kernels <= MOST_IN_FULL))
