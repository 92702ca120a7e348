"""How an expected failure looks on standard error."""

from __future__ import annotations

import typer

from convcli.errors import ConvcliError


def complain(error: ConvcliError) -> None:
    """Write the fact and what to do, one line each, with control characters of user text made visible."""
    from convcli.report import printable

    typer.echo(f"convcli: error: {printable(str(error))}", err=True)
    if error.hint:
        typer.echo(f"hint: {printable(error.hint)}", err=True)
